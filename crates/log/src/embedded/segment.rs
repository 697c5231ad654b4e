//! One file of a stream: frames one behind the other, and an index in memory.
//!
//! ```text
//!  0  magic  "WBSEG001"
//!  8  base   u64  the sequence of the first frame
//! 16  salt   u32  see frame.rs
//! 20  zero   up to 28
//! 28  checksum u32  CRC-32C of the 28 bytes before it
//! 32  frames
//! ```

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use wingbeat_record::Time;

use super::frame::{self, Bad, Header};
use crate::{LogError, crashpoint};

const MAGIC: &[u8; 8] = b"WBSEG001";
/// The length of the file's header, in bytes.
pub(super) const FILE_HEADER_BYTES: u64 = 32;
const FILE_HEADER: usize = 32;
/// The index has one mark for about this many bytes: a read of this size finds any record.
const INDEX_STRIDE_BYTES: u64 = 16 * 1024;
/// How much is read at once when a file is scanned.
const SCAN_BYTES: usize = 1024 * 1024;

/// A place in the file that the index knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) sequence: u64,
    pub(super) offset: u64,
    pub(super) time: Time,
}

/// What is known about the frames in the file.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    /// Where the next frame goes: behind the last sound one.
    pub(super) end: u64,
    /// The last sequence; `base - 1` where there is none.
    pub(super) last: u64,
    /// When the last record was stored.
    pub(super) last_time: Option<Time>,
    /// Sequences whose records were deleted.
    pub(super) deleted: BTreeSet<u64>,
    /// Sequences whose frames are damaged, with the bytes that they took.
    pub(super) lost: Vec<Lost>,
    marks: Vec<Mark>,
}

/// Damaged sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) bytes: (u64, u64),
}

/// One file of a stream.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) base: u64,
    pub(super) salt: u32,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Whether the file's own header could be read.
    pub(super) is_header_sound: bool,
    contents: Mutex<Contents>,
}

/// What a scan found besides the frames.
#[derive(Debug)]
pub(super) struct ScanEnd {
    /// Bytes behind the last sound frame that are no frame.
    pub(super) tail_bytes: u64,
}

impl Segment {
    /// Creates a file with nothing but its header, durably.
    pub(super) fn create(directory: &Path, base: u64, salt: u32) -> Result<Self, LogError> {
        let path = path_of(directory, base);
        let failed = |error| LogError::io(format!("can't create {}", path.display()), &error);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(failed)?;
        crashpoint::hit(crashpoint::name::SEGMENT_CREATED);
        let mut header = [0; FILE_HEADER];
        header[0..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&base.to_le_bytes());
        header[16..20].copy_from_slice(&salt.to_le_bytes());
        let checksum = crc32c::crc32c(&header[..28]);
        header[28..32].copy_from_slice(&checksum.to_le_bytes());
        file.write_all_at(&header, 0).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        sync_directory(directory)?;
        let contents = Mutex::new(Contents::empty(base));
        Ok(Self { base, salt, path, file, is_header_sound: true, contents })
    }

    /// Opens a file without looking at its frames yet. `salt` is used where the file's own header
    /// is damaged. `Ok(None)`: the file has no complete header, so nothing was ever in it.
    pub(super) fn open(
        path: &Path,
        salt: u32,
        is_writable: bool,
    ) -> Result<Option<Self>, LogError> {
        let failed = |error| LogError::io(format!("can't open {}", path.display()), &error);
        let file = OpenOptions::new().read(true).write(is_writable).open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() < FILE_HEADER_BYTES {
            return Ok(None);
        }
        let mut header = [0; FILE_HEADER];
        file.read_exact_at(&mut header, 0).map_err(failed)?;
        let base = base_of(path).ok_or_else(|| LogError::Damaged {
            what: path.display().to_string(),
            problem: "its name is not a sequence; move it out of the folder".to_owned(),
        })?;
        let fields = |at: usize| header[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        let is_header_sound = crc32c::crc32c(&header[..28]) == fields(28) && &header[0..8] == MAGIC;
        let salt = if is_header_sound { fields(16) } else { salt };
        let contents = Mutex::new(Contents::empty(base));
        Ok(Some(Self { base, salt, path: path.to_owned(), file, is_header_sound, contents }))
    }

    /// Reads all frames from where the contents end, checks each, and takes them into the index.
    /// Over a damaged place it goes on to the next sound frame.
    pub(super) fn scan(&self, mut visit: impl FnMut(&Header, &[u8])) -> Result<ScanEnd, LogError> {
        let (start, last) = {
            let contents = self.contents();
            (contents.end, contents.last)
        };
        let failed = |error| LogError::io(format!("can't read {}", self.path.display()), &error);
        let length = self.file.metadata().map_err(failed)?.len();
        let mut walk = Walk::new(&self.file, self.salt, start, length, last);
        loop {
            let at = walk.offset();
            match walk.step().map_err(failed)? {
                Step::Frame { header, bytes } => {
                    visit(&header, bytes);
                    self.contents().take(&header, at);
                }
                Step::Damage { from, to, next } => {
                    let mut contents = self.contents();
                    let first = contents.last + 1;
                    // Garbage between two frames that follow one another loses nothing.
                    if next > first {
                        contents.lose(Lost { first, last: next - 1, bytes: (from, to) });
                    }
                }
                Step::End => {
                    let end = self.contents().end;
                    return Ok(ScanEnd { tail_bytes: length.saturating_sub(end) });
                }
            }
        }
    }

    /// Shows the sound frames from an offset on, with their offsets, until `visit` says no.
    /// Unlike [`scan`](Self::scan) it changes nothing.
    pub(super) fn visit_from(
        &self,
        offset: u64,
        mut visit: impl FnMut(&Header, u64, &[u8]) -> bool,
    ) -> Result<(), LogError> {
        let failed = |error| LogError::io(format!("can't read {}", self.path.display()), &error);
        let end = self.contents().end;
        let mut walk = Walk::new(&self.file, self.salt, offset, end, 0);
        loop {
            let at = walk.offset();
            match walk.step().map_err(failed)? {
                Step::Frame { header, bytes } if !visit(&header, at, bytes) => return Ok(()),
                Step::Frame { .. } | Step::Damage { .. } => {}
                Step::End => return Ok(()),
            }
        }
    }

    /// What is known about the frames.
    pub(super) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the record with that sequence can be found: at this offset or soon behind it.
    pub(super) fn seek(&self, sequence: u64) -> u64 {
        let contents = self.contents();
        let after = contents.marks.partition_point(|mark| mark.sequence <= sequence);
        after.checked_sub(1).map_or(FILE_HEADER_BYTES, |at| contents.marks[at].offset)
    }

    /// A sequence at or shortly before the first record that was stored at or after `time`.
    pub(super) fn seek_time(&self, time: Time) -> u64 {
        let contents = self.contents();
        let after = contents.marks.partition_point(|mark| mark.time < time);
        after.checked_sub(1).map_or(self.base, |at| contents.marks[at].sequence)
    }

    /// When the first record at or behind a sequence was stored, exact to one stride of the index
    /// and never too late; `None` where there is none.
    pub(super) fn time_near(&self, sequence: u64) -> Option<Time> {
        let contents = self.contents();
        if contents.last < sequence {
            return None;
        }
        let after = contents.marks.partition_point(|mark| mark.sequence <= sequence);
        contents.marks.get(after.saturating_sub(1)).map(|mark| mark.time)
    }

    /// The first sequence such that it and what follows takes at most `max` bytes; behind the last
    /// one where not even that fits.
    pub(super) fn first_within(&self, max: u64) -> u64 {
        let contents = self.contents();
        let from = contents.end.saturating_sub(max);
        let after = contents.marks.partition_point(|mark| mark.offset < from);
        contents.marks.get(after).map_or(contents.last + 1, |mark| mark.sequence)
    }

    /// Sound bytes in the file before that sequence, exact to one stride of the index.
    pub(super) fn bytes_before(&self, sequence: u64) -> u64 {
        self.seek(sequence).min(self.contents().end)
    }

    /// Reads bytes at an offset; fewer than asked for only at the end of the file.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        read_full_at(&self.file, buffer, offset)
    }
}

impl Contents {
    fn empty(base: u64) -> Self {
        Self {
            end: FILE_HEADER_BYTES,
            last: base - 1,
            last_time: None,
            deleted: BTreeSet::new(),
            lost: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// Takes a frame at an offset into the index.
    pub(super) fn take(&mut self, header: &Header, offset: u64) {
        let is_due = self.marks.last().is_none_or(|m| offset >= m.offset + INDEX_STRIDE_BYTES);
        if is_due {
            self.marks.push(Mark { sequence: header.sequence, offset, time: header.time });
        }
        if header.kind == frame::Kind::Deleted {
            self.deleted.insert(header.sequence);
        }
        self.last = header.sequence;
        self.last_time = Some(header.time);
        self.end = offset + header.frame_bytes() as u64;
    }

    /// Notes sequences that can't be read. Those at the end move the end of the sequences. False
    /// where they were known already.
    pub(super) fn lose(&mut self, lost: Lost) -> bool {
        if self.lost.iter().any(|known| known.first <= lost.first && lost.last <= known.last) {
            return false;
        }
        self.last = self.last.max(lost.last);
        self.lost.push(lost);
        true
    }

    /// How many sequences at or behind `first` can't be read, deleted and lost ones.
    pub(super) fn holes(&self, first: u64) -> (u64, u64) {
        let deleted = self.deleted.range(first..).count() as u64;
        let lost = |l: &Lost| (l.last + 1).saturating_sub(l.first.max(first));
        (deleted, self.lost.iter().map(lost).sum())
    }
}

/// The path of the segment that begins with a sequence. Names sort as the sequences do.
pub(super) fn path_of(directory: &Path, base: u64) -> PathBuf {
    directory.join(format!("{base:020}.segment"))
}

/// The sequence in a segment's name.
fn base_of(path: &Path) -> Option<u64> {
    let base = path.file_stem()?.to_str()?.parse().ok()?;
    (base > 0).then_some(base)
}

/// The segments in a directory, in order.
pub(super) fn list(directory: &Path) -> Result<Vec<PathBuf>, LogError> {
    let failed = |error| LogError::io(format!("can't list {}", directory.display()), &error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "segment") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), LogError> {
    let synced = File::open(directory).and_then(|d| d.sync_all());
    synced.map_err(|error| LogError::io(format!("can't sync {}", directory.display()), &error))
}

fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What comes next in a file.
enum Step<'a> {
    Frame { header: Header, bytes: &'a [u8] },
    Damage { from: u64, to: u64, next: u64 },
    End,
}

/// Goes through the frames of a file, over damaged places to the next sound frame.
struct Walk<'a> {
    file: &'a File,
    salt: u32,
    length: u64,
    last: u64,
    buffer: Vec<u8>,
    buffer_offset: u64,
    at: usize,
}

impl<'a> Walk<'a> {
    fn new(file: &'a File, salt: u32, start: u64, length: u64, last: u64) -> Self {
        Self { file, salt, length, last, buffer: Vec::new(), buffer_offset: start, at: 0 }
    }

    fn offset(&self) -> u64 {
        self.buffer_offset + self.at as u64
    }

    fn step(&mut self) -> io::Result<Step<'_>> {
        match self.verify()? {
            Ok(header) if header.sequence == self.last + 1 => {
                let bytes = self.at..self.at + header.frame_bytes();
                self.at = bytes.end;
                self.last = header.sequence;
                Ok(Step::Frame { header, bytes: &self.buffer[bytes] })
            }
            // A sound frame behind a jump: what lies between was lost before, or is missing.
            Ok(header) if header.sequence > self.last => {
                let from = self.offset();
                self.last = header.sequence - 1;
                Ok(Step::Damage { from, to: from, next: header.sequence })
            }
            Err(Bad::Short(_)) if self.offset() >= self.length => Ok(Step::End),
            _ => self.resume(),
        }
    }

    /// Looks for the next sound frame behind a place that holds none.
    fn resume(&mut self) -> io::Result<Step<'_>> {
        let from = self.offset();
        let marker = self.salt.to_le_bytes();
        self.at += 1;
        loop {
            if self.buffer.len().saturating_sub(self.at) < frame::HEADER_BYTES {
                self.fill(SCAN_BYTES)?;
            }
            let Some(found) = memchr::memmem::find(&self.buffer[self.at..], &marker) else {
                self.at = self.buffer.len().saturating_sub(marker.len() - 1).max(self.at);
                if self.buffer_offset + self.buffer.len() as u64 >= self.length {
                    return Ok(Step::End);
                }
                self.fill(SCAN_BYTES)?;
                continue;
            };
            self.at += found;
            match self.verify()? {
                Ok(header) if header.sequence > self.last => {
                    self.last = header.sequence - 1;
                    return Ok(Step::Damage { from, to: self.offset(), next: header.sequence });
                }
                _ => self.at += 1,
            }
        }
    }

    /// Checks the frame at the current place, reading on as far as it needs.
    fn verify(&mut self) -> io::Result<Result<Header, Bad>> {
        loop {
            match frame::verify(&self.buffer[self.at..], self.salt) {
                Err(Bad::Short(needed)) if self.offset() + needed as u64 <= self.length => {
                    self.fill(needed.max(SCAN_BYTES))?;
                    if self.buffer.len() - self.at < needed {
                        return Ok(Err(Bad::Short(needed)));
                    }
                }
                other => return Ok(other),
            }
        }
    }

    /// Reads so that at least `wanted` bytes stand behind the current place, or all there are.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        self.buffer.drain(..self.at.min(self.buffer.len()));
        self.buffer_offset += self.at as u64;
        self.at = 0;
        let have = self.buffer.len();
        if have < wanted {
            self.buffer.resize(wanted, 0);
            let offset = self.buffer_offset + have as u64;
            let read = read_full_at(self.file, &mut self.buffer[have..], offset)?;
            self.buffer.truncate(have + read);
        }
        Ok(())
    }
}

/// Finds the next sound frame behind a damaged place: its offset and sequence.
pub(super) fn find_next(
    segment: &Segment,
    offset: u64,
    last: u64,
) -> io::Result<Option<(u64, u64)>> {
    let end = segment.contents().end;
    let mut walk = Walk::new(&segment.file, segment.salt, offset, end, last);
    match walk.resume()? {
        Step::Damage { to, next, .. } => Ok(Some((to, next))),
        Step::Frame { .. } | Step::End => Ok(None),
    }
}
