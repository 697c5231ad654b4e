//! Where records are kept in order.
//!
//! Floor 1. [`Log`] is the contract: streams with subjects, durable consumers, buckets. The
//! semantics are JetStream's. [`EmbeddedLog`] keeps it in one process, on disk; [`NatsLog`] on the
//! servers of NATS JetStream, where [`NatsRequests`] also asks services and is one. The module `conformance` (feature `conformance`) is the kit that every log must pass.

mod check;
#[cfg(feature = "conformance")]
pub mod conformance;
mod contract;
pub mod crashpoint;
mod embedded;
mod error;
mod nats;
mod patience;
mod url;

pub use contract::{
    AckToken, Bucket, Consumer, ConsumerConfig, ConsumerInfo, Delivery, Discard, Entry, Log,
    LostRange, PubAck, RECORD_BYTES_MAX, Reader, Settle, Start, Stored, StreamConfig, StreamInfo,
};
pub use embedded::EmbeddedLog;
pub use error::{Hint, LogError};
pub use nats::{
    Answer, Existing, NatsLog, NatsRequests, NatsService, NatsUrl, Query, Refusal, ServiceSpec,
};
pub use patience::{patiently, read_patiently};
pub use url::{Access, LogUrl};
