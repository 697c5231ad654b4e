//! Reads what is expected, in the form in which it is nearly always there.
//!
//! Most of a frame is known before it is read: which keys, in which order, with which types. As
//! there is one way to write each value, such a frame is read by comparing bytes and taking
//! lengths. Whatever is not as expected, whether it is broken or only rare, gives `None`, and is
//! read anew by a [`Reader`], which says what it is. So nothing is accepted here that a reader
//! refuses.
//!
//! Everything is inlined: a reader that stays in registers is twice as fast as one in memory.

use super::{
    Reader, major, other,
    reader::{INFO, LINK_HEAD, NUMBER_IN_HEAD_MAX},
};
use crate::cid::{CID_BYTES, Cid};

/// A cursor over bytes that are expected to be of a certain form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usual<'a> {
    rest: &'a [u8],
}

impl<'a> Usual<'a> {
    /// Starts where the reader stands.
    #[inline(always)]
    pub(crate) fn at(reader: &Reader<'a>) -> Self {
        Self { rest: reader.rest }
    }

    /// The reader, moved on to here.
    #[inline(always)]
    pub(crate) fn reader(self, reader: &Reader<'a>) -> Reader<'a> {
        Reader { rest: self.rest, ..*reader }
    }

    /// Moves the reader on to here.
    #[inline(always)]
    pub(crate) fn leave(self, reader: &mut Reader<'a>) {
        reader.rest = self.rest;
    }

    /// Whether nothing is left.
    #[inline(always)]
    pub(crate) fn is_at_end(self) -> bool {
        self.rest.is_empty()
    }

    /// Passes over these bytes, if they are next, and says whether they were.
    #[inline(always)]
    pub(crate) fn take<const N: usize>(&mut self, expected: &[u8; N]) -> bool {
        match self.rest.split_first_chunk() {
            Some((next, behind)) if next == expected => {
                self.rest = behind;
                true
            }
            _ => false,
        }
    }

    /// As [`Usual::take`], where nothing else will do.
    #[inline(always)]
    pub(crate) fn expect<const N: usize>(&mut self, expected: &[u8; N]) -> Option<()> {
        self.take(expected).then_some(())
    }

    /// Enters a map of at most 23 entries.
    #[inline(always)]
    pub(crate) fn map(&mut self) -> Option<u8> {
        self.small_head(major::MAP)
    }

    /// Enters an array of at most 23 elements.
    #[inline(always)]
    pub(crate) fn array(&mut self) -> Option<u8> {
        self.small_head(major::ARRAY)
    }

    /// A head whose number stands in it.
    #[inline(always)]
    fn small_head(&mut self, major: u8) -> Option<u8> {
        let (&head, behind) = self.rest.split_first()?;
        self.rest = behind;
        let number = head.wrapping_sub(major << 5);
        (number <= NUMBER_IN_HEAD_MAX).then_some(number)
    }

    /// A text of at most 255 bytes, of which it is not checked that they are UTF-8.
    #[inline(always)]
    pub(crate) fn text(&mut self) -> Option<&'a [u8]> {
        let (length, behind) = match *self.rest {
            [head, ref behind @ ..] if head >> 5 == major::TEXT && head & INFO < 24 => {
                (head & INFO, behind)
            }
            [head, length @ 24..=u8::MAX, ref behind @ ..] if head == major::TEXT << 5 | 24 => {
                (length, behind)
            }
            _ => return None,
        };
        let (text, behind) = behind.split_at_checked(usize::from(length))?;
        self.rest = behind;
        Some(text)
    }

    /// A byte string of 256 to 65,535 bytes.
    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let [head, high @ 1..=u8::MAX, low, ref behind @ ..] = *self.rest else { return None };
        if head != major::BYTES << 5 | 25 {
            return None;
        }
        let length = u16::from_be_bytes([high, low]);
        let (bytes, behind) = behind.split_at_checked(usize::from(length))?;
        self.rest = behind;
        Some(bytes)
    }

    /// A number of more than 32 bits.
    #[inline(always)]
    pub(crate) fn long_number(&mut self) -> Option<u64> {
        if !self.take(&[major::UNSIGNED << 5 | 27]) {
            return None;
        }
        let (number, behind) = self.rest.split_first_chunk()?;
        self.rest = behind;
        let number = u64::from_be_bytes(*number);
        (number > u32::MAX.into()).then_some(number)
    }

    /// The CID of a link.
    #[inline(always)]
    pub(crate) fn link(&mut self) -> Option<&'a [u8; CID_BYTES]> {
        let (cid, behind) = self.rest.strip_prefix(LINK_HEAD)?.split_first_chunk()?;
        self.rest = behind;
        Cid::is_cid(cid).then_some(cid)
    }

    /// The CID of a link, or nothing for `null`.
    #[inline(always)]
    pub(crate) fn link_or_null(&mut self) -> Option<Option<&'a [u8; CID_BYTES]>> {
        if self.take(&[other::NULL]) { Some(None) } else { self.link().map(Some) }
    }
}
