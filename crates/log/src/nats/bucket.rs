//! Buckets, kept as NATS' own key-value buckets are: a stream `KV_NAME`, a subject a key
//! (<https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md>).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;
use wingbeat_record::{Record, Subject, name};

use super::{
    api::{StreamAnswer, code},
    connection::Connection,
    message,
    publish::Publisher,
    stream::object,
};
use crate::{
    LogError,
    check::{check_key, check_value},
    contract::{Bucket, Entry},
};

/// Marks a key that was removed.
const OPERATION: &str = "KV-Operation";
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
/// How long a write is tried again whose answer does not come. Its message id tells the server
/// that it is the same write; so this must be within the bucket's duplicate window of 2 minutes.
const WRITE_WAIT: Duration = Duration::from_secs(60);
const WRITE_PAUSE: Duration = Duration::from_millis(250);

/// A bucket on NATS.
pub(super) struct NatsBucket {
    connection: Arc<Connection>,
    publisher: Publisher,
    name: String,
    /// Nothing is written, and where there is no bucket it is empty.
    is_read_only: bool,
}

/// Opens a bucket that is there.
pub(super) async fn find(
    connection: Arc<Connection>,
    name: &str,
) -> Result<Option<NatsBucket>, LogError> {
    let found = connection.find_stream(&stream_name(name)).await?;
    Ok(found.map(|_| NatsBucket::new(connection, name)))
}

/// Opens a bucket to read, whether it is there or not.
pub(super) fn to_read(connection: Arc<Connection>, name: &str) -> NatsBucket {
    NatsBucket { is_read_only: true, ..NatsBucket::new(connection, name) }
}

/// Opens a bucket; makes it where there is none.
pub(super) async fn open(
    connection: Arc<Connection>,
    name: &str,
    replicas: Option<usize>,
) -> Result<NatsBucket, LogError> {
    let stream = stream_name(name);
    if connection.find_stream(&stream).await?.is_none() {
        let config = object(json!({
            "name": stream,
            "subjects": [format!("$KV.{name}.>")],
            "retention": "limits",
            "storage": "file",
            "num_replicas": replicas.unwrap_or(1),
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msgs_per_subject": 1,
            "max_consumers": -1,
            "max_msg_size": -1,
            "discard": "new",
            "allow_rollup_hdrs": true,
            "deny_delete": true,
            "allow_direct": true,
        }));
        let what = format!("can't make the bucket `{name}`");
        let created = connection
            .ask::<StreamAnswer>(&what, &format!("STREAM.CREATE.{stream}"), &config)
            .await?;
        created.map_err(|error| error.into_log_error(&what))?;
    }
    Ok(NatsBucket::new(connection, name))
}

fn stream_name(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// The last record of a key.
struct Last {
    revision: u64,
    /// `None` where the key was removed.
    value: Option<Bytes>,
}

impl NatsBucket {
    fn new(connection: Arc<Connection>, name: &str) -> Self {
        let publisher = Publisher::new(Arc::clone(&connection));
        Self { connection, publisher, name: name.to_owned(), is_read_only: false }
    }

    async fn last(&self, key: &str) -> Result<Option<Last>, LogError> {
        check_key(key)?;
        let subject = format!("$KV.{}.{key}", self.name);
        let wanted = json!({ "last_by_subj": subject });
        let found = match self.connection.message(&stream_name(&self.name), &wanted).await {
            Err(LogError::UnknownStream { .. }) if self.is_read_only => None,
            found => found?,
        };
        let Some(found) = found else { return Ok(None) };
        let stored = message::stored(&found)?;
        let is_removed = stored.record.headers.get(OPERATION).is_some();
        let value = (!is_removed).then_some(stored.record.payload);
        Ok(Some(Last { revision: stored.sequence, value }))
    }

    /// Publishes a value, or a mark that the key was removed. `expected` is the revision that the
    /// key must have.
    async fn write(
        &self,
        key: &str,
        value: Option<Bytes>,
        expected: Option<u64>,
    ) -> Result<u64, LogError> {
        check_key(key)?;
        check_value(value.as_deref().unwrap_or_default())?;
        if self.is_read_only {
            return Err(LogError::ReadOnly);
        }
        self.connection.check_open()?;
        let place = format!("$KV.{}.{key}", self.name);
        let subject = Subject::new(self.connection.bucket_subject(&place))?;
        let mut record = Record::new(subject, value.clone().unwrap_or_default());
        record.headers.restore(name::MESSAGE_ID, self.connection.client().new_inbox());
        if value.is_none() {
            record.headers.restore(OPERATION, "DEL".to_owned());
        }
        if let Some(expected) = expected {
            record.headers.restore(EXPECTED, expected.to_string());
        }
        let deadline = Instant::now() + WRITE_WAIT;
        loop {
            let answer = self.publisher.publish(vec![record.clone()]).await.pop();
            match answer.unwrap_or(Err(LogError::Closed)) {
                Ok(ack) => return Ok(ack.sequence),
                Err(LogError::Unavailable { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(WRITE_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[async_trait]
impl Bucket for NatsBucket {
    async fn get(&self, key: &str) -> Result<Option<Entry>, LogError> {
        let last = self.last(key).await?;
        Ok(last.and_then(|Last { revision, value }| Some(Entry { value: value?, revision })))
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<u64, LogError> {
        self.write(key, Some(value), None).await
    }

    async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, LogError> {
        let first = self.write(key, Some(value.clone()), Some(revision)).await;
        let Err(LogError::WrongRevision { .. }) = first else { return first };
        let last = self.last(key).await?;
        let found = match last {
            // A key that was removed is as good as one that never was.
            Some(Last { revision: mark, value: None }) if revision == 0 => {
                let again = self.write(key, Some(value), Some(mark)).await;
                let Err(LogError::WrongRevision { .. }) = again else { return again };
                self.last(key).await?.map_or(0, |last| last.revision)
            }
            Some(Last { revision: found, value: Some(_) }) => found,
            Some(Last { value: None, .. }) | None => 0,
        };
        Err(LogError::WrongRevision { key: key.to_owned(), expected: revision, found })
    }

    async fn remove(&self, key: &str) -> Result<(), LogError> {
        if self.is_read_only {
            return Err(LogError::ReadOnly);
        }
        match self.last(key).await? {
            Some(Last { value: Some(_), .. }) => self.write(key, None, None).await.map(|_| ()),
            _ => Ok(()),
        }
    }

    async fn keys(&self) -> Result<Vec<String>, LogError> {
        let prefix = format!("$KV.{}.", self.name);
        let what = format!("can't list the keys of bucket `{}`", self.name);
        let request = format!("STREAM.INFO.{}", stream_name(&self.name));
        let wanted = json!({ "subjects_filter": format!("{prefix}>") });
        let answer: StreamAnswer = match self.connection.ask(&what, &request, &wanted).await? {
            Ok(answer) => answer,
            Err(error) if error.err_code == code::STREAM_NOT_FOUND && self.is_read_only => {
                return Ok(Vec::new());
            }
            Err(error) if error.err_code == code::STREAM_NOT_FOUND => {
                return Err(self.connection.unknown_stream(&stream_name(&self.name)).await);
            }
            Err(error) => return Err(error.into_log_error(&what)),
        };
        let mut keys = Vec::new();
        for subject in answer.state.subjects.unwrap_or_default().keys() {
            let Some(key) = subject.strip_prefix(&prefix) else { continue };
            if self.get(key).await?.is_some() {
                keys.push(key.to_owned());
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }
}
