//! What the embedded log does about files that are not as it left them: it repairs, or it says
//! exactly what is lost, and everything else is still there.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;
use wingbeat_log::{Access, ConsumerConfig, Log, LogError, LogUrl, Settle, Start, StreamConfig};
use wingbeat_record::{MessageId, Record, Subject, SubjectFilter};

/// Segments of a stream that is limited to 1 MiB have 64 KiB, so a few hundred records make
/// several files.
const SMALL_SEGMENTS: u64 = 1024 * 1024;

async fn open(directory: &Path) -> Arc<dyn Log> {
    LogUrl::Embedded(directory.to_owned()).open(Access::Write).await.unwrap()
}

fn config() -> StreamConfig {
    StreamConfig {
        bytes_max: Some(SMALL_SEGMENTS),
        ..StreamConfig::new("s", vec![SubjectFilter::new("s.>").unwrap()])
    }
}

fn payload(sequence: u64) -> Vec<u8> {
    format!("payload {sequence} {}", "x".repeat(usize::try_from(sequence % 97).unwrap()))
        .into_bytes()
}

/// Publishes sequences `from..=to` in small groups, so that there are many of them.
async fn publish(log: &dyn Log, from: u64, to: u64) {
    for sequence in from..=to {
        let record = Record::new(Subject::new("s.x").unwrap(), payload(sequence))
            .with_id(MessageId::new(sequence.to_string()));
        let ack = log.publish(vec![record]).await.pop().unwrap().unwrap();
        assert_eq!((ack.sequence, ack.is_duplicate), (sequence, false));
    }
}

/// A log with `records` records, closed in good order.
async fn log_with(directory: &Path, records: u64) {
    let log = open(directory).await;
    log.ensure_stream(&config()).await.unwrap();
    publish(&*log, 1, records).await;
    log.close().await.unwrap();
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory.join("streams/s"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

/// All readable sequences; each must hold what was published under it.
async fn readable(log: &dyn Log) -> Vec<u64> {
    let mut reader = log.read("s", Start::First, &[]).await.unwrap();
    let mut sequences = Vec::new();
    loop {
        let records = reader.next(1000, Duration::ZERO).await.unwrap();
        if records.is_empty() {
            return sequences;
        }
        for stored in records {
            assert_eq!(stored.record.payload, payload(stored.sequence));
            sequences.push(stored.sequence);
        }
    }
}

async fn lost(log: &dyn Log) -> Vec<(u64, u64)> {
    let info = log.stream("s").await.unwrap();
    info.lost.iter().map(|range| (range.first, range.last)).collect()
}

/// Readable and lost records together are all records, each once.
async fn assert_nothing_is_unaccounted_for(log: &dyn Log, records: u64) {
    let mut all = readable(log).await;
    assert_eq!(log.stream("s").await.unwrap().records, all.len() as u64);
    for (first, last) in lost(log).await {
        all.extend(first..=last);
    }
    all.sort_unstable();
    assert_eq!(all, (1..=records).collect::<Vec<_>>());
}

fn flip(path: &Path, at: usize, mask: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= mask;
    fs::write(path, bytes).unwrap();
}

fn find(path: &Path, needle: &str) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap()
}

#[tokio::test]
async fn i5_a_damaged_record_is_reported_and_its_neighbours_stay() {
    let directory = tempfile::tempdir().unwrap();
    log_with(directory.path(), 30).await;
    let file = &segments(directory.path())[0];
    flip(file, find(file, "payload 17 "), 0x40);

    let log = open(directory.path()).await;
    assert_eq!(lost(&*log).await, [(17, 17)]);
    assert_nothing_is_unaccounted_for(&*log, 30).await;
    let problems = log.problems().await.unwrap();
    assert!(problems.len() == 1 && problems[0].contains("17..=17"), "{problems:?}");
    // A consumer that comes to it says that it missed it.
    let consumer = log.consumer("s", &ConsumerConfig::new("c")).await.unwrap();
    let deliveries = consumer.fetch(100, Duration::ZERO).await.unwrap();
    assert_eq!(deliveries.len(), 29);
    let missed = consumer.info().await.unwrap().missed;
    assert_eq!((missed[0].first, missed[0].last), (17, 17));
    // And it stays reported.
    publish(&*log, 31, 40).await;
    log.close().await.unwrap();
    let log = open(directory.path()).await;
    assert_eq!(lost(&*log).await, [(17, 17)]);
    assert_nothing_is_unaccounted_for(&*log, 40).await;
}

#[tokio::test]
async fn i5_a_cut_file_is_reported_and_writing_goes_on_behind_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    log_with(directory.path(), 30).await;
    let file = segments(directory.path()).pop().unwrap();
    let length = find(&file, "payload 21 ") as u64;
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(length).unwrap();

    let log = open(directory.path()).await;
    assert_eq!(lost(&*log).await, [(21, 30)]);
    publish(&*log, 31, 40).await;
    assert_nothing_is_unaccounted_for(&*log, 40).await;
    log.close().await.unwrap();
    let log = open(directory.path()).await;
    assert_eq!(lost(&*log).await, [(21, 30)]);
    assert_nothing_is_unaccounted_for(&*log, 40).await;
}

#[tokio::test]
async fn i10_a_torn_end_that_was_never_acknowledged_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    log_with(directory.path(), 30).await;
    let file = segments(directory.path()).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let whole = bytes.len();
    // The beginning of a frame, as a write that was interrupted leaves it.
    bytes.extend_from_within(32..92);
    fs::write(&file, bytes).unwrap();

    let log = open(directory.path()).await;
    assert!(lost(&*log).await.is_empty() && log.problems().await.unwrap().is_empty());
    assert_eq!(fs::metadata(&file).unwrap().len(), whole as u64);
    publish(&*log, 31, 31).await;
    assert_nothing_is_unaccounted_for(&*log, 31).await;
}

#[tokio::test]
async fn i5_missing_files_are_reported() {
    for which in ["first", "middle", "last", "all"] {
        let directory = tempfile::tempdir().unwrap();
        log_with(directory.path(), 1500).await;
        let files = segments(directory.path());
        assert!(files.len() >= 3, "{}", files.len());
        let base =
            |path: &Path| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
        let (gone, expected) = match which {
            "first" => (&files[..1], (1, base(&files[1]) - 1)),
            "middle" => (&files[1..2], (base(&files[1]), base(&files[2]) - 1)),
            "last" => (&files[files.len() - 1..], (base(&files[files.len() - 1]), 1500)),
            _ => (&files[..], (1, 1500)),
        };
        gone.iter().for_each(|path| fs::remove_file(path).unwrap());
        for _ in 0..2 {
            let log = open(directory.path()).await;
            assert_eq!(lost(&*log).await, [expected], "{which}");
            assert_nothing_is_unaccounted_for(&*log, 1500).await;
            log.close().await.unwrap();
        }
        let log = open(directory.path()).await;
        publish(&*log, 1501, 1510).await;
        assert_nothing_is_unaccounted_for(&*log, 1510).await;
        log.close().await.unwrap();
        let log = open(directory.path()).await;
        assert_nothing_is_unaccounted_for(&*log, 1510).await;
    }
}

#[tokio::test]
async fn a_damaged_file_header_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    log_with(directory.path(), 30).await;
    flip(&segments(directory.path())[0], 17, 0xFF);
    let log = open(directory.path()).await;
    assert_nothing_is_unaccounted_for(&*log, 30).await;
    assert!(lost(&*log).await.is_empty());
    assert!(log.problems().await.unwrap()[0].contains("header"));
}

#[tokio::test]
async fn i2_a_damaged_state_journal_costs_redeliveries_but_no_record_and_no_cursor() {
    let directory = tempfile::tempdir().unwrap();
    log_with(directory.path(), 30).await;
    let log = open(directory.path()).await;
    let consumer = log.consumer("s", &ConsumerConfig::new("c")).await.unwrap();
    let bucket = log.bucket("b").await.unwrap();
    for round in 0..3 {
        let deliveries = consumer.fetch(10, Duration::ZERO).await.unwrap();
        let acks: Vec<_> = deliveries.iter().map(|d| (d.token, Settle::Ack)).collect();
        consumer.settle(&acks).await.unwrap();
        bucket.put("cursor", format!("{round}").into()).await.unwrap();
    }
    log.close().await.unwrap();
    let newest = fs::read_dir(directory.path().join("state")).unwrap();
    let newest = newest.map(|entry| entry.unwrap().path()).max().unwrap();
    flip(&newest, find(&newest, "\"settled\"") + 1, 0x01);

    let log = open(directory.path()).await;
    let problems = log.problems().await.unwrap();
    assert!(problems.iter().any(|p| p.contains("state journal")), "{problems:?}");
    assert_nothing_is_unaccounted_for(&*log, 30).await;
    let consumer = log.consumer("s", &ConsumerConfig::new("c")).await.unwrap();
    let again = consumer.fetch(100, Duration::ZERO).await.unwrap();
    let again: Vec<u64> = again.iter().map(|delivery| delivery.stored.sequence).collect();
    assert_eq!(again, (1..=10).collect::<Vec<_>>(), "the first ten were forgotten, nothing else");
    let cursor = log.bucket("b").await.unwrap().get("cursor").await.unwrap().unwrap();
    assert_eq!(cursor.value, "2");
}

#[tokio::test]
async fn i2_a_damaged_snapshot_is_replaced_by_the_file_before_it() {
    let directory = tempfile::tempdir().unwrap();
    log_with(directory.path(), 30).await;
    let log = open(directory.path()).await;
    log.bucket("b").await.unwrap().put("cursor", "7".into()).await.unwrap();
    log.close().await.unwrap();
    // Opening and closing writes a new file that is little more than a snapshot.
    open(directory.path()).await.close().await.unwrap();
    let newest = fs::read_dir(directory.path().join("state")).unwrap();
    let newest = newest.map(|entry| entry.unwrap().path()).max().unwrap();
    flip(&newest, find(&newest, "\"stream\""), 0x01);
    flip(&newest, find(&newest, "\"put\""), 0x01);

    let log = open(directory.path()).await;
    assert_nothing_is_unaccounted_for(&*log, 30).await;
    let cursor = log.bucket("b").await.unwrap().get("cursor").await.unwrap().unwrap();
    assert_eq!(cursor.value, "7");
}

#[tokio::test]
async fn i8_a_replay_after_a_restart_does_not_bring_a_deleted_record_back() {
    let directory = tempfile::tempdir().unwrap();
    log_with(directory.path(), 10).await;
    let log = open(directory.path()).await;
    assert!(log.delete("s", 4).await.unwrap());
    log.close().await.unwrap();
    let bytes: Vec<u8> =
        segments(directory.path()).iter().flat_map(|p| fs::read(p).unwrap()).collect();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("payload 3 ") && !text.contains("payload 4 "));

    let log = open(directory.path()).await;
    let replay = Record::new(Subject::new("s.x").unwrap(), payload(4)).with_id(MessageId::new("4"));
    let ack = log.publish(vec![replay]).await.pop().unwrap().unwrap();
    assert_eq!((ack.sequence, ack.is_duplicate), (4, true));
    assert_eq!(log.stream("s").await.unwrap().records, 9);
}

#[tokio::test]
async fn a_second_process_is_refused_and_a_reader_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path()).await;
    log.ensure_stream(&config()).await.unwrap();
    publish(&*log, 1, 5).await;
    // flock works per open file, so the same process is refused like another one.
    let url = LogUrl::Embedded(directory.path().to_owned());
    let Err(refused) = url.open(Access::Write).await else { panic!("opened twice") };
    let text = refused.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");

    let view = url.open(Access::Read).await.unwrap();
    assert_eq!(readable(&*view).await, [1, 2, 3, 4, 5]);
    let mut reader = view.read("s", Start::New, &[]).await.unwrap();
    publish(&*log, 6, 7).await;
    let mut followed = Vec::new();
    while followed.len() < 2 {
        followed.extend(reader.next(10, Duration::from_secs(20)).await.unwrap());
    }
    assert_eq!(followed[1].sequence, 7);
    let record = Record::new(Subject::new("s.x").unwrap(), "x");
    let answer = view.publish(vec![record]).await.pop().unwrap();
    assert!(matches!(answer, Err(LogError::ReadOnly)), "{answer:?}");
    assert!(matches!(
        view.ensure_stream(&StreamConfig { records_max: Some(1), ..config() }).await,
        Err(LogError::ReadOnly)
    ));
    assert!(matches!(
        view.bucket("b").await.unwrap().put("k", "v".into()).await,
        Err(LogError::ReadOnly)
    ));

    log.close().await.unwrap();
    drop(url.open(Access::Write).await.unwrap());
}

#[tokio::test]
async fn a_directory_with_something_else_in_it_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.txt"), "important").unwrap();
    let url = LogUrl::Embedded(directory.path().to_owned());
    let Err(refused) = url.open(Access::Write).await else { panic!("taken for a log") };
    assert!(refused.to_string().contains("thesis.txt"), "{refused}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    let Err(refused) = url.open(Access::Read).await else { panic!("taken for a log") };
    assert!(matches!(refused, LogError::Invalid(_)));
    fs::remove_file(directory.path().join("thesis.txt")).unwrap();
    fs::write(directory.path().join("FORMAT"), "wingbeat embedded log, format 99\n").unwrap();
    let Err(refused) = url.open(Access::Write).await else { panic!("an unknown format") };
    assert!(refused.to_string().contains("format 99"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever bytes are changed in whatever file of a stream: every record is either there as
    /// it was, or reported lost; and the log goes on.
    #[test]
    fn i5_any_damage_is_accounted_for(
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1u8.., 1usize..200), 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            log_with(directory.path(), 700).await;
            for (file, at, mask, length) in &damages {
                let files = segments(directory.path());
                let path = file.get(&files);
                let mut bytes = fs::read(path).unwrap();
                let start = at.index(bytes.len());
                bytes.iter_mut().skip(start).take(*length).for_each(|byte| *byte ^= mask);
                fs::write(path, bytes).unwrap();
            }
            for last in [710, 720] {
                let log = open(directory.path()).await;
                publish(&*log, last - 9, last).await;
                assert_nothing_is_unaccounted_for(&*log, last).await;
                log.close().await.unwrap();
            }
        });
    }
}
