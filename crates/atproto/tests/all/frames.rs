//! Frames made for the purpose: every kind, the limits, and what is wrong said at its place.

use crate::common::{TIME, commit_frame, commit_payload, op, post_record};
use wingbeat_atproto::{
    Action, BLOCKS_BYTES_MAX, BlockError, Cid, Codec, DecodeError, FRAME_BYTES_MAX, Frame, OPS_MAX,
    RECORD_BYTES_MAX, cbor::Value, frame,
};

const DID: &str = "did:plc:44ybard66vv44zksje25o7dz";

fn encode(kind: &str, payload: Vec<(&str, Value<'_>)>) -> Vec<u8> {
    frame::encode(kind, &Value::Map(payload)).unwrap()
}

fn problem(frame: &[u8]) -> String {
    Frame::decode(frame).unwrap_err().to_string()
}

#[test]
fn a_commit_gives_its_operations_and_records() {
    let record = post_record("hello");
    let ops = vec![
        op("create", "app.bsky.feed.post/3mptbyplj5d2a", Some(&record)),
        op("delete", "app.bsky.feed.like/3mptbyplj5d2b", None),
    ];
    let bytes = commit_frame(ops, &[&record]).unwrap();
    let Frame::Commit(commit) = Frame::decode(&bytes).unwrap() else { panic!() };
    assert_eq!((commit.seq, commit.repo().unwrap().as_str()), (7, DID));
    assert_eq!((commit.since(), commit.time()), (Ok(None), Ok(TIME)));
    let ops: Vec<_> = commit.ops().map(Result::unwrap).collect();
    assert_eq!((ops[0].action, ops[0].is_in("app.bsky.feed.post")), (Action::Create, true));
    assert!(!ops[0].is_in("app.bsky.feed") && !ops[1].is_in("app.bsky.feed.post"));
    assert_eq!(commit.record(&ops[0].cid().unwrap()), Ok(&record[..]));
    assert_eq!((ops[1].action, ops[1].cid()), (Action::Delete, None));
}

/// Invariant 6: one bad operation does not take its siblings along.
#[test]
fn i6_a_bad_operation_is_an_error_of_its_own() {
    let record = post_record("x");
    let good = || op("create", "app.bsky.feed.post/a", Some(&record));
    let bad = [
        (op("rename", "app.bsky.feed.post/b", None), "`action`: not create, update or delete"),
        (op("create", "app.bsky.feed.post/b", None), "`cid` is missing"),
        (Value::Null, "expected a map"),
        (Value::Map(vec![("action", Value::Text("delete"))]), "`path` is missing"),
        (
            Value::Map(vec![
                ("cid", Value::Text("bafy")),
                ("path", Value::Text("x")),
                ("action", Value::Text("update")),
            ]),
            "`cid`: expected a link",
        ),
    ];
    for (bad, message) in bad {
        let bytes = commit_frame(vec![good(), bad, good()], &[&record]).unwrap();
        let Frame::Commit(commit) = Frame::decode(&bytes).unwrap() else { panic!() };
        let ops: Vec<_> = commit.ops().collect();
        assert!(ops[0].is_ok() && ops[2].is_ok());
        let error = ops[1].clone().unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn missing_wrong_and_oversize_records_are_told_apart() {
    let record = post_record("x");
    let absent = commit_frame(vec![], &[]).unwrap();
    let Frame::Commit(commit) = Frame::decode(&absent).unwrap() else { panic!() };
    let cid = Cid::of(Codec::Drisl, &record);
    assert_eq!(commit.record(&cid), Err(BlockError::Missing(cid)));

    let mut tampered = commit_frame(vec![], &[&record]).unwrap();
    let at = tampered.windows(record.len()).position(|part| part == record).unwrap();
    tampered[at + record.len() - 2] ^= 1;
    let Frame::Commit(commit) = Frame::decode(&tampered).unwrap() else { panic!() };
    assert_eq!(commit.record(&cid), Err(BlockError::Mismatch(cid)));

    let large = vec![0x40; RECORD_BYTES_MAX + 1];
    let bytes = commit_frame(vec![], &[&large]).unwrap();
    let Frame::Commit(commit) = Frame::decode(&bytes).unwrap() else { panic!() };
    let result = commit.record(&Cid::of(Codec::Drisl, &large));
    assert!(matches!(result, Err(BlockError::TooLarge { .. })));
}

#[test]
fn the_limits_of_the_protocol_hold() {
    let delete = || op("delete", "app.bsky.feed.post/a", None);
    let most = commit_frame((0..OPS_MAX).map(|_| delete()).collect(), &[]).unwrap();
    let Frame::Commit(commit) = Frame::decode(&most).unwrap() else { panic!() };
    assert_eq!(commit.ops().len(), OPS_MAX);
    let too_many = commit_frame((0..=OPS_MAX).map(|_| delete()).collect(), &[]).unwrap();
    assert_eq!(problem(&too_many), "#commit: operations: 201, but at most 200 are allowed");

    let blocks = vec![0; BLOCKS_BYTES_MAX + 1];
    let payload = commit_payload(Cid::of(Codec::Raw, b""), vec![], &blocks);
    let error = Frame::decode(&frame::encode("#commit", &payload).unwrap()).unwrap_err();
    assert!(matches!(error.error, DecodeError::TooLarge { what: "bytes of `blocks`", .. }));

    let error = Frame::decode(&vec![0; FRAME_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(error.to_string(), "frame: bytes: 5000001, but at most 5000000 are allowed");
}

#[test]
fn messages_that_are_no_commits_are_read() {
    let common =
        || vec![("did", Value::Text(DID)), ("seq", Value::Integer(9)), ("time", Value::Text(TIME))];
    let with = |more: Vec<(&'static str, Value<'static>)>| [common(), more].concat();

    let bytes = encode("#identity", with(vec![("handle", Value::Text("a.example"))]));
    let Frame::Identity(identity) = Frame::decode(&bytes).unwrap() else { panic!() };
    assert_eq!((identity.seq, identity.did.as_str(), identity.time), (9, DID, TIME));
    assert_eq!(identity.handle, Some("a.example"));

    let account = vec![("active", Value::Bool(false)), ("status", Value::Text("deleted"))];
    let bytes = encode("#account", with(account));
    let Frame::Account(account) = Frame::decode(&bytes).unwrap() else { panic!() };
    assert_eq!((account.active, account.status), (false, Some("deleted")));

    let sync = vec![("rev", Value::Text("3mptbypluud2a")), ("blocks", Value::Bytes(b"car"))];
    let bytes = encode("#sync", with(sync));
    let Frame::Sync(sync) = Frame::decode(&bytes).unwrap() else { panic!() };
    assert_eq!((sync.rev.to_string().as_str(), sync.blocks), ("3mptbypluud2a", &b"car"[..]));

    let bytes = encode("#info", vec![("name", Value::Text("OutdatedCursor"))]);
    let Frame::Info(info) = Frame::decode(&bytes).unwrap() else { panic!() };
    assert_eq!((info.name, info.message), ("OutdatedCursor", None));
}

#[test]
fn error_frames_and_unknown_frames_are_told_apart() {
    let header = Value::Map(vec![("op", Value::Integer(-1))]).encode().unwrap();
    let payload =
        vec![("error", Value::Text("ConsumerTooSlow")), ("message", Value::Text("hurry"))];
    let bytes = [header, Value::Map(payload).encode().unwrap()].concat();
    let Frame::Error(error) = Frame::decode(&bytes).unwrap() else { panic!() };
    assert_eq!((error.error, error.message), ("ConsumerTooSlow", Some("hurry")));

    let later = encode("#weather", vec![("sky", Value::Text("blue"))]);
    assert!(matches!(Frame::decode(&later), Ok(Frame::Unknown { op: 1, kind: Some("#weather") })));
    let header = Value::Map(vec![("op", Value::Integer(2))]).encode().unwrap();
    let bytes = [&header[..], b"\xa0"].concat();
    assert!(matches!(Frame::decode(&bytes), Ok(Frame::Unknown { op: 2, kind: None })));
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    assert_eq!(problem(b""), "header: the bytes end too early at byte 0");
    assert_eq!(problem(b"\xa0"), "header: `op` is missing");
    assert_eq!(problem(b"\xa1\x62op\x01\xa0"), "header: `t` is missing");
    // Keys out of order: nothing that writes canonical CBOR has made this.
    assert_eq!(problem(b"\xa2\x62op\x01\x61t\x61x\xa0"), "header: map keys out of order at byte 6");
    let identity = encode("#identity", vec![("did", Value::Text("did:PLC:x"))]);
    assert_eq!(
        problem(&identity),
        "#identity: `did`: not a DID: its method is not lower-case letters"
    );
    let seq = encode("#identity", vec![("seq", Value::Integer(1 << 53))]);
    assert_eq!(problem(&seq), "#identity: `seq`: not from 1 to 2^53 - 1");
    let longer = [&encode("#info", vec![("name", Value::Text("x"))])[..], b"\0"].concat();
    assert_eq!(problem(&longer), "frame: more bytes after the object at byte 21");
    assert!(
        problem(&encode("#later", vec![])[..11]).starts_with("header: the bytes end too early")
    );
}
