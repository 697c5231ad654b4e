//! A strict scan of one JSON object (RFC 8259) that allocates nothing per value.
//!
//! The record path reads a handful of fields and passes everything else on byte for byte, so a
//! full parse into a tree would be waste. But what is passed on must be sound, or it becomes the
//! next reader's crash. So the scan checks everything that a reader may choke on: UTF-8, grammar,
//! depth, escapes (also a lone surrogate, which many parsers let pass in fields that they skip),
//! and a key that stands twice at the top level (readers disagree which one counts).

use std::{borrow::Cow, ops::Range};

/// How deep objects and arrays may nest. Real posts stay below 10; `serde_json` stops at 128.
pub const DEPTH_MAX: usize = 64;

/// The most members that a top-level object may have. Finding a key twice costs members squared,
/// and the limit bounds that.
pub const MEMBERS_MAX: usize = 256;

/// What is wrong with a payload, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct JsonError {
    /// What is wrong.
    pub kind: JsonErrorKind,
    /// Where, in bytes from the start of the payload.
    pub offset: usize,
}

/// What is wrong with a payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonErrorKind {
    /// No bytes, or only white space.
    #[error("the payload is empty")]
    Empty,
    /// Bytes that are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// A JSON value, but no object.
    #[error("not a JSON object")]
    NotAnObject,
    /// The grammar wants something else here.
    #[error("not JSON: expected {0}")]
    Expected(&'static str),
    /// The payload ends in the middle.
    #[error("not JSON: the payload ends too early")]
    EndsEarly,
    /// Objects or arrays nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// More than [`MEMBERS_MAX`] members.
    #[error("more than {MEMBERS_MAX} keys in the object")]
    TooManyMembers,
    /// A control character inside a string.
    #[error("not JSON: a control character inside a string")]
    ControlCharacter,
    /// An escape that JSON does not have.
    #[error("not JSON: an unknown escape")]
    Escape,
    /// Half of a surrogate pair: no character.
    #[error("a lone surrogate, which is half a character")]
    LoneSurrogate,
    /// The same key twice in the top-level object.
    #[error("the same key stands twice in the object")]
    DuplicateKey,
}

impl JsonErrorKind {
    /// A short token for counters and subjects.
    pub fn token(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotUtf8 => "not_utf8",
            Self::NotAnObject => "not_an_object",
            Self::TooDeep => "too_deep",
            Self::TooManyMembers => "too_many_keys",
            Self::LoneSurrogate => "lone_surrogate",
            Self::DuplicateKey => "duplicate_key",
            Self::Expected(_) | Self::EndsEarly | Self::ControlCharacter | Self::Escape => {
                "not_json"
            }
        }
    }
}

/// One member of an object: where its key and its value lie in the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The key between its quotes, still escaped.
    pub key: Range<usize>,
    /// The value, without white space around it.
    pub value: Range<usize>,
}

/// Scans a payload that must be one JSON object and returns its members in order.
pub fn scan_object(payload: &[u8]) -> Result<Vec<Member>, JsonError> {
    if let Err(error) = std::str::from_utf8(payload) {
        return Err(JsonError { kind: JsonErrorKind::NotUtf8, offset: error.valid_up_to() });
    }
    let mut scanner = Scanner { bytes: payload, at: 0 };
    scanner.skip_space();
    match scanner.peek() {
        None => return Err(scanner.fail(JsonErrorKind::Empty)),
        Some(b'{') => {}
        Some(_) => {
            let start = scanner.at;
            scanner.value(0)?;
            scanner.end()?;
            return Err(JsonError { kind: JsonErrorKind::NotAnObject, offset: start });
        }
    }
    let members = scanner.members()?;
    scanner.end()?;
    refuse_duplicates(payload, &members)?;
    Ok(members)
}

/// Scans an object that is already known to be sound, such as the value of a member.
pub(crate) fn members_of(payload: &[u8], object: Range<usize>) -> Option<Vec<Member>> {
    let mut scanner = Scanner { bytes: payload.get(..object.end)?, at: object.start };
    scanner.members().ok()
}

/// The strings of an array that is already known to be sound; other elements are passed over.
pub(crate) fn strings_of(payload: &[u8], array: Range<usize>) -> Vec<String> {
    let mut scanner = Scanner { bytes: &payload[..array.end], at: array.start + 1 };
    let mut strings = Vec::new();
    scanner.skip_space();
    while scanner.peek().is_some_and(|b| b != b']') {
        let start = scanner.at;
        if scanner.value(1).is_err() {
            break;
        }
        if let [b'"', inside @ .., b'"'] = &payload[start..scanner.at] {
            strings.push(unescape(inside).into_owned());
        }
        if !matches!(scanner.is_closed_by(b']', "`,` or `]`"), Ok(false)) {
            break;
        }
    }
    strings
}

fn refuse_duplicates(payload: &[u8], members: &[Member]) -> Result<(), JsonError> {
    let key = |member: &Member| unescape(&payload[member.key.clone()]);
    for (index, member) in members.iter().enumerate() {
        let this = key(member);
        let is_same = |other: &Member| {
            // Most keys differ in their first bytes or their length; escapes are rare.
            let (a, b) = (&payload[member.key.clone()], &payload[other.key.clone()]);
            a == b || ((a.contains(&b'\\') || b.contains(&b'\\')) && this == key(other))
        };
        if members[..index].iter().any(is_same) {
            let offset = member.key.start;
            return Err(JsonError { kind: JsonErrorKind::DuplicateKey, offset });
        }
    }
    Ok(())
}

/// The text of a string's inside, its escapes resolved. The input must come from a scan.
pub(crate) fn unescape(inside: &[u8]) -> Cow<'_, str> {
    // The scan has checked it; nothing is lost should that ever not be so.
    let text =
        std::str::from_utf8(inside).map_or_else(|_| String::from_utf8_lossy(inside), Cow::Borrowed);
    if memchr::memchr(b'\\', inside).is_none() {
        return text;
    }
    let mut made = String::with_capacity(inside.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\\') {
        made.push_str(&rest[..at]);
        let (character, used) = resolve_escape(&rest.as_bytes()[at..]);
        made.push(character);
        rest = &rest[at + used..];
    }
    made.push_str(rest);
    Cow::Owned(made)
}

/// The character that an escape at the start of `bytes` stands for, and how many bytes it takes.
/// The scan has refused everything else before.
fn resolve_escape(bytes: &[u8]) -> (char, usize) {
    let simple = |c| (c, 2);
    match bytes.get(1) {
        Some(b'n') => simple('\n'),
        Some(b't') => simple('\t'),
        Some(b'r') => simple('\r'),
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(b'u') => {
            let high = hex4(bytes.get(2..6)).unwrap_or(0xFFFD);
            if (0xD800..0xDC00).contains(&high) {
                let low = hex4(bytes.get(8..12)).unwrap_or(0xDC00);
                let code = 0x1_0000 + ((high - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF);
                (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
            } else {
                (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
            }
        }
        Some(&other) => simple(char::from(other)),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

fn hex4(digits: Option<&[u8]>) -> Option<u32> {
    let digits = digits.filter(|d| d.len() == 4)?;
    digits.iter().try_fold(0, |code, &d| Some(code << 4 | char::from(d).to_digit(16)?))
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn fail(&self, kind: JsonErrorKind) -> JsonError {
        JsonError { kind, offset: self.at }
    }

    fn expected(&self, what: &'static str) -> JsonError {
        let is_end = self.at >= self.bytes.len();
        self.fail(if is_end { JsonErrorKind::EndsEarly } else { JsonErrorKind::Expected(what) })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("nothing after the object")),
        }
    }

    fn literal(&mut self, text: &'static str) -> Result<(), JsonError> {
        if self.bytes[self.at..].starts_with(text.as_bytes()) {
            self.at += text.len();
            return Ok(());
        }
        Err(self.expected("a value"))
    }

    /// The members of the object at whose `{` the scanner stands.
    fn members(&mut self) -> Result<Vec<Member>, JsonError> {
        let mut members = Vec::with_capacity(8);
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(members);
        }
        loop {
            if members.len() == MEMBERS_MAX {
                return Err(self.fail(JsonErrorKind::TooManyMembers));
            }
            let key = self.key()?;
            let start = self.at;
            self.value(1)?;
            members.push(Member { key, value: start..self.at });
            if self.is_closed_by(b'}', "`,` or `}`")? {
                return Ok(members);
            }
        }
    }

    /// A key, its colon, and the space up to the value.
    fn key(&mut self) -> Result<Range<usize>, JsonError> {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in quotes"));
        }
        let start = self.at + 1;
        self.string()?;
        let key = start..self.at - 1;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.expected("`:`"));
        }
        self.at += 1;
        self.skip_space();
        Ok(key)
    }

    fn is_closed_by(&mut self, close: u8, what: &'static str) -> Result<bool, JsonError> {
        self.skip_space();
        let found = self.peek();
        if found != Some(b',') && found != Some(close) {
            return Err(self.expected(what));
        }
        self.at += 1;
        if found == Some(b',') {
            self.skip_space();
        }
        Ok(found == Some(close))
    }

    /// Any value. Recursion is bounded by [`DEPTH_MAX`].
    fn value(&mut self, depth: usize) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') => self.container(depth, b'}'),
            Some(b'[') => self.container(depth, b']'),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.expected("a value")),
        }
    }

    fn container(&mut self, depth: usize, close: u8) -> Result<(), JsonError> {
        if depth >= DEPTH_MAX {
            return Err(self.fail(JsonErrorKind::TooDeep));
        }
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            if close == b'}' {
                self.key()?;
            }
            self.value(depth + 1)?;
            let what = if close == b'}' { "`,` or `}`" } else { "`,` or `]`" };
            if self.is_closed_by(close, what)? {
                return Ok(());
            }
        }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.expected("a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// A string, from its opening quote to behind its closing one.
    fn string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        loop {
            let rest = &self.bytes[self.at..];
            let Some(run) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.bytes.len();
                return Err(self.fail(JsonErrorKind::EndsEarly));
            };
            if let Some(bad) = rest[..run].iter().position(|&b| b < 0x20) {
                self.at += bad;
                return Err(self.fail(JsonErrorKind::ControlCharacter));
            }
            self.at += run;
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Ok(());
            }
            self.escape()?;
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let at = |offset: usize| self.bytes.get(self.at + offset).copied();
        match at(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let unit = |from: usize| hex4(self.bytes.get(self.at + from..self.at + from + 4));
                let Some(first) = unit(2) else {
                    return Err(self.fail(JsonErrorKind::Escape));
                };
                let is_pair = (0xD800..0xDC00).contains(&first)
                    && (at(6), at(7)) == (Some(b'\\'), Some(b'u'))
                    && unit(8).is_some_and(|low| (0xDC00..0xE000).contains(&low));
                if (0xD800..0xE000).contains(&first) && !is_pair {
                    return Err(self.fail(JsonErrorKind::LoneSurrogate));
                }
                self.at += if is_pair { 12 } else { 6 };
            }
            Some(_) => return Err(self.fail(JsonErrorKind::Escape)),
            None => {
                self.at = self.bytes.len();
                return Err(self.fail(JsonErrorKind::EndsEarly));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(payload: &[u8]) -> JsonErrorKind {
        scan_object(payload).unwrap_err().kind
    }

    #[test]
    fn every_kind_of_bad_payload_is_named() {
        assert_eq!(kind(b""), JsonErrorKind::Empty);
        assert_eq!(kind(b" \n"), JsonErrorKind::Empty);
        assert_eq!(kind(b"{\"a\":\"\xff\"}"), JsonErrorKind::NotUtf8);
        assert_eq!(kind(b"[1]"), JsonErrorKind::NotAnObject);
        assert_eq!(kind(b"3"), JsonErrorKind::NotAnObject);
        assert_eq!(kind(b"hello"), JsonErrorKind::Expected("a value"));
        assert_eq!(kind(b"{\"a\":1"), JsonErrorKind::EndsEarly);
        assert_eq!(kind(b"{\"a\":\"x"), JsonErrorKind::EndsEarly);
        assert_eq!(kind(b"{\"a\":1,}"), JsonErrorKind::Expected("a key in quotes"));
        assert_eq!(kind(b"{\"a\":01}"), JsonErrorKind::Expected("`,` or `}`"));
        assert_eq!(kind(b"{} x"), JsonErrorKind::Expected("nothing after the object"));
        assert_eq!(kind(b"{\"a\":\"\n\"}"), JsonErrorKind::ControlCharacter);
        assert_eq!(kind(br#"{"a":"\x"}"#), JsonErrorKind::Escape);
        assert_eq!(kind(br#"{"a":"\u12g4"}"#), JsonErrorKind::Escape);
        assert_eq!(kind(br#"{"a":"\ud83d"}"#), JsonErrorKind::LoneSurrogate);
        assert_eq!(kind(br#"{"a":"\ude00\ud83d"}"#), JsonErrorKind::LoneSurrogate);
        assert_eq!(kind(br#"{"skipped":{"deep":["\ud83d x"]}}"#), JsonErrorKind::LoneSurrogate);
        assert_eq!(kind(br#"{"text":"a","te\u0078t":"b"}"#), JsonErrorKind::DuplicateKey);
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(kind(deep.as_bytes()), JsonErrorKind::TooDeep);
        let wide: Vec<String> = (0..300).map(|i| format!("\"k{i}\":1")).collect();
        assert_eq!(
            kind(format!("{{{}}}", wide.join(",")).as_bytes()),
            JsonErrorKind::TooManyMembers
        );
    }

    #[test]
    fn the_offset_points_at_the_place() {
        assert_eq!(scan_object(br#"{"a": tru}"#).unwrap_err().offset, 6);
        assert_eq!(scan_object(b"{\"a\":\"\xff\"}").unwrap_err().offset, 6);
        let message = scan_object(br#"{"a":"\ud800"}"#).unwrap_err().to_string();
        assert_eq!(message, "a lone surrogate, which is half a character at byte 6");
    }

    #[test]
    fn members_are_found_where_they_lie() {
        let payload = br#" { "a" : [1, {"b":2}] , "c":"x\"y" } "#;
        let members = scan_object(payload).unwrap();
        let parts: Vec<_> =
            members.iter().map(|m| (&payload[m.key.clone()], &payload[m.value.clone()])).collect();
        let expected: Vec<(&[u8], &[u8])> = vec![(b"a", b"[1, {\"b\":2}]"), (b"c", b"\"x\\\"y\"")];
        assert_eq!(parts, expected);
    }

    #[test]
    fn escapes_resolve() {
        assert_eq!(
            unescape(br#"a\n\t\r\b\f\/\\\"\u00e9\ud83d\ude00z"#),
            "a\n\t\r\u{8}\u{c}/\\\"é😀z"
        );
    }

    /// JSON values as text, with odd spacing, escapes and nesting.
    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<i32>().prop_map(|n| (f64::from(n) / 8.0).into()),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_accepted_and_read_the_same(value in json_value()) {
            let object = serde_json::json!({"value": value, "text": "x"});
            for text in [object.to_string(), serde_json::to_string_pretty(&object).unwrap()] {
                let members = scan_object(text.as_bytes()).unwrap();
                prop_assert_eq!(members.len(), 2);
                for member in members {
                    let key = unescape(&text.as_bytes()[member.key.clone()]).into_owned();
                    let read: serde_json::Value = serde_json::from_str(&text[member.value]).unwrap();
                    prop_assert_eq!(&read, &object[&key]);
                }
            }
        }

        #[test]
        fn strings_unescape_as_serde_json_does(text in any::<String>()) {
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unescape(&quoted.as_bytes()[1..quoted.len() - 1]), text);
        }

        /// Whatever the scan accepts, serde_json accepts too: nothing unsound is passed on.
        #[test]
        fn nothing_is_accepted_that_serde_json_refuses(
            object in json_value(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut bytes = serde_json::json!({"a": object, "b": "\u{e9}\n"}).to_string().into_bytes();
            for (index, byte) in edits {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            if scan_object(&bytes).is_ok() {
                let parsed = serde_json::from_slice::<serde_json::Value>(&bytes);
                let is_number_range = matches!(&parsed, Err(e) if e.to_string().contains("number out of range"));
                prop_assert!(parsed.is_ok() || is_number_range, "{:?}", String::from_utf8_lossy(&bytes));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = scan_object(&bytes);
        }
    }
}
