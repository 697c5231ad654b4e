//! What a host's messages are, whatever it speaks.

use super::verify::Proof;
use crate::Content;

/// A message that was understood.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// Something that happened.
    Event(StreamEvent),
    /// The host says something about the stream, such as `OutdatedCursor`.
    Info(Notice),
    /// The host gives up on the stream.
    Error(Notice),
    /// Something that a later version of the protocol has.
    Unknown(Content),
}

/// Something that happened, at a place of the host's stream.
#[derive(Debug)]
pub(crate) struct StreamEvent {
    /// The place: a sequence number, or microseconds since 1970.
    pub(crate) cursor: u64,
    /// When it happened by the host's clock, in microseconds since 1970, where it can be read.
    pub(crate) time_us: Option<u64>,
    /// The revision of the commit that it is of, or nothing.
    pub(crate) rev: String,
    /// What it becomes. Empty where nothing of it is wanted.
    pub(crate) contents: Vec<Content>,
    /// What has to be proven first.
    pub(crate) proof: Option<Proof>,
}

/// What a host says: a word, and more for people.
#[derive(Debug)]
pub(crate) struct Notice {
    /// The word.
    pub(crate) name: String,
    /// The name and the text, fit to be shown.
    pub(crate) words: String,
}

impl Notice {
    pub(crate) fn new(name: &str, message: Option<&str>) -> Self {
        let words = match message {
            Some(message) => format!("{name}: {message}"),
            None => name.to_owned(),
        };
        Self { name: name.to_owned(), words: super::socket::shown(&words) }
    }
}

/// A message that can't be understood at all: its framing is broken, so nothing behind it on the
/// same connection can be trusted either.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadMessage(pub(crate) String);
