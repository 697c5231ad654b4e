//! AVX-512 with VNNI.

use std::arch::x86_64::*;

use super::{
    Form, Kernels, entry_points,
    float::{Floats, instruction},
    product::{Panel, Tile, Tiles, by_rows},
};

pub(super) static KERNELS: Kernels = entry_points!(
    Avx512,
    Avx512::assume(),
    Avx512,
    Avx512::assume(),
    "avx512f,avx512bw,avx512vnni,avx2,fma"
);

/// The machine has AVX-512F, BW and VNNI.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// The machine has it.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    pub(super) fn assume() -> Self {
        Self(())
    }
}

const LANES: usize = 16;
/// The vectors in a row of a tile.
const VECTORS: usize = 2;

impl Floats for Avx512 {
    type Vector = __m512;
    const LANES: usize = LANES;

    instruction!(add(a, b) = _mm512_add_ps(a, b));
    instruction!(sub(a, b) = _mm512_sub_ps(a, b));
    instruction!(mul(a, b) = _mm512_mul_ps(a, b));
    instruction!(mul_add(a, b, c) = _mm512_fmadd_ps(a, b, c));
    instruction!(max(a, b) = _mm512_max_ps(a, b));
    instruction!(min(a, b) = _mm512_min_ps(a, b));
    instruction!(round(a) = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT }>(a));
    instruction!(scale(a, n) = _mm512_scalef_ps(a, n));

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: the machine has the instructions.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> __m512 {
        // SAFETY: the machine has the instructions, and the caller vouches for 16 floats.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn write(self, vector: __m512, to: *mut f32) {
        // SAFETY: as in `read`.
        unsafe { _mm512_storeu_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn read_integers(self, from: *const i32) -> __m512 {
        // SAFETY: as in `read`.
        unsafe { _mm512_cvtepi32_ps(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn write_codes(self, vector: __m512, added: u8, to: *mut u8) {
        // SAFETY: the machine has the instructions, and the caller vouches for 16 bytes.
        unsafe {
            let codes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(vector));
            let codes = _mm_add_epi8(codes, _mm_set1_epi8(added.cast_signed()));
            _mm_storeu_si128(to.cast(), codes);
        }
    }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        // SAFETY: the machine has the instructions.
        unsafe { _mm512_reduce_add_ps(a) }
    }

    #[inline(always)]
    fn largest(self, a: __m512) -> f32 {
        // SAFETY: the machine has the instructions.
        unsafe { _mm512_reduce_max_ps(a) }
    }

    #[inline(always)]
    unsafe fn turn(self, from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the machine has the instructions; the squares are the caller's.
        unsafe { turn(from, stride, to, to_stride) }
    }
}

/// Writes a square of 16 rows, turned.
///
/// # Safety
///
/// 16 rows of 16 floats can be read and written, at these strides.
#[target_feature(enable = "avx512f")]
unsafe fn turn(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
    let mut rows = [_mm512_setzero_ps(); LANES];
    for (row, vector) in rows.iter_mut().enumerate() {
        // SAFETY: a row of the square.
        *vector = unsafe { _mm512_loadu_ps(from.add(row * stride)) };
    }
    // Within each quarter of a vector, squares of 4: first pairs of rows, then pairs of pairs.
    let mut pairs = rows;
    for four in (0..LANES).step_by(4) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|row| rows[four + row]);
        let low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
        let low_next = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
        let high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
        let high_next = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
        pairs[four] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, low_next));
        pairs[four + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, low_next));
        pairs[four + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high, high_next));
        pairs[four + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high, high_next));
    }
    // Then the quarters, as squares of 4 by 4.
    for column in 0..4 {
        let [a, b, c, d] = [0, 4, 8, 12].map(|four| pairs[four + column]);
        let even = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
        let even_next = _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d);
        let odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
        let odd_next = _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d);
        let columns = [
            _mm512_shuffle_f32x4::<0b10_00_10_00>(even, even_next),
            _mm512_shuffle_f32x4::<0b10_00_10_00>(odd, odd_next),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(even, even_next),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(odd, odd_next),
        ];
        for (quarter, vector) in columns.into_iter().enumerate() {
            // SAFETY: a row of the square.
            unsafe { _mm512_storeu_ps(to.add((4 * quarter + column) * to_stride), vector) }
        }
    }
}

impl Tiles for Avx512 {
    // 24 of the 32 registers hold sums. A high tile asks the caches for less than a broad one does: a
    // weight is read once for 12 rows.
    const ROWS: usize = 12;
    const COLUMNS: usize = LANES * VECTORS;
    // `vpdpbusd` multiplies unsigned bytes with signed ones.
    const FORM: Form = Form::UNSIGNED;

    #[inline(always)]
    fn multiply(self, codes: &[u8], rows: usize, panel: Panel<'_>, to: &mut Tile) {
        panel.check::<Self>(codes, rows);
        // SAFETY: the machine has the instructions, and the operands were checked.
        unsafe { by_rows!(rows, tile(codes, panel, to): 1 2 3 4 5 6 7 8 9 10 11 or 12) }
    }
}

/// Multiplies `N` rows.
///
/// # Safety
///
/// The operands have what [`Panel::check`] asks for.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tile<const N: usize>(codes: &[u8], panel: Panel<'_>, to: &mut Tile) {
    let (start, codes) = (panel.start.as_ptr(), codes.as_ptr());
    let mut sums = [[_mm512_setzero_si512(); VECTORS]; N];
    for row in &mut sums {
        for (vector, sum) in row.iter_mut().enumerate() {
            // SAFETY: there is a start for each column.
            *sum = unsafe { _mm512_loadu_si512(start.add(vector * LANES).cast()) };
        }
    }
    for group in 0..panel.inputs / 4 {
        let mut weights = [_mm512_setzero_si512(); VECTORS];
        for (vector, weights) in weights.iter_mut().enumerate() {
            let at = (group * VECTORS + vector) * 4 * LANES;
            // SAFETY: a group has four weights for each column.
            *weights = unsafe { _mm512_loadu_si512(panel.weights.as_ptr().add(at).cast()) };
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let at = row * panel.inputs + group * 4;
            // SAFETY: four codes of the row.
            let codes = unsafe { codes.add(at).cast::<i32>().read_unaligned() };
            let codes = _mm512_set1_epi32(codes);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm512_dpbusd_epi32(*sum, codes, weights);
            }
        }
    }
    for (sum, to) in sums.as_flattened().iter().zip(to.0.chunks_exact_mut(LANES)) {
        // SAFETY: there is room for a vector.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), *sum) }
    }
}
