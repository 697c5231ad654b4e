//! The fields of a protocol buffer's message: what ONNX files are made of.
//!
//! <https://protobuf.dev/programming-guides/encoding>

/// A variable-length integer has at most so many bytes.
const VARINT_BYTES_MAX: usize = 10;

/// The value of a field.
pub enum Value<'a> {
    /// A variable-length integer.
    Number(u64),
    /// A text, bytes, or another message.
    Bytes(&'a [u8]),
    /// Four bytes, as they are.
    Four([u8; 4]),
    /// Eight bytes: nothing that is read here has them.
    Eight,
}

/// The fields of a message, each with its number; `None` where one can't be read, and then the end.
#[derive(Clone)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Eight
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Four(self.take(4)?.try_into().ok()?),
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for at in 0..VARINT_BYTES_MAX {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

/// Integers that are packed end to end; `None` where one can't be read.
pub(crate) fn packed(bytes: &[u8]) -> Option<Vec<u64>> {
    let mut rest = Fields(bytes);
    let mut numbers = Vec::new();
    while !rest.0.is_empty() {
        numbers.push(rest.varint()?);
    }
    Some(numbers)
}
