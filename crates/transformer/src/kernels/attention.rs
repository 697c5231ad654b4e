//! Attention within one text, and small products of floats.
//!
//! Texts are short: a head's queries, keys and values are a few kilobytes, so floats are fast
//! enough, and nothing is padded but the keys to whole vectors.

use super::{
    Aligned,
    float::{Floats, exp},
};

/// The rows of a block: with two vectors of columns, as many sums as the least instruction set has
/// registers for.
const ROWS: usize = 6;

/// What attention keeps between its steps.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The keys of a head, turned: a row for each number of a key.
    keys: Aligned<f32>,
    /// What part of each text's token goes to each query of a block.
    shares: Aligned<f32>,
}

/// A matrix somewhere: where its first number is, and how far one row is from the next.
#[derive(Clone, Copy)]
struct At<P> {
    start: P,
    stride: usize,
}

/// Attention of all heads over one text. `qkv` has a row for each token: the queries of all heads
/// (which hold the divisor of the scores), their keys, their values. `to` gets a row for each token.
#[inline(always)]
pub(super) fn attention<F: Floats>(
    f: F,
    qkv: &[f32],
    width: usize,
    heads: usize,
    scratch: &mut Scratch,
    to: &mut [f32],
) {
    let (size, length) = (width / heads, qkv.len() / (3 * width));
    let padded = length.next_multiple_of(F::LANES);
    assert!(length > 0 && size.is_multiple_of(F::LANES) && to.len() == length * width);
    // Turning reads whole squares: behind the last token there are rows of nothing.
    scratch.keys.grow(size * padded);
    scratch.shares.grow(ROWS * padded);
    let blocks = length.div_ceil(ROWS);
    for head in 0..heads {
        let queries = &qkv[head * size..];
        let keys = &qkv[width + head * size..];
        let values = At { start: qkv[2 * width + head * size..].as_ptr(), stride: 3 * width };
        turn(f, keys, 3 * width, length, size, &mut scratch.keys[..size * padded]);
        let keys = At { start: scratch.keys.as_ptr(), stride: padded };
        for block in 0..blocks {
            let begin = length * block / blocks;
            let rows = length * (block + 1) / blocks - begin;
            let queries = At { start: queries[begin * 3 * width..].as_ptr(), stride: 3 * width };
            let shares = &mut scratch.shares[..rows * padded];
            let at = At { start: shares.as_mut_ptr(), stride: padded };
            let ones = [1.0; ROWS];
            // SAFETY: the queries are `rows` rows of `size` floats; the keys `size` rows of `padded`
            // floats, whole vectors; and the shares have room for `rows` rows of as many.
            unsafe { product(f, rows, queries, keys, size, padded, ones, at) }
            let factors = softmax(f, shares, padded, length);
            let shares = At { start: shares.as_ptr(), stride: padded };
            let mixed = &mut to[begin * width + head * size..];
            let mixed = At { start: mixed.as_mut_ptr(), stride: width };
            // SAFETY: the shares are `rows` rows of at least `length` floats; the values `length`
            // rows of `size` floats, whole vectors; and `to` has room for `rows` rows of as many,
            // from this block's first on.
            unsafe { product(f, rows, shares, values, length, size, factors, mixed) }
        }
    }
}

/// Turns the keys of a head; what is behind them is zero.
#[inline(always)]
fn turn<F: Floats>(f: F, from: &[f32], stride: usize, length: usize, size: usize, to: &mut [f32]) {
    let padded = to.len() / size;
    assert!(from.len() >= (length - 1) * stride + size && padded >= length);
    let whole = length / F::LANES * F::LANES;
    for row in (0..whole).step_by(F::LANES) {
        for column in (0..size).step_by(F::LANES) {
            let (from, to) = (&from[row * stride + column..], &mut to[column * padded + row..]);
            // SAFETY: a square of whole vectors is within the keys, and within where they go.
            unsafe { f.turn(from.as_ptr(), stride, to.as_mut_ptr(), padded) }
        }
    }
    for row in whole..padded {
        for column in 0..size {
            let value = if row < length { from[row * stride + column] } else { 0.0 };
            to[column * padded + row] = value;
        }
    }
}

/// Makes each row of scores one of shares that are not divided by their sum yet. Gives the inverses
/// of the sums.
#[inline(always)]
fn softmax<F: Floats>(f: F, scores: &mut [f32], padded: usize, length: usize) -> [f32; ROWS] {
    let mut factors = [0.0; ROWS];
    for (row, factor) in scores.chunks_exact_mut(padded).zip(&mut factors) {
        row[length..].fill(f32::NEG_INFINITY);
        let mut largest = f.splat(f32::NEG_INFINITY);
        for scores in row.chunks_exact(F::LANES) {
            largest = f.max(largest, f.load(scores));
        }
        let largest = f.splat(f.largest(largest));
        let mut sum = f.splat(0.0);
        for scores in row.chunks_exact_mut(F::LANES) {
            let share = exp(f, f.sub(f.load(scores), largest));
            sum = f.add(sum, share);
            f.store(share, scores);
        }
        *factor = 1.0 / f.sum(sum);
    }
    factors
}

/// `to[row] = factors[row] * Σ left[row][i] * right[i]`, for up to [`ROWS`] rows.
///
/// # Safety
///
/// `left` has `rows` rows of `depth` floats, `right` `depth` rows of `width` floats, `to` room for
/// `rows` rows of `width` floats; `width` is whole vectors.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "three matrices")]
unsafe fn product<F: Floats>(
    f: F,
    rows: usize,
    left: At<*const f32>,
    right: At<*const f32>,
    depth: usize,
    width: usize,
    factors: [f32; ROWS],
    to: At<*mut f32>,
) {
    // SAFETY: what the caller vouches for, with as many rows as are said.
    unsafe {
        match rows {
            1 => product_of::<F, 1>(f, left, right, depth, width, factors, to),
            2 => product_of::<F, 2>(f, left, right, depth, width, factors, to),
            3 => product_of::<F, 3>(f, left, right, depth, width, factors, to),
            4 => product_of::<F, 4>(f, left, right, depth, width, factors, to),
            5 => product_of::<F, 5>(f, left, right, depth, width, factors, to),
            6 => product_of::<F, 6>(f, left, right, depth, width, factors, to),
            _ => unreachable!("a block has 1 to 6 rows"),
        }
    }
}

/// See [`product`].
///
/// # Safety
///
/// As for [`product`], with `N` rows.
#[inline(always)]
unsafe fn product_of<F: Floats, const N: usize>(
    f: F,
    left: At<*const f32>,
    right: At<*const f32>,
    depth: usize,
    width: usize,
    factors: [f32; ROWS],
    to: At<*mut f32>,
) {
    let mut column = 0;
    // SAFETY: the columns are within `width`, and the rest is what the caller vouches for.
    unsafe {
        while column + 2 * F::LANES <= width {
            columns::<F, N, 2>(f, left, right, depth, column, factors, to);
            column += 2 * F::LANES;
        }
        if column < width {
            columns::<F, N, 1>(f, left, right, depth, column, factors, to);
        }
    }
}

/// See [`product`]: `W` vectors of columns from `column` on.
///
/// # Safety
///
/// As for [`product`], with `N` rows, and so many columns within the width.
#[inline(always)]
unsafe fn columns<F: Floats, const N: usize, const W: usize>(
    f: F,
    left: At<*const f32>,
    right: At<*const f32>,
    depth: usize,
    column: usize,
    factors: [f32; ROWS],
    to: At<*mut f32>,
) {
    let mut sums = [[f.splat(0.0); W]; N];
    for i in 0..depth {
        let mut values = [f.splat(0.0); W];
        for (w, value) in values.iter_mut().enumerate() {
            // SAFETY: row `i` of `right`, whose columns the caller vouches for.
            *value = unsafe { f.read(right.start.add(i * right.stride + column + w * F::LANES)) };
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: float `i` of a row of `left`.
            let factor = f.splat(unsafe { *left.start.add(row * left.stride + i) });
            for (sum, value) in sums.iter_mut().zip(&values) {
                *sum = f.mul_add(factor, *value, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (w, sum) in sums.iter().enumerate() {
            let at = row * to.stride + column + w * F::LANES;
            // SAFETY: the row and its columns are in `to`.
            unsafe { f.write(f.mul(*sum, f.splat(factors[row])), to.start.add(at)) }
        }
    }
}

/// Adds the product of a row of floats and a matrix, of a row for each of them, to `to`; whose
/// length is whole vectors, and that of the matrix's rows.
#[inline(always)]
pub(super) fn dense<F: Floats>(f: F, from: &[f32], matrix: &[f32], to: &mut [f32]) {
    for (value, weights) in from.iter().zip(matrix.chunks_exact(to.len())) {
        let value = f.splat(*value);
        for (to, weights) in to.chunks_exact_mut(F::LANES).zip(weights.chunks_exact(F::LANES)) {
            f.store(f.mul_add(value, f.load(weights), f.load(to)), to);
        }
    }
}
