//! Commits: what a `#commit` frame says happened in one repository.

use crate::{
    car::{BlockError, Car},
    cbor::Reader,
    cid::Cid,
    decode::{DecodeError, InField as _, limit, read_did, read_seq, read_tid},
    syntax::{Did, RecordPath, SyntaxError},
    tid::Tid,
};

/// The longest `blocks` of a commit, in bytes (the `subscribeRepos` lexicon).
pub const BLOCKS_BYTES_MAX: usize = 2_000_000;

/// The most operations of a commit (the sync specification).
pub const OPS_MAX: usize = 200;

/// The longest record, in bytes (the sync specification).
pub const RECORD_BYTES_MAX: usize = 1_000_000;

/// A commit of one repository. Its operations and blocks are looked at only when asked for.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// The position in this server's stream.
    pub seq: u64,
    /// Whose repository.
    pub repo: Did<'a>,
    /// The revision: the repository's own clock.
    pub rev: Tid,
    /// The revision before it; `None` for a new repository.
    pub since: Option<Tid>,
    /// When the server received it, as it writes it.
    pub time: &'a str,
    /// The name of the signed commit object.
    pub commit: Cid,
    /// The root of the repository's tree before this commit, where it is told.
    pub prev_data: Option<Cid>,
    /// A CAR of the records that were written, and of the tree's nodes that changed.
    pub blocks: &'a [u8],
    ops: Ops<'a>,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A new record.
    Create,
    /// A record has new content.
    Update,
    /// A record is gone.
    Delete,
}

/// One operation of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op<'a> {
    /// What it does.
    pub action: Action,
    /// The place of the record in its repository: `collection/rkey`. Not checked yet.
    pub path: &'a str,
    /// The name of the record's new content. Always there, except for a deletion.
    pub cid: Option<Cid>,
    /// The name of the record's old content, where it is told.
    pub prev: Option<Cid>,
}

/// The operations of a commit that are still to be read.
///
/// An operation that can't be understood is an error of its own; the ones behind it still come.
#[derive(Debug, Clone, Copy)]
pub struct Ops<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Commit<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (mut seq, mut repo, mut rev, mut time) = (None, None, None, None);
        let (mut since, mut prev_data) = (None, None);
        let (mut commit, mut blocks, mut ops) = (None, None, None);
        let mut entries = reader.map()?;
        while let Some(key) = entries.next_key(reader)? {
            match key {
                "ops" => ops = Some(Ops::read(reader)?),
                "rev" => rev = Some(read_tid(reader, "rev")?),
                "seq" => seq = Some(read_seq(reader)?),
                "repo" => repo = Some(read_did(reader, "repo")?),
                "time" => time = Some(reader.text().in_field("time")?),
                "since" if reader.take_null() => {}
                "since" => since = Some(read_tid(reader, "since")?),
                "blocks" => blocks = Some(reader.bytes().in_field("blocks")?),
                "commit" => commit = Some(reader.link().in_field("commit")?),
                "prevData" => prev_data = reader.link_or_null().in_field("prevData")?,
                // `blobs`, `rebase` and `tooBig` are still sent, and mean nothing any more.
                _ => reader.skip()?,
            }
        }
        let blocks = blocks.in_field("blocks")?;
        limit("bytes of `blocks`", blocks.len(), BLOCKS_BYTES_MAX)?;
        Ok(Self {
            seq: seq.in_field("seq")?,
            repo: repo.in_field("repo")?,
            rev: rev.in_field("rev")?,
            since,
            time: time.in_field("time")?,
            commit: commit.in_field("commit")?,
            prev_data,
            blocks,
            ops: ops.in_field("ops")?,
        })
    }

    /// The operations in order.
    pub fn ops(&self) -> Ops<'a> {
        self.ops
    }

    /// The bytes of a record that an operation names, with their hash checked.
    pub fn record(&self, cid: &Cid) -> Result<&'a [u8], BlockError> {
        let record = Car::parse(self.blocks)?.find_verified(cid)?;
        if record.len() > RECORD_BYTES_MAX {
            return Err(BlockError::TooLarge { size: record.len(), max: RECORD_BYTES_MAX });
        }
        Ok(record)
    }
}

impl<'a> Ops<'a> {
    /// Takes note of where the operations lie, and passes over them.
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = *reader;
        reader.skip().in_field("ops")?;
        let mut ops = Self { reader: start, left: 0 };
        ops.left = ops.reader.array().in_field("ops")?;
        limit("operations", ops.left, OPS_MAX)?;
        Ok(ops)
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let start = self.reader;
        let op = Op::read(&mut self.reader);
        if op.is_err() {
            self.reader = start;
            // It was passed over once already, so this does not fail; if it did, the place of the
            // next operation would be unknown.
            if self.reader.skip().is_err() {
                self.left = 0;
            }
        }
        Some(op)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Ops<'_> {}

impl<'a> Op<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (mut action, mut path, mut cid, mut prev) = (None, None, None, None);
        let mut entries = reader.map()?;
        while let Some(key) = entries.next_key(reader)? {
            match key {
                "cid" => cid = reader.link_or_null().in_field("cid")?,
                "path" => path = Some(reader.text().in_field("path")?),
                "prev" => prev = reader.link_or_null().in_field("prev")?,
                "action" => {
                    action = Some(match reader.text().in_field("action")? {
                        "create" => Action::Create,
                        "update" => Action::Update,
                        "delete" => Action::Delete,
                        _ => {
                            return Err(DecodeError::Value {
                                field: "action",
                                problem: "not create, update or delete",
                            });
                        }
                    });
                }
                _ => reader.skip()?,
            }
        }
        let op =
            Self { action: action.in_field("action")?, path: path.in_field("path")?, cid, prev };
        if op.cid.is_none() && op.action != Action::Delete {
            return Err(DecodeError::Missing("cid"));
        }
        Ok(op)
    }

    /// The collection, as far as the path has one: what stands before the first `/`. It is cheap,
    /// to pass over what is not wanted.
    pub fn collection(&self) -> &'a str {
        self.path.split_once('/').map_or(self.path, |(collection, _)| collection)
    }

    /// The place of the record, checked.
    pub fn record_path(&self) -> Result<RecordPath<'a>, SyntaxError> {
        RecordPath::parse(self.path)
    }
}
