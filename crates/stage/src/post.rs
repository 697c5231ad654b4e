//! `post`: reads a post out of a payload.
//!
//! Every flow over posts begins with it. It refuses what is no sound JSON object, finds the text
//! where the replaced services looked for it, and checks the fields that the later path relies on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wingbeat_record::{DeadCause, Document, Reason};

use crate::{Item, Stage};

/// Where the text may stand, in the order of preference.
const TEXT_PATHS: [&str; 5] = ["text", "record.text", "content", "body", "message"];

/// Fields that must be strings where they are present: identity and order hang on them.
const STRING_FIELDS: [&str; 3] = ["uri", "cid", "author"];

/// Settings of the stage `post`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PostSettings {
    /// The largest payload that is looked into, in bytes. A larger one is a dead letter.
    pub bytes_max: usize,
}

impl Default for PostSettings {
    fn default() -> Self {
        // The largest record of the AT Protocol has 1,000,000 bytes; a post's text has 3,000.
        Self { bytes_max: 1024 * 1024 }
    }
}

/// The stage.
#[derive(Debug)]
pub(crate) struct Post {
    bytes_max: usize,
}

impl Post {
    pub(crate) const NAME: &'static str = "post";

    pub(crate) fn new(settings: &PostSettings) -> Self {
        Self { bytes_max: settings.bytes_max }
    }

    fn read(&self, item: &mut Item) -> Result<(Document, String), DeadCause> {
        let dead = |kind, message| DeadCause::new(Self::NAME, Reason::new(kind), message);
        let (bytes, max) = (item.record().payload.len(), self.bytes_max);
        if bytes > max {
            return Err(dead("too_large", format!("{bytes} bytes, over the limit of {max}")));
        }
        let document = item.scan().map_err(|error| dead(error.kind.token(), error.to_string()))?;
        for name in STRING_FIELDS {
            if let Some(value) = document.get(name).filter(|v| !v.is_string() && !v.is_null()) {
                let message = format!("`{name}` is {}, not a string", value.kind());
                return Err(dead("wrong_type", message));
            }
        }
        for path in TEXT_PATHS {
            let Some(value) = document.get_path(path).filter(|value| !value.is_null()) else {
                continue;
            };
            let Some(text) = value.as_str().map(std::borrow::Cow::into_owned) else {
                let message = format!("`{path}` is {}, not a string", value.kind());
                return Err(dead("wrong_type", message));
            };
            return Ok((document, text));
        }
        let message = format!("no text: none of {} is there", TEXT_PATHS.join(", "));
        Err(dead("missing_text", message))
    }
}

impl Stage for Post {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn run(&self, items: &mut [&mut Item]) {
        for item in items {
            match self.read(item) {
                Ok((document, text)) => item.set_document(document, text),
                Err(cause) => item.die(cause),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wingbeat_record::{Record, Subject};

    use super::*;
    use crate::Verdict;

    fn run(payload: impl Into<bytes::Bytes>) -> Item {
        let mut item = Item::new(Record::new(Subject::new("s").unwrap(), payload));
        Post::new(&PostSettings::default()).run(&mut [&mut item]);
        item
    }

    fn kind(payload: impl Into<bytes::Bytes>) -> String {
        match run(payload).verdict() {
            Some(Verdict::Dead(cause)) => cause.kind.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_text_is_found_in_the_order_of_the_replaced_services() {
        for (payload, text) in [
            (r#"{"text":"a","content":"b"}"#, "a"),
            (r#"{"record":{"text":"r"},"content":"b"}"#, "r"),
            (r#"{"message":"m","body":"b"}"#, "b"),
            (r#"{"text":null,"message":"m"}"#, "m"),
            (r#"{"text":""}"#, ""),
            (r#"{"text":"\u00e9\n"}"#, "é\n"),
        ] {
            let item = run(payload);
            assert_eq!((item.verdict(), item.text()), (None, text), "{payload}");
        }
    }

    #[test]
    fn i6_every_kind_of_bad_payload_is_a_dead_letter_that_says_why() {
        let deep = format!("{{\"text\":\"x\",\"a\":{}{}}}", "[".repeat(500), "]".repeat(500));
        let large = format!("{{\"text\":\"{}\"}}", "x".repeat(10 * 1024 * 1024));
        for (payload, expected) in [
            (&b""[..], "empty"),
            (b"\xff\xfe{}", "not_utf8"),
            (b"hello", "not_json"),
            (b"{\"text\":\"a\"", "not_json"),
            (b"[]", "not_an_object"),
            (b"{\"text\":5}", "wrong_type"),
            (b"{\"text\":\"a\",\"uri\":[]}", "wrong_type"),
            (b"{\"text\":\"a\",\"author\":{}}", "wrong_type"),
            (b"{\"text\":\"\\ud800\"}", "lone_surrogate"),
            (b"{\"text\":\"a\",\"text\":\"b\"}", "duplicate_key"),
            (b"{}", "missing_text"),
            (b"{\"text\":null}", "missing_text"),
            (deep.as_bytes(), "too_deep"),
            (large.as_bytes(), "too_large"),
        ] {
            assert_eq!(kind(payload.to_vec()), expected);
        }
        let Some(Verdict::Dead(cause)) = run(&b"{\"text\":5}"[..]).verdict().cloned() else {
            panic!()
        };
        assert_eq!((&*cause.stage, &*cause.message), ("post", "`text` is a number, not a string"));
    }

    proptest! {
        #[test]
        fn i6_any_bytes_end_in_a_verdict_or_a_text(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let item = run(payload);
            prop_assert!(item.verdict().is_some() || item.document().is_some());
        }
    }
}
