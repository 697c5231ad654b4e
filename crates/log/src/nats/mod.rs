//! NATS JetStream, versions 2.9 to 2.15 (tried on both ends).
//!
//! | file | for |
//! |---|---|
//! | url.rs, tls.rs, connection.rs | which servers, as whom; connecting, and again |
//! | api.rs | JetStream's requests and answers |
//! | stream.rs, consumer.rs, bucket.rs | the contract's streams, consumers and buckets |
//! | publish.rs | records with their acknowledgements |
//! | pull.rs, reader.rs | deliveries |
//! | filters.rs | what the server does not filter |
//! | missed.rs | what expired before a consumer came to it |
//! | message.rs | records as messages |
//! | requests.rs | requests and answers, beside the log |
//!
//! What is different from the embedded log stands in `docs/logs.md`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use wingbeat_record::{Record, SubjectFilter};

use crate::{
    LogError,
    check::{check_name, check_stream},
    contract::{
        Bucket, Consumer, ConsumerConfig, ConsumerInfo, Log, PubAck, RECORD_BYTES_MAX, Reader,
        Start, Stored, StreamConfig, StreamInfo,
    },
};

mod api;
mod bucket;
mod connection;
mod consumer;
mod filters;
mod message;
mod missed;
mod publish;
mod pull;
mod reader;
mod requests;
mod stream;
mod tls;
mod url;

use api::{Config, ConsumerAnswer, StreamAnswer, code};
use connection::{Connection, SUBSCRIPTION_MESSAGES_MAX};
use consumer::NatsConsumer;
use filters::Filters;
use publish::Publisher;
use reader::NatsReader;
pub use requests::{Answer, NatsRequests, NatsService, Query, Refusal, ServiceSpec};
pub use url::{Existing, NatsUrl};

/// How long closing waits for what is under way.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// What a message takes beside its payload at most, under the server's `max_payload`: its headers'
/// line breaks and colons.
const FRAME_BYTES_MAX: usize = 512;

/// A log on NATS JetStream.
pub struct NatsLog {
    connection: Arc<Connection>,
    publisher: Publisher,
    url: NatsUrl,
    /// Whether the server takes several filters for a consumer.
    has_filter_lists: bool,
    /// Open consumers; closing gives back what they hold.
    consumers: Mutex<Vec<Weak<NatsConsumer>>>,
    /// In which ways streams and consumers are set otherwise than asked for, by their names.
    differences: Mutex<BTreeMap<String, String>>,
}

impl NatsLog {
    /// Connects. Waits 10 s for a server; then that is an error with the hint *transient*.
    pub async fn open(url: &NatsUrl) -> Result<Self, LogError> {
        let connection = Arc::new(Connection::open(url, SUBSCRIPTION_MESSAGES_MAX).await?);
        let what = format!("can't use {url}");
        let account = connection.ask::<serde_json::Value>(&what, "INFO", &json!({})).await?;
        account.map_err(|error| error.into_log_error(&what))?;
        let has_filter_lists = connection.client().is_server_compatible(2, 10, 0);
        Ok(Self {
            publisher: Publisher::new(Arc::clone(&connection)),
            connection,
            url: url.clone(),
            has_filter_lists,
            consumers: Mutex::default(),
            differences: Mutex::default(),
        })
    }

    /// Notes, or forgets, in which way something is set otherwise than asked for.
    fn note_differences(&self, what: &str, differences: &[String]) {
        let mut noted = self.differences.lock().unwrap_or_else(PoisonError::into_inner);
        if differences.is_empty() {
            noted.remove(what);
            return;
        }
        let text = format!(
            "{what} is used as it is: {}; add existing=change to the log's URL to change it",
            differences.join(", ")
        );
        tracing::warn!("{text}");
        noted.insert(what.to_owned(), text);
    }

    async fn check_overlap(&self, config: &StreamConfig) -> Result<(), LogError> {
        for subject in &config.subjects {
            for other in self.connection.stream_names(Some(subject.as_str())).await? {
                if other == config.name {
                    continue;
                }
                let theirs = stream::info(&self.connection.stream_answer(&other).await?);
                let theirs = theirs.config.subjects.into_iter().find(|s| s.overlaps(subject));
                return Err(LogError::Overlap {
                    stream: config.name.clone(),
                    subject: subject.to_string(),
                    other,
                    other_subject: theirs.map_or_else(|| "it".to_owned(), |s| s.to_string()),
                });
            }
        }
        Ok(())
    }

    async fn set_stream(
        &self,
        request: &str,
        config: &StreamConfig,
        body: &Config,
    ) -> Result<StreamAnswer, LogError> {
        let name = &config.name;
        let what = format!("can't set up stream `{name}`");
        match self.connection.ask(&what, &format!("STREAM.{request}.{name}"), body).await? {
            Ok(answer) => Ok(answer),
            Err(error) if error.err_code == code::SUBJECTS_OVERLAP => {
                self.check_overlap(config).await?;
                Err(error.into_log_error(&what))
            }
            Err(error) => Err(error.into_log_error(&what)),
        }
    }

    async fn set_consumer(
        &self,
        stream: &str,
        name: &str,
        config: &Config,
    ) -> Result<ConsumerAnswer, LogError> {
        let what = format!("can't set up consumer `{name}` of stream `{stream}`");
        let request = format!("CONSUMER.DURABLE.CREATE.{stream}.{name}");
        let body = json!({ "stream_name": stream, "config": config });
        match self.connection.ask(&what, &request, &body).await? {
            Ok(answer) => Ok(answer),
            Err(error) if error.err_code == code::STREAM_NOT_FOUND => {
                Err(self.connection.unknown_stream(stream).await)
            }
            Err(error) => Err(error.into_log_error(&what)),
        }
    }

    /// Makes a consumer, or changes or accepts the one that is there.
    async fn ensure_consumer(
        &self,
        stream: &str,
        config: &ConsumerConfig,
        filters: &Filters,
    ) -> Result<ConsumerAnswer, LogError> {
        let wanted = consumer::wanted(config, filters);
        let label = format!("consumer `{}` of stream `{stream}`", config.name);
        let Some(found) = self.connection.find_consumer(stream, &config.name).await? else {
            let created = consumer::created(wanted, config.start);
            return self.set_consumer(stream, &config.name, &created).await;
        };
        if found.config.contains_key("deliver_subject") {
            return Err(LogError::Invalid(format!(
                "{label} is a push consumer of another program, which has come to {}; give the flow's consumer another name, or delete this one once that program has stopped",
                found.ack_floor.stream_seq
            )));
        }
        let differences = stream::differences(&wanted, &found.config);
        if differences.is_empty() || self.url.existing == Existing::Keep {
            self.note_differences(&label, &differences);
            return Ok(found);
        }
        tracing::warn!("{label} is changed: {}", differences.join(", "));
        self.set_consumer(stream, &config.name, &stream::merged(wanted, found.config)).await
    }

    async fn consumer_info(
        &self,
        stream: &str,
        answer: &ConsumerAnswer,
    ) -> Result<ConsumerInfo, LogError> {
        let mut info = consumer::info(stream, answer);
        if info.pending == 0 {
            let filters = Filters::new(&info.config.filters, true);
            let behind = self.connection.has_since(stream, &filters, info.delivered + 1);
            info.pending = u64::from(behind.await?);
        }
        info.missed = missed::read(&self.connection, stream, &answer.name).await?;
        Ok(info)
    }
}

#[async_trait]
impl Log for NatsLog {
    async fn ensure_stream(&self, config: &StreamConfig) -> Result<StreamInfo, LogError> {
        check_stream(config)?;
        let wanted = stream::wanted(config, self.url.replicas);
        let label = format!("stream `{}`", config.name);
        let answer = match self.connection.find_stream(&config.name).await? {
            None => {
                self.check_overlap(config).await?;
                let created = stream::created(wanted.clone());
                self.set_stream("CREATE", config, &created).await?
            }
            Some(found) => {
                let differences = stream::differences(&wanted, &found.config);
                if differences.is_empty() || self.url.existing == Existing::Keep {
                    found
                } else {
                    tracing::warn!("{label} is changed: {}", differences.join(", "));
                    let changed = stream::merged(wanted.clone(), found.config);
                    self.set_stream("UPDATE", config, &changed).await?
                }
            }
        };
        // An old server drops what it does not know without a word.
        self.note_differences(&label, &stream::differences(&wanted, &answer.config));
        Ok(stream::info(&answer))
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>, LogError> {
        let mut infos: Vec<StreamInfo> =
            self.connection.stream_answers().await?.iter().map(stream::info).collect();
        infos.retain(|info| !api::is_internal(&info.config.name));
        infos.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        Ok(infos)
    }

    async fn stream(&self, name: &str) -> Result<StreamInfo, LogError> {
        Ok(stream::info(&self.connection.stream_answer(name).await?))
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<PubAck, LogError>> {
        self.publisher.publish(records).await
    }

    async fn consumer(
        &self,
        stream: &str,
        config: &ConsumerConfig,
    ) -> Result<Arc<dyn Consumer>, LogError> {
        check_name("consumer", &config.name)?;
        let mut filters = Filters::new(&config.filters, self.has_filter_lists);
        let mut answer = self.ensure_consumer(stream, config, &filters).await?;
        // An old server drops a list of filters without a word, and then sends everything.
        let wanted = filters.settings();
        if !stream::differences(&wanted, &answer.config).is_empty() {
            filters = filters.here();
            if self.url.existing == Existing::Change {
                answer = self.ensure_consumer(stream, config, &filters).await?;
            }
        }
        let connection = Arc::clone(&self.connection);
        let opened = NatsConsumer::open(connection, stream, config, filters, &answer).await?;
        let opened = Arc::new(opened);
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        consumers.retain(|consumer| consumer.strong_count() > 0);
        consumers.push(Arc::downgrade(&opened));
        Ok(opened)
    }

    async fn consumers(&self, stream: &str) -> Result<Vec<ConsumerInfo>, LogError> {
        let mut infos = Vec::new();
        for answer in self.connection.consumer_answers(stream).await? {
            // Those of readers come and go.
            if answer.config.contains_key("durable_name") {
                infos.push(self.consumer_info(stream, &answer).await?);
            }
        }
        infos.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        Ok(infos)
    }

    async fn read(
        &self,
        stream: &str,
        start: Start,
        filters: &[SubjectFilter],
    ) -> Result<Box<dyn Reader>, LogError> {
        let filters = Filters::new(filters, self.has_filter_lists);
        let connection = Arc::clone(&self.connection);
        Ok(Box::new(NatsReader::open(connection, stream, start, filters).await?))
    }

    async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, LogError> {
        if sequence == 0 {
            return Ok(None);
        }
        let found = self.connection.message(stream, &json!({ "seq": sequence })).await?;
        found.as_ref().map(message::stored).transpose()
    }

    async fn delete(&self, stream: &str, sequence: u64) -> Result<bool, LogError> {
        match self.get(stream, sequence).await? {
            None => Ok(false),
            Some(_) => self.connection.delete_message(stream, sequence).await,
        }
    }

    async fn bucket(&self, name: &str) -> Result<Arc<dyn Bucket>, LogError> {
        check_name("bucket", name)?;
        let connection = Arc::clone(&self.connection);
        Ok(Arc::new(bucket::open(connection, name, self.url.replicas).await?))
    }

    async fn problems(&self) -> Result<Vec<String>, LogError> {
        let mut problems = Vec::new();
        for info in self.streams().await? {
            for lost in &info.lost {
                problems.push(format!("stream `{}` has lost {lost}", info.config.name));
            }
        }
        Ok(problems)
    }

    async fn warnings(&self) -> Result<Vec<String>, LogError> {
        let mut warnings: Vec<String> = {
            let noted = self.differences.lock().unwrap_or_else(PoisonError::into_inner);
            noted.values().cloned().collect()
        };
        warnings
            .extend(self.connection.stream_answers().await?.iter().filter_map(stream::durability));
        Ok(warnings)
    }

    fn record_bytes_max(&self) -> usize {
        let server = self.connection.client().max_payload();
        RECORD_BYTES_MAX.min(server.saturating_sub(FRAME_BYTES_MAX))
    }

    async fn close(&self) -> Result<(), LogError> {
        if self.connection.check_open().is_err() {
            return Ok(());
        }
        let consumers: Vec<_> = {
            let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
            consumers.drain(..).filter_map(|consumer| consumer.upgrade()).collect()
        };
        let client = self.connection.client();
        let finish = async {
            for consumer in consumers {
                consumer.give_back().await?;
            }
            client.flush().await.map_err(|error| {
                LogError::unavailable("can't close the log", connection::chain(&error))
            })
        };
        let finished = tokio::time::timeout(CLOSE_WAIT, finish).await;
        if self.connection.close() {
            // It ends by itself when the last handle on it goes.
            let _ = client.drain().await;
        }
        finished.unwrap_or_else(|_| {
            Err(LogError::unavailable("can't close the log", "the server does not answer"))
        })
    }
}

impl std::fmt::Debug for NatsLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsLog").field("url", &self.url).finish_non_exhaustive()
    }
}
