//! What happened, in the form of each protocol.
//!
//! Every host numbers the events in its own way. So an event is kept as the bytes around its
//! numbers: whoever sends it puts in the ones of its host.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use wingbeat_atproto::{Action, POST_COLLECTION, Post, cbor::Value, frame, to_json};
use wingbeat_record::Time;

use crate::{fault::Fault, oracle, repo::SignedCommit};

/// The first sequence number of a host, less 1. Above 2^32, as the real ones are: all of them have
/// the same length in CBOR.
pub(crate) const SEQ_BASE: u64 = 30_000_000_000;

/// How far the hosts' numbers are apart.
pub(crate) const SEQ_HOST_STEP: u64 = 1_000_000_007_000;

/// One event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) did: Arc<str>,
    /// When it happened, in microseconds since 1970.
    pub(crate) time_us: u64,
    pub(crate) kind: Kind,
    relay: RelayFrame,
    /// Its views for Jetstream: one for each operation.
    pub(crate) views: Vec<View>,
    pub(crate) truth: Arc<oracle::Event>,
}

/// Its kind, in the words of Jetstream v2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Commit,
    Identity,
    Account,
    Sync,
}

/// What an event says besides who and when.
#[derive(Debug)]
pub(crate) enum Happening {
    Commit(SignedCommit),
    Identity { handle: String },
    Account { active: bool, status: Option<&'static str> },
    Sync { rev: String, car: Vec<u8> },
}

/// A frame of the relay, and where its sequence number is.
#[derive(Debug)]
struct RelayFrame {
    bytes: Bytes,
    seq: u64,
    seq_at: usize,
}

/// What Jetstream says of one operation, or of an event of another kind.
#[derive(Debug)]
pub(crate) struct View {
    /// `None` for what is no commit.
    pub(crate) collection: Option<String>,
    pub(crate) time_us: u64,
    /// What stands behind the time, up to the cursor. `None`: v1 does not tell it.
    v1: Option<String>,
    /// What stands behind the sequence number.
    v2: String,
    /// The end of the `$type`.
    kind: Kind,
    did: Arc<str>,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Identity => "identity",
            Self::Account => "account",
            Self::Sync => "sync",
        }
    }
}

impl Event {
    /// Event `n`.
    pub(crate) fn new(
        n: u64,
        did: &Arc<str>,
        time_us: u64,
        happening: &Happening,
        fault: Option<Fault>,
    ) -> Self {
        let seq = SEQ_BASE + 1 + n;
        let kind = happening.kind();
        let views = match happening {
            Happening::Commit(commit) => commit_views(did, time_us, commit),
            other => vec![other_view(did, time_us, seq, other)],
        };
        let truth = Arc::new(oracle::Event {
            n,
            did: Arc::clone(did),
            kind,
            time_us,
            rev: happening.rev(),
            fault,
            ops: truth_of_ops(happening),
            detail: happening.detail(),
        });
        let relay = relay_frame(did, time_us, seq, happening);
        Self { did: Arc::clone(did), time_us, kind, relay, views, truth }
    }

    /// The frame for the relay's stream.
    pub(crate) fn relay_frame(&self, seq: u64) -> Bytes {
        let frame = &self.relay;
        if seq == frame.seq {
            return frame.bytes.clone();
        }
        let mut bytes = frame.bytes.to_vec();
        if let Some(place) = bytes.get_mut(frame.seq_at..frame.seq_at + 8) {
            place.copy_from_slice(&seq.to_be_bytes());
        }
        bytes.into()
    }
}

impl Happening {
    fn kind(&self) -> Kind {
        match self {
            Self::Commit(_) => Kind::Commit,
            Self::Identity { .. } => Kind::Identity,
            Self::Account { .. } => Kind::Account,
            Self::Sync { .. } => Kind::Sync,
        }
    }

    fn rev(&self) -> Option<String> {
        match self {
            Self::Commit(commit) => Some(commit.rev.to_string()),
            Self::Sync { rev, .. } => Some(rev.clone()),
            _ => None,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Identity { handle } => Some(handle.clone()),
            Self::Account { status, .. } => Some(status.unwrap_or("active").to_owned()),
            _ => None,
        }
    }
}

impl View {
    /// The event of Jetstream v1.
    pub(crate) fn v1(&self, time_us: u64, seq: u64) -> Option<String> {
        let middle = self.v1.as_ref()?;
        Some(format!(
            "{{\"did\":\"{}\",\"time_us\":{time_us},{middle},\"cursor\":{seq}}}",
            self.did
        ))
    }

    /// The frame of Jetstream v2.
    pub(crate) fn v2(&self, seq: u64) -> String {
        let (kind, rest) = (self.kind.name(), &self.v2);
        format!(
            "{{\"$type\":\"message\",\"payload\":{{\"$type\":\
             \"network.bsky.jetstream.subscribeEvents#{kind}\",\"seq\":{seq},{rest}}}}}"
        )
    }
}

pub(crate) fn action_name(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    }
}

/// The time as Jetstream v2 writes it.
fn wire_time(time_us: u64) -> String {
    format!("{:.6}", Time::from_micros(i64::try_from(time_us).unwrap_or(i64::MAX)))
}

fn relay_time(time_us: u64) -> String {
    format!("{:.3}", Time::from_micros(i64::try_from(time_us).unwrap_or(i64::MAX)))
}

/// One view for each operation. As in Jetstream, an operation whose record can't be read is left
/// out, and the others stay.
fn commit_views(did: &Arc<str>, time_us: u64, commit: &SignedCommit) -> Vec<View> {
    let mut views = Vec::with_capacity(commit.ops.len());
    for (time_us, op) in (time_us..).zip(&commit.ops) {
        let Some((collection, rkey)) = op.path.split_once('/') else { continue };
        let (rev, action) = (commit.rev, action_name(op.action));
        let mut fields = format!(
            "\"rev\":\"{rev}\",\"operation\":\"{action}\",\
             \"collection\":\"{collection}\",\"rkey\":\"{rkey}\""
        );
        if let Some((cid, record)) = &op.record {
            let Ok(record) = to_json(record) else { continue };
            fields.push_str(&format!(",\"record\":{record},\"cid\":\"{cid}\""));
        }
        views.push(View {
            collection: Some(collection.to_owned()),
            time_us,
            v1: Some(format!("\"kind\":\"commit\",\"commit\":{{{fields}}}")),
            v2: format!("\"did\":\"{did}\",\"time\":\"{}\",{fields}", wire_time(time_us)),
            kind: Kind::Commit,
            did: Arc::clone(did),
        });
    }
    views
}

fn other_view(did: &Arc<str>, time_us: u64, seq: u64, happening: &Happening) -> View {
    let mut inner = json!({ "did": **did, "seq": seq, "time": relay_time(time_us) });
    match happening {
        Happening::Identity { handle } => inner["handle"] = json!(handle),
        Happening::Account { active, status } => {
            inner["active"] = json!(active);
            if let Some(status) = status {
                inner["status"] = json!(status);
            }
        }
        Happening::Sync { rev, car } => {
            use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
            inner["rev"] = json!(rev);
            inner["blocks"] = json!({ "$bytes": STANDARD_NO_PAD.encode(car) });
        }
        Happening::Commit(_) => {}
    }
    let kind = happening.kind();
    let name = kind.name();
    let (time, told_by_v1) = (wire_time(time_us), kind != Kind::Sync);
    View {
        collection: None,
        time_us,
        v1: told_by_v1.then(|| format!("\"kind\":\"{name}\",\"{name}\":{inner}")),
        v2: format!("\"did\":\"{did}\",\"time\":\"{time}\",\"{name}\":{inner}"),
        kind,
        did: Arc::clone(did),
    }
}

fn relay_frame(did: &str, time_us: u64, seq: u64, happening: &Happening) -> RelayFrame {
    let time = relay_time(time_us);
    let signed_seq = i64::try_from(seq).unwrap_or(i64::MAX);
    let mut fields = vec![("seq", Value::Integer(signed_seq)), ("time", Value::Text(&time))];
    let (since, rev);
    let kind = match happening {
        Happening::Commit(commit) => {
            (since, rev) = (commit.since.to_string(), commit.rev.to_string());
            fields.extend([
                ("repo", Value::Text(did)),
                ("rev", Value::Text(&rev)),
                ("since", Value::Text(&since)),
                ("commit", Value::Link(commit.commit)),
                ("prevData", Value::Link(commit.prev_data)),
                ("blocks", Value::Bytes(&commit.car)),
                ("ops", Value::Array(commit.ops.iter().map(relay_op).collect())),
                ("blobs", Value::Array(Vec::new())),
                ("rebase", Value::Bool(false)),
                ("tooBig", Value::Bool(false)),
            ]);
            "#commit"
        }
        Happening::Identity { handle } => {
            fields.extend([("did", Value::Text(did)), ("handle", Value::Text(handle))]);
            "#identity"
        }
        Happening::Account { active, status } => {
            fields.extend([("did", Value::Text(did)), ("active", Value::Bool(*active))]);
            fields.extend(status.map(|status| ("status", Value::Text(status))));
            "#account"
        }
        Happening::Sync { rev, car } => {
            fields.extend([
                ("did", Value::Text(did)),
                ("rev", Value::Text(rev)),
                ("blocks", Value::Bytes(car)),
            ]);
            "#sync"
        }
    };
    // Maps of different keys, a few levels deep, can always be written.
    let bytes = frame::encode(kind, &Value::Map(fields)).unwrap_or_default();
    // The key `seq`, then the head of an integer of 8 bytes and the number itself.
    let needle = [b"\x63seq\x1b".as_slice(), &seq.to_be_bytes()].concat();
    let found_at = bytes.windows(needle.len()).position(|window| window == needle);
    let seq_at = found_at.map_or(bytes.len(), |at| at + needle.len() - 8);
    RelayFrame { bytes: bytes.into(), seq, seq_at }
}

fn relay_op(op: &crate::repo::WrittenOp) -> Value<'_> {
    let cid = op.record.as_ref().map_or(Value::Null, |(cid, _)| Value::Link(*cid));
    let mut fields = vec![
        ("cid", cid),
        ("path", Value::Text(&op.path)),
        ("action", Value::Text(action_name(op.action))),
    ];
    fields.extend(op.prev.map(|prev| ("prev", Value::Link(prev))));
    Value::Map(fields)
}

fn truth_of_ops(happening: &Happening) -> Vec<oracle::Op> {
    let Happening::Commit(commit) = happening else { return Vec::new() };
    let ops = commit.ops.iter().map(|op| oracle::Op {
        action: action_name(op.action),
        path: Arc::clone(&op.path),
        cid: op.record.as_ref().map(|(cid, _)| cid.to_string()),
        text: op
            .record
            .as_ref()
            .filter(|_| op.path.starts_with(POST_COLLECTION))
            .and_then(|(_, record)| Post::decode(record).ok())
            .map(|post| post.text.to_owned()),
    });
    ops.collect()
}
