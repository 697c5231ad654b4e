//! The place of a push consumer, made as the replaced processors' client library makes it, is taken
//! over: nothing that it has settled comes again, and nothing else is left out.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use wingbeat_log::{ConsumerConfig, Hint, Log, LogError, Settle, Start, StreamConfig, patiently};

use super::{
    faults::{consume_all, open, publish_all, stream},
    server::{Server, Version},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Where places are kept while they are being moved.
const PLACES: &str = "wingbeat-moves";

/// The replaced processor: nats-py's `js.subscribe(subject, durable=..., queue=...)`.
struct Processor {
    client: Client,
    messages: Subscriber,
}

impl Processor {
    async fn start(server: &Server) -> Self {
        let client = async_nats::connect(format!("127.0.0.1:{}", server.port)).await.unwrap();
        let inbox = client.new_inbox();
        let messages = client.queue_subscribe(inbox.clone(), "c".to_owned()).await.unwrap();
        let config = json!({ "stream_name": "s", "config": {
            "durable_name": "c", "deliver_subject": inbox, "deliver_group": "c",
            "deliver_policy": "all", "ack_policy": "explicit", "ack_wait": 30_000_000_000_u64,
            "max_deliver": 3, "filter_subject": "s.>", "max_ack_pending": 1000,
            "replay_policy": "instant",
        }});
        ask(&client, "CONSUMER.DURABLE.CREATE.s.c", &config).await;
        Self { client, messages }
    }

    /// Acknowledges messages of these numbers, in order of their coming from 1 on.
    async fn acknowledge(&mut self, numbers: impl IntoIterator<Item = usize>) {
        let numbers: Vec<usize> = numbers.into_iter().collect();
        for number in 1..=numbers.iter().copied().max().unwrap() {
            let message = self.messages.next().await.unwrap();
            if numbers.contains(&number) {
                let reply = message.reply.unwrap();
                self.client.request(reply, "+ACK".into()).await.unwrap();
            }
        }
    }

    /// Stops, and waits until the server has seen it: until then it sends what is published.
    async fn stop(mut self) {
        self.messages.unsubscribe().await.unwrap();
        while ask(&self.client, "CONSUMER.INFO.s.c", &json!({})).await["push_bound"] == true {
            tokio::task::yield_now().await;
        }
        self.client.drain().await.unwrap();
    }
}

async fn ask(client: &Client, request: &str, body: &Value) -> Value {
    let answer = client.request(format!("$JS.API.{request}"), body.to_string().into()).await;
    let answer: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
    assert!(answer["error"].is_null(), "{request}: {answer}");
    answer
}

/// What is still to come, and that the pull consumer's places are right.
async fn expect_rest(log: &dyn Log, expected: impl IntoIterator<Item = u64>) {
    let config = ConsumerConfig::new("c");
    let consumer = patiently(|| log.consumer("s", &config)).await.unwrap();
    let expected: Vec<u64> = expected.into_iter().collect();
    let seen = consume_all(&*consumer, expected.len()).await;
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), expected);
    assert!(consumer.fetch(1, Duration::ZERO).await.unwrap().is_empty());
    let places = log.bucket(PLACES).await.unwrap();
    assert_eq!(places.keys().await.unwrap(), [""; 0]);
}

/// A server with a stream of 20 records, of which the replaced processor has settled some.
async fn settled(
    version: Version,
    numbers: impl IntoIterator<Item = usize>,
) -> Option<(Server, Arc<dyn Log>, Processor)> {
    let server = Server::start(version, "").await?;
    let log = open(&server.url("")).await;
    log.ensure_stream(&stream("s", "s.>")).await.unwrap();
    let mut processor = Processor::start(&server).await;
    publish_all(&*log, 20, 20).await;
    processor.acknowledge(numbers).await;
    Some((server, log, processor))
}

async fn a_push_consumers_place_is_taken_over(version: Version) {
    // What is acknowledged behind the floor comes again.
    let Some((_server, log, processor)) = settled(version, [1, 2, 3, 4, 5, 6, 8]).await else {
        return;
    };
    let used = log.consumer("s", &ConsumerConfig::new("c")).await.err().unwrap();
    assert!(matches!(used, LogError::ConsumerInUse { .. }), "{used}");
    assert_eq!(used.hint(), Hint::Transient);
    assert!(used.to_string().contains("CONSUMER_NAME"), "{used}");
    processor.stop().await;
    expect_rest(&*log, 7..=20).await;
    let warnings = log.warnings().await.unwrap().join("\n");
    assert!(warnings.contains("taken over, behind 6"), "{warnings}");
    let info = &log.consumers("s").await.unwrap()[0];
    assert_eq!((info.config.start, info.ack_floor), (Start::Sequence(7), 20));
    assert_eq!(info.missed, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_push_consumers_place_is_taken_over() {
    a_push_consumers_place_is_taken_over(Version::Current).await;
    a_push_consumers_place_is_taken_over(Version::V2_9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_push_consumer_gets_it_when_its_processor_stops() {
    let Some((_server, log, processor)) = settled(Version::Current, 1..=5).await else { return };
    let config = ConsumerConfig::new("c");
    let waiting = patiently(|| log.consumer("s", &config));
    let stopping = async {
        // It is refused at least once before the processor stops.
        while log.consumer("s", &config).await.is_ok() {}
        processor.stop().await;
    };
    let (opened, ()) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(waiting, stopping) }).await.unwrap();
    assert_eq!(opened.unwrap().info().await.unwrap().ack_floor, 5);
}

/// A move that a kill has cut off goes on from what was written down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i10_a_move_that_was_cut_off_is_finished() {
    for (step, version) in [(1, Version::Current), (2, Version::Current), (2, Version::V2_9)]
        .into_iter()
        .chain([(3, Version::Current)])
    {
        let Some((server, log, processor)) = settled(version, 1..=6).await else { return };
        processor.stop().await;
        let client = async_nats::connect(format!("127.0.0.1:{}", server.port)).await.unwrap();
        let created = ask(&client, "STREAM.INFO.s", &json!({})).await["created"].clone();
        // 1: the place is written down.
        let place = json!({ "ack_floor": 6, "stream_created": created });
        let places = log.bucket(PLACES).await.unwrap();
        places.put("s.c", place.to_string().into()).await.unwrap();
        if step >= 2 {
            // 2: the push consumer is deleted.
            ask(&client, "CONSUMER.DELETE.s.c", &json!({})).await;
        }
        if step >= 3 {
            // 3: the pull consumer is made.
            let config = json!({ "stream_name": "s", "config": {
                "durable_name": "c", "ack_policy": "explicit",
                "deliver_policy": "by_start_sequence", "opt_start_seq": 7,
            }});
            ask(&client, "CONSUMER.DURABLE.CREATE.s.c", &config).await;
        }
        expect_rest(&*log, 7..=20).await;
    }
}

/// Of a stream that was made anew, an old place says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_in_another_stream_of_the_name_is_none() {
    let Some((server, log, processor)) = settled(Version::Current, 1..=6).await else { return };
    processor.stop().await;
    let place = json!({ "ack_floor": 6, "stream_created": "2020-01-01T00:00:00Z" });
    let places = log.bucket(PLACES).await.unwrap();
    places.put("s.c", place.to_string().into()).await.unwrap();
    let client = async_nats::connect(format!("127.0.0.1:{}", server.port)).await.unwrap();
    ask(&client, "CONSUMER.DELETE.s.c", &json!({})).await;
    let consumer = log.consumer("s", &ConsumerConfig::new("c")).await.unwrap();
    assert_eq!(consume_all(&*consumer, 20).await.len(), 20);
}

/// Several processes start at once: the consumer is moved once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_processes_that_start_together_take_a_place_over_once() {
    let Some((server, _log, processor)) = settled(Version::Current, 1..=6).await else { return };
    processor.stop().await;
    let url = server.url("");
    let starts = (0..4).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            let log = open(&url).await;
            let config = ConsumerConfig::new("c");
            let consumer = patiently(|| log.consumer("s", &config)).await.unwrap();
            let mut seen = Vec::new();
            loop {
                let deliveries = consumer.fetch(2, Duration::from_millis(200)).await.unwrap();
                if deliveries.is_empty() {
                    return seen;
                }
                let settled: Vec<_> = deliveries.iter().map(|d| (d.token, Settle::Ack)).collect();
                consumer.settle(&settled).await.unwrap();
                seen.extend(deliveries.iter().map(|delivery| delivery.stored.sequence));
            }
        })
    });
    let mut seen = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        seen.extend(start.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (7..=20).collect::<Vec<_>>());
}

/// What the stream has dropped and the processor never got was processed by nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_what_expired_before_the_move_is_missed() {
    for version in [Version::Current, Version::V2_9] {
        let Some((server, log, processor)) = settled(version, 1..=20).await else { return };
        processor.stop().await;
        publish_all(&*log, 40, 40).await;
        let changing = open(&server.url("existing=change")).await;
        let short = StreamConfig { records_max: Some(4), ..stream("s", "s.>") };
        changing.ensure_stream(&short).await.unwrap();
        expect_rest(&*changing, 37..=40).await;
        let missed = &changing.consumers("s").await.unwrap()[0].missed;
        assert_eq!(missed.iter().map(|m| (m.first, m.last)).collect::<Vec<_>>(), [(21, 36)]);
    }
}
