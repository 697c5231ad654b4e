//! Pulling deliveries of a consumer, durable or not.
//!
//! All requests of one puller are answered on one subscription, and what has come is kept in a
//! buffer: whoever gives a pull up in the middle finds the deliveries with the next one.
//!
//! A request carries `no_wait` and an end of its time: the server sends what is there, or waits
//! until then for something to come, sends that, and says that it is done. So a batch costs one
//! round trip, and nothing is delivered that nobody waits for.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::json;
use tokio::time::Instant;

use super::{
    connection::{ANSWER_WAIT, Connection, SUBSCRIPTION_MESSAGES_MAX, chain},
    stream::nanos,
};
use crate::{LogError, RECORD_BYTES_MAX};

/// At most this many messages are asked for at once: the client drops what it has no room for.
const BATCH_MAX: usize = SUBSCRIPTION_MESSAGES_MAX / 8;
/// At most this many bytes are asked for at once. A single message of ours always fits.
const BATCH_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;
/// Other programs may have published a larger one; then it is asked for alone.
const NO_LIMIT: usize = 0;
/// After an answer that promises nothing better for now.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a pull ended without deliveries.
#[derive(Debug)]
pub(super) enum PullError {
    /// Nobody answers for the consumer: it is gone, has no leader right now, or the request was lost.
    Gone,
    Log(LogError),
}

impl From<LogError> for PullError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// A single request is given at most this long, so that one that the server has lost costs no more.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(5);
/// A server that stops in the middle because too many deliveries are unsettled does not say so.
/// What comes after a gap this long is left for the next pull.
const GAP_MAX: Duration = Duration::from_millis(20);
/// See [`Puller::new`].
const PENDING_WAIT_MIN: Duration = Duration::from_millis(10);

/// How one request ended.
enum End {
    /// All has come that the server wanted to send.
    Complete,
    /// The next message is larger than what was asked for.
    TooLarge,
    /// It was cut off: what is there has to be asked for again.
    Broken,
}

/// Pulls from one consumer.
pub(super) struct Puller {
    connection: Arc<Connection>,
    subscriber: Subscriber,
    inbox: String,
    /// The number of the last request; a status that comes late names an older one.
    number: u64,
    buffer: VecDeque<Message>,
    /// The shortest time that a request is given.
    wait_min: Duration,
}

impl Puller {
    /// `has_acks`: whether deliveries are acknowledged.
    pub(super) async fn new(connection: Arc<Connection>, has_acks: bool) -> Result<Self, LogError> {
        let inbox = connection.client().new_inbox();
        let subscriber = connection
            .client()
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| LogError::unavailable("can't subscribe", chain(&error)))?;
        // A server says nothing at all while too many deliveries are unsettled, only when the time
        // is over; a request without an end would wait for ever.
        let wait_min = if has_acks { PENDING_WAIT_MIN } else { Duration::ZERO };
        Ok(Self { connection, subscriber, inbox, number: 0, buffer: VecDeque::new(), wait_min })
    }

    /// Up to `max` deliveries; waits until the deadline for the first. Empty when none came: then
    /// the server has said so.
    pub(super) async fn pull(
        &mut self,
        stream: &str,
        consumer: &str,
        max: usize,
        deadline: Instant,
    ) -> Result<Vec<Message>, PullError> {
        let max = max.min(BATCH_MAX);
        self.take_in_ready();
        if self.buffer.is_empty() {
            let subject = self.connection.api(&format!("CONSUMER.MSG.NEXT.{stream}.{consumer}"));
            self.wait_for_some(&subject, max, deadline).await?;
        }
        let count = self.buffer.len().min(max);
        Ok(self.buffer.drain(..count).collect())
    }

    /// Gives up what is in the buffer and forgets what is under way.
    pub(super) fn take_all(&mut self) -> Vec<Message> {
        self.take_in_ready();
        self.buffer.drain(..).collect()
    }

    async fn wait_for_some(
        &mut self,
        subject: &str,
        max: usize,
        deadline: Instant,
    ) -> Result<(), PullError> {
        loop {
            let end = self.request(subject, max, BATCH_BYTES_MAX, deadline).await?;
            let is_broken = match end {
                End::Broken => true,
                End::TooLarge if self.buffer.is_empty() => {
                    matches!(self.request(subject, 1, NO_LIMIT, deadline).await?, End::Broken)
                }
                End::TooLarge | End::Complete => false,
            };
            if !self.buffer.is_empty() || (!is_broken && Instant::now() >= deadline) {
                return Ok(());
            }
        }
    }

    /// Asks once and takes in what comes.
    async fn request(
        &mut self,
        subject: &str,
        batch: usize,
        bytes_max: usize,
        deadline: Instant,
    ) -> Result<End, PullError> {
        let patience = deadline.max(Instant::now()) + ANSWER_WAIT;
        self.connection.wait_up(patience).await?;
        let mut losses = self.connection.losses();
        let mut violations = self.connection.violations();
        let end = deadline.min(Instant::now() + REQUEST_WAIT_MAX);
        self.send(subject, batch, bytes_max, end).await?;
        let patience = end.max(Instant::now()) + ANSWER_WAIT;
        let wanted = self.buffer.len() + batch;
        let mut until = patience;
        while self.buffer.len() < wanted {
            let message = tokio::select! {
                biased;
                message = self.subscriber.next() => message.ok_or(LogError::Closed)?,
                _ = losses.changed() => return Ok(End::Broken),
                message = violations.of(|violated| violated == subject) => {
                    let what = "can't fetch".to_owned();
                    let message = message.to_string();
                    return Err(LogError::Denied { what, message }.into());
                }
                () = tokio::time::sleep_until(until) => {
                    if !self.buffer.is_empty() {
                        return Ok(End::Complete);
                    }
                    // Old servers say nothing at all where the consumer is gone.
                    tracing::warn!(subject, "a request for records was not answered");
                    return Err(PullError::Gone);
                }
            };
            if let Some(end) = self.take_in(message).await? {
                return Ok(end);
            }
            until = Instant::now() + GAP_MAX;
        }
        Ok(End::Complete)
    }

    async fn send(
        &mut self,
        subject: &str,
        batch: usize,
        bytes_max: usize,
        deadline: Instant,
    ) -> Result<(), LogError> {
        self.number += 1;
        let mut request = json!({ "batch": batch, "no_wait": true });
        let wait = deadline.saturating_duration_since(Instant::now()).max(self.wait_min);
        if !wait.is_zero() {
            request["expires"] = json!(nanos(wait));
        }
        if bytes_max != NO_LIMIT {
            request["max_bytes"] = json!(bytes_max);
        }
        let reply = format!("{}.{}", self.inbox, self.number);
        self.connection
            .client()
            .publish_with_reply(subject.to_owned(), reply, Bytes::from(request.to_string()))
            .await
            .map_err(|error| LogError::unavailable("can't fetch", chain(&error)))
    }

    /// Takes a message in; a status of the last request says how that ended.
    async fn take_in(&mut self, message: Message) -> Result<Option<End>, PullError> {
        let Some(status) = message.status else {
            self.buffer.push_back(message);
            return Ok(None);
        };
        let of = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        if of != Some(self.number) {
            return Ok(None);
        }
        let description = message.description.as_deref().unwrap_or_default();
        match status.as_u16() {
            404 | 408 => Ok(Some(End::Complete)),
            409 if description.contains("MaxBytes") => Ok(Some(End::TooLarge)),
            409 if description.contains("Batch Completed") => Ok(Some(End::Complete)),
            409 if description.contains("Consumer Deleted") => Err(PullError::Gone),
            409 if description.contains("Exceeded MaxRequest") => Err(LogError::Invalid(format!(
                "can't fetch: the consumer's settings don't allow it: {description}"
            ))
            .into()),
            503 => Err(PullError::Gone),
            100 => Ok(None),
            _ => {
                tracing::debug!(%status, description, "a pull was cut off");
                tokio::time::sleep(PAUSE).await;
                Ok(Some(End::Broken))
            }
        }
    }

    /// Takes in what has come already.
    fn take_in_ready(&mut self) {
        while let Some(Some(message)) = self.subscriber.next().now_or_never() {
            if message.status.is_none() {
                self.buffer.push_back(message);
            }
        }
    }
}
