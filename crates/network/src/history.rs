//! What has happened: a bounded window of events, which cursors point into.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{event::Event, oracle};

/// The most events of which the truth is kept.
const ORACLE_EVENTS_MAX: usize = 1_000_000;

/// An event at its place in the stream.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) event: Arc<Event>,
    /// Its place, counted from 0.
    pub(crate) n: u64,
    /// How many views of Jetstream were before its first.
    pub(crate) first_view: u64,
    /// What is added to its times, in microseconds, where events repeat.
    pub(crate) shift_us: u64,
}

/// The window.
#[derive(Debug)]
pub(crate) struct History {
    window: Mutex<Window>,
    capacity: usize,
    end: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Window {
    entries: VecDeque<Entry>,
    /// The number of the next event.
    end: u64,
    /// How many views of Jetstream there were.
    views: u64,
    truth: VecDeque<Arc<oracle::Event>>,
}

/// What can be read from a place on.
#[derive(Debug)]
pub(crate) enum Read {
    /// These events; none where it has not happened yet.
    Entries(Vec<Entry>),
    /// The place is before the window.
    Gone,
}

/// The places in the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The first event that is still there.
    pub(crate) first: u64,
    /// The number of the next event.
    pub(crate) end: u64,
    /// How many views of Jetstream were before the first event.
    pub(crate) first_view: u64,
    /// And before the next.
    pub(crate) end_view: u64,
    /// When the first one happened.
    pub(crate) first_time_us: u64,
}

impl History {
    pub(crate) fn new(capacity: usize) -> Self {
        let (end, _) = watch::channel(0);
        Self { window: Mutex::default(), capacity, end }
    }

    /// Follows the number of the next event.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Adds events. The truth about those that are repeated is known already.
    pub(crate) fn push(&self, events: impl IntoIterator<Item = (Arc<Event>, u64)>) {
        let mut window = self.window();
        for (event, shift_us) in events {
            let (n, first_view) = (window.end, window.views);
            window.views += event.views.len() as u64;
            window.end += 1;
            if event.truth.n == n {
                window.truth.push_back(Arc::clone(&event.truth));
            }
            window.entries.push_back(Entry { event, n, first_view, shift_us });
        }
        while window.entries.len() > self.capacity {
            window.entries.pop_front();
        }
        while window.truth.len() > ORACLE_EVENTS_MAX {
            window.truth.pop_front();
        }
        let end = window.end;
        drop(window);
        self.end.send_replace(end);
    }

    /// Up to `max` events from a place on.
    pub(crate) fn read(&self, from: u64, max: usize) -> Read {
        let window = self.window();
        let first = window.end - window.entries.len() as u64;
        let Some(offset) = from.checked_sub(first) else { return Read::Gone };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let offset = offset.min(window.entries.len());
        Read::Entries(window.entries.range(offset..).take(max).cloned().collect())
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let window = self.window();
        let (end, end_view) = (window.end, window.views);
        match window.entries.front() {
            Some(front) => Bounds {
                first: front.n,
                end,
                first_view: front.first_view,
                end_view,
                first_time_us: front.event.time_us + front.shift_us,
            },
            None => Bounds { first: end, end, first_view: end_view, end_view, first_time_us: 0 },
        }
    }

    /// The event that holds this view of Jetstream, or the next event.
    pub(crate) fn event_of_view(&self, view: u64) -> u64 {
        let window = self.window();
        let is_before = |entry: &Entry| entry.first_view + entry.event.views.len() as u64 <= view;
        let first = window.end - window.entries.len() as u64;
        first + window.entries.partition_point(is_before) as u64
    }

    /// The first event with an operation at or after this time, in microseconds since 1970.
    pub(crate) fn event_at(&self, time_us: u64) -> u64 {
        let window = self.window();
        let is_before = |entry: &Entry| {
            let last = entry.event.views.last().map_or(entry.event.time_us, |view| view.time_us);
            last + entry.shift_us < time_us
        };
        let first = window.end - window.entries.len() as u64;
        first + window.entries.partition_point(is_before) as u64
    }

    /// The truth about up to `max` events from `from` on; `None` where it is not kept any more.
    pub(crate) fn truth(&self, from: u64, max: usize) -> Option<Vec<Arc<oracle::Event>>> {
        let window = self.window();
        let first = window.truth.front().map_or(0, |event| event.n);
        let offset = usize::try_from(from.checked_sub(first)?).unwrap_or(usize::MAX);
        let offset = offset.min(window.truth.len());
        Some(window.truth.range(offset..).take(max).cloned().collect())
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
