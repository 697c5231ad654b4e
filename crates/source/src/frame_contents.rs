//! What a frame of the firehose becomes.

use std::fmt::Display;

use wingbeat_atproto::{
    Action, BlockError, Car, Cid, Commit, DecodeError, Frame, FrameError, Op, POST_COLLECTION,
    Post as PostRecord, RecordUri,
};
use wingbeat_record::Reason;

use crate::{
    Content,
    contents::{
        Change, account_event, delete_event, identity_event, post_content, sync_event, update_event,
    },
    dead::dead,
};

/// Takes out what is in a frame of the firehose: what every source that reads frames makes of it.
///
/// # Errors
///
/// When it is no sound frame. A sound frame with an unsound record gives a dead letter for that
/// record.
pub fn contents_of_frame(bytes: &[u8], mut take: impl FnMut(Content)) -> Result<(), FrameError> {
    let frame = Frame::decode(bytes)?;
    contents_of(&frame, bytes, &"the frame", |_, content| take(content));
    Ok(())
}

/// The operations of a frame.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Ops {
    pub(crate) read: u64,
    /// Those in other collections than posts.
    pub(crate) skipped: u64,
}

/// Takes out the items in a frame, each with the index of its operation; 0 where the frame has
/// none. `bytes` are the whole frame, and `name` is what messages call it.
pub(crate) fn contents_of(
    frame: &Frame<'_>,
    bytes: &[u8],
    name: &dyn Display,
    mut take: impl FnMut(usize, Content),
) -> Ops {
    let content = match frame {
        Frame::Commit(commit) => return contents_of_commit(commit, bytes, name, take),
        Frame::Identity(identity) => identity_event(identity),
        Frame::Account(account) => account_event(account),
        Frame::Sync(sync) => sync_event(sync),
        Frame::Info(_) => Content::Filtered(Reason::new("info_frame")),
        Frame::Error(_) => Content::Filtered(Reason::new("error_frame")),
        Frame::Unknown { .. } => Content::Filtered(Reason::new("unknown_frame")),
    };
    take(0, content);
    Ops::default()
}

fn contents_of_commit(
    commit: &Commit<'_>,
    bytes: &[u8],
    name: &dyn Display,
    mut take: impl FnMut(usize, Content),
) -> Ops {
    let mut ops = Ops::default();
    for (index, op) in commit.ops().enumerate() {
        ops.read += 1;
        let content = match op {
            Ok(op) if !op.is_in(POST_COLLECTION) => {
                ops.skipped += 1;
                continue;
            }
            Ok(op) => content_of_op(commit, &op),
            Err(error) => Err(Failure::from(error)),
        };
        take(index, content.unwrap_or_else(|failure| failure.content(commit, bytes, index, name)));
    }
    ops
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

    /// The dead letter.
    #[cold]
    fn content(
        self,
        commit: &Commit<'_>,
        bytes: &[u8],
        index: usize,
        name: &dyn Display,
    ) -> Content {
        // The block where it is at hand: it is the smaller one, and what is wrong.
        let block = self.cid.and_then(|cid| Car::parse(commit.blocks).ok()?.find(&cid).ok()?);
        let message = format!("{name}, operation {}: {}", index + 1, self.message);
        dead(block.unwrap_or(bytes), self.kind, message)
    }

    fn of_record(cid: Cid, error: &DecodeError) -> Self {
        Self { kind: "bad_record", message: format!("the record {cid}: {error}"), cid: Some(cid) }
    }
}

fn content_of_op(commit: &Commit<'_>, op: &Op<'_>) -> Result<Content, Failure> {
    let did = commit.repo()?;
    let uri = RecordUri { did, path: op.path()? };
    let change = || -> Result<Change<'_>, Failure> {
        Ok(Change { uri, rev: commit.rev()?, seq: Some(commit.seq), time: commit.time()? })
    };
    let Some(cid) = op.cid() else { return Ok(delete_event(&change()?)) };
    let record = commit.record(&cid).map_err(|error| Failure::of_block(cid, error))?;
    let post = PostRecord::decode(record).map_err(|error| Failure::of_record(cid, &error))?;
    let name = cid.to_text();
    let content = if op.action == Action::Update {
        update_event(&change()?, &name, &post)
    } else {
        post_content(&uri, &name, &post)
    };
    content.map_err(|error| Failure {
        kind: "too_large",
        message: error.to_string(),
        cid: Some(cid),
    })
}
