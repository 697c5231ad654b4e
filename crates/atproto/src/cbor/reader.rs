//! Reads DRISL-CBOR in place: nothing is copied, and nothing that is not asked for is looked at.

use std::fmt;

use super::{CborError, CborErrorKind, DEPTH_MAX, Entries, TAG_LINK, is_utf8, major, other};
use crate::cid::{CID_BYTES, Cid};

/// A cursor over DRISL-CBOR bytes.
///
/// What it hands out borrows from the input. Whatever it reads is checked: shortest form,
/// definite lengths, lengths within the input, key order. [`Reader::skip`] checks the structure
/// of what it passes over, and nothing more; [`Reader::check_value`] checks everything. Cloning a
/// reader keeps a place to come back to.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    pub(super) rest: &'a [u8],
    /// The length of the whole input.
    pub(super) length: usize,
}

/// The kind of a value, as its head tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An integer, of either sign.
    Integer,
    /// A byte string.
    Bytes,
    /// A text.
    Text,
    /// An array.
    Array,
    /// A map.
    Map,
    /// A link: tag 42 and a CID.
    Link,
    /// `false` or `true`.
    Bool,
    /// `null`.
    Null,
    /// A 64-bit float.
    Float,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Integer => "an integer",
            Self::Bytes => "a byte string",
            Self::Text => "a text",
            Self::Array => "an array",
            Self::Map => "a map",
            Self::Link => "a link",
            Self::Bool => "a boolean",
            Self::Null => "null",
            Self::Float => "a float",
        })
    }
}

/// The lower five bits of a head byte: a small number, or how many bytes the number has.
pub(super) const INFO: u8 = 0x1f;

/// The largest number that stands in the head byte itself.
pub(super) const NUMBER_IN_HEAD_MAX: u8 = 23;

/// What stands before the CID in a link: the tag 42, the head of a byte string of 37 bytes, and
/// a byte 0 for "binary", which the registration of the tag wants there.
pub(super) const LINK_HEAD: &[u8] = &[0xd8, 0x2a, 0x58, 0x25, 0x00];

/// A head: the major type and the number that comes with it.
struct Head {
    major: u8,
    number: u64,
}

/// Checks that the bytes are exactly one DRISL object in canonical form: what a strict encoder
/// would have written, byte for byte.
pub fn check(bytes: &[u8]) -> Result<(), CborError> {
    let mut reader = Reader::new(bytes);
    reader.check_value(0)?;
    reader.end()
}

impl<'a> Reader<'a> {
    /// A reader at the start of the input.
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input, length: input.len() }
    }

    /// Where the reader stands, in bytes from the start of the input.
    pub fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    /// Checks that nothing is left.
    pub fn end(&self) -> Result<(), CborError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.fail(CborErrorKind::TrailingBytes))
    }

    /// The kind of the next value. The reader stays where it is.
    pub fn kind(&self) -> Result<Kind, CborError> {
        let Some(&byte) = self.rest.first() else {
            return Err(self.fail(CborErrorKind::EndsEarly));
        };
        Ok(match (byte >> 5, byte) {
            (major::UNSIGNED | major::NEGATIVE, _) => Kind::Integer,
            (major::BYTES, _) => Kind::Bytes,
            (major::TEXT, _) => Kind::Text,
            (major::ARRAY, _) => Kind::Array,
            (major::MAP, _) => Kind::Map,
            (major::TAG, _) => Kind::Link,
            (_, other::FALSE | other::TRUE) => Kind::Bool,
            (_, other::NULL) => Kind::Null,
            (_, other::FLOAT64) => Kind::Float,
            _ => return Err(self.fail(other_problem(byte))),
        })
    }

    /// An integer that is not negative.
    #[inline]
    pub fn unsigned(&mut self) -> Result<u64, CborError> {
        let start = *self;
        let head = self.head()?;
        match head.major {
            major::UNSIGNED => Ok(head.number),
            major::NEGATIVE => Err(start.fail(CborErrorKind::Negative)),
            _ => Err(start.fail(CborErrorKind::Expected(Kind::Integer))),
        }
    }

    /// An integer.
    pub fn integer(&mut self) -> Result<i64, CborError> {
        let start = *self;
        let head = self.head()?;
        // A negative integer n is written as -1 - n, which is !n.
        let number = match (head.major, i64::try_from(head.number)) {
            (major::UNSIGNED, Ok(number)) => number,
            (major::NEGATIVE, Ok(number)) => !number,
            (major::UNSIGNED | major::NEGATIVE, Err(_)) => {
                return Err(start.fail(CborErrorKind::IntegerRange));
            }
            _ => return Err(start.fail(CborErrorKind::Expected(Kind::Integer))),
        };
        Ok(number)
    }

    /// A byte string.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], CborError> {
        let length = self.number_of(major::BYTES, Kind::Bytes)?;
        self.take(length)
    }

    /// A text as bytes, of which it is not checked that they are UTF-8: enough, and cheaper, where
    /// they are compared with something that is.
    #[inline]
    pub fn text_bytes(&mut self) -> Result<&'a [u8], CborError> {
        let length = self.number_of(major::TEXT, Kind::Text)?;
        self.take(length)
    }

    /// A text.
    pub fn text(&mut self) -> Result<&'a str, CborError> {
        let mut start = *self;
        let bytes = self.text_bytes()?;
        std::str::from_utf8(bytes).map_err(|error| {
            let head_bytes = start.rest.len() - self.rest.len() - bytes.len();
            start.advance(head_bytes + error.valid_up_to());
            start.fail(CborErrorKind::NotUtf8)
        })
    }

    /// `false` or `true`.
    pub fn bool(&mut self) -> Result<bool, CborError> {
        let value = match self.rest.first() {
            Some(&other::FALSE) => false,
            Some(&other::TRUE) => true,
            Some(_) => return Err(self.fail(CborErrorKind::Expected(Kind::Bool))),
            None => return Err(self.fail(CborErrorKind::EndsEarly)),
        };
        self.advance(1);
        Ok(value)
    }

    /// Passes over a `null`, if one is next, and says whether it was.
    #[inline]
    pub fn take_null(&mut self) -> bool {
        let is_null = self.rest.first() == Some(&other::NULL);
        if is_null {
            self.advance(1);
        }
        is_null
    }

    /// A float.
    pub fn float(&mut self) -> Result<f64, CborError> {
        let start = *self;
        match self.rest.first() {
            Some(&other::FLOAT64) => self.advance(1),
            Some(&byte) if byte >> 5 == major::OTHER => {
                return Err(self.fail(other_problem(byte)));
            }
            Some(_) => return Err(self.fail(CborErrorKind::Expected(Kind::Float))),
            None => return Err(self.fail(CborErrorKind::EndsEarly)),
        }
        let float = f64::from_bits(self.big_endian::<8>().map(u64::from_be_bytes)?);
        if float.is_finite() { Ok(float) } else { Err(start.fail(CborErrorKind::FloatNotFinite)) }
    }

    /// A link.
    #[inline]
    pub fn link(&mut self) -> Result<Cid, CborError> {
        self.link_bytes().map(Cid::from_link)
    }

    /// The CID of a link, still as bytes. As there is one way to write each number, there is one
    /// way to write what stands before a CID.
    #[inline]
    pub(crate) fn link_bytes(&mut self) -> Result<&'a [u8; CID_BYTES], CborError> {
        if let Some(behind_head) = self.rest.strip_prefix(LINK_HEAD)
            && let Some((cid, behind)) = behind_head.split_first_chunk()
            && Cid::is_cid(cid)
        {
            self.rest = behind;
            return Ok(cid);
        }
        Err(self.link_problem())
    }

    /// What is wrong where a link was expected.
    #[cold]
    fn link_problem(&self) -> CborError {
        let reader = &mut self.clone();
        match reader.number_of(major::TAG, Kind::Link) {
            Ok(TAG_LINK) => {}
            Ok(_) => return self.fail(CborErrorKind::Tag),
            Err(error) => return error,
        }
        reader.bytes().err().unwrap_or_else(|| self.fail(CborErrorKind::Link))
    }

    /// A link, or `None` for `null`.
    #[inline]
    pub fn link_or_null(&mut self) -> Result<Option<Cid>, CborError> {
        if self.take_null() { Ok(None) } else { self.link().map(Some) }
    }

    /// The CID of a link, still as bytes, or `None` for `null`.
    #[inline]
    pub(crate) fn link_bytes_or_null(&mut self) -> Result<Option<&'a [u8; CID_BYTES]>, CborError> {
        if self.take_null() { Ok(None) } else { self.link_bytes().map(Some) }
    }

    /// Enters an array and returns the number of its elements. Each takes a byte at least, so
    /// the number is checked against what is left: it is safe to reserve memory by.
    #[inline]
    pub fn array(&mut self) -> Result<usize, CborError> {
        let count = self.number_of(major::ARRAY, Kind::Array)?;
        self.fits(count, 1)
    }

    /// Enters a map.
    #[inline]
    pub fn map(&mut self) -> Result<Entries<'a>, CborError> {
        let count = self.number_of(major::MAP, Kind::Map)?;
        self.entries(count)
    }

    #[inline]
    fn entries(&self, count: u64) -> Result<Entries<'a>, CborError> {
        Ok(Entries::new(self.fits(count, 2)?))
    }

    /// Passes over one value. A string costs no more than its head. The structure is checked:
    /// heads, lengths, depth, keys that are texts, links that are CIDs.
    pub fn skip(&mut self) -> Result<(), CborError> {
        self.walk::<false>(0)
    }

    /// Passes over one value and checks everything that [`check`] does. `depth` is the number of
    /// maps and arrays that were entered before it.
    pub fn check_value(&mut self, depth: usize) -> Result<(), CborError> {
        self.walk::<true>(depth)
    }

    fn walk<const STRICT: bool>(&mut self, depth: usize) -> Result<(), CborError> {
        let start = *self;
        let head = self.head()?;
        match head.major {
            major::UNSIGNED | major::NEGATIVE => {
                if STRICT && i64::try_from(head.number).is_err() {
                    return Err(start.fail(CborErrorKind::IntegerRange));
                }
            }
            major::BYTES => _ = self.take(head.number)?,
            major::TEXT if STRICT => {
                if !is_utf8(self.take(head.number)?) {
                    *self = start;
                    self.text()?;
                }
            }
            major::TEXT => _ = self.take(head.number)?,
            major::ARRAY | major::MAP if depth >= DEPTH_MAX => {
                return Err(start.fail(CborErrorKind::TooDeep));
            }
            major::ARRAY => {
                for _ in 0..self.fits(head.number, 1)? {
                    self.walk::<STRICT>(depth + 1)?;
                }
            }
            major::MAP => {
                let mut entries = self.entries(head.number)?;
                while entries.left() > 0 {
                    if STRICT {
                        entries.next_checked_bytes(self)?;
                    } else {
                        entries.next_unchecked_key(self)?;
                    }
                    self.walk::<STRICT>(depth + 1)?;
                }
            }
            major::TAG => {
                *self = start;
                self.link_bytes()?;
            }
            _ => {
                *self = start;
                match self.rest.first() {
                    Some(&(other::FALSE | other::TRUE | other::NULL)) => self.advance(1),
                    _ => _ = self.float()?,
                }
            }
        }
        Ok(())
    }

    /// Reads a head of the given major type and returns its number.
    #[inline]
    fn number_of(&mut self, wanted: u8, kind: Kind) -> Result<u64, CborError> {
        let start = *self;
        let head = self.head()?;
        if head.major != wanted {
            *self = start;
            return Err(start.fail(CborErrorKind::Expected(kind)));
        }
        Ok(head.number)
    }

    /// Reads a head of the major types 0 to 6. (What major type 7 carries is no number.)
    #[inline]
    fn head(&mut self) -> Result<Head, CborError> {
        // The two shortest forms are nearly all that there are; the rest is out of line.
        match *self.rest {
            [byte, ref behind @ ..] if byte & INFO <= NUMBER_IN_HEAD_MAX => {
                self.rest = behind;
                Ok(Head { major: byte >> 5, number: u64::from(byte & INFO) })
            }
            [byte, number, ref behind @ ..]
                if byte & INFO == 24
                    && number > NUMBER_IN_HEAD_MAX
                    && byte >> 5 != major::OTHER =>
            {
                self.rest = behind;
                Ok(Head { major: byte >> 5, number: u64::from(number) })
            }
            [byte, ..] if byte >> 5 == major::OTHER => Ok(Head { major: major::OTHER, number: 0 }),
            _ => self.long_head(),
        }
    }

    /// Reads a head whose number stands in the bytes behind it.
    fn long_head(&mut self) -> Result<Head, CborError> {
        let start = *self;
        let [byte] = self.big_endian()?;
        let (number, shorter_max) = match byte & INFO {
            24 => (u8::from_be_bytes(self.big_endian()?).into(), u64::from(NUMBER_IN_HEAD_MAX)),
            25 => (u16::from_be_bytes(self.big_endian()?).into(), u8::MAX.into()),
            26 => (u32::from_be_bytes(self.big_endian()?).into(), u16::MAX.into()),
            27 => (u64::from_be_bytes(self.big_endian()?), u32::MAX.into()),
            31 => return Err(start.fail(CborErrorKind::Indefinite)),
            _ => return Err(start.fail(CborErrorKind::Reserved)),
        };
        if number <= shorter_max {
            return Err(start.fail(CborErrorKind::NotShortest));
        }
        Ok(Head { major: byte >> 5, number })
    }

    #[inline]
    fn big_endian<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        let Some((bytes, behind)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.fail_at_end());
        };
        self.rest = behind;
        Ok(*bytes)
    }

    #[inline]
    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let split = usize::try_from(length).ok().and_then(|at| self.rest.split_at_checked(at));
        let Some((taken, behind)) = split else {
            return Err(self.fail_at_end());
        };
        self.rest = behind;
        Ok(taken)
    }

    /// Passes over bytes that were looked at.
    fn advance(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    /// Checks that so many elements of at least so many bytes can be in the rest of the input.
    #[inline]
    fn fits(&self, count: u64, bytes_min: usize) -> Result<usize, CborError> {
        match usize::try_from(count) {
            Ok(count) if count <= self.rest.len() / bytes_min => Ok(count),
            _ => Err(self.fail_at_end()),
        }
    }

    /// The error that the input ends too early, which is found where it ends.
    #[cold]
    fn fail_at_end(&self) -> CborError {
        Self { rest: &[], ..*self }.fail(CborErrorKind::EndsEarly)
    }

    /// An error at the start of a text that was just read.
    #[cold]
    pub(super) fn fail_before(&self, text: &[u8], kind: CborErrorKind) -> CborError {
        CborError { offset: saturating_offset(self.position() - text.len()), kind }
    }

    #[cold]
    fn fail(&self, kind: CborErrorKind) -> CborError {
        CborError { offset: saturating_offset(self.position()), kind }
    }
}

/// Offsets are 32 bits wide (see [`CborError`]); no frame or record comes near that.
fn saturating_offset(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// What is wrong with a head of major type 7 that DRISL does not have.
fn other_problem(byte: u8) -> CborErrorKind {
    match byte & INFO {
        25 | 26 => CborErrorKind::FloatWidth,
        28..=30 => CborErrorKind::Reserved,
        31 => CborErrorKind::Indefinite,
        _ => CborErrorKind::Simple,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(bytes: &[u8]) -> CborErrorKind {
        check(bytes).unwrap_err().kind
    }

    #[test]
    fn every_kind_of_bad_bytes_is_named() {
        assert_eq!(kind(&[]), CborErrorKind::EndsEarly);
        assert_eq!(kind(&[0x19, 0x01]), CborErrorKind::EndsEarly);
        assert_eq!(kind(&[0x42, 0x00]), CborErrorKind::EndsEarly);
        assert_eq!(kind(&[0x00, 0x00]), CborErrorKind::TrailingBytes);
        assert_eq!(kind(&[0x18, 0x17]), CborErrorKind::NotShortest);
        assert_eq!(kind(&[0x9f, 0xff]), CborErrorKind::Indefinite);
        assert_eq!(kind(&[0xff]), CborErrorKind::Indefinite);
        assert_eq!(kind(&[0x1c]), CborErrorKind::Reserved);
        assert_eq!(kind(&[0xfc]), CborErrorKind::Reserved);
        assert_eq!(kind(&[0xf7]), CborErrorKind::Simple);
        assert_eq!(kind(&[0xf9, 0x3e, 0x00]), CborErrorKind::FloatWidth);
        assert_eq!(kind(&[0xfb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]), CborErrorKind::FloatNotFinite);
        assert_eq!(kind(&[0xc1, 0x00]), CborErrorKind::Tag);
        assert_eq!(kind(&[0xd8, 0x2a, 0x41, 0x00]), CborErrorKind::Link);
        assert_eq!(kind(&[0x61, 0xff]), CborErrorKind::NotUtf8);
        assert_eq!(kind(&[0xa1, 0x61, 0xff, 0x00]), CborErrorKind::NotUtf8);
        assert_eq!(kind(&[0xa1, 0x00, 0x00]), CborErrorKind::KeyNotText);
        assert_eq!(kind(b"\xa2\x61b\x00\x61a\x00"), CborErrorKind::KeyOrder);
        assert_eq!(kind(b"\xa2\x62aa\x00\x61b\x00"), CborErrorKind::KeyOrder);
        assert_eq!(kind(b"\xa2\x61a\x00\x61a\x00"), CborErrorKind::DuplicateKey);
        // 2^63 and -2^63 - 1: valid CBOR, but outside of the data model.
        assert_eq!(kind(&[0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0]), CborErrorKind::IntegerRange);
        assert_eq!(kind(&[0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0]), CborErrorKind::IntegerRange);
        assert_eq!(check(&[0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Ok(()));
    }

    #[test]
    fn nesting_is_limited_and_the_limit_itself_is_allowed() {
        let nested = |levels: usize| [vec![0x81; levels], vec![0xf6]].concat();
        assert_eq!(check(&nested(DEPTH_MAX)), Ok(()));
        assert_eq!(kind(&nested(DEPTH_MAX + 1)), CborErrorKind::TooDeep);
        assert_eq!(kind(&nested(1_000_000)), CborErrorKind::TooDeep);
        let skipped = Reader::new(&nested(1_000_000)).skip().unwrap_err();
        assert_eq!(skipped.kind, CborErrorKind::TooDeep);
    }

    #[test]
    fn a_claimed_length_is_checked_before_it_is_used() {
        // 2^64 - 1 elements, entries and bytes.
        for head in [0x9b, 0xbb, 0x5b, 0x7b] {
            let bytes = [&[head][..], &[0xff; 8]].concat();
            assert_eq!(kind(&bytes), CborErrorKind::EndsEarly);
            assert_eq!(Reader::new(&bytes).skip().unwrap_err().kind, CborErrorKind::EndsEarly);
        }
    }

    #[test]
    fn the_offset_points_at_the_place() {
        let error = check(b"\xa1\x61a\x62x\xff").unwrap_err();
        assert_eq!(error.to_string(), "a text that is not UTF-8 at byte 5");
        let mut reader = Reader::new(&[0x01, 0x02]);
        reader.unsigned().unwrap();
        assert_eq!(reader.text().unwrap_err().to_string(), "expected a text at byte 1");
    }

    #[test]
    fn values_are_read_as_they_are() {
        let mut reader = Reader::new(b"\x20\x18\x64\xf5\xf6\x62hi\x41\x07\xfb\x3f\xf8\0\0\0\0\0\0");
        assert_eq!(reader.integer(), Ok(-1));
        assert_eq!(reader.unsigned(), Ok(100));
        assert_eq!(reader.bool(), Ok(true));
        assert!(reader.take_null() && !reader.take_null());
        assert_eq!(reader.kind(), Ok(Kind::Text));
        assert_eq!(reader.text(), Ok("hi"));
        assert_eq!(reader.bytes(), Ok(&[7][..]));
        assert_eq!(reader.float(), Ok(1.5));
        assert_eq!(reader.end(), Ok(()));
    }
}
