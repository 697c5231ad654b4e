//! Writes one JSON object, and knows by that where its members lie: what we write ourselves need
//! not be scanned to be read.

use crate::{Document, json::Member};

/// So many members have room without a second allocation: a post has at most nine.
const MEMBERS: usize = 10;

/// How many bytes of a text are looked at in one go for one that has to be escaped.
const BLOCK_BYTES: usize = 16;

/// Writes one JSON object, member by member, as `serde_json` would: no spaces, and only those
/// characters escaped that must be.
///
/// Keys are the caller's own words: they differ from one another, and need no escapes.
#[derive(Debug)]
pub struct ObjectWriter {
    out: Vec<u8>,
    members: Vec<Member>,
}

impl ObjectWriter {
    /// An object that takes about so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes);
        out.push(b'{');
        Self { out, members: Vec::with_capacity(MEMBERS) }
    }

    /// A text.
    #[inline]
    pub fn text(&mut self, key: &'static str, text: &str) {
        self.member(key, |out| write_text(out, text));
    }

    /// A text, or `null`.
    pub fn text_or_null(&mut self, key: &'static str, text: Option<&str>) {
        match text {
            Some(text) => self.text(key, text),
            None => self.null(key),
        }
    }

    /// A text where there is one; else no member.
    pub fn text_if_any(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    /// An array of texts.
    pub fn texts(&mut self, key: &'static str, texts: &[&str]) {
        self.member(key, |out| {
            out.push(b'[');
            for (index, text) in texts.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(out, text);
            }
            out.push(b']');
        });
    }

    /// A number.
    pub fn number(&mut self, key: &'static str, number: u64) {
        self.member(key, |out| out.extend_from_slice(number.to_string().as_bytes()));
    }

    /// A number, or `null`.
    pub fn number_or_null(&mut self, key: &'static str, number: Option<u64>) {
        match number {
            Some(number) => self.number(key, number),
            None => self.null(key),
        }
    }

    /// `true` or `false`.
    pub fn bool(&mut self, key: &'static str, value: bool) {
        self.member(key, |out| out.extend_from_slice(if value { b"true" } else { b"false" }));
    }

    /// `null`.
    fn null(&mut self, key: &'static str) {
        self.member(key, |out| out.extend_from_slice(b"null"));
    }

    /// The object.
    pub fn finish(mut self) -> Document {
        self.out.push(b'}');
        Document::of_members(self.out.into(), self.members)
    }

    #[inline]
    fn member(&mut self, key: &'static str, write_value: impl FnOnce(&mut Vec<u8>)) {
        let out = &mut self.out;
        out.extend_from_slice(if self.members.is_empty() { b"\"" } else { b",\"" });
        let key_start = out.len();
        out.extend_from_slice(key.as_bytes());
        let key = key_start..out.len();
        out.extend_from_slice(b"\":");
        let value_start = out.len();
        write_value(out);
        self.members.push(Member { key, value: value_start..out.len() });
    }
}

/// Writes a text with its quotes.
fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (clean, behind) = rest.split_at(clean_length(rest));
        out.extend_from_slice(clean);
        let Some((&byte, behind)) = behind.split_first() else { break };
        write_escape(out, byte);
        rest = behind;
    }
    out.push(b'"');
}

/// How many bytes come before the first one that has to be escaped.
#[inline]
fn clean_length(bytes: &[u8]) -> usize {
    // Without an early end inside of a block, it is compared in vectors.
    let is_clean = |block: &&[u8]| !block.iter().fold(false, |any, &byte| any | is_escaped(byte));
    let clean = bytes.chunks_exact(BLOCK_BYTES).take_while(is_clean).count() * BLOCK_BYTES;
    let rest = bytes.get(clean..).unwrap_or_default();
    clean + rest.iter().position(|&byte| is_escaped(byte)).unwrap_or(rest.len())
}

/// Whether a byte can't stand in a string as it is.
#[inline]
fn is_escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let letter = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend([byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]));
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts that hold what has to be escaped, at any place.
    fn texts() -> impl Strategy<Value = String> {
        let char = prop_oneof![
            4 => any::<char>(),
            4 => prop::char::range('a', 'z'),
            1 => prop::char::range('\0', '\u{ff}'),
            1 => Just('"'),
            1 => Just('\\'),
        ];
        prop::collection::vec(char, 0..80).prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn an_object_is_what_serde_json_writes_and_what_a_scan_finds_in_it(
            text in texts(), list in prop::collection::vec(texts(), 0..4), number: u64, value: bool,
        ) {
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            let mut writer = ObjectWriter::with_capacity(0);
            writer.text("text", &text);
            writer.text_or_null("none", None);
            writer.number_or_null("null", None);
            writer.text_if_any("absent", None);
            writer.texts("list", &list);
            writer.number("number", number);
            writer.bool("bool", value);
            writer.text_if_any("last", Some(&text));
            let document = writer.finish();
            // serde_json as it is built here keeps the order of a struct's fields.
            #[derive(serde::Serialize)]
            struct Object<'a> {
                text: &'a str,
                none: Option<&'a str>,
                null: Option<u64>,
                list: Vec<&'a str>,
                number: u64,
                bool: bool,
                last: &'a str,
            }
            let object =
                Object { text: &text, none: None, null: None, list: list.clone(), number, bool: value, last: &text };
            prop_assert_eq!(document.payload(), &serde_json::to_vec(&object).unwrap());
            let scanned = Document::parse(document.payload().clone()).unwrap();
            prop_assert_eq!(document, scanned);
        }
    }

    #[test]
    fn an_object_without_members_is_one() {
        let document = ObjectWriter::with_capacity(2).finish();
        assert_eq!(document.payload().as_ref(), b"{}");
    }
}
