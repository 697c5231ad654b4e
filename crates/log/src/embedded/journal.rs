//! The state journal: every [`Change`] of the log's [`Image`], appended to a file.
//!
//! A file begins with a snapshot of the whole image, closed by [`Change::SnapshotEnd`]. When a
//! file has grown enough, the next one is begun; the one before is kept, so that a damaged
//! snapshot costs nothing. The files have the form of a stream's segments, so damage is found and
//! passed over in the same way.
//!
//! A change is either *committed* (durable before the caller goes on) or *noted* (durable within
//! [`NOTED_SYNC`]). Only what does no harm when it is forgotten may be noted: a forgotten
//! acknowledgement means one more delivery.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::oneshot;
use wingbeat_record::{Record, Subject, Time};

use super::{
    frame,
    image::{Change, Image},
    segment::{self, Segment},
};
use crate::{LogError, crashpoint};

/// Within this time a noted change is durable.
const NOTED_SYNC: Duration = Duration::from_secs(1);
/// A new file is begun when this many bytes came since the snapshot.
const ROLL_BYTES: u64 = 16 * 1024 * 1024;

/// What opening the journal gave.
pub(super) struct Recovered {
    pub(super) image: Image,
    /// What was damaged, in words.
    pub(super) problems: Vec<String>,
    newest: Option<Segment>,
}

/// Reads the journal in a directory without changing anything.
pub(super) fn recover(directory: &Path) -> Result<Recovered, LogError> {
    let mut recovered = Recovered { image: Image::default(), problems: Vec::new(), newest: None };
    let mut readable = Vec::new();
    for path in segment::list(directory)? {
        let Some(file) = Segment::open(&path, 0, false)? else { continue };
        let mut changes = Vec::new();
        let mut unread = 0;
        file.scan(|header, bytes| match change_in(header, bytes) {
            Some(change) => changes.push(change),
            None => unread += 1,
        })?;
        let lost = file.contents().lost.clone();
        readable.push((file, changes, lost, unread));
    }
    // The newest file whose snapshot is whole says everything. An older one only helps where the
    // newest is damaged; an incomplete newest one is a crash in the middle of beginning it.
    let is_whole = |(_, changes, lost, _): &(Segment, Vec<Change>, Vec<segment::Lost>, u64)| {
        let has_end = changes.iter().any(|change| matches!(change, Change::SnapshotEnd {}));
        has_end && lost.is_empty()
    };
    let from = readable.iter().rposition(is_whole).unwrap_or(0);
    for (file, changes, lost, unread) in readable.drain(..).skip(from) {
        let name = file.path.display();
        if !file.is_header_sound {
            recovered.problems.push(format!(
                "the header of the state journal {name} is damaged, so none of it could be read: what consumers acknowledged since the file before it is forgotten, and some records may be delivered again"
            ));
        }
        for lost in lost {
            let (from, to) = lost.bytes;
            recovered.problems.push(format!(
                "the state journal {name} is damaged from byte {from} to {to}: what consumers acknowledged there is forgotten, so some records may be delivered again"
            ));
        }
        if unread > 0 {
            recovered.problems.push(format!(
                "the state journal {name} holds {unread} changes of a kind that this version does not know; a newer version of wingbeat wrote it"
            ));
        }
        changes.into_iter().for_each(|change| recovered.image.apply(change));
        recovered.newest = Some(file);
    }
    Ok(recovered)
}

fn change_in(header: &frame::Header, bytes: &[u8]) -> Option<Change> {
    let frame = Bytes::copy_from_slice(bytes);
    let stored = frame::Decoder::default().record(header, &frame).ok()??;
    serde_json::from_slice(&stored.record.payload).ok()
}

/// The journal of a log that is open for writing. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Journal {
    queue: mpsc::Sender<Job>,
    failure: Arc<OnceLock<LogError>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

struct Job {
    changes: Vec<Change>,
    done: Option<oneshot::Sender<Result<(), LogError>>>,
    is_last: bool,
}

impl Journal {
    /// Goes on from a recovered image: begins a new file with its snapshot.
    /// The thread holds `lock` until it has written everything.
    pub(super) fn open(
        directory: &Path,
        recovered: &Recovered,
        lock: Arc<File>,
    ) -> Result<Self, LogError> {
        let next = recovered.newest.as_ref().map_or(1, |file| file.contents().last + 1);
        let mut writer = Writer {
            directory: directory.to_owned(),
            image: recovered.image.clone(),
            file: begin_file(directory, next, &recovered.image)?,
            grown_bytes: 0,
            unsynced_since: None,
        };
        writer.remove_old_files()?;
        let (queue, jobs) = mpsc::channel();
        let failure = Arc::new(OnceLock::new());
        let shared = Arc::clone(&failure);
        let thread = std::thread::Builder::new()
            .name("log-state".to_owned())
            .spawn(move || {
                writer.run(&jobs, &shared);
                drop(lock);
            })
            .map_err(|error| LogError::io("can't start a thread", &error))?;
        Ok(Self { queue, failure, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Notes a change: durable soon.
    pub(super) fn note(&self, change: Change) -> Result<(), LogError> {
        self.send(Job { changes: vec![change], done: None, is_last: false })
    }

    /// Commits changes: durable when this returns.
    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<(), LogError> {
        self.begin(changes, false)?.await.unwrap_or(Err(LogError::Closed))
    }

    /// As [`commit`](Self::commit), for threads outside the async runtime.
    pub(super) fn commit_blocking(&self, changes: Vec<Change>) -> Result<(), LogError> {
        self.begin(changes, false)?.blocking_recv().unwrap_or(Err(LogError::Closed))
    }

    /// Writes everything out and ends the thread.
    pub(super) async fn close(&self) -> Result<(), LogError> {
        let result = self.begin(Vec::new(), true)?.await.unwrap_or(Ok(()));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread has answered and is about to end.
            let _ = thread.join();
        }
        result
    }

    fn begin(
        &self,
        changes: Vec<Change>,
        is_last: bool,
    ) -> Result<oneshot::Receiver<Result<(), LogError>>, LogError> {
        let (done, answer) = oneshot::channel();
        self.send(Job { changes, done: Some(done), is_last })?;
        Ok(answer)
    }

    fn send(&self, job: Job) -> Result<(), LogError> {
        if let Some(failure) = self.failure.get() {
            return Err(failure.clone());
        }
        self.queue.send(job).map_err(|_| LogError::Closed)
    }
}

fn encode(out: &mut Vec<u8>, salt: u32, sequence: u64, change: &Change) -> Result<(), LogError> {
    let json = serde_json::to_vec(change)
        .map_err(|error| LogError::Invalid(format!("can't write a state change: {error}")))?;
    let record = Record::new(Subject::new("wingbeat.state")?, json);
    frame::encode(out, salt, sequence, Time::now(), &record);
    Ok(())
}

/// Creates a journal file that holds the snapshot of an image, durably.
fn begin_file(directory: &Path, base: u64, image: &Image) -> Result<Segment, LogError> {
    let file = Segment::create(directory, base, super::random_salt())?;
    let mut buffer = Vec::new();
    for (sequence, change) in (base..).zip(image.snapshot()) {
        encode(&mut buffer, file.salt, sequence, &change)?;
    }
    let (first_half, _) = buffer.split_at(buffer.len() / 2);
    let failed = |error| LogError::io(format!("can't write {}", file.path.display()), &error);
    if crashpoint::reached(crashpoint::name::SNAPSHOT_HALF_WRITTEN) {
        file.file.write_all_at(first_half, segment::FILE_HEADER_BYTES).map_err(failed)?;
        crashpoint::die();
    }
    file.file.write_all_at(&buffer, segment::FILE_HEADER_BYTES).map_err(failed)?;
    file.file.sync_data().map_err(failed)?;
    file.scan(|_, _| {})?;
    crashpoint::hit(crashpoint::name::SNAPSHOT_WRITTEN);
    Ok(file)
}

struct Writer {
    directory: PathBuf,
    image: Image,
    file: Segment,
    grown_bytes: u64,
    unsynced_since: Option<Instant>,
}

impl Writer {
    fn run(mut self, jobs: &mpsc::Receiver<Job>, failure: &OnceLock<LogError>) {
        loop {
            let wait = self
                .unsynced_since
                .map_or(Duration::MAX, |since| NOTED_SYNC.saturating_sub(since.elapsed()));
            let first = match jobs.recv_timeout(wait) {
                Ok(job) => Some(job),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            };
            let group: Vec<Job> = first.into_iter().chain(jobs.try_iter()).collect();
            let result = self.write(&group);
            if let Err(error) = &result {
                tracing::error!(%error, "the state journal can't be written any more");
                // The first failure stays; later calls are answered with it.
                let _ = failure.set(error.clone());
            }
            let is_last = group.iter().any(|job| job.is_last);
            for done in group.into_iter().filter_map(|job| job.done) {
                // A caller that is gone needs no answer.
                let _ = done.send(result.clone());
            }
            if is_last || result.is_err() {
                break;
            }
        }
        if self.unsynced_since.is_some() {
            let _ = self.file.file.sync_data();
        }
    }

    fn write(&mut self, group: &[Job]) -> Result<(), LogError> {
        let failed = |error| LogError::io("can't write the log's state journal", &error);
        let (mut sequence, offset) = {
            let contents = self.file.contents();
            (contents.last, contents.end)
        };
        let mut buffer = Vec::new();
        for change in group.iter().flat_map(|job| &job.changes) {
            sequence += 1;
            encode(&mut buffer, self.file.salt, sequence, change)?;
            self.image.apply(change.clone());
        }
        if !buffer.is_empty() {
            self.file.file.write_all_at(&buffer, offset).map_err(failed)?;
            let mut contents = self.file.contents();
            contents.end += buffer.len() as u64;
            contents.last = sequence;
            self.grown_bytes += buffer.len() as u64;
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        let is_due = self.unsynced_since.is_some_and(|since| since.elapsed() >= NOTED_SYNC);
        let is_wanted = group.iter().any(|job| job.done.is_some());
        if (is_due || is_wanted) && self.unsynced_since.is_some() {
            self.file.file.sync_data().map_err(failed)?;
            self.unsynced_since = None;
        }
        if self.grown_bytes >= ROLL_BYTES { self.roll() } else { Ok(()) }
    }

    fn roll(&mut self) -> Result<(), LogError> {
        let next = self.file.contents().last + 1;
        self.file.file.sync_data().map_err(|e| LogError::io("can't sync the state journal", &e))?;
        self.unsynced_since = None;
        self.file = begin_file(&self.directory, next, &self.image)?;
        self.grown_bytes = 0;
        self.remove_old_files()
    }

    /// Keeps the current file and the one before it.
    fn remove_old_files(&mut self) -> Result<(), LogError> {
        let files = segment::list(&self.directory)?;
        let old = files.len().saturating_sub(2);
        for path in &files[..old] {
            std::fs::remove_file(path).map_err(|error| {
                LogError::io(format!("can't remove {}", path.display()), &error)
            })?;
        }
        Ok(())
    }
}
