//! The engine against the embedded log: outcomes, order, retries, restarts.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use support::{audit_lines, open, pack, pipeline, post, publish, read_all, start, wait_for};
use wingbeat_flow::DeadLetter;
use wingbeat_log::{ConsumerConfig, Settle, Start};
use wingbeat_record::{DeadCause, Reason, name};
use wingbeat_stage::Item;

/// Filters texts that end in 5, kills those that end in 9.
fn decide(item: &mut Item) {
    item.set_token("mood", if item.text().ends_with('0') { "round" } else { "plain" });
    if item.text().ends_with('5') {
        item.filter(Reason::new("five"));
    } else if item.text().ends_with('9') {
        item.die(DeadCause::new("scripted", Reason::new("nine"), "ends in 9"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_every_record_ends_once_and_the_books_say_how() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("");
    let log = open(directory.path(), &pack).await;
    publish(&log, (0..100).map(|n| post(n % 7, n))).await;
    publish(&log, ["not json".to_owned(), String::new(), "{}".to_owned()]).await;
    let books = start(&log, &pack, pipeline(decide)).await.finish_after(103).await;

    let counts = books.counts();
    assert_eq!((counts.received, counts.emitted, counts.in_flight), (103, 80, 0));
    assert_eq!(counts.filtered, BTreeMap::from([("five".to_owned(), 10)]));
    let dead = [("empty", 1), ("missing_text", 1), ("nine", 10), ("not_json", 1)];
    assert_eq!(counts.dead, dead.map(|(kind, n)| (kind.to_owned(), n)).into());

    let outputs = read_all(&log, "out").await;
    assert_eq!(outputs.len(), 80);
    assert_eq!(outputs[0].record.subject.as_str(), "out.round");
    assert_eq!(outputs[1].record.subject.as_str(), "out.plain");
    assert_eq!(outputs[0].record.headers.get(name::INPUT), Some("in/1"));
    let letters: Vec<DeadLetter> =
        read_all(&log, "dead").await.iter().map(DeadLetter::read).collect();
    assert_eq!(letters.len(), 13);
    let garbage = letters.iter().find(|letter| letter.kind == "not_json").unwrap();
    assert_eq!((&garbage.original[..], garbage.stage.as_str()), (&b"not json"[..], "post"));
    assert_eq!(audit_lines(&log, &pack).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_records_of_one_author_stay_in_order_whatever_the_threads_do() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("");
    let log = open(directory.path(), &pack).await;
    publish(&log, (0..300).map(|n| post(n % 5, n))).await;
    let slow_now_and_then = |item: &mut Item| {
        // Batches finish in another order than they began.
        let number: u64 = item.text().parse().unwrap();
        std::thread::sleep(Duration::from_micros(number * 7919 % 900));
    };
    start(&log, &pack, pipeline(slow_now_and_then)).await.finish_after(300).await;
    let texts: Vec<String> = read_all(&log, "out")
        .await
        .iter()
        .map(|stored| {
            let json: serde_json::Value = serde_json::from_slice(&stored.record.payload).unwrap();
            json["text"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(texts, (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_a_retry_holds_its_author_back_and_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("");
    let log = open(directory.path(), &pack).await;
    publish(&log, (0..60).map(|n| post(n % 3, n))).await;
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let fail_twice = move |item: &mut Item| {
        if item.text() == "4" && counted.fetch_add(1, Ordering::SeqCst) < 2 {
            item.retry(DeadCause::new("scripted", Reason::new("later"), "not now"));
        }
    };
    let books = start(&log, &pack, pipeline(fail_twice)).await.finish_after(60).await;
    assert_eq!((books.counts().emitted, tries.load(Ordering::SeqCst)), (60, 3));
    let mut by_author: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut order = Vec::new();
    for stored in read_all(&log, "out").await {
        let json: serde_json::Value = serde_json::from_slice(&stored.record.payload).unwrap();
        let number: u64 = json["text"].as_str().unwrap().parse().unwrap();
        by_author.entry(number % 3).or_default().push(number);
        order.push(number);
    }
    for numbers in by_author.values() {
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    let place = |number| order.iter().position(|n| *n == number).unwrap();
    assert!(place(5) < place(4), "another author waited");
    assert_eq!(audit_lines(&log, &pack).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_what_fails_again_and_again_is_a_dead_letter_with_its_history() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("");
    let log = open(directory.path(), &pack).await;
    publish(&log, (0..10).map(|n| post(n % 2, n))).await;
    let never = |item: &mut Item| {
        if item.text() == "3" {
            item.retry(DeadCause::new("scripted", Reason::new("unreachable"), "nobody answers"));
        }
    };
    let books = start(&log, &pack, pipeline(never)).await.finish_after(10).await;
    assert_eq!((books.counts().emitted, books.counts().dead_total()), (9, 1));
    let letter = DeadLetter::read(&read_all(&log, "dead").await[0]);
    assert_eq!((letter.kind.as_str(), letter.deliveries), ("unreachable", 3));
    assert_eq!(audit_lines(&log, &pack).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_record_that_kills_whoever_works_on_it_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("[flows.f]\nlost_max = 3\n");
    let log = open(directory.path(), &pack).await;
    publish(&log, [post(0, 0)]).await;
    // Three processes took it and died.
    let config = ConsumerConfig::new("c");
    let consumer = log.consumer("in", &config).await.unwrap();
    for _ in 0..3 {
        let taken = consumer.fetch(1, Duration::from_secs(10)).await.unwrap();
        consumer.settle(&[(taken[0].token, Settle::Nak(Duration::ZERO))]).await.unwrap();
    }
    let ran = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&ran);
    let count = move |_: &mut Item| _ = counted.fetch_add(1, Ordering::SeqCst);
    let books = start(&log, &pack, pipeline(count)).await.finish_after(1).await;
    assert_eq!((books.counts().dead_total(), ran.load(Ordering::SeqCst)), (1, 0));
    let letter = DeadLetter::read(&read_all(&log, "dead").await[0]);
    assert_eq!(letter.kind, "delivered_too_often");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_i10_restarts_in_the_middle_double_nothing_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("");
    let total = 400;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut published = 0;
    for round in 0..12 {
        let log = open(directory.path(), &pack).await;
        if published < total {
            publish(&log, (published..published + 40).map(|n| post(n % 9, n))).await;
            published += 40;
        }
        let noted = Arc::clone(&seen);
        let script = move |item: &mut Item| {
            noted.lock().unwrap().push(item.text().to_owned());
            decide(item);
        };
        let running = start(&log, &pack, pipeline(script)).await;
        if round < 11 {
            // Given up at some await point, as a crash would: nothing is written on the way out.
            while seen.lock().unwrap().len() < (round + 1) * 37 {
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
            running.task.abort();
            let _ = running.task.await;
        } else {
            let books = running.finish_after(total as u64).await;
            let counts = books.counts();
            assert_eq!((counts.received, counts.emitted), (400, 320));
            assert_eq!((counts.filtered_total(), counts.dead_total()), (40, 40));
        }
        assert_eq!(audit_lines(&log, &pack).await, [""; 0], "round {round}");
        log.close().await.unwrap();
    }
    let log = open(directory.path(), &pack).await;
    let outputs = read_all(&log, "out").await;
    let ids: BTreeSet<&str> = outputs.iter().map(|stored| stored.record.id().unwrap()).collect();
    assert_eq!((outputs.len(), ids.len()), (320, 320));
    assert!(
        seen.lock().unwrap().len() > total,
        "no record was worked on twice: nothing was tested"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_second_input_with_the_same_identity_is_filtered_as_a_duplicate() {
    let directory = tempfile::tempdir().unwrap();
    // The input forgets ids at once, so the same post gets in twice; the output remembers.
    let pack = pack("[streams.in]\nduplicate_window = 0\n");
    let log = open(directory.path(), &pack).await;
    let record = |text: &str| {
        let subject = wingbeat_record::Subject::new("in.posts").unwrap();
        let payload = format!(r#"{{"uri":"at://x","cid":"c","text":"{text}"}}"#);
        vec![wingbeat_record::Record::new(subject, payload)]
    };
    log.publish(record("first")).await.pop().unwrap().unwrap();
    log.publish(record("second")).await.pop().unwrap().unwrap();
    let books = start(&log, &pack, pipeline(|_| {})).await.finish_after(2).await;
    assert_eq!(books.counts().emitted, 1);
    assert_eq!(books.counts().filtered, BTreeMap::from([("duplicate".to_owned(), 1)]));
    let outputs = read_all(&log, "out").await;
    assert_eq!((outputs.len(), outputs[0].record.id()), (1, Some("at://x:c")));
    assert_eq!(audit_lines(&log, &pack).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_full_output_stream_holds_the_flow_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("[streams.out]\nrecords_max = 20\ndiscard = \"new\"\n");
    let log = open(directory.path(), &pack).await;
    publish(&log, (0..60).map(|n| post(n, n * 10 + 1))).await;
    let running = start(&log, &pack, pipeline(decide)).await;
    let full = async |records| {
        while log.stream("out").await.unwrap().records < records {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), full(20)).await.unwrap();
    let counts = running.books.counts();
    assert!(counts.emitted <= 20 && counts.imbalance() == 0, "{counts:?}");
    // Room is made: the flow goes on by itself.
    let mut config = log.stream("out").await.unwrap().config;
    config.records_max = Some(1000);
    log.ensure_stream(&config).await.unwrap();
    let books = running.finish_after(60).await;
    assert_eq!(books.counts().emitted, 60);
    assert_eq!(read_all(&log, "out").await.len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_an_output_that_no_log_takes_is_a_dead_letter() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("");
    let log = open(directory.path(), &pack).await;
    publish(&log, (0..5).map(|n| post(0, n))).await;
    let inflate = |item: &mut Item| {
        if item.text() == "2" {
            let huge = format!("\"{}\"", "x".repeat(wingbeat_log::RECORD_BYTES_MAX));
            item.set_member("huge", huge.into_bytes());
        }
    };
    let books = start(&log, &pack, pipeline(inflate)).await.finish_after(5).await;
    assert_eq!(books.counts().dead, BTreeMap::from([("output_refused".to_owned(), 1)]));
    let letter = DeadLetter::read(&read_all(&log, "dead").await[0]);
    assert_eq!(letter.original, post(0, 2));
    assert_eq!(audit_lines(&log, &pack).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_finds_what_was_tampered_with() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("");
    let log = open(directory.path(), &pack).await;
    publish(&log, (0..50).map(|n| post(0, n))).await;
    start(&log, &pack, pipeline(decide)).await.finish_after(50).await;
    assert_eq!(audit_lines(&log, &pack).await, [""; 0]);
    // An output and a dead letter are deleted by hand.
    log.delete("out", 17).await.unwrap();
    log.delete("dead", 2).await.unwrap();
    let lines = audit_lines(&log, &pack).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("1 dead records have no dead letter in the log: input 20"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("1 emitted records have no output in the log: input "),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_input_that_expired_before_it_was_read_is_told_by_the_audit() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("[streams.in]\nrecords_max = 30\n");
    let log = open(directory.path(), &pack).await;
    publish(&log, (0..10).map(|n| post(0, n))).await;
    start(&log, &pack, pipeline(|_| {})).await.finish_after(10).await;
    publish(&log, (10..60).map(|n| post(0, n))).await;
    start(&log, &pack, pipeline(|_| {})).await.finish_after(40).await;
    let lines = audit_lines(&log, &pack).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("11..=30"), "{lines:?}");
}

/// What lies before the place that a consumer took over from another program is not this flow's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_flow_that_begins_behind_a_place_balances() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("");
    let log = open(directory.path(), &pack).await;
    publish(&log, (0..8).map(|n| post(0, n))).await;
    let config = ConsumerConfig { start: Start::Sequence(4), ..ConsumerConfig::new("c") };
    log.consumer("in", &config).await.unwrap();
    let books = start(&log, &pack, pipeline(decide)).await.finish_after(5).await;
    assert_eq!(books.counts().received, 5);
    assert_eq!(audit_lines(&log, &pack).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i10_stopping_settles_what_is_under_way() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack("");
    let log = open(directory.path(), &pack).await;
    publish(&log, (0..200).map(|n| post(n, n))).await;
    let slow = |_: &mut Item| std::thread::sleep(Duration::from_micros(500));
    let running = start(&log, &pack, pipeline(slow)).await;
    wait_for_some(&running.books).await;
    running.stop.cancel();
    running.task.await.unwrap().unwrap();
    let counts = running.books.counts();
    assert_eq!((counts.in_flight, counts.imbalance()), (0, 0));
    assert!(counts.emitted < 200, "it was meant to be stopped in the middle");
    assert_eq!(audit_lines(&log, &pack).await, [""; 0]);
    log.close().await.unwrap();
    let log = open(directory.path(), &pack).await;
    let again = start(&log, &pack, pipeline(|_| {})).await;
    wait_for(&again.books, 200).await;
    assert_eq!(again.finish_after(200).await.counts().emitted, 200);
}

async fn wait_for_some(books: &wingbeat_flow::Books) {
    while books.counts().emitted == 0 {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}
