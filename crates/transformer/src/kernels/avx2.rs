//! AVX2, alone or with AVX-VNNI.
//!
//! AVX2's own product of bytes, `vpmaddubsw`, takes unsigned bytes and signed ones, and adds two
//! products in 16 bits, where they saturate: 255 * 127 * 2 is too much. So with AVX2 alone codes have
//! 7 bits: 127 * 127 * 2 fits. The ways to multiply 8 bits exactly (the signs of the codes moved to
//! the weights by `vpsignb`, or both widened to words) are slower: docs/performance.md. What 7 bits
//! cost is in docs/models.md.

use std::arch::x86_64::*;

use super::{
    Form, Kernels, entry_points,
    float::{Floats, instruction},
    product::{Panel, Tile, Tiles, by_rows},
};

pub(super) static AVX2: Kernels =
    entry_points!(Avx2, Avx2::assume(), Avx2, Avx2::assume(), "avx2,fma");
pub(super) static AVX_VNNI: Kernels =
    entry_points!(AvxVnni, Avx2::assume(), AvxVnni, AvxVnni::assume(), "avx2,fma,avxvnni");

/// The machine has AVX2 and FMA.
#[derive(Clone, Copy)]
struct Avx2(());

impl Avx2 {
    /// The machine has it.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn assume() -> Self {
        Self(())
    }
}

/// The machine has AVX-VNNI.
#[derive(Clone, Copy)]
struct AvxVnni(());

impl AvxVnni {
    /// The machine has it.
    #[target_feature(enable = "avxvnni")]
    #[inline]
    fn assume() -> Self {
        Self(())
    }
}

const LANES: usize = 8;

impl Floats for Avx2 {
    type Vector = __m256;
    const LANES: usize = LANES;

    instruction!(add(a, b) = _mm256_add_ps(a, b));
    instruction!(sub(a, b) = _mm256_sub_ps(a, b));
    instruction!(mul(a, b) = _mm256_mul_ps(a, b));
    instruction!(mul_add(a, b, c) = _mm256_fmadd_ps(a, b, c));
    instruction!(max(a, b) = _mm256_max_ps(a, b));
    instruction!(min(a, b) = _mm256_min_ps(a, b));
    instruction!(
        round(a) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
    );

    #[inline(always)]
    fn scale(self, a: __m256, n: __m256) -> __m256 {
        // SAFETY: the machine has the instructions.
        unsafe {
            // `n` and the exponent's bias, to where a float has its exponent.
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: the machine has the instructions.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> __m256 {
        // SAFETY: the machine has the instructions, and the caller vouches for 8 floats.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn write(self, vector: __m256, to: *mut f32) {
        // SAFETY: as in `read`.
        unsafe { _mm256_storeu_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn read_integers(self, from: *const i32) -> __m256 {
        // SAFETY: as in `read`.
        unsafe { _mm256_cvtepi32_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn write_codes(self, vector: __m256, added: u8, to: *mut u8) {
        // SAFETY: the machine has the instructions, and the caller vouches for 8 bytes.
        unsafe {
            let codes = _mm256_cvtps_epi32(vector);
            let (low, high) = (_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes));
            let codes = _mm_packs_epi32(low, high);
            let codes = _mm_packs_epi16(codes, codes);
            let codes = _mm_add_epi8(codes, _mm_set1_epi8(added.cast_signed()));
            _mm_storel_epi64(to.cast(), codes);
        }
    }

    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        // SAFETY: the machine has the instructions.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn largest(self, a: __m256) -> f32 {
        // SAFETY: the machine has the instructions.
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

impl Tiles for Avx2 {
    const ROWS: usize = 4;
    const COLUMNS: usize = 16;
    const FORM: Form = Form::SEVEN_BITS;

    #[inline(always)]
    fn multiply(self, codes: &[u8], rows: usize, panel: Panel<'_>, to: &mut Tile) {
        panel.check::<Self>(codes, rows);
        // SAFETY: the machine has the instructions, and the operands were checked.
        unsafe { by_rows!(rows, tile_of_seven_bits(codes, panel, to): 1 2 3 or 4) }
    }
}

impl Tiles for AvxVnni {
    const ROWS: usize = 6;
    const COLUMNS: usize = 16;
    // `vpdpbusd` multiplies unsigned bytes with signed ones.
    const FORM: Form = Form::UNSIGNED;

    #[inline(always)]
    fn multiply(self, codes: &[u8], rows: usize, panel: Panel<'_>, to: &mut Tile) {
        panel.check::<Self>(codes, rows);
        // SAFETY: the machine has the instructions, and the operands were checked.
        unsafe { by_rows!(rows, tile_by_vnni(codes, panel, to): 1 2 3 4 5 or 6) }
    }
}

/// Multiplies `N` rows.
///
/// # Safety
///
/// The operands have what [`Panel::check`] asks for.
#[target_feature(enable = "avx2")]
unsafe fn tile_of_seven_bits<const N: usize>(codes: &[u8], panel: Panel<'_>, to: &mut Tile) {
    let ones = _mm256_set1_epi16(1);
    // SAFETY: what the caller vouches for.
    unsafe {
        tile::<N>(codes, panel, to, |sum, codes, weights| {
            let pairs = _mm256_maddubs_epi16(codes, weights);
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones))
        });
    }
}

/// Multiplies `N` rows.
///
/// # Safety
///
/// The operands have what [`Panel::check`] asks for.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn tile_by_vnni<const N: usize>(codes: &[u8], panel: Panel<'_>, to: &mut Tile) {
    // SAFETY: what the caller vouches for.
    unsafe {
        tile::<N>(codes, panel, to, |sum, codes, weights| {
            _mm256_dpbusd_avx_epi32(sum, codes, weights)
        });
    }
}

/// Multiplies `N` rows; `add` adds products of four bytes to each sum.
///
/// # Safety
///
/// The operands have what [`Panel::check`] asks for, and the machine has AVX2.
#[inline(always)]
unsafe fn tile<const N: usize>(
    codes: &[u8],
    panel: Panel<'_>,
    to: &mut Tile,
    add: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
) {
    let (start, codes) = (panel.start.as_ptr(), codes.as_ptr());
    // SAFETY: 16 columns.
    let start =
        unsafe { [_mm256_loadu_si256(start.cast()), _mm256_loadu_si256(start.add(8).cast())] };
    let mut sums = [start; N];
    for group in 0..panel.inputs / 4 {
        // SAFETY: a group has 16 columns of 4 weights.
        let weights = unsafe {
            let group = panel.weights.as_ptr().add(group * 64);
            [_mm256_loadu_si256(group.cast()), _mm256_loadu_si256(group.add(32).cast())]
        };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: four codes of the row, and the machine has the instructions.
            let codes = unsafe {
                let codes = codes.add(row * panel.inputs + group * 4);
                _mm256_set1_epi32(codes.cast::<i32>().read_unaligned())
            };
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = add(*sum, codes, weights);
            }
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (half, sum) in sums.into_iter().enumerate() {
            // SAFETY: a tile has 16 sums for each row.
            unsafe { _mm256_storeu_si256(to.0.as_mut_ptr().add(row * 16 + half * 8).cast(), sum) }
        }
    }
}
