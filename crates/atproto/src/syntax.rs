//! The names of accounts, collections and records, checked and borrowed.
//!
//! <https://atproto.com/specs/did>, <https://atproto.com/specs/handle>,
//! <https://atproto.com/specs/nsid>, <https://atproto.com/specs/record-key>,
//! <https://atproto.com/specs/at-uri-scheme>

use std::fmt;

use crate::post::POST_COLLECTION;

/// The longest DID, in bytes.
pub const DID_BYTES_MAX: usize = 2_048;

/// The longest handle, in bytes: that of a domain name.
pub const HANDLE_BYTES_MAX: usize = 253;

/// The longest NSID, in bytes: a domain name of 253, a dot, a name of 63.
pub const NSID_BYTES_MAX: usize = 317;

/// The longest segment of an NSID, in bytes, as in a domain name.
const SEGMENT_BYTES_MAX: usize = 63;

/// The longest record key, in bytes.
pub const RECORD_KEY_BYTES_MAX: usize = 512;

/// Why a text is not what it should be. It does not repeat the text, which may be long and
/// hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {wanted}: {problem}")]
pub struct SyntaxError {
    /// What it should be.
    pub wanted: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// An account, such as `did:plc:44ybard66vv44zksje25o7dz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Did<'a>(&'a str);

/// A name of an account, such as `alice.example`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle<'a>(&'a str);

/// A collection, such as `app.bsky.feed.post`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nsid<'a>(&'a str);

/// The key of a record inside its collection, such as `3jzfcijpj2z2a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordKey<'a>(&'a str);

/// The place of a record in its repository: `collection/rkey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordPath<'a> {
    /// The collection.
    pub collection: Nsid<'a>,
    /// The key of the record.
    pub rkey: RecordKey<'a>,
}

/// The address of a record: `at://did/collection/rkey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordUri<'a> {
    /// Whose repository.
    pub did: Did<'a>,
    /// Where in it.
    pub path: RecordPath<'a>,
}

impl<'a> Did<'a> {
    /// Checks and takes a DID.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let fail = |problem| Err(SyntaxError { wanted: "a DID", problem });
        if text.len() > DID_BYTES_MAX {
            return fail("it is too long");
        }
        // Nearly all accounts have this method, which needs no search.
        let plc = text.strip_prefix("did:plc:").map(|id| ("plc", id));
        let parts = plc.or_else(|| text.strip_prefix("did:")?.split_once(':'));
        let Some((method, id)) = parts else {
            return fail("it does not start with `did:method:`");
        };
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_lowercase()) {
            return fail("its method is not lower-case letters");
        }
        if id.is_empty()
            || !id.bytes().all(|b| IS_IN_DIDS[usize::from(b)])
            || id.ends_with([':', '%'])
        {
            return fail(
                "what follows its method has other characters than A-Z a-z 0-9 . _ : % -, or ends with : or %",
            );
        }
        Ok(Self(text))
    }

    /// The DID as text.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

impl<'a> Handle<'a> {
    /// Checks and takes a handle.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let fail = |problem| Err(SyntaxError { wanted: "a handle", problem });
        if text.len() > HANDLE_BYTES_MAX {
            return fail("it is too long");
        }
        let Some((_, last)) = text.rsplit_once('.') else {
            return fail("it has fewer than two segments");
        };
        if !text.split('.').all(is_domain_label) {
            return fail("a segment is not 1 to 63 of A-Z a-z 0-9 -, without - at an end");
        }
        if !last.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return fail("its last segment does not start with a letter");
        }
        Ok(Self(text))
    }

    /// The handle as text.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

impl<'a> Nsid<'a> {
    /// Checks and takes an NSID.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let fail = |problem| Err(SyntaxError { wanted: "an NSID", problem });
        if text.len() > NSID_BYTES_MAX {
            return fail("it is too long");
        }
        let Some((authority, name)) = text.rsplit_once('.') else {
            return fail("it has fewer than three segments");
        };
        if !authority.contains('.') {
            return fail("it has fewer than three segments");
        }
        if !authority.split('.').all(is_domain_label) {
            return fail(
                "a segment of its domain is not 1 to 63 of A-Z a-z 0-9 -, without - at an end",
            );
        }
        let starts_with_letter = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts_with_letter(authority) {
            return fail("it does not start with a letter");
        }
        if !starts_with_letter(name)
            || name.len() > SEGMENT_BYTES_MAX
            || !name.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return fail("its last segment is not a letter and up to 62 letters and digits");
        }
        Ok(Self(text))
    }

    /// The NSID as text.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

fn is_domain_label(label: &str) -> bool {
    (1..=SEGMENT_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl<'a> RecordKey<'a> {
    /// Checks and takes a record key.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let fail = |problem| Err(SyntaxError { wanted: "a record key", problem });
        if text.is_empty() || text.len() > RECORD_KEY_BYTES_MAX {
            return fail("it has not 1 to 512 characters");
        }
        if !text.bytes().all(|b| IS_IN_RECORD_KEYS[usize::from(b)]) {
            return fail("it has other characters than A-Z a-z 0-9 . _ : ~ -");
        }
        if text == "." || text == ".." {
            return fail("`.` and `..` are reserved");
        }
        Ok(Self(text))
    }

    /// The record key as text.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// The bytes that what follows a DID's method is made of.
static IS_IN_DIDS: [bool; 256] = letters_digits_and(b"._:%-");

/// The bytes that record keys are made of.
static IS_IN_RECORD_KEYS: [bool; 256] = letters_digits_and(b"._:~-");

/// A table of the bytes A-Z a-z 0-9, and of these.
pub(crate) const fn letters_digits_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}

impl<'a> RecordPath<'a> {
    /// Checks and takes `collection/rkey`.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        // What most are asked about, and known to be right.
        if let Some(rkey) =
            text.strip_prefix(POST_COLLECTION).and_then(|rest| rest.strip_prefix('/'))
        {
            return Ok(Self { collection: Nsid(POST_COLLECTION), rkey: RecordKey::parse(rkey)? });
        }
        let Some((collection, rkey)) = text.split_once('/') else {
            return Err(SyntaxError { wanted: "a record's path", problem: "it has no `/`" });
        };
        Ok(Self { collection: Nsid::parse(collection)?, rkey: RecordKey::parse(rkey)? })
    }
}

impl<'a> RecordUri<'a> {
    /// Checks and takes an `at://` address of a record whose authority is a DID.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let parts = text.strip_prefix("at://").and_then(|rest| rest.split_once('/'));
        let Some((did, path)) = parts else {
            return Err(SyntaxError {
                wanted: "a record's address",
                problem: "it is not at://did/collection/rkey",
            });
        };
        Ok(Self { did: Did::parse(did)?, path: RecordPath::parse(path)? })
    }
}

impl RecordUri<'_> {
    fn parts(&self) -> [&'_ str; 6] {
        ["at://", self.did.0, "/", self.path.collection.0, "/", self.path.rkey.0]
    }

    /// The length of the address as text, in bytes.
    pub fn bytes(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// Writes the address behind a text.
    pub fn push_to(&self, text: &mut String) {
        text.extend(self.parts());
    }
}

impl fmt::Display for RecordPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection.0, self.rkey.0)
    }
}

impl fmt::Display for RecordUri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().iter().try_for_each(|part| f.write_str(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_address_comes_apart_and_together() {
        let text = "at://did:plc:44ybard66vv44zksje25o7dz/app.bsky.feed.post/3jzfcijpj2z2a";
        let uri = RecordUri::parse(text).unwrap();
        assert_eq!(uri.did.as_str(), "did:plc:44ybard66vv44zksje25o7dz");
        assert_eq!(uri.path.collection.as_str(), "app.bsky.feed.post");
        assert_eq!(uri.path.rkey.as_str(), "3jzfcijpj2z2a");
        assert_eq!(uri.to_string(), text);
    }

    #[test]
    fn the_collection_that_is_taken_as_it_is_is_one() {
        assert!(Nsid::parse(POST_COLLECTION).is_ok());
    }

    #[test]
    fn hostile_paths_are_refused() {
        for path in [
            "",
            "app.bsky.feed.post",
            "app.bsky.feed.post/",
            "app.bsky.feed.post/..",
            "app.bsky.feed.post/a/b",
            "app.bsky.feed.post/a\nb",
            "post/a",
            "app..post/a",
        ] {
            assert!(RecordPath::parse(path).is_err(), "{path:?}");
        }
        let long = format!("app.bsky.feed.post/{}", "o".repeat(RECORD_KEY_BYTES_MAX + 1));
        assert!(RecordPath::parse(&long).is_err());
        let message = Did::parse("did:PLC:x").unwrap_err().to_string();
        assert_eq!(message, "not a DID: its method is not lower-case letters");
    }
}
