//! The log on NATS, and a flow on it, beside a program that uses the client alone, and beside what
//! the replaced processor did with nats-py: on one server, in one run, in turns.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream;
use bytes::Bytes;
use wingbeat_log::{Access, Log, LogUrl, StreamConfig};
use wingbeat_record::SubjectFilter;

use crate::Outcome;

mod bare;
mod ours;

const RECORDS: usize = 200_000;
const RECORD_BYTES: usize = 500;
/// Records that are under way at once: everywhere, except in the Python program, which does one
/// after the other.
const WINDOW: usize = 1024;
const ROUNDS: usize = 3;
/// What the Python program is given; it takes a while.
const PYTHON_RECORDS: usize = 10_000;
/// Where `make nats` and `make nats-py` put things.
const SERVER: &str = "target/tools/nats/bin/nats-server";
const PYTHON: &str = "target/tools/nats-py/bin/python";

/// A server that ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(binary: Option<&str>) -> Outcome<()> {
    let binary = binary.unwrap_or(SERVER);
    let store = tempfile::tempdir()?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let child = Command::new(binary)
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
        .arg(store.path())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("can't start {binary}: {error}; run `make nats`"))?;
    let _server = Server(child);
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > deadline {
            return Err("the server does not listen".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure(port))
}

/// Records per second, the best of all rounds.
#[derive(Default)]
struct Rates {
    publish: [f64; 2],
    carry: [f64; 2],
    flow: f64,
    python: f64,
}

async fn measure(port: u16) -> Outcome<()> {
    println!(
        "{RECORDS} records of {RECORD_BYTES} bytes with ids, {WINDOW} under way at once, best of {ROUNDS} rounds in turns\n"
    );
    let url: LogUrl = format!("nats://127.0.0.1:{port}").parse()?;
    let log = url.open(Access::Write).await?;
    let client = async_nats::connect(format!("127.0.0.1:{port}")).await?;
    let jetstream = jetstream::new(client);
    let mut best = Rates::default();
    for round in 0..ROUNDS {
        play(&log, &jetstream, port, round, &mut best).await?;
    }
    let Rates { publish, carry, flow, python } = best;
    println!("| records/s | client alone | wingbeat | ratio |\n|---|---|---|---|");
    for (name, [bare, ours]) in [
        ("publish, acknowledged", publish),
        ("fetch, publish, acknowledge: the log's calls, with a look at each record", carry),
        ("the same: a flow, with its stage, ledger and books", [carry[0], flow]),
    ] {
        println!("| {name} | {bare:.0} | {ours:.0} | {:.2} |", ours / bare);
    }
    if python > 0.0 {
        println!("| | nats-py 2.16.0 | | |");
        println!(
            "| the flow, beside the replaced processor's way | {python:.0} | {flow:.0} | {:.1} |",
            flow / python
        );
    } else {
        println!(
            "\nThe Python program is missing: `make nats-py`, or name a Python that has nats-py in NATS_PY."
        );
    }
    Ok(())
}

async fn play(
    log: &Arc<dyn Log>,
    jetstream: &jetstream::Context,
    port: u16,
    round: usize,
    best: &mut Rates,
) -> Outcome<()> {
    const NAMES: [&str; 6] = ["bare", "ours", "bare-out", "ours-out", "python", "python-out"];
    for name in NAMES {
        let subjects = vec![SubjectFilter::new(format!("{name}.{round}.>"))?];
        log.ensure_stream(&StreamConfig::new(format!("{name}-{round}"), subjects)).await?;
    }
    let note = |best: &mut f64, elapsed: Duration| {
        *best = best.max(RECORDS as f64 / elapsed.as_secs_f64());
    };
    note(&mut best.publish[0], bare::publish(jetstream, round).await?);
    note(&mut best.publish[1], ours::publish(&**log, &format!("ours.{round}.x"), RECORDS).await?);
    note(&mut best.carry[0], bare::carry(jetstream, round).await?);
    note(&mut best.carry[1], ours::carry(&**log, round).await?);
    note(&mut best.flow, ours::flow(log, round).await?);
    ours::publish(&**log, &format!("python.{round}.x"), PYTHON_RECORDS).await?;
    best.python = best.python.max(python(port, round)?);
    for name in NAMES.into_iter().chain(["flow"]) {
        jetstream.delete_stream(format!("{name}-{round}")).await?;
    }
    jetstream.delete_stream(format!("flow-{round}-books")).await?;
    Ok(())
}

/// The records per second of `bench/python/processor.py`; 0 where it can't be run.
fn python(port: u16, round: usize) -> Outcome<f64> {
    let python = std::env::var("NATS_PY").unwrap_or_else(|_| PYTHON.to_owned());
    if !Path::new(&python).exists() {
        return Ok(0.0);
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/processor.py");
    let ran = Command::new(python)
        .arg(script)
        .arg(format!("nats://127.0.0.1:{port}"))
        .args([&format!("python-{round}"), &format!("python.{round}.x")])
        .arg(format!("python-out.{round}"))
        .arg(PYTHON_RECORDS.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    let figures: serde_json::Value = serde_json::from_slice(&ran.stdout)?;
    Ok(figures["records_per_second"].as_f64().unwrap_or(0.0))
}

fn payload() -> Bytes {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(RECORD_BYTES - 11)).into()
}

fn id(n: usize) -> String {
    format!("at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/{n}:bafyrei")
}
