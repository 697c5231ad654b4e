//! The JSON that sources make. Its keys and their order are what the replaced services write,
//! with more behind them.

use bytes::Bytes;
use serde::Serialize;
use wingbeat_record::{Document, ObjectWriter};

/// About how long a payload is beside its texts, in bytes: keys, quotes, numbers, names.
const FRAMEWORK_BYTES: usize = 384;

/// A new post.
#[derive(Debug)]
pub(crate) struct PostPayload<'a> {
    pub(crate) uri: &'a str,
    pub(crate) cid: &'a str,
    /// The DID.
    pub(crate) author: &'a str,
    pub(crate) fields: PostFields<'a>,
}

/// What a post says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PostFields<'a> {
    pub(crate) text: &'a str,
    /// As the record has it. The replaced services write `null` where it has none.
    pub(crate) created_at: Option<&'a str>,
    /// The replaced mock's field: the time, to the second.
    pub(crate) timestamp: Option<&'a str>,
    pub(crate) langs: Option<&'a [&'a str]>,
    pub(crate) reply_parent: Option<&'a str>,
    pub(crate) reply_root: Option<&'a str>,
    /// Those that its author has put on it.
    pub(crate) labels: Option<&'a [&'a str]>,
}

/// A record was deleted or has new content.
#[derive(Debug)]
pub(crate) struct RecordEvent<'a> {
    pub(crate) kind: &'static str,
    pub(crate) uri: &'a str,
    pub(crate) did: &'a str,
    pub(crate) collection: &'a str,
    pub(crate) rkey: &'a str,
    pub(crate) rev: &'a str,
    /// The position in the host's stream, where its protocol tells it.
    pub(crate) seq: Option<u64>,
    pub(crate) time: &'a str,
    /// The name of the new content.
    pub(crate) cid: Option<&'a str>,
    /// The new content.
    pub(crate) fields: Option<PostFields<'a>>,
}

/// Something happened to an account or to its whole repository.
#[derive(Debug, Default)]
pub(crate) struct AccountEvent<'a> {
    pub(crate) kind: &'static str,
    pub(crate) did: &'a str,
    pub(crate) handle: Option<&'a str>,
    pub(crate) active: Option<bool>,
    pub(crate) status: Option<&'a str>,
    pub(crate) rev: Option<&'a str>,
    pub(crate) seq: u64,
    pub(crate) time: &'a str,
}

/// The payload of a post with its author's handle at the end. A handle has letters, digits, dots
/// and hyphens only, so it stands in JSON as it is.
pub(crate) fn with_handle(payload: &Bytes, handle: &str) -> Bytes {
    let Some(open) = payload.strip_suffix(b"}") else { return payload.clone() };
    [open, b",\"handle\":\"", handle.as_bytes(), b"\"}"].concat().into()
}

/// Writes a payload.
pub(crate) fn to_bytes(payload: &impl Serialize) -> Bytes {
    // Texts, numbers and booleans in structs can't fail to be written: serde_json fails on maps
    // with keys that are no strings, on values that refuse, and on writers that fail.
    serde_json::to_vec(payload).unwrap_or_default().into()
}

impl PostPayload<'_> {
    pub(crate) fn write(&self) -> Document {
        let mut writer = ObjectWriter::with_capacity(FRAMEWORK_BYTES + self.fields.bytes());
        writer.text("uri", self.uri);
        writer.text("cid", self.cid);
        writer.text("author", self.author);
        self.fields.write(&mut writer);
        writer.finish()
    }
}

impl PostFields<'_> {
    /// About how long it is as JSON.
    fn bytes(&self) -> usize {
        let reply = [self.reply_parent, self.reply_root];
        self.text.len() + reply.into_iter().flatten().map(str::len).sum::<usize>()
    }

    fn write(&self, writer: &mut ObjectWriter) {
        writer.text("text", self.text);
        writer.text_or_null("created_at", self.created_at);
        writer.text_if_any("timestamp", self.timestamp);
        if let Some(langs) = self.langs {
            writer.texts("langs", langs);
        }
        writer.text_if_any("reply_parent", self.reply_parent);
        writer.text_if_any("reply_root", self.reply_root);
        if let Some(labels) = self.labels {
            writer.texts("labels", labels);
        }
    }
}

impl RecordEvent<'_> {
    pub(crate) fn write(&self) -> Document {
        let fields_bytes = self.fields.map_or(0, |fields| fields.bytes());
        let mut writer = ObjectWriter::with_capacity(FRAMEWORK_BYTES + fields_bytes);
        writer.text("kind", self.kind);
        writer.text("uri", self.uri);
        writer.text("did", self.did);
        writer.text("collection", self.collection);
        writer.text("rkey", self.rkey);
        writer.text("rev", self.rev);
        if let Some(seq) = self.seq {
            writer.number("seq", seq);
        }
        writer.text("time", self.time);
        writer.text_if_any("cid", self.cid);
        if let Some(fields) = self.fields {
            fields.write(&mut writer);
        }
        writer.finish()
    }
}

impl AccountEvent<'_> {
    pub(crate) fn write(&self) -> Document {
        let mut writer = ObjectWriter::with_capacity(FRAMEWORK_BYTES);
        writer.text("kind", self.kind);
        writer.text("did", self.did);
        writer.text_if_any("handle", self.handle);
        if let Some(active) = self.active {
            writer.bool("active", active);
        }
        writer.text_if_any("status", self.status);
        writer.text_if_any("rev", self.rev);
        writer.number("seq", self.seq);
        writer.text("time", self.time);
        writer.finish()
    }
}
