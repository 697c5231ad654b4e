//! What `wingbeat process` says about itself, in the shapes of the services that it replaces.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use serde_json::{Value, json};
use wingbeat_flow::{Books, Counts, Meter};
use wingbeat_log::LogError;
use wingbeat_record::Time;
use wingbeat_web::{ServiceReport, books_metrics};

use super::meter::Counters;
use crate::{
    commands::legacy_metrics::{Kind, Metric, write, write_split},
    config::Config,
};

/// How many topics the statistics name.
const TOPICS_SHOWN: usize = 5;

/// The kinds of dead letters that the replaced services call `json_parse`.
const UNREAD: [&str; 8] = [
    "empty",
    "not_json",
    "not_utf8",
    "not_an_object",
    "too_deep",
    "too_many_keys",
    "lone_surrogate",
    "duplicate_key",
];

/// What the service says about itself.
pub(super) struct Report {
    name: String,
    prefix: String,
    has_metrics: bool,
    counters: Arc<Counters>,
    /// The books and what was in them at the start.
    books: OnceLock<(Books, Counts)>,
    pub(super) is_running: AtomicBool,
    started: Instant,
    backlog: Mutex<Backlog>,
    before: Mutex<Totals>,
}

/// What is waiting, as it was last seen.
#[derive(Debug, Clone, Default)]
struct Backlog {
    pending: u64,
    /// Why it could not be asked.
    problem: Option<String>,
}

/// What had been counted when a window of the statistics began.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    processed: u64,
    published: u64,
    pending: u64,
}

/// A window of the statistics.
pub(super) struct Window {
    pub(super) processed: f64,
    pub(super) published: f64,
    /// In percent.
    pub(super) publish_rate: f64,
    pub(super) pending: u64,
    pub(super) backlog_change: i64,
    pub(super) processed_total: u64,
    pub(super) published_total: u64,
    pub(super) sentiments: String,
    pub(super) topics: String,
}

impl Report {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            name: config.service.name.clone(),
            prefix: config.processor.metrics_prefix.clone(),
            has_metrics: config.service.metrics,
            counters: Arc::default(),
            books: OnceLock::new(),
            is_running: AtomicBool::new(false),
            started: Instant::now(),
            backlog: Mutex::default(),
            before: Mutex::default(),
        }
    }

    pub(super) fn meter(&self) -> Arc<dyn Meter> {
        Arc::clone(&self.counters) as _
    }

    /// The flow is open.
    pub(super) fn begin(&self, books: Books) {
        let counts = books.counts();
        if self.books.set((books, counts)).is_ok() {
            self.is_running.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn note_backlog(&self, pending: Result<u64, LogError>) {
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        match pending {
            Ok(pending) => *backlog = Backlog { pending, problem: None },
            // What is not known any more must not look as if it were.
            Err(error) => *backlog = Backlog { pending: 0, problem: Some(error.to_string()) },
        }
    }

    fn backlog(&self) -> Backlog {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What this process has counted since its start.
    fn counts(&self) -> Counts {
        let Some((books, before)) = self.books.get() else { return Counts::default() };
        let mut counts = books.counts();
        counts.received -= before.received;
        counts.emitted -= before.emitted;
        for (now, before) in
            [(&mut counts.filtered, &before.filtered), (&mut counts.dead, &before.dead)]
        {
            for (reason, count) in before {
                now.entry(reason.clone()).and_modify(|now| *now -= count);
            }
        }
        counts
    }

    fn totals(&self) -> Totals {
        Totals {
            processed: self.counters.processed.load(Ordering::Relaxed),
            published: self.counts().emitted,
            pending: self.backlog().pending,
        }
    }

    /// Ends a statistics window of so many seconds.
    #[expect(clippy::cast_precision_loss, reason = "rates are rounded")]
    pub(super) fn turn(&self, seconds: f64) -> Window {
        let now = self.totals();
        let mut last = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *last, now);
        let rounded = |number: f64| (number * 100.0).round() / 100.0;
        let processed = (now.processed - before.processed) as f64;
        let published = now.published.saturating_sub(before.published) as f64;
        let share = if processed > 0.0 { published / processed * 100.0 } else { 0.0 };
        let shown = |parts: &mut dyn Iterator<Item = (&str, u64)>| {
            let parts: Vec<String> =
                parts.map(|(word, count)| format!("{word}: {count}")).collect();
            parts.join(", ")
        };
        let topics = self.counters.topics();
        let mut topics = topics.into_iter().filter(|(_, count)| *count > 0).take(TOPICS_SHOWN);
        Window {
            processed: rounded(processed / seconds),
            published: rounded(published / seconds),
            publish_rate: rounded(share),
            pending: now.pending,
            backlog_change: now.pending.cast_signed() - before.pending.cast_signed(),
            processed_total: now.processed,
            published_total: now.published,
            sentiments: shown(&mut self.counters.sentiments()),
            topics: shown(&mut topics),
        }
    }

    /// What went wrong, in the words of the replaced services.
    fn errors(&self) -> [(&'static str, u64); 8] {
        let dead = self.counts().dead;
        let sum = |kinds: &[&str]| kinds.iter().filter_map(|kind| dead.get(*kind)).sum::<u64>();
        let unread = sum(&UNREAD);
        let panics = sum(&["panic"]);
        let unpublished = sum(&["output_refused", "output_subject"]);
        let all: u64 = dead.values().sum();
        [
            ("nats_connection", u64::from(self.backlog().problem.is_some())),
            ("json_parse", unread),
            ("message_handling", all - unread - panics - unpublished),
            ("publish_timeout", 0),
            ("publish_failed", unpublished),
            ("model_init", 0),
            ("single_analysis", panics),
            ("subscription_setup", 0),
        ]
    }
}

impl ServiceReport for Report {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_ready(&self) -> bool {
        self.is_running.load(Ordering::Relaxed) && self.backlog().problem.is_none()
    }

    fn details(&self) -> Value {
        let counts = self.counts();
        let backlog = self.backlog();
        let is_ready = self.is_ready();
        let word = |is_good: bool| if is_good { "healthy" } else { "unhealthy" };
        let mut books = serde_json::to_value(&counts).unwrap_or(Value::Null);
        books["imbalance"] = counts.imbalance().into();
        json!({
            "service": self.name,
            "status": word(is_ready),
            "timestamp": Time::now().as_seconds_f64(),
            "components": {
                "nats": {
                    "status": word(backlog.problem.is_none()),
                    "connected": backlog.problem.is_none(),
                    "problem": backlog.problem,
                },
                "consumer": {"status": word(is_ready), "pending": backlog.pending},
                "models": {"status": "healthy", "sentiment": "built-in", "topics": "built-in"},
            },
            "service_stats": {
                "posts_processed": self.counters.processed.load(Ordering::Relaxed),
                "posts_published": counts.emitted,
                "uptime_seconds": self.started.elapsed().as_secs_f64(),
            },
            "books": books,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus numbers are floats")]
    fn metrics(&self) -> Option<String> {
        if !self.has_metrics {
            return None;
        }
        let mut text = match self.books.get() {
            Some((books, _)) => books_metrics(std::slice::from_ref(books)),
            None => String::new(),
        };
        let name = |name: &str| format!("{}_{name}", self.prefix);
        let Totals { processed, published, pending } = self.totals();
        let is_connected = u64::from(self.backlog().problem.is_none());
        for (name, help, kind, value) in [
            (name("posts_processed_total"), "Posts that could be read.", Kind::Counter, processed),
            (
                name("posts_published_total"),
                "Posts whose output is durable.",
                Kind::Counter,
                published,
            ),
            (name("nats_connected"), "Whether the log answers.", Kind::Gauge, is_connected),
            (name("message_queue_size"), "Posts that are waiting.", Kind::Gauge, pending),
        ] {
            write(&mut text, &[Metric { name: &name, help, kind, value: value as f64 }]);
        }
        let errors = name("errors_total");
        write_split(&mut text, &errors, "What went wrong.", "error_type", self.errors());
        self.counters.write(&mut text, &self.prefix);
        Some(text)
    }
}
