//! Requests and answers, beside the log: asking a service, and being one.
//!
//! It has a connection of its own, so that a flood of requests can't hold up the log. A service
//! follows NATS' micro protocol (ADR-32): it can be found by `$SRV.PING`, `$SRV.INFO` and
//! `$SRV.STATS`, instances share a queue group, and a refusal is an empty answer with the headers
//! `Nats-Service-Error` and `Nats-Service-Error-Code`.

use std::{fmt, time::Duration};

use async_nats::{
    Message, RequestErrorKind, StatusCode,
    service::{self, NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, ServiceExt as _},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::time::Instant;
use wingbeat_record::{Headers, Subject};

use super::{
    connection::{ANSWER_WAIT, Connection, PAYLOAD_ADVICE, chain},
    message::headers,
    url::NatsUrl,
};
use crate::LogError;

/// Requests that wait in the client until they are taken: with the server's largest payload of
/// 1 MB by default, 1 GB in the worst case, for the moment until they are refused.
const WAITING_MAX: usize = 1024;
/// A server says what it does not allow before it answers what comes behind it; the client passes
/// both on in ways of their own.
const DENIAL_WAIT: Duration = Duration::from_millis(100);
/// The longest text of a refusal, in bytes.
const MESSAGE_BYTES_MAX: usize = 256;

/// A connection for requests.
pub struct NatsRequests {
    connection: Connection,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its headers.
    pub headers: Headers,
    /// Its payload.
    pub payload: Bytes,
}

/// Why a service does not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of reason it is, as in HTTP: 400, 413, 500, 503.
    pub code: u16,
    /// The reason.
    pub message: String,
}

/// What a service says about itself.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// Its name: letters, digits, `-` and `_`.
    pub name: &'static str,
    /// Its version, such as `1.2.3`.
    pub version: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// The name of its endpoint.
    pub endpoint: &'static str,
    /// Where requests come in.
    pub subject: Subject,
}

/// A service that was announced. It is gone when this goes.
pub struct NatsService {
    endpoint: service::endpoint::Endpoint,
    service: Option<service::Service>,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Query(service::Request);

impl NatsRequests {
    /// Connects. Waits 10 s for a server; then that is an error with the hint *transient*.
    pub async fn open(url: &NatsUrl) -> Result<Self, LogError> {
        Ok(Self { connection: Connection::open(url, WAITING_MAX).await? })
    }

    /// Sends a request and waits so long for its answer.
    pub async fn ask(
        &self,
        subject: &Subject,
        payload: Bytes,
        wait: Duration,
    ) -> Result<Answer, LogError> {
        let what = format!("can't ask `{subject}`");
        let unavailable = |message: &str| LogError::unavailable(&what, message);
        self.connection.wait_up(Instant::now() + wait).await?;
        let (mut violations, mut losses) = (self.connection.violations(), self.connection.losses());
        let (client, bytes) = (self.connection.client(), payload.len());
        let request = async_nats::Request::new().payload(payload).timeout(Some(wait));
        tokio::select! {
            answer = client.send_request(subject.as_str().to_owned(), request) => match answer {
                Ok(message) => Ok(Answer::of(message)),
                Err(error) => Err(match error.kind() {
                    RequestErrorKind::TimedOut => unavailable(&format!("no answer came within {wait:?}")),
                    RequestErrorKind::NoResponders => unavailable(NOBODY),
                    RequestErrorKind::MaxPayloadExceeded => LogError::TooLarge {
                        bytes, max: client.max_payload(), advice: PAYLOAD_ADVICE,
                    },
                    RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
                        unavailable(&chain(&error))
                    }
                }),
            },
            message = violations.of(|violated| violated == subject.as_str()) => {
                Err(LogError::Denied { what: what.clone(), message: message.to_string() })
            }
            _ = losses.changed() => Err(unavailable("the connection was lost before the answer came")),
        }
    }

    /// Sends a request to whoever listens, and collects the answers that come within a time.
    pub async fn ask_all(
        &self,
        subject: &Subject,
        payload: Bytes,
        wait: Duration,
    ) -> Result<Vec<Answer>, LogError> {
        let what = format!("can't ask `{subject}`");
        let failed = |error: &dyn std::error::Error| LogError::unavailable(&what, chain(error));
        let deadline = Instant::now() + wait;
        self.connection.wait_up(deadline).await?;
        let mut violations = self.connection.violations();
        let client = self.connection.client();
        let inbox = client.new_inbox();
        let mut inbox_messages =
            client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
        let sent = client.publish_with_reply(subject.as_str().to_owned(), inbox, payload).await;
        sent.map_err(|error| failed(&error))?;
        let mut answers = Vec::new();
        loop {
            tokio::select! {
                message = inbox_messages.next() => match message {
                    Some(message) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                        return Err(LogError::unavailable(&what, NOBODY));
                    }
                    Some(message) => answers.push(Answer::of(message)),
                    None => return Err(LogError::Closed),
                },
                message = violations.of(|violated| violated == subject.as_str()) => {
                    return Err(LogError::Denied { what, message: message.to_string() });
                }
                () = tokio::time::sleep_until(deadline) => return Ok(answers),
            }
        }
    }

    /// Announces a service. Lost connections are made again, and it is announced again with them.
    /// Where this user may not answer there, that is an error; where it may only not be found, it
    /// answers all the same.
    pub async fn serve(&self, spec: &ServiceSpec) -> Result<NatsService, LogError> {
        let what = format!("can't announce service `{}`", spec.name);
        let failed = |error: async_nats::Error| LogError::unavailable(&what, chain(error.as_ref()));
        let mut violations = self.connection.violations();
        let builder = self.connection.client().service_builder().description(spec.description);
        let service = builder.start(spec.name, spec.version).await.map_err(failed)?;
        let endpoint = service.endpoint_builder().name(spec.endpoint).add(&spec.subject).await;
        let endpoint = endpoint.map_err(failed)?;
        // When this is answered the server has looked at what was sent before it.
        let known = self.connection.ask::<serde_json::Value>(&what, "INFO", &json!({})).await?;
        known.map_err(|error| error.into_log_error(&what))?;
        let denied = violations.of(|violated| violated == spec.subject.as_str());
        if let Ok(message) = tokio::time::timeout(DENIAL_WAIT, denied).await {
            return Err(LogError::Denied { what, message: message.to_string() });
        }
        Ok(NatsService { endpoint, service: Some(service) })
    }

    /// Sends what is still to be sent, and closes the connection.
    pub async fn close(&self) {
        if self.connection.close() {
            let client = self.connection.client();
            let _ = tokio::time::timeout(ANSWER_WAIT, client.flush()).await;
            let _ = client.drain().await;
        }
    }
}

/// What is said where nobody listens on a subject.
const NOBODY: &str = "nobody answers there";

impl fmt::Debug for NatsRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsRequests").finish_non_exhaustive()
    }
}

impl Answer {
    fn of(message: Message) -> Self {
        Self { headers: headers(message.headers.as_ref()), payload: message.payload }
    }

    /// Where a service has refused: why.
    pub fn refusal(&self) -> Option<Refusal> {
        let message = self.headers.get(NATS_SERVICE_ERROR)?.to_owned();
        let code = self.headers.get(NATS_SERVICE_ERROR_CODE).and_then(|code| code.parse().ok());
        Some(Refusal { code: code.unwrap_or(500), message })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl NatsService {
    /// The next request; waits for it. `None` behind the last one after [`stop`](Self::stop).
    pub async fn next(&mut self) -> Option<Query> {
        self.endpoint.next().await.map(Query)
    }

    /// Takes no further requests and can't be found any more. Those that have come already are
    /// still to be had.
    pub async fn stop(&mut self) {
        if let Some(service) = self.service.take() {
            // It always succeeds.
            let _ = service.stop().await;
        }
    }
}

impl fmt::Debug for NatsService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsService").finish_non_exhaustive()
    }
}

impl Query {
    /// What is asked.
    pub fn payload(&self) -> &Bytes {
        &self.0.message.payload
    }

    /// Whether anybody waits for an answer.
    pub fn is_awaited(&self) -> bool {
        self.0.message.reply.is_some()
    }

    /// Sends the answer, or why there is none.
    pub async fn answer(self, answer: Result<Bytes, Refusal>) -> Result<(), LogError> {
        let answer = answer.map_err(|refusal| service::error::Error {
            status: header_text(&refusal.message),
            code: refusal.code.into(),
        });
        let sent = self.0.respond(answer).await;
        sent.map_err(|error| LogError::unavailable("can't answer a request", chain(&error)))
    }
}

/// A text that may stand in a header: in one line, and not longer than a line.
fn header_text(text: &str) -> String {
    let end = text.floor_char_boundary(MESSAGE_BYTES_MAX);
    text[..end].replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_can_always_be_sent() {
        assert_eq!(header_text("one\r\nNats-Msg-Id: x\u{0}"), "one  Nats-Msg-Id: x ");
        let long = "é".repeat(MESSAGE_BYTES_MAX);
        assert_eq!(header_text(&long), "é".repeat(MESSAGE_BYTES_MAX / 2));
    }
}
