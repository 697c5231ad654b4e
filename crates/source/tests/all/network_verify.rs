//! A relay whose commits are verified in full, with a directory that has the keys.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use wingbeat_atproto::{
    Curve, Did, SigningKey, Tid,
    cbor::Value,
    frame as cbor_frame,
    write::{RepositoryWriter, Write, WrittenCommit},
};
use wingbeat_source::{Connection, Content, Item, OpenOptions, network::Verify};

use crate::{
    common::{json, open_file, read_all, shared_file},
    directory::{Directory, Mood},
    frames::{dead_kind, record},
    network_host::{Host, Reading, options, time_of},
};

fn verified(directory: &Directory) -> OpenOptions {
    let mut options = options();
    options.network.verify = Verify::Full;
    options.network.plc_directory.clone_from(&directory.address);
    options
}

/// The document of an account with this key.
fn document(key: u8) -> serde_json::Value {
    json!({"verificationMethod": [{
        "id": "#atproto",
        "type": "Multikey",
        "publicKeyMultibase": key_of(key).public().to_multikey(),
    }]})
}

fn key_of(key: u8) -> SigningKey {
    SigningKey::from_seed_bytes(Curve::Secp256k1, &[key; 32]).unwrap()
}

/// The revision, and the record key, of the post with this number.
fn tid(number: u64) -> Tid {
    Tid::new(1_783_175_888_000_000 + number * 1_000, 0)
}

/// Someone who posts.
struct Person {
    did: String,
    repository: RepositoryWriter,
    records: Vec<Vec<u8>>,
}

impl Person {
    /// Someone whose key has this number.
    fn new(name: char, key: u8) -> Self {
        let did = format!("did:plc:{}", name.to_string().repeat(24));
        let repository = RepositoryWriter::new(&Did::parse(&did).unwrap(), key_of(key));
        Self { did, repository, records: Vec::new() }
    }

    fn write(&mut self, number: u64) -> WrittenCommit {
        self.write_at(number, tid(number))
    }

    fn write_at(&mut self, number: u64, rev: Tid) -> WrittenCommit {
        let record = record(&format!("post {number}"));
        let path = format!("app.bsky.feed.post/{}", tid(number));
        let writes = [Write { path: &path, record: Some(&record) }];
        let commit = self.repository.commit(rev, &writes).unwrap();
        self.records.push(record);
        commit
    }

    /// A frame of a new post.
    fn post(&mut self, number: u64) -> Message {
        frame_of(&self.write(number), number)
    }

    fn car(&mut self) -> Vec<u8> {
        self.repository.export(self.records.iter().map(Vec::as_slice)).unwrap()
    }

    /// A frame of an `#identity`.
    fn identity(&self, seq: u64) -> Message {
        let time = time_of(seq);
        let payload = Value::Map(vec![
            ("seq", Value::Integer(i64::try_from(seq).unwrap())),
            ("did", Value::Text(&self.did)),
            ("time", Value::Text(&time)),
        ]);
        Message::binary(cbor_frame::encode("#identity", &payload).unwrap())
    }
}

fn frame_of(commit: &WrittenCommit, seq: u64) -> Message {
    Message::binary(commit.frame(seq, &time_of(seq)).unwrap())
}

/// A host that is read, a directory, and two people whose keys are known there.
async fn start() -> (Host, Directory, Reading, [Person; 2]) {
    let (host, directory) = (Host::start().await, Directory::start().await);
    let people = [Person::new('a', 1), Person::new('b', 2)];
    directory.register(&people[0].did, &document(1));
    directory.register(&people[1].did, &document(2));
    let reading = Reading::start(&format!("relay:{}", host.address()), &verified(&directory));
    (host, directory, reading, people)
}

fn event_of(item: &Item) -> serde_json::Value {
    let Content::Event(event) = &item.content else { panic!("{item:?}") };
    json(&event.payload)
}

#[tokio::test]
async fn what_accounts_have_signed_comes_through() {
    let (host, directory, mut reading, [mut ada, mut bob]) = start().await;
    let mut wire = host.accept().await;
    for number in 1..=10 {
        let person = if number % 3 == 0 { &mut bob } else { &mut ada };
        wire.send(person.post(number)).await;
    }
    let mut numbers = Vec::new();
    for _ in 1..=10 {
        let item = reading.item().await;
        let Content::Post(post) = &item.content else { panic!("{item:?}") };
        let text = json(&post.payload)["text"].as_str().unwrap().to_owned();
        numbers.push(text.strip_prefix("post ").unwrap().parse::<u64>().unwrap());
    }
    let of = |remainder: fn(u64) -> bool| numbers.iter().copied().filter(move |n| remainder(*n));
    assert!(of(|n| n % 3 == 0).is_sorted() && of(|n| n % 3 != 0).is_sorted(), "{numbers:?}");
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=10));
    wire.send(ada.post(11)).await;
    reading.expect_post(11).await;
    assert_eq!((reading.counter("verified"), reading.counter("unchained")), (11, 2));
    assert_eq!((reading.counter("refused"), directory.asked()), (0, 2));
}

/// Invariant 4: what is refused is kept, and takes nobody along.
#[tokio::test]
async fn i4_what_is_not_true_is_a_dead_letter() {
    let (host, _directory, mut reading, [mut ada, mut bob]) = start().await;
    let mut wire = host.accept().await;
    let first = ada.write(10);
    wire.send(frame_of(&first, 1)).await;
    reading.expect_post(10).await;
    // Someone else signs for her.
    let mut mallory = Person::new('a', 9);
    let forged = frame_of(&mallory.write(12), 2);
    wire.send(forged.clone()).await;
    let item = reading.item().await;
    let (kind, message) = dead_kind(&item);
    let stream = format!("{}/xrpc/com.atproto.sync.subscribeRepos", host.address());
    assert_eq!(kind, "bad_signature");
    assert!(message.starts_with(&format!("{stream} event 2 of {}: ", ada.did)), "{message}");
    let Content::Dead { original, .. } = &item.content else { panic!() };
    assert_eq!(*original, forged.into_data());
    wire.send(bob.post(3)).await;
    reading.expect_post(3).await;
    // Her own key, but the past.
    let mut fork = Person::new('a', 1);
    wire.send(frame_of(&fork.write(5), 4)).await;
    assert_eq!(dead_kind(&reading.item().await).0, "rev_not_later");
    let future = Tid::new(u64::MAX >> 12, 0);
    wire.send(frame_of(&Person::new('a', 1).write_at(6, future), 5)).await;
    assert_eq!(dead_kind(&reading.item().await).0, "rev_in_future");
    // Another tree than its operations make.
    let mut broken = Person::new('b', 2).write(20).frame(6, &time_of(6)).unwrap();
    let path = format!("app.bsky.feed.post/{}", tid(20));
    let at = broken.windows(path.len()).position(|bytes| bytes == path.as_bytes()).unwrap();
    broken[at + path.len() - 1] = b'3';
    wire.send(Message::binary(broken)).await;
    assert_eq!(dead_kind(&reading.item().await).0, "bad_tree");
    // A commit that was verified is known when it comes again.
    wire.send(frame_of(&first, 7)).await;
    wire.send(ada.post(30)).await;
    reading.expect_post(30).await;
    assert_eq!((reading.counter("refused"), reading.counter("repeats")), (4, 1));
    assert_eq!(reading.counter("connections"), 1);
}

/// Invariants 2 and 9: accounts overtake one another, but not themselves, and the place waits for
/// all of them.
#[tokio::test]
async fn i2_i9_an_account_waits_for_its_key_alone() {
    let (host, directory, mut reading, [mut ada, mut bob]) = start().await;
    let mut wire = host.accept().await;
    wire.send(ada.post(1)).await;
    reading.expect_post(1).await;
    directory.mood.send_replace(Mood::Slow);
    wire.send(bob.post(2)).await;
    wire.send(bob.post(3)).await;
    for number in 4..=6 {
        wire.send(ada.post(number)).await;
        let (item, places) = reading.item_and_places().await;
        let Content::Post(post) = &item.content else { panic!("{item:?}") };
        assert_eq!(json(&post.payload)["text"], format!("post {number}"));
        assert_eq!(places[0].cursor, 1, "event 2 is still missing");
    }
    directory.mood.send_replace(Mood::Fine);
    reading.expect_post(2).await;
    let (item, places) = reading.item_and_places().await;
    assert!(matches!(item.content, Content::Post(_)));
    assert_eq!(places[0].cursor, 6);
    // After a reconnect, what was read is not asked for again.
    wire.close().await;
    assert_eq!(host.accept().await.cursor(), Some(6));
}

#[tokio::test]
async fn events_wait_while_the_directory_is_down() {
    let (host, directory, mut reading, [mut ada, mut bob]) = start().await;
    let mut wire = host.accept().await;
    wire.send(ada.post(1)).await;
    reading.expect_post(1).await;
    directory.mood.send_replace(Mood::Down);
    wire.send(bob.post(2)).await;
    let is_waiting = |connection: &Connection| matches!(connection, Connection::Waiting { .. });
    let Connection::Waiting { problem, .. } =
        reading.connection.wait_for(is_waiting).await.unwrap().clone()
    else {
        panic!()
    };
    assert!(problem.contains("wait for the keys") && problem.contains("503"), "{problem}");
    // Longer than any single account would be waited for.
    while directory.asked() < 15 {
        tokio::task::yield_now().await;
    }
    wire.send(ada.post(3)).await;
    reading.expect_post(3).await;
    directory.mood.send_replace(Mood::Fine);
    reading.expect_post(2).await;
    reading.live().await;
    assert_eq!((reading.counter("refused"), reading.counter("connections")), (0, 1));
    assert!(reading.counter("identity_failures") >= 14);
}

#[tokio::test]
async fn whoever_has_no_key_is_not_asked_for_again_and_again() {
    let (host, directory, mut reading, _) = start().await;
    let mut wire = host.accept().await;
    let mut nobody = Person::new('c', 3);
    for number in 1..=3 {
        wire.send(nobody.post(number)).await;
        assert_eq!(dead_kind(&reading.item().await).0, "no_identity");
    }
    assert_eq!(directory.asked(), 1);
    // Now there is one, and it is said so.
    directory.register(&nobody.did, &document(3));
    wire.send(nobody.identity(4)).await;
    assert_eq!(event_of(&reading.item().await)["kind"], "identity");
    wire.send(nobody.post(5)).await;
    reading.expect_post(5).await;
    assert_eq!(directory.asked(), 2);
}

#[tokio::test]
async fn a_key_may_change() {
    let (host, directory, mut reading, [mut ada, _]) = start().await;
    let mut wire = host.accept().await;
    wire.send(ada.post(1)).await;
    reading.expect_post(1).await;
    directory.register(&ada.did, &document(7));
    wire.send(ada.identity(2)).await;
    ada.repository.change_key(key_of(7));
    wire.send(ada.post(3)).await;
    assert_eq!(event_of(&reading.item().await)["kind"], "identity");
    reading.expect_post(3).await;
    // The old one is worth nothing now.
    ada.repository.change_key(key_of(1));
    wire.send(ada.post(4)).await;
    assert_eq!(dead_kind(&reading.item().await).0, "bad_signature");
    assert_eq!(directory.asked(), 2);
}

/// Invariant 5: what is missing of an account is said, and looked for.
#[tokio::test]
async fn i5_what_is_missing_of_an_account_is_said_and_looked_for() {
    let (host, _directory, mut reading, [mut ada, _]) = start().await;
    let mut wire = host.accept().await;
    wire.send(ada.post(1)).await;
    reading.expect_post(1).await;
    let _ = (ada.post(2), ada.post(3));
    wire.send(ada.post(4)).await;
    let desync = event_of(&reading.item().await);
    let (from, to) = (tid(1).to_string(), tid(4).to_string());
    assert_eq!((&desync["kind"], &desync["reason"]), (&json!("desync"), &json!("since")));
    assert_eq!((&desync["from_rev"], &desync["to_rev"]), (&json!(from), &json!(to)));
    assert_eq!((&desync["did"], &desync["seq"]), (&json!(ada.did), &json!(4)));
    // The account goes on at once.
    reading.expect_post(4).await;
    wire.send(ada.post(5)).await;
    reading.expect_post(5).await;
    let asked = host.answer(200, &ada.car()).await;
    assert_eq!(asked, format!("/xrpc/com.atproto.sync.getRepo?did={}", ada.did));
    reading.expect_post(2).await;
    reading.expect_post(3).await;
    let resync = event_of(&reading.item().await);
    assert_eq!((&resync["kind"], &resync["posts"]), (&json!("resync"), &json!(2)));
    assert_eq!(resync.get("problem"), None);
    // Once more so soon: it is said, but not looked for.
    let _ = ada.post(6);
    let sync = ada.repository.sync_frame(7, &time_of(7)).unwrap();
    wire.send(Message::binary(sync)).await;
    assert_eq!(event_of(&reading.item().await)["reason"], "sync");
    let resync = event_of(&reading.item().await);
    assert_eq!(resync["problem"], "the repository was fetched within the last minute");
    assert_eq!(event_of(&reading.item().await)["kind"], "sync");
    // What is known may be said again.
    let sync = ada.repository.sync_frame(8, &time_of(8)).unwrap();
    wire.send(Message::binary(sync)).await;
    wire.send(ada.post(9)).await;
    reading.expect_post(9).await;
    assert_eq!(reading.counter("repeats"), 1);
    assert_eq!((reading.counter("desyncs"), reading.counter("resyncs_failed")), (2, 1));
    assert_eq!(reading.counter("refused"), 0);
}

/// What is fetched is not believed either.
#[tokio::test]
async fn a_repository_must_be_the_accounts_own() {
    let (host, _directory, mut reading, [mut ada, _]) = start().await;
    let mut wire = host.accept().await;
    wire.send(ada.post(1)).await;
    reading.expect_post(1).await;
    let _ = ada.post(2);
    wire.send(ada.post(3)).await;
    assert_eq!(event_of(&reading.item().await)["kind"], "desync");
    reading.expect_post(3).await;
    let mut mallory = Person::new('a', 9);
    let _ = (mallory.post(2), mallory.post(3));
    host.answer(200, &mallory.car()).await;
    let resync = event_of(&reading.item().await);
    assert_eq!(resync["posts"], 0);
    assert!(resync["problem"].as_str().unwrap().contains("signature"), "{resync}");
}

/// What the real network sends is true.
#[tokio::test]
async fn the_recording_is_true() {
    let folder = "fixtures/jetstream-corpus";
    let (Some(frames), Some(documents)) = (
        shared_file(&format!("{folder}/frames.bin.zst")),
        shared_file(&format!("{folder}/did_docs.json")),
    ) else {
        return;
    };
    let (expected, _) = read_all(open_file("frames", &frames, None).as_mut()).await;
    let (host, directory) = (Host::start().await, Directory::start().await);
    let documents: HashMap<String, serde_json::Value> =
        serde_json::from_slice(&std::fs::read(documents).unwrap()).unwrap();
    for (did, document) in &documents {
        directory.register(did, document);
    }
    let mut reading = Reading::start(&format!("relay:{}", host.address()), &verified(&directory));
    let mut wire = host.accept().await;
    let bytes = zstd::decode_all(std::fs::File::open(&frames).unwrap()).unwrap();
    let mut rest = &bytes[..];
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (frame, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        wire.send(Message::binary(frame.to_vec())).await;
        rest = behind;
    }
    // Accounts overtake one another.
    let mut texts: Vec<_> = expected.iter().map(|item| format!("{:?}", item.content)).collect();
    let mut read = Vec::new();
    for _ in &texts {
        read.push(format!("{:?}", reading.item().await.content));
    }
    texts.sort_unstable();
    read.sort_unstable();
    assert_eq!(read, texts);
    assert_eq!(reading.counter("refused"), 0);
}

/// The names of five people. Their keys have the numbers 1 to 5.
const NAMES: [char; 5] = ['a', 'b', 'c', 'd', 'e'];

/// What has come: a post by its number, or a dead letter by that of its event.
fn number_of(item: &Item) -> (String, u64, bool) {
    match &item.content {
        Content::Post(post) => {
            let post = json(&post.payload);
            let text = |name: &str| post[name].as_str().unwrap().to_owned();
            let number = text("text").strip_prefix("post ").unwrap().parse().unwrap();
            (text("author"), number, true)
        }
        _ => {
            let (kind, message) = dead_kind(item);
            assert_eq!(kind, "bad_signature");
            let words: Vec<&str> = message.split(' ').collect();
            (words[4].trim_end_matches(':').to_owned(), words[2].parse().unwrap(), false)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Invariants 4 and 9: whoever writes, whoever forges, and however often the directory fails
    /// before it answers: every event comes out once, and those of an account in order.
    #[test]
    fn i9_every_event_is_settled_once_and_accounts_keep_their_order(
        events in prop::collection::vec((0..NAMES.len(), any::<bool>()), 1..60),
        failures in prop::collection::vec(0..4_u32, NAMES.len()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (host, directory) = (Host::start().await, Directory::start().await);
            let mut people = Vec::new();
            for ((name, key), failures) in NAMES.into_iter().zip(1..).zip(failures) {
                let person = Person::new(name, key);
                directory.register(&person.did, &document(key));
                directory.fail(&person.did, failures);
                people.push(person);
            }
            let spec = format!("relay:{}", host.address());
            let mut reading = Reading::start(&spec, &verified(&directory));
            let mut wire = host.accept().await;
            let mut expected: HashMap<String, Vec<(u64, bool)>> = HashMap::new();
            for (number, (person, is_true)) in (1..).zip(&events) {
                let frame = if *is_true {
                    people[*person].post(number)
                } else {
                    Person::new(NAMES[*person], 9).post(number)
                };
                wire.send(frame).await;
                let did = people[*person].did.clone();
                expected.entry(did).or_default().push((number, *is_true));
            }
            let mut read: HashMap<String, Vec<(u64, bool)>> = HashMap::new();
            for _ in &events {
                let (did, number, is_true) = number_of(&reading.item().await);
                read.entry(did).or_default().push((number, is_true));
            }
            assert_eq!(read, expected);
            let last = events.len() as u64 + 1;
            wire.send(people[0].post(last)).await;
            let (item, places) = reading.item_and_places().await;
            assert_eq!(number_of(&item).1, last);
            assert_eq!(places[0].cursor, last);
        });
    }
}
