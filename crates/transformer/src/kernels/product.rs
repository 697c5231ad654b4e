//! Products of codes and weights, a tile at a time, and what is done with their results.
//!
//! `sums[row][column] = Σ code[row][i] * weight[column][i]` in integers, then
//! `value = sum * scale[row] * scale[column] + centre[row] * total[column] + bias[column]`, where
//! `total` is the sum of a column's weights.

use std::ops::Range;

use super::{
    Codes, Form, Norm, Packed,
    float::{Floats, gelu},
    rows,
};

/// The sums of a tile at most.
const TILE_SUMS: usize = 32 * 32;
/// What the values of a group of rows take at most, in bytes: they stay in the second cache, beside
/// the weights, until their rows are whole.
const GROUP_BYTES: usize = 192 << 10;

/// The sums of a tile, row by row.
#[repr(C, align(64))]
pub(super) struct Tile(pub(super) [i32; TILE_SUMS]);

/// How tiles are multiplied with one instruction set. A value of the type is the proof that the
/// machine has it.
pub(super) trait Tiles: Copy {
    /// The rows of a tile at most.
    const ROWS: usize;
    /// The columns of a tile: as many are packed together.
    const COLUMNS: usize;
    /// How codes are stored for it.
    const FORM: Form;

    /// Sets up what tiles need on this thread. Called before the first tile of a product.
    #[inline(always)]
    fn begin(self) {}

    /// Gives that back. Called behind the last tile.
    #[inline(always)]
    fn end(self) {}

    /// Multiplies `rows` rows with a panel. `codes` has these rows of so many bytes; what follows
    /// them, up to a multiple of 16 rows, is there too. The sums are row by row, [`Self::COLUMNS`]
    /// in each.
    fn multiply(self, codes: &[u8], rows: usize, panel: Panel<'_>, to: &mut Tile);
}

/// Calls a function that is generic over a number of rows with this number, which is one of those
/// that are listed; the last stands for all others.
macro_rules! by_rows {
    ($rows:expr, $function:ident $arguments:tt: $($row:literal)* or $most:literal) => {
        match $rows {
            $($row => by_rows!(@ $function $row $arguments),)*
            _ => by_rows!(@ $function $most $arguments),
        }
    };
    (@ $function:ident $row:literal ($($argument:expr),*)) => { $function::<$row>($($argument),*) };
}
pub(super) use by_rows;

/// The weights of as many columns as a tile has.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    /// Groups of four rows; in each the columns; in each the four weights.
    pub(super) weights: &'a [i8],
    /// What the sums start with.
    pub(super) start: &'a [i32],
    /// The weights of a column.
    pub(super) inputs: usize,
}

impl Panel<'_> {
    /// Panics where a tile would be read beyond its operands.
    #[inline(always)]
    pub(super) fn check<T: Tiles>(&self, codes: &[u8], rows: usize) {
        assert!(T::ROWS * T::COLUMNS <= TILE_SUMS && (1..=T::ROWS).contains(&rows));
        assert!(self.inputs.is_multiple_of(4) && self.start.len() == T::COLUMNS);
        assert!(self.weights.len() == self.inputs * T::COLUMNS);
        assert!(codes.len() >= rows * self.inputs);
    }
}

/// What takes the values of a product.
trait Finish<F: Floats> {
    /// Takes the values of a row from a column on.
    fn take(&mut self, f: F, row: usize, column: usize, values: F::Vector);
}

/// Multiplies these rows of `codes`, tile by tile.
#[inline(always)]
fn multiply<F: Floats, T: Tiles>(
    f: F,
    t: T,
    weights: &Packed,
    codes: &Codes,
    rows: Range<usize>,
    finish: &mut impl Finish<F>,
) {
    let mut tile = Tile([0; TILE_SUMS]);
    t.begin();
    // Blocks of like height: a low one at the end would wait for weights more than it computes.
    let blocks = rows.len().div_ceil(T::ROWS);
    let begin = |block: usize| rows.start + rows.len() * block / blocks;
    for (index, panel) in weights.panels(T::COLUMNS).enumerate() {
        for block in 0..blocks {
            let (first, end) = (begin(block), begin(block + 1));
            t.multiply(codes.from(first), end - first, panel, &mut tile);
            for row in first..end {
                let (scale, centre) = (f.splat(codes.scales[row]), f.splat(codes.centres[row]));
                let sums = &tile.0[(row - first) * T::COLUMNS..][..T::COLUMNS];
                for (at, sums) in sums.chunks_exact(F::LANES).enumerate() {
                    let column = index * T::COLUMNS + at * F::LANES;
                    let sums = f.mul(f.load_integers(sums), scale);
                    let scales = f.load(&weights.scales[column..]);
                    let totals = f.load(&weights.sums[column..]);
                    let base = f.mul_add(centre, totals, f.load(&weights.biases[column..]));
                    let values = f.mul_add(sums, scales, base);
                    finish.take(f, row, column, values);
                }
            }
        }
    }
    t.end();
}

/// Rows in groups whose values stay in the cache.
#[inline(always)]
fn groups<T: Tiles>(rows: Range<usize>, width: usize) -> impl Iterator<Item = Range<usize>> {
    let height = (GROUP_BYTES / (4 * width) / T::ROWS).max(1) * T::ROWS;
    let count = rows.len().div_ceil(height);
    let begin = move |group: usize| rows.start + rows.len() * group / count;
    (0..count).map(move |group| begin(group)..begin(group + 1))
}

/// Rows of floats, of which the first is row `first` of the product.
struct Values<'a> {
    values: &'a mut [f32],
    width: usize,
    first: usize,
}

impl Values<'_> {
    #[inline(always)]
    fn at(&mut self, row: usize, column: usize) -> &mut [f32] {
        &mut self.values[(row - self.first) * self.width + column..]
    }
}

/// Writes values.
struct Write<'a>(Values<'a>);

impl<F: Floats> Finish<F> for Write<'_> {
    #[inline(always)]
    fn take(&mut self, f: F, row: usize, column: usize, values: F::Vector) {
        f.store(values, self.0.at(row, column));
    }
}

/// Writes the GELU of values.
struct Gelu<'a>(Values<'a>);

impl<F: Floats> Finish<F> for Gelu<'_> {
    #[inline(always)]
    fn take(&mut self, f: F, row: usize, column: usize, values: F::Vector) {
        f.store(gelu(f, values), self.0.at(row, column));
    }
}

/// Adds values to what is there.
struct Add<'a>(Values<'a>);

impl<F: Floats> Finish<F> for Add<'_> {
    #[inline(always)]
    fn take(&mut self, f: F, row: usize, column: usize, values: F::Vector) {
        let to = self.0.at(row, column);
        f.store(f.add(values, f.load(to)), to);
    }
}

/// The product of these rows, as floats.
#[inline(always)]
pub(super) fn linear<F: Floats, T: Tiles>(
    f: F,
    t: T,
    weights: &Packed,
    codes: &Codes,
    rows: Range<usize>,
    to: &mut [f32],
) {
    let values = Values { values: to, width: weights.outputs, first: rows.start };
    multiply(f, t, weights, codes, rows, &mut Write(values));
}

/// The GELU of the product of all rows up to this one, as codes. `scratch` holds floats meanwhile.
#[inline(always)]
pub(super) fn linear_gelu<F: Floats, T: Tiles>(
    f: F,
    t: T,
    weights: &Packed,
    codes: &Codes,
    end: usize,
    scratch: &mut super::Aligned<f32>,
    to: &mut Codes,
) {
    let width = weights.outputs;
    for group in groups::<T>(0..end, width) {
        scratch.grow(group.len() * width);
        let values = Values { values: scratch, width, first: group.start };
        multiply(f, t, weights, codes, group.clone(), &mut Gelu(values));
        let values = &scratch[..group.len() * width];
        rows::quantise(f, T::FORM, values, group.start, to);
    }
}

/// Adds the product of all rows up to this one to `states`, normalises them, and writes them as
/// codes too.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a fused kernel reads and writes much")]
pub(super) fn linear_norm<F: Floats, T: Tiles>(
    f: F,
    t: T,
    weights: &Packed,
    codes: &Codes,
    end: usize,
    states: &mut [f32],
    norm: &Norm,
    to: &mut Codes,
) {
    let width = weights.outputs;
    for group in groups::<T>(0..end, width) {
        let states = &mut states[group.start * width..group.end * width];
        let values = Values { values: &mut *states, width, first: group.start };
        multiply(f, t, weights, codes, group.clone(), &mut Add(values));
        rows::normalise(f, T::FORM, states, norm, group.start, to);
    }
}
