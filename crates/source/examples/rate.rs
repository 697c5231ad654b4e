//! How fast a source yields.
//!
//! ```text
//! cargo run --release -p wingbeat-source --example rate -- simulator:rate=1000000,burst=1,count=500000
//! cargo run --release -p wingbeat-source --example rate -- relay:ws://127.0.0.1:2470 full http://127.0.0.1:2470
//! ```
//!
//! Reads the source to its end, or where it has none until nothing comes for a while, and prints
//! how many items and payload bytes came in a second. With a level of verification, and the address
//! of a directory for `full`, a relay's commits are verified.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::time::{Duration, Instant};

use tokio::time::timeout;
use wingbeat_source::{Content, OpenOptions, Place, Resume, SourceSpec, network::Verify, open};

/// A source from which nothing came for so long has nothing more to say.
const SILENCE_MAX: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let spec = arguments.next().ok_or("usage: rate SOURCE [none|hashes|full [DIRECTORY]]")?;
    let mut options = OpenOptions::default();
    options.network.verify = match arguments.next().as_deref() {
        None | Some("none") => Verify::None,
        Some("hashes") => Verify::Hashes,
        Some("full") => Verify::Full,
        Some(other) => return Err(format!("`{other}` is none, hashes or full").into()),
    };
    options.network.plc_directory =
        arguments.next().unwrap_or(options.network.plc_directory.clone());
    if let Some(host) = spec.strip_prefix("relay:") {
        // From the oldest event on that the host has.
        let host = format!("{host}/xrpc/com.atproto.sync.subscribeRepos");
        let places = vec![Place { host, cursor: 0, time_us: 0 }];
        options.resume = Some(Resume { position: 0, places });
    }
    let mut source = open(&SourceSpec::parse(&spec)?, &options)?;
    let start = Instant::now();
    let (mut items, mut bytes) = (0_u32, 0.0_f64);
    let mut last = start;
    while let Ok(batch) = timeout(SILENCE_MAX, source.next(1_024)).await {
        let Some(batch) = batch? else { break };
        last = Instant::now();
        for item in batch {
            items += 1;
            if let Content::Post(post) = item.content {
                bytes += f64::from(u32::try_from(post.payload.len())?);
            }
        }
    }
    let seconds = (last - start).as_secs_f64();
    let per_second = f64::from(items) / seconds;
    println!(
        "{items} items in {seconds:.2} s: {per_second:.0} items/s, {:.1} MB/s",
        bytes / seconds / 1e6
    );
    for (name, count) in source.counters() {
        println!("{name} {count}");
    }
    Ok(())
}
