//! Bringing a source into the log: books, cursor, restarts, back-pressure.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use support::{audit_lines, ingest, open, pack, pipeline, post_item, read_all, start};
use tokio_util::sync::CancellationToken;
use wingbeat_flow::DeadLetter;
use wingbeat_record::{DeadCause, MessageId, Reason, name};
use wingbeat_source::{Content, Event};

fn contents() -> Vec<Content> {
    let mut contents: Vec<Content> = (0..50).map(|n| post_item(n % 5, n)).collect();
    contents.push(post_item(3, 3));
    contents.push(Content::Event(Event {
        kind: "delete",
        payload: Bytes::from_static(b"{\"uri\":\"at://1/1\"}"),
        id: MessageId::new("delete:at://1/1"),
    }));
    contents.push(Content::Filtered(Reason::new("other_collection")));
    contents.push(Content::Dead {
        original: Bytes::from_static(b"\xff\xff"),
        cut_from: Some((99, "ab".repeat(32))),
        cause: DeadCause::new("source", Reason::new("bad_frame"), "frame 7: no CBOR"),
        id: None,
    });
    contents
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_every_item_of_a_source_is_booked() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("");
    let log = open(directory.path(), &pack).await;
    let ingest = ingest(&log, &pack, &contents()).await;
    let books = ingest.books();
    assert!(ingest.run(CancellationToken::new()).await.unwrap(), "the source has ended");
    let counts = books.counts();
    assert_eq!((counts.received, counts.emitted, counts.imbalance()), (54, 51, 0));
    let filtered = [("duplicate".to_owned(), 1), ("other_collection".to_owned(), 1)];
    assert_eq!(counts.filtered, filtered.into());
    assert_eq!(counts.dead, BTreeMap::from([("bad_frame".to_owned(), 1)]));
    assert_eq!(read_all(&log, "in").await.len(), 50);
    assert_eq!(read_all(&log, "events").await[0].record.subject.as_str(), "events.delete");
    let letter = DeadLetter::read(&read_all(&log, "dead").await[0]);
    assert_eq!((&letter.original[..], letter.bytes), (&b"\xff\xff"[..], 99));
    assert_eq!((letter.flow.as_str(), letter.error.as_str()), ("ingest", "frame 7: no CBOR"));
    assert_eq!(audit_lines(&log, &pack).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i3_a_source_goes_on_where_its_acknowledged_records_end() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("[ingest]\nbatch = 3\nsave_every = \"1ms\"\n");
    let all: Vec<Content> =
        (0..40).flat_map(|n| [post_item(n % 4, n), post_item(9, n / 2 + 1000)]).collect();
    for round in 1..=10 {
        let log = open(directory.path(), &pack).await;
        let ingest = ingest(&log, &pack, &all).await;
        let (books, before) = (ingest.books(), ingest.books().counts().received);
        let running = tokio::spawn(ingest.run(CancellationToken::new()));
        if round < 10 {
            // Given up at some await point: the place may not be saved.
            while books.counts().received < (before + 9).min(80) && !running.is_finished() {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            running.abort();
            let _ = running.await;
        } else {
            assert!(running.await.unwrap().unwrap());
            let counts = books.counts();
            assert_eq!((counts.received, counts.emitted), (80, 60));
            assert_eq!(counts.filtered, BTreeMap::from([("duplicate".to_owned(), 20)]));
        }
        assert_eq!(audit_lines(&log, &pack).await, [""; 0], "round {round}");
        log.close().await.unwrap();
    }
    let log = open(directory.path(), &pack).await;
    let stored = read_all(&log, "in").await;
    assert_eq!(stored.len(), 60);
    assert!(stored[0].record.headers.get(name::CORRELATION_ID).is_some());
    // A finished source has nothing more to bring.
    let again = ingest(&log, &pack, &all).await;
    assert!(again.run(CancellationToken::new()).await.unwrap());
    assert_eq!(read_all(&log, "in").await.len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_source_waits_while_the_flows_are_far_behind() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("[ingest]\nbacklog_max = 20\n");
    let log = open(directory.path(), &pack).await;
    // The flow's consumer exists, but nobody works.
    log.consumer("in", &wingbeat_log::ConsumerConfig::new("c")).await.unwrap();
    let all: Vec<Content> = (0..200).map(|n| post_item(n, n)).collect();
    let ingest = ingest(&log, &pack, &all).await;
    let books = ingest.books();
    let running = tokio::spawn(ingest.run(CancellationToken::new()));
    while books.counts().received < 21 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        // One batch may be over the limit.
        assert!(books.counts().received <= 28, "{:?}", books.counts());
    }
    let flow = start(&log, &pack, pipeline(|_| {})).await;
    assert!(running.await.unwrap().unwrap());
    flow.finish_after(200).await;
    assert_eq!(read_all(&log, "out").await.len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_two_processes_on_one_source_do_not_overwrite_each_others_place() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("");
    let log = open(directory.path(), &pack).await;
    let all: Vec<Content> = (0..30).map(|n| post_item(n, n)).collect();
    let (left, right) = (ingest(&log, &pack, &all).await, ingest(&log, &pack, &all).await);
    left.run(CancellationToken::new()).await.unwrap();
    let error = right.run(CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("another process reads"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_saved_place_that_cannot_be_read_stops_the_source() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("");
    let log = open(directory.path(), &pack).await;
    let first = ingest(&log, &pack, &contents()).await;
    first.run(CancellationToken::new()).await.unwrap();
    let bucket = log.bucket("wingbeat-cursors").await.unwrap();
    let key = bucket.keys().await.unwrap().pop().unwrap();
    bucket.put(&key, Bytes::from_static(b"{\"position\":")).await.unwrap();
    let probe = support::ListSource::new(Vec::new(), None);
    let description = wingbeat_source::Source::description(&probe).clone();
    let found = wingbeat_flow::Cursor::find(&*Arc::clone(&log), &description).await;
    let Err(error) = found else { panic!("it went on from the start") };
    assert!(error.to_string().contains(&key), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_stages_of_the_ingest_leave_posts_out_with_a_reason_or_tag_them() {
    let directory = tempfile::tempdir().unwrap();
    let pack =
        pack("[ingest]\nstages = [\"post\", \"filter\"]\n[stages.filter]\nlength_max = 60\n");
    let log = open(directory.path(), &pack).await;
    let texts = ["too short", "this one is as it should be", "shouting IS NOT NICE AT ALL, PEOPLE"];
    let item = |(n, payload): (usize, String)| {
        let id = MessageId::new(format!("p{n}"));
        Content::Post(wingbeat_source::Post::of_bytes(payload, id))
    };
    let payloads = texts.iter().map(|text| format!("{{\"text\": \"{}\" }}", text.to_uppercase()));
    let payloads = payloads.chain(["no JSON".to_owned()]).enumerate();
    let ingest = ingest(&log, &pack, &payloads.map(item).collect::<Vec<_>>()).await;
    let books = ingest.books();
    assert!(ingest.run(CancellationToken::new()).await.unwrap());
    let counts = books.counts();
    assert_eq!((counts.received, counts.emitted, counts.imbalance()), (4, 2, 0));
    assert_eq!(counts.filtered, BTreeMap::from([("too_short".to_owned(), 1)]));
    assert_eq!(counts.dead, BTreeMap::from([("not_json".to_owned(), 1)]));
    let stored = read_all(&log, "in").await;
    let tags = |n: usize| stored[n].record.headers.get(name::TAGS);
    assert_eq!((tags(0), tags(1)), (Some("content_filtered"), Some("content_filtered")));
    // The payload stays as it came, byte for byte.
    assert_eq!(stored[0].record.payload, "{\"text\": \"THIS ONE IS AS IT SHOULD BE\" }");
    let letter = DeadLetter::read(&read_all(&log, "dead").await[0]);
    assert_eq!((&letter.original[..], letter.stage.as_str()), (&b"no JSON"[..], "post"));
    assert_eq!(audit_lines(&log, &pack).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_what_lies_in_a_gap_and_was_published_but_not_booked_is_booked() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("[ingest]\nbatch = 5\nsave_every = \"1h\"\n");
    let log = open(directory.path(), &pack).await;
    let lost: Vec<Content> = (0..1_000).map(|n| post_item(n % 9, n)).collect();
    let first = ingest(&log, &pack, &lost).await;
    let books = first.books();
    let running = tokio::spawn(first.run(CancellationToken::new()));
    // Given up before the place is saved, as by a kill; the end of the source would save it.
    while books.counts().emitted < 5 && !running.is_finished() {
        tokio::task::yield_now().await;
    }
    running.abort();
    let was_saved = running.await.is_ok();
    log.close().await.unwrap();
    let log = open(directory.path(), &pack).await;
    let published = read_all(&log, "in").await.len();
    let gap = Content::Event(Event {
        kind: "gap",
        payload: Bytes::from_static(b"{\"kind\":\"gap\"}"),
        id: MessageId::new("gap:1"),
    });
    assert!(!was_saved, "it was too fast to be given up");
    // Positions grow: those of the second run lie behind those of the first.
    let mut contents = vec![Content::Filtered(Reason::new("other_collection")); lost.len()];
    contents.extend([gap, post_item(1, 100)]);
    let second = ingest(&log, &pack, &contents).await;
    let books = second.books();
    second.run(CancellationToken::new()).await.unwrap();
    assert!((5..1_000).contains(&published), "{published}");
    assert_eq!(books.counts().emitted, published as u64 + 2);
    assert_eq!(audit_lines(&log, &pack).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_what_a_host_brings_again_is_booked_once_however_often_the_run_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let all: Vec<Content> = (0..60).map(|n| post_item(n % 9, n)).collect();
    // The first run saves its beginning and nothing more; the others save as often as they can.
    for (run, brought) in [60, 10, 25, 60].into_iter().enumerate() {
        let every = if run == 0 { "1h" } else { "1us" };
        let pack = pack(&format!("[ingest]\nbatch = 1\nsave_every = \"{every}\"\n"));
        let log = open(directory.path(), &pack).await;
        let probe = support::ListSource::new(Vec::new(), None);
        let description = wingbeat_source::Source::description(&probe);
        let cursor = wingbeat_flow::Cursor::find(&*log, description).await.unwrap();
        let position = 1_000 * run as u64 + cursor.resume().map_or(0, |resume| resume.position);
        let source = support::ListSource::of_host(all[..brought].to_vec(), position);
        let ingest = support::ingest_from(&log, &pack, source, cursor).await;
        let (books, before) = (ingest.books(), ingest.books().counts().received);
        let running = tokio::spawn(ingest.run(CancellationToken::new()));
        let settled = |counts: wingbeat_flow::Counts| counts.received - counts.in_flight;
        while settled(books.counts()) < before + brought as u64 + 1 {
            assert!(!running.is_finished());
            tokio::task::yield_now().await;
        }
        // As by a kill.
        running.abort();
        let _ = running.await;
        assert_eq!(audit_lines(&log, &pack).await, [""; 0], "run {run}");
        if run == 3 {
            let counts = books.counts();
            assert_eq!((counts.emitted, counts.filtered.get("duplicate")), (60, None));
        }
        log.close().await.unwrap();
    }
}

/// Hosts of the network send an event again after a kill, and then it has another position.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_dead_letter_with_an_identity_is_one_wherever_it_is_read() {
    const LETTERS: usize = 1_000;
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("[ingest]\nbatch = 5\nsave_every = \"1h\"\n");
    let log = open(directory.path(), &pack).await;
    let letter = |number: usize| Content::Dead {
        original: number.to_string().into(),
        cut_from: None,
        cause: DeadCause::new("source", Reason::new("bad_frame"), "no CBOR"),
        id: Some(MessageId::new(format!("letter:{number}"))),
    };
    let letters: Vec<Content> = (0..LETTERS).map(letter).collect();
    let first = ingest(&log, &pack, &letters).await;
    let books = first.books();
    let running = tokio::spawn(first.run(CancellationToken::new()));
    // Given up before the place is saved, as by a kill; the end of the source would save it.
    while books.counts().dead_total() < 5 && !running.is_finished() {
        tokio::task::yield_now().await;
    }
    running.abort();
    assert!(running.await.is_err(), "it was too fast to be given up");
    log.close().await.unwrap();
    let log = open(directory.path(), &pack).await;
    let mut contents = vec![Content::Filtered(Reason::new("other_collection")); LETTERS];
    contents.extend(letters);
    contents.push(letter(7));
    let second = ingest(&log, &pack, &contents).await;
    let books = second.books();
    let booked = books.counts().dead_total();
    second.run(CancellationToken::new()).await.unwrap();
    assert_eq!(read_all(&log, "dead").await.len(), LETTERS);
    assert_eq!(books.counts().dead_total(), LETTERS as u64);
    // What was booked before is a duplicate, and the last one.
    assert_eq!(books.counts().filtered["duplicate"], booked + 1);
    assert_eq!(audit_lines(&log, &pack).await, [""; 0]);
}
