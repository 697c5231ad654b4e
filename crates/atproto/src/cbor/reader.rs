//! Reads DRISL-CBOR in place: nothing is copied, and nothing that is not asked for is looked at.

use std::cmp::Ordering;

use super::{CborError, CborErrorKind, DEPTH_MAX, TAG_LINK, key_order, major, other};
use crate::Cid;

/// A cursor over DRISL-CBOR bytes.
///
/// What it hands out borrows from the input. Whatever it reads is checked: shortest form,
/// definite lengths, lengths within the input, key order. [`Reader::skip`] checks the structure
/// of what it passes over, and nothing more; [`Reader::check_value`] checks everything. Cloning a
/// reader keeps a place to come back to.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
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

/// A head: the major type and the number that comes with it.
struct Head {
    major: u8,
    number: u64,
}

/// Checks that the bytes are exactly one DRISL object in canonical form: what a strict encoder
/// would have written, byte for byte.
pub fn check(bytes: &[u8]) -> Result<(), CborError> {
    let mut reader = Reader::new(bytes);
    reader.check_value()?;
    reader.end()
}

impl<'a> Reader<'a> {
    /// A reader at the start of the input.
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// Where the reader stands, in bytes from the start of the input.
    pub fn position(&self) -> usize {
        self.at
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// Checks that nothing is left.
    pub fn end(&self) -> Result<(), CborError> {
        if self.at == self.input.len() {
            return Ok(());
        }
        Err(self.fail(CborErrorKind::TrailingBytes))
    }

    /// The kind of the next value. The reader stays where it is.
    pub fn kind(&self) -> Result<Kind, CborError> {
        let Some(&byte) = self.input.get(self.at) else {
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
    pub fn unsigned(&mut self) -> Result<u64, CborError> {
        self.number_of(major::UNSIGNED, "an unsigned integer")
    }

    /// An integer.
    pub fn integer(&mut self) -> Result<i64, CborError> {
        let start = self.at;
        let head = self.head()?;
        // A negative integer n is written as -1 - n, which is !n.
        let number = match (head.major, i64::try_from(head.number)) {
            (major::UNSIGNED, Ok(number)) => number,
            (major::NEGATIVE, Ok(number)) => !number,
            (major::UNSIGNED | major::NEGATIVE, Err(_)) => {
                return Err(CborError { kind: CborErrorKind::IntegerRange, offset: start });
            }
            _ => return Err(expected("an integer", start)),
        };
        Ok(number)
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Result<&'a [u8], CborError> {
        let length = self.number_of(major::BYTES, "a byte string")?;
        self.take(length)
    }

    /// A text.
    pub fn text(&mut self) -> Result<&'a str, CborError> {
        let bytes = self.text_bytes()?;
        std::str::from_utf8(bytes).map_err(|error| CborError {
            kind: CborErrorKind::NotUtf8,
            offset: self.at - bytes.len() + error.valid_up_to(),
        })
    }

    /// `false` or `true`.
    pub fn bool(&mut self) -> Result<bool, CborError> {
        let value = match self.input.get(self.at) {
            Some(&other::FALSE) => false,
            Some(&other::TRUE) => true,
            Some(_) => return Err(expected("a boolean", self.at)),
            None => return Err(self.fail(CborErrorKind::EndsEarly)),
        };
        self.at += 1;
        Ok(value)
    }

    /// Passes over a `null`, if one is next, and says whether it was.
    pub fn take_null(&mut self) -> bool {
        let is_null = self.input.get(self.at) == Some(&other::NULL);
        self.at += usize::from(is_null);
        is_null
    }

    /// A float.
    pub fn float(&mut self) -> Result<f64, CborError> {
        let start = self.at;
        match self.input.get(start) {
            Some(&other::FLOAT64) => {}
            Some(&byte) if byte >> 5 == major::OTHER => {
                return Err(self.fail(other_problem(byte)));
            }
            Some(_) => return Err(expected("a float", start)),
            None => return Err(self.fail(CborErrorKind::EndsEarly)),
        }
        self.at += 1;
        let float = f64::from_bits(self.big_endian::<8>().map(u64::from_be_bytes)?);
        if !float.is_finite() {
            return Err(CborError { kind: CborErrorKind::FloatNotFinite, offset: start });
        }
        Ok(float)
    }

    /// A link.
    pub fn link(&mut self) -> Result<Cid, CborError> {
        let start = self.at;
        let tag = self.number_of(major::TAG, "a link")?;
        if tag != TAG_LINK {
            return Err(CborError { kind: CborErrorKind::Tag(tag), offset: start });
        }
        // The byte 0 stands for "binary": the registration of tag 42 wants it before the CID.
        match self.bytes()? {
            [0, cid @ ..] => Cid::from_bytes(cid).ok(),
            _ => None,
        }
        .ok_or(CborError { kind: CborErrorKind::Link, offset: start })
    }

    /// A link, or `None` for `null`.
    pub fn link_or_null(&mut self) -> Result<Option<Cid>, CborError> {
        if self.take_null() { Ok(None) } else { self.link().map(Some) }
    }

    /// Enters an array and returns the number of its elements. Each takes a byte at least, so
    /// the number is checked against what is left: it is safe to reserve memory by.
    pub fn array(&mut self) -> Result<usize, CborError> {
        let start = self.at;
        let count = self.number_of(major::ARRAY, "an array")?;
        self.fits(count, 1, start)
    }

    /// Enters a map.
    pub fn map(&mut self) -> Result<Entries<'a>, CborError> {
        let start = self.at;
        let count = self.number_of(major::MAP, "a map")?;
        Ok(Entries { left: self.fits(count, 2, start)?, previous: None })
    }

    /// Passes over one value. A string costs no more than its head. The structure is checked:
    /// heads, lengths, depth, keys that are texts, links that are CIDs.
    pub fn skip(&mut self) -> Result<(), CborError> {
        self.walk::<false>(0)
    }

    /// Passes over one value and checks everything that [`check`] does.
    pub fn check_value(&mut self) -> Result<(), CborError> {
        self.walk::<true>(0)
    }

    fn walk<const STRICT: bool>(&mut self, depth: usize) -> Result<(), CborError> {
        let start = self.at;
        let Some(&byte) = self.input.get(start) else {
            return Err(self.fail(CborErrorKind::EndsEarly));
        };
        match byte >> 5 {
            major::UNSIGNED | major::NEGATIVE if STRICT => self.integer().map(drop),
            major::UNSIGNED | major::NEGATIVE => self.head().map(drop),
            major::BYTES => self.bytes().map(drop),
            major::TEXT if STRICT => self.text().map(drop),
            major::TEXT => self.text_bytes().map(drop),
            major::ARRAY => {
                let count = self.array()?;
                check_depth(depth, start)?;
                for _ in 0..count {
                    self.walk::<STRICT>(depth + 1)?;
                }
                Ok(())
            }
            major::MAP => {
                let mut entries = self.map()?;
                check_depth(depth, start)?;
                while entries.left > 0 {
                    if STRICT {
                        entries.next_key(self)?;
                    } else {
                        entries.next_unchecked_key(self)?;
                    }
                    self.walk::<STRICT>(depth + 1)?;
                }
                Ok(())
            }
            major::TAG => self.link().map(drop),
            _ if byte == other::FLOAT64 => self.float().map(drop),
            _ if (other::FALSE..=other::NULL).contains(&byte) => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.fail(other_problem(byte))),
        }
    }

    fn text_bytes(&mut self) -> Result<&'a [u8], CborError> {
        let length = self.number_of(major::TEXT, "a text")?;
        self.take(length)
    }

    /// Reads a head of the given major type and returns its number.
    fn number_of(&mut self, wanted: u8, name: &'static str) -> Result<u64, CborError> {
        let start = self.at;
        let head = self.head()?;
        if head.major != wanted {
            self.at = start;
            return Err(expected(name, start));
        }
        Ok(head.number)
    }

    /// Reads a head of the major types 0 to 6. (What major type 7 carries is no number.)
    #[inline]
    fn head(&mut self) -> Result<Head, CborError> {
        let start = self.at;
        let Some(&byte) = self.input.get(start) else {
            return Err(self.fail(CborErrorKind::EndsEarly));
        };
        self.at += 1;
        let (major, info) = (byte >> 5, byte & 0x1f);
        if major == major::OTHER {
            return Ok(Head { major, number: 0 });
        }
        let (number, is_shortest) = match info {
            0..=23 => return Ok(Head { major, number: u64::from(info) }),
            24 => {
                let number = u64::from(u8::from_be_bytes(self.big_endian()?));
                (number, number > 23)
            }
            25 => {
                let number = u64::from(u16::from_be_bytes(self.big_endian()?));
                (number, number > u64::from(u8::MAX))
            }
            26 => {
                let number = u64::from(u32::from_be_bytes(self.big_endian()?));
                (number, number > u64::from(u16::MAX))
            }
            27 => {
                let number = u64::from_be_bytes(self.big_endian()?);
                (number, number > u64::from(u32::MAX))
            }
            31 => return Err(CborError { kind: CborErrorKind::Indefinite, offset: start }),
            _ => return Err(CborError { kind: CborErrorKind::Reserved, offset: start }),
        };
        if !is_shortest {
            return Err(CborError { kind: CborErrorKind::NotShortest, offset: start });
        }
        Ok(Head { major, number })
    }

    #[inline]
    fn big_endian<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        let Some(bytes) = self.rest().first_chunk::<N>() else {
            return Err(CborError { kind: CborErrorKind::EndsEarly, offset: self.input.len() });
        };
        self.at += N;
        Ok(*bytes)
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let rest = self.rest();
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let Some(taken) = taken else {
            return Err(CborError { kind: CborErrorKind::EndsEarly, offset: self.input.len() });
        };
        self.at += taken.len();
        Ok(taken)
    }

    /// Checks that so many elements of at least so many bytes can be in the rest of the input.
    fn fits(&self, count: u64, bytes_min: usize, start: usize) -> Result<usize, CborError> {
        let room = self.rest().len() / bytes_min;
        match usize::try_from(count) {
            Ok(count) if count <= room => Ok(count),
            _ => Err(CborError { kind: CborErrorKind::EndsEarly, offset: start }),
        }
    }

    fn fail(&self, kind: CborErrorKind) -> CborError {
        CborError { kind, offset: self.at }
    }
}

/// The entries of a map that are still to be read.
///
/// After each key the caller reads, skips or checks exactly one value.
#[derive(Debug)]
pub struct Entries<'a> {
    left: usize,
    previous: Option<&'a [u8]>,
}

impl<'a> Entries<'a> {
    /// How many entries are still to be read.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The next key, or `None` at the end of the map. Checks that it stands where it must.
    pub fn next_key(&mut self, reader: &mut Reader<'a>) -> Result<Option<&'a str>, CborError> {
        let start = reader.at;
        let Some(key) = self.next_unchecked_key(reader)? else { return Ok(None) };
        let kind = match self.previous.map(|previous| key_order(previous, key)) {
            None | Some(Ordering::Less) => {
                self.previous = Some(key);
                match std::str::from_utf8(key) {
                    Ok(key) => return Ok(Some(key)),
                    Err(_) => CborErrorKind::NotUtf8,
                }
            }
            Some(Ordering::Equal) => CborErrorKind::DuplicateKey,
            Some(Ordering::Greater) => CborErrorKind::KeyOrder,
        };
        Err(CborError { kind, offset: start })
    }

    /// The next key, of which nothing is known but that it is a text.
    fn next_unchecked_key(
        &mut self,
        reader: &mut Reader<'a>,
    ) -> Result<Option<&'a [u8]>, CborError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let key = reader.text_bytes().map_err(|error| match error.kind {
            CborErrorKind::Expected(_) => CborError { kind: CborErrorKind::KeyNotText, ..error },
            _ => error,
        })?;
        Ok(Some(key))
    }
}

fn check_depth(depth: usize, offset: usize) -> Result<(), CborError> {
    if depth < DEPTH_MAX {
        return Ok(());
    }
    Err(CborError { kind: CborErrorKind::TooDeep, offset })
}

fn expected(what: &'static str, offset: usize) -> CborError {
    CborError { kind: CborErrorKind::Expected(what), offset }
}

/// What is wrong with a head of major type 7 that DRISL does not have.
fn other_problem(byte: u8) -> CborErrorKind {
    match byte & 0x1f {
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
        assert_eq!(kind(&[0xc1, 0x00]), CborErrorKind::Tag(1));
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
