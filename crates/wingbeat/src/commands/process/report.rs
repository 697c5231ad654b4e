//! What `wingbeat process` says about itself, in the shapes of the services that it replaces.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use serde_json::{Value, json};
use wingbeat_flow::{Books, Counts, Meter};
use wingbeat_record::Time;
use wingbeat_stage::ModelChoice;
use wingbeat_web::{ServiceReport, Waiting, books_metrics, flow_metrics};

use super::{meter::Counters, peers::Place};
use crate::{
    commands::{
        legacy_metrics::{Kind, Metric, write, write_split},
        serving::LogWatch,
    },
    config::Config,
    summary,
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
    /// Which models say sentiment and topics.
    models: [String; 2],
    counters: Arc<Counters>,
    pub(super) log: LogWatch,
    /// What this process settles.
    books: OnceLock<Books>,
    /// What all processes have settled, as far as that is known.
    flow_books: Mutex<Option<Books>>,
    pub(super) is_running: AtomicBool,
    started: Instant,
    /// What is waiting; `None` where it is not known.
    backlog: Mutex<Option<Backlog>>,
    /// How often the log was lost.
    losses: AtomicU64,
    before: Mutex<Totals>,
}

/// What is waiting in the consumer, for all who share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backlog {
    /// Not delivered yet.
    pub(super) pending: u64,
    /// Delivered to one of them, and not settled.
    pub(super) unsettled: u64,
    /// This process' place among them.
    pub(super) place: Place,
}

impl Backlog {
    fn total(&self) -> u64 {
        self.pending + self.unsettled
    }

    fn share(&self) -> u64 {
        self.place.share(self.total())
    }
}

/// What a model is called in the details.
fn model_name(choice: &ModelChoice) -> String {
    match choice {
        ModelChoice::Linear | ModelChoice::Encoder => "built-in".to_owned(),
        ModelChoice::Hub(_) | ModelChoice::Folder(_) => choice.to_string(),
    }
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
            models: [&config.stages.models.sentiment, &config.stages.models.topics].map(model_name),
            counters: Arc::default(),
            log: LogWatch::new(&config.log),
            books: OnceLock::new(),
            flow_books: Mutex::default(),
            is_running: AtomicBool::new(false),
            started: Instant::now(),
            backlog: Mutex::default(),
            losses: AtomicU64::new(0),
            before: Mutex::default(),
        }
    }

    pub(super) fn meter(&self) -> Arc<dyn Meter> {
        Arc::clone(&self.counters) as _
    }

    /// The flow is open.
    pub(super) fn begin(&self, books: Books) {
        if self.books.set(books).is_ok() {
            self.is_running.store(true, Ordering::Relaxed);
        }
    }

    /// The books of all processes; `None` where they are not known any more.
    pub(super) fn note_flow_books(&self, books: Option<Books>) {
        *self.flow_books.lock().unwrap_or_else(PoisonError::into_inner) = books;
    }

    fn flow_books(&self) -> Option<Books> {
        self.flow_books.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is waiting; what is not known any more must not look as if it were.
    pub(super) fn note_backlog(&self, now: Option<Backlog>) {
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        if backlog.is_some() && now.is_none() {
            self.losses.fetch_add(1, Ordering::Relaxed);
        }
        *backlog = now;
    }

    fn backlog(&self) -> Option<Backlog> {
        *self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this process has counted since its start.
    fn counts(&self) -> Counts {
        self.books.get().map(Books::own).unwrap_or_default()
    }

    fn totals(&self) -> Totals {
        Totals {
            processed: self.counters.processed.load(Ordering::Relaxed),
            published: self.counts().emitted,
            pending: self.backlog().map_or(0, |backlog| backlog.pending),
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
            ("nats_connection", self.losses.load(Ordering::Relaxed)),
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
        self.is_running.load(Ordering::Relaxed) && self.waits_for().is_none()
    }

    fn waits_for(&self) -> Option<Waiting> {
        self.log.readiness.waits_for()
    }

    fn details(&self) -> Value {
        let counts = self.counts();
        let backlog = self.backlog();
        let is_connected = self.log.readiness.has_log();
        let is_loading = self.waits_for().is_some_and(|waiting| waiting.what == "models");
        let is_ready = self.is_ready();
        let word = |is_good: bool| if is_good { "healthy" } else { "unhealthy" };
        json!({
            "service": self.name,
            "status": word(is_ready),
            "timestamp": Time::now().as_seconds_f64(),
            "components": {
                "nats": {
                    "status": word(is_connected),
                    "connected": is_connected,
                    "waits_for": self.waits_for(),
                },
                "consumer": {
                    "status": word(is_ready),
                    "pending": backlog.map(|backlog| backlog.pending),
                    "unsettled": backlog.map(|backlog| backlog.unsettled),
                    "share": backlog.map(|backlog| backlog.share()),
                    "processes": backlog.map(|backlog| backlog.place.of),
                },
                "models": {
                    "status": if is_loading { "loading" } else { "healthy" },
                    "sentiment": self.models[0],
                    "topics": self.models[1],
                },
            },
            "service_stats": {
                "posts_processed": self.counters.processed.load(Ordering::Relaxed),
                "posts_published": counts.emitted,
                "uptime_seconds": self.started.elapsed().as_secs_f64(),
            },
            "books": summary::balanced_json(&counts),
            "flow_books": self.flow_books().map(|books| books.counts()),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus numbers are floats")]
    fn metrics(&self) -> Option<String> {
        if !self.has_metrics {
            return None;
        }
        let mut text = String::new();
        books_metrics(&mut text, self.books.get().map(std::slice::from_ref).unwrap_or_default());
        flow_metrics(&mut text, self.flow_books().as_slice());
        let name = |name: &str| format!("{}_{name}", self.prefix);
        let Totals { processed, published, .. } = self.totals();
        let is_connected = u64::from(self.log.readiness.has_log());
        let mut metric = |short: &str, help, kind, value: u64| {
            let name = format!("{}_{short}", self.prefix);
            write(&mut text, &[Metric { name: &name, help, kind, value: value as f64 }]);
        };
        metric("posts_processed_total", "Posts that could be read.", Kind::Counter, processed);
        metric("posts_published_total", "Posts whose output is durable.", Kind::Counter, published);
        metric("nats_connected", "Whether the log answers.", Kind::Gauge, is_connected);
        if let Some(backlog) = self.backlog() {
            let (share, total, processes) = (backlog.share(), backlog.total(), backlog.place.of);
            let help = "Posts that are waiting, this process' share: all shares come to the whole.";
            metric("message_queue_size", help, Kind::Gauge, share);
            let help = "Posts that are waiting in the consumer, for all processes that share it.";
            metric("consumer_backlog", help, Kind::Gauge, total);
            let help = "Processes that share the consumer.";
            metric("consumer_processes", help, Kind::Gauge, processes);
        }
        let errors = name("errors_total");
        write_split(&mut text, &errors, "What went wrong.", "error_type", self.errors());
        self.counters.write(&mut text, &self.prefix);
        Some(text)
    }
}
