//! What a relay sends: frames of `com.atproto.sync.subscribeRepos`.

use std::fmt;

use bytes::Bytes;
use wingbeat_atproto::{Did, Frame, verify_hashes};
use wingbeat_record::Time;

use super::{
    counters::{NetworkCounters, count},
    message::{BadMessage, Decoded, Notice, StreamEvent},
    options::{NetworkOptions, Verify},
    socket::Message,
    verify::{Claim, Proof},
};
use crate::{Content, dead::dead, frame_contents::contents_of};

/// What messages call a frame.
pub(crate) struct EventName<'a> {
    pub(crate) url: &'a str,
    pub(crate) cursor: u64,
}

impl fmt::Display for EventName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} event {}", self.url, self.cursor)
    }
}

/// Reads a frame.
pub(crate) fn decode(
    message: &Message,
    url: &str,
    options: &NetworkOptions,
    counters: &NetworkCounters,
) -> Result<Decoded, BadMessage> {
    if !message.is_binary {
        return Err(BadMessage("a text, where frames are binary".to_owned()));
    }
    let bytes = &message.bytes;
    let frame = Frame::decode(bytes).map_err(|error| BadMessage(error.to_string()))?;
    count(&counters.read.frames);
    // What a broken commit says about itself is reported by what becomes of its operations.
    let (seq, time, rev, did) = match &frame {
        Frame::Commit(commit) => {
            let did = commit.repo().ok();
            (commit.seq, commit.time().ok(), commit.rev().ok(), did)
        }
        Frame::Sync(sync) => (sync.seq, Some(sync.time), Some(sync.rev), Some(sync.did)),
        Frame::Identity(event) => (event.seq, Some(event.time), None, Some(event.did)),
        Frame::Account(event) => (event.seq, Some(event.time), None, Some(event.did)),
        Frame::Info(info) => return Ok(Decoded::Info(Notice::new(info.name, info.message))),
        Frame::Error(error) => return Ok(Decoded::Error(Notice::new(error.error, error.message))),
        Frame::Unknown { .. } => {
            let mut unknown = None;
            contents_of(&frame, bytes, &url, |_, content| unknown = Some(content));
            let missing = || BadMessage("an unknown frame without content".to_owned());
            return unknown.ok_or_else(missing).map(Decoded::Unknown);
        }
    };
    if let (Frame::Commit(commit), Verify::Hashes | Verify::Full) = (&frame, options.verify) {
        // What was damaged on the way comes whole when it is asked for again.
        verify_hashes(commit).map_err(|error| BadMessage(error.to_string()))?;
    }
    let name = EventName { url, cursor: seq };
    let (contents, proof): (Vec<Content>, _) = match did {
        Some(did) if !options.wants(did.as_str()) => {
            count(&counters.unwanted);
            (Vec::new(), None)
        }
        None if options.verify == Verify::Full => {
            count(&counters.refused);
            let problem = format!("{name}: it does not say of which account it is");
            (vec![dead(bytes, "bad_commit", problem)], None)
        }
        _ => {
            let mut contents = Vec::new();
            let take = |_, content| contents.push(content);
            counters.read.count_ops(contents_of(&frame, bytes, &name, take));
            let proof = did.filter(|_| options.verify == Verify::Full);
            let proof = proof.and_then(|did| proof_of(&frame, did, bytes));
            (contents, proof)
        }
    };
    Ok(Decoded::Event(StreamEvent {
        cursor: seq,
        time_us: time.and_then(micros_of),
        rev: rev.map(|rev| rev.to_string()).unwrap_or_default(),
        contents,
        proof,
    }))
}

/// What has to be proven of a frame.
fn proof_of(frame: &Frame<'_>, did: Did<'_>, bytes: &[u8]) -> Option<Proof> {
    let claim = match frame {
        Frame::Commit(commit) => Claim::Commit(commit.commit()),
        Frame::Sync(_) => Claim::Sync,
        Frame::Identity(_) => Claim::Identity,
        Frame::Account(_) => Claim::Account,
        Frame::Info(_) | Frame::Error(_) | Frame::Unknown { .. } => return None,
    };
    // A copy: the message is part of a larger buffer, which would be held as long as it waits.
    Some(Proof { did: did.as_str().into(), frame: Bytes::copy_from_slice(bytes), claim })
}

/// A time as microseconds since 1970.
pub(crate) fn micros_of(time: &str) -> Option<u64> {
    let time: Time = time.parse().ok()?;
    u64::try_from(time.as_micros()).ok()
}
