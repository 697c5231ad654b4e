//! What every log's durable consumers must do.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Harness, PATIENCE, consumer, ensure, expect_nothing, fetch_exactly, filters, publish,
    publish_numbers, record, settle_all,
};
use crate::{ConsumerConfig, Delivery, Log, LogError, Settle, Start, StreamConfig};

/// Far longer than a check takes: nothing comes again by itself.
const LONG: Duration = Duration::from_secs(600);
/// Short enough to wait for.
const SHORT: Duration = Duration::from_millis(150);

fn config(ack_wait: Duration) -> ConsumerConfig {
    ConsumerConfig { ack_wait, ..ConsumerConfig::new("c") }
}

fn sequences(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.stored.sequence).collect()
}

async fn stream_of(log: &dyn Log, records: usize) {
    ensure(log, "s", &["s.>"]).await;
    publish_numbers(log, "s.x", records).await;
}

/// The ordinary case.
pub async fn deliveries_come_in_order_and_once(harness: &dyn Harness) {
    let log = harness.open().await;
    stream_of(&*log, 100).await;
    let consumer = consumer(&*log, &config(LONG)).await;
    let mut seen = Vec::new();
    for _ in 0..10 {
        let deliveries = fetch_exactly(&*consumer, 10).await;
        assert!(deliveries.iter().all(|delivery| delivery.deliveries == 1));
        settle_all(&*consumer, &deliveries, Settle::Ack).await;
        seen.extend(sequences(&deliveries));
    }
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
    expect_nothing(&*consumer).await;
    let info = consumer.info().await.unwrap();
    assert_eq!((info.ack_floor, info.delivered, info.pending), (100, 100, 0));
    // A fetch waits for what comes.
    let (deliveries, ()) = tokio::join!(consumer.fetch(5, PATIENCE), async {
        publish_numbers(&*log, "s.x", 1).await;
    });
    assert_eq!(sequences(&deliveries.unwrap()), [101]);
}

/// Whoever forgets to acknowledge gets it again, counted.
pub async fn i2_what_is_not_acknowledged_comes_again_after_the_ack_wait(harness: &dyn Harness) {
    let log = harness.open().await;
    stream_of(&*log, 4).await;
    let consumer = consumer(&*log, &config(SHORT)).await;
    let first = fetch_exactly(&*consumer, 4).await;
    settle_all(&*consumer, &first[1..3], Settle::Ack).await;
    let again = fetch_exactly(&*consumer, 2).await;
    assert_eq!(sequences(&again), [1, 4]);
    assert!(again.iter().all(|delivery| delivery.deliveries == 2));
    assert_eq!(again[0].stored, first[0].stored);
    settle_all(&*consumer, &again, Settle::Ack).await;
    assert_eq!(consumer.info().await.unwrap().ack_floor, 4);
}

/// A nak without delay is at once; one with a delay is not before.
pub async fn a_nak_comes_again_after_its_delay(harness: &dyn Harness) {
    let log = harness.open().await;
    stream_of(&*log, 2).await;
    let consumer = consumer(&*log, &config(LONG)).await;
    let first = fetch_exactly(&*consumer, 2).await;
    let start = tokio::time::Instant::now();
    settle_all(&*consumer, &first[..1], Settle::Nak(SHORT)).await;
    settle_all(&*consumer, &first[1..], Settle::Nak(Duration::ZERO)).await;
    assert_eq!(sequences(&fetch_exactly(&*consumer, 1).await), [2]);
    let late = fetch_exactly(&*consumer, 1).await;
    assert_eq!((sequences(&late), late[0].deliveries), (vec![1], 2));
    assert!(start.elapsed() >= SHORT, "it came before its delay");
}

/// As long as progress is told, nobody else gets the record.
pub async fn progress_holds_a_redelivery_back(harness: &dyn Harness) {
    let log = harness.open().await;
    stream_of(&*log, 1).await;
    let ack_wait = Duration::from_millis(400);
    let consumer = consumer(&*log, &config(ack_wait)).await;
    let held = fetch_exactly(&*consumer, 1).await;
    let start = tokio::time::Instant::now();
    while start.elapsed() < ack_wait * 3 {
        settle_all(&*consumer, &held, Settle::Progress).await;
        let again = consumer.fetch(1, ack_wait / 8).await.unwrap();
        assert!(again.is_empty(), "it came again although work went on");
    }
    assert_eq!(fetch_exactly(&*consumer, 1).await[0].deliveries, 2);
}

/// A terminated record never comes again.
pub async fn term_ends_a_record(harness: &dyn Harness) {
    let log = harness.open().await;
    stream_of(&*log, 2).await;
    let consumer = consumer(&*log, &config(SHORT)).await;
    let first = fetch_exactly(&*consumer, 2).await;
    settle_all(&*consumer, &first[..1], Settle::Term).await;
    for deliveries in 2..4 {
        let again = fetch_exactly(&*consumer, 1).await;
        assert_eq!((sequences(&again), again[0].deliveries), (vec![2], deliveries));
    }
}

/// After `deliver_max` deliveries a record is left alone.
pub async fn deliveries_end_at_the_maximum(harness: &dyn Harness) {
    let log = harness.open().await;
    stream_of(&*log, 1).await;
    let limited = ConsumerConfig { deliver_max: Some(3), ..config(LONG) };
    let consumer = consumer(&*log, &limited).await;
    for deliveries in 1..=3 {
        let delivered = fetch_exactly(&*consumer, 1).await;
        assert_eq!(delivered[0].deliveries, deliveries);
        settle_all(&*consumer, &delivered, Settle::Nak(Duration::ZERO)).await;
    }
    expect_nothing(&*consumer).await;
    publish(&*log, record("s.x", "next")).await.unwrap();
    assert_eq!(sequences(&fetch_exactly(&*consumer, 1).await), [2]);
}

/// `ack_pending_max` is the back-pressure of a consumer.
pub async fn unsettled_deliveries_are_bounded(harness: &dyn Harness) {
    let log = harness.open().await;
    stream_of(&*log, 10).await;
    let bounded = ConsumerConfig { ack_pending_max: 4, ..config(LONG) };
    let consumer = consumer(&*log, &bounded).await;
    let first = fetch_exactly(&*consumer, 4).await;
    expect_nothing(&*consumer).await;
    assert_eq!(consumer.info().await.unwrap().unsettled, [1, 2, 3, 4]);
    // A waiting fetch goes on as soon as there is room.
    let (more, ()) = tokio::join!(consumer.fetch(10, PATIENCE), async {
        settle_all(&*consumer, &first[2..3], Settle::Ack).await;
    });
    assert_eq!(sequences(&more.unwrap()), [5]);
    assert_eq!(consumer.info().await.unwrap().ack_floor, 0);
}

/// Only what matches is delivered, and the rest does not stand in the way.
pub async fn a_consumer_follows_its_filters(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    for subject in ["s.a.1", "s.b.1", "s.a.2", "s.c", "s.b.2"] {
        publish(&*log, record(subject, "p")).await.unwrap();
    }
    let filtered = ConsumerConfig { filters: filters(&["s.a.*", "s.c"]), ..config(LONG) };
    let consumer = consumer(&*log, &filtered).await;
    let deliveries = fetch_exactly(&*consumer, 3).await;
    assert_eq!(sequences(&deliveries), [1, 3, 4]);
    settle_all(&*consumer, &deliveries, Settle::Ack).await;
    expect_nothing(&*consumer).await;
    assert_eq!(consumer.info().await.unwrap().pending, 0);
}

/// Acknowledged records stay acknowledged, unsettled ones come at once and counted.
pub async fn i10_a_restart_keeps_the_place_and_brings_back_what_was_unsettled(
    harness: &dyn Harness,
) {
    let log = harness.open().await;
    stream_of(&*log, 10).await;
    let handle = consumer(&*log, &config(LONG)).await;
    let deliveries = fetch_exactly(&*handle, 6).await;
    settle_all(&*handle, &deliveries[..2], Settle::Ack).await;
    settle_all(&*handle, &deliveries[3..4], Settle::Ack).await;
    log.close().await.unwrap();

    let log = harness.open().await;
    let infos = log.consumers("s").await.unwrap();
    assert_eq!((infos.len(), infos[0].ack_floor, infos[0].delivered), (1, 2, 6));
    let handle = consumer(&*log, &config(LONG)).await;
    let deliveries = fetch_exactly(&*handle, 7).await;
    assert_eq!(sequences(&deliveries), [3, 5, 6, 7, 8, 9, 10]);
    let counts: Vec<u32> = deliveries.iter().map(|delivery| delivery.deliveries).collect();
    assert_eq!(counts, [2, 2, 2, 1, 1, 1, 1]);
}

/// The start counts when the consumer is new, and never again.
pub async fn a_consumer_starts_where_it_is_told(harness: &dyn Harness) {
    let log = harness.open().await;
    stream_of(&*log, 5).await;
    for (name, start, expected) in [
        ("first", Start::First, 1),
        ("last", Start::Last, 5),
        ("sequence", Start::Sequence(3), 3),
        ("new", Start::New, 6),
    ] {
        let config = ConsumerConfig { start, ack_wait: LONG, ..ConsumerConfig::new(name) };
        let consumer = log.consumer("s", &config).await.unwrap();
        if start == Start::New {
            publish(&*log, record("s.x", "p")).await.unwrap();
        }
        let first = fetch_exactly(&*consumer, 1).await;
        assert_eq!(sequences(&first), [expected], "{name}");
        settle_all(&*consumer, &first, Settle::Ack).await;
        // Another start for a consumer that exists changes nothing about its place.
        let elsewhere = ConsumerConfig { start: Start::First, ..config };
        let same = log.consumer("s", &elsewhere).await.unwrap();
        let info = same.info().await.unwrap();
        assert_eq!((info.ack_floor, info.config.start), (expected, start), "{name}");
    }
    let unknown = log.consumer("missing", &config(LONG)).await;
    assert!(matches!(unknown, Err(LogError::UnknownStream { .. })));
}

/// Two handles on one consumer: each record goes to one of them.
pub async fn two_fetchers_share_a_consumer(harness: &dyn Harness) {
    let log = harness.open().await;
    stream_of(&*log, 200).await;
    let fetch_all = async |mut seen: Vec<u64>| {
        let handle = consumer(&*log, &config(LONG)).await;
        loop {
            let deliveries = handle.fetch(7, Duration::from_millis(50)).await.unwrap();
            if deliveries.is_empty() {
                return seen;
            }
            settle_all(&*handle, &deliveries, Settle::Ack).await;
            seen.extend(sequences(&deliveries));
            tokio::task::yield_now().await;
        }
    };
    let (left, right) = tokio::join!(fetch_all(Vec::new()), fetch_all(Vec::new()));
    assert_eq!(left.len() + right.len(), 200);
    let all: BTreeSet<u64> = left.into_iter().chain(right).collect();
    assert_eq!(all.len(), 200);
}

/// A fetch may be given up at any await point.
pub async fn a_fetch_that_is_dropped_loses_nothing(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    let handle = consumer(&*log, &config(Duration::from_secs(1))).await;
    for patience_us in [0, 50, 100, 200, 500, 1000, 2000] {
        publish_numbers(&*log, "s.x", 2).await;
        let patience = Duration::from_micros(patience_us);
        if let Ok(deliveries) = tokio::time::timeout(patience, handle.fetch(1, PATIENCE)).await {
            settle_all(&*handle, &deliveries.unwrap(), Settle::Ack).await;
        }
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while handle.info().await.unwrap().ack_floor < 14 {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", handle.info().await);
        let deliveries = handle.fetch(10, Duration::from_millis(100)).await.unwrap();
        settle_all(&*handle, &deliveries, Settle::Ack).await;
    }
}

/// What retention removed before the consumer came to it is counted, not passed over in silence.
pub async fn i5_expired_records_are_reported_as_missed(harness: &dyn Harness) {
    let log = harness.open().await;
    let small = StreamConfig { records_max: Some(10), ..StreamConfig::new("s", filters(&["s.>"])) };
    log.ensure_stream(&small).await.unwrap();
    publish_numbers(&*log, "s.x", 3).await;
    let handle = consumer(&*log, &config(LONG)).await;
    let deliveries = fetch_exactly(&*handle, 1).await;
    settle_all(&*handle, &deliveries, Settle::Ack).await;
    publish_numbers(&*log, "s.x", 30).await;
    let deliveries = fetch_exactly(&*handle, 10).await;
    assert_eq!(sequences(&deliveries), (24..=33).collect::<Vec<_>>());
    let missed = handle.info().await.unwrap().missed;
    let ranges: Vec<_> = missed.iter().map(|range| (range.first, range.last)).collect();
    assert_eq!(ranges, [(2, 23)]);
}

/// Also those that nobody has opened since the start.
pub async fn consumers_are_listed(harness: &dyn Harness) {
    let log = harness.open().await;
    stream_of(&*log, 3).await;
    for name in ["b", "a"] {
        log.consumer("s", &ConsumerConfig::new(name)).await.unwrap();
    }
    log.close().await.unwrap();
    let log = harness.open().await;
    log.consumer("s", &ConsumerConfig::new("b")).await.unwrap();
    let infos = log.consumers("s").await.unwrap();
    let names: Vec<&str> = infos.iter().map(|info| info.config.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(infos.iter().all(|info| info.pending == 3 && info.ack_floor == 0));
}
