//! The entries of a map, and the order of its keys.

use std::cmp::Ordering;

use super::{
    CborError, CborErrorKind, Reader, is_utf8, key_order, major,
    reader::{INFO, NUMBER_IN_HEAD_MAX},
};

/// The heads of texts of 0 to 23 bytes.
const SHORT_TEXT_MIN: u8 = major::TEXT << 5;
const SHORT_TEXT_MAX: u8 = SHORT_TEXT_MIN | NUMBER_IN_HEAD_MAX;

/// The entries of a map that are still to be read.
///
/// After each key the caller reads, skips or checks exactly one value.
#[derive(Debug)]
pub struct Entries<'a> {
    left: usize,
    previous: Option<&'a [u8]>,
}

impl<'a> Entries<'a> {
    /// So many entries; what they take is known to be there.
    pub(super) fn new(count: usize) -> Self {
        Self { left: count, previous: None }
    }

    /// How many entries are still to be read.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The next key, or `None` at the end of the map. Checks that it stands where it must. Whether
    /// it is UTF-8 is not checked: one that equals a known key is.
    // Inlined always, for it stands in the innermost loop of all decoding.
    #[inline(always)]
    pub fn next_key(&mut self, reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, CborError> {
        if self.left == 0 {
            return Ok(None);
        }
        let key = self.next_unchecked_key(reader)?;
        if self.previous.is_some_and(|previous| key_order(previous, key) != Ordering::Less) {
            return Err(self.misplaced(key, reader));
        }
        self.previous = Some(key);
        Ok(Some(key))
    }

    /// The next key, or `None` at the end of the map. Checks that it stands where it must and that
    /// it is UTF-8.
    pub fn next_checked_key(
        &mut self,
        reader: &mut Reader<'a>,
    ) -> Result<Option<&'a str>, CborError> {
        let Some(key) = self.next_key(reader)? else { return Ok(None) };
        let checked = std::str::from_utf8(key).map(Some);
        checked.map_err(|_| reader.fail_before(key, CborErrorKind::NotUtf8))
    }

    /// As [`Entries::next_checked_key`], for a key that is only compared.
    #[inline]
    pub(crate) fn next_checked_bytes(
        &mut self,
        reader: &mut Reader<'a>,
    ) -> Result<Option<&'a [u8]>, CborError> {
        let key = self.next_key(reader)?;
        match key.filter(|key| !is_utf8(key)) {
            Some(key) => Err(reader.fail_before(key, CborErrorKind::NotUtf8)),
            None => Ok(key),
        }
    }

    /// The next key, of which is known that there is one. Checks nothing but that it is a text.
    #[inline(always)]
    pub(super) fn next_unchecked_key(
        &mut self,
        reader: &mut Reader<'a>,
    ) -> Result<&'a [u8], CborError> {
        self.left = self.left.saturating_sub(1);
        match *reader.rest {
            // Nearly all keys have fewer than 24 bytes: their length is in the head.
            [head @ SHORT_TEXT_MIN..=SHORT_TEXT_MAX, ref behind @ ..] => {
                reader.rest = behind;
                reader.take(u64::from(head & INFO))
            }
            _ => reader.text_bytes().map_err(|error| match error.kind {
                CborErrorKind::Expected(_) => {
                    CborError { kind: CborErrorKind::KeyNotText, ..error }
                }
                _ => error,
            }),
        }
    }

    #[cold]
    fn misplaced(&self, key: &[u8], reader: &Reader<'_>) -> CborError {
        let is_duplicate = self.previous == Some(key);
        let kind = if is_duplicate { CborErrorKind::DuplicateKey } else { CborErrorKind::KeyOrder };
        reader.fail_before(key, kind)
    }
}
