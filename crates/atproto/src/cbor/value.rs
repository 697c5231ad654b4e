//! Writes DRISL-CBOR.

use super::{DEPTH_MAX, key_order, major, other, reader::LINK_HEAD};
use crate::Cid;

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `false` or `true`.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A float. (The atproto data model has none; DRISL has.)
    Float(f64),
    /// A text.
    Text(&'a str),
    /// A byte string.
    Bytes(&'a [u8]),
    /// A link.
    Link(Cid),
    /// An array.
    Array(Vec<Value<'a>>),
    /// A map, in any order: writing sorts it.
    Map(Vec<(&'a str, Value<'a>)>),
}

/// Why a value can't be written in DRISL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// NaN or an infinity.
    #[error("a float that is not a number can't be written")]
    FloatNotFinite,
    /// The same key twice in a map.
    #[error("the key `{0}` stands twice in a map")]
    DuplicateKey(String),
    /// Deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

impl Value<'_> {
    /// The value in canonical form.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        self.write(&mut out, 0)?;
        Ok(out)
    }

    fn write(&self, out: &mut Vec<u8>, depth: usize) -> Result<(), EncodeError> {
        match self {
            Self::Null => out.push(other::NULL),
            Self::Bool(false) => out.push(other::FALSE),
            Self::Bool(true) => out.push(other::TRUE),
            // A negative integer n is written as -1 - n, which is !n.
            Self::Integer(n) if *n < 0 => write_head(out, major::NEGATIVE, (!n).unsigned_abs()),
            Self::Integer(n) => write_head(out, major::UNSIGNED, n.unsigned_abs()),
            Self::Float(float) if float.is_finite() => {
                out.push(other::FLOAT64);
                out.extend_from_slice(&float.to_be_bytes());
            }
            Self::Float(_) => return Err(EncodeError::FloatNotFinite),
            Self::Text(text) => write_string(out, major::TEXT, text.as_bytes()),
            Self::Bytes(bytes) => write_string(out, major::BYTES, bytes),
            Self::Link(cid) => write_link(out, cid),
            Self::Array(elements) => {
                let depth = deeper(depth)?;
                write_head(out, major::ARRAY, elements.len() as u64);
                for element in elements {
                    element.write(out, depth)?;
                }
            }
            Self::Map(entries) => {
                let depth = deeper(depth)?;
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by(|(a, _), (b, _)| key_order(a.as_bytes(), b.as_bytes()));
                if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    return Err(EncodeError::DuplicateKey(pair[0].0.to_owned()));
                }
                write_head(out, major::MAP, sorted.len() as u64);
                for (key, value) in sorted {
                    write_string(out, major::TEXT, key.as_bytes());
                    value.write(out, depth)?;
                }
            }
        }
        Ok(())
    }
}

fn deeper(depth: usize) -> Result<usize, EncodeError> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(EncodeError::TooDeep) }
}

/// Writes a link.
pub(crate) fn write_link(out: &mut Vec<u8>, cid: &Cid) {
    out.extend_from_slice(LINK_HEAD);
    out.extend_from_slice(cid.as_bytes());
}

/// Writes a byte string or a text.
pub(crate) fn write_string(out: &mut Vec<u8>, major: u8, bytes: &[u8]) {
    write_head(out, major, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes a head in its shortest form.
pub(crate) fn write_head(out: &mut Vec<u8>, major: u8, number: u64) {
    let major = major << 5;
    let bytes = number.to_be_bytes();
    // The shortest of 0, 1, 2, 4 and 8 bytes that holds the number.
    match number {
        0..=23 => out.push(major | bytes[7]),
        24..=0xff => out.extend_from_slice(&[major | 24, bytes[7]]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&bytes[6..]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&bytes[4..]);
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_sorted_shorter_first_then_bytewise() {
        let map = Value::Map(vec![
            ("bb", Value::Integer(1)),
            ("c", Value::Null),
            ("ba", Value::Bool(true)),
        ]);
        assert_eq!(map.encode().unwrap(), b"\xa3\x61c\xf6\x62ba\xf5\x62bb\x01");
    }

    #[test]
    fn what_drisl_has_no_bytes_for_is_refused() {
        assert_eq!(Value::Float(f64::NAN).encode(), Err(EncodeError::FloatNotFinite));
        assert_eq!(Value::Float(f64::NEG_INFINITY).encode(), Err(EncodeError::FloatNotFinite));
        let twice = Value::Map(vec![("a", Value::Null), ("b", Value::Null), ("a", Value::Null)]);
        assert_eq!(twice.encode(), Err(EncodeError::DuplicateKey("a".to_owned())));
        let mut deep = Value::Null;
        for _ in 0..DEPTH_MAX {
            deep = Value::Array(vec![deep]);
        }
        assert!(deep.encode().is_ok());
        assert_eq!(Value::Array(vec![deep]).encode(), Err(EncodeError::TooDeep));
    }
}
