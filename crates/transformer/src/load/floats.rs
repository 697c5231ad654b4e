//! Tensors in the format of `safetensors`.

use safetensors::{Dtype, SafeTensors};

use super::families::Weights;
use super::quantise::{quantise, quantise_table};
use crate::{Error, kernels::Matrix, model::Table};

/// What models put before the names of the encoder's own tensors.
const PREFIXES: [&str; 3] = ["", "bert.", "roberta."];

/// A file of tensors.
pub(super) struct Safetensors<'a> {
    tensors: SafeTensors<'a>,
    prefix: &'static str,
}

impl<'a> Safetensors<'a> {
    /// Reads what is in the file.
    pub(super) fn open(file: &'a [u8]) -> Result<Self, Error> {
        let tensors = SafeTensors::deserialize(file).map_err(|error| {
            Error::model(format!(
                "the weights are no whole safetensors file: {error}; fetch them again"
            ))
        })?;
        let has = |prefix: &&str| {
            tensors.tensor(&format!("{prefix}embeddings.word_embeddings.weight")).is_ok()
        };
        let prefix = PREFIXES.into_iter().find(has).ok_or_else(|| {
            Error::model("the weights have no `embeddings.word_embeddings.weight`")
        })?;
        Ok(Self { tensors, prefix })
    }

    /// A tensor of this shape, as finite floats. Its name is looked for as it is, and with what this
    /// model puts before names.
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let tensor = self
            .tensors
            .tensor(&format!("{}{name}", self.prefix))
            .or_else(|_| self.tensors.tensor(name))
            .map_err(|_| Error::model(format!("the weights have no `{name}`")))?;
        if tensor.shape() != shape {
            return Err(Error::model(format!(
                "`{name}` has the shape {:?}, not {shape:?}: it does not fit config.json",
                tensor.shape()
            )));
        }
        let data = tensor.data();
        let values: Vec<f32> = match tensor.dtype() {
            Dtype::F32 => {
                data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
            }
            Dtype::F16 => {
                data.as_chunks().0.iter().map(|bytes| half(u16::from_le_bytes(*bytes))).collect()
            }
            Dtype::BF16 => {
                let wide =
                    |bytes: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
                data.as_chunks().0.iter().map(wide).collect()
            }
            other => {
                return Err(Error::unsupported(format!("`{name}` is of the type {other:?}")));
            }
        };
        if !values.iter().all(|value| value.is_finite()) {
            return Err(Error::model(format!(
                "`{name}` has numbers that are none (NaN or infinite)"
            )));
        }
        Ok(values)
    }
}

/// A float of 16 bits: a sign, 5 bits of exponent, 10 of fraction.
pub(super) fn half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    let value = match magnitude {
        // Infinite, or none.
        0x7c00.. => f32::from_bits(0x7f80_0000 | magnitude << 13),
        // The exponent's bias is 15, that of 32 bits is 127.
        0x0400.. => f32::from_bits((magnitude << 13) + ((127 - 15) << 23)),
        // Multiples of 2⁻²⁴.
        #[expect(clippy::cast_precision_loss, reason = "10 bits")]
        _ => magnitude as f32 * f32::from_bits((127 - 24) << 23),
    };
    f32::from_bits(value.to_bits() | sign)
}

impl Weights for Safetensors<'_> {
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        self.read(name, shape)
    }

    fn length(&self, name: &str) -> Option<usize> {
        self.tensors.tensor(name).ok()?.shape().first().copied()
    }

    fn matrix(&self, name: &str, outputs: usize, inputs: usize) -> Result<Matrix, Error> {
        let weights = self.read(&format!("{name}.weight"), &[outputs, inputs])?;
        let biases = self.read(&format!("{name}.bias"), &[outputs])?;
        Ok(quantise(&weights, inputs, biases))
    }

    fn table(&self, name: &str, rows: usize, width: usize) -> Result<Table, Error> {
        self.read(name, &[rows, width]).map(|values| quantise_table(&values, width))
    }
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn halves_are_read() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65_504.0),
            (0x0001, 5.960_464_5e-8),
            (0x0400, 6.103_515_6e-5),
            (0x3555, 0.333_251_95),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(half(bits), value, "{bits:04x}");
        }
        assert!(half(0x7e00).is_nan());
    }
}
