//! What can be wrong with a message or a record, field by field.

use crate::{
    cbor::{CborError, Reader},
    syntax::{Did, SyntaxError},
    tid::Tid,
};

/// The first number that is no sequence number: they must be exact in a double.
pub(crate) const SEQ_END: u64 = 1 << 53;

/// Why a message, an operation or a record can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The CBOR is broken outside of any field.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// The CBOR of a field is broken, or its type is another one.
    #[error("`{field}`: {error}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        error: CborError,
    },
    /// A field that must be there is not.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field's text is no DID, NSID or record key, where it must be one.
    #[error("`{field}`: {error}")]
    Syntax {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        error: SyntaxError,
    },
    /// A field has a value that it can't have.
    #[error("`{field}`: {problem}")]
    Value {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Something is larger than the protocol allows.
    #[error("{what}: {size}, but at most {max} are allowed")]
    TooLarge {
        /// What is too large, with the unit.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// The limit.
        max: usize,
    },
}

/// Says which field an error belongs to.
pub(crate) trait InField<T> {
    fn in_field(self, field: &'static str) -> Result<T, DecodeError>;
}

impl<T> InField<T> for Result<T, CborError> {
    #[inline]
    fn in_field(self, field: &'static str) -> Result<T, DecodeError> {
        self.map_err(|error| DecodeError::Field { field, error })
    }
}

impl<T> InField<T> for Result<T, SyntaxError> {
    #[inline]
    fn in_field(self, field: &'static str) -> Result<T, DecodeError> {
        self.map_err(|error| DecodeError::Syntax { field, error })
    }
}

impl<T> InField<T> for Option<T> {
    #[inline]
    fn in_field(self, field: &'static str) -> Result<T, DecodeError> {
        self.ok_or(DecodeError::Missing(field))
    }
}

/// Refuses what is larger than the limit.
pub(crate) fn limit(what: &'static str, size: usize, max: usize) -> Result<(), DecodeError> {
    if size <= max { Ok(()) } else { Err(DecodeError::TooLarge { what, size, max }) }
}

/// Reads a DID.
pub(crate) fn read_did<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
) -> Result<Did<'a>, DecodeError> {
    Did::parse(reader.text().in_field(field)?).in_field(field)
}

/// Reads a TID.
pub(crate) fn read_tid(reader: &mut Reader<'_>, field: &'static str) -> Result<Tid, DecodeError> {
    parse_tid(reader.text_bytes().in_field(field)?, field)
}

/// Takes a text as a TID.
pub(crate) fn parse_tid(text: &[u8], field: &'static str) -> Result<Tid, DecodeError> {
    Tid::from_text(text).map_err(|_| DecodeError::Value { field, problem: "not a TID" })
}

/// Checks a text that was not looked at when it was read.
pub(crate) fn utf8<'a>(text: &'a [u8], field: &'static str) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(text).map_err(|_| DecodeError::Value { field, problem: "not UTF-8" })
}

/// Reads a sequence number.
pub(crate) fn read_seq(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    match reader.unsigned().in_field("seq")? {
        seq if (1..SEQ_END).contains(&seq) => Ok(seq),
        _ => Err(DecodeError::Value { field: "seq", problem: "not from 1 to 2^53 - 1" }),
    }
}

/// Reads a text that may be absent, which some servers write as `null`.
pub(crate) fn read_optional_text<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
) -> Result<Option<&'a str>, DecodeError> {
    if reader.take_null() { Ok(None) } else { reader.text().in_field(field).map(Some) }
}
