//! Content identifiers: the name of a block is the hash of its bytes.
//!
//! atproto uses one shape of the many that CIDs can have (<https://dasl.ing/cid.html>): version 1,
//! the codec DRISL (`dag-cbor`) or raw, and SHA-256.

use std::{fmt, ops::Deref, str::FromStr};

use sha2::{Digest, Sha256};

/// The length of a CID in its binary form, in bytes: version, codec, hash kind, hash length, hash.
pub const CID_BYTES: usize = 36;

/// The length of a CID as text: `b` and 58 characters of base32.
pub const CID_TEXT_BYTES: usize = 59;

const VERSION_1: u8 = 1;
const SHA2_256: u8 = 0x12;
const SHA2_256_BYTES: u8 = 32;
const PREFIX_BYTES: usize = 4;

/// RFC 4648 base32 in lower case, as multibase `b` has it.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What the bytes that a CID names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Any bytes, such as a picture.
    Raw,
    /// One DRISL-CBOR object.
    Drisl,
}

impl Codec {
    /// The code in the multicodec table.
    fn code(self) -> u8 {
        match self {
            Self::Raw => 0x55,
            Self::Drisl => 0x71,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Raw, Self::Drisl].into_iter().find(|codec| codec.code() == code)
    }
}

/// A content identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cid([u8; CID_BYTES]);

/// Why something is no CID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidError {
    /// Another length than a CID has.
    #[error("a CID has {CID_BYTES} bytes ({CID_TEXT_BYTES} as text), not {0}")]
    Length(usize),
    /// Another version, codec or hash than atproto uses.
    #[error("only CIDs of version 1, with raw or dag-cbor content and SHA-256, are in use")]
    Kind,
    /// A text that is not base32 with the prefix `b`.
    #[error("a CID as text is `b` and lower-case base32")]
    Base32,
}

impl Cid {
    /// The CID of these bytes.
    pub fn of(codec: Codec, content: &[u8]) -> Self {
        let mut bytes = [0; CID_BYTES];
        let (prefix, digest) = bytes.split_at_mut(PREFIX_BYTES);
        prefix.copy_from_slice(&[VERSION_1, codec.code(), SHA2_256, SHA2_256_BYTES]);
        digest.copy_from_slice(&Sha256::digest(content));
        Self(bytes)
    }

    /// Reads the binary form.
    #[inline]
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        let Ok(bytes) = <[u8; CID_BYTES]>::try_from(bytes) else {
            return Err(CidError::Length(bytes.len()));
        };
        if Self::is_cid(&bytes) { Ok(Self(bytes)) } else { Err(CidError::Kind) }
    }

    /// The CID of a link, which was found to be one where it was read.
    #[inline]
    pub(crate) fn from_link(bytes: &[u8; CID_BYTES]) -> Self {
        Self(*bytes)
    }

    /// Whether the bytes are a CID in its binary form.
    #[inline]
    pub(crate) fn is_cid(bytes: &[u8]) -> bool {
        let is_kind_in_use = matches!(
            *bytes,
            [VERSION_1, codec, SHA2_256, SHA2_256_BYTES, ..] if Codec::from_code(codec).is_some()
        );
        is_kind_in_use && bytes.len() == CID_BYTES
    }

    /// The binary form.
    pub fn as_bytes(&self) -> &[u8; CID_BYTES] {
        &self.0
    }

    /// What the named bytes are.
    pub fn codec(&self) -> Codec {
        if self.0[1] == Codec::Raw.code() { Codec::Raw } else { Codec::Drisl }
    }

    /// Whether this is the name of these bytes: hashes them.
    pub fn names(&self, content: &[u8]) -> bool {
        Sha256::digest(content)[..] == self.0[PREFIX_BYTES..]
    }
}

/// A CID as text.
#[derive(Debug, Clone, Copy)]
pub struct CidText([u8; CID_TEXT_BYTES]);

impl Deref for CidText {
    type Target = str;

    fn deref(&self) -> &str {
        // It is all ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Cid {
    /// The text form, `b` and base32, without allocating.
    pub fn to_text(&self) -> CidText {
        let mut text = [b'b'; CID_TEXT_BYTES];
        let (groups, [last]) = self.0.as_chunks::<5>() else { return CidText(text) };
        let (characters, last_two) = text[1..].as_chunks_mut::<8>();
        for (characters, &[a, b, c, d, e]) in characters.iter_mut().zip(groups) {
            let bits = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
            for (index, character) in characters.iter_mut().enumerate() {
                *character = ALPHABET[(bits >> (35 - 5 * index) & 31) as usize];
            }
        }
        // 8 bits are left over, which two zero bits fill up.
        let bits = usize::from(*last) << 2;
        last_two.copy_from_slice(&[ALPHABET[bits >> 5], ALPHABET[bits & 31]]);
        CidText(text)
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Cid {
    type Err = CidError;

    /// Reads the text form, `b` and base32.
    fn from_str(text: &str) -> Result<Self, CidError> {
        if text.len() != CID_TEXT_BYTES {
            return Err(CidError::Length(text.len()));
        }
        let Some(digits) = text.strip_prefix('b') else { return Err(CidError::Base32) };
        let mut bytes = Vec::with_capacity(CID_BYTES);
        let mut bits = 0_u32;
        let mut bit_count = 0_u32;
        for digit in digits.bytes() {
            let value = match digit {
                b'a'..=b'z' => digit - b'a',
                b'2'..=b'7' => digit - b'2' + 26,
                _ => return Err(CidError::Base32),
            };
            bits = bits << 5 | u32::from(value);
            bit_count += 5;
            if bit_count >= 8 {
                bit_count -= 8;
                bytes.push((bits >> bit_count & 0xff) as u8);
            }
        }
        // The two bits that fill up the last character are zero, so that a CID has one text only.
        if bits & ((1 << bit_count) - 1) != 0 {
            return Err(CidError::Base32);
        }
        Self::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cid_goes_to_text_and_back() {
        // The empty DRISL map, a well-known block.
        let cid = Cid::of(Codec::Drisl, b"\xa0");
        let text = "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua";
        assert_eq!(cid.to_string(), text);
        assert_eq!(text.parse(), Ok(cid));
        assert!(cid.names(b"\xa0") && !cid.names(b"\xa1"));
        assert_eq!((cid.codec(), Cid::of(Codec::Raw, b"").codec()), (Codec::Drisl, Codec::Raw));
    }

    #[test]
    fn what_is_no_cid_is_refused() {
        let text = Cid::of(Codec::Raw, b"x").to_string();
        let parse = |text: &str| text.parse::<Cid>().unwrap_err();
        assert_eq!(parse(""), CidError::Length(0));
        assert_eq!(parse(&text.to_uppercase()), CidError::Base32);
        assert_eq!(parse(&text.replacen('b', "z", 1)), CidError::Base32);
        // The last character carries three bits: another one that differs in the two others only.
        let last = text.chars().last().unwrap();
        let at = ALPHABET.iter().position(|&c| char::from(c) == last).unwrap();
        let other = char::from(ALPHABET[at | 1]);
        assert_eq!(parse(&format!("{}{other}", &text[..58])), CidError::Base32);
        // dag-pb.
        let mut bytes = *Cid::of(Codec::Raw, b"x").as_bytes();
        bytes[1] = 0x70;
        assert_eq!(Cid::from_bytes(&bytes), Err(CidError::Kind));
        assert_eq!(Cid::from_bytes(&bytes[1..]), Err(CidError::Length(35)));
    }
}
