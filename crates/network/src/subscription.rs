//! What one consumer asked for, and what an event is for it.

use std::sync::Arc;

use axum::extract::ws::Message;
use bytes::Bytes;
use serde_json::json;
use wingbeat_atproto::{FRAME_BYTES_MAX, cbor::Value, frame};

use crate::{
    dictionary::Packer,
    event::{SEQ_BASE, SEQ_HOST_STEP},
    filter::Filter,
    history::{Bounds, Entry, History},
    options::BadCursors,
};

/// From where on a cursor of Jetstream is a time in microseconds since 1970, not a sequence
/// number (its lexicon).
const TIME_CURSOR_MIN: u64 = 1_000_000_000_000_000;

/// The protocol of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Relay,
    JetstreamV1,
    JetstreamV2,
}

/// One consumer's stream.
pub(crate) struct Subscription {
    pub(crate) protocol: Protocol,
    pub(crate) host: usize,
    pub(crate) filter: Filter,
    pub(crate) packer: Option<Arc<Packer>>,
    pub(crate) start: Start,
}

/// Where a stream starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// The first event.
    pub(crate) event: u64,
    /// In it, the first view that is wanted: Jetstream numbers views, not events.
    first_view: u64,
    /// And the first time.
    first_time_us: u64,
    /// The cursor was before the window, and the consumer is told.
    pub(crate) is_outdated: bool,
}

/// A cursor that ends the stream, or never lets it begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadCursor {
    /// An error frame says that it is in the future.
    Future,
    /// 400: a sequence number of v2 before the window. This is the first one in it.
    TooOld(u64),
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::JetstreamV1 => "jetstream-v1",
            Self::JetstreamV2 => "jetstream-v2",
        }
    }
}

/// The first sequence number of a host.
pub(crate) fn first_seq(host: usize) -> u64 {
    SEQ_BASE + 1 + host as u64 * SEQ_HOST_STEP
}

impl Start {
    fn at(event: u64) -> Self {
        Self { event, first_view: 0, first_time_us: 0, is_outdated: false }
    }

    /// The next event that will happen.
    pub(crate) fn live(history: &History) -> Self {
        Self::at(history.bounds().end)
    }

    /// The start that a cursor means. 0 is the oldest event, none the next that will happen.
    pub(crate) fn of_cursor(
        cursor: Option<u64>,
        protocol: Protocol,
        host: usize,
        history: &History,
        bad_cursors: BadCursors,
    ) -> Result<Self, BadCursor> {
        let bounds = history.bounds();
        let told = bad_cursors == BadCursors::Told;
        match (cursor, protocol) {
            (None, _) => Ok(Self::at(bounds.end)),
            (Some(0), _) => Ok(Self::at(bounds.first)),
            (Some(cursor), Protocol::Relay) => {
                Self::of_seq(cursor, first_seq(host), bounds.first, bounds.end, told)
            }
            (Some(cursor), _) if cursor >= TIME_CURSOR_MIN => {
                Ok(Self::of_time(cursor, protocol, history, bounds, told))
            }
            (Some(cursor), _) => {
                let views = (bounds.first_view, bounds.end_view);
                let is_v2 = protocol == Protocol::JetstreamV2;
                let floor = first_seq(host) + views.0;
                if is_v2 && told && cursor < floor {
                    return Err(BadCursor::TooOld(floor));
                }
                // v1 has no words for a bad cursor.
                let start = Self::of_seq(cursor, first_seq(host), views.0, views.1, told && is_v2)?;
                let first_view = start.event;
                Ok(Self { event: history.event_of_view(first_view), first_view, ..start })
            }
        }
    }

    /// A sequence number, where the stream holds `first` to `end`. A replay includes it.
    fn of_seq(cursor: u64, base: u64, first: u64, end: u64, told: bool) -> Result<Self, BadCursor> {
        if cursor < base + first {
            return Ok(Self { is_outdated: told, ..Self::at(first) });
        }
        // The number that comes next is what a consumer asks for that has seen all.
        if cursor > base + end && told {
            return Err(BadCursor::Future);
        }
        Ok(Self::at((cursor - base).min(end)))
    }

    fn of_time(
        time_us: u64,
        protocol: Protocol,
        history: &History,
        bounds: Bounds,
        told: bool,
    ) -> Self {
        let is_before_all = time_us < bounds.first_time_us && bounds.first > 0;
        let is_outdated = is_before_all && told && protocol == Protocol::JetstreamV2;
        let event = history.event_at(time_us);
        Self { first_time_us: time_us, is_outdated, ..Self::at(event) }
    }
}

impl Subscription {
    /// What this host calls the event: the first number, where Jetstream has several.
    pub(crate) fn seq(&self, entry: &Entry) -> u64 {
        match self.protocol {
            Protocol::Relay => first_seq(self.host) + entry.n,
            _ => first_seq(self.host) + entry.first_view,
        }
    }

    /// The messages that an event is for this consumer.
    pub(crate) fn messages(&self, entry: &Entry) -> Vec<Message> {
        match self.protocol {
            Protocol::Relay => {
                vec![Message::Binary(entry.event.relay_frame(self.seq(entry)))]
            }
            _ => self.pack(self.views(entry)),
        }
    }

    fn views(&self, entry: &Entry) -> Vec<String> {
        if !self.filter.passes_event(&entry.event) {
            return Vec::new();
        }
        let mut texts = Vec::with_capacity(entry.event.views.len());
        for (view_number, view) in (entry.first_view..).zip(&entry.event.views) {
            let time_us = view.time_us + entry.shift_us;
            let is_early =
                view_number < self.start.first_view || time_us < self.start.first_time_us;
            if is_early || !self.filter.passes_view(view) {
                continue;
            }
            let seq = first_seq(self.host) + view_number;
            let text = match self.protocol {
                Protocol::JetstreamV1 => view.v1(time_us, seq),
                _ => Some(view.v2(seq)),
            };
            texts.extend(text.filter(|text| self.filter.passes_length(text.len())));
        }
        texts
    }

    fn pack(&self, texts: Vec<String>) -> Vec<Message> {
        let Some(packer) = self.packer.as_ref().filter(|_| !texts.is_empty()) else {
            return texts.into_iter().map(|text| Message::Text(text.into())).collect();
        };
        match packer.pack(&texts) {
            Ok(frames) => frames.into_iter().map(|frame| Message::Binary(frame.into())).collect(),
            Err(error) => {
                tracing::error!(%error, "a message can't be compressed");
                Vec::new()
            }
        }
    }

    /// A notice, in the words of the protocol. v1 has none.
    pub(crate) fn info(&self, name: &str, message: &str) -> Option<Message> {
        match self.protocol {
            Protocol::Relay => {
                let payload = vec![("name", Value::Text(name)), ("message", Value::Text(message))];
                let frame = frame::encode("#info", &Value::Map(payload)).unwrap_or_default();
                Some(Message::Binary(frame.into()))
            }
            Protocol::JetstreamV1 => None,
            Protocol::JetstreamV2 => {
                let payload = json!({
                    "$type": "network.bsky.jetstream.subscribeEvents#info",
                    "name": name,
                    "message": message,
                });
                let text = json!({ "$type": "message", "payload": payload }).to_string();
                self.pack(vec![text]).pop()
            }
        }
    }

    /// The end of a stream, in the words of the protocol. v1 has none.
    pub(crate) fn error(&self, error: &str, message: &str) -> Option<Message> {
        match self.protocol {
            Protocol::Relay => {
                let payload =
                    vec![("error", Value::Text(error)), ("message", Value::Text(message))];
                let header = Value::Map(vec![("op", Value::Integer(-1))]);
                let parts = [header.encode(), Value::Map(payload).encode()];
                let frame = parts.into_iter().flat_map(Result::unwrap_or_default);
                Some(Message::Binary(frame.collect()))
            }
            Protocol::JetstreamV1 => None,
            Protocol::JetstreamV2 => {
                let text = json!({ "$type": "error", "error": error, "message": message });
                self.pack(vec![text.to_string()]).pop()
            }
        }
    }

    /// A sound message that is larger than any frame of the relay may be.
    pub(crate) fn oversize(&self) -> Message {
        let long = "x".repeat(FRAME_BYTES_MAX + 1);
        let text = json!({ "did": "did:plc:oversize", "kind": "oversize", "text": long });
        let notice = self.info("Oversize", &long);
        notice.unwrap_or_else(|| match self.pack(vec![text.to_string()]).pop() {
            Some(message) => message,
            None => Message::Binary(Bytes::new()),
        })
    }
}
