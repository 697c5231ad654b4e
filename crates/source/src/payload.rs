//! The JSON that sources make. Its keys and their order are what the replaced services write,
//! with more behind them.

use bytes::Bytes;
use serde::Serialize;

/// A new post.
#[derive(Debug, Serialize)]
pub(crate) struct PostPayload<'a> {
    pub(crate) uri: &'a str,
    pub(crate) cid: &'a str,
    /// The DID.
    pub(crate) author: &'a str,
    #[serde(flatten)]
    pub(crate) fields: PostFields<'a>,
}

/// What a post says.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct PostFields<'a> {
    pub(crate) text: &'a str,
    /// As the record has it. The replaced services write `null` where it has none.
    pub(crate) created_at: Option<&'a str>,
    /// The replaced mock's field: the time, to the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timestamp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) langs: Option<&'a [&'a str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reply_parent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reply_root: Option<&'a str>,
}

/// A record was deleted or has new content.
#[derive(Debug, Serialize)]
pub(crate) struct RecordEvent<'a> {
    pub(crate) kind: &'static str,
    pub(crate) uri: &'a str,
    pub(crate) did: &'a str,
    pub(crate) collection: &'a str,
    pub(crate) rkey: &'a str,
    pub(crate) rev: &'a str,
    /// The position in the host's stream, where its protocol tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u64>,
    pub(crate) time: &'a str,
    /// The name of the new content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cid: Option<&'a str>,
    /// The new content.
    #[serde(flatten)]
    pub(crate) fields: Option<PostFields<'a>>,
}

/// Something happened to an account or to its whole repository.
#[derive(Debug, Default, Serialize)]
pub(crate) struct AccountEvent<'a> {
    pub(crate) kind: &'static str,
    pub(crate) did: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) handle: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) active: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
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
