//! The connection to the servers: made, watched, and asked.
//!
//! The client connects anew by itself. What it was asked while it had no connection it would send
//! later, when whoever asked has long gone and asked again; so nothing is handed to it while the
//! connection is down.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, Message, Request, RequestErrorKind,
    ServerError, connection::State,
};
use bytes::Bytes;
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use super::{
    tls,
    url::{Login, NatsUrl, PREFIX},
};
use crate::LogError;

/// How long an answer may take. A stream with copies needs about 5 s to choose a new leader.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long opening waits for a server.
const OPEN_WAIT: Duration = Duration::from_secs(10);
/// How long one attempt to connect may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to connect.
const CONNECT_PAUSE_MAX: Duration = Duration::from_secs(2);
/// The client tells of a new connection by an event that it may drop; so it is also looked for.
const STATE_POLL: Duration = Duration::from_millis(250);
/// Messages that wait in the client for one subscriber. What comes beyond is dropped, so nothing
/// may ever be asked for beyond it.
pub(super) const SUBSCRIPTION_MESSAGES_MAX: usize = 64 * 1024;

/// The connection of one log.
pub(super) struct Connection {
    client: Client,
    /// Where JetStream's requests go.
    prefix: String,
    /// How often the connection was lost.
    losses: watch::Receiver<u64>,
    /// What the server said about permissions; it does not say it to whoever asked.
    violations: broadcast::Sender<Arc<str>>,
    is_closed: AtomicBool,
}

impl Connection {
    /// Connects. Waits [`OPEN_WAIT`] for a server, unless one refuses the login. At most
    /// `waiting_max` messages wait for one subscriber; the client drops what comes beyond.
    pub(super) async fn open(url: &NatsUrl, waiting_max: usize) -> Result<Self, LogError> {
        let deadline = Instant::now() + OPEN_WAIT;
        let mut attempts = 0;
        loop {
            let (losses_in, losses) = watch::channel(0);
            let violations = broadcast::Sender::new(64);
            let options = options(url, waiting_max, losses_in, violations.clone()).await?;
            let error = match options.connect(&url.servers[..]).await {
                Ok(client) => {
                    let prefix = url.prefix.clone();
                    let is_closed = AtomicBool::new(false);
                    return Ok(Self { client, prefix, losses, violations, is_closed });
                }
                Err(error) => error,
            };
            let what = format!("can't connect to {url}");
            let message = chain(&error);
            let kind = error.kind();
            if matches!(
                kind,
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation
            ) {
                return Err(LogError::Denied { what, message });
            }
            attempts += 1;
            let pause = pause(attempts);
            if kind == ConnectErrorKind::ServerParse || Instant::now() + pause >= deadline {
                return Err(LogError::Unavailable { what, message });
            }
            if attempts == 1 {
                tracing::warn!(servers = %url, error = message, "no connection yet, trying again");
            }
            tokio::time::sleep(pause).await;
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The subject of a request to JetStream.
    pub(super) fn api(&self, request: &str) -> String {
        format!("{}.{request}", self.prefix)
    }

    /// Where a bucket's records are published to.
    pub(super) fn bucket_subject(&self, subject: &str) -> String {
        if self.prefix == PREFIX { subject.to_owned() } else { self.api(subject) }
    }

    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        let mut losses = self.losses.clone();
        losses.mark_unchanged();
        losses
    }

    pub(super) fn violations(&self) -> Violations {
        Violations(self.violations.subscribe())
    }

    pub(super) fn check_open(&self) -> Result<(), LogError> {
        if self.is_closed.load(Ordering::Acquire) { Err(LogError::Closed) } else { Ok(()) }
    }

    /// True where it was open until now.
    pub(super) fn close(&self) -> bool {
        !self.is_closed.swap(true, Ordering::AcqRel)
    }

    /// Waits until there is a connection.
    pub(super) async fn wait_up(&self, deadline: Instant) -> Result<(), LogError> {
        loop {
            self.check_open()?;
            if self.client.connection_state() == State::Connected {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let message = "no server is connected; trying to connect again".to_owned();
                return Err(LogError::Unavailable {
                    what: "the log can't be reached".to_owned(),
                    message,
                });
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + STATE_POLL)).await;
        }
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn request(
        &self,
        what: &str,
        subject: String,
        payload: Bytes,
    ) -> Result<Message, LogError> {
        self.wait_up(Instant::now() + ANSWER_WAIT).await?;
        let unavailable = |message: &str| LogError::unavailable(what, message);
        let mut violations = self.violations();
        let mut losses = self.losses();
        let bytes = payload.len();
        let request = Request::new().payload(payload).timeout(Some(ANSWER_WAIT));
        tokio::select! {
            answer = self.client.send_request(subject.clone(), request) => {
                answer.map_err(|error| match error.kind() {
                    RequestErrorKind::TimedOut => unavailable("the server does not answer"),
                    RequestErrorKind::NoResponders => unavailable("nobody answers there; is JetStream on, and has its leader been chosen?"),
                    RequestErrorKind::MaxPayloadExceeded => LogError::TooLarge {
                        bytes, max: self.client.max_payload(), advice: PAYLOAD_ADVICE,
                    },
                    RequestErrorKind::InvalidSubject | RequestErrorKind::Other => unavailable(&chain(&error)),
                })
            }
            message = violations.of(|violated| violated == subject) => {
                Err(LogError::Denied { what: what.to_owned(), message: message.to_string() })
            }
            _ = losses.changed() => Err(unavailable("the connection was lost before the answer came")),
        }
    }
}

/// What is said about a record that is larger than the server's limit.
pub(super) const PAYLOAD_ADVICE: &str = "; `max_payload` in the server's configuration raises it";

/// What the server says about missing permissions, from now on.
pub(super) struct Violations(broadcast::Receiver<Arc<str>>);

impl Violations {
    /// Waits for one about a subject of interest.
    pub(super) async fn of(&mut self, is_wanted: impl Fn(&str) -> bool) -> Arc<str> {
        loop {
            match self.0.recv().await {
                Ok(message) if subject_of(&message).is_some_and(&is_wanted) => return message,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// The subject in `Permissions Violation for Publish to "SUBJECT"`.
pub(super) fn subject_of(violation: &str) -> Option<&str> {
    violation.split('"').nth(1)
}

/// An error and what caused it, in one line. Its own words don't always say the cause.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Pauses double from 100 ms on.
fn pause(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    (Duration::from_millis(100) * (1 << doublings)).min(CONNECT_PAUSE_MAX)
}

async fn options(
    url: &NatsUrl,
    waiting_max: usize,
    losses: watch::Sender<u64>,
    violations: broadcast::Sender<Arc<str>>,
) -> Result<ConnectOptions, LogError> {
    let servers = url.to_string();
    let losses = Arc::new(losses);
    let mut options = ConnectOptions::new()
        .name(&url.name)
        .connection_timeout(CONNECT_WAIT)
        .request_timeout(Some(ANSWER_WAIT))
        .subscription_capacity(waiting_max)
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(
            |attempts| if attempts <= 1 { Duration::ZERO } else { pause(attempts) },
        )
        .event_callback(move |event| {
            note(&event, &servers, &losses, &violations);
            std::future::ready(())
        });
    if url.is_tls || url.ca.is_some() || url.client.is_some() {
        options = options.require_tls(true).tls_client_config(tls::client_config(url)?);
    }
    let unreadable = |path: &std::path::Path, error: &std::io::Error| {
        LogError::io(format!("can't read the credentials in {}", path.display()), error)
    };
    Ok(match &url.login {
        Login::Nobody => options,
        Login::Password { user, password } => {
            options.user_and_password(user.clone(), password.clone())
        }
        Login::Token(token) => options.token(token.clone()),
        Login::Credentials(path) => {
            options.credentials_file(path).await.map_err(|error| unreadable(path, &error))?
        }
        Login::Nkey(path) => {
            let seed = tokio::fs::read_to_string(path).await;
            options.nkey(seed.map_err(|error| unreadable(path, &error))?.trim().to_owned())
        }
    })
}

fn note(
    event: &Event,
    servers: &str,
    losses: &watch::Sender<u64>,
    violations: &broadcast::Sender<Arc<str>>,
) {
    match event {
        Event::Disconnected => {
            losses.send_modify(|losses| *losses += 1);
            tracing::warn!(servers, "the connection to the log was lost, connecting again");
        }
        Event::Connected if *losses.borrow() > 0 => {
            tracing::info!(servers, "connected to the log again");
        }
        Event::SlowConsumer(_) => {
            tracing::error!(
                servers,
                "messages came faster than they were taken: some were dropped"
            );
        }
        Event::ServerError(ServerError::Other(message)) => {
            tracing::warn!(servers, message, "the log's server complains");
            // Nobody may be waiting for it.
            let _ = violations.send(Arc::from(message.as_str()));
        }
        Event::ServerError(error) => tracing::warn!(servers, %error, "the log's server complains"),
        Event::ClientError(error) => tracing::debug!(servers, %error, "still no connection"),
        Event::Connected | Event::LameDuckMode | Event::Draining | Event::Closed => {}
    }
}
