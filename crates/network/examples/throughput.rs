//! How many frames per second the simulated network sends to one consumer, which reads them as a
//! plain websocket client and does nothing with them.
//!
//! `cargo run --release -p wingbeat-network --example throughput -- [relay|v1|v2] [SECONDS]`

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use wingbeat_network::{Afterwards, Network, Options, Prepared};

#[tokio::main]
#[expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints its result")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = match arguments.next().as_deref() {
        None | Some("relay") => "/xrpc/com.atproto.sync.subscribeRepos",
        Some("v1") => "/subscribe",
        Some("v2") => "/xrpc/network.bsky.jetstream.subscribeEvents",
        Some(other) => return Err(format!("`{other}` is none of relay, v1, v2").into()),
    };
    let seconds: u64 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let made = Instant::now();
    let network = Network::start(Options {
        rate: 0.0,
        prepared: Some(Prepared { events: 20_000, then: Afterwards::Repeat }),
        ..Options::default()
    })
    .await?;
    println!("20,000 events made in {:.2} s", made.elapsed().as_secs_f64());
    let address = network.addresses().first().ok_or("no host")?;
    let url = format!("ws://{address}{path}");
    let (mut stream, _) = tokio_tungstenite::connect_async(url).await?;
    let (started, mut frames, mut bytes) = (Instant::now(), 0_u64, 0_u64);
    while started.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..1_000 {
            let message = stream.next().await.ok_or("the stream ended")??;
            frames += 1;
            bytes += message.len() as u64;
        }
    }
    let elapsed = started.elapsed().as_secs_f64();
    let (rate, megabytes) = (frames as f64 / elapsed, bytes as f64 / elapsed / 1e6);
    println!(
        "{rate:.0} frames/s, {megabytes:.0} MB/s, {:.0} bytes each",
        bytes as f64 / frames as f64
    );
    drop(stream);
    network.stop().await;
    Ok(())
}
