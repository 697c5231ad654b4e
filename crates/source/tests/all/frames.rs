//! Recorded frames: what they hold comes out, and one bad part takes nothing else along.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value as Json;
use tempfile::TempDir;
use wingbeat_atproto::{Cid, Codec, car, cbor::Value, frame};
use wingbeat_source::{Content, Item, SourceError};

use crate::common::{all_shown, json, open_file, read_all, shared_file};

pub(crate) const DID: &str = "did:plc:44ybard66vv44zksje25o7dz";

pub(crate) fn record(text: &str) -> Vec<u8> {
    let record = Value::Map(vec![
        ("text", Value::Text(text)),
        ("createdAt", Value::Text("2026-07-04T14:38:08.999Z")),
        ("langs", Value::Array(vec![Value::Text("en")])),
    ]);
    record.encode().unwrap()
}

pub(crate) fn op<'a>(action: &'a str, path: &'a str, record: Option<&[u8]>) -> Value<'a> {
    let cid = record.map_or(Value::Null, |record| Value::Link(Cid::of(Codec::Drisl, record)));
    Value::Map(vec![("action", Value::Text(action)), ("path", Value::Text(path)), ("cid", cid)])
}

fn commit(ops: Vec<Value<'_>>, records: &[&[u8]]) -> Vec<u8> {
    commit_at(7, "2026-07-04T14:38:09.085Z", ops, records)
}

pub(crate) fn commit_at(seq: i64, time: &str, ops: Vec<Value<'_>>, records: &[&[u8]]) -> Vec<u8> {
    let root = Cid::of(Codec::Drisl, b"\xa0");
    let named: Vec<_> = records.iter().map(|r| (Cid::of(Codec::Drisl, r), *r)).collect();
    let blocks = car::encode(root, &named).unwrap();
    let payload = Value::Map(vec![
        ("seq", Value::Integer(seq)),
        ("repo", Value::Text(DID)),
        ("rev", Value::Text("3mptbypluud2a")),
        ("since", Value::Null),
        ("time", Value::Text(time)),
        ("commit", Value::Link(root)),
        ("blocks", Value::Bytes(&blocks)),
        ("ops", Value::Array(ops)),
    ]);
    frame::encode("#commit", &payload).unwrap()
}

fn recording(folder: &TempDir, frames: &[&[u8]]) -> PathBuf {
    let bytes: Vec<u8> = frames
        .iter()
        .flat_map(|frame| {
            let length = u32::try_from(frame.len()).unwrap();
            [&length.to_le_bytes()[..], frame].concat()
        })
        .collect();
    let path = folder.path().join("frames.bin");
    std::fs::write(&path, bytes).unwrap();
    path
}

pub(crate) fn dead_kind(item: &Item) -> (&str, &str) {
    match &item.content {
        Content::Dead { cause, .. } => (cause.kind.as_str(), cause.message.as_str()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_recording_says_what_jetstream_says() {
    let corpus = "fixtures/jetstream-corpus";
    let (Some(path), Some(expected)) = (
        shared_file(&format!("{corpus}/frames.bin.zst")),
        shared_file(&format!("{corpus}/expected_v1.jsonl")),
    ) else {
        return;
    };
    let mut posts = BTreeMap::new();
    let mut events = BTreeMap::new();
    for line in std::fs::read_to_string(expected).unwrap().lines() {
        let event = json(line.as_bytes());
        let did = event["did"].as_str().unwrap().to_owned();
        let commit = &event["commit"];
        match (event["kind"].as_str().unwrap(), commit["operation"].as_str().unwrap_or("")) {
            ("commit", operation) if commit["collection"] == "app.bsky.feed.post" => {
                let rkey = commit["rkey"].as_str().unwrap();
                let uri = format!("at://{did}/app.bsky.feed.post/{rkey}");
                match operation {
                    "create" => _ = posts.insert(uri, commit.clone()),
                    _ => _ = events.insert((operation.to_owned(), uri), event),
                }
            }
            ("commit", _) => {}
            (kind, _) => _ = events.insert((kind.to_owned(), did), event),
        }
    }
    let mut source = open_file("frames", &path, None);
    let (items, error) = read_all(source.as_mut()).await;
    assert!(error.is_none(), "{error:?}");
    for item in &items {
        match &item.content {
            Content::Post(post) => {
                let payload = json(&post.payload);
                let scanned = wingbeat_record::Document::parse(post.payload.clone()).ok();
                assert_eq!(post.document, scanned);
                let uri = payload["uri"].as_str().unwrap();
                let expected = posts.remove(uri).unwrap();
                let record = &expected["record"];
                assert_eq!(payload["cid"], expected["cid"]);
                assert_eq!(payload["text"], record["text"]);
                assert_eq!(payload["created_at"], record["createdAt"]);
                assert_eq!(payload.get("langs"), record.get("langs"));
                assert_eq!(payload.get("reply_parent"), record.pointer("/reply/parent/uri"));
                assert_eq!(payload.get("reply_root"), record.pointer("/reply/root/uri"));
            }
            Content::Event(event) => {
                let payload = json(&event.payload);
                assert_eq!(payload["kind"], event.kind);
                let about =
                    if payload["uri"].is_null() { &payload["did"] } else { &payload["uri"] };
                let key = (event.kind.to_owned(), about.as_str().unwrap().to_owned());
                let expected = events.remove(&key).unwrap();
                let rev = expected["commit"].get("rev").cloned().unwrap_or(Json::Null);
                assert_eq!(payload.get("rev").cloned().unwrap_or(Json::Null), rev);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(posts.is_empty() && events.is_empty(), "{posts:?} {events:?}");
    assert_eq!(items.len(), 17 + 1 + 2);
    let counters: BTreeMap<_, _> = source.counters().into_iter().collect();
    assert_eq!((counters["frames"], counters["ops"], counters["ops_skipped"]), (150, 150, 132));

    for resume in [1, 9, 19] {
        let position = items[resume - 1].position;
        let (rest, _) = read_all(open_file("frames", &path, Some(position)).as_mut()).await;
        assert_eq!(all_shown(&rest), all_shown(&items[resume..]));
    }
}

#[tokio::test]
async fn posts_updates_and_deletions_have_their_fields() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (record("hé \"1\""), record("2"));
    let ops = vec![
        op("create", "app.bsky.feed.post/a", Some(&first)),
        op("create", "app.bsky.feed.like/b", Some(&second)),
        op("update", "app.bsky.feed.post/c", Some(&second)),
        op("delete", "app.bsky.feed.post/d", None),
    ];
    let path = recording(&folder, &[&commit(ops, &[&first, &second])]);
    let (items, _) = read_all(open_file("frames", &path, None).as_mut()).await;
    let (first, second) = (Cid::of(Codec::Drisl, &first), Cid::of(Codec::Drisl, &second));
    let place = format!("at://{DID}/app.bsky.feed.post");
    let expected = [
        format!(
            "1 post {place}/a:{first} {{\"uri\":\"{place}/a\",\"cid\":\"{first}\",\
             \"author\":\"{DID}\",\"text\":\"hé \\\"1\\\"\",\
             \"created_at\":\"2026-07-04T14:38:08.999Z\",\"langs\":[\"en\"]}}"
        ),
        format!(
            "3 update {place}/c:3mptbypluud2a:update {{\"kind\":\"update\",\"uri\":\"{place}/c\",\
             \"did\":\"{DID}\",\"collection\":\"app.bsky.feed.post\",\"rkey\":\"c\",\
             \"rev\":\"3mptbypluud2a\",\"seq\":7,\"time\":\"2026-07-04T14:38:09.085Z\",\
             \"cid\":\"{second}\",\"text\":\"2\",\"created_at\":\"2026-07-04T14:38:08.999Z\",\
             \"langs\":[\"en\"]}}"
        ),
        format!(
            "4 delete {place}/d:3mptbypluud2a:delete {{\"kind\":\"delete\",\"uri\":\"{place}/d\",\
             \"did\":\"{DID}\",\"collection\":\"app.bsky.feed.post\",\"rkey\":\"d\",\
             \"rev\":\"3mptbypluud2a\",\"seq\":7,\"time\":\"2026-07-04T14:38:09.085Z\"}}"
        ),
    ];
    assert_eq!(all_shown(&items), expected);
}

/// Invariant 6, and I9 of the replaced services: a bad part of a commit costs itself alone.
#[tokio::test]
async fn i6_a_bad_part_of_a_commit_takes_nothing_else_along() {
    let folder = TempDir::new().unwrap();
    let (good, bad, absent) = (record("good"), b"\xa1\x64text\x07", record("absent"));
    let create = |path, record| op("create", path, Some(record));
    let ops = vec![
        create("app.bsky.feed.post/a", &good),
        create("app.bsky.feed.post/b", bad),
        create("app.bsky.feed.post/c", &absent),
        op("rename", "app.bsky.feed.post/d", None),
        create("app.bsky.feed.post/..", &good),
        create("app.bsky.feed.post/f", &good),
    ];
    let frame = commit(ops, &[&good, bad]);
    let path = recording(&folder, &[b"junk", &frame, b"", &frame]);
    let (items, error) = read_all(open_file("frames", &path, None).as_mut()).await;
    assert!(error.is_none() && items.len() == 1 + 6 + 1 + 6);
    let name = path.display();
    let (kind, message) = dead_kind(&items[0]);
    assert_eq!(kind, "bad_frame");
    assert!(message.starts_with(&format!("{name} frame 1: header: ")), "{message}");
    for commit in [&items[1..7], &items[8..]] {
        let kinds: Vec<_> =
            commit
                .iter()
                .map(|item| {
                    if matches!(item.content, Content::Post(_)) {
                        "post"
                    } else {
                        dead_kind(item).0
                    }
                })
                .collect();
        assert_eq!(kinds, ["post", "bad_record", "block_missing", "bad_op", "bad_op", "post"]);
    }
    let Content::Dead { original, cause, .. } = &items[2].content else { panic!() };
    assert_eq!(original, &bad[..]);
    let place = format!("{name} frame 2, operation 2: the record bafy");
    assert!(cause.message.starts_with(&place), "{}", cause.message);
    assert!(cause.message.ends_with("`text`: expected a text at byte 6"), "{}", cause.message);
    let Content::Dead { original, .. } = &items[3].content else { panic!() };
    assert_eq!(original, &frame[..]);

    // Resuming inside of the commit goes on with its next operation.
    let (rest, _) = read_all(open_file("frames", &path, Some(items[3].position)).as_mut()).await;
    assert_eq!(all_shown(&rest), all_shown(&items[4..]));
}

#[tokio::test]
async fn a_block_that_was_tampered_with_is_dead() {
    let folder = TempDir::new().unwrap();
    let record = record("the real text");
    let mut frame = commit(vec![op("create", "app.bsky.feed.post/a", Some(&record))], &[&record]);
    let at = frame.windows(4).position(|part| part == b"real").unwrap();
    frame[at..at + 4].copy_from_slice(b"fake");
    let path = recording(&folder, &[&frame]);
    let (items, _) = read_all(open_file("frames", &path, None).as_mut()).await;
    assert_eq!(dead_kind(&items[0]).0, "block_mismatch");
    let Content::Dead { original, .. } = &items[0].content else { panic!() };
    assert!(original.windows(4).any(|part| part == b"fake") && original.len() == record.len());
}

#[tokio::test]
async fn a_post_that_is_too_long_as_json_is_dead() {
    let folder = TempDir::new().unwrap();
    let record = record(&"\u{1}".repeat(200_000));
    let ops = ["create", "update"].map(|action| op(action, "app.bsky.feed.post/a", Some(&record)));
    let path = recording(&folder, &[&commit(ops.to_vec(), &[&record])]);
    let (items, _) = read_all(open_file("frames", &path, None).as_mut()).await;
    assert_eq!(items.len(), 2);
    for item in &items {
        assert_eq!(dead_kind(item).0, "too_large");
        let Content::Dead { original, .. } = &item.content else { panic!() };
        assert_eq!(original, &record[..]);
    }
}

#[tokio::test]
async fn frames_that_are_no_items_are_filtered_with_a_reason() {
    let folder = TempDir::new().unwrap();
    let info = frame::encode("#info", &Value::Map(vec![("name", Value::Text("x"))])).unwrap();
    let later = frame::encode("#later", &Value::Null).unwrap();
    let error = b"\xa1\x62op\x20\xa1\x65error\x61x";
    let path = recording(&folder, &[&info, &later, error]);
    let (items, _) = read_all(open_file("frames", &path, None).as_mut()).await;
    let expected =
        ["1 filtered info_frame", "65537 filtered unknown_frame", "131073 filtered error_frame"];
    assert_eq!(all_shown(&items), expected);
}

#[tokio::test]
async fn a_cut_recording_gives_what_is_whole_and_names_the_place() {
    let folder = TempDir::new().unwrap();
    let record = record("x");
    let frame = commit(vec![op("create", "app.bsky.feed.post/a", Some(&record))], &[&record]);
    let path = recording(&folder, &[&frame, &frame]);
    let bytes = std::fs::read(&path).unwrap();
    let whole = bytes.len() / 2;
    for end in [whole + 1, whole + 4, whole + 5, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..end]).unwrap();
        let (items, error) = read_all(open_file("frames", &path, None).as_mut()).await;
        assert_eq!(items.len(), 1);
        let Some(SourceError::Damaged { problem, .. }) = error else { panic!("{end}: {error:?}") };
        assert_eq!(problem, format!("it ends inside of frame 2, at byte {end}"));
    }
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_dead_and_the_next_one_comes() {
    let folder = TempDir::new().unwrap();
    let record = record("x");
    let frame = commit(vec![op("create", "app.bsky.feed.post/a", Some(&record))], &[&record]);
    let path = recording(&folder, &[&vec![0; 5_000_001], &frame]);
    let (items, error) = read_all(open_file("frames", &path, None).as_mut()).await;
    assert!(error.is_none() && items.len() == 2);
    assert_eq!(dead_kind(&items[0]).0, "too_large");
    let Content::Dead { cut_from, original, .. } = &items[0].content else { panic!() };
    assert_eq!((cut_from.as_ref().unwrap().0, original.len()), (5_000_001, 64 * 1024));
}
