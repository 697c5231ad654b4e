//! The log on NATS beside a program that uses the client alone, on one server, in one run:
//! publishing with acknowledgements, and taking records from one stream to another.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, consumer::PullConsumer};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use wingbeat_log::{Access, ConsumerConfig, Log, LogUrl, Settle, StreamConfig};
use wingbeat_record::{Document, MessageId, Record, Subject, SubjectFilter};

use crate::Outcome;

const RECORDS: usize = 200_000;
const RECORD_BYTES: usize = 500;
/// Records that wait for their acknowledgement at once, here and there.
const WINDOW: usize = 1024;
/// Records that are fetched, published and acknowledged together, here and there.
const BATCH: usize = 500;
const ROUNDS: usize = 3;
/// Where `make nats` puts the server.
const SERVER: &str = "target/tools/nats/bin/nats-server";

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

async fn measure(port: u16) -> Outcome<()> {
    println!("{RECORDS} records of {RECORD_BYTES} bytes with ids, best of {ROUNDS} rounds\n");
    println!("| | client alone | log | ratio |\n|---|---|---|---|");
    let url: LogUrl = format!("nats://127.0.0.1:{port}").parse()?;
    let log = url.open(Access::Write).await?;
    let client = async_nats::connect(format!("127.0.0.1:{port}")).await?;
    let jetstream = jetstream::new(client);
    let rate = |elapsed: Duration| RECORDS as f64 / elapsed.as_secs_f64();
    let (mut publish, mut carry) = ((0f64, 0f64), (0f64, 0f64));
    for round in 0..ROUNDS {
        for name in ["bare", "ours", "bare-out", "ours-out"] {
            let subjects = vec![SubjectFilter::new(format!("{name}.{round}.>"))?];
            log.ensure_stream(&StreamConfig::new(format!("{name}-{round}"), subjects)).await?;
        }
        publish.0 = publish.0.max(rate(publish_bare(&jetstream, round).await?));
        publish.1 = publish.1.max(rate(publish_ours(&*log, round).await?));
        carry.0 = carry.0.max(rate(carry_bare(&jetstream, round).await?));
        carry.1 = carry.1.max(rate(carry_ours(&*log, round).await?));
        for name in ["bare", "ours", "bare-out", "ours-out"] {
            jetstream.delete_stream(format!("{name}-{round}")).await?;
        }
    }
    for (name, (bare, ours)) in [
        ("publish, acknowledged, records/s", publish),
        ("fetch, (validate,) publish, acknowledge, records/s", carry),
    ] {
        println!("| {name} | {bare:.0} | {ours:.0} | {:.2} |", ours / bare);
    }
    Ok(())
}

fn payload() -> Bytes {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(RECORD_BYTES - 11)).into()
}

fn id(n: usize) -> String {
    format!("at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/{n}:bafyrei")
}

fn headers(n: usize) -> async_nats::HeaderMap {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", id(n));
    headers
}

async fn publish_bare(jetstream: &jetstream::Context, round: usize) -> Outcome<Duration> {
    let (subject, payload) = (format!("bare.{round}.x"), payload());
    let start = Instant::now();
    let mut waiting = FuturesUnordered::new();
    for n in 0..RECORDS {
        let ack =
            jetstream.publish_with_headers(subject.clone(), headers(n), payload.clone()).await?;
        waiting.push(ack.into_future());
        if waiting.len() >= WINDOW {
            waiting.next().await.ok_or("no answer")??;
        }
    }
    while let Some(ack) = waiting.next().await {
        ack?;
    }
    Ok(start.elapsed())
}

async fn publish_ours(log: &dyn Log, round: usize) -> Outcome<Duration> {
    let (subject, payload) = (Subject::new(format!("ours.{round}.x"))?, payload());
    let start = Instant::now();
    for from in (0..RECORDS).step_by(WINDOW * 4) {
        let record =
            |n| Record::new(subject.clone(), payload.clone()).with_id(MessageId::new(id(n)));
        let records = (from..(from + WINDOW * 4).min(RECORDS)).map(record).collect();
        for answer in log.publish(records).await {
            answer?;
        }
    }
    Ok(start.elapsed())
}

async fn carry_bare(jetstream: &jetstream::Context, round: usize) -> Outcome<Duration> {
    let stream = jetstream.get_stream(format!("bare-{round}")).await?;
    let config = jetstream::consumer::pull::Config {
        durable_name: Some("c".to_owned()),
        max_ack_pending: 10_000,
        ..Default::default()
    };
    let consumer: PullConsumer = stream.create_consumer(config).await?;
    let subject = format!("bare-out.{round}.x");
    let start = Instant::now();
    let mut done = 0;
    while done < RECORDS {
        let mut batch = consumer.fetch().max_messages(BATCH).messages().await?;
        let (mut messages, mut waiting) = (Vec::new(), FuturesUnordered::new());
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| error.to_string())?;
            let ack = jetstream
                .publish_with_headers(
                    subject.clone(),
                    message.headers.clone().unwrap_or_default(),
                    message.payload.clone(),
                )
                .await?;
            waiting.push(ack.into_future());
            messages.push(message);
        }
        while let Some(ack) = waiting.next().await {
            ack?;
        }
        for message in &messages {
            message.ack().await.map_err(|error| error.to_string())?;
        }
        done += messages.len();
    }
    Ok(start.elapsed())
}

async fn carry_ours(log: &dyn Log, round: usize) -> Outcome<Duration> {
    let config = ConsumerConfig { ack_pending_max: 10_000, ..ConsumerConfig::new("c") };
    let consumer = log.consumer(&format!("ours-{round}"), &config).await?;
    let subject = Subject::new(format!("ours-out.{round}.x"))?;
    let start = Instant::now();
    let mut done = 0;
    while done < RECORDS {
        let deliveries = consumer.fetch(BATCH, Duration::from_secs(5)).await?;
        let mut records = Vec::with_capacity(deliveries.len());
        let mut settled = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            Document::parse(delivery.stored.record.payload.clone())?;
            settled.push((delivery.token, Settle::Ack));
            records.push(Record { subject: subject.clone(), ..delivery.stored.record });
        }
        for answer in log.publish(records).await {
            answer?;
        }
        consumer.settle(&settled).await?;
        done += settled.len();
    }
    Ok(start.elapsed())
}
