//! What is told about an interval of which it can't be proved that everything was seen.

use wingbeat_record::{MessageId, ObjectWriter, Time};

use super::start::GapStart;
use crate::{Content, Event};

/// How long such an event is, about, in bytes.
const EVENT_BYTES: usize = 256;

/// The event of a gap that ends before the event at `to_cursor`.
pub(crate) fn gap_event(url: &str, start: &GapStart, to_cursor: u64, to_us: u64) -> Content {
    let time = |us: u64| Time::from_micros(i64::try_from(us).unwrap_or(i64::MAX)).to_string();
    let mut writer = ObjectWriter::with_capacity(EVENT_BYTES);
    writer.text("kind", "gap");
    writer.text("host", url);
    // `host_switch`: a relay that was not read before begins now. `outdated_cursor`: the host no
    // longer has what comes after the cursor. `clamped_cursor`: so it seems, the host says nothing.
    writer.text("reason", start.reason);
    writer.number_or_null("from_cursor", start.from_cursor);
    writer.number("to_cursor", to_cursor);
    writer.text_or_null("from_time", start.from_us.map(time).as_deref());
    writer.text("to_time", &time(to_us));
    let id = MessageId::new(format!("gap:{url}:{}:{to_cursor}", start.from_us.unwrap_or(0)));
    Content::Event(Event { kind: "gap", payload: writer.finish().into_payload(), id })
}
