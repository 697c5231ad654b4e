//! Post records, `app.bsky.feed.post`.

use crate::{
    cbor::{self, Reader},
    decode::{DecodeError, InField as _},
};

/// The collection of posts.
pub const POST_COLLECTION: &str = "app.bsky.feed.post";

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
}

/// What a post replies to: two `at://` addresses, as the post has them, not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The post that began the thread.
    pub root: &'a str,
    /// The post that is answered.
    pub parent: &'a str,
}

impl<'a> Post<'a> {
    /// Checks the whole record strictly, then reads it. A field that is not read here may hold
    /// anything; one that is must have its type.
    pub fn decode(record: &'a [u8]) -> Result<Self, DecodeError> {
        cbor::check(record)?;
        let (mut text, mut created_at, mut langs, mut reply) = (None, None, None, None);
        let reader = &mut Reader::new(record);
        let mut entries = reader.map()?;
        while let Some(key) = entries.next_key(reader)? {
            match key {
                b"text" => text = Some(reader.text().in_field("text")?),
                // Absent, but written out.
                b"createdAt" | b"langs" | b"reply" if reader.take_null() => {}
                b"createdAt" => created_at = Some(reader.text().in_field("createdAt")?),
                b"langs" => langs = Some(read_langs(reader)?),
                b"reply" => reply = Some(Reply::read(reader)?),
                _ => reader.skip()?,
            }
        }
        Ok(Self { text: text.in_field("text")?, created_at, langs, reply })
    }
}

fn read_langs<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a str>, DecodeError> {
    let count = reader.array().in_field("langs")?;
    (0..count).map(|_| reader.text().in_field("langs")).collect()
}

impl<'a> Reply<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (mut root, mut parent) = (None, None);
        let mut entries = reader.map().in_field("reply")?;
        while let Some(key) = entries.next_key(reader)? {
            match key {
                b"root" => root = Some(read_uri(reader, "reply.root")?),
                b"parent" => parent = Some(read_uri(reader, "reply.parent")?),
                _ => reader.skip()?,
            }
        }
        Ok(Self { root: root.in_field("reply.root")?, parent: parent.in_field("reply.parent")? })
    }
}

/// The `uri` of a `com.atproto.repo.strongRef`.
fn read_uri<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a str, DecodeError> {
    let mut uri = None;
    let mut entries = reader.map().in_field(field)?;
    while let Some(key) = entries.next_key(reader)? {
        match key {
            b"uri" => uri = Some(reader.text().in_field(field)?),
            _ => reader.skip()?,
        }
    }
    uri.in_field(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::Value;

    fn decode(entries: Vec<(&str, Value<'_>)>) -> Result<String, String> {
        let record = Value::Map(entries).encode().unwrap();
        Post::decode(&record).map(|post| format!("{post:?}")).map_err(|error| error.to_string())
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
        let error = decode(vec![text, ("reply", Value::Map(vec![]))]).unwrap_err();
        assert_eq!(error, "`reply.root` is missing");
        assert_eq!(Post::decode(b"\x80").unwrap_err().to_string(), "expected a map at byte 0");
        // What is not read is checked all the same.
        let error = Post::decode(b"\xa2\x61z\xf7\x64text\x61x").unwrap_err();
        assert_eq!(error.to_string(), "a simple value other than false, true and null at byte 3");
    }
}
