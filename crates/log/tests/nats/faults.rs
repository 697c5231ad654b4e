//! Servers that go away, come back, or say no.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use wingbeat_log::{
    Access, Consumer, ConsumerConfig, Log, LogError, LogUrl, Reader, Settle, Start, Stored,
    StreamConfig, patiently,
};
use wingbeat_record::{MessageId, Record, Subject, SubjectFilter};

use super::server::{Server, Version};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn stream(name: &str, subject: &str) -> StreamConfig {
    StreamConfig::new(name, vec![SubjectFilter::new(subject).unwrap()])
}

pub(crate) fn record(subject: &str, n: usize) -> Record {
    Record::new(Subject::new(subject).unwrap(), n.to_string())
        .with_id(MessageId::new(format!("id-{n}")))
}

pub(crate) async fn open(url: &LogUrl) -> Arc<dyn Log> {
    url.open(Access::Write).await.unwrap()
}

/// Publishes records `0..count` in batches, each again until it is acknowledged, as flows do.
pub(crate) async fn publish_all(log: &dyn Log, count: usize, batch: usize) {
    for from in (0..count).step_by(batch) {
        let mut numbers: Vec<usize> = (from..(from + batch).min(count)).collect();
        while !numbers.is_empty() {
            let records = numbers.iter().map(|n| record("s.x", *n)).collect();
            let answers = log.publish(records).await;
            let retry = |(n, answer): (usize, Result<_, LogError>)| match answer {
                Ok(_) => None,
                Err(LogError::Unavailable { .. }) => Some(n),
                Err(error) => panic!("{error}"),
            };
            numbers = numbers.into_iter().zip(answers).filter_map(retry).collect();
        }
    }
}

/// Fetches and acknowledges until `count` different records have come. Returns how often each was
/// delivered.
pub(crate) async fn consume_all(consumer: &dyn Consumer, count: usize) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    while seen.len() < count {
        let wait = Duration::from_secs(1);
        let deliveries = patiently(|| consumer.fetch(100, wait)).await.unwrap();
        let settled: Vec<_> = deliveries.iter().map(|d| (d.token, Settle::Ack)).collect();
        patiently(|| consumer.settle(&settled)).await.unwrap();
        for delivery in deliveries {
            *seen.entry(delivery.stored.sequence).or_insert(0) += 1;
        }
    }
    seen
}

/// What the stream holds: every record exactly once.
pub(crate) async fn expect_each_once(log: &dyn Log, count: usize) {
    let mut reader = patiently(|| log.read("s", Start::First, &[])).await.unwrap();
    let mut seen: Vec<usize> = Vec::new();
    while seen.len() < count {
        let records = next(&mut *reader, 1000, PATIENCE).await.unwrap();
        assert!(!records.is_empty(), "only {} of {count} are there", seen.len());
        let number = |payload: &[u8]| String::from_utf8_lossy(payload).parse::<usize>().unwrap();
        seen.extend(records.iter().map(|stored| number(&stored.record.payload)));
    }
    assert!(next(&mut *reader, 1, Duration::ZERO).await.unwrap().is_empty());
    seen.sort_unstable();
    assert_eq!(seen, (0..count).collect::<Vec<_>>());
}

/// The next records, or what is wrong for good.
async fn next(
    reader: &mut dyn Reader,
    max: usize,
    wait: Duration,
) -> Result<Vec<Stored>, LogError> {
    loop {
        match reader.next(max, wait).await {
            Err(LogError::Unavailable { .. }) => {}
            result => return result,
        }
    }
}

async fn restarts_lose_and_double_nothing(version: Version) {
    const COUNT: usize = 4000;
    let Some(mut server) = Server::start(version, "").await else { return };
    let log = open(&server.url("")).await;
    log.ensure_stream(&stream("s", "s.>")).await.unwrap();
    let config = ConsumerConfig { ack_wait: Duration::from_secs(2), ..ConsumerConfig::new("c") };
    let consumer = log.consumer("s", &config).await.unwrap();
    let restarts = async {
        for _ in 0..3 {
            let half = log.stream("s").await.map_or(0, |info| info.last) + COUNT as u64 / 5;
            // By what has happened, not by the clock.
            while log.stream("s").await.is_ok_and(|info| info.last < half.min(COUNT as u64)) {
                tokio::task::yield_now().await;
            }
            server.kill();
            server.run().await;
        }
    };
    let work = async {
        tokio::join!(publish_all(&*log, COUNT, 50), consume_all(&*consumer, COUNT), restarts)
    };
    let Ok(((), seen, ())) = tokio::time::timeout(PATIENCE, work).await else {
        panic!("it stands still: {:?} {:?}", log.stream("s").await, consumer.info().await);
    };
    assert_eq!(seen.len(), COUNT);
    expect_each_once(&*log, COUNT).await;
    // The server has forgotten acknowledgements, and hears them again without anybody's help.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while consumer.info().await.unwrap().ack_floor < COUNT as u64 {
        let again = consumer.fetch(100, Duration::from_millis(200)).await.unwrap();
        assert!(again.is_empty(), "{again:?}");
        assert!(tokio::time::Instant::now() < deadline, "{:?}", consumer.info().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i3_i10_killed_servers_lose_and_double_nothing() {
    restarts_lose_and_double_nothing(Version::Current).await;
    restarts_lose_and_double_nothing(Version::V2_9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_is_an_error_and_no_silence() {
    let Some(mut server) = Server::start(Version::Current, "").await else { return };
    let log = open(&server.url("")).await;
    log.ensure_stream(&stream("s", "s.>")).await.unwrap();
    publish_all(&*log, 10, 10).await;
    let consumer = log.consumer("s", &ConsumerConfig::new("c")).await.unwrap();
    let mut reader = log.read("s", Start::First, &[]).await.unwrap();
    assert_eq!(reader.next(5, PATIENCE).await.unwrap().len(), 5);
    server.kill();
    server.wipe();
    server.run().await;
    let fetched = patiently(|| consumer.fetch(1, PATIENCE)).await;
    assert!(matches!(fetched, Err(LogError::UnknownStream { .. })), "{fetched:?}");
    let read = next(&mut *reader, 1, PATIENCE).await;
    assert!(matches!(read, Err(LogError::UnknownStream { .. })), "{read:?}");
    let published = log.publish(vec![record("s.x", 1)]).await.pop().unwrap();
    assert!(matches!(published, Err(LogError::NoStream { .. })), "{published:?}");
    // A stream of the same name is not the same stream.
    log.ensure_stream(&stream("s", "s.>")).await.unwrap();
    let fetched = patiently(|| consumer.fetch(1, PATIENCE)).await;
    assert!(matches!(fetched, Err(LogError::NoConsumer { .. })), "{fetched:?}");
    let read = next(&mut *reader, 1, PATIENCE).await;
    assert!(matches!(read, Err(LogError::Damaged { .. })), "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_deleted_under_its_reader_is_an_error() {
    let Some(server) = Server::start(Version::Current, "").await else { return };
    let log = open(&server.url("")).await;
    log.ensure_stream(&stream("s", "s.>")).await.unwrap();
    let consumer = log.consumer("s", &ConsumerConfig::new("c")).await.unwrap();
    let other = async_nats::connect(format!("127.0.0.1:{}", server.port)).await.unwrap();
    let (fetched, _) = tokio::join!(consumer.fetch(1, PATIENCE), async {
        other.request("$JS.API.CONSUMER.DELETE.s.c", "".into()).await.unwrap()
    });
    assert!(matches!(fetched, Err(LogError::NoConsumer { .. })), "{fetched:?}");
    let again = consumer.fetch(1, PATIENCE).await;
    assert!(matches!(again, Err(LogError::NoConsumer { .. })), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_record_over_the_servers_limit_is_refused_and_its_siblings_are_not() {
    let Some(server) = Server::start(Version::Current, "max_payload: 100000").await else { return };
    let log = open(&server.url("")).await;
    log.ensure_stream(&stream("s", "s.>")).await.unwrap();
    let max = log.record_bytes_max();
    let sized = |bytes: usize| Record::new(Subject::new("s.x").unwrap(), vec![7; bytes]);
    let answers = log.publish(vec![sized(max - 3), sized(100_001), sized(1)]).await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    let refused = answers[1].as_ref().unwrap_err();
    assert!(matches!(refused, LogError::TooLarge { max: 100_000, .. }));
    assert!(refused.to_string().contains("max_payload"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_set_otherwise_is_used_as_it_is_and_changed_on_request() {
    let Some(server) = Server::start(Version::Current, "").await else { return };
    let log = open(&server.url("")).await;
    let old = StreamConfig { records_max: Some(5_000_000), ..stream("s", "s.>") };
    log.ensure_stream(&old).await.unwrap();
    publish_all(&*log, 20, 20).await;
    let new = StreamConfig { records_max: Some(10), ..stream("s", "s.>") };
    let info = log.ensure_stream(&new).await.unwrap();
    assert_eq!((info.config.records_max, info.records), (Some(5_000_000), 20));
    let warnings = log.warnings().await.unwrap().join("\n");
    assert!(warnings.contains("max_msgs is 5000000, wanted 10"), "{warnings}");
    assert!(warnings.contains("has one copy"), "{warnings}");
    let changing = open(&server.url("existing=change")).await;
    assert_eq!(changing.ensure_stream(&new).await.unwrap().records, 10);
    assert!(!changing.warnings().await.unwrap().join("\n").contains("max_msgs"));
}
