//! What is done to whole rows of states: quantising, layer normalisation.

use super::{
    Codes, Norm,
    float::{Floats, gelu},
};

/// Codes go from minus this to this.
pub(crate) const CODE_MAX: f32 = 127.0;

/// Writes a row as codes, and gives what one step of them is.
#[inline(always)]
fn quantise_row<F: Floats>(f: F, row: &[f32], largest: F::Vector, flip: u8, to: &mut [u8]) -> f32 {
    let largest = f.largest(largest);
    // A row of zeros has codes of zero.
    let factor = if largest > 0.0 { f.splat(CODE_MAX / largest) } else { f.splat(0.0) };
    for (values, codes) in row.chunks_exact(F::LANES).zip(to.chunks_exact_mut(F::LANES)) {
        f.store_codes(f.mul(f.load(values), factor), flip, codes);
    }
    largest / CODE_MAX
}

/// Writes rows as codes, from row `first` on.
#[inline(always)]
pub(super) fn quantise<F: Floats>(f: F, flip: u8, values: &[f32], first: usize, to: &mut Codes) {
    for (index, row) in values.chunks_exact(to.width).enumerate() {
        let mut largest = f.splat(0.0);
        for values in row.chunks_exact(F::LANES) {
            largest = f.max(largest, f.abs(f.load(values)));
        }
        let (codes, scale) = to.row_mut(first + index);
        *scale = quantise_row(f, row, largest, flip, codes);
    }
}

/// Normalises rows in place, and writes them as codes too, from row `first` on.
#[inline(always)]
pub(super) fn normalise<F: Floats>(
    f: F,
    flip: u8,
    values: &mut [f32],
    norm: &Norm,
    first: usize,
    to: &mut Codes,
) {
    #[expect(clippy::cast_precision_loss, reason = "a width has few digits")]
    let width = to.width as f32;
    for (index, row) in values.chunks_exact_mut(to.width).enumerate() {
        let mut sum = f.splat(0.0);
        for values in row.chunks_exact(F::LANES) {
            sum = f.add(sum, f.load(values));
        }
        let mean = f.splat(f.sum(sum) / width);
        let mut squares = f.splat(0.0);
        for values in row.chunks_exact(F::LANES) {
            let apart = f.sub(f.load(values), mean);
            squares = f.mul_add(apart, apart, squares);
        }
        let factor = f.splat(1.0 / (f.sum(squares) / width + norm.epsilon).sqrt());
        let mut largest = f.splat(0.0);
        let parameters = norm.scale.chunks_exact(F::LANES).zip(norm.shift.chunks_exact(F::LANES));
        for (values, (scale, shift)) in row.chunks_exact_mut(F::LANES).zip(parameters) {
            let value = f.mul(f.sub(f.load(values), mean), factor);
            let value = f.mul_add(value, f.load(scale), f.load(shift));
            largest = f.max(largest, f.abs(value));
            f.store(value, values);
        }
        let (codes, scale) = to.row_mut(first + index);
        *scale = quantise_row(f, row, largest, flip, codes);
    }
}

/// GELU of values, in place.
#[inline(always)]
pub(super) fn activate<F: Floats>(f: F, values: &mut [f32]) {
    for values in values.chunks_exact_mut(F::LANES) {
        f.store(gelu(f, f.load(values)), values);
    }
}
