//! Real frames of a relay against what another implementation, Bluesky's own Jetstream, said of
//! the same events.

use std::collections::HashMap;

use crate::common::{recorded_frames, shared_file};
use serde_json::Value as Json;
use wingbeat_atproto::{Action, Car, Codec, Frame, POST_COLLECTION, Post, to_json};

/// What Jetstream said, by (did, rev, path).
fn expected_commits() -> Option<HashMap<(String, String, String), Json>> {
    let file = shared_file("fixtures/jetstream-corpus/expected_v1.jsonl")?;
    let text = std::fs::read_to_string(file).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let commits = events.filter(|event| event["kind"] == "commit").map(|event| {
        let commit = &event["commit"];
        let word = |value: &Json| value.as_str().unwrap().to_owned();
        let path = format!("{}/{}", word(&commit["collection"]), word(&commit["rkey"]));
        ((word(&event["did"]), word(&commit["rev"]), path), commit.clone())
    });
    Some(commits.collect())
}

/// Every operation of every collection, with its record as JSON.
#[test]
fn commits_say_what_jetstream_says() {
    let (Some(frames), Some(mut expected)) = (recorded_frames(), expected_commits()) else {
        return;
    };
    let mut posts = 0;
    let mut last_seq = 0;
    for bytes in &frames {
        let Frame::Commit(commit) = Frame::decode(bytes).unwrap() else { continue };
        assert!(commit.seq > last_seq);
        last_seq = commit.seq;
        for op in commit.ops() {
            let op = op.unwrap();
            let path = op.path().unwrap();
            assert!(op.is_in(path.collection.as_str()));
            let (repo, rev) = (commit.repo().unwrap(), commit.rev().unwrap());
            let key = (repo.as_str().into(), rev.to_string(), path.to_string());
            let event = expected.remove(&key).unwrap();
            let word = match op.action {
                Action::Create => "create",
                Action::Update => "update",
                Action::Delete => "delete",
            };
            assert_eq!(event["operation"], word);
            let Some(cid) = op.cid() else { continue };
            assert_eq!(event["cid"], cid.to_string());
            let record = commit.record(&cid).unwrap();
            let json: Json = serde_json::from_str(&to_json(record).unwrap()).unwrap();
            assert_eq!(json, event["record"]);
            if op.is_in(POST_COLLECTION) {
                let post = Post::decode(record).unwrap();
                assert_eq!(event["record"]["text"], post.text);
                assert_eq!(event["record"]["createdAt"].as_str(), post.created_at);
                let reply = &event["record"]["reply"]["parent"]["uri"];
                assert_eq!(reply.as_str(), post.reply.map(|reply| reply.parent));
                posts += 1;
            }
        }
    }
    assert!(expected.is_empty(), "not seen: {:?}", expected.keys());
    assert_eq!(posts, 17);
}

#[test]
fn every_kind_of_frame_is_told_apart() {
    let Some(frames) = recorded_frames() else { return };
    let mut counts = [0; 3];
    for bytes in &frames {
        match Frame::decode(bytes).unwrap() {
            Frame::Commit(_) => counts[0] += 1,
            Frame::Identity(identity) => {
                assert!(identity.handle.is_none());
                counts[1] += 1;
            }
            Frame::Account(account) => {
                assert!(account.active && account.status.is_none());
                counts[2] += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts, [148, 1, 1]);
}

/// The blocks are the commit object first, then what it names; each has the hash that it claims.
#[test]
fn every_block_has_its_hash() {
    let Some(frames) = recorded_frames() else { return };
    let mut blocks = 0;
    for bytes in &frames {
        let Frame::Commit(commit) = Frame::decode(bytes).unwrap() else { continue };
        let car = Car::parse(commit.blocks).unwrap();
        assert_eq!(car.root(), Some(commit.commit()));
        assert!(commit.prev_data().is_some() && !commit.time().unwrap().is_empty());
        assert!(commit.since().unwrap() < Some(commit.rev().unwrap()));
        for block in car.blocks() {
            let block = block.unwrap();
            assert_eq!(block.cid.codec(), Codec::Drisl);
            assert!(block.cid.names(block.content));
            blocks += 1;
        }
    }
    assert!(blocks > 1_000, "{blocks}");
}
