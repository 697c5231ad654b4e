//! How fast a source yields.
//!
//! ```text
//! cargo run --release -p wingbeat-source --example rate -- simulator:rate=1000000,burst=1,count=500000
//! ```
//!
//! Reads the source to its end, and prints how many items and payload bytes came in a second.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::time::Instant;

use wingbeat_source::{Content, OpenOptions, SourceSpec, open};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let spec = std::env::args().nth(1).ok_or("usage: rate SOURCE")?;
    let mut source = open(&SourceSpec::parse(&spec)?, &OpenOptions::default())?;
    let start = Instant::now();
    let (mut items, mut bytes) = (0_u32, 0.0_f64);
    while let Some(batch) = source.next(1_024).await? {
        for item in batch {
            items += 1;
            if let Content::Post(post) = item.content {
                bytes += f64::from(u32::try_from(post.payload.len())?);
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
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
