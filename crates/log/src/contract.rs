//! What every log does. The semantics are JetStream's
//! (<https://docs.nats.io/nats-concepts/jetstream>); each method says what it promises, and the
//! conformance kit holds every log to it.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wingbeat_record::{Record, SubjectFilter, Time};

use crate::LogError;

/// The largest record that any log takes: payload, headers and subject together, in bytes. The
/// firehose's largest message has 5 MB, and a dead letter holds one whole. A server may be set to
/// take less ([`Log::record_bytes_max`]).
pub const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A stream: a named, bounded part of the log that captures subjects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamConfig {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// What it captures. No two streams may capture the same subject.
    pub subjects: Vec<SubjectFilter>,
    /// Keep at most this many records.
    pub records_max: Option<u64>,
    /// Keep at most this many bytes, the log's own overhead included.
    pub bytes_max: Option<u64>,
    /// Keep records at most this long.
    pub age_max: Option<Duration>,
    /// How long a message id is remembered, so that a second record with it is no second record.
    pub duplicate_window: Duration,
    /// What happens when a limit is reached.
    pub discard: Discard,
}

impl StreamConfig {
    /// A stream without limits and with JetStream's default duplicate window of two minutes.
    pub fn new(name: impl Into<String>, subjects: Vec<SubjectFilter>) -> Self {
        Self {
            name: name.into(),
            subjects,
            records_max: None,
            bytes_max: None,
            age_max: None,
            duplicate_window: Duration::from_secs(120),
            discard: Discard::Old,
        }
    }
}

/// What happens when a stream's limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discard {
    /// The oldest records go.
    #[default]
    Old,
    /// New records are refused with [`LogError::Full`].
    New,
}

/// What a stream holds now.
#[derive(Debug, Clone)]
pub struct StreamInfo {
    /// How it is set.
    pub config: StreamConfig,
    /// The sequence of the oldest record; `last + 1` where the stream is empty.
    pub first: u64,
    /// The sequence of the newest record; 0 where nothing was ever published.
    pub last: u64,
    /// How many records can be read.
    pub records: u64,
    /// What they take, in bytes; for the embedded log exact to 16 KiB.
    pub bytes: u64,
    /// When the newest record was stored.
    pub last_time: Option<Time>,
    /// Records in the range that were deleted one by one.
    pub deleted: u64,
    /// Sequences that were stored once and can't be read any more because the storage is damaged.
    pub lost: Vec<LostRange>,
}

/// Sequences that can't be read any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRange {
    /// The first lost sequence.
    pub first: u64,
    /// The last lost sequence.
    pub last: u64,
    /// What happened, in words.
    pub cause: String,
}

impl fmt::Display for LostRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={} ({})", self.first, self.last, self.cause)
    }
}

/// The log's answer to one published record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PubAck {
    /// The stream that took it.
    pub stream: Arc<str>,
    /// Its sequence; for a duplicate, the sequence of the record that came first.
    pub sequence: u64,
    /// Whether a record with this message id was there already, so that nothing was stored.
    pub is_duplicate: bool,
}

/// A record as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the stream.
    pub sequence: u64,
    /// When it was stored. Never before the record in front of it.
    pub time: Time,
    /// The record.
    pub record: Record,
}

/// Where reading starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the oldest record.
    First,
    /// At the newest record.
    Last,
    /// At the first record that is published from now on.
    New,
    /// At this sequence, or the next one that is there.
    Sequence(u64),
    /// At the first record that was stored at or after this time.
    Time(Time),
}

/// A durable consumer: the log remembers what it has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerConfig {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// Which subjects it wants; none means all.
    pub filters: Vec<SubjectFilter>,
    /// Where it starts when it is new.
    pub start: Start,
    /// A delivered record that is not settled for this long is delivered again.
    pub ack_wait: Duration,
    /// A record is delivered at most this often. `None`: without end.
    pub deliver_max: Option<u32>,
    /// At most this many delivered records may be unsettled.
    pub ack_pending_max: u32,
}

impl ConsumerConfig {
    /// A consumer of everything from the start, with JetStream's defaults: 30 s ack wait, no
    /// maximum of deliveries, 1,000 pending.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            filters: Vec::new(),
            start: Start::First,
            ack_wait: Duration::from_secs(30),
            deliver_max: None,
            ack_pending_max: 1000,
        }
    }
}

/// How far a consumer has come.
#[derive(Debug, Clone)]
pub struct ConsumerInfo {
    /// How it is set.
    pub config: ConsumerConfig,
    /// The stream that it reads.
    pub stream: String,
    /// Everything up to here is settled.
    pub ack_floor: u64,
    /// Everything up to here was delivered or did not match the filters.
    pub delivered: u64,
    /// Delivered and not settled: their sequences. A log that does not tell them apart lists
    /// everything between `ack_floor` and `delivered`.
    pub unsettled: Vec<u64>,
    /// How many are delivered and not settled.
    pub unsettled_count: u64,
    /// Records behind `delivered`: with filters, at most so many are still to come.
    pub pending: u64,
    /// Sequences that this consumer never got because they had expired or were damaged before it
    /// came to them.
    pub missed: Vec<LostRange>,
    /// It is one of JetStream's push consumers, which another program has made. [`Log::consumer`]
    /// takes its place over once nobody is bound to it.
    pub is_push: bool,
}

/// Names a delivery when it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AckToken(pub(crate) u64);

/// One delivery of a record to a consumer.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Names it when it is settled.
    pub token: AckToken,
    /// How often the record has been delivered, this time included.
    pub deliveries: u32,
    /// The record.
    pub stored: Stored,
}

/// How a delivery is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// It is done.
    Ack,
    /// Deliver it again, after that long.
    Nak(Duration),
    /// Work goes on: the ack wait starts anew.
    Progress,
    /// Never deliver it again.
    Term,
}

/// A value in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Bytes,
    /// Grows with every change of the bucket.
    pub revision: u64,
}

/// What is purged from a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purge {
    /// Only records whose subjects match; `None`: all.
    pub filter: Option<SubjectFilter>,
    /// What stays of these.
    pub keep: Keep,
}

/// What stays when a stream is purged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    #[default]
    Nothing,
    /// The newest so many.
    Newest(u64),
    /// What has this sequence or a later one.
    From(u64),
}

/// Where records are kept in order.
#[async_trait]
pub trait Log: Send + Sync {
    /// Creates the stream, or changes its limits and subjects to these. Refused where another
    /// stream captures one of the subjects.
    async fn ensure_stream(&self, config: &StreamConfig) -> Result<StreamInfo, LogError>;

    /// All streams, by name.
    async fn streams(&self) -> Result<Vec<StreamInfo>, LogError>;

    /// One stream.
    async fn stream(&self, name: &str) -> Result<StreamInfo, LogError>;

    /// Publishes records to the streams that capture their subjects. The answers stand in the
    /// order of the records; each comes when its record is as durable as the log can make it.
    /// Records of one call, and of calls that follow one another, keep their order per stream.
    async fn publish(&self, records: Vec<Record>) -> Vec<Result<PubAck, LogError>>;

    /// Opens a durable consumer; creates it, or changes its settings to these and keeps its place.
    async fn consumer(
        &self,
        stream: &str,
        config: &ConsumerConfig,
    ) -> Result<Arc<dyn Consumer>, LogError>;

    /// How far the durable consumers of a stream have come.
    async fn consumers(&self, stream: &str) -> Result<Vec<ConsumerInfo>, LogError>;

    /// Reads on from a place, without acknowledging anything; no filters means everything.
    async fn read(
        &self,
        stream: &str,
        start: Start,
        filters: &[SubjectFilter],
    ) -> Result<Box<dyn Reader>, LogError>;

    /// One record; `None` where it has expired, was deleted or never was.
    async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, LogError>;

    /// Deletes one record for good: its bytes are gone when this returns. False where there was
    /// none.
    async fn delete(&self, stream: &str, sequence: u64) -> Result<bool, LogError>;

    /// Removes many records at once; returns how many. Sequences go on where they were. What lies
    /// before the oldest record that stays counts as expired: consumers that had not come to it
    /// list it under [`ConsumerInfo::missed`].
    async fn purge(&self, stream: &str, purge: &Purge) -> Result<u64, LogError>;

    /// Removes a stream with all its records and consumers. Whoever has it open gets
    /// [`LogError::UnknownStream`] from then on.
    async fn remove_stream(&self, name: &str) -> Result<(), LogError>;

    /// A bucket of small values; created where there is none. A log that was opened to read makes
    /// nothing, and a bucket that is not there is empty.
    async fn bucket(&self, name: &str) -> Result<Arc<dyn Bucket>, LogError>;

    /// What was found damaged or missing when the log was opened, in words; empty is good.
    async fn problems(&self) -> Result<Vec<String>, LogError>;

    /// Where the log's settings can lose what was acknowledged, and where streams and consumers
    /// are set in another way than was asked for; in words.
    async fn warnings(&self) -> Result<Vec<String>, LogError> {
        Ok(Vec::new())
    }

    /// The largest record that this log takes, in bytes, as [`Record::size`] counts them.
    fn record_bytes_max(&self) -> usize {
        RECORD_BYTES_MAX
    }

    /// Writes out what is still under way and closes. Everything fails with
    /// [`LogError::Closed`] afterwards.
    async fn close(&self) -> Result<(), LogError>;
}

/// A durable consumer's handle. Several may be open on one consumer, here or in other processes
/// where the log allows those: each record goes to one of them.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// Up to `max` deliveries, oldest first; waits up to `wait` for the first one. Empty when
    /// none came.
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, LogError>;

    /// Settles deliveries. What is acknowledged here is not delivered again, except that the last
    /// moment's acknowledgements may be forgotten in a crash.
    async fn settle(&self, settled: &[(AckToken, Settle)]) -> Result<(), LogError>;

    /// How far it has come.
    async fn info(&self) -> Result<ConsumerInfo, LogError>;
}

/// A place in a stream that reads on.
#[async_trait]
pub trait Reader: Send {
    /// Up to `max` records in order; waits up to `wait` for the first one. Empty when none came.
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Stored>, LogError>;
}

/// Small values under keys, each change a new revision. Keys: letters, digits, `-`, `_`, `.`,
/// `=`, `/`. Durable when the call returns.
#[async_trait]
pub trait Bucket: Send + Sync {
    /// The value under a key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, LogError>;

    /// Sets a value, whatever was there; returns the new revision.
    async fn put(&self, key: &str, value: Bytes) -> Result<u64, LogError>;

    /// Sets a value only where the key's revision is this one (0: the key must not exist);
    /// otherwise [`LogError::WrongRevision`].
    async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, LogError>;

    /// Removes a key.
    async fn remove(&self, key: &str) -> Result<(), LogError>;

    /// All keys, sorted.
    async fn keys(&self) -> Result<Vec<String>, LogError>;
}
