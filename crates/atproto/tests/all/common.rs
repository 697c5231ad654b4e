//! What several tests need: recordings that lie beside the checkout, and frames made here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use wingbeat_atproto::{
    Cid, Codec, car,
    cbor::{EncodeError, Value},
    frame,
};

/// A time as servers write it.
pub(crate) const TIME: &str = "2026-07-04T14:38:09.085Z";

/// A file of the folder `shared`, or `None`, with a word on stderr, where there is none.
pub(crate) fn shared_file(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("WINGBEAT_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let file = folder.join(path);
    if !file.exists() {
        eprintln!("skipped: there is no {}", file.display());
        return None;
    }
    Some(file)
}

/// The frames of the recording, or `None` where it is absent.
pub(crate) fn recorded_frames() -> Option<Vec<Vec<u8>>> {
    let file = shared_file("fixtures/jetstream-corpus/frames.bin.zst")?;
    let bytes = zstd::decode_all(std::fs::File::open(file).unwrap()).unwrap();
    let mut rest = &bytes[..];
    let mut frames = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (frame, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        frames.push(frame.to_vec());
        rest = behind;
    }
    Some(frames)
}

/// The vectors of a JSON file.
pub(crate) fn read_json(path: &Path) -> Vec<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The bytes that hexadecimal digits stand for.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// The record of a post.
pub(crate) fn post_record(text: &str) -> Vec<u8> {
    let record = Value::Map(vec![
        ("$type", Value::Text("app.bsky.feed.post")),
        ("text", Value::Text(text)),
        ("createdAt", Value::Text("2026-07-04T14:38:08.999Z")),
    ]);
    record.encode().unwrap()
}

/// An operation. The cid is that of the record.
pub(crate) fn op<'a>(action: &'a str, path: &'a str, record: Option<&[u8]>) -> Value<'a> {
    let cid = record.map_or(Value::Null, |record| Value::Link(Cid::of(Codec::Drisl, record)));
    Value::Map(vec![("action", Value::Text(action)), ("path", Value::Text(path)), ("cid", cid)])
}

/// A `#commit` frame with these operations, and these records in its blocks.
pub(crate) fn commit_frame(ops: Vec<Value<'_>>, records: &[&[u8]]) -> Result<Vec<u8>, EncodeError> {
    let root = Cid::of(Codec::Drisl, b"\xa0");
    let named: Vec<_> = records.iter().map(|r| (Cid::of(Codec::Drisl, r), *r)).collect();
    let blocks = car::encode(root, &named)?;
    frame::encode("#commit", &commit_payload(root, ops, &blocks))
}

/// The payload of a `#commit`.
pub(crate) fn commit_payload<'a>(root: Cid, ops: Vec<Value<'a>>, blocks: &'a [u8]) -> Value<'a> {
    Value::Map(vec![
        ("seq", Value::Integer(7)),
        ("repo", Value::Text("did:plc:44ybard66vv44zksje25o7dz")),
        ("rev", Value::Text("3mptbypluud2a")),
        ("since", Value::Null),
        ("time", Value::Text(TIME)),
        ("commit", Value::Link(root)),
        ("blocks", Value::Bytes(blocks)),
        ("ops", Value::Array(ops)),
        ("rebase", Value::Bool(false)),
    ])
}

/// A CAR of these blocks.
pub(crate) fn blocks_of(root: Cid, blocks: &BTreeMap<Cid, Vec<u8>>) -> Vec<u8> {
    let blocks: Vec<_> = blocks.iter().map(|(cid, block)| (*cid, block.as_slice())).collect();
    car::encode(root, &blocks).unwrap()
}
