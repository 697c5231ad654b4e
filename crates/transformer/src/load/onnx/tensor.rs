//! A tensor of an ONNX file.

use crate::protobuf::{Fields, Value, packed};
use crate::{Error, load::floats::half};

/// `TensorProto.DataType`: those that are read.
const FLOAT: u64 = 1;
const UINT8: u64 = 2;
const INT8: u64 = 3;
const INT64: u64 = 7;
const FLOAT16: u64 = 10;

/// A tensor: its shape, and where its numbers are.
pub(in crate::load) struct Tensor<'a> {
    pub(in crate::load) shape: Vec<usize>,
    kind: u64,
    /// The numbers as bytes.
    raw: Option<&'a [u8]>,
    /// Or as fields of their own.
    listed: Vec<f32>,
    listed_integers: Vec<u64>,
    /// They are in another file.
    elsewhere: bool,
}

impl<'a> Tensor<'a> {
    /// Reads a tensor, and its name.
    pub(super) fn read(bytes: &'a [u8]) -> Option<(&'a str, Self)> {
        /// `TensorProto`: `dims`, `data_type`, `float_data`, `int32_data`, `int64_data`, `name`,
        /// `raw_data`, `data_location`.
        const DIMS: u64 = 1;
        const DATA_TYPE: u64 = 2;
        const FLOAT_DATA: u64 = 4;
        const INT32_DATA: u64 = 5;
        const INT64_DATA: u64 = 7;
        const NAME: u64 = 8;
        const RAW_DATA: u64 = 9;
        const DATA_LOCATION: u64 = 14;
        let (mut name, mut shape, mut kind, mut raw) = ("", Vec::new(), 0, None);
        let (mut listed, mut listed_integers, mut elsewhere) = (Vec::new(), Vec::new(), false);
        for field in Fields(bytes) {
            match field? {
                (DIMS, Value::Number(dim)) => shape.push(dim),
                (DIMS, Value::Bytes(bytes)) => shape.extend(packed(bytes)?),
                (DATA_TYPE, Value::Number(number)) => kind = number,
                (FLOAT_DATA, Value::Four(bytes)) => listed.push(f32::from_le_bytes(bytes)),
                (FLOAT_DATA, Value::Bytes(bytes)) => {
                    listed
                        .extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
                }
                (INT32_DATA | INT64_DATA, Value::Number(number)) => listed_integers.push(number),
                (INT32_DATA | INT64_DATA, Value::Bytes(bytes)) => {
                    listed_integers.extend(packed(bytes)?);
                }
                (NAME, Value::Bytes(bytes)) => name = std::str::from_utf8(bytes).ok()?,
                (RAW_DATA, Value::Bytes(bytes)) => raw = Some(bytes),
                (DATA_LOCATION, Value::Number(place)) => elsewhere = place != 0,
                _ => {}
            }
        }
        let shape =
            shape.into_iter().map(|dim| usize::try_from(dim).ok()).collect::<Option<_>>()?;
        Some((name, Self { shape, kind, raw, listed, listed_integers, elsewhere }))
    }

    /// Its numbers, of which there must be as many as the shape says.
    fn whole<T>(&self, name: &str, values: Vec<T>) -> Result<Vec<T>, Error> {
        if self.elsewhere {
            return Err(Error::unsupported(format!("`{name}` is in another file")));
        }
        let count = self.shape.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim));
        if count == Some(values.len()) {
            return Ok(values);
        }
        Err(Error::model(format!(
            "`{name}` has {} numbers, which does not fit its shape {:?}: the file is damaged",
            values.len(),
            self.shape
        )))
    }

    /// It, as floats.
    pub(in crate::load) fn floats(&self, name: &str) -> Result<Vec<f32>, Error> {
        let values = match (self.kind, self.raw) {
            (FLOAT, None) => self.listed.clone(),
            (FLOAT, Some(raw)) => {
                raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
            }
            (FLOAT16, Some(raw)) => {
                raw.as_chunks().0.iter().map(|bytes| half(u16::from_le_bytes(*bytes))).collect()
            }
            (kind, _) => return Err(wrong_kind(name, kind, "floats")),
        };
        self.whole(name, values)
    }

    /// It, as integers of 8 bits, with a sign or without.
    pub(in crate::load) fn integers(&self, name: &str) -> Result<Vec<i16>, Error> {
        let signed = |byte: u8| i16::from(byte.cast_signed());
        let unsigned = |byte: u8| i16::from(byte);
        let listed = || self.listed_integers.iter().map(|number| number.to_le_bytes()[0]);
        let values = match (self.kind, self.raw) {
            (INT8, Some(raw)) => raw.iter().copied().map(signed).collect(),
            (INT8, None) => listed().map(signed).collect(),
            (UINT8, Some(raw)) => raw.iter().copied().map(unsigned).collect(),
            (UINT8, None) => listed().map(unsigned).collect(),
            (kind, _) => return Err(wrong_kind(name, kind, "integers of 8 bits")),
        };
        self.whole(name, values)
    }

    /// It, as sizes: integers of 64 bits, none below zero.
    pub(in crate::load) fn sizes(&self, name: &str) -> Result<Vec<usize>, Error> {
        let numbers: Vec<u64> = match (self.kind, self.raw) {
            (INT64, Some(raw)) => {
                raw.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
            }
            (INT64, None) => self.listed_integers.clone(),
            (kind, _) => return Err(wrong_kind(name, kind, "integers")),
        };
        let sizes = numbers.into_iter().map(usize::try_from).collect::<Result<_, _>>();
        self.whole(name, sizes.map_err(|_| Error::model(format!("`{name}` is out of bounds")))?)
    }

    /// Whether its numbers are bytes.
    pub(in crate::load) fn is_bytes(&self) -> bool {
        self.kind == INT8
    }
}

fn wrong_kind(name: &str, kind: u64, wanted: &str) -> Error {
    Error::unsupported(format!("`{name}` is of the ONNX type {kind}, not {wanted}"))
}
