//! One reader of the enriched stream for all browsers.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wingbeat_flow::Books;
use wingbeat_log::{Hint, Log, LogError, Reader, Start, Stored};
use wingbeat_record::{SubjectFilter, Time};

use crate::{
    SourceStatus, events,
    moods::{Bucket, MoodCounter},
};

/// How many of the newest posts are kept for browsers that join, resume or are slow.
pub(crate) const RECENT_MAX: usize = 4096;
/// And at most about this many bytes of them.
const RECENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A larger post is counted, but not shown. A post has 3,000 bytes of text at most.
const EVENT_BYTES_MAX: usize = 64 * 1024;
/// The pause before a log that can't be reached is tried again.
const LOG_PAUSE: Duration = Duration::from_secs(1);
/// On start, the moods of this long are read back from the log.
const LOOK_BACK: Duration = Duration::from_secs(15 * 60);
/// And at most this many records.
const LOOK_BACK_RECORDS_MAX: u64 = 50_000;
const READ_MAX: usize = 500;
const READ_WAIT: Duration = Duration::from_secs(1);

/// Which streams the hub reads.
#[derive(Debug, Clone)]
pub struct Streams {
    /// The enriched posts: stream and subjects.
    pub posts: (String, SubjectFilter),
    /// What else happened: stream and the subject of deletions.
    pub deletions: (String, SubjectFilter),
}

/// What the hub shows beside the posts.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The books of the flows that this process runs.
    pub own: Vec<Books>,
    /// The books that are shown, flow by flow.
    pub books: Vec<Books>,
    /// What the source is doing.
    pub source: watch::Receiver<SourceStatus>,
}

/// A post as it is sent to browsers.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) sequence: u64,
    pub(crate) mood: String,
    pub(crate) topics: Vec<String>,
    uri: Option<String>,
    /// The whole server-sent event; `None` where it is not shown any more.
    frame: Mutex<Option<Bytes>>,
}

impl Event {
    pub(crate) fn frame(&self) -> Option<Bytes> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads the enriched stream and keeps what browsers need.
pub struct Hub {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) streams: Streams,
    pub(crate) sources: Sources,
    state: Mutex<State>,
    /// Where reading the posts goes on after the look back.
    reader: tokio::sync::Mutex<Box<dyn Reader>>,
    /// The number of the newest post or deletion; browsers wait on it.
    pub(crate) newest: watch::Sender<u64>,
    /// The event `stats` of this second.
    pub(crate) stats: watch::Sender<Bytes>,
}

#[derive(Default)]
struct State {
    moods: MoodCounter,
    recent: VecDeque<Arc<Event>>,
    recent_bytes: usize,
    /// The newest sequence that was read.
    read: u64,
    /// How many events have left `recent` at its old end.
    forgotten: u64,
    /// Deletions, for browsers that show the post.
    deletions: VecDeque<Deletion>,
    deleted: u64,
}

/// A deletion, as it is sent to browsers.
struct Deletion {
    /// Counts from 1.
    number: u64,
    /// The newest post that had been read when it came.
    after: u64,
    frame: Bytes,
}

/// A part of what happened, for one browser.
pub(crate) struct News {
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) deletions: Vec<Bytes>,
    /// Events that this browser can't have any more because it was too slow.
    pub(crate) dropped: u64,
}

/// Where a browser stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    event: u64,
    deletion: u64,
}

/// The next records; waits for a log that can't be reached.
async fn read_on(reader: &mut dyn Reader) -> Result<Vec<Stored>, LogError> {
    loop {
        match reader.next(READ_MAX, READ_WAIT).await {
            Err(error) if error.hint() == Hint::Transient => {
                tracing::warn!(%error, "the dashboard waits for the log");
                tokio::time::sleep(LOG_PAUSE).await;
            }
            result => return result,
        }
    }
}

impl Hub {
    /// A hub that has read what the stream holds of the last minutes.
    pub async fn open(
        log: Arc<dyn Log>,
        streams: Streams,
        sources: Sources,
    ) -> Result<Arc<Self>, LogError> {
        let (stream, filter) = &streams.posts;
        let info = log.stream(stream).await?;
        let start = (info.last + 1).saturating_sub(LOOK_BACK_RECORDS_MAX).max(info.first);
        let mut reader =
            log.read(stream, Start::Sequence(start), std::slice::from_ref(filter)).await?;
        let since = Time::now().minus(LOOK_BACK);
        let mut state = State { read: start.saturating_sub(1), ..State::default() };
        loop {
            let records = reader.next(READ_MAX, Duration::ZERO).await?;
            if records.is_empty() {
                break;
            }
            records.iter().for_each(|stored| state.take(stored, since));
        }
        state.read = state.read.max(info.last);
        Ok(Arc::new(Self {
            log,
            streams,
            sources,
            state: Mutex::new(state),
            reader: tokio::sync::Mutex::new(reader),
            newest: watch::Sender::new(0),
            stats: watch::Sender::new(Bytes::new()),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads on until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), LogError> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            result = self.read_posts() => result,
            result = self.read_deletions() => result,
            () = self.tell_stats() => Ok(()),
        }
    }

    async fn read_posts(&self) -> Result<(), LogError> {
        let mut reader = self.reader.lock().await;
        loop {
            let records = read_on(&mut **reader).await?;
            if records.is_empty() {
                continue;
            }
            let mut state = self.state();
            records.iter().for_each(|stored| state.take(stored, Time::from_micros(0)));
            drop(state);
            self.newest.send_modify(|number| *number += 1);
        }
    }

    async fn read_deletions(&self) -> Result<(), LogError> {
        #[derive(Deserialize)]
        struct Deleted {
            uri: String,
        }
        let (stream, filter) = &self.streams.deletions;
        let mut reader = self.log.read(stream, Start::New, std::slice::from_ref(filter)).await?;
        loop {
            for stored in read_on(&mut *reader).await? {
                let Ok(deleted) = serde_json::from_slice::<Deleted>(&stored.record.payload) else {
                    continue;
                };
                self.state().delete(&deleted.uri);
                self.newest.send_modify(|number| *number += 1);
            }
        }
    }

    async fn tell_stats(&self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            let now_ms = Time::now().as_micros() / 1000;
            let now = self.state().moods.now(now_ms / 1000);
            let source = self.sources.source.borrow().clone();
            let stats = events::stats(now_ms, &now, &source, &self.sources.books);
            self.stats.send_replace(stats);
        }
    }

    /// The history of the moods from second `since` on.
    pub(crate) fn history(&self, since: i64) -> Vec<Bucket> {
        self.state().moods.history(since)
    }

    /// The standing of a browser that joins now and wants the newest `backfill` posts that match;
    /// and those posts, oldest first.
    pub(crate) fn join(
        &self,
        backfill: usize,
        matches: impl Fn(&Event) -> bool,
    ) -> (Standing, Vec<Arc<Event>>) {
        let state = self.state();
        let shown = |event: &&Arc<Event>| matches(event) && event.frame().is_some();
        let mut events: Vec<Arc<Event>> =
            state.recent.iter().rev().filter(shown).take(backfill).map(Arc::clone).collect();
        events.reverse();
        (state.standing(), events)
    }

    /// The standing of a browser that has seen everything up to a sequence. `None` where what
    /// follows is not all in memory.
    pub(crate) fn resume(&self, sequence: u64) -> Option<Standing> {
        let state = self.state();
        let oldest = state.recent.front().map_or(state.read + 1, |event| event.sequence);
        if sequence + 1 < oldest {
            return None;
        }
        let seen = state.recent.partition_point(|event| event.sequence <= sequence);
        // What was deleted while the browser was away is still on its screen.
        let missed = state.deletions.iter().find(|deletion| deletion.after >= sequence);
        Some(Standing {
            event: state.forgotten + seen as u64,
            deletion: missed.map_or(state.deleted, |deletion| deletion.number - 1),
        })
    }

    /// The oldest sequence in memory, or the one that comes next.
    pub(crate) fn oldest(&self) -> u64 {
        let state = self.state();
        state.recent.front().map_or(state.read + 1, |event| event.sequence)
    }

    /// What has happened since a standing, which moves on. A browser that is more than
    /// `behind_max` events behind loses the oldest of them.
    pub(crate) fn news(&self, standing: &mut Standing, behind_max: usize) -> News {
        let state = self.state();
        let end = state.forgotten + state.recent.len() as u64;
        let behind = end.saturating_sub(standing.event);
        let kept = behind.min(behind_max as u64).min(state.recent.len() as u64);
        let from = state.recent.len() - usize::try_from(kept).unwrap_or(0);
        let events = state.recent.iter().skip(from).map(Arc::clone).collect();
        let is_new = |deletion: &&Deletion| deletion.number > standing.deletion;
        let deletions =
            state.deletions.iter().filter(is_new).map(|deletion| deletion.frame.clone()).collect();
        *standing = state.standing();
        News { events, deletions, dropped: behind - kept }
    }
}

impl State {
    fn standing(&self) -> Standing {
        Standing { event: self.forgotten + self.recent.len() as u64, deletion: self.deleted }
    }

    /// Counts a post and keeps it for browsers; one that was stored before `since` is passed over.
    fn take(&mut self, stored: &Stored, since: Time) {
        self.read = self.read.max(stored.sequence);
        if stored.time < since {
            return;
        }
        let seen = Seen::read(&stored.record.payload);
        let second = stored.time.as_micros().div_euclid(1_000_000);
        self.moods.count(second, &seen.mood, seen.topics.iter().map(String::as_str));
        if stored.record.payload.len() > EVENT_BYTES_MAX {
            return;
        }
        let frame = events::post(stored.sequence, &stored.record.payload);
        self.recent_bytes += frame.len();
        self.recent.push_back(Arc::new(Event {
            sequence: stored.sequence,
            mood: seen.mood,
            topics: seen.topics,
            uri: seen.uri,
            frame: Mutex::new(Some(frame)),
        }));
        while self.recent.len() > RECENT_MAX || self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.frame().map_or(0, |frame| frame.len());
            self.forgotten += 1;
        }
    }

    fn delete(&mut self, uri: &str) {
        for event in self.recent.iter().filter(|event| event.uri.as_deref() == Some(uri)) {
            let frame = event.frame.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.recent_bytes -= frame.map_or(0, |frame| frame.len());
        }
        self.deleted += 1;
        self.deletions.push_back(Deletion {
            number: self.deleted,
            after: self.read,
            frame: events::deleted(uri),
        });
        while self.deletions.len() > RECENT_MAX {
            self.deletions.pop_front();
        }
    }
}

/// What the hub looks at in an enriched post. Everything may be missing or of another type.
pub(crate) struct Seen {
    pub(crate) mood: String,
    pub(crate) topics: Vec<String>,
    uri: Option<String>,
}

impl Seen {
    pub(crate) fn read(payload: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Post<'a> {
            #[serde(borrow)]
            uri: Option<&'a RawValue>,
            #[serde(borrow)]
            sentiment: Option<&'a RawValue>,
            #[serde(borrow)]
            topics: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Sentiment {
            sentiment: String,
        }
        #[derive(Deserialize)]
        struct Topics {
            #[serde(default)]
            topics: Vec<String>,
        }
        fn part<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
            serde_json::from_str(raw?.get()).ok()
        }
        let Ok(post) = serde_json::from_slice::<Post<'_>>(payload) else {
            return Self { mood: "unscored".to_owned(), topics: Vec::new(), uri: None };
        };
        let mood = part::<Sentiment>(post.sentiment).map(|s| s.sentiment);
        let known = mood.filter(|mood| crate::moods::MOODS.contains(&mood.as_str()));
        let mut topics = part::<Topics>(post.topics).map_or_else(Vec::new, |t| t.topics);
        topics.truncate(32);
        Self { mood: known.unwrap_or_else(|| "unscored".to_owned()), topics, uri: part(post.uri) }
    }
}
