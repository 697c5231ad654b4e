//! What every log's streams must do.

use std::{collections::BTreeMap, time::Duration};

use wingbeat_record::{Time, name};

use super::{
    Harness, PATIENCE, ensure, filters, payload, publish, publish_numbers, read_exactly, record,
    with_id,
};
use crate::{Discard, Log, LogError, RECORD_BYTES_MAX, Start, StreamConfig};

/// `*` stands for one token, `>` for the rest.
pub async fn a_subject_leads_to_the_stream_that_captures_it(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "posts", &["a.posts.>"]).await;
    ensure(&*log, "one", &["b.*.x", "c"]).await;
    for (subject, stream) in
        [("a.posts.x", "posts"), ("a.posts.x.y", "posts"), ("b.1.x", "one"), ("c", "one")]
    {
        let ack = publish(&*log, record(subject, "p")).await.unwrap();
        assert_eq!(&*ack.stream, stream, "{subject}");
    }
    for subject in ["a.posts", "a", "b.1.2.x", "b.x", "c.d"] {
        let error = publish(&*log, record(subject, "p")).await.unwrap_err();
        assert!(matches!(error, LogError::NoStream { .. }), "{subject}: {error}");
    }
}

/// A subject in two streams would be stored twice, and an output inside an input feeds itself.
pub async fn overlapping_streams_are_refused(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "posts", &["bluesky.posts.>"]).await;
    let other = StreamConfig::new("sentiment", filters(&["x", "bluesky.posts.sentiment.>"]));
    let error = log.ensure_stream(&other).await.unwrap_err();
    assert!(matches!(error, LogError::Overlap { .. }), "{error}");
    assert!(log.stream("sentiment").await.is_err());
    ensure(&*log, "enriched", &["bluesky.enriched.>"]).await;
}

/// Names become file names and protocol tokens.
pub async fn invalid_names_are_refused(harness: &dyn Harness) {
    let log = harness.open().await;
    for name in ["", "a b", "a.b", "../up", "a/b", "a>", &"x".repeat(65)] {
        let refused = log.ensure_stream(&StreamConfig::new(name, filters(&["s"]))).await;
        assert!(matches!(refused, Err(LogError::Invalid(_))), "{name:?}");
        assert!(matches!(log.bucket(name).await, Err(LogError::Invalid(_))), "{name:?}");
    }
    let without_subject = StreamConfig::new("s", Vec::new());
    assert!(matches!(log.ensure_stream(&without_subject).await, Err(LogError::Invalid(_))));
    let error = log.stream("missing").await.unwrap_err();
    assert!(matches!(error, LogError::UnknownStream { .. }), "{error}");
}

/// `ensure_stream` creates, leaves alone, or changes.
pub async fn streams_are_listed_and_their_settings_change(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "b", &["b.>"]).await;
    ensure(&*log, "a", &["a.>"]).await;
    publish_numbers(&*log, "a.x", 10).await;
    ensure(&*log, "a", &["a.>"]).await;
    let names: Vec<String> =
        log.streams().await.unwrap().into_iter().map(|info| info.config.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(log.stream("a").await.unwrap().records, 10);

    let changed = StreamConfig {
        records_max: Some(4),
        ..StreamConfig::new("a", filters(&["a.>", "also.a"]))
    };
    assert_eq!(log.ensure_stream(&changed).await.unwrap().records, 4);
    publish(&*log, record("also.a", "p")).await.unwrap();
    log.close().await.unwrap();
    let log = harness.open().await;
    let info = log.stream("a").await.unwrap();
    assert_eq!((info.config, info.records, info.last), (changed, 4, 11));
}

/// Any payload and headers, in the order of publishing.
pub async fn sequences_follow_one_another_and_payloads_come_back_as_they_were(
    harness: &dyn Harness,
) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    let payloads: Vec<Vec<u8>> =
        vec![vec![], vec![0, 255, 10], b"{}".to_vec(), vec![7; 300_000], "é😀".into()];
    let mut sent = Vec::new();
    for (index, payload) in payloads.into_iter().enumerate() {
        let mut record = record("s.x", payload);
        record.headers.set(name::CORRELATION_ID, format!("c{index}"));
        record.headers.try_set("X-Other", "wörld; \"quoted\"").unwrap();
        sent.push(record);
    }
    let acks = log.publish(sent.clone()).await;
    let before = Time::now();
    for (ack, expected) in acks.into_iter().zip(1..) {
        let ack = ack.unwrap();
        assert_eq!((ack.sequence, ack.is_duplicate), (expected, false));
    }
    let mut reader = log.read("s", Start::First, &[]).await.unwrap();
    let stored = read_exactly(&mut *reader, 5).await;
    for ((stored, sent), sequence) in stored.into_iter().zip(sent).zip(1..) {
        assert_eq!(stored.sequence, sequence);
        assert!(stored.time <= before.plus(PATIENCE));
        assert_eq!(stored.record, sent);
        assert_eq!(log.get("s", sequence).await.unwrap().unwrap().record, sent);
    }
    assert_eq!(log.get("s", 6).await.unwrap(), None);
}

/// The second copy is answered with the first one's sequence and not stored.
pub async fn i3_a_message_id_is_stored_once_within_the_window(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    ensure(&*log, "other", &["o.>"]).await;
    let first = publish(&*log, with_id("s.1", "a", "id")).await.unwrap();
    assert_eq!((first.sequence, first.is_duplicate), (1, false));
    let again = publish(&*log, with_id("s.2", "b", "id")).await.unwrap();
    assert_eq!((again.sequence, again.is_duplicate), (1, true));
    // Also inside one call, also between calls that run side by side.
    let call = || vec![with_id("s.1", "c", "x"), with_id("s.1", "d", "x"), record("s.1", "e")];
    let (left, right) = tokio::join!(log.publish(call()), log.publish(call()));
    let fresh = left.iter().chain(&right).filter(|ack| !ack.as_ref().unwrap().is_duplicate).count();
    assert_eq!(fresh, 3, "x once, and the two records without an id");
    // Another stream has a window of its own.
    assert!(!publish(&*log, with_id("o.1", "a", "id")).await.unwrap().is_duplicate);
    assert_eq!(log.stream("s").await.unwrap().records, 4);
}

/// A replay after a restart adds nothing.
pub async fn i3_a_message_id_is_remembered_over_a_restart(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    let records = || (0..500).map(|n| with_id("s.x", "p", &n.to_string())).collect::<Vec<_>>();
    log.publish(records()).await;
    log.close().await.unwrap();
    let log = harness.open().await;
    for (ack, expected) in log.publish(records()).await.into_iter().zip(1..) {
        let ack = ack.unwrap();
        assert_eq!((ack.sequence, ack.is_duplicate), (expected, true));
    }
    assert_eq!(log.stream("s").await.unwrap().records, 500);
}

/// The window is a window, not for ever.
pub async fn a_message_id_is_forgotten_after_the_window(harness: &dyn Harness) {
    let log = harness.open().await;
    let config = StreamConfig {
        duplicate_window: Duration::from_millis(200),
        ..StreamConfig::new("s", filters(&["s.>"]))
    };
    log.ensure_stream(&config).await.unwrap();
    publish(&*log, with_id("s.x", "a", "id")).await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while publish(&*log, with_id("s.x", "a", "id")).await.unwrap().is_duplicate {
        assert!(tokio::time::Instant::now() < deadline, "the id is remembered for ever");
        tokio::task::yield_now().await;
    }
}

/// Acknowledged means kept.
pub async fn i2_acknowledged_records_survive_a_restart(harness: &dyn Harness) {
    for _ in 0..3 {
        let log = harness.open().await;
        ensure(&*log, "s", &["s.>"]).await;
        publish_numbers(&*log, "s.x", 100).await;
        log.close().await.unwrap();
    }
    let log = harness.open().await;
    let mut reader = log.read("s", Start::First, &[]).await.unwrap();
    for (stored, index) in read_exactly(&mut *reader, 300).await.iter().zip(0..) {
        assert_eq!((stored.sequence, payload(stored)), (index + 1, (index % 100).to_string()));
    }
}

/// Exactly the newest `records_max` records stay.
pub async fn retention_by_count_keeps_the_newest(harness: &dyn Harness) {
    let log = harness.open().await;
    let config =
        StreamConfig { records_max: Some(10), ..StreamConfig::new("s", filters(&["s.>"])) };
    log.ensure_stream(&config).await.unwrap();
    publish_numbers(&*log, "s.x", 35).await;
    let info = log.stream("s").await.unwrap();
    assert_eq!((info.records, info.first, info.last), (10, 26, 35));
    assert_eq!(log.get("s", 25).await.unwrap(), None);
    assert_eq!(payload(&log.get("s", 26).await.unwrap().unwrap()), "25");
    let mut reader = log.read("s", Start::Sequence(3), &[]).await.unwrap();
    assert_eq!(read_exactly(&mut *reader, 10).await[0].sequence, 26);
}

/// The stream stays within its bytes, and close to them.
pub async fn retention_by_bytes_keeps_the_newest(harness: &dyn Harness) {
    let log = harness.open().await;
    let max = 400_000;
    let config = StreamConfig { bytes_max: Some(max), ..StreamConfig::new("s", filters(&["s.>"])) };
    log.ensure_stream(&config).await.unwrap();
    for _ in 0..100 {
        let records = (0..20).map(|_| record("s.x", vec![1; 1000])).collect();
        for answer in log.publish(records).await {
            answer.unwrap();
        }
        assert!(log.stream("s").await.unwrap().bytes <= max);
    }
    let info = log.stream("s").await.unwrap();
    assert_eq!(info.last, 2000);
    assert!(info.bytes > max * 9 / 10, "{info:?}");
    let mut reader = log.read("s", Start::First, &[]).await.unwrap();
    let kept = read_exactly(&mut *reader, usize::try_from(info.records).unwrap()).await;
    assert_eq!(kept.last().unwrap().sequence, 2000);
}

/// Old records go by themselves.
pub async fn retention_by_age_drops_the_oldest(harness: &dyn Harness) {
    let log = harness.open().await;
    let config = StreamConfig {
        age_max: Some(Duration::from_secs(1)),
        duplicate_window: Duration::from_millis(500),
        ..StreamConfig::new("s", filters(&["s.>"]))
    };
    log.ensure_stream(&config).await.unwrap();
    publish_numbers(&*log, "s.x", 5).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while log.stream("s").await.unwrap().records > 0 {
        assert!(tokio::time::Instant::now() < deadline, "old records stay for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let info = log.stream("s").await.unwrap();
    assert_eq!((info.first, info.last), (6, 5));
    assert_eq!(publish(&*log, record("s.x", "p")).await.unwrap().sequence, 6);
}

/// `Discard::New` is back-pressure: an error for the new, nothing lost of the old.
pub async fn a_full_stream_that_discards_new_refuses_and_loses_nothing(harness: &dyn Harness) {
    let log = harness.open().await;
    let config = StreamConfig {
        records_max: Some(5),
        discard: Discard::New,
        ..StreamConfig::new("s", filters(&["s.>"]))
    };
    log.ensure_stream(&config).await.unwrap();
    let answers = log.publish((0..8).map(|n| record("s.x", n.to_string())).collect()).await;
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(taken, 5);
    assert!(answers[5..].iter().all(|answer| matches!(answer, Err(LogError::Full { .. }))));
    let info = log.stream("s").await.unwrap();
    assert_eq!((info.first, info.last, info.records), (1, 5, 5));
}

/// First, last, new, a sequence, a time.
pub async fn reading_starts_at_each_kind_of_place(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    publish_numbers(&*log, "s.x", 20).await;
    let middle = log.get("s", 20).await.unwrap().unwrap().time.plus(Duration::from_micros(1));
    while Time::now() <= middle {
        tokio::task::yield_now().await;
    }
    publish_numbers(&*log, "s.x", 20).await;
    for (start, expected) in [
        (Start::First, 1),
        (Start::Last, 40),
        (Start::Sequence(17), 17),
        (Start::Sequence(0), 1),
        (Start::Time(middle), 21),
        (Start::Time(Time::from_micros(0)), 1),
    ] {
        let mut reader = log.read("s", start, &[]).await.unwrap();
        let first = &read_exactly(&mut *reader, 1).await[0];
        assert_eq!(first.sequence, expected, "{start:?}");
    }
    let future = Start::Time(Time::now().plus(Duration::from_secs(3600)));
    for start in [Start::New, future, Start::Sequence(41)] {
        let mut reader = log.read("s", start, &[]).await.unwrap();
        assert!(reader.next(1, Duration::ZERO).await.unwrap().is_empty(), "{start:?}");
    }
}

/// A reader at the end gets what comes next.
pub async fn reading_waits_for_what_comes(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    let mut reader = log.read("s", Start::New, &[]).await.unwrap();
    assert!(reader.next(10, Duration::ZERO).await.unwrap().is_empty());
    let (records, ()) = tokio::join!(reader.next(10, PATIENCE), async {
        publish_numbers(&*log, "s.x", 1).await;
    });
    assert_eq!(records.unwrap().len(), 1);
    // Dropping a waiting read loses nothing.
    for _ in 0..3 {
        let waiting = reader.next(10, PATIENCE);
        assert!(tokio::time::timeout(Duration::from_millis(5), waiting).await.is_err());
    }
    publish_numbers(&*log, "s.x", 7).await;
    assert_eq!(read_exactly(&mut *reader, 7).await.len(), 7);
}

/// Several filters, with wildcards.
pub async fn reading_follows_filters(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    for subject in ["s.positive.sports", "s.negative.sports", "s.positive.music", "s.x"] {
        publish(&*log, record(subject, "p")).await.unwrap();
    }
    for (wanted, expected) in [
        (&["s.*.sports"][..], vec![1, 2]),
        (&["s.positive.>"][..], vec![1, 3]),
        (&["s.x", "s.negative.*"][..], vec![2, 4]),
        (&["s.>"][..], vec![1, 2, 3, 4]),
    ] {
        let mut reader = log.read("s", Start::First, &filters(wanted)).await.unwrap();
        let found = read_exactly(&mut *reader, expected.len()).await;
        let found: Vec<u64> = found.iter().map(|stored| stored.sequence).collect();
        assert_eq!(found, expected, "{wanted:?}");
        assert!(reader.next(1, Duration::ZERO).await.unwrap().is_empty());
    }
}

/// Deleted means gone: for readers, consumers and after a restart. A replay does not bring it
/// back.
pub async fn i8_a_deleted_record_is_gone_and_stays_gone(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    for n in 1..=5 {
        publish(&*log, with_id("s.x", "secret", &n.to_string())).await.unwrap();
    }
    assert!(log.delete("s", 3).await.unwrap());
    assert!(log.delete("s", 5).await.unwrap());
    assert!(!log.delete("s", 3).await.unwrap(), "it is gone already");
    assert!(!log.delete("s", 99).await.unwrap());
    let check = async |log: &dyn Log| {
        assert_eq!(log.get("s", 3).await.unwrap(), None);
        let mut reader = log.read("s", Start::First, &[]).await.unwrap();
        let left: Vec<u64> =
            read_exactly(&mut *reader, 3).await.iter().map(|stored| stored.sequence).collect();
        assert_eq!(left, [1, 2, 4]);
        let info = log.stream("s").await.unwrap();
        assert_eq!((info.records, info.deleted, info.last), (3, 2, 5));
        assert!(info.lost.is_empty());
    };
    check(&*log).await;
    let replayed = publish(&*log, with_id("s.x", "secret", "3")).await.unwrap();
    assert!(replayed.is_duplicate, "a replay must not bring it back");
    log.close().await.unwrap();
    let log = harness.open().await;
    check(&*log).await;
    assert_eq!(publish(&*log, record("s.x", "p")).await.unwrap().sequence, 6);
}

/// Each record of a call is answered for itself.
pub async fn i6_oversized_records_are_refused_and_their_siblings_stored(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    let answers = log
        .publish(vec![
            record("s.x", "a"),
            record("s.x", vec![0; RECORD_BYTES_MAX + 1]),
            record("elsewhere", "b"),
            record("s.x", "c"),
        ])
        .await;
    assert_eq!(answers[0].as_ref().unwrap().sequence, 1);
    assert!(matches!(answers[1], Err(LogError::TooLarge { .. })));
    assert!(matches!(answers[2], Err(LogError::NoStream { .. })));
    assert_eq!(answers[3].as_ref().unwrap().sequence, 2);
}

/// Side by side, each publisher's records stay in its order, and every sequence is used once.
pub async fn many_publishers_keep_their_own_order(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    let publishers: Vec<_> = (0..8)
        .map(|publisher| {
            let log = std::sync::Arc::clone(&log);
            tokio::spawn(async move {
                for call in 0..25 {
                    let records = (0..4)
                        .map(|n| record(&format!("s.{publisher}"), (call * 4 + n).to_string()));
                    for answer in log.publish(records.collect()).await {
                        answer.unwrap();
                    }
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let mut reader = log.read("s", Start::First, &[]).await.unwrap();
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for (stored, sequence) in read_exactly(&mut *reader, 800).await.iter().zip(1..) {
        assert_eq!(stored.sequence, sequence);
        let count = next.entry(stored.record.subject.to_string()).or_default();
        assert_eq!(payload(stored), count.to_string());
        *count += 1;
    }
}

/// After closing, every call says so.
pub async fn a_closed_log_answers_so(harness: &dyn Harness) {
    let log = harness.open().await;
    ensure(&*log, "s", &["s.>"]).await;
    log.close().await.unwrap();
    log.close().await.unwrap();
    let refused = publish(&*log, record("s.x", "p")).await.unwrap_err();
    assert!(matches!(refused, LogError::Closed), "{refused}");
    assert!(matches!(log.stream("s").await, Err(LogError::Closed)));
    assert!(matches!(log.bucket("b").await, Err(LogError::Closed)));
}
