//! What Jetstream sends: one JSON object a message, of one operation or one event.
//!
//! The two versions differ in the envelope. What is in it becomes the same items, and the same as
//! the relay's frames do.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use wingbeat_atproto::{
    Did, POST_COLLECTION, Post as PostRecord, RecordPath, RecordUri, Reply, SELF_LABELS, Tid, frame,
};
use wingbeat_record::{Reason, Time};

use super::{
    counters::{NetworkCounters, count},
    endpoint::Protocol,
    message::{BadMessage, Decoded, Notice, StreamEvent},
    relay::{EventName, micros_of},
};
use crate::{
    Content,
    contents::{
        Change, account_event, delete_event, identity_event, post_content, sync_event, update_event,
    },
    dead::dead,
};

/// The most languages that a post may claim: as many as in a relay's frame.
const LANGS_MAX: usize = 64;

/// The first number that is no sequence number: they must be exact in a double.
const SEQ_END: u64 = 1 << 53;

/// A record was created, updated or deleted.
#[derive(Deserialize)]
struct JsonCommit<'a> {
    #[serde(borrow)]
    rev: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    collection: Cow<'a, str>,
    #[serde(borrow)]
    rkey: Cow<'a, str>,
    cid: Option<String>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
}

/// What the relay has sent about an account or a repository: its own words.
#[derive(Deserialize)]
struct JsonAccount {
    seq: u64,
    did: String,
    time: String,
    handle: Option<String>,
    active: Option<bool>,
    status: Option<String>,
    rev: Option<String>,
}

/// A message of version 1.
#[derive(Deserialize)]
struct V1Message<'a> {
    #[serde(borrow)]
    did: Cow<'a, str>,
    time_us: u64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    commit: Option<&'a RawValue>,
    #[serde(borrow)]
    identity: Option<&'a RawValue>,
    #[serde(borrow)]
    account: Option<&'a RawValue>,
}

/// A message of version 2.
#[derive(Deserialize)]
struct V2Message<'a> {
    #[serde(rename = "$type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    error: Option<String>,
    message: Option<String>,
}

/// What is in one of them. A commit's own fields are here too, and are read from here again.
#[derive(Deserialize)]
struct V2Payload<'a> {
    #[serde(rename = "$type", borrow)]
    kind: Cow<'a, str>,
    seq: Option<u64>,
    #[serde(default, borrow)]
    did: Cow<'a, str>,
    #[serde(default, borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    identity: Option<&'a RawValue>,
    #[serde(borrow)]
    account: Option<&'a RawValue>,
    #[serde(borrow)]
    sync: Option<&'a RawValue>,
    name: Option<String>,
    message: Option<String>,
}

/// What a post record says. The other fields are sound JSON, and are not looked at.
#[derive(Deserialize)]
struct JsonPost<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
    #[serde(rename = "createdAt")]
    created_at: Option<String>,
    langs: Option<Vec<String>>,
    reply: Option<JsonReply>,
    /// The union is open: what is not known is no mistake.
    #[serde(borrow)]
    labels: Option<&'a RawValue>,
}

/// Labels that an author has put on their post.
#[derive(Deserialize)]
struct JsonLabels {
    #[serde(rename = "$type")]
    kind: String,
    values: Vec<JsonLabel>,
}

#[derive(Deserialize)]
struct JsonLabel {
    val: String,
}

#[derive(Deserialize)]
struct JsonReply {
    root: JsonReference,
    parent: JsonReference,
}

#[derive(Deserialize)]
struct JsonReference {
    uri: String,
}

/// An event, taken out of its envelope.
struct Envelope<'a> {
    did: &'a str,
    /// `commit`, `identity`, `account` or `sync`.
    kind: &'a str,
    cursor: u64,
    /// The host's sequence number, where it tells it.
    seq: Option<u64>,
    /// When the host has seen it.
    time: Cow<'a, str>,
    time_us: Option<u64>,
    /// What is special for the kind.
    body: Option<&'a RawValue>,
}

/// Reads a message, decompressed.
pub(crate) fn decode(
    bytes: &[u8],
    protocol: Protocol,
    url: &str,
    counters: &NetworkCounters,
) -> Result<Decoded, BadMessage> {
    let decoded = match protocol {
        Protocol::JetstreamV2 => decode_v2(bytes, url, counters),
        _ => decode_v1(bytes, url, counters),
    };
    count(&counters.read.frames);
    decoded
}

fn decode_v1(bytes: &[u8], url: &str, counters: &NetworkCounters) -> Result<Decoded, BadMessage> {
    let message: V1Message<'_> = parse(bytes)?;
    let micros = i64::try_from(message.time_us)
        .map_err(|_| BadMessage("its `time_us` is no time".to_owned()))?;
    let envelope = Envelope {
        did: &message.did,
        kind: &message.kind,
        cursor: message.time_us,
        seq: None,
        time: Time::from_micros(micros).to_string().into(),
        time_us: Some(message.time_us),
        body: message.commit.or(message.identity).or(message.account),
    };
    Ok(Decoded::Event(event_of(&envelope, bytes, url, counters)))
}

fn decode_v2(bytes: &[u8], url: &str, counters: &NetworkCounters) -> Result<Decoded, BadMessage> {
    let message: V2Message<'_> = parse(bytes)?;
    if message.kind == "error" {
        let name = message.error.as_deref().unwrap_or("error");
        return Ok(Decoded::Error(Notice::new(name, message.message.as_deref())));
    }
    let body = message.payload.ok_or_else(|| BadMessage("it has no `payload`".to_owned()))?;
    let payload: V2Payload<'_> = parse(body.get().as_bytes())?;
    // `network.bsky.jetstream.subscribeEvents#commit`, or only its end.
    let kind = payload.kind.rsplit_once('#').map_or(&*payload.kind, |(_, kind)| kind);
    if kind == "info" {
        let name = payload.name.as_deref().unwrap_or("info");
        return Ok(Decoded::Info(Notice::new(name, payload.message.as_deref())));
    }
    let Some(seq) = payload.seq else {
        return match kind {
            "commit" | "identity" | "account" | "sync" => {
                Err(BadMessage("it has no `seq`".to_owned()))
            }
            _ => Ok(Decoded::Unknown(Content::Filtered(Reason::new("unknown_frame")))),
        };
    };
    if !(1..SEQ_END).contains(&seq) {
        return Err(BadMessage("its `seq` is not from 1 to 2^53 - 1".to_owned()));
    }
    let envelope = Envelope {
        did: &payload.did,
        kind,
        cursor: seq,
        seq: Some(seq),
        time: Cow::Borrowed(&payload.time),
        time_us: micros_of(&payload.time),
        body: match kind {
            "commit" => Some(body),
            "identity" => payload.identity,
            "account" => payload.account,
            _ => payload.sync,
        },
    };
    Ok(Decoded::Event(event_of(&envelope, bytes, url, counters)))
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BadMessage> {
    serde_json::from_slice(bytes).map_err(|error| BadMessage(error.to_string()))
}

/// What an event becomes. What is wrong inside of a sound envelope costs the event alone.
fn event_of(
    envelope: &Envelope<'_>,
    bytes: &[u8],
    url: &str,
    counters: &NetworkCounters,
) -> StreamEvent {
    let name = EventName { url, cursor: envelope.cursor };
    let mut rev = String::new();
    let contents = match envelope.kind {
        "commit" => contents_of_commit(envelope, &mut rev, counters),
        "identity" | "account" | "sync" => account_content(envelope, &mut rev).map(Some),
        _ => Ok(Some(Content::Filtered(Reason::new("unknown_frame")))),
    };
    let contents = contents.unwrap_or_else(|failure| {
        let original = failure.record.map_or(bytes, |record| record.get().as_bytes());
        Some(dead(original, failure.kind, format!("{name}: {}", failure.message)))
    });
    StreamEvent {
        cursor: envelope.cursor,
        time_us: envelope.time_us,
        rev,
        contents: contents.into_iter().collect(),
        // It sends none.
        proof: None,
    }
}

/// Why an event could not be understood.
struct Failure<'a> {
    kind: &'static str,
    message: String,
    /// The record, where that is what is wrong.
    record: Option<&'a RawValue>,
}

impl Failure<'_> {
    #[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
    fn of_event(error: impl ToString) -> Self {
        Self { kind: "bad_event", message: error.to_string(), record: None }
    }
}

fn missing(field: &str) -> Failure<'static> {
    Failure::of_event(format!("`{field}` is missing"))
}

fn contents_of_commit<'a>(
    envelope: &Envelope<'a>,
    rev: &mut String,
    counters: &NetworkCounters,
) -> Result<Option<Content>, Failure<'a>> {
    count(&counters.read.ops);
    let body = envelope.body.ok_or_else(|| missing("commit"))?;
    let commit: JsonCommit<'a> = serde_json::from_str(body.get()).map_err(Failure::of_event)?;
    if commit.collection != POST_COLLECTION {
        count(&counters.read.ops_skipped);
        return Ok(None);
    }
    let did = Did::parse(envelope.did).map_err(Failure::of_event)?;
    let path = format!("{}/{}", commit.collection, commit.rkey);
    let path = RecordPath::parse(&path).map_err(Failure::of_event)?;
    let tid = Tid::from_text(commit.rev.as_bytes()).map_err(Failure::of_event)?;
    *rev = tid.to_string();
    let uri = RecordUri { did, path };
    let change = Change { uri, rev: tid, seq: envelope.seq, time: &envelope.time };
    let is_update = match &*commit.operation {
        "delete" => return Ok(Some(delete_event(&change))),
        "update" => true,
        "create" => false,
        _ => return Err(Failure::of_event("`operation` is not create, update or delete")),
    };
    let record = commit.record.ok_or_else(|| missing("record"))?;
    let cid = commit.cid.as_deref().ok_or_else(|| missing("cid"))?;
    let cid: wingbeat_atproto::Cid = cid.parse().map_err(Failure::of_event)?;
    record_content(&change, is_update, &cid.to_string(), record).map(Some)
}

fn record_content<'a>(
    change: &Change<'_>,
    is_update: bool,
    cid: &str,
    record: &'a RawValue,
) -> Result<Content, Failure<'a>> {
    let fail =
        |kind: &'static str, message: String| Failure { kind, message, record: Some(record) };
    let post: JsonPost<'_> = serde_json::from_str(record.get())
        .map_err(|error| fail("bad_record", format!("the record {cid}: {error}")))?;
    let langs = post.langs.as_ref().map(|langs| langs.iter().map(String::as_str).collect());
    if let Some(count) = langs.as_ref().map(Vec::len).filter(|count| *count > LANGS_MAX) {
        let message =
            format!("the record {cid}: languages: {count}, but at most {LANGS_MAX} are allowed");
        return Err(fail("bad_record", message));
    }
    let reply = post.reply.as_ref();
    let labels = post.labels.and_then(|labels| serde_json::from_str(labels.get()).ok());
    let labels = labels
        .filter(|JsonLabels { kind, values }| kind == SELF_LABELS && !values.is_empty())
        .filter(|labels| labels.values.len() <= LANGS_MAX);
    let post = PostRecord {
        text: &post.text,
        created_at: post.created_at.as_deref(),
        langs,
        reply: reply.map(|reply| Reply { root: &reply.root.uri, parent: &reply.parent.uri }),
        labels: labels.as_ref().map(|labels| labels.values.iter().map(|l| &*l.val).collect()),
    };
    let content = if is_update {
        update_event(change, cid, &post)
    } else {
        post_content(&change.uri, cid, &post)
    };
    content.map_err(|error| fail("too_large", error.to_string()))
}

fn account_content<'a>(envelope: &Envelope<'a>, rev: &mut String) -> Result<Content, Failure<'a>> {
    let body = envelope.body.ok_or_else(|| missing(envelope.kind))?;
    let event: JsonAccount = serde_json::from_str(body.get()).map_err(Failure::of_event)?;
    if event.did != envelope.did {
        return Err(Failure::of_event("it is about another account than it says"));
    }
    let did = Did::parse(&event.did).map_err(Failure::of_event)?;
    let (seq, time) = (event.seq, event.time.as_str());
    match envelope.kind {
        "identity" => {
            let handle = event.handle.as_deref();
            Ok(identity_event(&frame::Identity { seq, did, time, handle }))
        }
        "account" => {
            let active = event.active.ok_or_else(|| missing("active"))?;
            let status = event.status.as_deref();
            Ok(account_event(&frame::Account { seq, did, time, active, status }))
        }
        _ => {
            let text = event.rev.ok_or_else(|| missing("rev"))?;
            let tid = Tid::from_text(text.as_bytes()).map_err(Failure::of_event)?;
            *rev = tid.to_string();
            Ok(sync_event(&frame::Sync { seq, did, rev: tid, time, blocks: &[] }))
        }
    }
}
