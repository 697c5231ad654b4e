//! Post records, `app.bsky.feed.post`.

use crate::{
    cbor::Reader,
    decode::{DecodeError, InField as _, limit},
};

/// The collection of posts.
pub const POST_COLLECTION: &str = "app.bsky.feed.post";

/// The most languages that a post may claim. The lexicon says 3; the limit is there so that a
/// record full of them takes no more memory than others.
const LANGS_MAX: usize = 64;

/// What a post record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post<'a> {
    /// The text.
    pub text: &'a str,
    /// When it was written, as its author's program claims. Required by the lexicon, but nothing
    /// makes sure of it.
    pub created_at: Option<&'a str>,
    /// The languages that its author's program claims.
    pub langs: Option<Vec<&'a str>>,
    /// What it replies to.
    pub reply: Option<Reply<'a>>,
    /// The labels that its author has put on it, such as `porn`; none where the record has none, or
    /// labels of a kind that is not known.
    pub labels: Option<Vec<&'a str>>,
}

/// The most labels of an author that are read. The lexicon says 10.
const LABELS_MAX: usize = 64;

/// The kind of an author's own labels: `com.atproto.label.defs#selfLabels`.
pub const SELF_LABELS: &str = "com.atproto.label.defs#selfLabels";

/// What a post replies to: two `at://` addresses, as the post has them, not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The post that began the thread.
    pub root: &'a str,
    /// The post that is answered.
    pub parent: &'a str,
}

impl<'a> Post<'a> {
    /// Reads a record, and checks all of it as strictly as [`crate::cbor::check`] does, also the
    /// fields that are not read. Those may hold anything; one that is read must have its type.
    pub fn decode(record: &'a [u8]) -> Result<Self, DecodeError> {
        let (mut text, mut created_at, mut langs, mut reply) = (None, None, None, None);
        let mut labels = None;
        let reader = &mut Reader::new(record);
        let mut entries = reader.map()?;
        while let Some(key) = entries.next_checked_bytes(reader)? {
            match key {
                b"text" => text = Some(reader.text().in_field("text")?),
                // Absent, but written out.
                b"createdAt" | b"langs" | b"reply" if reader.take_null() => {}
                b"createdAt" => created_at = Some(reader.text().in_field("createdAt")?),
                b"langs" => langs = Some(read_langs(reader)?),
                b"reply" => reply = Some(Reply::read(reader)?),
                b"labels" => {
                    let begin = reader.position();
                    reader.check_value(1)?;
                    // The union is open: what is not known is no mistake.
                    labels = record.get(begin..reader.position()).and_then(read_labels);
                }
                _ => reader.check_value(1)?,
            }
        }
        reader.end()?;
        Ok(Self { text: text.in_field("text")?, created_at, langs, reply, labels })
    }
}

/// The values of an author's labels. The bytes were checked.
fn read_labels(value: &[u8]) -> Option<Vec<&str>> {
    let reader = &mut Reader::new(value);
    let (mut is_known, mut labels) = (false, None);
    let mut entries = reader.map().ok()?;
    while let Some(key) = entries.next_checked_bytes(reader).ok()? {
        match key {
            b"$type" => is_known = reader.text().ok()? == SELF_LABELS,
            b"values" => {
                let count = reader.array().ok().filter(|count| *count <= LABELS_MAX)?;
                let values: Option<Vec<&str>> = (0..count).map(|_| read_label(reader)).collect();
                labels = Some(values?);
            }
            _ => reader.skip().ok()?,
        }
    }
    labels.filter(|labels| is_known && !labels.is_empty())
}

fn read_label<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let mut label = None;
    let mut entries = reader.map().ok()?;
    while let Some(key) = entries.next_checked_bytes(reader).ok()? {
        match key {
            b"val" => label = Some(reader.text().ok()?),
            _ => reader.skip().ok()?,
        }
    }
    label
}

fn read_langs<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a str>, DecodeError> {
    let count = reader.array().in_field("langs")?;
    limit("languages", count, LANGS_MAX)?;
    (0..count).map(|_| reader.text().in_field("langs")).collect()
}

impl<'a> Reply<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (mut root, mut parent) = (None, None);
        let mut entries = reader.map().in_field("reply")?;
        while let Some(key) = entries.next_checked_bytes(reader)? {
            match key {
                b"root" => root = Some(read_uri(reader, "reply.root")?),
                b"parent" => parent = Some(read_uri(reader, "reply.parent")?),
                _ => reader.check_value(2)?,
            }
        }
        Ok(Self { root: root.in_field("reply.root")?, parent: parent.in_field("reply.parent")? })
    }
}

/// The `uri` of a `com.atproto.repo.strongRef`.
fn read_uri<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a str, DecodeError> {
    let mut uri = None;
    let mut entries = reader.map().in_field(field)?;
    while let Some(key) = entries.next_checked_bytes(reader)? {
        match key {
            b"uri" => uri = Some(reader.text().in_field(field)?),
            _ => reader.check_value(3)?,
        }
    }
    uri.in_field(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::{CborErrorKind, DEPTH_MAX, Value};

    fn decode(entries: Vec<(&str, Value<'_>)>) -> Result<String, String> {
        let record = Value::Map(entries).encode().unwrap();
        Post::decode(&record).map(|post| format!("{post:?}")).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_of_the_author_are_read_and_others_are_no_mistake() {
        let label = |value| Value::Map(vec![("val", Value::Text(value))]);
        let labels = |kind, values| {
            let labels = vec![("$type", Value::Text(kind)), ("values", Value::Array(values))];
            let entries = vec![("text", Value::Text("t")), ("labels", Value::Map(labels))];
            let record = Value::Map(entries).encode().unwrap();
            let post = Post::decode(&record).unwrap();
            post.labels.map(|labels| labels.join(" "))
        };
        let known = labels(SELF_LABELS, vec![label("porn"), label("spoiler")]);
        assert_eq!(known.as_deref(), Some("porn spoiler"));
        assert_eq!(labels(SELF_LABELS, vec![Value::Integer(1)]), None);
        assert_eq!(labels("com.example#labels", vec![label("porn")]), None);
    }

    #[test]
    fn a_post_is_read() {
        let reference =
            |uri| Value::Map(vec![("cid", Value::Text("c")), ("uri", Value::Text(uri))]);
        let reply =
            Value::Map(vec![("root", reference("at://r")), ("parent", reference("at://p"))]);
        let record = Value::Map(vec![
            ("$type", Value::Text(POST_COLLECTION)),
            ("text", Value::Text("hé\0llo")),
            ("createdAt", Value::Text("yesterday")),
            ("langs", Value::Array(vec![Value::Text("en"), Value::Text("pt-BR")])),
            ("reply", reply),
            ("embed", Value::Array(vec![Value::Integer(-3)])),
        ])
        .encode()
        .unwrap();
        let post = Post::decode(&record).unwrap();
        assert_eq!(post.text, "hé\0llo");
        assert_eq!(post.created_at, Some("yesterday"));
        assert_eq!(post.langs.as_deref(), Some(&["en", "pt-BR"][..]));
        assert_eq!(post.reply, Some(Reply { root: "at://r", parent: "at://p" }));
    }

    #[test]
    fn a_post_of_another_shape_is_refused_and_the_field_is_named() {
        let text = ("text", Value::Text("x"));
        assert_eq!(decode(vec![]).unwrap_err(), "`text` is missing");
        assert!(
            decode(vec![text.clone(), ("langs", Value::Null)]).unwrap().contains("langs: None")
        );
        let error = decode(vec![("text", Value::Integer(1))]).unwrap_err();
        assert_eq!(error, "`text`: expected a text at byte 6");
        let error = decode(vec![text.clone(), ("langs", Value::Text("en"))]).unwrap_err();
        assert_eq!(error, "`langs`: expected an array at byte 14");
        let many = ("langs", Value::Array(vec![Value::Text("en"); LANGS_MAX + 1]));
        let error = decode(vec![text.clone(), many]).unwrap_err();
        assert_eq!(error, "languages: 65, but at most 64 are allowed");
        let error = decode(vec![text, ("reply", Value::Map(vec![]))]).unwrap_err();
        assert_eq!(error, "`reply.root` is missing");
        assert_eq!(Post::decode(b"\x80").unwrap_err().to_string(), "expected a map at byte 0");
        // What is not read is checked all the same.
        let error = Post::decode(b"\xa2\x61z\xf7\x64text\x61x").unwrap_err();
        assert_eq!(error.to_string(), "a simple value other than false, true and null at byte 3");
    }

    /// Nesting is counted from the record's own map, wherever it goes on.
    #[test]
    fn a_post_may_be_as_deep_as_any_record() {
        let nested = |levels: usize| [vec![0x81; levels], vec![0xf6]].concat();
        let in_field = |levels| [b"\xa2\x62zz", &nested(levels)[..], b"\x64text\x61x"].concat();
        let in_root = |levels| {
            let root = [b"\xa2\x62zz", &nested(levels)[..], b"\x63uri\x61u"].concat();
            let parent = b"\x66parent\xa1\x63uri\x61u";
            [b"\xa2\x64text\x61x\x65reply\xa2\x64root", &root[..], parent].concat()
        };
        for (levels, record) in [(DEPTH_MAX - 1, in_field(DEPTH_MAX - 1)), (29, in_root(29))] {
            assert!(Post::decode(&record).is_ok(), "{levels}");
        }
        for record in [in_field(DEPTH_MAX), in_root(30)] {
            let error = Post::decode(&record).unwrap_err();
            let check_error = crate::cbor::check(&record).unwrap_err();
            assert_eq!(error, DecodeError::Cbor(check_error));
            assert_eq!(check_error.kind, CborErrorKind::TooDeep);
        }
    }
}
