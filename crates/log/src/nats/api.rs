//! JetStream's own requests and answers, as far as the log needs them
//! (<https://docs.nats.io/reference/reference-protocols/nats_api_reference>).
//!
//! They are spoken as JSON rather than through the client crate's types: a stream's or consumer's
//! configuration then keeps the fields that a newer server or another program has set and this
//! one does not know, and what a server has silently dropped is seen when it is read back.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use wingbeat_record::Time;

use super::{connection::Connection, filters::Filters, message};
use crate::LogError;

/// A configuration with all its fields, known or not.
pub(super) type Config = Map<String, Value>;

/// JetStream's own error numbers
/// (<https://github.com/nats-io/nats-server/blob/main/server/errors.json>).
pub(super) mod code {
    pub(in super::super) const CONSUMER_NOT_FOUND: u64 = 10014;
    pub(in super::super) const NO_MESSAGE: u64 = 10037;
    pub(in super::super) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
    pub(in super::super) const STORAGE_EXCEEDED: u64 = 10047;
    pub(in super::super) const MESSAGE_TOO_LARGE: u64 = 10054;
    pub(in super::super) const STREAM_NOT_FOUND: u64 = 10059;
    pub(in super::super) const SUBJECTS_OVERLAP: u64 = 10065;
    pub(in super::super) const WRONG_LAST_SEQUENCE: u64 = 10071;
    pub(in super::super) const NOT_ENABLED: u64 = 10076;
    pub(in super::super) const STORE_FAILED: u64 = 10077;
    pub(in super::super) const DUPLICATE_IN_PROCESS: u64 = 10158;
}

/// How JetStream says no.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ApiError {
    /// As in HTTP.
    #[serde(default)]
    pub(super) code: u64,
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    pub(super) description: String,
}

impl ApiError {
    /// For refusals that mean nothing special to whoever asked.
    pub(super) fn into_log_error(self, what: &str) -> LogError {
        let Self { code, err_code, description } = self;
        match err_code {
            code::NOT_ENABLED | code::NOT_ENABLED_FOR_ACCOUNT => LogError::Invalid(format!(
                "{what}: {description}; start the server with JetStream (`nats-server -js`), and enable it for this account"
            )),
            // As in HTTP: the request is wrong, or the server has trouble. Of the requests that
            // were not wrong some only came too fast, or too early.
            _ if (400..500).contains(&code) && !matches!(code, 408 | 429) => {
                LogError::Invalid(format!("{what}: {description} (JetStream error {err_code})"))
            }
            _ => LogError::unavailable(what, format!("{description} (JetStream error {err_code})")),
        }
    }
}

/// What a request ended with: no answer at all, or JetStream's.
pub(super) type Answer<T> = Result<Result<T, ApiError>, LogError>;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct StreamAnswer {
    pub(super) config: Config,
    pub(super) state: StreamState,
    /// When it was made.
    #[serde(default)]
    pub(super) created: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct StreamState {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    #[serde(default)]
    pub(super) last_ts: String,
    #[serde(default)]
    pub(super) lost: Option<Lost>,
    /// Where it was asked for: the subjects, and how many messages each has.
    #[serde(default)]
    pub(super) subjects: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Lost {
    #[serde(default)]
    pub(super) msgs: Option<Vec<u64>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ConsumerAnswer {
    pub(super) name: String,
    pub(super) config: Config,
    pub(super) delivered: Place,
    pub(super) ack_floor: Place,
    pub(super) num_ack_pending: u64,
    pub(super) num_pending: u64,
    /// Whether somebody gets what a push consumer sends.
    #[serde(default)]
    pub(super) push_bound: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Place {
    pub(super) stream_seq: u64,
}

/// One stored message, as `STREAM.MSG.GET` gives it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct StoredMessage {
    pub(super) subject: String,
    pub(super) seq: u64,
    /// Base64, each.
    #[serde(default)]
    pub(super) hdrs: String,
    #[serde(default)]
    pub(super) data: String,
    pub(super) time: String,
}

#[derive(Deserialize)]
struct MessageAnswer {
    message: StoredMessage,
}

#[derive(Deserialize)]
struct Success {
    success: bool,
}

#[derive(Deserialize)]
struct Purged {
    purged: u64,
}

/// One page of a list.
#[derive(Deserialize)]
struct Page<T> {
    total: usize,
    #[serde(alias = "consumers")]
    streams: Option<Vec<T>>,
}

#[derive(Deserialize)]
struct Refusal {
    error: Option<ApiError>,
}

impl Connection {
    /// Asks JetStream.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        request: &str,
        body: &(impl Serialize + Sync),
    ) -> Answer<T> {
        let unreadable = |error: serde_json::Error| {
            LogError::unavailable(what, format!("the answer makes no sense: {error}"))
        };
        let body = serde_json::to_vec(body).map_err(unreadable)?;
        let ask = || self.request(what, self.api(request), Bytes::from(body.clone()));
        let mut answer = ask().await;
        // Whoever was asked may have gone away meanwhile, and another taken over. To be asked
        // twice changes nothing.
        let is_question = ["INFO", "GET", "NAMES", "LIST"];
        let is_question = request.split('.').any(|token| is_question.contains(&token));
        if is_question && matches!(answer, Err(LogError::Unavailable { .. })) {
            answer = ask().await;
        }
        let answer = answer?;
        let refusal: Refusal = serde_json::from_slice(&answer.payload).map_err(unreadable)?;
        match refusal.error {
            Some(error) => Ok(Err(error)),
            None => Ok(Ok(serde_json::from_slice(&answer.payload).map_err(unreadable)?)),
        }
    }

    /// `None`: there is no such stream.
    pub(super) async fn find_stream(&self, name: &str) -> Result<Option<StreamAnswer>, LogError> {
        let what = format!("can't read about stream `{name}`");
        match self.ask(&what, &format!("STREAM.INFO.{name}"), &json!({})).await? {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.err_code == code::STREAM_NOT_FOUND => Ok(None),
            Err(error) => Err(error.into_log_error(&what)),
        }
    }

    pub(super) async fn stream_answer(&self, name: &str) -> Result<StreamAnswer, LogError> {
        match self.find_stream(name).await? {
            Some(stream) => Ok(stream),
            None => Err(self.unknown_stream(name).await),
        }
    }

    pub(super) async fn unknown_stream(&self, name: &str) -> LogError {
        let mut names = match self.stream_names(None).await {
            Ok(names) => names,
            Err(error) => return error,
        };
        names.retain(|name| !is_internal(name));
        names.sort();
        let present = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        LogError::UnknownStream { name: name.to_owned(), present }
    }

    /// The names of all streams, or of those that capture what falls under a subject.
    pub(super) async fn stream_names(
        &self,
        subject: Option<&str>,
    ) -> Result<Vec<String>, LogError> {
        let body = subject.map_or_else(Map::new, |subject| {
            Map::from_iter([("subject".to_owned(), json!(subject))])
        });
        self.pages("can't list the streams", "STREAM.NAMES", body).await
    }

    /// All streams.
    pub(super) async fn stream_answers(&self) -> Result<Vec<StreamAnswer>, LogError> {
        self.pages("can't list the streams", "STREAM.LIST", Map::new()).await
    }

    pub(super) async fn consumer_answers(
        &self,
        stream: &str,
    ) -> Result<Vec<ConsumerAnswer>, LogError> {
        // A list of a stream that is not there would be empty.
        self.stream_answer(stream).await?;
        let what = format!("can't list the consumers of stream `{stream}`");
        self.pages(&what, &format!("CONSUMER.LIST.{stream}"), Map::new()).await
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        what: &str,
        request: &str,
        mut body: Map<String, Value>,
    ) -> Result<Vec<T>, LogError> {
        let mut all = Vec::new();
        loop {
            body.insert("offset".to_owned(), json!(all.len()));
            let page: Page<T> = self
                .ask(what, request, &body)
                .await?
                .map_err(|error| error.into_log_error(what))?;
            let entries = page.streams.unwrap_or_default();
            let is_last = entries.is_empty();
            all.extend(entries);
            if is_last || all.len() >= page.total {
                return Ok(all);
            }
        }
    }

    /// `None`: there is no such consumer.
    pub(super) async fn find_consumer(
        &self,
        stream: &str,
        name: &str,
    ) -> Result<Option<ConsumerAnswer>, LogError> {
        let what = format!("can't read about consumer `{name}` of stream `{stream}`");
        match self.ask(&what, &format!("CONSUMER.INFO.{stream}.{name}"), &json!({})).await? {
            Ok(consumer) => Ok(Some(consumer)),
            Err(error) if error.err_code == code::CONSUMER_NOT_FOUND => Ok(None),
            Err(error) if error.err_code == code::STREAM_NOT_FOUND => {
                Err(self.unknown_stream(stream).await)
            }
            Err(error) => Err(error.into_log_error(&what)),
        }
    }

    /// One message: `{"seq": 7}` or `{"last_by_subj": "a.b"}`. `None` where there is none.
    pub(super) async fn message(
        &self,
        stream: &str,
        wanted: &Value,
    ) -> Result<Option<StoredMessage>, LogError> {
        let what = format!("can't read from stream `{stream}`");
        let request = format!("STREAM.MSG.GET.{stream}");
        match self.ask::<MessageAnswer>(&what, &request, wanted).await? {
            Ok(answer) => Ok(Some(answer.message)),
            Err(error) if error.err_code == code::NO_MESSAGE => Ok(None),
            Err(error) if error.err_code == code::STREAM_NOT_FOUND => {
                Err(self.unknown_stream(stream).await)
            }
            Err(error) => Err(error.into_log_error(&what)),
        }
    }

    /// Purges a stream; returns how many messages went.
    pub(super) async fn purge(&self, stream: &str, wanted: &Value) -> Result<u64, LogError> {
        let what = format!("can't purge stream `{stream}`");
        let request = format!("STREAM.PURGE.{stream}");
        match self.ask::<Purged>(&what, &request, wanted).await? {
            Ok(answer) => Ok(answer.purged),
            Err(error) if error.err_code == code::STREAM_NOT_FOUND => {
                Err(self.unknown_stream(stream).await)
            }
            Err(error) => Err(error.into_log_error(&what)),
        }
    }

    /// Removes a stream.
    pub(super) async fn delete_stream(&self, name: &str) -> Result<(), LogError> {
        let what = format!("can't remove stream `{name}`");
        match self.ask::<Success>(&what, &format!("STREAM.DELETE.{name}"), &json!({})).await? {
            Ok(_) => Ok(()),
            Err(error) if error.err_code == code::STREAM_NOT_FOUND => {
                Err(self.unknown_stream(name).await)
            }
            Err(error) => Err(error.into_log_error(&what)),
        }
    }

    /// Whether the stream has something from a sequence on that the server sends for these filters.
    ///
    /// A consumer reads the copy of the server that leads it. That copy may lie behind the
    /// stream's: then the consumer says that nothing is left although something was acknowledged
    /// long ago. The stream's leader, which answers here, knows better. A server on its own has
    /// one copy, and is not asked.
    pub(super) async fn has_since(
        &self,
        stream: &str,
        filters: &Filters,
        sequence: u64,
    ) -> Result<bool, LogError> {
        if !self.is_clustered() {
            return Ok(false);
        }
        for subject in filters.sent() {
            let wanted = json!({ "seq": sequence, "next_by_subj": subject });
            if self.message(stream, &wanted).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The same from a time on.
    pub(super) async fn has_since_time(
        &self,
        stream: &str,
        filters: &Filters,
        since: Time,
    ) -> Result<bool, LogError> {
        if !self.is_clustered() {
            return Ok(false);
        }
        for subject in filters.sent() {
            let last = self.message(stream, &json!({ "last_by_subj": subject })).await?;
            if last.is_some_and(|last| message::time(&last.time) >= since) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_clustered(&self) -> bool {
        self.client().server_info().cluster.is_some()
    }

    /// Deletes one message and overwrites its bytes.
    pub(super) async fn delete_message(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<bool, LogError> {
        let what = format!("can't delete from stream `{stream}`");
        let body = json!({ "seq": sequence, "no_erase": false });
        let answer: Success = self
            .ask(&what, &format!("STREAM.MSG.DELETE.{stream}"), &body)
            .await?
            .map_err(|error| error.into_log_error(&what))?;
        Ok(answer.success)
    }
}

/// Streams in which JetStream keeps buckets and objects.
pub(super) fn is_internal(stream: &str) -> bool {
    stream.starts_with("KV_") || stream.starts_with("OBJ_")
}
