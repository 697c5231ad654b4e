//! Weights as bytes.

use crate::{
    kernels::{Matrix, WEIGHT_MAX},
    model::Table,
};

/// Makes bytes of a matrix with a row for each output: each row has a scale of its own, by which its
/// largest weight becomes 127.
pub(super) fn quantise(weights: &[f32], inputs: usize, biases: Vec<f32>) -> Matrix {
    let (codes, scales) = rows(weights, inputs);
    Matrix { inputs, codes, scales, biases }
}

/// Makes bytes of a table in the same way.
pub(super) fn quantise_table(values: &[f32], width: usize) -> Table {
    let (codes, scales) = rows(values, width);
    Table { codes, scales }
}

fn rows(values: &[f32], width: usize) -> (Vec<i8>, Vec<f32>) {
    let mut codes = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(values.len() / width.max(1));
    for row in values.chunks_exact(width) {
        let largest = row.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
        let factor = if largest > 0.0 { WEIGHT_MAX / largest } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, reason = "at most 127, by the factor")]
        codes.extend(row.iter().map(|weight| (weight * factor).round_ties_even() as i8));
        scales.push(largest / WEIGHT_MAX);
    }
    (codes, scales)
}

/// Puts matrices below one another: their outputs come one behind the other.
pub(super) fn stack(mut whole: Matrix, below: impl IntoIterator<Item = Matrix>) -> Matrix {
    for part in below {
        whole.codes.extend(part.codes);
        whole.scales.extend(part.scales);
        whole.biases.extend(part.biases);
    }
    whole
}

/// Multiplies the outputs of a matrix.
pub(super) fn scale(mut matrix: Matrix, factor: f32) -> Matrix {
    matrix.scales.iter_mut().chain(&mut matrix.biases).for_each(|value| *value *= factor);
    matrix
}
