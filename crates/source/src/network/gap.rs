//! What is told about an interval of which it can't be proved that everything was seen.

use serde::Serialize;
use wingbeat_record::{MessageId, Time};

use super::start::GapStart;
use crate::{Content, Event, payload::to_bytes};

#[derive(Serialize)]
struct Gap<'a> {
    kind: &'static str,
    host: &'a str,
    /// `host_switch`: a relay that was not read before begins now. `outdated_cursor`: the host no
    /// longer has what comes after the cursor. `clamped_cursor`: so it seems, the host says
    /// nothing.
    reason: &'static str,
    from_cursor: Option<u64>,
    to_cursor: u64,
    from_time: Option<String>,
    to_time: String,
}

/// The event of a gap that ends before the event at `to_cursor`.
pub(crate) fn gap_event(url: &str, start: &GapStart, to_cursor: u64, to_us: u64) -> Content {
    let time = |us: u64| Time::from_micros(i64::try_from(us).unwrap_or(i64::MAX)).to_string();
    let gap = Gap {
        kind: "gap",
        host: url,
        reason: start.reason,
        from_cursor: start.from_cursor,
        to_cursor,
        from_time: start.from_us.map(time),
        to_time: time(to_us),
    };
    let id = MessageId::new(format!("gap:{url}:{}:{to_cursor}", start.from_us.unwrap_or(0)));
    Content::Event(Event { kind: "gap", payload: to_bytes(&gap), id })
}
