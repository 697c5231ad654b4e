//! Server-sent events as bytes (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use wingbeat_flow::{Books, Counts};

use crate::{SourceStatus, moods::Now};

/// What every stream of events begins with: how long a browser waits before it reconnects.
pub(crate) const BEGINNING: Bytes = Bytes::from_static(b"retry: 2000\n\n");
/// A comment, so that proxies and browsers see that the connection lives.
pub(crate) const HEARTBEAT: Bytes = Bytes::from_static(b": heartbeat\n\n");

/// A post. A line break in the payload would end the event, so it becomes a space: outside of
/// strings that means the same, and inside of them JSON allows none.
pub(crate) fn post(sequence: u64, payload: &[u8]) -> Bytes {
    let mut frame = format!("id: {sequence}\ndata: ").into_bytes();
    frame.extend(payload.iter().map(|&b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }));
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

/// An event with a name and JSON data.
fn named(name: &str, data: &impl Serialize) -> Bytes {
    // The data are our own types, which always serialise; serde_json writes no line breaks.
    let json = serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned());
    format!("event: {name}\ndata: {json}\n\n").into()
}

pub(crate) fn deleted(uri: &str) -> Bytes {
    named("deleted", &json!({ "uri": uri }))
}

pub(crate) fn dropped(count: u64, total: u64) -> Bytes {
    named("dropped", &json!({ "count": count, "total": total }))
}

pub(crate) fn gap(from: u64, to: u64, reason: &str) -> Bytes {
    named("gap", &json!({ "from": from, "to": to, "reason": reason }))
}

/// A flow's books, for the page.
#[derive(Debug, Serialize)]
pub(crate) struct BooksView {
    flow: String,
    received: u64,
    emitted: u64,
    filtered: std::collections::BTreeMap<String, u64>,
    dead: u64,
    dead_kinds: std::collections::BTreeMap<String, u64>,
    in_flight: u64,
    imbalance: i64,
}

pub(crate) fn books_view(books: &[Books]) -> Vec<BooksView> {
    let view = |books: &Books| {
        let counts: Counts = books.counts();
        BooksView {
            flow: books.name().to_owned(),
            received: counts.received,
            emitted: counts.emitted,
            dead: counts.dead_total(),
            in_flight: counts.in_flight,
            imbalance: counts.imbalance(),
            filtered: counts.filtered,
            dead_kinds: counts.dead,
        }
    };
    books.iter().map(view).collect()
}

pub(crate) fn stats(now_ms: i64, now: &Now, source: &SourceStatus, books: &[Books]) -> Bytes {
    #[derive(Serialize)]
    struct Stats<'a> {
        now_ms: i64,
        #[serde(flatten)]
        now: &'a Now,
        source: &'a SourceStatus,
        books: Vec<BooksView>,
    }
    named("stats", &Stats { now_ms, now, source, books: books_view(books) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_cannot_end_its_event_or_begin_another() {
        let frame = post(7, b"{\"text\":\"a\"\r\n\n,\n\"b\":1}");
        assert_eq!(frame, "id: 7\ndata: {\"text\":\"a\"   , \"b\":1}\n\n");
        let frame = deleted("at://x\n\nevent: forged");
        assert_eq!(frame, "event: deleted\ndata: {\"uri\":\"at://x\\n\\nevent: forged\"}\n\n");
    }
}
