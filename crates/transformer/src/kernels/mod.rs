//! What is computed, with the instructions that the machine has.
//!
//! | file | |
//! |---|---|
//! | `level.rs` | which instructions there are, and which are used |
//! | `packed.rs` | what products read: weights and states as bytes |
//! | `product.rs` | products in bytes, and what is fused behind them |
//! | `rows.rs`, `attention.rs` | the rest, in floats |
//! | `float.rs` | vectors of floats: the trait, the exponential, GELU |
//! | `trial.rs` | whether the products of a level are right on this machine |
//! | `portable.rs`, `neon.rs`, `avx2.rs`, `avx512.rs`, `amx.rs` | both traits, for one set of instructions each |
//!
//! Only here is `unsafe`, for three reasons: calling what was compiled for instructions that the
//! machine was found to have; the instructions themselves, where they read and write memory; and
//! pointers in the innermost loops.

mod aligned;
#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod float;
mod level;
#[cfg(target_arch = "aarch64")]
mod neon;
mod packed;
mod portable;
mod product;
mod rows;
#[cfg(test)]
mod tests;
mod trial;

use std::ops::Range;

pub use self::level::Level;
use self::packed::{Form, RowMut};
pub(crate) use self::{
    aligned::Aligned,
    attention::Scratch,
    packed::{Codes, Matrix, Norm, Packed, WEIGHT_MAX},
};

/// Each kernel, compiled for one level. Calling one needs the level's instructions.
pub(crate) struct Kernels {
    level: Level,
    /// The columns that are packed together.
    columns: usize,
    /// How codes are stored.
    form: Form,
    linear: unsafe fn(&Packed, &Codes, Range<usize>, &mut [f32]),
    linear_gelu: unsafe fn(&Packed, &Codes, usize, &mut Aligned<f32>, &mut Codes),
    linear_norm: unsafe fn(&Packed, &Codes, usize, &mut [f32], &Norm, &mut Codes),
    quantise: unsafe fn(&[f32], usize, &mut Codes),
    normalise: unsafe fn(&mut [f32], &Norm, usize, &mut Codes),
    attention: unsafe fn(&[f32], usize, usize, &mut Scratch, &mut [f32]),
    dense: unsafe fn(&[f32], &[f32], &mut [f32]),
    gelu: unsafe fn(&mut [f32]),
}

/// The [`Kernels`] of a level: each function with its instructions, and all that is generic inlined
/// into it. `$floats` and `$tiles` are expressions that say that the machine has them.
macro_rules! entry_points {
    ($level:ident, $floats:expr, $tiles:ty, $tiles_value:expr $(, $features:literal)?) => {{
        use std::ops::Range;
        use $crate::kernels::{
            Aligned, Codes, Kernels, Level, Norm, Packed, Scratch, attention as mixing, product,
            product::Tiles as _, rows,
        };

        $(#[target_feature(enable = $features)])?
        unsafe fn linear(w: &Packed, codes: &Codes, rows: Range<usize>, to: &mut [f32]) {
            product::linear($floats, $tiles_value, w, codes, rows, to);
        }
        $(#[target_feature(enable = $features)])?
        unsafe fn linear_gelu(
            w: &Packed,
            codes: &Codes,
            end: usize,
            scratch: &mut Aligned<f32>,
            to: &mut Codes,
        ) {
            product::linear_gelu($floats, $tiles_value, w, codes, end, scratch, to);
        }
        $(#[target_feature(enable = $features)])?
        unsafe fn linear_norm(
            w: &Packed,
            codes: &Codes,
            end: usize,
            states: &mut [f32],
            norm: &Norm,
            to: &mut Codes,
        ) {
            product::linear_norm($floats, $tiles_value, w, codes, end, states, norm, to);
        }
        $(#[target_feature(enable = $features)])?
        unsafe fn quantise(values: &[f32], first: usize, to: &mut Codes) {
            rows::quantise($floats, <$tiles>::FORM, values, first, to);
        }
        $(#[target_feature(enable = $features)])?
        unsafe fn normalise(values: &mut [f32], norm: &Norm, first: usize, to: &mut Codes) {
            rows::normalise($floats, <$tiles>::FORM, values, norm, first, to);
        }
        $(#[target_feature(enable = $features)])?
        unsafe fn attention(
            qkv: &[f32],
            width: usize,
            heads: usize,
            scratch: &mut Scratch,
            to: &mut [f32],
        ) {
            mixing::attention($floats, qkv, width, heads, scratch, to);
        }
        $(#[target_feature(enable = $features)])?
        unsafe fn dense(from: &[f32], matrix: &[f32], to: &mut [f32]) {
            mixing::dense($floats, from, matrix, to);
        }
        $(#[target_feature(enable = $features)])?
        unsafe fn gelu(values: &mut [f32]) {
            rows::activate($floats, values);
        }
        Kernels {
            level: Level::$level,
            columns: <$tiles>::COLUMNS,
            form: <$tiles>::FORM,
            linear,
            linear_gelu,
            linear_norm,
            quantise,
            normalise,
            attention,
            dense,
            gelu,
        }
    }};
}
use entry_points;

/// The shape of the product that measures the peak: a panel or two of weights and some rows, which the
/// first cache holds. Its sums are written once for 384 inputs, as in the models.
const PEAK_ROWS: usize = 24;
const PEAK_INPUTS: usize = 384;
const PEAK_OUTPUTS: usize = 32;
/// So often it is done: some milliseconds.
const PEAK_TIMES: usize = 2_000;

impl Kernels {
    /// The most operations per second that products of bytes reach here, on this thread: over
    /// operands that the first cache holds.
    pub(crate) fn peak(&self) -> f64 {
        let matrix = Matrix::of(vec![1; PEAK_INPUTS * PEAK_OUTPUTS], PEAK_INPUTS, 1.0);
        let (weights, mut codes) = (Packed::new(self, &matrix), Codes::default());
        codes.grow(PEAK_ROWS, PEAK_INPUTS);
        self.quantise(&vec![1.0; PEAK_ROWS * PEAK_INPUTS], 0, &mut codes);
        let mut to = vec![0.0; PEAK_ROWS * PEAK_OUTPUTS];
        let begin = std::time::Instant::now();
        for _ in 0..PEAK_TIMES {
            self.linear(&weights, &codes, 0..PEAK_ROWS, &mut to);
            std::hint::black_box(&mut to);
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of operations")]
        let operations = (2 * PEAK_TIMES * PEAK_ROWS * PEAK_INPUTS * PEAK_OUTPUTS) as f64;
        operations / begin.elapsed().as_secs_f64()
    }

    /// Those of a level, if the machine has it.
    pub(crate) fn of(level: Level) -> Option<&'static Self> {
        // Everything below relies on this.
        if !level.is_available() {
            return None;
        }
        Some(match level {
            Level::Portable => &portable::KERNELS,
            #[cfg(target_arch = "aarch64")]
            Level::Neon => &neon::NEON,
            #[cfg(target_arch = "aarch64")]
            Level::I8mm => &neon::I8MM,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &avx2::AVX2,
            #[cfg(target_arch = "x86_64")]
            Level::AvxVnni => &avx2::AVX_VNNI,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &avx512::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Level::Amx => &amx::KERNELS,
            // Those of other architectures.
            #[allow(unreachable_patterns, reason = "there may be none")]
            _ => return None,
        })
    }

    /// Which level they are of.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// Writes the product of these rows of `codes` as floats, with the biases added.
    pub(crate) fn linear(&self, w: &Packed, codes: &Codes, rows: Range<usize>, to: &mut [f32]) {
        // SAFETY: kernels are given out by `of` alone, for levels that the machine has.
        unsafe { (self.linear)(w, codes, rows, to) }
    }

    /// Writes the GELU of the product of the rows before `end`, as codes. `scratch` holds floats
    /// meanwhile.
    pub(crate) fn linear_gelu(
        &self,
        w: &Packed,
        codes: &Codes,
        end: usize,
        scratch: &mut Aligned<f32>,
        to: &mut Codes,
    ) {
        // SAFETY: as in `linear`.
        unsafe { (self.linear_gelu)(w, codes, end, scratch, to) }
    }

    /// Adds the product of the rows before `end` to `states`, normalises these, and writes them as
    /// codes too.
    pub(crate) fn linear_norm(
        &self,
        w: &Packed,
        codes: &Codes,
        end: usize,
        states: &mut [f32],
        norm: &Norm,
        to: &mut Codes,
    ) {
        // SAFETY: as in `linear`.
        unsafe { (self.linear_norm)(w, codes, end, states, norm, to) }
    }

    /// Writes rows as codes, from row `first` on.
    pub(crate) fn quantise(&self, values: &[f32], first: usize, to: &mut Codes) {
        // SAFETY: as in `linear`.
        unsafe { (self.quantise)(values, first, to) }
    }

    /// Normalises rows, and writes them as codes too, from row `first` on.
    pub(crate) fn normalise(&self, values: &mut [f32], norm: &Norm, first: usize, to: &mut Codes) {
        // SAFETY: as in `linear`.
        unsafe { (self.normalise)(values, norm, first, to) }
    }

    /// Attention of all heads over one text: see [`attention::attention`].
    pub(crate) fn attention(
        &self,
        qkv: &[f32],
        width: usize,
        heads: usize,
        scratch: &mut Scratch,
        to: &mut [f32],
    ) {
        // SAFETY: as in `linear`.
        unsafe { (self.attention)(qkv, width, heads, scratch, to) }
    }

    /// Adds `from` times a matrix, of a row for each number of it, to `to`; whose length is a
    /// multiple of 16.
    pub(crate) fn dense(&self, from: &[f32], matrix: &[f32], to: &mut [f32]) {
        // SAFETY: as in `linear`.
        unsafe { (self.dense)(from, matrix, to) }
    }

    /// GELU, in place, of values whose number is a multiple of 16.
    pub(crate) fn gelu(&self, values: &mut [f32]) {
        // SAFETY: as in `linear`.
        unsafe { (self.gelu)(values) }
    }
}
