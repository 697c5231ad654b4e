//! Plain Rust, which the compiler makes of it what any machine of the target has. The other kernels
//! are measured against it.

use super::{
    Form, Kernels, entry_points,
    float::Floats,
    product::{Panel, Tile, Tiles},
};

pub(super) static KERNELS: Kernels = entry_points!(Portable, Portable, Portable, Portable);

/// Always there.
#[derive(Clone, Copy)]
struct Portable;

const LANES: usize = 8;

/// Added to a float under 2²², this leaves the nearest integer in its last bits.
const INTEGER: f32 = 12_582_912.0;

/// Each lane of two vectors.
#[inline(always)]
fn each(a: [f32; LANES], b: [f32; LANES], of: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|lane| of(a[lane], b[lane]))
}

impl Floats for Portable {
    type Vector = [f32; LANES];
    const LANES: usize = LANES;

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> [f32; LANES] {
        // SAFETY: the caller vouches for so many floats.
        unsafe { from.cast::<[f32; LANES]>().read() }
    }

    #[inline(always)]
    unsafe fn write(self, vector: [f32; LANES], to: *mut f32) {
        // SAFETY: the caller vouches for so many floats.
        unsafe { to.cast::<[f32; LANES]>().write(vector) }
    }

    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "what floats can not tell apart")]
    unsafe fn read_integers(self, from: *const i32) -> [f32; LANES] {
        // SAFETY: the caller vouches for so many integers.
        let integers = unsafe { from.cast::<[i32; LANES]>().read() };
        integers.map(|integer| integer as f32)
    }

    #[inline(always)]
    unsafe fn write_codes(self, vector: [f32; LANES], added: u8, to: *mut u8) {
        let codes =
            vector.map(|value| (value + INTEGER).to_bits().to_le_bytes()[0].wrapping_add(added));
        // SAFETY: the caller vouches for so many bytes.
        unsafe { to.cast::<[u8; LANES]>().write(codes) }
    }

    #[inline(always)]
    fn add(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn max(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn round(self, a: [f32; LANES]) -> [f32; LANES] {
        a.map(|a| a + INTEGER - INTEGER)
    }

    #[inline(always)]
    fn scale(self, a: [f32; LANES], n: [f32; LANES]) -> [f32; LANES] {
        // The last bits of `n` go to where a float has its exponent.
        each(a, n, |a, n| a * f32::from_bits((n + INTEGER + 127.0).to_bits() << 23))
    }

    #[inline(always)]
    fn sum(self, a: [f32; LANES]) -> f32 {
        a.iter().sum()
    }

    #[inline(always)]
    fn largest(self, a: [f32; LANES]) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

impl Tiles for Portable {
    const ROWS: usize = 4;
    const COLUMNS: usize = 16;
    const FORM: Form = Form::SIGNED;

    #[inline(always)]
    fn multiply(self, codes: &[u8], rows: usize, panel: Panel<'_>, to: &mut Tile) {
        panel.check::<Self>(codes, rows);
        let rows = codes.chunks_exact(panel.inputs).take(rows);
        for (row, sums) in rows.zip(to.0.chunks_exact_mut(Self::COLUMNS)) {
            sums.copy_from_slice(panel.start);
            let groups = panel.weights.as_chunks::<{ 4 * Self::COLUMNS }>().0;
            for (codes, weights) in row.as_chunks::<4>().0.iter().zip(groups) {
                for (sum, weights) in sums.iter_mut().zip(weights.as_chunks::<4>().0) {
                    for (code, weight) in codes.iter().zip(weights) {
                        *sum += i32::from(code.cast_signed()) * i32::from(*weight);
                    }
                }
            }
        }
    }
}
