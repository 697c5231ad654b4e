//! One stream: its segments, reading from them, and what retention leaves of them.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;
use tokio::sync::watch;
use wingbeat_record::{SubjectFilter, Time};

use super::{
    frame::{self, Bad, Decoder},
    image::Change,
    journal::Journal,
    segment::{self, Lost, Segment},
};
use crate::{
    LogError,
    contract::{LostRange, Start, Stored, StreamConfig, StreamInfo},
    crashpoint,
};

/// How much is read from a file at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// As above, for a single record.
const SMALL_CHUNK_BYTES: usize = 32 * 1024;
/// A single read call returns at most about this many bytes of records.
pub(super) const READ_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One stream of an embedded log.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: Arc<str>,
    pub(super) directory: PathBuf,
    pub(super) salt: u32,
    pub(super) state: RwLock<State>,
    /// The newest durable sequence; readers wait on it.
    pub(super) tip: watch::Sender<u64>,
    /// What everybody is told once the stream was removed.
    removed: OnceLock<LogError>,
}

/// What changes in a stream.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: StreamConfig,
    /// In order. The last one is written to, unless `must_roll`.
    pub(super) segments: Vec<Arc<Segment>>,
    /// The oldest sequence that retention has left.
    pub(super) first: u64,
    /// The newest durable sequence.
    pub(super) last: u64,
    pub(super) last_time: Option<Time>,
    /// Sequences that are gone by damage, outside the segments that there are.
    pub(super) lost: Vec<LostRange>,
    /// The last segment is not to be written to any more.
    pub(super) must_roll: bool,
}

/// Where a reader stands.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The next sequence that it wants.
    pub(super) next: u64,
    /// Where that is, if it is known.
    hint: Option<(Arc<Segment>, u64)>,
    decoder: Decoder,
    /// Sequences that were passed over because they have expired or are damaged. Deleted ones are
    /// not among them.
    pub(super) missed: Vec<LostRange>,
}

impl Place {
    pub(super) fn at(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    /// Passes over what is not there.
    fn skip_to(&mut self, next: u64, cause: &str) {
        if next > self.next {
            let cause = cause.to_owned();
            self.missed.push(LostRange { first: self.next, last: next - 1, cause });
            self.next = next;
        }
    }
}

impl Stream {
    pub(super) fn new(name: &str, directory: PathBuf, salt: u32, state: State) -> Self {
        let tip = watch::Sender::new(state.last);
        let (name, state) = (Arc::from(name), RwLock::new(state));
        Self { name, directory, salt, state, tip, removed: OnceLock::new() }
    }

    /// Tells whoever has the stream open that it is gone.
    pub(super) fn remove(&self, error: LogError) {
        // It is removed once.
        let _ = self.removed.set(error);
        self.tip.send_modify(|_| ());
    }

    pub(super) fn check_there(&self) -> Result<(), LogError> {
        self.removed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the stream holds now.
    pub(super) fn info(&self) -> StreamInfo {
        let state = self.state();
        let (mut deleted, mut lost_count) = (0, 0);
        let mut lost = state.lost.clone();
        for segment in &state.segments {
            let contents = segment.contents();
            let holes = contents.holes(state.first);
            deleted += holes.0;
            lost_count += holes.1;
            let is_kept = |l: &&Lost| l.last >= state.first;
            lost.extend(contents.lost.iter().filter(is_kept).map(|l| describe(segment, l)));
        }
        lost_count += state.lost.iter().map(|l| l.last + 1 - l.first).sum::<u64>();
        lost.sort_by_key(|range| range.first);
        let span = (state.last + 1).saturating_sub(state.first);
        StreamInfo {
            config: state.config.clone(),
            first: state.first,
            last: state.last,
            records: span.saturating_sub(deleted + lost_count),
            bytes: state.bytes(),
            last_time: state.last_time,
            deleted,
            lost,
        }
    }

    /// Where a start lies.
    pub(super) fn resolve(&self, start: Start) -> Result<u64, LogError> {
        let (first, last) = {
            let state = self.state();
            (state.first, state.last)
        };
        match start {
            Start::First => Ok(first),
            Start::Last => Ok(last.max(first)),
            Start::New => Ok(last + 1),
            Start::Sequence(sequence) => Ok(sequence.max(1)),
            Start::Time(time) => self.first_since(time),
        }
    }

    /// The first sequence that was stored at or after a time; behind the last one if none was.
    pub(super) fn first_since(&self, time: Time) -> Result<u64, LogError> {
        let near = {
            let state = self.state();
            let is_before = |segment: &Arc<Segment>| segment.seek_time(time) > segment.base;
            let at = state.segments.iter().rposition(is_before).unwrap_or(0);
            state.segments.get(at).map_or(state.first, |s| s.seek_time(time).max(state.first))
        };
        let mut place = Place::at(near);
        loop {
            let records = self.read(&mut place, 256, READ_BYTES_MAX, &[])?;
            if let Some(found) = records.iter().find(|stored| stored.time >= time) {
                return Ok(found.sequence);
            }
            if records.is_empty() {
                return Ok(place.next);
            }
        }
    }

    /// One record.
    pub(super) fn get(&self, sequence: u64) -> Result<Option<Stored>, LogError> {
        let state = self.state();
        if sequence < state.first || sequence > state.last {
            return Ok(None);
        }
        drop(state);
        let mut found = self.read(&mut Place::at(sequence), 1, 0, &[])?;
        Ok(found.pop().filter(|stored| stored.sequence == sequence))
    }

    /// Reads on from a place: up to `max` records whose subjects match (no filters: all), about
    /// `bytes_max` bytes, but at least one record where there is one. Moves the place behind what
    /// was read or passed over. Expired, deleted and damaged records are passed over.
    pub(super) fn read(
        &self,
        place: &mut Place,
        max: usize,
        bytes_max: usize,
        filters: &[SubjectFilter],
    ) -> Result<Vec<Stored>, LogError> {
        self.check_there()?;
        let mut batch = Batch { records: Vec::new(), bytes: 0, max, bytes_max, filters };
        let mut chunk_bytes = if max == 1 { SMALL_CHUNK_BYTES } else { CHUNK_BYTES };
        while !batch.is_full() {
            let Some((segment, offset)) = self.locate(place) else { break };
            let (end, last) = {
                let contents = segment.contents();
                (contents.end, contents.last)
            };
            let chunk = read_chunk(&segment, offset, end, chunk_bytes)?;
            chunk_bytes = CHUNK_BYTES;
            let (used, stop) = batch.take_from(&chunk, segment.salt, place);
            let at = offset + used as u64;
            place.hint = Some((Arc::clone(&segment), at));
            match stop {
                None => {}
                Some(_) if at >= end => place.skip_to(last + 1, "the end of a file is damaged"),
                Some(Bad::Short(needed)) if at + needed as u64 <= end => {
                    chunk_bytes = needed.max(CHUNK_BYTES);
                }
                Some(_) => self.pass_damage(place, &segment, at)?,
            }
        }
        Ok(batch.records)
    }

    /// The segment and offset at which the place's next record can be found; moves the place over
    /// what is not there. `None` behind the last record.
    fn locate(&self, place: &mut Place) -> Option<(Arc<Segment>, u64)> {
        let state = self.state();
        place.skip_to(state.first, "expired before it was read");
        if place.next > state.last {
            return None;
        }
        if let Some((segment, offset)) = &place.hint {
            let contents = segment.contents();
            if (segment.base..=contents.last).contains(&place.next) && *offset < contents.end {
                return Some((Arc::clone(segment), *offset));
            }
        }
        let holds_next = |s: &&Arc<Segment>| {
            let contents = s.contents();
            contents.last >= place.next && contents.end > segment::FILE_HEADER_BYTES
        };
        let Some(segment) = state.segments.iter().find(holds_next) else {
            place.skip_to(state.last + 1, "the end of the stream is missing");
            return None;
        };
        place.skip_to(segment.base, "a file of the log is missing");
        Some((Arc::clone(segment), segment.seek(place.next)))
    }

    /// Moves a place over damaged bytes to the next sound frame, and notes what is lost.
    fn pass_damage(
        &self,
        place: &mut Place,
        segment: &Arc<Segment>,
        offset: u64,
    ) -> Result<(), LogError> {
        let failed = |e| LogError::io(format!("can't read {}", segment.path.display()), &e);
        let found = segment::find_next(segment, offset, place.next - 1).map_err(failed)?;
        let mut contents = segment.contents();
        let (to, next) = found.unwrap_or((contents.end, contents.last + 1));
        if next > place.next {
            let lost = Lost { first: place.next, last: next - 1, bytes: (offset, to) };
            let described = describe(segment, &lost);
            if contents.lose(lost) {
                tracing::error!(stream = %self.name, lost = %described, "records can't be read any more");
            }
            place.skip_to(next, &described.cause);
        }
        place.hint = Some((Arc::clone(segment), to));
        Ok(())
    }

    /// Drops what is over the stream's limits. Files go when nothing in them is left; that they
    /// may go is durable before they do.
    pub(super) fn enforce_limits(&self, now: Time, journal: &Journal) -> Result<(), LogError> {
        let config = self.state().config.clone();
        let mut first = self.state().first;
        if let Some(max) = config.records_max {
            first = first.max((self.state().last + 1).saturating_sub(max));
        }
        if let Some(max) = config.bytes_max {
            first = first.max(self.state().first_within(max));
        }
        if let Some(max) = config.age_max {
            let is_due = self.oldest_time().is_some_and(|time| now.since(time) > max);
            if is_due {
                first = first.max(self.first_since(now.minus(max))?);
            }
        }
        if first <= self.state().first {
            return Ok(());
        }
        let gone = self.expire(first);
        if gone.is_empty() { Ok(()) } else { self.remove_files(gone, journal) }
    }

    /// Lets everything before a sequence expire, for good.
    pub(super) fn purge_before(&self, first: u64, journal: &Journal) -> Result<(), LogError> {
        let gone = self.expire(first);
        self.remove_files(gone, journal)
    }

    /// Moves the beginning to a sequence. Returns the segments in which nothing is left.
    fn expire(&self, first: u64) -> Vec<Arc<Segment>> {
        let mut state = self.state_mut();
        state.first = first.max(state.first);
        let first = state.first;
        state.lost.retain(|lost| lost.last >= first);
        let kept_from = state.segments.partition_point(|s| s.contents().last < first);
        // The file that is written to stays.
        let gone = kept_from.min(state.segments.len().saturating_sub(1));
        state.segments.drain(..gone).collect()
    }

    /// Removes files, once it is durable that they may go.
    fn remove_files(&self, gone: Vec<Arc<Segment>>, journal: &Journal) -> Result<(), LogError> {
        let (first, last) = {
            let state = self.state();
            (state.first, state.last)
        };
        let stream = self.name.to_string();
        journal.commit_blocking(vec![Change::Mark { stream, first, last }])?;
        crashpoint::hit(crashpoint::name::PURGE_INTENDED);
        for segment in gone {
            std::fs::remove_file(&segment.path).map_err(|error| {
                LogError::io(format!("can't remove {}", segment.path.display()), &error)
            })?;
        }
        Ok(())
    }

    /// When the oldest record was stored, exact to one stride of the index and never too late.
    fn oldest_time(&self) -> Option<Time> {
        let state = self.state();
        let first = state.first;
        state.segments.iter().find_map(|segment| segment.time_near(first))
    }
}

/// Records on their way out of a read.
struct Batch<'a> {
    records: Vec<Stored>,
    bytes: usize,
    max: usize,
    bytes_max: usize,
    filters: &'a [SubjectFilter],
}

impl Batch<'_> {
    fn is_full(&self) -> bool {
        self.records.len() >= self.max || (self.bytes > 0 && self.bytes >= self.bytes_max)
    }

    /// Takes records from a chunk that begins with a frame. Returns how many bytes were used, and
    /// why it stopped before the batch was full.
    fn take_from(&mut self, chunk: &Bytes, salt: u32, place: &mut Place) -> (usize, Option<Bad>) {
        let mut at = 0;
        while !self.is_full() {
            let header = match frame::verify(&chunk[at..], salt) {
                Ok(header) => header,
                Err(bad) => return (at, Some(bad)),
            };
            let frame = chunk.slice(at..at + header.frame_bytes());
            if header.sequence < place.next {
                at += frame.len();
                continue;
            }
            let found = match place.decoder.record(&header, &frame) {
                Ok(found) => found,
                Err(bad) => return (at, Some(bad)),
            };
            at += frame.len();
            place.next = header.sequence + 1;
            let Some(stored) = found else { continue };
            let subject = &stored.record.subject;
            if self.filters.is_empty() || self.filters.iter().any(|f| f.matches(subject)) {
                self.bytes += frame.len();
                self.records.push(stored);
            }
        }
        (at, None)
    }
}

impl State {
    /// What the stream takes on disk, from its oldest record on.
    pub(super) fn bytes(&self) -> u64 {
        let Some(head) = self.segments.first() else { return 0 };
        let total: u64 = self.segments.iter().map(|segment| segment.contents().end).sum();
        total.saturating_sub(head.bytes_before(self.first))
    }

    /// The oldest sequence to keep for at most `max` bytes.
    fn first_within(&self, max: u64) -> u64 {
        let mut kept = 0;
        for segment in self.segments.iter().rev() {
            let end = segment.contents().end;
            if kept + end > max {
                return segment.first_within(max - kept).max(self.first);
            }
            kept += end;
        }
        self.first
    }

    /// Whether one more record of that size would be over a limit.
    pub(super) fn is_full(&self, pending_records: u64, pending_bytes: u64) -> bool {
        let records = self.last + 1 - self.first + pending_records;
        let is_over_count = self.config.records_max.is_some_and(|max| records >= max);
        let is_over_bytes =
            self.config.bytes_max.is_some_and(|max| self.bytes() + pending_bytes > max);
        is_over_count || is_over_bytes
    }
}

/// A lost range in words.
pub(super) fn describe(segment: &Segment, lost: &Lost) -> LostRange {
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
    let (from, to) = lost.bytes;
    let cause = format!("{name} is damaged from byte {from} to {to}");
    LostRange { first: lost.first, last: lost.last, cause }
}

fn read_chunk(segment: &Segment, offset: u64, end: u64, wanted: usize) -> Result<Bytes, LogError> {
    let available = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut chunk = vec![0; wanted.min(available)];
    let read = segment
        .read_at(&mut chunk, offset)
        .map_err(|error| LogError::io(format!("can't read {}", segment.path.display()), &error))?;
    chunk.truncate(read);
    Ok(chunk.into())
}
