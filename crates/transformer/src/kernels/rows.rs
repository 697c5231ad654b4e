//! What is done to whole rows of states: quantising, layer normalisation.

use super::{
    Codes, Form, Norm, RowMut,
    float::{Floats, gelu},
};

/// The least that codes reach from their centre, as a share of it: where a row's values are so much
/// alike that floats hardly tell them apart, their distances from it are not exact any more, and the
/// codes would leave their range.
const REACH_MIN: f32 = 1.0 / 16_384.0;

/// The least and the largest of values, by lanes.
#[derive(Clone, Copy)]
struct Span<F: Floats> {
    least: F::Vector,
    largest: F::Vector,
}

impl<F: Floats> Span<F> {
    #[inline(always)]
    fn empty(f: F) -> Self {
        Self { least: f.splat(f32::INFINITY), largest: f.splat(f32::NEG_INFINITY) }
    }

    #[inline(always)]
    fn with(self, f: F, values: F::Vector) -> Self {
        Self { least: f.min(self.least, values), largest: f.max(self.largest, values) }
    }

    /// The middle of all values, and how far they reach from it.
    #[inline(always)]
    fn centre_and_reach(self, f: F) -> (f32, f32) {
        let least = -f.largest(f.sub(f.splat(0.0), self.least)) * 0.5;
        let largest = f.largest(self.largest) * 0.5;
        let centre = least + largest;
        (centre, (largest - least).max(centre.abs() * REACH_MIN))
    }
}

/// Writes a row whose values have this span as codes.
#[inline(always)]
fn quantise_row<F: Floats>(f: F, row: &[f32], span: Span<F>, form: Form, to: &mut RowMut<'_>) {
    let (centre, reach) = span.centre_and_reach(f);
    let most = f32::from(form.most);
    // A row of zeros has codes of zero.
    let factor = if reach > 0.0 { f.splat(most / reach) } else { f.splat(0.0) };
    let middle = f.splat(centre);
    for (values, codes) in row.chunks_exact(F::LANES).zip(to.codes.chunks_exact_mut(F::LANES)) {
        f.store_codes(f.mul(f.sub(f.load(values), middle), factor), form.added, codes);
    }
    (*to.scale, *to.centre) = (reach / most, centre);
}

/// Writes rows as codes, from row `first` on.
#[inline(always)]
pub(super) fn quantise<F: Floats>(f: F, form: Form, values: &[f32], first: usize, to: &mut Codes) {
    for (index, row) in values.chunks_exact(to.width).enumerate() {
        let mut span = Span::empty(f);
        for values in row.chunks_exact(F::LANES) {
            span = span.with(f, f.load(values));
        }
        quantise_row(f, row, span, form, &mut to.row_mut(first + index));
    }
}

/// Normalises rows in place, and writes them as codes too, from row `first` on.
#[inline(always)]
pub(super) fn normalise<F: Floats>(
    f: F,
    form: Form,
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
        let mut span = Span::empty(f);
        let parameters = norm.scale.chunks_exact(F::LANES).zip(norm.shift.chunks_exact(F::LANES));
        for (values, (scale, shift)) in row.chunks_exact_mut(F::LANES).zip(parameters) {
            let value = f.mul(f.sub(f.load(values), mean), factor);
            let value = f.mul_add(value, f.load(scale), f.load(shift));
            span = span.with(f, value);
            f.store(value, values);
        }
        quantise_row(f, row, span, form, &mut to.row_mut(first + index));
    }
}

/// GELU of values, in place.
#[inline(always)]
pub(super) fn activate<F: Floats>(f: F, values: &mut [f32]) {
    for values in values.chunks_exact_mut(F::LANES) {
        f.store(gelu(f, f.load(values)), values);
    }
}
