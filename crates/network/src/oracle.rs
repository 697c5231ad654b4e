//! What the network really made, for tests to compare with.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{event::Kind, fault::Fault};

/// The truth about one event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) n: u64,
    pub(crate) did: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) time_us: u64,
    pub(crate) rev: Option<String>,
    /// What is wrong with the event itself. A consumer that verifies takes nothing from it, or in
    /// the case of a bad record everything but that one.
    pub(crate) fault: Option<Fault>,
    pub(crate) ops: Vec<Op>,
    /// The new handle or status.
    pub(crate) detail: Option<String>,
}

/// The truth about one operation of a commit.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) action: &'static str,
    pub(crate) path: Arc<str>,
    pub(crate) cid: Option<String>,
    pub(crate) text: Option<String>,
}

impl Event {
    /// Appends its JSON lines: one for each operation, or one for an event of another kind.
    pub(crate) fn write_lines(&self, relay_seq: u64, out: &mut String) {
        let mut line = Map::new();
        let set = |line: &mut Map<String, Value>, key: &str, value: Value| {
            line.insert(key.to_owned(), value);
        };
        set(&mut line, "n", json!(self.n));
        set(&mut line, "seq", json!(relay_seq));
        set(&mut line, "time_us", json!(self.time_us));
        set(&mut line, "kind", json!(self.kind));
        set(&mut line, "did", json!(*self.did));
        set(&mut line, "rev", json!(self.rev));
        set(&mut line, "fault", json!(self.fault));
        set(&mut line, "detail", json!(self.detail));
        if self.ops.is_empty() {
            push_line(line, out);
            return;
        }
        for op in &self.ops {
            let mut line = line.clone();
            set(&mut line, "action", json!(op.action));
            set(&mut line, "path", json!(*op.path));
            set(&mut line, "cid", json!(op.cid));
            set(&mut line, "text", json!(op.text));
            push_line(line, out);
        }
    }
}

fn push_line(line: Map<String, Value>, out: &mut String) {
    out.push_str(&Value::Object(line).to_string());
    out.push('\n');
}
