//! One message.

use bytes::Bytes;

use crate::{Headers, MessageId, Subject, name};

/// One message: where it belongs, what is said about it, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it was, or will be, published.
    pub subject: Subject,
    /// Named texts beside the payload.
    pub headers: Headers,
    /// The bytes, whatever they are: a payload is untrusted until a stage has checked it.
    pub payload: Bytes,
}

impl Record {
    /// A record without headers.
    pub fn new(subject: Subject, payload: impl Into<Bytes>) -> Self {
        Self { subject, headers: Headers::new(), payload: payload.into() }
    }

    /// The same record with its message id set.
    #[must_use]
    pub fn with_id(mut self, id: MessageId) -> Self {
        self.headers.set(name::MESSAGE_ID, id);
        self
    }

    /// The message id, where it has one.
    pub fn id(&self) -> Option<&str> {
        self.headers.get(name::MESSAGE_ID)
    }

    /// What it takes in memory and on disk, about: subject, headers and payload, in bytes.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
        self.subject.as_str().len() + headers + self.payload.len()
    }
}
