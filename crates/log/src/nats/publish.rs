//! Publishing: many records on their way at once, each acknowledged for itself.
//!
//! A call takes a *lane*: a subscription of its own on which the acknowledgements of its records
//! come in. Lanes are kept and used again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_nats::{Message, PublishErrorKind, StatusCode, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::time::Instant;
use wingbeat_record::Record;

use super::{
    api::{ApiError, code},
    connection::{ANSWER_WAIT, Connection, PAYLOAD_ADVICE, chain},
    message::header_map,
};
use crate::{LogError, PubAck, RECORD_BYTES_MAX, check::check_record};

/// At most this many records of one call wait for their acknowledgements. A server queues 10,000
/// for a stream by default and refuses what comes beyond.
const WINDOW: usize = 1024;
/// And at most about this many bytes; it queues 128 MB.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;
/// Lanes that are kept for later calls.
const LANES_MAX: usize = 64;

/// Publishes to JetStream.
pub(super) struct Publisher {
    connection: Arc<Connection>,
    lanes: Mutex<Vec<Lane>>,
}

/// Where the acknowledgements of one call come in.
struct Lane {
    subscriber: Subscriber,
    inbox: String,
    /// Tells the acknowledgements of this call from late ones of a call before.
    call: u64,
}

/// JetStream's answer to a published record.
#[derive(Deserialize)]
struct Ack<'a> {
    #[serde(borrow)]
    stream: Option<&'a str>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<ApiError>,
}

/// The answers of one call, as far as they have come.
struct Call {
    records: Vec<Record>,
    answers: Vec<Option<Result<PubAck, LogError>>>,
    /// Records that nobody took. Whether there is no stream for them, or none that answers right
    /// now, is found out at the end.
    untaken: Vec<usize>,
    /// Sent, and without an answer.
    waiting: usize,
    /// The same in bytes.
    waiting_bytes: usize,
    /// The next record to be sent.
    next: usize,
    /// The name of a stream is the same over and over.
    stream: Option<Arc<str>>,
}

impl Publisher {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, lanes: Mutex::default() }
    }

    pub(super) async fn publish(&self, records: Vec<Record>) -> Vec<Result<PubAck, LogError>> {
        let mut call = Call::new(records);
        let ended = self.run(&mut call).await;
        let rest = ended.err().unwrap_or(LogError::Closed);
        self.resolve_untaken(&mut call).await;
        call.answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(rest.clone()))).collect()
    }

    /// Fills the call's answers. What has none at the end is answered with the error.
    async fn run(&self, call: &mut Call) -> Result<(), LogError> {
        self.connection.wait_up(Instant::now() + ANSWER_WAIT).await?;
        let mut lane = self.lane().await?;
        let mut losses = self.connection.losses();
        let mut violations = self.connection.violations();
        let unavailable = |message: &str| LogError::unavailable("can't publish", message);
        while call.next < call.records.len() || call.waiting > 0 {
            if call.waiting <= WINDOW / 2 && call.waiting_bytes <= WINDOW_BYTES / 2 {
                self.send(&lane, call).await?;
            }
            if call.waiting == 0 {
                continue;
            }
            tokio::select! {
                biased;
                message = lane.subscriber.next() => {
                    let message = message.ok_or(LogError::Closed)?;
                    call.note(lane.call, &message);
                    // All that has come meanwhile, without going to sleep.
                    while let Some(Some(message)) = lane.subscriber.next().now_or_never() {
                        call.note(lane.call, &message);
                    }
                }
                message = violations.of(|subject| call.is_waiting_on(subject)) => {
                    call.deny(&message);
                }
                _ = losses.changed() => {
                    return Err(unavailable("the connection was lost before the acknowledgement came"));
                }
                () = tokio::time::sleep(ANSWER_WAIT) => {
                    return Err(unavailable("no acknowledgement comes"));
                }
            }
        }
        self.give_back(lane);
        Ok(())
    }

    async fn lane(&self) -> Result<Lane, LogError> {
        let kept = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(lane) = kept {
            return Ok(Lane { call: lane.call + 1, ..lane });
        }
        let client = self.connection.client();
        let inbox = client.new_inbox();
        let subscriber = client
            .subscribe(format!("{inbox}.*.*"))
            .await
            .map_err(|error| LogError::unavailable("can't publish", chain(&error)))?;
        Ok(Lane { subscriber, inbox, call: 0 })
    }

    fn give_back(&self, lane: Lane) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() < LANES_MAX {
            lanes.push(lane);
        }
    }

    /// Sends records until the window is full.
    async fn send(&self, lane: &Lane, call: &mut Call) -> Result<(), LogError> {
        let client = self.connection.client();
        while call.has_room() && call.next < call.records.len() {
            let at = call.next;
            call.next += 1;
            let record = &call.records[at];
            let headers = match check_record(record, RECORD_BYTES_MAX, "")
                .and_then(|()| header_map(&record.headers))
            {
                Ok(headers) => headers,
                Err(error) => {
                    call.answers[at] = Some(Err(error));
                    continue;
                }
            };
            let subject = record.subject.as_str().to_owned();
            let reply = format!("{}.{}.{at}", lane.inbox, lane.call);
            let payload = record.payload.clone();
            let sent = match headers {
                Some(headers) => {
                    client.publish_with_reply_and_headers(subject, reply, headers, payload).await
                }
                None => client.publish_with_reply(subject, reply, payload).await,
            };
            match sent {
                Ok(()) => {
                    call.waiting += 1;
                    call.waiting_bytes += record.size();
                }
                Err(error) => {
                    call.answers[at] = Some(Err(match error.kind() {
                        PublishErrorKind::MaxPayloadExceeded => LogError::TooLarge {
                            bytes: record.size(),
                            max: client.max_payload(),
                            advice: PAYLOAD_ADVICE,
                        },
                        PublishErrorKind::InvalidSubject => {
                            LogError::Invalid(format!("NATS takes no subject `{}`", record.subject))
                        }
                        _ => LogError::unavailable("can't publish", chain(&error)),
                    }));
                }
            }
        }
        Ok(())
    }

    /// Answers the records that nobody took.
    async fn resolve_untaken(&self, call: &mut Call) {
        let mut found: BTreeMap<String, LogError> = BTreeMap::new();
        for at in std::mem::take(&mut call.untaken) {
            let subject = call.records[at].subject.to_string();
            let error = match found.get(&subject) {
                Some(error) => error.clone(),
                None => {
                    let error = match self.connection.stream_names(Some(&subject)).await {
                        Ok(names) if names.is_empty() => {
                            LogError::NoStream { subject: subject.clone() }
                        }
                        Ok(names) => LogError::unavailable(
                            format!("can't publish to stream `{}`", names.join("`, `")),
                            "it has no leader right now",
                        ),
                        Err(error) => error,
                    };
                    found.insert(subject, error.clone());
                    error
                }
            };
            call.answers[at] = Some(Err(error));
        }
    }
}

impl Call {
    fn new(records: Vec<Record>) -> Self {
        let answers = records.iter().map(|_| None).collect();
        Self {
            records,
            answers,
            untaken: Vec::new(),
            waiting: 0,
            waiting_bytes: 0,
            next: 0,
            stream: None,
        }
    }

    fn has_room(&self) -> bool {
        self.waiting < WINDOW && self.waiting_bytes < WINDOW_BYTES
    }

    /// Answers a record that was sent.
    fn settle(&mut self, at: usize, answer: Result<PubAck, LogError>) {
        self.waiting = self.waiting.saturating_sub(1);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(self.records[at].size());
        self.answers[at] = Some(answer);
    }

    /// Takes an acknowledgement in.
    fn note(&mut self, call: u64, message: &Message) {
        let mut tokens = message.subject.rsplit('.');
        let mut number = || tokens.next()?.parse::<u64>().ok();
        let (Some(at), Some(of_call)) = (number(), number()) else { return };
        let Ok(at) = usize::try_from(at) else { return };
        if of_call != call || at >= self.next || self.answers[at].is_some() {
            return;
        }
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            self.untaken.push(at);
            // Until it is known why.
            let untaken = LogError::unavailable("can't publish", "nobody has taken the record");
            return self.settle(at, Err(untaken));
        }
        let answer = self.answer(&self.records[at], &message.payload);
        if let Ok(ack) = &answer {
            self.stream = Some(Arc::clone(&ack.stream));
        }
        self.settle(at, answer);
    }

    fn answer(&self, record: &Record, payload: &[u8]) -> Result<PubAck, LogError> {
        let ack: Ack<'_> = serde_json::from_slice(payload).map_err(|error| {
            LogError::unavailable("can't publish", format!("an answer makes no sense: {error}"))
        })?;
        match (ack.error, ack.stream) {
            (None, Some(stream)) => {
                let known = self.stream.as_ref().filter(|known| &***known == stream);
                let stream = known.map_or_else(|| Arc::from(stream), Arc::clone);
                Ok(PubAck { stream, sequence: ack.seq, is_duplicate: ack.duplicate })
            }
            (Some(error), stream) => Err(refusal(error, stream.unwrap_or("?"), record)),
            (None, None) => Err(LogError::unavailable("can't publish", "an empty answer")),
        }
    }

    fn is_waiting_on(&self, subject: &str) -> bool {
        let sent = self.records.iter().zip(&self.answers).take(self.next);
        sent.filter(|(_, answer)| answer.is_none()).any(|(r, _)| r.subject.as_str() == subject)
    }

    /// Answers what the server does not let this user publish.
    fn deny(&mut self, violation: &Arc<str>) {
        let Some(subject) = super::connection::subject_of(violation) else { return };
        for at in 0..self.next {
            if self.answers[at].is_none() && self.records[at].subject.as_str() == subject {
                let what = format!("can't publish to `{subject}`");
                self.settle(at, Err(LogError::Denied { what, message: violation.to_string() }));
            }
        }
    }
}

fn refusal(error: ApiError, stream: &str, record: &Record) -> LogError {
    match error.err_code {
        // "maximum messages exceeded" and the like; other descriptions tell of a disk's trouble.
        code::STORE_FAILED | code::STORAGE_EXCEEDED if error.description.contains("exceeded") => {
            LogError::Full { stream: stream.to_owned() }
        }
        // The bucket that asked for it fills in what it knows.
        code::WRONG_LAST_SEQUENCE => {
            LogError::WrongRevision { key: record.subject.to_string(), expected: 0, found: 0 }
        }
        // The same record, published before, whose acknowledgement did not come: the copies are
        // still being written.
        code::DUPLICATE_IN_PROCESS => LogError::unavailable(
            format!("can't publish to `{}`", record.subject),
            "an earlier try is still under way",
        ),
        code::MESSAGE_TOO_LARGE => LogError::Invalid(format!(
            "a record of {} bytes is over the `max_msg_size` of stream `{stream}`",
            record.size()
        )),
        _ => error.into_log_error(&format!("can't publish to `{}`", record.subject)),
    }
}

#[cfg(test)]
mod tests {
    use wingbeat_record::Subject;

    use super::*;
    use crate::Hint;

    #[test]
    fn i2_a_record_whose_first_try_is_under_way_is_no_wrong_record() {
        let record = Record::new(Subject::new("a.b").unwrap(), b"{}".to_vec());
        let refused = |err_code, description: &str| {
            let description = description.to_owned();
            refusal(ApiError { code: 409, err_code, description }, "a", &record).hint()
        };
        assert_eq!(refused(10158, "duplicate message id is in process"), Hint::Transient);
        assert_eq!(refused(10999, "something else"), Hint::Caller);
    }
}
