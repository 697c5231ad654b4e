//! Timestamp identifiers: a time in microseconds and a clock's number, as 13 characters that sort
//! as the times do. Record keys and revisions are TIDs. <https://atproto.com/specs/tid>

use std::{fmt, str::FromStr};

/// The length of a TID as text.
pub const TID_TEXT_BYTES: usize = 13;

/// The bits of the clock's number.
const CLOCK_BITS: u32 = 10;

/// The bits of the time: 53, so that it stays exact in a double. The top bit of 64 is zero.
const MICROS_MAX: u64 = (1 << 53) - 1;

/// "base32-sortable": its characters are in ASCII order.
const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";

/// A timestamp identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid(u64);

/// A text that is no TID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a TID is 13 characters of 2-7 and a-z, the first of them 2-7 or a-j")]
pub struct TidError;

impl Tid {
    /// Puts a TID together from microseconds since 1970 (53 bits) and a clock's number (10 bits);
    /// the bits above are cut off.
    pub const fn new(micros: u64, clock: u16) -> Self {
        Self((micros & MICROS_MAX) << CLOCK_BITS | (clock as u64 & ((1 << CLOCK_BITS) - 1)))
    }

    /// Reads the text form.
    pub fn from_text(text: &[u8]) -> Result<Self, TidError> {
        if text.len() != TID_TEXT_BYTES {
            return Err(TidError);
        }
        let mut bits = 0_u64;
        for (index, &byte) in text.iter().enumerate() {
            let value = match byte {
                b'2'..=b'7' => byte - b'2',
                b'a'..=b'z' => byte - b'a' + 6,
                _ => return Err(TidError),
            };
            // 13 times 5 bits are one more than 64: the first character carries only 4.
            if index == 0 && value > 15 {
                return Err(TidError);
            }
            bits = bits << 5 | u64::from(value);
        }
        Ok(Self(bits))
    }

    /// The time in microseconds since 1970.
    pub const fn micros(self) -> u64 {
        self.0 >> CLOCK_BITS
    }

    /// The clock's number.
    pub const fn clock(self) -> u16 {
        (self.0 & ((1 << CLOCK_BITS) - 1)) as u16
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in (0..TID_TEXT_BYTES).rev() {
            let value = self.0 >> (digit * 5) & 31;
            write!(f, "{}", char::from(ALPHABET[value as usize]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Tid {
    type Err = TidError;

    fn from_str(text: &str) -> Result<Self, TidError> {
        Self::from_text(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tids_go_to_text_and_back_and_sort_by_time() {
        let tid: Tid = "3jzfcijpj2z2a".parse().unwrap();
        assert_eq!(tid.to_string(), "3jzfcijpj2z2a");
        assert_eq!(Tid::new(tid.micros(), tid.clock()), tid);
        assert_eq!(Tid::new(0, 0).to_string(), "2222222222222");
        let (early, late) =
            (Tid::new(1_783_175_888_000_000, 1023), Tid::new(1_783_175_888_000_001, 0));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!((early.micros(), early.clock()), (1_783_175_888_000_000, 1023));
    }
}
