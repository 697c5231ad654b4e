//! What `wingbeat ingest` says about itself, in the shapes of the service that it replaces.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::watch;
use wingbeat_flow::{Books, Counts, Ingest, IngestStatus};
use wingbeat_record::Time;
use wingbeat_source::Connection;
use wingbeat_web::{ServiceReport, Waiting, books_metrics, flow_metrics};

use crate::{
    commands::{
        legacy_metrics::{Kind, Metric, write},
        serving::LogWatch,
    },
    config::Config,
    summary,
};

/// Without an event for so long, the source counts as unhealthy.
const QUIET_MAX: Duration = Duration::from_secs(300);

/// What the service says about itself.
pub(super) struct Report {
    name: String,
    has_metrics: bool,
    filters: Value,
    pub(super) log: LogWatch,
    /// What there is to say once the log is open.
    reading: OnceLock<Reading>,
    pub(super) is_running: AtomicBool,
    started: Instant,
    started_at: Time,
    rates: Mutex<Rates>,
}

/// An ingest that reads.
struct Reading {
    books: Books,
    status: watch::Receiver<IngestStatus>,
    connection: Option<watch::Receiver<Connection>>,
}

/// Events per second over the last statistics window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    pub(super) posts: f64,
    pub(super) events: f64,
    /// What had been counted when the window began.
    posts_before: u64,
    events_before: u64,
}

impl Report {
    pub(super) fn new(config: &Config) -> Self {
        let filter = &config.stages.filter;
        Self {
            name: config.service.name.clone(),
            has_metrics: config.service.metrics,
            filters: json!({
                "text_filtering": filter.enabled,
                "language_filtering": !filter.languages.is_empty(),
                "min_text_length": filter.length_min,
                "max_text_length": filter.length_max,
            }),
            log: LogWatch::new(&config.log),
            reading: OnceLock::new(),
            is_running: AtomicBool::new(false),
            started: Instant::now(),
            started_at: Time::now(),
            rates: Mutex::default(),
        }
    }

    /// The ingest is open.
    pub(super) fn begin(&self, ingest: &Ingest) {
        let (books, status) = (ingest.books(), ingest.status());
        let reading = Reading { books, status, connection: ingest.connection() };
        if self.reading.set(reading).is_ok() {
            self.is_running.store(true, Ordering::Relaxed);
        }
    }

    fn status(&self) -> IngestStatus {
        self.reading.get().map(|reading| reading.status.borrow().clone()).unwrap_or_default()
    }

    /// What this process has done.
    pub(super) fn counts(&self) -> Counts {
        self.reading.get().map(|reading| reading.books.own()).unwrap_or_default()
    }

    /// Posts that passed the filters, and everything that was read.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.status().posts, self.counts().received)
    }

    fn rates(&self) -> Rates {
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a statistics window of so many seconds.
    #[expect(clippy::cast_precision_loss, reason = "rates are rounded")]
    pub(super) fn turn(&self, seconds: f64) -> Rates {
        let (posts, events) = self.totals();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        *rates = Rates {
            posts: per_second(posts, rates.posts_before),
            events: per_second(events, rates.events_before),
            posts_before: posts,
            events_before: events,
        };
        *rates
    }

    pub(super) fn cursor(&self) -> Option<u64> {
        let status = self.status();
        status.places.iter().max_by_key(|place| place.time_us).map(|place| place.cursor)
    }

    fn connection(&self) -> Option<Connection> {
        let connection = self.reading.get()?.connection.as_ref()?;
        Some(connection.borrow().clone())
    }

    /// The host, and whether events come from it.
    fn host(&self) -> (Value, bool) {
        let Some(connection) = self.connection() else { return (Value::Null, true) };
        match &connection {
            Connection::Connecting { host } => {
                (json!({"host": host, "state": "connecting"}), false)
            }
            Connection::Live { host } => (json!({"host": host, "state": "live"}), true),
            Connection::Waiting { host, problem } => {
                (json!({"host": host, "state": "waiting", "problem": problem}), false)
            }
            Connection::Broken { host, problem } => {
                (json!({"host": host, "state": "broken", "problem": problem}), false)
            }
        }
    }

    fn waits_for_source(&self) -> Option<Waiting> {
        let is_running = self.is_running.load(Ordering::Relaxed);
        let (address, problem) = match self.connection().filter(|_| is_running)? {
            Connection::Live { .. } => return None,
            Connection::Connecting { host } => (host, None),
            Connection::Waiting { host, problem } | Connection::Broken { host, problem } => {
                (host, Some(problem))
            }
        };
        let since = self.status().settled_at.unwrap_or(self.started_at);
        Some(Waiting { what: "source", address, since, problem })
    }

    fn is_live(&self) -> bool {
        self.is_running.load(Ordering::Relaxed) && self.host().1
    }

    fn is_quiet(&self) -> bool {
        let settled_at = self.status().settled_at;
        settled_at.map_or(self.started.elapsed(), |at| Time::now().since(at)) > QUIET_MAX
    }

    /// How many posts the log has refused.
    fn refused(&self) -> u64 {
        self.counts().dead.get("refused").copied().unwrap_or(0)
    }
}

impl ServiceReport for Report {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_ready(&self) -> bool {
        self.is_live() && self.waits_for().is_none()
    }

    fn waits_for(&self) -> Option<Waiting> {
        self.log.readiness.waits_for().or_else(|| self.waits_for_source())
    }

    /// The shape of the replaced service's `/health/detailed`, with more in it.
    fn details(&self) -> Value {
        let counts = self.counts();
        let status = self.status();
        let (host, _) = self.host();
        let is_running = self.is_running.load(Ordering::Relaxed);
        let is_connected = self.log.readiness.has_log();
        let is_healthy = self.is_live() && !self.is_quiet();
        let word = |is_good: bool| if is_good { "healthy" } else { "unhealthy" };
        let uptime = self.started.elapsed().as_secs_f64();
        let refused = self.refused();
        let rejected = counts.filtered_total();
        json!({
            "service": self.name,
            "status": word(is_healthy && is_connected),
            "timestamp": Time::now().as_seconds_f64(),
            "components": {
                "nats": {
                    "status": word(is_connected), "connected": is_connected,
                    "waits_for": self.waits_for(),
                    "stats": {
                        "connected": is_connected,
                        "publish_count": status.posts + status.events,
                        "error_count": refused,
                        "last_publish_time": status.settled_at.map(Time::as_seconds_f64),
                        "success_rate": share(counts.emitted, counts.emitted + refused),
                    },
                },
                "firehose": {
                    "status": word(is_healthy), "running": is_running,
                    "connection": host,
                    "places": status.places,
                    "gaps": status.gaps,
                    "stats": {
                        "running": is_running,
                        "uptime_seconds": uptime,
                        "messages_processed": counts.received,
                        "commits_processed": status.counters.iter()
                            .find(|(name, _)| *name == "commits").map(|(_, count)| count),
                        "posts_extracted": status.posts + rejected,
                        "errors_count": counts.dead_total(),
                        "current_cursor": self.cursor(),
                        "messages_per_second": self.rates().posts,
                    },
                },
                "filters": {
                    "status": "healthy",
                    "stats": {"post_filter": {
                        "total_processed": status.posts + rejected,
                        "accepted": status.posts,
                        "rejected": rejected,
                        "acceptance_rate": share(status.posts, status.posts + rejected),
                        "rejection_reasons": counts.filtered,
                        "filters_enabled": self.filters,
                    }},
                },
            },
            "service_stats": {
                "operations_processed": status.posts,
                "posts_published": status.posts,
                "publish_errors": refused,
                "uptime_seconds": uptime,
            },
            "counters": status.counters.iter().copied()
                .collect::<std::collections::BTreeMap<_, _>>(),
            "books": summary::balanced_json(&counts),
        })
    }

    fn metrics(&self) -> Option<String> {
        if !self.has_metrics {
            return None;
        }
        let mut text = String::new();
        if let Some(Reading { books, .. }) = self.reading.get() {
            books_metrics(&mut text, std::slice::from_ref(books));
            flow_metrics(&mut text, std::slice::from_ref(books));
        }
        write(&mut text, &self.counters());
        write(&mut text, &self.gauges());
        for (name, count) in &self.status().counters {
            let name = format!("nats_firehose_source_{name}_total");
            let help = "What the source counts.";
            write(
                &mut text,
                &[Metric { name: &name, help, kind: Kind::Counter, value: float(*count) }],
            );
        }
        Some(text)
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus numbers are floats")]
fn float(number: u64) -> f64 {
    number as f64
}

impl Report {
    fn counters(&self) -> [Metric<'static>; 5] {
        let status = self.status();
        let refused = self.refused();
        let counter =
            |name, help, count| Metric { name, help, kind: Kind::Counter, value: float(count) };
        [
            counter(
                "nats_firehose_operations_total",
                "Posts that passed the filters.",
                status.posts + refused,
            ),
            counter(
                "nats_firehose_posts_published_total",
                "Posts that the log has acknowledged.",
                status.posts,
            ),
            counter(
                "nats_firehose_publish_errors_total",
                "Posts that the log has refused.",
                refused,
            ),
            counter(
                "nats_firehose_events_published_total",
                "Deletions, updates and other events that the log has acknowledged.",
                status.events,
            ),
            counter("nats_firehose_gaps_total", "Gaps reported.", status.gaps),
        ]
    }

    fn gauges(&self) -> [Metric<'static>; 7] {
        let rates = self.rates();
        let gauge = |name, help, value| Metric { name, help, kind: Kind::Gauge, value };
        [
            gauge(
                "firehose_messages_per_second",
                "Posts per second that passed the filters.",
                rates.posts,
            ),
            gauge("firehose_events_per_second", "Events per second.", rates.events),
            gauge(
                "nats_connected",
                "Whether the log answers.",
                f64::from(u8::from(self.log.readiness.has_log())),
            ),
            gauge(
                "firehose_connected",
                "Whether events come in.",
                f64::from(u8::from(self.is_live())),
            ),
            gauge(
                "firehose_cursor",
                "The cursor of the last event.",
                float(self.cursor().unwrap_or(0)),
            ),
            gauge(
                "firehose_ops_queue_size",
                "Items that are being worked on.",
                float(self.counts().in_flight),
            ),
            gauge(
                "nats_firehose_uptime_seconds",
                "How long it runs.",
                self.started.elapsed().as_secs_f64(),
            ),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}
