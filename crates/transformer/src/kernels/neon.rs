//! NEON with the products of bytes of Armv8.2 (`SDOT`, FEAT_DotProd) and of Armv8.6 (`SMMLA`,
//! FEAT_I8MM): four numbers of a row with those of four columns, and eight of two rows with those of
//! two columns. Their tests have been run under QEMU alone, so nothing is known of their speed.

use std::arch::{aarch64::*, asm};

use super::{
    Form, Kernels, entry_points,
    float::Floats,
    product::{Panel, Tile, Tiles, by_rows},
};

pub(super) static NEON: Kernels =
    entry_points!(Neon, Neon::assume(), Neon, Neon::assume(), "neon,dotprod");
pub(super) static I8MM: Kernels =
    entry_points!(I8mm, Neon::assume(), I8mm, I8mm::assume(), "neon,dotprod,i8mm");

/// The machine has NEON and `SDOT`.
#[derive(Clone, Copy)]
struct Neon(());

impl Neon {
    /// The machine has it.
    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    fn assume() -> Self {
        Self(())
    }
}

/// The machine has `SMMLA`.
#[derive(Clone, Copy)]
struct I8mm(());

impl I8mm {
    /// The machine has it.
    #[target_feature(enable = "i8mm")]
    #[inline]
    fn assume() -> Self {
        Self(())
    }
}

/// The floats of a vector, which is two registers: half as many loops, and registers enough.
const LANES: usize = 8;

/// A function of [`Floats`] that does the same to both registers.
macro_rules! both {
    ($name:ident($($argument:ident),*) = $($value:tt)*) => {
        #[inline(always)]
        fn $name(self, $($argument: Self::Vector),*) -> Self::Vector {
            std::array::from_fn(|half| {
                $(let $argument = $argument[half];)*
                // SAFETY: every processor of the target has NEON.
                #[allow(unused_unsafe, reason = "safe where the target has it by itself")]
                unsafe { $($value)* }
            })
        }
    };
}

impl Floats for Neon {
    type Vector = [float32x4_t; 2];
    const LANES: usize = LANES;

    both!(add(a, b) = vaddq_f32(a, b));
    both!(sub(a, b) = vsubq_f32(a, b));
    both!(mul(a, b) = vmulq_f32(a, b));
    both!(mul_add(a, b, c) = vfmaq_f32(c, a, b));
    both!(max(a, b) = vmaxq_f32(a, b));
    both!(min(a, b) = vminq_f32(a, b));
    both!(round(a) = vrndnq_f32(a));
    // `n` and the exponent's bias, to where a float has its exponent.
    both!(
        scale(a, n) = {
            let exponent = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
            vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
        }
    );

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        // SAFETY: every processor of the target has NEON.
        #[allow(unused_unsafe, reason = "safe where the target has it by itself")]
        unsafe {
            [vdupq_n_f32(value); 2]
        }
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> Self::Vector {
        // SAFETY: the caller vouches for 8 floats.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
    }

    #[inline(always)]
    unsafe fn write(self, vector: Self::Vector, to: *mut f32) {
        // SAFETY: the caller vouches for 8 floats.
        unsafe {
            vst1q_f32(to, vector[0]);
            vst1q_f32(to.add(4), vector[1]);
        }
    }

    #[inline(always)]
    unsafe fn read_integers(self, from: *const i32) -> Self::Vector {
        // SAFETY: the caller vouches for 8 integers.
        unsafe { [vcvtq_f32_s32(vld1q_s32(from)), vcvtq_f32_s32(vld1q_s32(from.add(4)))] }
    }

    #[inline(always)]
    unsafe fn write_codes(self, vector: Self::Vector, added: u8, to: *mut u8) {
        // SAFETY: the caller vouches for 8 bytes.
        unsafe {
            let [low, high] = vector.map(|half| vqmovn_s32(vcvtnq_s32_f32(half)));
            let codes = vreinterpret_u8_s8(vqmovn_s16(vcombine_s16(low, high)));
            vst1_u8(to, vadd_u8(codes, vdup_n_u8(added)));
        }
    }

    #[inline(always)]
    fn sum(self, a: Self::Vector) -> f32 {
        // SAFETY: every processor of the target has NEON.
        #[allow(unused_unsafe, reason = "safe where the target has it by itself")]
        unsafe {
            vaddvq_f32(vaddq_f32(a[0], a[1]))
        }
    }

    #[inline(always)]
    fn largest(self, a: Self::Vector) -> f32 {
        // SAFETY: every processor of the target has NEON.
        #[allow(unused_unsafe, reason = "safe where the target has it by itself")]
        unsafe {
            vmaxvq_f32(vmaxq_f32(a[0], a[1]))
        }
    }
}

/// The registers in a row of a tile.
const VECTORS: usize = 4;

impl Tiles for Neon {
    // 24 of the 32 registers hold sums.
    const ROWS: usize = 6;
    const COLUMNS: usize = 4 * VECTORS;
    const FORM: Form = Form::SIGNED;

    #[inline(always)]
    fn multiply(self, codes: &[u8], rows: usize, panel: Panel<'_>, to: &mut Tile) {
        panel.check::<Self>(codes, rows);
        // SAFETY: the machine has the instructions, and the operands were checked.
        unsafe { by_rows!(rows, tile(codes, panel, to): 1 2 3 4 5 or 6) }
    }
}

/// Multiplies `N` rows.
///
/// # Safety
///
/// The operands have what [`Panel::check`] asks for.
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile<const N: usize>(codes: &[u8], panel: Panel<'_>, to: &mut Tile) {
    let (start, codes) = (panel.start.as_ptr(), codes.as_ptr());
    // SAFETY: there is a start for each column.
    let start: [int32x4_t; VECTORS] =
        std::array::from_fn(|vector| unsafe { vld1q_s32(start.add(4 * vector)) });
    let mut sums = [start; N];
    for group in 0..panel.inputs / 4 {
        let weights: [int8x16_t; VECTORS] = std::array::from_fn(|vector| {
            // SAFETY: a group has four weights for each column.
            unsafe { vld1q_s8(panel.weights.as_ptr().add(16 * (group * VECTORS + vector))) }
        });
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: four codes of the row.
            let codes = unsafe {
                let codes = codes.add(row * panel.inputs + group * 4);
                vreinterpretq_s8_s32(vdupq_n_s32(codes.cast::<i32>().read_unaligned()))
            };
            for (sum, weights) in sums.iter_mut().zip(weights) {
                // SAFETY: the machine has the instruction, which Rust has no stable intrinsic for
                // yet; it reads and writes these registers alone.
                unsafe {
                    asm!(
                        "sdot {sum:v}.4s, {weights:v}.16b, {codes:v}.16b",
                        sum = inout(vreg) *sum,
                        weights = in(vreg) weights,
                        codes = in(vreg) codes,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
            }
        }
    }
    for (sum, to) in sums.as_flattened().iter().zip(to.0.chunks_exact_mut(4)) {
        // SAFETY: there is room for a vector.
        unsafe { vst1q_s32(to.as_mut_ptr(), *sum) }
    }
}

impl Tiles for I8mm {
    // 24 of the 32 registers hold sums, each of two rows and two columns.
    const ROWS: usize = 6;
    const COLUMNS: usize = 4 * VECTORS;
    const FORM: Form = Form::SIGNED;

    #[inline(always)]
    fn multiply(self, codes: &[u8], rows: usize, panel: Panel<'_>, to: &mut Tile) {
        panel.check::<Self>(codes, rows);
        assert!(panel.inputs.is_multiple_of(8));
        // A last row by itself is multiplied with what follows it, and its other half not used.
        assert!(codes.len() >= rows.next_multiple_of(2) * panel.inputs);
        let pairs = rows.div_ceil(2);
        // SAFETY: the machine has the instructions, and the operands were checked.
        unsafe { by_rows!(pairs, tile_of_pairs(codes, panel, to): 1 2 or 3) }
    }
}

/// Multiplies `N` pairs of rows.
///
/// # Safety
///
/// The operands have what [`Panel::check`] asks for, with both rows of each pair, and inputs in
/// multiples of 8.
#[target_feature(enable = "neon,i8mm")]
unsafe fn tile_of_pairs<const N: usize>(codes: &[u8], panel: Panel<'_>, to: &mut Tile) {
    const PAIRS: usize = 2 * VECTORS;
    let (start, codes) = (panel.start.as_ptr(), codes.as_ptr().cast::<i8>());
    let start: [int32x4_t; PAIRS] = std::array::from_fn(|pair| {
        // SAFETY: there is a start for each column.
        let start = unsafe { vld1_s32(start.add(2 * pair)) };
        vcombine_s32(start, start)
    });
    let mut sums = [start; N];
    for eight in 0..panel.inputs / 8 {
        // SAFETY: both rows have eight codes there.
        let codes: [int8x16_t; N] = std::array::from_fn(|pair| unsafe {
            let codes = codes.add(2 * pair * panel.inputs + 8 * eight);
            vcombine_s8(vld1_s8(codes), vld1_s8(codes.add(panel.inputs)))
        });
        for vector in 0..VECTORS {
            // SAFETY: two groups of four weights for each column.
            let groups: [int32x4_t; 2] = std::array::from_fn(|group| unsafe {
                let at = 16 * ((2 * eight + group) * VECTORS + vector);
                vreinterpretq_s32_s8(vld1q_s8(panel.weights.as_ptr().add(at)))
            });
            let weights = [vzip1q_s32(groups[0], groups[1]), vzip2q_s32(groups[0], groups[1])];
            for (codes, sums) in codes.iter().zip(&mut sums) {
                for (sum, weights) in sums[2 * vector..].iter_mut().zip(weights) {
                    // SAFETY: as for `sdot` above.
                    unsafe {
                        asm!(
                            "smmla {sum:v}.4s, {codes:v}.16b, {weights:v}.16b",
                            sum = inout(vreg) *sum,
                            codes = in(vreg) *codes,
                            weights = in(vreg) weights,
                            options(pure, nomem, nostack, preserves_flags),
                        );
                    }
                }
            }
        }
    }
    for (pair, sums) in sums.iter().enumerate() {
        for (column, sum) in sums.iter().enumerate() {
            // SAFETY: there is room for two sums in each of both rows, the last one's too: a tile has
            // room for more rows than there are at most.
            unsafe {
                let to = to.0.as_mut_ptr().add(2 * (pair * I8mm::COLUMNS + column));
                vst1_s32(to, vget_low_s32(*sum));
                vst1_s32(to.add(I8mm::COLUMNS), vget_high_s32(*sum));
            }
        }
    }
}
