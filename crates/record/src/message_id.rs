//! Message ids: what makes a second copy recognisable.

use std::fmt;

use sha2::{Digest, Sha256};

/// The longest id, in bytes. Longer ones are replaced by their hash, so that a hostile uri can't
/// fill the duplicate window's memory.
const ID_BYTES_MAX: usize = 512;

/// The deterministic identity of a record inside a stream. The same input always gets the same
/// id, so that a replay or a redelivery is recognised (invariant 3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageId(String);

impl MessageId {
    /// Takes an id as it is. An overlong one, or one with control characters, is replaced by its
    /// hash.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() || text.len() > ID_BYTES_MAX || has_control(&text) {
            return Self::from_content(text.as_bytes());
        }
        Self(text)
    }

    /// The id of a post: `{uri}:{cid}`, as the replaced services write it.
    pub fn of_post(uri: &str, cid: &str) -> Self {
        Self::new([uri, ":", cid].concat())
    }

    /// The id of content that carries none: `sha256:` and the first 16 bytes of its hash in
    /// hexadecimal.
    pub fn from_content(content: &[u8]) -> Self {
        const DIGITS: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let digest = Sha256::digest(content);
        let mut id = String::with_capacity(7 + 32);
        id.push_str("sha256:");
        for byte in &digest[..16] {
            id.extend([byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
        }
        Self(id)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text holds a control character. Printable ASCII, which ids are, is told by comparing
/// its bytes alone, in vectors.
fn has_control(text: &str) -> bool {
    let is_plain = text.bytes().fold(true, |all, byte| all & (0x20..0x7f).contains(&byte));
    !is_plain && text.contains(char::is_control)
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_deterministic_and_bounded() {
        assert_eq!(MessageId::of_post("at://a/b/c", "bafy").as_str(), "at://a/b/c:bafy");
        let content = MessageId::from_content(b"abc");
        assert_eq!(content.as_str(), "sha256:ba7816bf8f01cfea414140de5dae2223");
        assert!(MessageId::new("x".repeat(10_000)).as_str().starts_with("sha256:"));
        assert!(MessageId::new("a\r\nb").as_str().starts_with("sha256:"));
        assert!(MessageId::new("a\u{85}b").as_str().starts_with("sha256:"));
        assert_eq!(MessageId::new("ä b").as_str(), "ä b");
        assert!(MessageId::new("").as_str().starts_with("sha256:"));
    }
}
