//! Commits: what a `#commit` frame says happened in one repository.
//!
//! Of a hundred commits some ten carry a post. So a commit is taken apart as far as it takes to
//! see that it is sound CBOR and where everything lies; what lies there is read when asked for.

use crate::{
    car::{BlockError, Car},
    cbor::{self, Reader, Usual},
    cid::{CID_BYTES, Cid},
    decode::{DecodeError, InField as _, SEQ_END, limit, parse_tid, read_seq, utf8},
    frame::FRAME_BYTES_MAX,
    syntax::{Did, RecordPath},
    tid::Tid,
};

/// The longest `blocks` of a commit, in bytes (the `subscribeRepos` lexicon).
pub const BLOCKS_BYTES_MAX: usize = 2_000_000;

/// The most operations of a commit (the sync specification).
pub const OPS_MAX: usize = 200;

/// The longest record, in bytes (the sync specification).
pub const RECORD_BYTES_MAX: usize = 1_000_000;

/// The entries that every usual commit has, beside those that hold nothing.
const USUAL_ENTRIES: u8 = 9;

/// A commit of one repository.
///
/// What is a method that can fail has not been looked at yet: only that it is a text.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// The position in this server's stream.
    pub seq: u64,
    /// A CAR of the records that were written, and of the tree's nodes that changed.
    pub blocks: &'a [u8],
    // Names stay where they are until they are asked for: to pass over a commit costs no copies.
    commit: &'a [u8; CID_BYTES],
    prev_data: Option<&'a [u8; CID_BYTES]>,
    ops: Ops<'a>,
    repo: &'a [u8],
    rev: &'a [u8],
    since: Option<&'a [u8]>,
    time: &'a [u8],
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
///
/// Its path has not been looked at yet: only that it is a text.
#[derive(Debug, Clone, Copy)]
pub struct Op<'a> {
    /// What it does.
    pub action: Action,
    cid: Option<&'a [u8; CID_BYTES]>,
    prev: Option<&'a [u8; CID_BYTES]>,
    path: &'a [u8],
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
    /// Reads a frame that is a commit as today's servers write it, which most frames are: several
    /// times as fast as [`Commit::read`], which reads any.
    #[inline(always)]
    pub(crate) fn of_usual_frame(frame: &'a [u8]) -> Option<Self> {
        let reader = Reader::new(frame);
        let mut usual = Usual::at(&reader);
        usual.expect(b"\xa2\x61t\x67#commit\x62op\x01")?;
        let mut entries = usual.map()?;
        usual.expect(b"\x63ops")?;
        let (first_op, ops_count) = Ops::pass_usual(&mut usual)?;
        usual.expect(b"\x63rev")?;
        let rev = usual.text()?;
        usual.expect(b"\x63seq")?;
        let seq = usual.long_number().filter(|seq| *seq < SEQ_END)?;
        usual.expect(b"\x64repo")?;
        let repo = usual.text()?;
        usual.expect(b"\x64time")?;
        let time = usual.text()?;
        // `blobs`, `rebase` and `tooBig` are still sent, and hold nothing.
        entries = entries.wrapping_sub(usual.take(b"\x65blobs\x80").into());
        usual.expect(b"\x65since")?;
        let since = if usual.take(&[cbor::NULL]) { None } else { Some(usual.text()?) };
        usual.expect(b"\x66blocks")?;
        let blocks = usual.bytes()?;
        usual.expect(b"\x66commit")?;
        let commit = usual.link()?;
        entries = entries.wrapping_sub(usual.take(b"\x66rebase\xf4").into());
        entries = entries.wrapping_sub(usual.take(b"\x66tooBig\xf4").into());
        usual.expect(b"\x68prevData")?;
        let prev_data = usual.link_or_null()?;
        if entries != USUAL_ENTRIES || !usual.is_at_end() || frame.len() > FRAME_BYTES_MAX {
            return None;
        }
        let ops = Ops { reader: first_op.reader(&reader), left: ops_count };
        Some(Self { seq, blocks, commit, prev_data, ops, repo, rev, since, time })
    }

    /// Reads a commit, whatever keys it has.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (mut seq, mut blocks, mut ops) = (None, None, None);
        let (mut repo, mut rev, mut since, mut time) = (None, None, None, None);
        let (mut commit, mut prev_data) = (None, None);
        let mut entries = reader.map()?;
        while let Some(key) = entries.next_key(reader)? {
            match key {
                b"ops" => ops = Some(Ops::read(reader)?),
                b"rev" => rev = Some(reader.text_bytes().in_field("rev")?),
                b"seq" => seq = Some(read_seq(reader)?),
                b"repo" => repo = Some(reader.text_bytes().in_field("repo")?),
                b"time" => time = Some(reader.text_bytes().in_field("time")?),
                b"since" if reader.take_null() => {}
                b"since" => since = Some(reader.text_bytes().in_field("since")?),
                b"blocks" => blocks = Some(reader.bytes().in_field("blocks")?),
                b"commit" => commit = Some(reader.link_bytes().in_field("commit")?),
                b"prevData" => prev_data = reader.link_bytes_or_null().in_field("prevData")?,
                // `blobs`, `rebase` and `tooBig` are still sent, and mean nothing any more.
                _ => reader.skip()?,
            }
        }
        let blocks = blocks.in_field("blocks")?;
        limit("bytes of `blocks`", blocks.len(), BLOCKS_BYTES_MAX)?;
        Ok(Self {
            seq: seq.in_field("seq")?,
            blocks,
            commit: commit.in_field("commit")?,
            prev_data,
            ops: ops.in_field("ops")?,
            repo: repo.in_field("repo")?,
            rev: rev.in_field("rev")?,
            since,
            time: time.in_field("time")?,
        })
    }

    /// Whose repository.
    pub fn repo(&self) -> Result<Did<'a>, DecodeError> {
        Did::parse(utf8(self.repo, "repo")?).in_field("repo")
    }

    /// The revision: the repository's own clock.
    pub fn rev(&self) -> Result<Tid, DecodeError> {
        parse_tid(self.rev, "rev")
    }

    /// The revision before it; `None` for a new repository.
    pub fn since(&self) -> Result<Option<Tid>, DecodeError> {
        self.since.map(|since| parse_tid(since, "since")).transpose()
    }

    /// When the server received it, as it writes it.
    pub fn time(&self) -> Result<&'a str, DecodeError> {
        utf8(self.time, "time")
    }

    /// The name of the signed commit object.
    pub fn commit(&self) -> Cid {
        Cid::from_link(self.commit)
    }

    /// The root of the repository's tree before this commit, where it is told.
    pub fn prev_data(&self) -> Option<Cid> {
        self.prev_data.map(Cid::from_link)
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
        let mut first = *reader;
        reader.skip().in_field("ops")?;
        let left = first.array().in_field("ops")?;
        limit("operations", left, OPS_MAX)?;
        Ok(Self { reader: first, left })
    }

    /// Passes over operations as today's servers write them: the first, and how many.
    #[inline(always)]
    fn pass_usual(usual: &mut Usual<'a>) -> Option<(Usual<'a>, usize)> {
        let left = usual.array()?;
        let first = *usual;
        for _ in 0..left {
            Op::read_usual(usual)?;
        }
        Some((first, left.into()))
    }
}

impl<'a> Ops<'a> {
    /// The operations, none of them read from bytes that are expected.
    #[cfg(test)]
    pub(crate) fn read_by_any(mut self) -> impl Iterator<Item = Result<Op<'a>, DecodeError>> {
        std::iter::from_fn(move || {
            self.left = self.left.checked_sub(1)?;
            Some(self.next_any())
        })
    }

    /// The next operation, of which there is one, whatever keys it has.
    #[cold]
    fn next_any(&mut self) -> Result<Op<'a>, DecodeError> {
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
        op
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let mut usual = Usual::at(&self.reader);
        if let Some(op) = Op::read_usual(&mut usual) {
            usual.leave(&mut self.reader);
            return Some(Ok(op));
        }
        Some(self.next_any())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Ops<'_> {}

impl<'a> Op<'a> {
    /// Reads an operation as today's servers write it.
    #[inline(always)]
    fn read_usual(usual: &mut Usual<'a>) -> Option<Self> {
        let left = usual.map()?;
        usual.expect(b"\x63cid")?;
        let cid = usual.link_or_null()?;
        usual.expect(b"\x64path")?;
        let path = usual.text()?;
        let has_prev = usual.take(b"\x64prev");
        let prev = if has_prev { usual.link_or_null()? } else { None };
        usual.expect(b"\x66action")?;
        let (action, is_whole) = if usual.take(b"\x66create") {
            (Action::Create, cid.is_some())
        } else if usual.take(b"\x66delete") {
            (Action::Delete, cid.is_none())
        } else {
            usual.expect(b"\x66update")?;
            (Action::Update, cid.is_some())
        };
        let is_whole = is_whole && left == 3 + u8::from(has_prev);
        is_whole.then_some(Self { action, cid, prev, path })
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (mut action, mut path, mut cid, mut prev) = (None, None, None, None);
        let mut entries = reader.map()?;
        while let Some(key) = entries.next_key(reader)? {
            match key {
                b"action" => action = Some(Action::read(reader)?),
                b"path" => path = Some(reader.text_bytes().in_field("path")?),
                b"cid" => cid = reader.link_bytes_or_null().in_field("cid")?,
                b"prev" => prev = reader.link_bytes_or_null().in_field("prev")?,
                _ => reader.skip()?,
            }
        }
        let action = action.in_field("action")?;
        let cid = match action {
            Action::Delete => None,
            Action::Create | Action::Update => Some(cid.in_field("cid")?),
        };
        Ok(Self { action, cid, prev, path: path.in_field("path")? })
    }

    /// The name of the record's new content. `None` for a deletion, and only for that.
    pub fn cid(&self) -> Option<Cid> {
        self.cid.map(Cid::from_link)
    }

    /// The name of the record's old content, where it is told. `None` for a creation, and only
    /// for that, says the specification; older servers don't tell it at all.
    pub fn prev(&self) -> Option<Cid> {
        self.prev.map(Cid::from_link)
    }

    /// Whether it is about a record of this collection. It is cheap, to pass over what is not
    /// wanted.
    pub fn is_in(&self, collection: &str) -> bool {
        let key = self.path.strip_prefix(collection.as_bytes());
        key.is_some_and(|key| key.first() == Some(&b'/'))
    }

    /// The path as it stands there, which need not be one.
    pub(crate) fn path_text(&self) -> Result<&'a str, DecodeError> {
        utf8(self.path, "path")
    }

    /// The place of the record in its repository.
    pub fn path(&self) -> Result<RecordPath<'a>, DecodeError> {
        RecordPath::parse(self.path_text()?).in_field("path")
    }
}

impl Action {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.text_bytes().in_field("action")? {
            b"create" => Ok(Self::Create),
            b"update" => Ok(Self::Update),
            b"delete" => Ok(Self::Delete),
            _ => {
                Err(DecodeError::Value { field: "action", problem: "not create, update or delete" })
            }
        }
    }
}
