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

use crate::{Outcome, clock};

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

/// What a record costs.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Records per second, by the clock.
    rate: f64,
    /// Microseconds of the processor's time in this process (or Python's) for one.
    work_us: f64,
}

impl Default for Cost {
    fn default() -> Self {
        Self { rate: 0.0, work_us: f64::INFINITY }
    }
}

impl Cost {
    /// Keeps the better figures: others work on the same machine.
    fn improve(&mut self, other: Self) {
        self.rate = self.rate.max(other.rate);
        self.work_us = self.work_us.min(other.work_us);
    }
}

/// Measures what records cost.
struct Watch {
    started: Instant,
    work: Duration,
}

impl Watch {
    fn start() -> Outcome<Self> {
        Ok(Self { work: clock::process_time()?, started: Instant::now() })
    }

    fn stop(self, records: usize) -> Outcome<Cost> {
        let (seconds, work) = (self.started.elapsed().as_secs_f64(), clock::process_time()?);
        let records = records as f64;
        let work_us = work.saturating_sub(self.work).as_secs_f64() * 1e6 / records;
        Ok(Cost { rate: records / seconds, work_us })
    }
}

/// The best of all rounds.
#[derive(Default)]
struct Costs {
    publish: [Cost; 2],
    carry: [Cost; 2],
    flow: Cost,
    python: Cost,
}

async fn measure(port: u16) -> Outcome<()> {
    println!(
        "{RECORDS} records of {RECORD_BYTES} bytes with ids, {WINDOW} under way at once, best of {ROUNDS} rounds in turns\n"
    );
    let url: LogUrl = format!("nats://127.0.0.1:{port}").parse()?;
    let log = url.open(Access::Write).await?;
    let client = async_nats::connect(format!("127.0.0.1:{port}")).await?;
    let jetstream = jetstream::new(client);
    let mut best = Costs::default();
    for round in 0..ROUNDS {
        play(&log, &jetstream, port, round, &mut best).await?;
    }
    let Costs { publish, carry, flow, python } = best;
    println!(
        "| | of | records/s | us of work a record | wingbeat: records/s | us | ratio of rates | of work |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, peer, [theirs, ours]) in [
        ("publish", "client alone", publish),
        ("carry over, by the log's calls", "client alone", carry),
        ("carry over, by a flow", "client alone", [carry[0], flow]),
        ("carry over, by a flow", "nats-py 2.16.0", [python, flow]),
    ] {
        if theirs.rate > 0.0 {
            println!(
                "| {name} | {peer} | {:.0} | {:.1} | {:.0} | {:.1} | {:.2} | {:.2} |",
                theirs.rate,
                theirs.work_us,
                ours.rate,
                ours.work_us,
                ours.rate / theirs.rate,
                theirs.work_us / ours.work_us
            );
        }
    }
    if python.rate == 0.0 {
        println!("\nnats-py is missing: `make nats-py`, or name a Python that has it in NATS_PY.");
    }
    Ok(())
}

async fn play(
    log: &Arc<dyn Log>,
    jetstream: &jetstream::Context,
    port: u16,
    round: usize,
    best: &mut Costs,
) -> Outcome<()> {
    const NAMES: [&str; 6] = ["bare", "ours", "bare-out", "ours-out", "python", "python-out"];
    for name in NAMES {
        let subjects = vec![SubjectFilter::new(format!("{name}.{round}.>"))?];
        log.ensure_stream(&StreamConfig::new(format!("{name}-{round}"), subjects)).await?;
    }
    best.publish[0].improve(bare::publish(jetstream, round).await?);
    best.publish[1].improve(ours::publish(&**log, &format!("ours.{round}.x"), RECORDS).await?);
    best.carry[0].improve(bare::carry(jetstream, round).await?);
    best.carry[1].improve(ours::carry(&**log, round).await?);
    best.flow.improve(ours::flow(log, round).await?);
    ours::publish(&**log, &format!("python.{round}.x"), PYTHON_RECORDS).await?;
    best.python.improve(python(port, round)?);
    for name in NAMES.into_iter().chain(["flow"]) {
        jetstream.delete_stream(format!("{name}-{round}")).await?;
    }
    jetstream.delete_stream(format!("flow-{round}-books")).await?;
    Ok(())
}

/// `bench/python/processor.py`; nothing where it can't be run.
fn python(port: u16, round: usize) -> Outcome<Cost> {
    let python = std::env::var("NATS_PY").unwrap_or_else(|_| PYTHON.to_owned());
    if !Path::new(&python).exists() {
        return Ok(Cost::default());
    }
    let ran = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/processor.py"))
        .arg(format!("nats://127.0.0.1:{port}"))
        .args([&format!("python-{round}"), &format!("python.{round}.x")])
        .arg(format!("python-out.{round}"))
        .arg(PYTHON_RECORDS.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    let figures: serde_json::Value = serde_json::from_slice(&ran.stdout)?;
    let figure = |name: &str| figures[name].as_f64().ok_or("the Python program says no figures");
    Ok(Cost { rate: figure("records_per_second")?, work_us: figure("work_us")? })
}

fn payload() -> Bytes {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(RECORD_BYTES - 11)).into()
}

fn id(n: usize) -> String {
    format!("at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/{n}:bafyrei")
}
