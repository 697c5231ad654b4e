//! What products read: weights in the layout of their kernel, and states as codes.

use super::{Aligned, Kernels, product::Panel};

/// Weights as codes go from minus this to this.
pub(crate) const WEIGHT_MAX: f32 = 127.0;

/// How a kernel stores the codes of states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// They go from minus this to this.
    pub(super) most: i8,
    /// What is added to each, so that it has no sign any more; or nothing.
    pub(super) added: u8,
}

impl Form {
    /// Bytes with a sign.
    pub(super) const SIGNED: Self = Self { most: 127, added: 0 };
    /// Bytes without one.
    #[cfg(target_arch = "x86_64")]
    pub(super) const UNSIGNED: Self = Self { most: 127, added: 128 };
    /// 7 bits, without one.
    #[cfg(target_arch = "x86_64")]
    pub(super) const SEVEN_BITS: Self = Self { most: 63, added: 64 };
}

/// Weights of a matrix, as signed bytes: row by row, each of which gives one number of the output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matrix {
    /// The numbers of the input, and of a row.
    pub(crate) inputs: usize,
    /// `weight = code * scale of its row`, from -127 to 127.
    pub(crate) codes: Vec<i8>,
    /// A scale for each row.
    pub(crate) scales: Vec<f32>,
    /// A bias for each row.
    pub(crate) biases: Vec<f32>,
}

impl Matrix {
    /// Of rows of codes that have one scale, and no biases.
    pub(super) fn of(codes: Vec<i8>, inputs: usize, scale: f32) -> Self {
        let outputs = codes.len() / inputs;
        Self { inputs, codes, scales: vec![scale; outputs], biases: vec![0.0; outputs] }
    }
}

/// A matrix in the layout of a kernel.
///
/// Panels of as many columns (numbers of the output) as a tile has; in each, groups of four rows
/// (numbers of the input); in each, the columns; in each, the four weights.
pub(crate) struct Packed {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    weights: Aligned<i8>,
    pub(super) scales: Aligned<f32>,
    pub(super) biases: Aligned<f32>,
    /// The sum of each column's weights: what 1 added to all values of a row adds to its product.
    pub(super) sums: Aligned<f32>,
    /// What sums start with: where something is added to the codes that are stored, what that adds to
    /// the sums, taken off beforehand.
    start: Aligned<i32>,
}

impl Packed {
    /// Packs a matrix for these kernels. Inputs must be a multiple of 4, outputs one of a tile's
    /// columns.
    pub(crate) fn new(kernels: &Kernels, matrix: &Matrix) -> Self {
        let (inputs, outputs) = (matrix.inputs, matrix.scales.len());
        let columns = kernels.columns;
        assert!(inputs.is_multiple_of(4) && outputs.is_multiple_of(columns));
        assert!(matrix.codes.len() == inputs * outputs && matrix.biases.len() == outputs);
        let mut weights = Aligned::zeros(inputs * outputs);
        let mut start = Aligned::zeros(outputs);
        let added = i32::from(kernels.form.added);
        for (output, row) in matrix.codes.chunks_exact(inputs).enumerate() {
            let (panel, column) = (output / columns, output % columns);
            let panel = &mut weights[panel * columns * inputs..][..columns * inputs];
            for (group, codes) in row.chunks_exact(4).enumerate() {
                panel[(group * columns + column) * 4..][..4].copy_from_slice(codes);
            }
            start[output] = -added * sum(row);
        }
        let scales = matrix.scales.iter().copied().collect();
        let biases = matrix.biases.iter().copied().collect();
        let rows = matrix.codes.chunks_exact(inputs).zip(&matrix.scales);
        let sums = rows.map(|(row, scale)| sum(row) as f32 * scale).collect();
        Self { inputs, outputs, weights, scales, biases, sums, start }
    }

    /// How many weights it has.
    pub(crate) fn size(&self) -> usize {
        self.inputs * self.outputs
    }

    /// Its panels, of so many columns.
    #[inline(always)]
    pub(super) fn panels(&self, columns: usize) -> impl Iterator<Item = Panel<'_>> {
        let inputs = self.inputs;
        let start = self.start.chunks_exact(columns);
        let panels = self.weights.chunks_exact(inputs * columns).zip(start);
        panels.map(move |(weights, start)| Panel { weights, start, inputs })
    }
}

fn sum(codes: &[i8]) -> i32 {
    codes.iter().map(|code| i32::from(*code)).sum()
}

/// Rows behind the last, which a kernel may read (and not use).
const ROWS_BEHIND: usize = 16;

/// Rows of states as bytes, each with a scale and a centre of its own:
/// `value = code * scale + centre`. With a centre, a row that is large to one side alone, as GELU's
/// are, and those that a few numbers stick out of, have finer steps.
#[derive(Default)]
pub(crate) struct Codes {
    pub(super) width: usize,
    /// In the form of the kernel that wrote them.
    codes: Aligned<u8>,
    pub(super) scales: Aligned<f32>,
    pub(super) centres: Aligned<f32>,
}

/// A row to be written.
pub(super) struct RowMut<'a> {
    pub(super) codes: &'a mut [u8],
    pub(super) scale: &'a mut f32,
    pub(super) centre: &'a mut f32,
}

impl Codes {
    /// Makes room for so many rows of this width. What was in it is lost.
    pub(crate) fn grow(&mut self, rows: usize, width: usize) {
        self.width = width;
        self.codes.grow((rows + ROWS_BEHIND) * width);
        self.scales.grow(rows);
        self.centres.grow(rows);
    }

    /// The codes from this row on.
    #[inline(always)]
    pub(super) fn from(&self, row: usize) -> &[u8] {
        &self.codes[row * self.width..]
    }

    /// A row, to be written.
    #[inline(always)]
    pub(super) fn row_mut(&mut self, row: usize) -> RowMut<'_> {
        let codes = &mut self.codes[row * self.width..][..self.width];
        RowMut { codes, scale: &mut self.scales[row], centre: &mut self.centres[row] }
    }
}

/// The parameters of a layer normalisation.
pub(crate) struct Norm {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) epsilon: f32,
}
