//! What purging and removing streams must do on every log.

use std::time::Duration;

use super::{
    Harness, PATIENCE, consumer, ensure, expect_nothing, fetch_exactly, filters, payload, publish,
    publish_numbers, read_exactly, record, settle_all,
};
use crate::{ConsumerConfig, Discard, Keep, Log, LogError, Purge, Settle, Start, StreamConfig};

fn keeping(keep: Keep) -> Purge {
    Purge { filter: None, keep }
}

/// The sequences that can be read.
async fn sequences(log: &dyn Log) -> Vec<u64> {
    let count = log.stream("s").await.unwrap().records;
    let mut reader = log.read("s", Start::First, &[]).await.unwrap();
    let records = read_exactly(&mut *reader, usize::try_from(count).unwrap()).await;
    assert!(reader.next(1, Duration::ZERO).await.unwrap().is_empty());
    records.iter().map(|stored| stored.sequence).collect()
}

/// Everything goes, also over a restart; what comes then follows on.
pub async fn what_is_purged_is_gone_and_sequences_go_on(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    assert_eq!(log.purge("s", &Purge::default()).await.unwrap(), 0);
    publish_numbers(&*log, "s.x", 10).await;
    assert_eq!(log.purge("s", &Purge::default()).await.unwrap(), 10);
    assert_eq!(log.purge("s", &Purge::default()).await.unwrap(), 0);
    let info = log.stream("s").await.unwrap();
    assert_eq!((info.first, info.last, info.records, info.deleted), (11, 10, 0, 0));
    assert!(info.lost.is_empty());
    assert_eq!(log.get("s", 5).await.unwrap(), None);
    log.close().await.unwrap();
    let log = harness.open().await;
    let info = log.stream("s").await.unwrap();
    assert_eq!((info.first, info.last, info.records), (11, 10, 0));
    assert_eq!(log.problems().await.unwrap(), [""; 0]);
    assert_eq!(publish(&*log, record("s.x", "p")).await.unwrap().sequence, 11);
    assert_eq!(sequences(&*log).await, [11]);
    let unknown = log.purge("missing", &Purge::default()).await;
    assert!(matches!(unknown, Err(LogError::UnknownStream { .. })), "{unknown:?}");
}

/// The newest, or what has a sequence.
pub async fn what_is_to_stay_is_not_purged(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    publish_numbers(&*log, "s.x", 20).await;
    for (keep, purged, first) in [
        (Keep::From(0), 0, 1),
        (Keep::From(1), 0, 1),
        (Keep::From(4), 3, 4),
        (Keep::Newest(100), 0, 4),
        (Keep::Newest(12), 5, 9),
        (Keep::From(2), 0, 9),
    ] {
        assert_eq!(log.purge("s", &keeping(keep)).await.unwrap(), purged, "{keep:?}");
        assert_eq!(sequences(&*log).await, (first..=20).collect::<Vec<_>>(), "{keep:?}");
    }
    log.close().await.unwrap();
    let log = harness.open().await;
    assert_eq!(sequences(&*log).await, (9..=20).collect::<Vec<_>>());
    // Behind the end there is nothing to jump over.
    assert_eq!(log.purge("s", &keeping(Keep::From(1000))).await.unwrap(), 12);
    assert_eq!(publish(&*log, record("s.x", "p")).await.unwrap().sequence, 21);
}

/// By subject; the others stay where they are.
pub async fn only_what_matches_is_purged(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    for n in 0..12 {
        publish(&*log, record(["s.a", "s.b", "s.c"][n % 3], n.to_string())).await.unwrap();
    }
    let purge = |filter: &str, keep| Purge { filter: filters(&[filter]).pop(), keep };
    // s.a: 1 4 7 10, s.b: 2 5 8 11, s.c: 3 6 9 12
    for (purge, purged, left) in [
        (purge("s.x", Keep::Nothing), 0, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12][..]),
        (purge("s.a", Keep::From(7)), 2, &[2, 3, 5, 6, 7, 8, 9, 10, 11, 12]),
        (purge("s.b", Keep::Newest(1)), 3, &[3, 6, 7, 9, 10, 11, 12]),
        (purge("s.*", Keep::Newest(5)), 2, &[7, 9, 10, 11, 12]),
        (purge("s.c", Keep::Nothing), 2, &[7, 10, 11]),
    ] {
        assert_eq!(log.purge("s", &purge).await.unwrap(), purged, "{purge:?}");
        assert_eq!(sequences(&*log).await, left, "{purge:?}");
    }
    log.close().await.unwrap();
    let log = harness.open().await;
    assert_eq!(sequences(&*log).await, [7, 10, 11]);
    assert_eq!(payload(&log.get("s", 10).await.unwrap().unwrap()), "9");
    assert_eq!(log.stream("s").await.unwrap().first, 7);
}

/// What was refused is taken once there is room.
pub async fn i4_a_full_stream_takes_records_again_after_a_purge(harness: &dyn Harness) {
    let log = harness.open().await;
    let config = StreamConfig {
        records_max: Some(3),
        discard: Discard::New,
        ..StreamConfig::new("s", filters(&["s.>"]))
    };
    log.ensure_stream(&config).await.unwrap();
    publish_numbers(&*log, "s.x", 3).await;
    let refused = publish(&*log, record("s.x", "p")).await;
    assert!(matches!(refused, Err(LogError::Full { .. })), "{refused:?}");
    assert_eq!(log.purge("s", &keeping(Keep::Newest(2))).await.unwrap(), 1);
    assert_eq!(publish(&*log, record("s.x", "p")).await.unwrap().sequence, 4);
    assert_eq!(sequences(&*log).await, [2, 3, 4]);
}

/// As with retention: a gap is told.
pub async fn i5_what_is_purged_before_a_consumer_came_to_it_is_missed(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    publish_numbers(&*log, "s.x", 10).await;
    let consumer = consumer(&*log, &ConsumerConfig::new("c")).await;
    let first = fetch_exactly(&*consumer, 2).await;
    settle_all(&*consumer, &first, Settle::Ack).await;
    log.purge("s", &keeping(Keep::From(8))).await.unwrap();
    let rest = fetch_exactly(&*consumer, 3).await;
    assert_eq!(rest[0].stored.sequence, 8);
    settle_all(&*consumer, &rest, Settle::Ack).await;
    let info = consumer.info().await.unwrap();
    let missed: Vec<_> = info.missed.iter().map(|m| (m.first, m.last)).collect();
    assert_eq!((missed, info.ack_floor), (vec![(3, 7)], 10));
    // What it had settled is not missed.
    log.purge("s", &Purge::default()).await.unwrap();
    publish_numbers(&*log, "s.x", 1).await;
    assert_eq!(fetch_exactly(&*consumer, 1).await[0].stored.sequence, 11);
    assert_eq!(consumer.info().await.unwrap().missed.len(), 1);
}

/// Its records, consumers and subjects; a new one of the name begins from nothing.
pub async fn a_removed_stream_is_gone_for_everybody(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    ensure(&*log, "other", &["o.>"]).await;
    publish_numbers(&*log, "s.x", 5).await;
    let held = consumer(&*log, &ConsumerConfig::new("c")).await;
    let deliveries = fetch_exactly(&*held, 5).await;
    let mut reader = log.read("s", Start::New, &[]).await.unwrap();
    log.remove_stream("s").await.unwrap();
    let gone = |error: &LogError| matches!(error, LogError::UnknownStream { .. });
    assert!(gone(&log.stream("s").await.unwrap_err()));
    assert!(gone(&log.remove_stream("s").await.unwrap_err()));
    assert!(gone(&held.fetch(1, PATIENCE).await.unwrap_err()));
    assert!(gone(&reader.next(1, PATIENCE).await.unwrap_err()));
    let refused = publish(&*log, record("s.x", "p")).await.unwrap_err();
    assert!(matches!(refused, LogError::NoStream { .. }), "{refused}");
    // What is settled now was of the stream that is gone.
    let settled: Vec<_> = deliveries.iter().map(|d| (d.token, Settle::Ack)).collect();
    assert!(held.settle(&settled).await.is_err());
    ensure(&*log, "s", &["s.>"]).await;
    publish_numbers(&*log, "s.x", 2).await;
    log.close().await.unwrap();
    let log = harness.open().await;
    assert_eq!(log.problems().await.unwrap(), [""; 0]);
    let names = log.streams().await.unwrap().into_iter().map(|info| info.config.name);
    assert_eq!(names.collect::<Vec<_>>(), ["other", "s"]);
    assert_eq!(sequences(&*log).await, [1, 2]);
    assert_eq!(log.consumers("s").await.unwrap().len(), 0);
    let again = consumer(&*log, &ConsumerConfig::new("c")).await;
    let deliveries = fetch_exactly(&*again, 2).await;
    settle_all(&*again, &deliveries, Settle::Ack).await;
    expect_nothing(&*again).await;
    log.remove_stream("s").await.unwrap();
    log.close().await.unwrap();
    let log = harness.open().await;
    assert!(gone(&log.stream("s").await.unwrap_err()));
}
