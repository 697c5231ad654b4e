//! Headers: short named texts that travel beside a payload. Small and ordered; a linear search
//! beats a map at these sizes.

use std::{borrow::Cow, sync::Arc};

/// The names of the headers that Wingbeat itself reads or writes.
pub mod name {
    /// The message id, by which a log recognises duplicates. JetStream's own name.
    pub const MESSAGE_ID: &str = "Nats-Msg-Id";
    /// Joins the log lines and records that one input caused.
    pub const CORRELATION_ID: &str = "Wingbeat-Correlation-Id";
    /// W3C trace context, passed through.
    pub const TRACEPARENT: &str = "traceparent";
    /// Which source read the record, such as `file:posts.jsonl`.
    pub const SOURCE: &str = "Wingbeat-Source";
    /// The record's position in its source: a number that only grows.
    pub const POSITION: &str = "Wingbeat-Position";
    /// Which input record an output was made from: `STREAM/SEQUENCE`.
    pub const INPUT: &str = "Wingbeat-Input";
    /// What the stage `filter` has noted about the record: words separated by commas.
    pub const TAGS: &str = "Wingbeat-Tags";
    /// On an output or a dead letter: the flow that made it.
    pub const FLOW: &str = "Wingbeat-Flow";
    /// On a dead letter: what was wrong, in words.
    pub const ERROR: &str = "Wingbeat-Error";
    /// On a dead letter: the short, countable kind of the error.
    pub const ERROR_KIND: &str = "Wingbeat-Error-Kind";
    /// On a dead letter: the stage that gave up, or `source`.
    pub const STAGE: &str = "Wingbeat-Stage";
    /// On a dead letter: the subject that the original record had.
    pub const SUBJECT: &str = "Wingbeat-Subject";
    /// On a dead letter: the message id that the original record had.
    pub const ORIGINAL_ID: &str = "Wingbeat-Original-Id";
    /// On a dead letter: how often the record had been delivered.
    pub const DELIVERIES: &str = "Wingbeat-Deliveries";
    /// On a dead letter: when it died, RFC 3339.
    pub const DIED_AT: &str = "Wingbeat-Died-At";
    /// On a dead letter whose original was too large to keep whole: the original's length in
    /// bytes. The payload is then its beginning.
    pub const ORIGINAL_BYTES: &str = "Wingbeat-Original-Bytes";
    /// Beside [`ORIGINAL_BYTES`]: the SHA-256 of the whole original, in hexadecimal.
    pub const ORIGINAL_SHA256: &str = "Wingbeat-Original-Sha256";

    /// All of them.
    pub(super) const ALL: [&str; 17] = [
        MESSAGE_ID,
        CORRELATION_ID,
        TRACEPARENT,
        SOURCE,
        POSITION,
        TAGS,
        INPUT,
        ERROR,
        ERROR_KIND,
        STAGE,
        FLOW,
        SUBJECT,
        ORIGINAL_ID,
        DELIVERIES,
        DIED_AT,
        ORIGINAL_BYTES,
        ORIGINAL_SHA256,
    ];
}

/// The most headers that one record may carry.
pub const HEADERS_MAX: usize = 64;
/// The longest header value, in bytes. An error text is cut to this.
pub const HEADER_VALUE_BYTES_MAX: usize = 4096;

/// Why a header was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// An empty name, or one with a colon, a space or a character outside printable ASCII.
    #[error("the header name {0:?} is not valid: printable ASCII without spaces and colons")]
    Name(String),
    /// A record with more than [`HEADERS_MAX`] headers.
    #[error("more than {HEADERS_MAX} headers")]
    TooMany,
}

/// The headers of one record, in the order in which they were set. Cloning is cheap: a copy is
/// made when one of the clones changes. None take no memory.
#[derive(Debug, Clone, Default)]
pub struct Headers(Option<Arc<Vec<Header>>>);

/// A name and its value.
type Header = (Cow<'static, str>, String);

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    fn all(&self) -> &[Header] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    fn all_mut(&mut self) -> &mut Vec<Header> {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// The first value under that name. Names are compared as they are written.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all().iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Sets one of the well-known headers of [`name`], replacing what stood there. Line breaks
    /// and control characters in the value become spaces and an overlong value is cut, so that a
    /// value made from hostile text can't forge another header.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.put(Cow::Borrowed(name), clean(value.into()));
    }

    /// Sets a header whose name comes from outside.
    pub fn try_set(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let is_valid = |b: u8| b.is_ascii_graphic() && b != b':';
        if name.is_empty() || name.len() > 128 || !name.bytes().all(is_valid) {
            return Err(HeaderError::Name(name.to_owned()));
        }
        if self.len() >= HEADERS_MAX && self.get(name).is_none() {
            return Err(HeaderError::TooMany);
        }
        self.put(Cow::Owned(name.to_owned()), clean(value.to_owned()));
        Ok(())
    }

    /// Puts back a header that a log has kept. It was checked when it was first set; the
    /// well-known names cost no allocation.
    pub fn restore(&mut self, name: &str, value: String) {
        let known = name::ALL.iter().find(|known| **known == name);
        let name = known.map_or_else(|| Cow::Owned(name.to_owned()), |known| Cow::Borrowed(*known));
        self.all_mut().push((name, value));
    }

    fn put(&mut self, name: Cow<'static, str>, value: String) {
        let headers = self.all_mut();
        match headers.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = value,
            None => headers.push((name, value)),
        }
    }

    /// Removes a header and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.all().iter().position(|(n, _)| n == name)?;
        Some(self.all_mut().remove(at).1)
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all().iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.all() == other.all()
    }
}

impl Eq for Headers {}

fn clean(mut value: String) -> String {
    if value.len() > HEADER_VALUE_BYTES_MAX {
        let end = (0..=HEADER_VALUE_BYTES_MAX).rev().find(|&i| value.is_char_boundary(i));
        value.truncate(end.unwrap_or(0));
    }
    if value.contains(char::is_control) {
        value = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_made_of_hostile_text_cannot_forge_a_header() {
        let mut headers = Headers::new();
        headers.set(name::ERROR, "bad\r\nNats-Msg-Id: forged\0");
        assert_eq!(headers.get(name::ERROR), Some("bad  Nats-Msg-Id: forged "));
        assert_eq!(headers.get(name::MESSAGE_ID), None);
    }

    #[test]
    fn a_long_value_is_cut_at_a_character_boundary() {
        let mut headers = Headers::new();
        headers.set(name::ERROR, "é".repeat(HEADER_VALUE_BYTES_MAX));
        let kept = headers.get(name::ERROR).unwrap();
        assert!(kept.len() <= HEADER_VALUE_BYTES_MAX && kept.chars().all(|c| c == 'é'));
    }

    #[test]
    fn setting_again_replaces_and_names_from_outside_are_checked() {
        let mut headers = Headers::new();
        headers.set(name::MESSAGE_ID, "1");
        headers.set(name::MESSAGE_ID, "2");
        assert_eq!((headers.len(), headers.get(name::MESSAGE_ID)), (1, Some("2")));
        for bad in ["", "a b", "a:b", "ä", "a\n"] {
            assert!(headers.try_set(bad, "x").is_err(), "{bad:?}");
        }
        assert_eq!(headers.remove(name::MESSAGE_ID).as_deref(), Some("2"));
        assert!(headers.is_empty());
        assert_eq!(headers, Headers::new());
    }
}
