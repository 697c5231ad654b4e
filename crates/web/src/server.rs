//! Answering requests.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;
use wingbeat_log::{LogError, Start};
use wingbeat_record::Time;

use crate::{
    analyze::{self, AnalystCell},
    assets, events,
    hub::{Event, Hub, Seen, Standing},
    metrics,
    moods::{BUCKET_SECONDS, HISTORY_SECONDS},
    readiness::{self, Readiness, Waiting},
    wanted::Wanted,
};

/// A browser that is more posts behind than this loses the oldest of them.
const BEHIND_MAX: usize = 500;
/// A browser that resumes gets at most this many posts from the log; a longer gap is told.
const RESUME_MAX: u64 = 2000;
/// And at most about this many bytes.
const RESUME_BYTES_MAX: usize = 8 * 1024 * 1024;
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// What comes at once is sent at once, up to about this many bytes.
const SEND_BYTES_MAX: usize = 256 * 1024;

/// Settings of the dashboard's server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebSettings {
    /// The address to listen on. Anybody who can reach it can read every post.
    #[schemars(with = "String")]
    pub host: IpAddr,
    /// The port to listen on; 0 picks a free one.
    #[schemars(extend("x-env" = ["PORT"]))]
    pub port: u16,
    /// At most this many browsers watch at the same time.
    pub clients_max: usize,
}

impl Default for WebSettings {
    fn default() -> Self {
        Self { host: IpAddr::from([127, 0, 0, 1]), port: 3000, clients_max: 256 }
    }
}

/// Why the server can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address can't be had.
    #[error(
        "can't listen on {address}: {error}; choose another with --host and --port (0 picks a free port)"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        error: std::io::Error,
    },
    /// The server failed while running.
    #[error("the web server failed: {0}")]
    Serve(std::io::Error),
}

/// A server that has its address.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    settings: WebSettings,
    analyst: Option<AnalystCell>,
}

#[derive(Clone)]
struct App {
    hub: Arc<OnceLock<Arc<Hub>>>,
    settings: Arc<WebSettings>,
    clients: Arc<AtomicUsize>,
    started_at: Time,
    log_url: Arc<str>,
    readiness: Arc<Readiness>,
    stop: CancellationToken,
}

impl Server {
    /// Takes the address.
    pub async fn bind(settings: &WebSettings) -> Result<Self, WebError> {
        let address = SocketAddr::new(settings.host, settings.port);
        let failed = |error| WebError::Listen { address, error };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, settings: settings.clone(), analyst: None })
    }

    /// Answers `POST /api/analyze` through whoever will be in there.
    #[must_use]
    pub fn with_analyst(self, analyst: AnalystCell) -> Self {
        Self { analyst: Some(analyst), ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled. While there is no hub yet, requests for what it knows are
    /// answered with 503. `log_url` is shown as it is; `readiness` answers `/ready`.
    pub async fn serve(
        self,
        hub: Arc<OnceLock<Arc<Hub>>>,
        log_url: String,
        readiness: Arc<Readiness>,
        stop: CancellationToken,
    ) -> Result<(), WebError> {
        let app = App {
            hub,
            settings: Arc::new(self.settings),
            clients: Arc::default(),
            started_at: Time::now(),
            log_url: Arc::from(log_url),
            readiness,
            stop: stop.clone(),
        };
        let router = Router::new()
            .route("/api/stream", get(stream_events))
            .route("/api/history", get(history))
            .route("/api/status", get(status))
            .route("/health", get(|| async { Json(json!({"status": "ok"})) }))
            .route("/ready", get(ready))
            .route("/metrics", get(write_metrics))
            .fallback(page)
            .with_state(app)
            .merge(analyze::router(self.analyst));
        let serving = axum::serve(self.listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        serving.await.map_err(WebError::Serve)
    }
}

async fn page(request: Request) -> Response<Body> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
    }
    assets::file(request.uri().path()).unwrap_or_else(assets::not_found)
}

fn refuse(status: StatusCode, error: &str) -> Response<Body> {
    (status, Json(json!({ "error": error }))).into_response()
}

impl App {
    /// The hub, or what is answered where there is none yet.
    fn hub(&self) -> Result<&Arc<Hub>, Box<Response<Body>>> {
        self.hub.get().ok_or_else(|| {
            let waits_for = self.readiness.waits_for();
            let error = match &waits_for {
                Some(Waiting { what, address, .. }) => format!("waiting for the {what} {address}"),
                None => "starting".to_owned(),
            };
            let body = Json(json!({ "error": error, "waits_for": waits_for }));
            let retry = [(header::RETRY_AFTER, "2")];
            Box::new((StatusCode::SERVICE_UNAVAILABLE, retry, body).into_response())
        })
    }
}

async fn ready(State(app): State<App>) -> Response<Body> {
    let waits_for = app.readiness.waits_for();
    let is_ready = waits_for.is_none() && app.hub.get().is_some();
    readiness::answer(None, is_ready, waits_for.as_ref())
}

async fn write_metrics(State(app): State<App>) -> Response<Body> {
    let mut text = String::new();
    if let Some(hub) = app.hub.get() {
        metrics::write_own(&mut text, &hub.sources.own);
        metrics::write_flows(&mut text, &hub.sources.books);
    }
    let clients = app.clients.load(Ordering::Relaxed);
    metrics::write_dashboard(&mut text, app.readiness.has_log(), clients);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn history(
    State(app): State<App>,
    Query(query): Query<HashMap<String, String>>,
) -> Response<Body> {
    let hub = match app.hub() {
        Ok(hub) => hub,
        Err(answer) => return *answer,
    };
    let minutes = match query.get("minutes").map(|text| text.parse::<i64>()) {
        None => 15,
        Some(Ok(minutes)) if (1..=HISTORY_SECONDS / 60).contains(&minutes) => minutes,
        Some(_) => return refuse(StatusCode::BAD_REQUEST, "`minutes` is a number from 1 to 60"),
    };
    let since = Time::now().as_micros() / 1_000_000 - minutes * 60;
    let buckets = hub.history(since);
    Json(json!({"bucket_s": BUCKET_SECONDS, "buckets": buckets})).into_response()
}

async fn status(State(app): State<App>) -> Response<Body> {
    let hub = match app.hub() {
        Ok(hub) => hub,
        Err(answer) => return *answer,
    };
    let streams = match hub.log.streams().await {
        Ok(streams) => streams,
        Err(error) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    };
    let streams: Vec<_> = streams
        .iter()
        .map(|info| {
            json!({
                "name": info.config.name, "records": info.records, "bytes": info.bytes,
                "first": info.first, "last": info.last, "lost": info.lost,
            })
        })
        .collect();
    let source = hub.sources.source.borrow().clone();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": app.started_at,
        "log": &*app.log_url,
        "streams": streams,
        "clients": app.clients.load(Ordering::Relaxed),
        "source": source,
        "books": events::books_view(&hub.sources.books),
    }))
    .into_response()
}

/// A browser's place among those that may watch.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(app: &App) -> Option<Self> {
        let max = app.settings.clients_max;
        let take = |taken: usize| (taken < max).then_some(taken + 1);
        app.clients.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        Some(Self(Arc::clone(&app.clients)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn stream_events(
    State(app): State<App>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response<Body> {
    let wanted = match Wanted::read(&query) {
        Ok(wanted) => wanted,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error),
    };
    let hub = match app.hub() {
        Ok(hub) => Arc::clone(hub),
        Err(answer) => return *answer,
    };
    let Some(seat) = Seat::take(&app) else {
        let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, "too many browsers watch");
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        return response;
    };
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let seen = seen.or(query.get("last_event_id").map(String::as_str));
    let seen = seen.and_then(|id| id.trim().parse::<u64>().ok());
    let watcher = match Watcher::start(hub, app.stop.clone(), wanted, seen, seat).await {
        Ok(watcher) => watcher,
        Err(error) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    };
    let body = stream::unfold(watcher, |mut watcher| async move {
        let bytes = watcher.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), watcher))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Body::from_stream(body)).into_response()
}

/// One browser that watches. It pulls: while its connection is full nothing is asked of it, and
/// nothing is kept for it but its place.
struct Watcher {
    hub: Arc<Hub>,
    stop: CancellationToken,
    wanted: Wanted,
    standing: Standing,
    /// What is to be sent before anything new.
    first: Vec<Bytes>,
    newest: tokio::sync::watch::Receiver<u64>,
    stats: tokio::sync::watch::Receiver<Bytes>,
    dropped: u64,
    heartbeat: Instant,
    _seat: Seat,
}

impl Watcher {
    async fn start(
        hub: Arc<Hub>,
        stop: CancellationToken,
        wanted: Wanted,
        seen: Option<u64>,
        seat: Seat,
    ) -> Result<Self, LogError> {
        let mut newest = hub.newest.subscribe();
        newest.mark_changed();
        let mut stats = hub.stats.subscribe();
        stats.mark_changed();
        let mut first = vec![events::BEGINNING];
        let standing = match seen {
            Some(seen) => match hub.resume(seen) {
                Some(standing) => standing,
                None => catch_up(&hub, &wanted, seen, &mut first).await?,
            },
            None => {
                let matches = |event: &Event| wanted.matches_event(event);
                let (standing, backfill) = hub.join(wanted.backfill, matches);
                first.extend(backfill.iter().filter_map(|event| event.frame()));
                standing
            }
        };
        let heartbeat = Instant::now() + HEARTBEAT_EVERY;
        Ok(Self {
            hub,
            stop,
            wanted,
            standing,
            first,
            newest,
            stats,
            dropped: 0,
            heartbeat,
            _seat: seat,
        })
    }

    /// The next bytes to send; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.first.is_empty() {
            return Some(self.take_first());
        }
        loop {
            let frames = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                changed = self.stats.changed() => {
                    changed.ok()?;
                    let stats = self.stats.borrow_and_update().clone();
                    if stats.is_empty() { Vec::new() } else { vec![stats] }
                }
                changed = self.newest.changed() => {
                    changed.ok()?;
                    self.newest.mark_unchanged();
                    self.news()
                }
                () = tokio::time::sleep_until(self.heartbeat) => {
                    self.heartbeat = Instant::now() + HEARTBEAT_EVERY;
                    vec![events::HEARTBEAT]
                }
            };
            if !frames.is_empty() {
                self.first = frames;
                return Some(self.take_first());
            }
        }
    }

    fn news(&mut self) -> Vec<Bytes> {
        let news = self.hub.news(&mut self.standing, BEHIND_MAX);
        let mut frames = Vec::new();
        if news.dropped > 0 {
            self.dropped += news.dropped;
            frames.push(events::dropped(news.dropped, self.dropped));
        }
        let matching = news.events.iter().filter(|event| self.wanted.matches_event(event));
        frames.extend(matching.filter_map(|event| event.frame()));
        frames.extend(news.deletions);
        frames
    }

    /// Joins what is to be sent into one piece of bounded size.
    fn take_first(&mut self) -> Bytes {
        let mut piece = Vec::new();
        let mut taken = 0;
        for frame in &self.first {
            if taken > 0 && piece.len() + frame.len() > SEND_BYTES_MAX {
                break;
            }
            piece.extend_from_slice(frame);
            taken += 1;
        }
        self.first.drain(..taken);
        piece.into()
    }
}

/// Reads from the log what a browser has missed, up to what the hub has in memory.
async fn catch_up(
    hub: &Hub,
    wanted: &Wanted,
    seen: u64,
    frames: &mut Vec<Bytes>,
) -> Result<Standing, LogError> {
    let (stream, filter) = &hub.streams.posts;
    let info = hub.log.stream(stream).await?;
    let end = hub.oldest();
    let mut from = seen + 1;
    if from < info.first {
        frames.push(events::gap(from, info.first - 1, "expired"));
        from = info.first;
    }
    if end.saturating_sub(from) > RESUME_MAX {
        frames.push(events::gap(from, end - RESUME_MAX - 1, "too_long"));
        from = end - RESUME_MAX;
    }
    let mut reader =
        hub.log.read(stream, Start::Sequence(from), std::slice::from_ref(filter)).await?;
    let mut bytes = 0;
    'reading: loop {
        let records = reader.next(500, Duration::ZERO).await?;
        if records.is_empty() {
            break;
        }
        for stored in records.iter().filter(|stored| stored.sequence < end) {
            let post = Seen::read(&stored.record.payload);
            if wanted.matches(&post.mood, &post.topics) {
                bytes += stored.record.payload.len();
                frames.push(events::post(stored.sequence, &stored.record.payload));
            }
            if bytes > RESUME_BYTES_MAX {
                frames.push(events::gap(stored.sequence + 1, end - 1, "too_long"));
                break 'reading;
            }
        }
        if records.last().is_some_and(|stored| stored.sequence >= end) {
            break;
        }
    }
    // What the hub has came after `end`.
    Ok(hub.resume(end - 1).unwrap_or_else(|| hub.join(0, |_| false).0))
}
