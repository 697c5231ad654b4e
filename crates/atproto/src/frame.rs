//! Frames of `com.atproto.sync.subscribeRepos`: one websocket message each, of two DRISL objects,
//! a header and a payload. <https://atproto.com/specs/event-stream>, <https://atproto.com/specs/sync>

use crate::{
    cbor::{EncodeError, Reader, Value},
    commit::Commit,
    decode::{
        DecodeError, InField as _, limit, read_did, read_optional_text, read_seq, read_tid, utf8,
    },
    syntax::Did,
    tid::Tid,
};

/// The longest frame that is accepted, in bytes: 5 MB, the limit of the event-stream
/// specification.
pub const FRAME_BYTES_MAX: usize = 5_000_000;

/// One frame.
#[derive(Debug, Clone)]
pub enum Frame<'a> {
    /// Records of a repository were created, updated or deleted.
    Commit(Commit<'a>),
    /// A repository has a new state that no commit leads to.
    Sync(Sync<'a>),
    /// An account's identity may have changed.
    Identity(Identity<'a>),
    /// An account's hosting status may have changed.
    Account(Account<'a>),
    /// The server says something about the stream.
    Info(Info<'a>),
    /// The server gives up on this stream, and closes it.
    Error(StreamError<'a>),
    /// Something that a later version of the protocol has. To be passed over, says the
    /// specification; its payload is known to be sound CBOR.
    Unknown {
        /// The operation: 1 for a message.
        op: i64,
        /// The kind of message.
        kind: Option<&'a str>,
    },
}

/// A repository has a new state that no commit leads to: what is known of it is outdated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sync<'a> {
    /// The position in this server's stream.
    pub seq: u64,
    /// The repository.
    pub did: Did<'a>,
    /// The new revision.
    pub rev: Tid,
    /// When the server received it, as it writes it.
    pub time: &'a str,
    /// A CAR that holds the signed commit object and nothing else.
    pub blocks: &'a [u8],
}

/// An account's identity (its DID document or handle) may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The position in this server's stream.
    pub seq: u64,
    /// The account.
    pub did: Did<'a>,
    /// When the server received it, as it writes it.
    pub time: &'a str,
    /// The handle, where it is told. It is not verified.
    pub handle: Option<&'a str>,
}

/// An account's hosting status on this server may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account<'a> {
    /// The position in this server's stream.
    pub seq: u64,
    /// The account.
    pub did: Did<'a>,
    /// When the server received it, as it writes it.
    pub time: &'a str,
    /// Whether the repository is served.
    pub active: bool,
    /// Why it is not, such as `deleted` or `takendown`.
    pub status: Option<&'a str>,
}

/// The server says something about the stream, such as `OutdatedCursor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info<'a> {
    /// What, as a word.
    pub name: &'a str,
    /// What, for people.
    pub message: Option<&'a str>,
}

/// The server gives up on this stream, such as for `ConsumerTooSlow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamError<'a> {
    /// Why, as a word.
    pub error: &'a str,
    /// Why, for people.
    pub message: Option<&'a str>,
}

/// Why a frame can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {error}")]
pub struct FrameError {
    /// The part of the frame: `frame`, `header`, or the kind of its payload.
    pub part: &'static str,
    /// What is wrong with it. Offsets count from the start of the frame.
    pub error: DecodeError,
}

impl<'a> Frame<'a> {
    /// Reads a frame. Of a commit, only what tells whether one wants to know more: its operations
    /// come out of [`Commit::ops`], its records out of [`Commit::record`].
    #[inline]
    pub fn decode(frame: &'a [u8]) -> Result<Self, FrameError> {
        match Commit::of_usual_frame(frame) {
            Some(commit) => Ok(Self::Commit(commit)),
            None => Self::decode_any(frame),
        }
    }

    /// Reads a frame, whatever is in it.
    #[inline(never)]
    fn decode_any(frame: &'a [u8]) -> Result<Self, FrameError> {
        let at = |part| move |error: DecodeError| FrameError { part, error };
        limit("bytes", frame.len(), FRAME_BYTES_MAX).map_err(at("frame"))?;
        let mut reader = Reader::new(frame);
        let (op, kind) = read_header(&mut reader).map_err(at("header"))?;
        let payload = &mut reader;
        let decoded = match (op, kind) {
            (1, Some(b"#commit")) => Self::Commit(Commit::read(payload).map_err(at("#commit"))?),
            (1, Some(b"#sync")) => Self::Sync(Sync::read(payload).map_err(at("#sync"))?),
            (1, Some(b"#identity")) => {
                Self::Identity(Identity::read(payload).map_err(at("#identity"))?)
            }
            (1, Some(b"#account")) => {
                Self::Account(Account::read(payload).map_err(at("#account"))?)
            }
            (1, Some(b"#info")) => Self::Info(Info::read(payload).map_err(at("#info"))?),
            (-1, _) => Self::Error(StreamError::read(payload).map_err(at("error"))?),
            _ => {
                payload.skip().map_err(|error| at("payload")(error.into()))?;
                let kind = kind.map(|kind| utf8(kind, "t")).transpose().map_err(at("header"))?;
                Self::Unknown { op, kind }
            }
        };
        reader.end().map_err(|error| at("frame")(error.into()))?;
        Ok(decoded)
    }
}

/// The operation and the kind. The kind is known to be a text, not that it is UTF-8.
fn read_header<'a>(reader: &mut Reader<'a>) -> Result<(i64, Option<&'a [u8]>), DecodeError> {
    let (mut op, mut kind) = (None, None);
    let mut entries = reader.map()?;
    while let Some(key) = entries.next_key(reader)? {
        match key {
            b"t" => kind = Some(reader.text_bytes().in_field("t")?),
            b"op" => op = Some(reader.integer().in_field("op")?),
            _ => reader.skip()?,
        }
    }
    let op = op.in_field("op")?;
    if op == 1 && kind.is_none() {
        return Err(DecodeError::Missing("t"));
    }
    Ok((op, kind))
}

/// What messages about an account have in common.
#[derive(Default)]
struct Origin<'a> {
    seq: Option<u64>,
    did: Option<Did<'a>>,
    time: Option<&'a str>,
}

impl<'a> Origin<'a> {
    /// Reads the value of a key that is one of its own; passes over any other.
    fn read(&mut self, key: &[u8], reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        match key {
            b"did" => self.did = Some(read_did(reader, "did")?),
            b"seq" => self.seq = Some(read_seq(reader)?),
            b"time" => self.time = Some(reader.text().in_field("time")?),
            _ => reader.skip()?,
        }
        Ok(())
    }

    fn finish(self) -> Result<(u64, Did<'a>, &'a str), DecodeError> {
        Ok((self.seq.in_field("seq")?, self.did.in_field("did")?, self.time.in_field("time")?))
    }
}

impl<'a> Sync<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut origin = Origin::default();
        let (mut rev, mut blocks) = (None, None);
        let mut entries = reader.map()?;
        while let Some(key) = entries.next_key(reader)? {
            match key {
                b"rev" => rev = Some(read_tid(reader, "rev")?),
                b"blocks" => blocks = Some(reader.bytes().in_field("blocks")?),
                key => origin.read(key, reader)?,
            }
        }
        let (seq, did, time) = origin.finish()?;
        let (rev, blocks) = (rev.in_field("rev")?, blocks.in_field("blocks")?);
        Ok(Self { seq, did, rev, time, blocks })
    }
}

impl<'a> Identity<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut origin = Origin::default();
        let mut handle = None;
        let mut entries = reader.map()?;
        while let Some(key) = entries.next_key(reader)? {
            match key {
                b"handle" => handle = read_optional_text(reader, "handle")?,
                key => origin.read(key, reader)?,
            }
        }
        let (seq, did, time) = origin.finish()?;
        Ok(Self { seq, did, time, handle })
    }
}

impl<'a> Account<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut origin = Origin::default();
        let (mut active, mut status) = (None, None);
        let mut entries = reader.map()?;
        while let Some(key) = entries.next_key(reader)? {
            match key {
                b"active" => active = Some(reader.bool().in_field("active")?),
                b"status" => status = read_optional_text(reader, "status")?,
                key => origin.read(key, reader)?,
            }
        }
        let (seq, did, time) = origin.finish()?;
        Ok(Self { seq, did, time, active: active.in_field("active")?, status })
    }
}

impl<'a> Info<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (name, message) = read_word_and_message(reader, "name")?;
        Ok(Self { name, message })
    }
}

impl<'a> StreamError<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (error, message) = read_word_and_message(reader, "error")?;
        Ok(Self { error, message })
    }
}

fn read_word_and_message<'a>(
    reader: &mut Reader<'a>,
    word_field: &'static str,
) -> Result<(&'a str, Option<&'a str>), DecodeError> {
    let (mut word, mut message) = (None, None);
    let mut entries = reader.map()?;
    while let Some(key) = entries.next_key(reader)? {
        match key {
            b"message" => message = read_optional_text(reader, "message")?,
            key if key == word_field.as_bytes() => word = Some(reader.text().in_field(word_field)?),
            _ => reader.skip()?,
        }
    }
    Ok((word.in_field(word_field)?, message))
}

/// Writes a message frame: for simulators and tests.
pub fn encode(kind: &str, payload: &Value<'_>) -> Result<Vec<u8>, EncodeError> {
    let header = Value::Map(vec![("op", Value::Integer(1)), ("t", Value::Text(kind))]);
    let mut frame = header.encode()?;
    frame.extend_from_slice(&payload.encode()?);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Cid, Codec};

    /// A commit as today's servers write it, with so many operations of each kind.
    fn commit(creations: usize, deletions: usize, updates: usize) -> Vec<u8> {
        let cid = Cid::of(Codec::Drisl, b"\xa0");
        let path = Value::Text("app.bsky.feed.post/3jzfcijpj2z2a");
        let op = |action: &'static str, cid: Value<'static>, prev: Option<Value<'static>>| {
            let mut op =
                vec![("action", Value::Text(action)), ("path", path.clone()), ("cid", cid)];
            op.extend(prev.map(|prev| ("prev", prev)));
            Value::Map(op)
        };
        let mut ops = vec![op("create", Value::Link(cid), None); creations];
        ops.extend(vec![op("delete", Value::Null, Some(Value::Link(cid))); deletions]);
        ops.extend(vec![op("update", Value::Link(cid), Some(Value::Link(cid))); updates]);
        let payload = Value::Map(vec![
            ("ops", Value::Array(ops)),
            ("rev", Value::Text("3mptbypluud2a")),
            ("seq", Value::Integer(30_000_000_000)),
            ("repo", Value::Text("did:plc:44ybard66vv44zksje25o7dz")),
            ("time", Value::Text("2026-07-04T14:38:08.999Z")),
            ("blobs", Value::Array(Vec::new())),
            ("since", Value::Text("3mptbypluud2a")),
            ("blocks", Value::Bytes(&[7; 300])),
            ("commit", Value::Link(cid)),
            ("rebase", Value::Bool(false)),
            ("tooBig", Value::Bool(false)),
            ("prevData", Value::Link(cid)),
        ]);
        encode("#commit", &payload).unwrap()
    }

    /// What a frame is, and its operations: told by the bytes that are expected, and by a reader.
    fn both(frame: &[u8]) -> [String; 2] {
        let (usual, any) = (Frame::decode(frame), Frame::decode_any(frame));
        let usual_ops = match &usual {
            Ok(Frame::Commit(commit)) => format!("{:?}", commit.ops().collect::<Vec<_>>()),
            _ => String::new(),
        };
        let any_ops = match &any {
            Ok(Frame::Commit(commit)) => {
                format!("{:?}", commit.ops().read_by_any().collect::<Vec<_>>())
            }
            _ => String::new(),
        };
        [format!("{usual:?} {usual_ops}"), format!("{any:?} {any_ops}")]
    }

    #[test]
    fn a_commit_is_read_as_expected() {
        assert!(Commit::of_usual_frame(&commit(2, 1, 1)).is_some());
        let [usual, any] = both(&commit(2, 1, 1));
        assert_eq!(usual, any);
    }

    proptest! {
        #[test]
        fn reading_what_is_expected_accepts_and_finds_what_reading_anything_does(
            counts in (0_usize..3, 0_usize..3, 0_usize..3),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut frame = commit(counts.0, counts.1, counts.2);
            for (index, byte) in edits {
                let at = index.index(frame.len());
                frame[at] = byte;
            }
            if let Some(cut) = cut {
                frame.truncate(cut.index(frame.len()));
            }
            let [usual, any] = both(&frame);
            prop_assert_eq!(usual, any);
        }
    }
}
