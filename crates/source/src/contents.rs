//! What was read of the network becomes contents here, whatever protocol it came by.

use std::{
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering},
};

use wingbeat_atproto::{Post as PostRecord, RecordUri, Tid, frame};
use wingbeat_record::{Document, MessageId};

use crate::{
    Content, Event, Post,
    dead::ORIGINAL_BYTES_MAX,
    frame_contents::Ops,
    payload::{AccountEvent, PostFields, PostPayload, RecordEvent},
};

/// What was read, beside the items.
#[derive(Debug, Default)]
pub(crate) struct ReadCounters {
    /// Frames and messages that were read.
    pub(crate) frames: AtomicU64,
    /// Operations in them.
    pub(crate) ops: AtomicU64,
    /// Operations in other collections than posts: no items.
    pub(crate) ops_skipped: AtomicU64,
}

impl ReadCounters {
    /// Counts the operations of a frame.
    pub(crate) fn count_ops(&self, ops: Ops) {
        self.ops.fetch_add(ops.read, Ordering::Relaxed);
        self.ops_skipped.fetch_add(ops.skipped, Ordering::Relaxed);
    }

    /// As [`crate::Source::counters`].
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("frames", read(&self.frames)),
            ("ops", read(&self.ops)),
            ("ops_skipped", read(&self.ops_skipped)),
        ]
    }
}

/// Where and when a record was changed or deleted.
pub(crate) struct Change<'a> {
    pub(crate) uri: RecordUri<'a>,
    pub(crate) rev: Tid,
    /// The position in the host's stream, where the protocol tells it.
    pub(crate) seq: Option<u64>,
    /// When the host received it, as it writes it.
    pub(crate) time: &'a str,
}

/// A record that is too long as JSON.
#[derive(Debug, thiserror::Error)]
#[error(
    "the record {cid} takes {bytes} bytes as JSON, more than the {ORIGINAL_BYTES_MAX} that a \
     record may have"
)]
pub(crate) struct TooLarge {
    cid: String,
    bytes: usize,
}

/// JSON may be several times as long as the record: a control character takes six bytes.
fn limited(document: Document, cid: &str) -> Result<Document, TooLarge> {
    match document.payload().len() {
        bytes if bytes > ORIGINAL_BYTES_MAX => Err(TooLarge { cid: cid.to_owned(), bytes }),
        _ => Ok(document),
    }
}

/// A new post.
pub(crate) fn post_content(
    uri: &RecordUri<'_>,
    cid: &str,
    post: &PostRecord<'_>,
) -> Result<Content, TooLarge> {
    // One text for both: the id begins with the address.
    let mut id = String::with_capacity(uri.bytes() + 1 + cid.len());
    uri.push_to(&mut id);
    id.extend([":", cid]);
    let address = id.get(..uri.bytes()).unwrap_or_default();
    let author = uri.did.as_str();
    let payload = PostPayload { uri: address, cid, author, fields: fields_of(post) };
    let document = limited(payload.write(), cid)?;
    Ok(Content::Post(Post::of_document(document, MessageId::new(id))))
}

/// A post has new content.
pub(crate) fn update_event(
    change: &Change<'_>,
    cid: &str,
    post: &PostRecord<'_>,
) -> Result<Content, TooLarge> {
    let (document, id) = record_event("update", change, Some((cid, fields_of(post))));
    let payload = limited(document, cid)?.into_payload();
    Ok(Content::Event(Event { kind: "update", payload, id }))
}

/// A post was deleted.
pub(crate) fn delete_event(change: &Change<'_>) -> Content {
    let (document, id) = record_event("delete", change, None);
    Content::Event(Event { kind: "delete", payload: document.into_payload(), id })
}

fn fields_of<'a>(post: &'a PostRecord<'a>) -> PostFields<'a> {
    PostFields {
        text: post.text,
        created_at: post.created_at,
        timestamp: None,
        langs: post.langs.as_deref(),
        reply_parent: post.reply.map(|reply| reply.parent),
        reply_root: post.reply.map(|reply| reply.root),
        labels: post.labels.as_deref(),
    }
}

fn record_event(
    kind: &'static str,
    change: &Change<'_>,
    update: Option<(&str, PostFields<'_>)>,
) -> (Document, MessageId) {
    let address = change.uri.to_string();
    let rev = change.rev.to_string();
    let payload = RecordEvent {
        kind,
        uri: &address,
        did: change.uri.did.as_str(),
        collection: change.uri.path.collection.as_str(),
        rkey: change.uri.path.rkey.as_str(),
        rev: &rev,
        seq: change.seq,
        time: change.time,
        cid: update.map(|(cid, _)| cid),
        fields: update.map(|(_, fields)| fields),
    };
    // The revision, not the sequence number: that is another one on each host.
    let id = MessageId::new(format!("{address}:{rev}:{kind}"));
    (payload.write(), id)
}

/// An account's identity may have changed.
pub(crate) fn identity_event(identity: &frame::Identity<'_>) -> Content {
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

/// An account's hosting status may have changed.
pub(crate) fn account_event(account: &frame::Account<'_>) -> Content {
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

/// A repository has a new state that no commit leads to.
pub(crate) fn sync_event(sync: &frame::Sync<'_>) -> Content {
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
    Content::Event(Event { kind, payload: payload.write().into_payload(), id })
}
