//! Invariant 6 for bytes: whatever comes in, nothing panics, and canonical means canonical.

use crate::common::{commit_frame, op, post_record, recorded_frames};
use proptest::prelude::*;
use wingbeat_atproto::{
    Car, Cid, Codec, Curve, Frame, Post, SigningKey,
    cbor::{self, Reader, Value},
    to_json, verify_commit, verify_hashes,
};

/// Everything that can be done with a frame; returns how many records came out of it.
fn explore(bytes: &[u8]) -> usize {
    let mut records = 0;
    if let Ok(Frame::Commit(commit)) = Frame::decode(bytes) {
        let _ = (commit.repo(), commit.rev(), commit.since(), commit.time());
        let hashes = verify_hashes(&commit);
        let key = SigningKey::from_seed_bytes(Curve::Secp256k1, &[7; 32]).unwrap().public();
        let full = verify_commit(&commit, &key, None, u64::MAX);
        assert!(full.is_err() || hashes.is_ok());
        for op in commit.ops() {
            let Ok(op) = op else { continue };
            let _ = op.path();
            let Some(cid) = op.cid() else { continue };
            let Ok(record) = commit.record(&cid) else { continue };
            assert!(cid.names(record));
            let _ = Post::decode(record);
            records += usize::from(to_json(record).is_ok());
        }
        if let Ok(car) = Car::parse(commit.blocks) {
            let _ = car.blocks().count();
        }
    }
    records
}

fn sample_frame() -> Vec<u8> {
    let records = [post_record("first"), post_record("second")];
    let ops = vec![
        op("create", "app.bsky.feed.post/a", Some(&records[0])),
        op("update", "app.bsky.feed.post/b", Some(&records[1])),
        op("delete", "app.bsky.feed.post/c", None),
    ];
    commit_frame(ops, &[&records[0], &records[1]]).unwrap()
}

#[test]
fn i6_a_frame_cut_at_any_length_is_an_error() {
    let mut frames = vec![sample_frame()];
    // All kinds are among the recorded ones; a few short ones are enough.
    let mut recorded = recorded_frames().unwrap_or_default();
    recorded.sort_by_key(Vec::len);
    frames.extend(recorded.into_iter().take(8));
    for frame in frames {
        assert!(Frame::decode(&frame).is_ok());
        for end in 0..frame.len() {
            assert!(Frame::decode(&frame[..end]).is_err(), "cut at {end}");
        }
    }
}

/// Any value of the data model.
fn value() -> impl Strategy<Value = OwnedValue> {
    let leaf = prop_oneof![
        Just(OwnedValue::Null),
        any::<bool>().prop_map(OwnedValue::Bool),
        any::<i64>().prop_map(OwnedValue::Integer),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(OwnedValue::Float),
        any::<String>().prop_map(OwnedValue::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(OwnedValue::Bytes),
        any::<[u8; 4]>().prop_map(|content| OwnedValue::Link(Cid::of(Codec::Raw, &content))),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(OwnedValue::Array),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| OwnedValue::Map(map.into_iter().collect())),
        ]
    })
}

/// A value that owns its texts, as a strategy must.
#[derive(Debug, Clone)]
enum OwnedValue {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Link(Cid),
    Array(Vec<OwnedValue>),
    Map(Vec<(String, OwnedValue)>),
}

impl OwnedValue {
    fn as_value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Integer(number) => Value::Integer(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Text(text) => Value::Text(text),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Link(cid) => Value::Link(*cid),
            Self::Array(elements) => Value::Array(elements.iter().map(Self::as_value).collect()),
            Self::Map(entries) => Value::Map(
                entries.iter().map(|(key, value)| (key.as_str(), value.as_value())).collect(),
            ),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_canonical_and_becomes_json(value in value()) {
        let bytes = value.as_value().encode().unwrap();
        prop_assert_eq!(cbor::check(&bytes), Ok(()));
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(reader.skip(), Ok(()));
        prop_assert_eq!(reader.end(), Ok(()));
        let json = to_json(&bytes).unwrap();
        prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{}", json);
    }

    /// What the strict check accepts, the skip accepts too: it is never the stricter one.
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if cbor::check(&bytes).is_ok() {
            prop_assert_eq!(Reader::new(&bytes).skip(), Ok(()));
        }
        let _ = Post::decode(&bytes);
        prop_assert_eq!(to_json(&bytes).is_ok(), cbor::check(&bytes).is_ok());
        let _ = Car::parse(&bytes).map(|car| car.blocks().count());
        explore(&bytes);
    }

    /// A post is as strict as the strict check: with what else is in the record, at any depth, and
    /// with some bytes anywhere another.
    #[test]
    fn a_post_that_is_read_is_canonical(
        more in value(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let reference = Value::Map(vec![("uri", Value::Text("at://x")), ("zz", more.as_value())]);
        let reply = vec![("root", reference.clone()), ("parent", reference), ("zz", more.as_value())];
        let record = vec![("text", Value::Text("x")), ("zz", more.as_value()), ("reply", Value::Map(reply))];
        let mut bytes = Value::Map(record).encode().unwrap();
        prop_assert!(Post::decode(&bytes).is_ok());
        for (index, byte) in &edits {
            let at = index.index(bytes.len());
            bytes[at] = *byte;
        }
        if Post::decode(&bytes).is_ok() {
            prop_assert_eq!(cbor::check(&bytes), Ok(()));
        }
    }

    #[test]
    fn no_change_to_a_frame_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = sample_frame();
        for (index, byte) in &edits {
            let at = index.index(frame.len());
            frame[at] = *byte;
        }
        explore(&frame);
        explore(&frame[..cut.index(frame.len())]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Of each real frame, some bytes anywhere are another.
    #[test]
    fn no_change_to_a_recorded_frame_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for mut frame in recorded_frames().unwrap_or_default() {
            for (index, byte) in &edits {
                let at = index.index(frame.len());
                frame[at] = *byte;
            }
            explore(&frame);
        }
    }
}
