//! A stream and the way to its writer.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};

use tokio::sync::{Semaphore, oneshot};
use wingbeat_record::{Record, SubjectFilter, Time};

use super::{
    directory::Directory,
    journal::Journal,
    load,
    stream::{Place, READ_BYTES_MAX, Stream},
    writer::{Job, Writer},
};
use crate::{
    LogError,
    contract::{Keep, PubAck},
};

/// At most this many bytes wait to be written to one stream; then publishers wait.
const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// At most this many records are deleted together while a stream is purged.
const PURGE_BATCH: usize = 1000;

/// A stream and the way to its writer.
pub(super) struct Handle {
    pub(super) stream: Arc<Stream>,
    /// `None` where the log is open for reading only.
    pub(super) queue: Option<mpsc::Sender<Job>>,
    budget: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    pub(super) fn start(
        stream: Arc<Stream>,
        directory: &Directory,
        journal: Option<&Journal>,
    ) -> Result<Self, LogError> {
        let budget = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let Some((journal, lock)) = journal.zip(directory.lock()) else {
            return Ok(Self { stream, queue: None, budget, thread: Mutex::new(None) });
        };
        let window = load::recent_ids(&stream, Time::now())?;
        let writer = Writer::new(Arc::clone(&stream), window, journal.clone());
        let (queue, jobs) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("log-{}", stream.name))
            .spawn(move || {
                writer.run(&jobs);
                // The directory stays locked until the last writer is done.
                drop(lock);
            })
            .map_err(|error| LogError::io("can't start a thread", &error))?;
        Ok(Self { stream, queue: Some(queue), budget, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn send(&self, job: Job) -> Result<(), LogError> {
        let queue = self.queue.as_ref().ok_or(LogError::ReadOnly)?;
        queue.send(job).map_err(|_| LogError::Closed)
    }

    /// Gives the thread something to do that is answered with a number.
    pub(super) async fn ask(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<u64, LogError>>) -> Job,
    ) -> Result<u64, LogError> {
        let (done, answer) = oneshot::channel();
        self.send(job(done))?;
        answer.await.unwrap_or(Err(LogError::Closed))
    }

    /// Deletes the records up to `last` that match a filter, but for some that stay. Others may
    /// publish meanwhile. Then what is deleted at the beginning goes.
    pub(super) async fn purge_matching(
        &self,
        filter: &SubjectFilter,
        keep: Keep,
        last: u64,
    ) -> Result<u64, LogError> {
        let (newest, before) = match keep {
            Keep::Nothing => (0, last + 1),
            Keep::Newest(count) => (count, last + 1),
            Keep::From(sequence) => (0, sequence.min(last + 1)),
        };
        let newest = usize::try_from(newest).unwrap_or(usize::MAX);
        let (mut place, mut purged) = (Place::at(1), 0);
        // Those that may have to stay.
        let mut held: VecDeque<u64> = VecDeque::new();
        while place.next < before {
            let (stream, filters) = (Arc::clone(&self.stream), [filter.clone()]);
            let read = tokio::task::spawn_blocking(move || {
                let records = stream.read(&mut place, PURGE_BATCH, READ_BYTES_MAX, &filters)?;
                Ok::<_, LogError>((records, place))
            });
            let (records, moved) = read.await.map_err(|_| LogError::Bug)??;
            let is_end = records.is_empty();
            place = moved;
            held.extend(records.iter().map(|s| s.sequence).filter(|s| *s < before));
            let count = held.len().saturating_sub(newest);
            let sequences: Vec<u64> = held.drain(..count).collect();
            purged += self.ask(|done| Job::DeleteMany { sequences, done }).await?;
            if is_end {
                break;
            }
        }
        let stream = Arc::clone(&self.stream);
        let oldest = tokio::task::spawn_blocking(move || {
            let found = stream.read(&mut Place::at(1), 1, 0, &[])?;
            Ok::<_, LogError>(found.first().map_or(last + 1, |stored| stored.sequence))
        });
        let first = oldest.await.map_err(|_| LogError::Bug)??;
        self.ask(|done| Job::PurgeBefore { first, done }).await?;
        Ok(purged)
    }

    /// Ends the thread.
    pub(super) async fn close(&self) -> Result<(), LogError> {
        let (done, answer) = oneshot::channel();
        self.send(Job::Close { done })?;
        let closed = answer.await.unwrap_or(Ok(()));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has answered and is about to end.
            let _ = thread.join();
        }
        closed
    }

    /// Queues records, when there is room for them.
    pub(super) async fn append(
        &self,
        records: Vec<Record>,
    ) -> Result<oneshot::Receiver<Vec<Result<PubAck, LogError>>>, LogError> {
        let size: usize = records.iter().map(Record::size).sum();
        let wanted = u32::try_from(size.clamp(1, QUEUE_BYTES_MAX)).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.budget);
        let permit = budget.acquire_many_owned(wanted).await.map_err(|_| LogError::Closed)?;
        let (done, answers) = oneshot::channel();
        self.send(Job::Append { records, permit, done })?;
        Ok(answers)
    }
}
