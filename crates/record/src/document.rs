//! A payload seen as a JSON object, without copying it.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

use crate::json::{self, JsonError, Member};

/// A payload that is known to be one sound JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    payload: Bytes,
    members: Vec<Member>,
}

impl Document {
    /// Scans the payload. On failure the error says what is wrong and at which byte.
    pub fn parse(payload: Bytes) -> Result<Self, JsonError> {
        let members = json::scan_object(&payload)?;
        Ok(Self { payload, members })
    }

    /// What a writer has written, and knows the members of.
    pub(crate) fn of_members(payload: Bytes, members: Vec<Member>) -> Self {
        Self { payload, members }
    }

    /// The original bytes.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The original bytes alone.
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// The value under a top-level key.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        find(&self.payload, &self.members, key)
    }

    /// The value at a path such as `record.text`: keys with dots between them.
    pub fn get_path(&self, path: &str) -> Option<Value<'_>> {
        let mut keys = path.split('.');
        let first = self.get(keys.next()?)?;
        keys.try_fold(first, |value, key| value.get(key))
    }

    /// Writes the object with the given members set: all other members stay byte for byte and in
    /// place, members of the same name are left out, the new ones stand at the end. The values
    /// must be valid JSON.
    pub fn with_members(&self, added: &[(&str, &[u8])]) -> Vec<u8> {
        let size: usize = added.iter().map(|(key, value)| key.len() + value.len() + 4).sum();
        let mut out = Vec::with_capacity(self.payload.len() + size);
        let is_replaced = |member: &Member| {
            let key = json::unescape(&self.payload[member.key.clone()]);
            added.iter().any(|(name, _)| *name == key)
        };
        if self.members.iter().any(is_replaced) {
            out.push(b'{');
            for member in self.members.iter().filter(|member| !is_replaced(member)) {
                separate(&mut out);
                // From the opening quote of the key to the end of the value.
                out.extend_from_slice(&self.payload[member.key.start - 1..member.value.end]);
            }
        } else {
            let end = self.members.last().map(|member| member.value.end);
            let start = self.payload.iter().position(|&b| b == b'{').unwrap_or(0);
            out.extend_from_slice(&self.payload[start..end.unwrap_or(start + 1)]);
        }
        for (key, value) in added {
            separate(&mut out);
            out.push(b'"');
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value);
        }
        out.push(b'}');
        out
    }
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') || out.len() > 1 {
        out.push(b',');
    }
}

fn find<'a>(payload: &'a Bytes, members: &[Member], key: &str) -> Option<Value<'a>> {
    let is_wanted = |member: &&Member| {
        let raw = &payload[member.key.clone()];
        raw == key.as_bytes() || (raw.contains(&b'\\') && json::unescape(raw) == key)
    };
    let found = members.iter().find(is_wanted)?;
    Some(Value { payload, range: found.value.clone() })
}

/// One value inside a [`Document`].
#[derive(Debug, Clone)]
pub struct Value<'a> {
    payload: &'a Bytes,
    range: Range<usize>,
}

impl<'a> Value<'a> {
    /// The value's bytes as they stand in the payload.
    pub fn raw(&self) -> &'a [u8] {
        &self.payload[self.range.clone()]
    }

    /// The text, where the value is a string. Borrowed where it holds no escapes.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        match self.raw() {
            [b'"', inside @ .., b'"'] => Some(json::unescape(inside)),
            _ => None,
        }
    }

    /// Whether this is a string.
    pub fn is_string(&self) -> bool {
        self.raw().first() == Some(&b'"')
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        self.raw() == b"null"
    }

    /// What kind of value it is, in words for an error message.
    pub fn kind(&self) -> &'static str {
        match self.raw().first() {
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    /// The value under a key, where this is an object.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        if self.raw().first() != Some(&b'{') {
            return None;
        }
        find(self.payload, &json::members_of(self.payload, self.range.clone())?, key)
    }

    /// The strings of an array of strings; other elements are passed over. `None` where this is
    /// no array.
    pub fn strings(&self) -> Option<Vec<String>> {
        if self.raw().first() != Some(&b'[') {
            return None;
        }
        Some(json::strings_of(self.payload, self.range.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &'static str) -> Document {
        Document::parse(Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn fields_and_paths_are_read() {
        let post = document(
            r#"{"text":"a\u00e9","record":{"text":"in","n":[1]},"langs":["en",3,"d\u0065"]}"#,
        );
        assert_eq!(post.get("text").unwrap().as_str().unwrap(), "aé");
        assert_eq!(post.get_path("record.text").unwrap().as_str().unwrap(), "in");
        assert_eq!(post.get("langs").unwrap().strings().unwrap(), ["en", "de"]);
        assert_eq!(post.get_path("record.n").unwrap().kind(), "an array");
        assert!(post.get_path("text.x").is_none() && post.get("none").is_none());
        assert!(matches!(
            post.get_path("record.text").unwrap().as_str(),
            Some(Cow::Borrowed("in"))
        ));
    }

    #[test]
    fn unknown_members_stay_byte_for_byte() {
        let post = document(r#" {"z": 1.0e2 , "text":"\u0041",  "x":[ ]  } "#);
        let out = post.with_members(&[("sentiment", b"null"), ("n", b"1")]);
        let expected = r#"{"z": 1.0e2 , "text":"\u0041",  "x":[ ],"sentiment":null,"n":1}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(document("{ }").with_members(&[("a", b"1")]), br#"{"a":1}"#);
        assert_eq!(document("{}").with_members(&[]), b"{}");
    }

    #[test]
    fn a_member_that_is_set_replaces_the_old_one_even_when_its_key_is_escaped() {
        let post = document(r#"{"a":1,"senti\u006dent":"old","b": 2}"#);
        let out = post.with_members(&[("sentiment", b"null")]);
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":1,"b": 2,"sentiment":null}"#);
        assert_eq!(document(r#"{"a":1}"#).with_members(&[("a", b"2")]), br#"{"a":2}"#);
    }
}
