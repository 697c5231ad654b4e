//! The embedded log: in the process, on disk, for one process on one machine.
//!
//! ```text
//! DIR/FORMAT                      says what this directory is
//! DIR/LOCK                        held by the process that writes
//! DIR/state/N.segment             the state journal (journal.rs)
//! DIR/streams/NAME/N.segment      the records (segment.rs, frame.rs)
//! ```
//!
//! - A record is acknowledged when `fdatasync` has returned for it (writer.rs).
//! - Every byte that counts is under a checksum. Opening reads all of it, finishes what a crash
//!   left half done, and says exactly which records are missing (load.rs).
//! - Memory: 24 bytes of index for 16 KiB of records, and the ids of the duplicate window
//!   (window.rs).

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::oneshot;
use wingbeat_record::{Record, Subject, SubjectFilter, Time};

use crate::{
    LogError,
    check::{bucket_name, check_name, check_record, check_stream},
    contract::{
        Bucket, Consumer, ConsumerConfig, ConsumerInfo, Keep, Log, PubAck, Purge, RECORD_BYTES_MAX,
        Reader, Start, Stored, StreamConfig, StreamInfo,
    },
    crashpoint,
};

mod bucket;
mod consumer;
mod directory;
mod frame;
mod handle;
mod image;
mod journal;
mod load;
mod purge;
mod reader;
mod segment;
mod stream;
mod window;
mod writer;

use bucket::EmbeddedBucket;
use consumer::EmbeddedConsumer;
use directory::Directory;
use handle::Handle;
use image::{Change, ConsumerImage, Image, StreamImage};
use journal::Journal;
use reader::EmbeddedReader;
use writer::Job;

/// A log in a directory.
pub struct EmbeddedLog {
    directory: Directory,
    /// `None` where the log is open for reading only.
    journal: Option<Journal>,
    streams: RwLock<BTreeMap<String, Arc<Handle>>>,
    consumers: Mutex<BTreeMap<(String, String), Arc<EmbeddedConsumer>>>,
    buckets: Mutex<BTreeMap<String, Arc<EmbeddedBucket>>>,
    /// What the journal knew on opening and nobody has asked for yet.
    image: Mutex<Image>,
    problems: Vec<String>,
    /// Streams and consumers are created and changed one at a time.
    admin: tokio::sync::Mutex<()>,
    /// Streams whose removal has begun and did not come to its end: it does before one is made anew.
    removing: Mutex<BTreeSet<String>>,
    bucket_suffix: String,
    is_closed: AtomicBool,
}

impl EmbeddedLog {
    /// Opens the log in a directory for reading and writing; creates it where there is none.
    /// Blocks: reads everything once. Refuses a directory that another process writes to, and one
    /// that holds something else.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        Self::open_as(Directory::open(path)?)
    }

    /// Opens the log in a directory for reading, also while another process writes to it. Nothing
    /// is changed or repaired. Blocks.
    pub fn open_read_only(path: &Path) -> Result<Self, LogError> {
        Self::open_as(Directory::open_read_only(path)?)
    }

    fn open_as(directory: Directory) -> Result<Self, LogError> {
        let recovered = journal::recover(&directory.state())?;
        let mut problems = recovered.problems.clone();
        let journal = match directory.lock() {
            Some(lock) => Some(Journal::open(&directory.state(), &recovered, lock)?),
            None => None,
        };
        let mut image = recovered.image;
        finish_removals(&directory, &mut image, journal.as_ref())?;
        let mut handles = BTreeMap::new();
        for (name, loaded) in load_all(&directory, &image)? {
            problems.extend(loaded.problems);
            handles.insert(
                name,
                Arc::new(Handle::start(loaded.stream, &directory, journal.as_ref())?),
            );
        }
        for problem in &problems {
            tracing::error!(log = %directory.path().display(), "{problem}");
        }
        Ok(Self {
            directory,
            journal,
            streams: RwLock::new(handles),
            consumers: Mutex::default(),
            buckets: Mutex::default(),
            image: Mutex::new(image),
            problems,
            admin: tokio::sync::Mutex::new(()),
            removing: Mutex::default(),
            bucket_suffix: String::new(),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Names of buckets get this suffix.
    pub(crate) fn with_bucket_suffix(self, bucket_suffix: String) -> Self {
        Self { bucket_suffix, ..self }
    }

    fn handle(&self, name: &str) -> Result<Arc<Handle>, LogError> {
        self.check_open()?;
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.get(name).map(Arc::clone).ok_or_else(|| {
            let names: Vec<&str> = streams.keys().map(String::as_str).collect();
            let present = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            LogError::UnknownStream { name: name.to_owned(), present }
        })
    }

    fn handles(&self) -> Vec<Arc<Handle>> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.values().map(Arc::clone).collect()
    }

    fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_open(&self) -> Result<(), LogError> {
        if self.is_closed.load(Ordering::Acquire) { Err(LogError::Closed) } else { Ok(()) }
    }

    fn journal(&self) -> Result<&Journal, LogError> {
        self.check_open()?;
        self.journal.as_ref().ok_or(LogError::ReadOnly)
    }

    /// The stream that captures a subject.
    fn route(&self, subject: &Subject) -> Result<Arc<Handle>, LogError> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let captures = |handle: &&Arc<Handle>| {
            handle.stream.state().config.subjects.iter().any(|filter| filter.matches(subject))
        };
        let found = streams.values().find(captures).map(Arc::clone);
        found.ok_or_else(|| LogError::NoStream { subject: subject.to_string() })
    }

    /// Sorts records by stream. Returns, per stream, the positions in the call and the records;
    /// refusals go into `answers`.
    fn sort(
        &self,
        records: Vec<Record>,
        answers: &mut [Result<PubAck, LogError>],
    ) -> Vec<(Arc<Handle>, Vec<usize>, Vec<Record>)> {
        let mut batches: Vec<(Arc<Handle>, Vec<usize>, Vec<Record>)> = Vec::new();
        let mut last: Option<(Subject, usize)> = None;
        for (position, record) in records.into_iter().enumerate() {
            if let Err(error) = check_record(&record, RECORD_BYTES_MAX, "") {
                answers[position] = Err(error);
                continue;
            }
            let known = last.as_ref().filter(|(subject, _)| *subject == record.subject);
            let at = match known {
                Some((_, at)) => *at,
                None => match self.route(&record.subject) {
                    Ok(handle) => {
                        let same = |b: &(Arc<Handle>, _, _)| Arc::ptr_eq(&b.0, &handle);
                        let at = batches.iter().position(same).unwrap_or(batches.len());
                        if at == batches.len() {
                            batches.push((handle, Vec::new(), Vec::new()));
                        }
                        last = Some((record.subject.clone(), at));
                        at
                    }
                    Err(error) => {
                        answers[position] = Err(error);
                        continue;
                    }
                },
            };
            batches[at].1.push(position);
            batches[at].2.push(record);
        }
        batches
    }

    fn check_overlap(&self, config: &StreamConfig) -> Result<(), LogError> {
        for handle in self.handles() {
            let other = handle.stream.state().config.clone();
            if other.name == config.name {
                continue;
            }
            for subject in &config.subjects {
                if let Some(theirs) = other.subjects.iter().find(|s| s.overlaps(subject)) {
                    return Err(LogError::Overlap {
                        stream: config.name.clone(),
                        subject: subject.to_string(),
                        other: other.name,
                        other_subject: theirs.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    fn removing(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.removing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the files of a stream that nobody can open any more.
    async fn finish_removal(&self, name: &str) -> Result<(), LogError> {
        self.directory.remove_stream(name)?;
        let stream = name.to_owned();
        self.journal()?.commit(vec![Change::StreamRemoved { stream }]).await?;
        self.removing().remove(name);
        Ok(())
    }

    async fn create_stream(&self, config: &StreamConfig) -> Result<Arc<Handle>, LogError> {
        let journal = self.journal()?;
        let was_cut_off = self.removing().contains(&config.name);
        if was_cut_off {
            self.finish_removal(&config.name).await?;
        }
        let salt = random_salt();
        let change = Change::Stream { config: config.clone(), salt };
        journal.commit(vec![change.clone()]).await?;
        let mut image = Image::default();
        image.apply(change);
        let mut loaded = load_all(&self.directory, &image)?;
        let (name, loaded) = loaded.pop().ok_or(LogError::Closed)?;
        let handle = Arc::new(Handle::start(loaded.stream, &self.directory, Some(journal))?);
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        streams.insert(name, Arc::clone(&handle));
        Ok(handle)
    }
}

/// Removes the files of streams whose removal was cut off.
fn finish_removals(
    directory: &Directory,
    image: &mut Image,
    journal: Option<&Journal>,
) -> Result<(), LogError> {
    let is_removing = |(_, stream): &(&String, &StreamImage)| stream.is_removing;
    let names = image.streams.iter().filter(is_removing).map(|(name, _)| name.clone());
    for stream in names.collect::<Vec<_>>() {
        image.streams.remove(&stream);
        if let Some(journal) = journal {
            directory.remove_stream(&stream)?;
            journal.note(Change::StreamRemoved { stream })?;
        }
    }
    Ok(())
}

/// Opens the files of all streams of an image, side by side.
fn load_all(directory: &Directory, image: &Image) -> Result<Vec<(String, load::Loaded)>, LogError> {
    let open = |name: &str, stream: &StreamImage| {
        let path = directory.stream(name)?;
        let seen = image.consumers.iter().filter(|((stream, _), _)| stream == name);
        let known_last = seen.map(|(_, consumer)| consumer.next - 1).max().unwrap_or(0);
        load::load(path, stream, known_last, directory.lock().is_some())
    };
    std::thread::scope(|scope| {
        let start = |(name, stream)| {
            let open = &open;
            let job: (&String, _) = (name, scope.spawn(move || open(name, stream)));
            job
        };
        let threads: Vec<_> = image.streams.iter().map(start).collect();
        let finish = |(name, thread): (&String, std::thread::ScopedJoinHandle<'_, _>)| {
            let loaded: Result<load::Loaded, LogError> =
                thread.join().unwrap_or(Err(LogError::Bug));
            Ok((name.clone(), loaded?))
        };
        threads.into_iter().map(finish).collect()
    })
}

/// A random number for a stream's frames. The standard library keys its hash maps with numbers
/// from the operating system; that is random enough for what a salt is for.
fn random_salt() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(Time::now()).to_le_bytes();
    u32::from_le_bytes([a, b, c, d]).max(1)
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn ensure_stream(&self, config: &StreamConfig) -> Result<StreamInfo, LogError> {
        check_stream(config)?;
        let _admin = self.admin.lock().await;
        self.check_overlap(config)?;
        let handle = match self.handle(&config.name) {
            Ok(handle) => handle,
            Err(_) => self.create_stream(config).await?,
        };
        let is_same = handle.stream.state().config == *config;
        if !is_same {
            let change = Change::Stream { config: config.clone(), salt: handle.stream.salt };
            self.journal()?.commit(vec![change]).await?;
            let (done, answer) = oneshot::channel();
            handle.send(Job::Configure { config: config.clone(), done })?;
            answer.await.map_err(|_| LogError::Closed)?;
        }
        Ok(handle.stream.info())
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>, LogError> {
        self.check_open()?;
        Ok(self.handles().iter().map(|handle| handle.stream.info()).collect())
    }

    async fn stream(&self, name: &str) -> Result<StreamInfo, LogError> {
        Ok(self.handle(name)?.stream.info())
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<PubAck, LogError>> {
        let mut answers = vec![Err(LogError::Closed); records.len()];
        if self.check_open().is_err() {
            return answers;
        }
        let mut waiting = Vec::new();
        for (handle, positions, records) in self.sort(records, &mut answers) {
            let queued = handle.append(records).await;
            waiting.push((positions, queued));
        }
        for (positions, queued) in waiting {
            let results = match queued {
                Ok(results) => results.await.map_err(|_| LogError::Closed),
                Err(error) => Err(error),
            };
            match results {
                Ok(results) => {
                    for (position, result) in positions.into_iter().zip(results) {
                        answers[position] = result;
                    }
                }
                Err(error) => positions.into_iter().for_each(|at| answers[at] = Err(error.clone())),
            }
        }
        answers
    }

    async fn consumer(
        &self,
        stream: &str,
        config: &ConsumerConfig,
    ) -> Result<Arc<dyn Consumer>, LogError> {
        check_name("consumer", &config.name)?;
        let handle = self.handle(stream)?;
        let journal = self.journal()?;
        let _admin = self.admin.lock().await;
        let key = (stream.to_owned(), config.name.clone());
        let open = {
            let consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
            consumers.get(&key).map(Arc::clone)
        };
        let next = handle.stream.resolve(config.start)?;
        let known = match &open {
            Some(open) => Some(open.snapshot().config.start),
            None => self.image().consumers.get(&key).map(|image| image.config.start),
        };
        // Where one that is there has started does not change.
        let config = ConsumerConfig { start: known.unwrap_or(config.start), ..config.clone() };
        let change = Change::Consumer { stream: stream.to_owned(), config: config.clone(), next };
        if let Some(open) = open {
            if open.snapshot().config != config {
                journal.commit(vec![change]).await?;
                open.configure(config);
            }
            return Ok(open);
        }
        self.image().apply(change.clone());
        journal.commit(vec![change]).await?;
        let image: Option<ConsumerImage> = self.image().consumers.remove(&key);
        let image = image.ok_or(LogError::Closed)?;
        let stream = Arc::clone(&handle.stream);
        let consumer = Arc::new(EmbeddedConsumer::new(stream, journal.clone(), image));
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        consumers.insert(key, Arc::clone(&consumer));
        Ok(consumer)
    }

    async fn consumers(&self, stream: &str) -> Result<Vec<ConsumerInfo>, LogError> {
        let handle = self.handle(stream)?;
        let last = handle.stream.state().last;
        let mut infos: Vec<ConsumerInfo> = {
            let consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
            let of_stream = consumers.iter().filter(|((name, _), _)| name == stream);
            of_stream.map(|(_, consumer)| consumer.snapshot()).collect()
        };
        // Those that nobody has opened yet.
        let image = self.image();
        let asleep = image.consumers.iter().filter(|((name, _), _)| name == stream);
        infos.extend(asleep.map(|(_, image)| image.info(stream, last)));
        infos.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        Ok(infos)
    }

    async fn read(
        &self,
        stream: &str,
        start: Start,
        filters: &[SubjectFilter],
    ) -> Result<Box<dyn Reader>, LogError> {
        let stream = Arc::clone(&self.handle(stream)?.stream);
        let is_live = self.journal.is_some();
        Ok(Box::new(EmbeddedReader::open(stream, start, filters, is_live).await?))
    }

    async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, LogError> {
        let stream = Arc::clone(&self.handle(stream)?.stream);
        let read = tokio::task::spawn_blocking(move || stream.get(sequence)).await;
        read.unwrap_or(Err(LogError::Bug))
    }

    async fn delete(&self, stream: &str, sequence: u64) -> Result<bool, LogError> {
        let sequences = vec![sequence];
        let deleted = self.handle(stream)?.ask(|done| Job::DeleteMany { sequences, done }).await?;
        Ok(deleted > 0)
    }

    async fn purge(&self, stream: &str, purge: &Purge) -> Result<u64, LogError> {
        self.journal()?;
        let handle = self.handle(stream)?;
        let last = handle.stream.state().last;
        match (&purge.filter, purge.keep) {
            (None, keep) => {
                let first = match keep {
                    Keep::Nothing => last + 1,
                    Keep::Newest(count) => (last + 1).saturating_sub(count),
                    Keep::From(sequence) => sequence,
                };
                handle.ask(|done| Job::PurgeBefore { first, done }).await
            }
            (Some(filter), keep) => handle.purge_matching(filter, keep, last).await,
        }
    }

    async fn remove_stream(&self, name: &str) -> Result<(), LogError> {
        let journal = self.journal()?;
        let _admin = self.admin.lock().await;
        let handle = self.handle(name)?;
        self.removing().insert(name.to_owned());
        journal.commit(vec![Change::Removing { stream: name.to_owned() }]).await?;
        crashpoint::hit(crashpoint::name::STREAM_REMOVING);
        self.streams.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.consumers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(of, _), _| of != name);
        self.image().consumers.retain(|(of, _), _| of != name);
        if let Err(unknown) = self.handle(name) {
            handle.stream.remove(unknown);
        }
        handle.close().await?;
        self.finish_removal(name).await
    }

    async fn bucket(&self, name: &str) -> Result<Arc<dyn Bucket>, LogError> {
        let name = &bucket_name(name, &self.bucket_suffix)?;
        self.check_open()?;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let open = buckets.entry(name.to_owned()).or_insert_with(|| {
            let image = self.image().buckets.remove(name).unwrap_or_default();
            Arc::new(EmbeddedBucket::new(name, self.journal.clone(), image))
        });
        Ok(Arc::clone(open) as Arc<dyn Bucket>)
    }

    async fn problems(&self) -> Result<Vec<String>, LogError> {
        Ok(self.problems.clone())
    }

    async fn close(&self) -> Result<(), LogError> {
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let mut result = Ok(());
        for handle in self.handles().into_iter().filter(|handle| handle.queue.is_some()) {
            result = result.and(handle.close().await);
        }
        if let Some(journal) = &self.journal {
            result = result.and(journal.close().await);
        }
        self.directory.release();
        result
    }
}

impl ConsumerImage {
    fn info(&self, stream: &str, last: u64) -> ConsumerInfo {
        ConsumerInfo {
            config: self.config.clone(),
            stream: stream.to_owned(),
            ack_floor: self.ack_floor(),
            delivered: self.next - 1,
            unsettled: self.pending.keys().copied().collect(),
            unsettled_count: self.pending.len() as u64,
            pending: (last + 1).saturating_sub(self.next),
            missed: self.missed.clone(),
            is_push: false,
        }
    }
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path: &PathBuf = &self.directory.path().to_owned();
        f.debug_struct("EmbeddedLog").field("directory", path).finish_non_exhaustive()
    }
}
