//! DRISL-CBOR, the form in which atproto writes everything that it hashes: CBOR (RFC 8949) with
//! one way to write each value. Integers and lengths are in their shortest form, lengths are
//! definite, map keys are texts in order (shorter first, then bytewise) and stand once, floats
//! have 64 bits and are finite, and the only tag is 42, a CID.
//!
//! <https://dasl.ing/drisl.html>, <https://atproto.com/specs/data-model>

mod entries;
mod error;
mod reader;
mod usual;
mod value;

pub use entries::Entries;
pub use error::{CborError, CborErrorKind};
pub use reader::{Kind, Reader, check};
pub(crate) use usual::Usual;
pub use value::{EncodeError, Value};
pub(crate) use value::{write_head, write_link, write_string};

/// How deep arrays and maps may nest. The data limit that the reference implementations publish
/// (`MAX_CBOR_NESTED_LEVELS` of indigo and of `@atproto/lex-data`); real records stay below 10.
pub const DEPTH_MAX: usize = 32;

/// The major types (RFC 8949, section 3.1), the upper three bits of a head byte.
pub(crate) mod major {
    pub(crate) const UNSIGNED: u8 = 0;
    pub(super) const NEGATIVE: u8 = 1;
    pub(crate) const BYTES: u8 = 2;
    pub(super) const TEXT: u8 = 3;
    pub(crate) const ARRAY: u8 = 4;
    pub(crate) const MAP: u8 = 5;
    pub(super) const TAG: u8 = 6;
    pub(super) const OTHER: u8 = 7;
}

/// The head that is all of a `null`.
pub(crate) const NULL: u8 = other::NULL;

/// The heads of major type 7 that DRISL allows.
mod other {
    pub(super) const FALSE: u8 = 0xf4;
    pub(super) const TRUE: u8 = 0xf5;
    pub(super) const NULL: u8 = 0xf6;
    pub(super) const FLOAT64: u8 = 0xfb;
}

/// The tag of a link.
const TAG_LINK: u64 = 42;

/// Whether bytes are UTF-8. Most are short and ASCII, which is told without a call.
#[inline]
fn is_utf8(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) < 0x80 || std::str::from_utf8(bytes).is_ok()
}

/// How a key must stand to the key before it: shorter first, then bytewise.
#[inline]
fn key_order(previous: &[u8], key: &[u8]) -> std::cmp::Ordering {
    // Byte by byte: short keys differ early, and a call of memcmp costs more.
    previous.len().cmp(&key.len()).then_with(|| previous.iter().cmp(key))
}
