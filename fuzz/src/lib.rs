//! What must hold for any bytes. Each function is one fuzz target: it panics where something
//! does not hold.

use std::{
    cell::RefCell,
    ops::ControlFlow,
    sync::LazyLock,
};

use wingbeat_atproto::{
    Car, Cid, Codec, CommitObject, Curve, Did, DidDocument, Frame, Post, PublicKey, SigningKey,
    car,
    cbor::{self, Kind, Reader, Value},
    mst::{self, Change, Tree},
    repository::Repository,
    to_json, verify_commit, verify_hashes, verify_sync,
};

use wingbeat_source::{
    Content,
    network::{JetstreamMessages, Protocol},
};

/// Microseconds since 1970: no revision lies in the future.
const NOW: u64 = u64::MAX;

/// The account that DID documents are read for.
pub const DID: &str = "did:plc:44ybard66vv44zksje25o7dz";

static KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    let key = SigningKey::from_seed_bytes(Curve::Secp256k1, &[7; 32]);
    key.expect("a number below the order").public()
});

/// A frame: everything in it is read, and verified as far as it goes. A commit with a right
/// signature has right hashes.
pub fn frame(bytes: &[u8]) {
    match Frame::decode(bytes) {
        Ok(Frame::Commit(commit)) => {
            let hashes = verify_hashes(&commit);
            let full = verify_commit(&commit, &KEY, None, NOW);
            assert!(full.is_err() || hashes.is_ok());
            let _ = (commit.repo(), commit.rev(), commit.since(), commit.time());
            for op in commit.ops().flatten() {
                let _ = op.path();
                let Some(cid) = op.cid() else { continue };
                let Ok(record) = commit.record(&cid) else { continue };
                assert!(cid.names(record));
                let is_canonical = cbor::check(record).is_ok();
                assert!(is_canonical || Post::decode(record).is_err());
                assert_eq!(to_json(record).is_ok(), is_canonical);
            }
        }
        Ok(Frame::Sync(sync)) => {
            let _ = verify_sync(&sync, &KEY, None, NOW);
        }
        _ => {}
    }
}

/// CBOR: what the strict check accepts is what is written again, and is passed over too.
pub fn cbor(bytes: &[u8]) {
    let result = cbor::check(bytes);
    assert_eq!(to_json(bytes).is_ok(), result.is_ok());
    let mut skipped = Reader::new(bytes);
    let skipped = skipped.skip().and_then(|()| skipped.end());
    if result.is_ok() {
        assert_eq!(skipped, Ok(()));
        let again = read_value(&mut Reader::new(bytes)).encode();
        assert_eq!(again.as_deref(), Ok(bytes));
    }
    if CommitObject::parse(bytes).is_ok() || Post::decode(bytes).is_ok() {
        assert_eq!(result, Ok(()));
    }
}

/// Reads an object that was checked.
fn read_value<'a>(reader: &mut Reader<'a>) -> Value<'a> {
    const CHECKED: &str = "it was checked";
    match reader.kind().expect(CHECKED) {
        Kind::Integer => Value::Integer(reader.integer().expect(CHECKED)),
        Kind::Bytes => Value::Bytes(reader.bytes().expect(CHECKED)),
        Kind::Text => Value::Text(reader.text().expect(CHECKED)),
        Kind::Link => Value::Link(reader.link().expect(CHECKED)),
        Kind::Bool => Value::Bool(reader.bool().expect(CHECKED)),
        Kind::Float => Value::Float(reader.float().expect(CHECKED)),
        Kind::Null => {
            assert!(reader.take_null());
            Value::Null
        }
        Kind::Array => {
            let count = reader.array().expect(CHECKED);
            Value::Array((0..count).map(|_| read_value(reader)).collect())
        }
        Kind::Map => {
            let mut entries = reader.map().expect(CHECKED);
            let mut map = Vec::new();
            while let Some(key) = entries.next_checked_key(reader).expect(CHECKED) {
                map.push((key, read_value(reader)));
            }
            Value::Map(map)
        }
    }
}

/// A CAR: its blocks are found by their names, and a repository is walked as far as it goes.
pub fn car(bytes: &[u8]) {
    let Ok(car) = Car::parse(bytes) else { return };
    let verified = car.verified();
    for block in car.blocks().flatten() {
        assert!(car.find(&block.cid).is_ok_and(|found| found.is_some()));
        if let Ok(blocks) = &verified {
            assert_eq!(blocks.get(&block.cid), Ok(block.content));
        }
    }
    if let Ok(repository) = Repository::parse(bytes) {
        let mut previous = String::new();
        let _ = repository.walk(|entry| {
            assert!(entry.path > previous.as_str() && entry.cid.names(entry.record));
            previous = entry.path.to_owned();
            ControlFlow::Continue(())
        });
    }
}

/// Nodes of a tree, each behind its length in two bytes; the last one is the root. A node that is
/// accepted is written again byte for byte, and what is undone can be done again.
pub fn mst(bytes: &[u8]) {
    let mut rest = bytes;
    let mut nodes = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (node, behind) = behind.split_at(length);
        nodes.push((Cid::of(Codec::Drisl, node), node));
        rest = behind;
    }
    let Some((root, _)) = nodes.last().copied() else { return };
    let Ok(car) = car::encode(root, &nodes) else { return };
    let Ok(blocks) = Car::parse(&car).expect("written a moment ago").verified() else { return };
    for key in ["a.b.c/0", "app.bsky.feed.post/3mptbyplj5d2a", "z.z.z/~"] {
        let mut tree = Tree::load(&blocks, root);
        let Ok(found) = tree.get(key) else { continue };
        for (cid, node) in tree.nodes() {
            assert!(nodes.iter().any(|(_, content)| **content == node), "{cid}");
        }
        assert_eq!(tree.root(), root);
        match found {
            None => {
                tree.insert(key, root).expect("the path to the key is loaded");
                assert_eq!(tree.get(key), Ok(Some(root)));
                if tree.remove(key).is_ok() {
                    assert_eq!(tree.root(), root);
                }
            }
            Some(value) => {
                if tree.remove(key).is_ok() {
                    tree.insert(key, value).expect("the path to the key is loaded");
                    assert_eq!(tree.root(), root);
                }
                let change = Change { key, old: None, new: Some(value) };
                let _ = mst::invert(&blocks, root, &[change]);
            }
        }
    }
}

/// A DID document, or a key as text.
pub fn did(bytes: &[u8]) {
    let did = Did::parse(DID).expect("a DID");
    let _ = DidDocument::parse(bytes, &did);
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string(), text);
    }
}

/// A message of Jetstream, of both versions: what it becomes is an object each, and what is dead
/// keeps bytes of it.
pub fn jetstream(bytes: &[u8]) {
    for protocol in [Protocol::JetstreamV1, Protocol::JetstreamV2] {
        let mut messages = JetstreamMessages::new(protocol, None).expect("without a dictionary");
        for content in messages.contents(bytes).into_iter().flatten() {
            let payload = match &content {
                Content::Post(post) => &post.payload,
                Content::Event(event) => &event.payload,
                Content::Dead { original, .. } => {
                    assert!(original.len() <= bytes.len());
                    continue;
                }
                Content::Filtered(_) => continue,
            };
            let value: serde_json::Value = serde_json::from_slice(payload).expect("JSON");
            assert!(value.is_object());
        }
    }
}

/// A dictionary like those of Jetstream.
pub static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let message = |n: u32| format!("{{\"did\":\"did:plc:{n}\",\"time_us\":{}}}", n * 7);
    let samples: Vec<String> = (0..2000).map(message).collect();
    zstd::dict::from_samples(&samples, 8192).expect("a dictionary")
});

/// A compressed message: it is inflated as far as a message may be long, and read.
pub fn zstd(bytes: &[u8]) {
    thread_local! {
        static MESSAGES: RefCell<JetstreamMessages> = RefCell::new(
            JetstreamMessages::new(Protocol::JetstreamV1, Some(&DICTIONARY)).expect("a dictionary"),
        );
    }
    MESSAGES.with_borrow_mut(|messages| {
        let _ = messages.contents(bytes);
    });
}
