//! What flows through Wingbeat.
//!
//! Floor 0: this crate imports no other crate of the workspace. It holds the words that every
//! other crate speaks: [`Record`], [`Subject`], [`Headers`], [`MessageId`], [`Outcome`], the
//! strict JSON [`Document`] view of a payload, [`ObjectWriter`] that makes one, [`Sequences`], and [`Time`].

mod document;
mod headers;
pub mod json;
mod message_id;
mod outcome;
mod record;
mod sequences;
mod subject;
mod time;
mod writer;

pub use document::{Document, Value};
pub use headers::{HEADER_VALUE_BYTES_MAX, HEADERS_MAX, HeaderError, Headers, name};
pub use json::{JsonError, JsonErrorKind};
pub use message_id::MessageId;
pub use outcome::{DeadCause, Outcome, Reason};
pub use record::Record;
pub use sequences::Sequences;
pub use subject::{SUBJECT_BYTES_MAX, Subject, SubjectError, SubjectFilter, token};
pub use time::{Time, TimeError};
pub use writer::ObjectWriter;
