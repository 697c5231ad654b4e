//! The thread that writes one stream.
//!
//! Publishers queue their records; the thread takes all that have come, writes them in one go,
//! syncs once, and answers. While it waits for the disk the next group gathers, so a slow disk
//! makes groups larger, not answers rarer.

use std::{
    os::unix::fs::FileExt,
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use wingbeat_record::{Record, Time};

use super::{
    frame::{self, Header},
    image::Change,
    journal::Journal,
    segment::Segment,
    stream::Stream,
    window::{DuplicateWindow, id_hash},
};
use crate::{
    LogError,
    contract::{Discard, PubAck, StreamConfig},
    crashpoint,
};

/// A group is closed when it has this many bytes.
const GROUP_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// A segment is closed when it has this many bytes.
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A stream limited in bytes has at least this many segments, so that retention, which frees
/// whole files, keeps close to the limit on disk too.
const SEGMENTS_PER_LIMIT: u64 = 16;
/// The smallest segment that such a limit leads to.
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// How often an idle stream looks whether records have become too old, and notes how far it is.
const TICK: Duration = Duration::from_secs(1);

/// What the thread is asked to do.
pub(super) enum Job {
    Append {
        records: Vec<Record>,
        /// Bounds the bytes that wait; given back when the records are durable.
        permit: OwnedSemaphorePermit,
        done: oneshot::Sender<Vec<Result<PubAck, LogError>>>,
    },
    Configure {
        config: StreamConfig,
        done: oneshot::Sender<()>,
    },
    /// Deletes records; those that are not there are passed over.
    DeleteMany {
        sequences: Vec<u64>,
        done: oneshot::Sender<Result<u64, LogError>>,
    },
    /// Lets everything before a sequence expire.
    PurgeBefore {
        first: u64,
        done: oneshot::Sender<Result<u64, LogError>>,
    },
    Close {
        done: oneshot::Sender<Result<(), LogError>>,
    },
}

/// The state of the thread.
pub(super) struct Writer {
    pub(super) stream: Arc<Stream>,
    pub(super) window: DuplicateWindow,
    pub(super) journal: Journal,
    /// After a failed sync nobody knows what the disk holds: nothing more is written.
    pub(super) failure: Option<LogError>,
    buffer: Vec<u8>,
    marked_last: u64,
}

/// Records of one group, encoded one behind the other for the current segment.
#[derive(Default)]
struct Group<'a> {
    answers: Vec<Vec<Result<PubAck, LogError>>>,
    headers: Vec<(Header, u64)>,
    /// The ids that this group brings, by sequence from `first` on.
    ids: Vec<Option<&'a str>>,
    first: u64,
    next: u64,
    offset: u64,
    /// Whether records are refused when the stream is full.
    refuses: bool,
}

type Waiting =
    Vec<(Vec<Record>, OwnedSemaphorePermit, oneshot::Sender<Vec<Result<PubAck, LogError>>>)>;

impl Writer {
    pub(super) fn new(stream: Arc<Stream>, window: DuplicateWindow, journal: Journal) -> Self {
        let marked_last = stream.state().last;
        Self { stream, window, journal, failure: None, buffer: Vec::new(), marked_last }
    }

    pub(super) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        loop {
            let job = match jobs.recv_timeout(TICK) {
                Ok(job) => Some(job),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let mut next = job;
            if next.is_none() {
                self.tick();
            }
            while let Some(job) = next.take() {
                match job {
                    Job::Append { records, permit, done } => {
                        next = self.append_all(vec![(records, permit, done)], jobs);
                    }
                    Job::Configure { config, done } => {
                        self.window.set_length(config.duplicate_window);
                        self.stream.state_mut().config = config;
                        self.tick();
                        let _ = done.send(());
                    }
                    Job::DeleteMany { sequences, done } => {
                        let _ = done.send(self.delete_many(&sequences));
                    }
                    Job::PurgeBefore { first, done } => {
                        let _ = done.send(self.purge_before(first));
                    }
                    Job::Close { done } => {
                        let _ = done.send(self.mark());
                        return;
                    }
                }
            }
        }
    }

    /// What is due without any record: old records go, and the journal learns how far we are.
    fn tick(&mut self) {
        if self.failure.is_some() {
            return;
        }
        let result = self.stream.enforce_limits(Time::now(), &self.journal).and_then(|()| {
            if self.stream.state().last == self.marked_last { Ok(()) } else { self.mark() }
        });
        if let Err(error) = result {
            tracing::warn!(stream = %self.stream.name, %error, "old records can't be removed");
        }
    }

    pub(super) fn mark(&mut self) -> Result<(), LogError> {
        // Of a stream that was removed nothing is noted: another one may have its name.
        if self.stream.check_there().is_err() {
            return Ok(());
        }
        let (first, last) = {
            let state = self.stream.state();
            (state.first, state.last)
        };
        self.marked_last = last;
        self.journal.note(Change::Mark { stream: self.stream.name.to_string(), first, last })
    }

    /// Writes a group: the given records and all that wait behind them. Returns the first job
    /// that is no append.
    fn append_all(&mut self, mut waiting: Waiting, jobs: &mpsc::Receiver<Job>) -> Option<Job> {
        let size = |records: &[Record]| records.iter().map(|r| r.size() as u64).sum::<u64>();
        let mut bytes = size(&waiting[0].0);
        let mut next = None;
        let group_bytes_max = GROUP_BYTES_MAX.min(self.segment_bytes_max());
        while bytes < group_bytes_max {
            match jobs.try_recv() {
                Ok(Job::Append { records, permit, done }) => {
                    bytes += size(&records);
                    waiting.push((records, permit, done));
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let batches: Vec<&[Record]> = waiting.iter().map(|(records, ..)| &records[..]).collect();
        let answers = self.append(&batches);
        if let Err(error) = self.stream.enforce_limits(Time::now(), &self.journal) {
            tracing::warn!(stream = %self.stream.name, %error, "old records can't be removed");
        }
        for ((_, permit, done), answer) in waiting.into_iter().zip(answers) {
            drop(permit);
            // A publisher that is gone needs no answer; its records are stored all the same.
            let _ = done.send(answer);
        }
        next
    }

    fn append(&mut self, batches: &[&[Record]]) -> Vec<Vec<Result<PubAck, LogError>>> {
        if let Some(failure) = &self.failure {
            return refuse(batches, failure);
        }
        let segment = match self.open_segment() {
            Ok(segment) => segment,
            Err(error) => return refuse(batches, &error),
        };
        let now = Time::now().max(self.stream.state().last_time.unwrap_or(Time::from_micros(0)));
        self.window.expire(now);
        let next = self.stream.state().last + 1;
        let offset = segment.contents().end;
        let refuses = self.stream.state().config.discard == Discard::New;
        let mut group = Group { first: next, next, offset, refuses, ..Group::default() };
        self.buffer.clear();
        for records in batches {
            let answers =
                records.iter().map(|r| self.encode(r, &segment, &mut group, now)).collect();
            group.answers.push(answers);
        }
        match self.store(&segment, &group) {
            Ok(()) => {
                self.publish_state(&segment, &group, now);
                group.answers
            }
            Err(error) => {
                self.window.roll_back(group.first);
                refuse(batches, &error)
            }
        }
    }

    /// Decides about one record, and encodes it where it is new.
    fn encode<'a>(
        &mut self,
        record: &'a Record,
        segment: &Segment,
        group: &mut Group<'a>,
        now: Time,
    ) -> Result<PubAck, LogError> {
        let ack = |sequence, is_duplicate| PubAck {
            stream: Arc::clone(&self.stream.name),
            sequence,
            is_duplicate,
        };
        let id = record.id().map(|id| (id, id_hash(self.stream.salt, id)));
        if let Some(sequence) = id.and_then(|(id, hash)| self.find_duplicate(id, hash, group)) {
            return Ok(ack(sequence, true));
        }
        let pending_bytes = (self.buffer.len() + record.size()) as u64;
        let is_full = || self.stream.state().is_full(group.next - group.first, pending_bytes);
        if group.refuses && is_full() {
            return Err(LogError::Full { stream: self.stream.name.to_string() });
        }
        let sequence = group.next;
        let start = self.buffer.len();
        frame::encode(&mut self.buffer, segment.salt, sequence, now, record);
        // It was encoded just now, so its header reads back.
        if let Ok(header) = frame::header(&self.buffer[start..], segment.salt) {
            group.headers.push((header, group.offset + start as u64));
        }
        if let Some((_, hash)) = id {
            self.window.insert(hash, sequence, now);
        }
        group.ids.push(record.id());
        group.next += 1;
        Ok(ack(sequence, false))
    }

    /// The earlier record with the same id, where there is one. The window knows hashes only, so
    /// the ids themselves are compared; a record that has expired or was deleted since can't be
    /// compared and counts as the same.
    fn find_duplicate(&self, id: &str, hash: u64, group: &Group<'_>) -> Option<u64> {
        self.window.suspects(hash).find(|&sequence| {
            if sequence >= group.first {
                let at = usize::try_from(sequence - group.first).unwrap_or(usize::MAX);
                return group.ids.get(at).is_some_and(|other| *other == Some(id));
            }
            match self.stream.get(sequence) {
                Ok(Some(stored)) => stored.record.id() == Some(id),
                Ok(None) | Err(_) => true,
            }
        })
    }

    /// At how many bytes a segment is closed.
    fn segment_bytes_max(&self) -> u64 {
        self.stream.state().config.bytes_max.map_or(SEGMENT_BYTES_MAX, |bytes| {
            (bytes / SEGMENTS_PER_LIMIT).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
        })
    }

    /// The segment to write to; a new one where the last is full or must not be written to.
    pub(super) fn open_segment(&mut self) -> Result<Arc<Segment>, LogError> {
        let (current, next) = {
            let state = self.stream.state();
            let current = state.segments.last().filter(|_| !state.must_roll).map(Arc::clone);
            (current, state.last + 1)
        };
        let full = self.segment_bytes_max();
        if let Some(current) = current.filter(|segment| segment.contents().end < full) {
            return Ok(current);
        }
        self.mark()?;
        let segment = Arc::new(Segment::create(&self.stream.directory, next, self.stream.salt)?);
        let mut state = self.stream.state_mut();
        state.must_roll = false;
        state.segments.push(Arc::clone(&segment));
        Ok(segment)
    }

    /// Writes and syncs the encoded group. On failure the file is as it was before, or the stream
    /// refuses everything from now on.
    fn store(&mut self, segment: &Segment, group: &Group<'_>) -> Result<(), LogError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let failed =
            |error| LogError::io(format!("can't write to stream `{}`", self.stream.name), &error);
        if crashpoint::reached(crashpoint::name::APPEND_HALF_WRITTEN) {
            let half = &self.buffer[..self.buffer.len() / 2];
            segment.file.write_all_at(half, group.offset).map_err(failed)?;
            crashpoint::die();
        }
        if let Err(error) = segment.file.write_all_at(&self.buffer, group.offset) {
            let error = failed(error);
            if segment.file.set_len(group.offset).is_err() {
                self.failure = Some(error.clone());
            }
            return Err(error);
        }
        crashpoint::hit(crashpoint::name::APPEND_WRITTEN);
        if let Err(error) = segment.file.sync_data() {
            let error = failed(error);
            self.failure = Some(error.clone());
            return Err(error);
        }
        crashpoint::hit(crashpoint::name::APPEND_SYNCED);
        Ok(())
    }

    /// Makes a stored group visible to readers.
    fn publish_state(&mut self, segment: &Segment, group: &Group<'_>, now: Time) {
        if group.headers.is_empty() {
            return;
        }
        {
            let mut state = self.stream.state_mut();
            let mut contents = segment.contents();
            for (header, offset) in &group.headers {
                contents.take(header, *offset);
            }
            state.last = contents.last;
            state.last_time = Some(now);
        }
        self.stream.tip.send_replace(group.next - 1);
    }
}

fn refuse(batches: &[&[Record]], error: &LogError) -> Vec<Vec<Result<PubAck, LogError>>> {
    batches.iter().map(|records| records.iter().map(|_| Err(error.clone())).collect()).collect()
}
