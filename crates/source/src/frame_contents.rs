//! What a frame of the firehose becomes.

use std::{
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering},
};

use wingbeat_atproto::{
    Action, BlockError, Car, Cid, Commit, DecodeError, Frame, Op, POST_COLLECTION,
    Post as PostRecord, RecordUri, frame,
};
use wingbeat_record::{MessageId, Reason};

use crate::{
    Content, Event, Post,
    dead::dead,
    payload::{AccountEvent, PostFields, PostPayload, RecordEvent, to_bytes},
};

/// What was seen in frames, beside the items.
#[derive(Debug, Default)]
pub(crate) struct FrameCounters {
    /// Frames that were read.
    pub(crate) frames: AtomicU64,
    ops: AtomicU64,
    ops_skipped: AtomicU64,
}

impl FrameCounters {
    /// As [`crate::Source::counters`].
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("frames", read(&self.frames)),
            ("ops", read(&self.ops)),
            // Operations in other collections than posts: no items.
            ("ops_skipped", read(&self.ops_skipped)),
        ]
    }
}

/// The items in a frame, each with the index of its operation; 0 where the frame has none.
/// `name` is what messages call the frame.
pub(crate) fn contents_of(
    bytes: &[u8],
    name: &dyn Display,
    counters: &FrameCounters,
) -> Vec<(usize, Content)> {
    let content = match Frame::decode(bytes) {
        Ok(Frame::Commit(commit)) => return contents_of_commit(&commit, bytes, name, counters),
        Ok(Frame::Identity(identity)) => identity_event(&identity),
        Ok(Frame::Account(account)) => account_event(&account),
        Ok(Frame::Sync(sync)) => sync_event(&sync),
        Ok(Frame::Info(_)) => Content::Filtered(Reason::new("info_frame")),
        Ok(Frame::Error(_)) => Content::Filtered(Reason::new("error_frame")),
        Ok(Frame::Unknown { .. }) => Content::Filtered(Reason::new("unknown_frame")),
        Err(error) => dead(bytes, "bad_frame", format!("{name}: {error}")),
    };
    vec![(0, content)]
}

fn contents_of_commit(
    commit: &Commit<'_>,
    bytes: &[u8],
    name: &dyn Display,
    counters: &FrameCounters,
) -> Vec<(usize, Content)> {
    let mut contents = Vec::new();
    for (index, op) in commit.ops().enumerate() {
        counters.ops.fetch_add(1, Ordering::Relaxed);
        let content = match op {
            Ok(op) if !op.is_in(POST_COLLECTION) => {
                counters.ops_skipped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Ok(op) => content_of_op(commit, &op),
            Err(error) => Err(Failure::from(error)),
        };
        let content = content.unwrap_or_else(|failure| {
            // The block where it is at hand: it is the smaller one, and what is wrong.
            let block =
                failure.cid.and_then(|cid| Car::parse(commit.blocks).ok()?.find(&cid).ok()?);
            let message = format!("{name}, operation {}: {}", index + 1, failure.message);
            dead(block.unwrap_or(bytes), failure.kind, message)
        });
        contents.push((index, content));
    }
    contents
}

/// Why an operation on a post could not be understood.
struct Failure {
    kind: &'static str,
    message: String,
    /// The record's name, where the record is what is wrong.
    cid: Option<Cid>,
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self { kind: "bad_op", message: error.to_string(), cid: None }
    }
}

impl Failure {
    fn of_block(cid: Cid, error: BlockError) -> Self {
        let kind = match error {
            BlockError::Car(_) => "bad_blocks",
            BlockError::Missing(_) => "block_missing",
            BlockError::Mismatch(_) => "block_mismatch",
            BlockError::TooLarge { .. } => "too_large",
        };
        Self { kind, message: error.to_string(), cid: Some(cid) }
    }

    fn of_record(cid: Cid, error: &DecodeError) -> Self {
        Self { kind: "bad_record", message: format!("the record {cid}: {error}"), cid: Some(cid) }
    }
}

fn content_of_op(commit: &Commit<'_>, op: &Op<'_>) -> Result<Content, Failure> {
    let did = commit.repo()?;
    let uri = RecordUri { did, path: op.path()? };
    let Some(cid) = op.cid else { return record_event("delete", commit, &uri, None) };
    let record = commit.record(&cid).map_err(|error| Failure::of_block(cid, error))?;
    let post = PostRecord::decode(record).map_err(|error| Failure::of_record(cid, &error))?;
    let fields = PostFields {
        text: post.text,
        created_at: post.created_at,
        timestamp: None,
        langs: post.langs.as_deref(),
        reply_parent: post.reply.map(|reply| reply.parent),
        reply_root: post.reply.map(|reply| reply.root),
    };
    let cid = cid.to_string();
    if op.action == Action::Update {
        return record_event("update", commit, &uri, Some((&cid, fields)));
    }
    let uri = uri.to_string();
    let payload = PostPayload { uri: &uri, cid: &cid, author: did.as_str(), fields };
    Ok(Content::Post(Post {
        payload: to_bytes(&payload),
        id: MessageId::of_post(&uri, &cid),
        author: Some(did.as_str().to_owned()),
    }))
}

fn record_event(
    kind: &'static str,
    commit: &Commit<'_>,
    uri: &RecordUri<'_>,
    update: Option<(&str, PostFields<'_>)>,
) -> Result<Content, Failure> {
    let address = uri.to_string();
    let rev = commit.rev()?.to_string();
    let payload = RecordEvent {
        kind,
        uri: &address,
        did: uri.did.as_str(),
        collection: uri.path.collection.as_str(),
        rkey: uri.path.rkey.as_str(),
        rev: &rev,
        seq: commit.seq,
        time: commit.time()?,
        cid: update.map(|(cid, _)| cid),
        fields: update.map(|(_, fields)| fields),
    };
    // The revision, not the sequence number: that is another one on each host.
    let id = MessageId::new(format!("{address}:{rev}:{kind}"));
    Ok(Content::Event(Event { kind, payload: to_bytes(&payload), id }))
}

fn identity_event(identity: &frame::Identity<'_>) -> Content {
    let payload = AccountEvent {
        kind: "identity",
        did: identity.did.as_str(),
        seq: identity.seq,
        time: identity.time,
        handle: identity.handle,
        ..AccountEvent::default()
    };
    account_content(&payload, identity.seq)
}

fn account_event(account: &frame::Account<'_>) -> Content {
    let payload = AccountEvent {
        kind: "account",
        did: account.did.as_str(),
        seq: account.seq,
        time: account.time,
        active: Some(account.active),
        status: account.status,
        ..AccountEvent::default()
    };
    account_content(&payload, account.seq)
}

fn sync_event(sync: &frame::Sync<'_>) -> Content {
    let rev = sync.rev.to_string();
    let payload = AccountEvent {
        kind: "sync",
        did: sync.did.as_str(),
        seq: sync.seq,
        time: sync.time,
        rev: Some(&rev),
        ..AccountEvent::default()
    };
    account_content(&payload, &rev)
}

fn account_content(payload: &AccountEvent<'_>, version: impl Display) -> Content {
    let kind = payload.kind;
    let id = MessageId::new(format!("{}:{version}:{kind}", payload.did));
    Content::Event(Event { kind, payload: to_bytes(payload), id })
}
