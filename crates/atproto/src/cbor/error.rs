//! What can be wrong with CBOR bytes.

use super::{DEPTH_MAX, Kind};

/// What is wrong with CBOR bytes, and where.
///
/// It is kept at eight bytes, so that the results that carry it fit into registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct CborError {
    /// What is wrong.
    pub kind: CborErrorKind,
    /// Where, in bytes from the start of what was given to the reader.
    pub offset: u32,
}

/// What is wrong with CBOR bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CborErrorKind {
    /// The input ends in the middle, or a length points behind its end.
    #[error("the bytes end too early")]
    EndsEarly,
    /// Bytes after the object.
    #[error("more bytes after the object")]
    TrailingBytes,
    /// Another kind of value was wanted.
    #[error("expected {0}")]
    Expected(Kind),
    /// A negative integer, where none can be.
    #[error("a negative integer, where none can be")]
    Negative,
    /// A number or length that is written with more bytes than it needs.
    #[error("a number that is not in its shortest form")]
    NotShortest,
    /// A length that is only known at the end.
    #[error("an indefinite length")]
    Indefinite,
    /// A head byte that CBOR reserves.
    #[error("a reserved head byte")]
    Reserved,
    /// An integer outside of the 64-bit signed range of the atproto data model.
    #[error("an integer outside of the 64-bit signed range")]
    IntegerRange,
    /// A float that has not 64 bits.
    #[error("a float of other than 64 bits")]
    FloatWidth,
    /// NaN or an infinity.
    #[error("a float that is not a number")]
    FloatNotFinite,
    /// A simple value other than false, true and null.
    #[error("a simple value other than false, true and null")]
    Simple,
    /// A tag other than 42.
    #[error("a tag other than 42, a link")]
    Tag,
    /// Tag 42, but what it carries is no CID.
    #[error("a link that is not a CID")]
    Link,
    /// A text that is not UTF-8.
    #[error("a text that is not UTF-8")]
    NotUtf8,
    /// A map key that is no text.
    #[error("a map key that is not a text")]
    KeyNotText,
    /// Map keys that are not sorted: the shorter first, then bytewise.
    #[error("map keys out of order")]
    KeyOrder,
    /// The same key twice in a map.
    #[error("the same map key twice")]
    DuplicateKey,
    /// Deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}
