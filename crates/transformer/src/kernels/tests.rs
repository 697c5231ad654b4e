//! Every level that is tested here, beside plain arithmetic: where it is in integers, bit for bit.

#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small numbers")]

use proptest::{prelude::*, test_runner::TestRunner};

use super::{trial::plain_sums, *};

/// Miri takes a thousand times as long: it gets smaller shapes.
const SLOW: bool = cfg!(miri);

fn levels() -> Vec<&'static Kernels> {
    for level in Level::ALL.into_iter().filter(|level| !level.is_available()) {
        eprintln!("skipped: {}, which this machine does not have", level.name());
    }
    let kernels: Vec<_> = Level::ALL.into_iter().filter_map(Kernels::of).collect();
    assert_eq!(kernels[0].level(), Level::Portable);
    kernels
}

/// Numbers that look random: the same for the same seed.
struct Numbers(u64);

impl Numbers {
    /// From 0 to less than 1.
    fn next(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// From `-1` to `1`, times `by`.
    fn floats(&mut self, count: usize, by: f32) -> Vec<f32> {
        (0..count).map(|_| (self.next() * 2.0 - 1.0) * by).collect()
    }

    /// From minus `most` to `most`; every fourth is one of the two.
    fn codes(&mut self, count: usize, most: i8) -> Vec<i8> {
        let mut code = || match (self.next() * 8.0) as u8 {
            0 => most,
            1 => -most,
            _ => ((self.next() * 2.0 - 1.0) * f32::from(most)).round() as i8,
        };
        (0..count).map(|_| code()).collect()
    }
}

/// Rows as codes of these kernels. Those that go as far as codes to both sides have a scale of 1 and
/// a centre of 0.
fn coded(kernels: &Kernels, rows: &[f32], width: usize) -> Codes {
    let mut codes = Codes::default();
    codes.grow(rows.len() / width, width);
    kernels.quantise(rows, 0, &mut codes);
    codes
}

/// Signed codes, however the kernels store them.
fn signed(kernels: &Kernels, codes: &Codes, count: usize) -> Vec<i8> {
    codes.from(0)[..count]
        .iter()
        .map(|code| code.wrapping_sub(kernels.form.added).cast_signed())
        .collect()
}

fn shapes() -> impl Strategy<Value = (usize, usize, usize, u64)> {
    let most = if SLOW { [6, 2, 2] } else { [70, 8, 5] };
    let [rows, inputs, outputs] = most.map(|most| 1usize..most);
    (rows, inputs, outputs, any::<u64>())
}

#[test]
fn products_are_exact_on_every_level() {
    for kernels in levels() {
        // One for each: a runner that has run its cases once runs none again.
        let mut runner = TestRunner::new(ProptestConfig::with_cases(if SLOW { 1 } else { 40 }));
        let case = |(rows, inputs, outputs, seed)| {
            let (inputs, outputs) = (inputs * 64, outputs * 64);
            let mut numbers = Numbers(seed);
            let most = kernels.form.most;
            let mut left = numbers.codes(rows * inputs, most);
            left.chunks_exact_mut(inputs).for_each(|row| row[..2].copy_from_slice(&[most, -most]));
            let right = numbers.codes(outputs * inputs, 127);
            let expected = plain_sums(&left, &right, inputs);
            let floats: Vec<f32> = left.iter().map(|code| f32::from(*code)).collect();
            let codes = coded(kernels, &floats, inputs);
            let packed = Packed::new(kernels, &Matrix::of(right, inputs, 1.0));
            // The last rows alone, too: they need not begin with a tile.
            for first in [0, rows / 2] {
                let mut found = vec![0.0; (rows - first) * outputs];
                kernels.linear(&packed, &codes, first..rows, &mut found);
                prop_assert_eq!(&found, &expected[first * outputs..]);
            }
            Ok(())
        };
        runner.run(&shapes(), case).unwrap();
    }
}

#[test]
#[cfg_attr(miri, ignore = "it takes minutes; `products_are_exact` reads and writes the same way")]
fn the_largest_codes_do_not_saturate() {
    for kernels in levels() {
        let (inputs, most) = (1024, kernels.form.most);
        // All products of a row with a column have the same sign.
        for (first, sign) in [(1i8, 1i8), (-1, 1), (1, -1), (-1, -1)] {
            let row = |by: i8| [by, -by, -by, by].into_iter().cycle();
            let rows: Vec<f32> = row(first * most).take(3 * inputs).map(f32::from).collect();
            let codes = coded(kernels, &rows, inputs);
            let weights = row(first * sign * 127).take(64 * inputs).collect();
            let packed = Packed::new(kernels, &Matrix::of(weights, inputs, 1.0));
            let mut found = vec![0.0; 3 * 64];
            kernels.linear(&packed, &codes, 0..3, &mut found);
            let expected = (i32::from(sign) * i32::from(most) * 127 * 1024) as f32;
            assert_eq!(found, vec![expected; 3 * 64], "{}", kernels.level().name());
        }
    }
}

#[test]
fn rows_become_the_same_codes_on_every_level() {
    let mut numbers = Numbers(1);
    let mut rows = numbers.floats(24 * 192, 3.0);
    rows[..192].fill(0.0);
    rows[192] = 1e30;
    // To one side, all the same, and hardly told apart by floats.
    rows[2 * 192..3 * 192].iter_mut().for_each(|value| *value = value.abs() + 5.0);
    rows[3 * 192..4 * 192].fill(-7.5);
    rows[4 * 192..5 * 192].iter_mut().for_each(|value| *value = 1e6 + *value / 20.0);
    let mut said: Vec<(Form, Vec<i8>)> = Vec::new();
    for kernels in levels() {
        let (form, found) = (kernels.form, coded(kernels, &rows, 192));
        let codes = signed(kernels, &found, rows.len());
        assert!(codes.iter().all(|code| (-form.most..=form.most).contains(code)));
        for (at, (value, code)) in rows.iter().zip(&codes).enumerate() {
            let (scale, centre) = (found.scales[at / 192], found.centres[at / 192]);
            let found = f32::from(*code) * scale + centre;
            assert!(
                (value - found).abs() <= scale * 0.501 + value.abs() * 1e-6,
                "{value}, not {found}"
            );
        }
        assert_eq!((&codes[..192], found.scales[0]), (&[0; 192][..], 0.0));
        // Values of 5 to 8, in as many steps as there are codes.
        assert!(found.scales[2] < 3.0 / (1.97 * f32::from(form.most)));
        assert_eq!(found.centres[3], -7.5);
        match said.iter().find(|(other, _)| other.most == form.most) {
            Some((_, expected)) => assert_eq!(codes, *expected, "{}", kernels.level().name()),
            None => said.push((form, codes)),
        }
    }
}

/// The error function, by its series.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.5 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn exact_gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / 2f64.sqrt()))
}

#[test]
#[cfg_attr(miri, ignore = "it has no pointers, and hundred thousands of values")]
fn gelu_is_as_close_as_it_says() {
    for kernels in levels() {
        let inputs: Vec<f32> = (-160_000..160_000).map(|n| n as f32 / 10_000.0).collect();
        let mut found = inputs.clone();
        kernels.gelu(&mut found);
        for (x, found) in inputs.iter().zip(found) {
            let apart = (f64::from(found) - exact_gelu(f64::from(*x))).abs();
            assert!(apart < float::GELU_ERROR, "{x}: {found}, {apart}");
        }
        let mut far = [1e30, -1e30, f32::MAX, f32::MIN, 0.0, -0.0, 100.0, -100.0];
        let mut found = [far, far].concat();
        kernels.gelu(&mut found);
        far.iter_mut().for_each(|x| *x = x.max(0.0));
        assert_eq!(found[..8], far);
    }
}

/// Attention in the plainest way.
fn plain_attention(qkv: &[f32], width: usize, heads: usize) -> Vec<f64> {
    let (size, length) = (width / heads, qkv.len() / (3 * width));
    let at =
        |row: usize, part: usize, column: usize| f64::from(qkv[(row * 3 + part) * width + column]);
    let mut mixed = vec![0.0; length * width];
    for head in 0..heads {
        for row in 0..length {
            let score = |key: usize| -> f64 {
                (head * size..(head + 1) * size).map(|i| at(row, 0, i) * at(key, 1, i)).sum()
            };
            let scores: Vec<f64> = (0..length).map(score).collect();
            let largest = scores.iter().copied().fold(f64::MIN, f64::max);
            let shares: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let sum: f64 = shares.iter().sum();
            for i in head * size..(head + 1) * size {
                let value = |(key, share): (usize, &f64)| share / sum * at(key, 2, i);
                mixed[row * width + i] = shares.iter().enumerate().map(value).sum();
            }
        }
    }
    mixed
}

#[test]
fn attention_is_that_of_plain_arithmetic() {
    for kernels in levels() {
        let mut numbers = Numbers(7);
        let shapes = [
            (1, 64, 2),
            (9, 32, 2),
            (2, 64, 4),
            (15, 192, 6),
            (16, 64, 1),
            (17, 128, 4),
            (50, 144, 3),
            (131, 64, 2),
        ];
        for (length, width, heads) in shapes.into_iter().take(if SLOW { 2 } else { 8 }) {
            for by in [0.1, 1.0, 6.0].into_iter().take(if SLOW { 1 } else { 3 }) {
                let qkv = numbers.floats(length * 3 * width, by);
                let mut found = vec![f32::NAN; length * width];
                kernels.attention(&qkv, width, heads, &mut Scratch::default(), &mut found);
                for (found, expected) in found.iter().zip(plain_attention(&qkv, width, heads)) {
                    let apart = (f64::from(*found) - expected).abs();
                    assert!(apart < 2e-5 * f64::from(by), "{found} {expected}");
                }
            }
        }
    }
}

#[test]
fn norms_are_those_of_plain_arithmetic() {
    for kernels in levels() {
        let (mut numbers, width) = (Numbers(9), 192);
        // Far from zero: the spread is not lost in the mean.
        let count = if SLOW { 2 } else { 11 };
        let rows = numbers.floats(count * width, 1.0);
        let rows: Vec<f32> = rows.iter().map(|x| x + 100.0).collect();
        let (scale, shift) = (numbers.floats(width, 2.0), numbers.floats(width, 1.0));
        let norm = Norm { scale, shift, epsilon: 1e-5 };
        let (mut found, mut codes) = (rows.clone(), Codes::default());
        codes.grow(11, width);
        kernels.normalise(&mut found, &norm, 0, &mut codes);
        let signed = signed(kernels, &codes, rows.len());
        for (at, found) in found.iter().enumerate() {
            let row: Vec<f64> =
                rows[at / width * width..][..width].iter().map(|x| f64::from(*x)).collect();
            let mean = row.iter().sum::<f64>() / width as f64;
            let spread = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            let at_row = at % width;
            let expected = (row[at_row] - mean) / (spread + 1e-5).sqrt()
                * f64::from(norm.scale[at_row])
                + f64::from(norm.shift[at_row]);
            assert!((f64::from(*found) - expected).abs() < 2e-4, "{found} {expected}");
            let (scale, centre) = (codes.scales[at / width], codes.centres[at / width]);
            let coded = f32::from(signed[at]) * scale + centre;
            assert!((found - coded).abs() < scale * 0.501 + 1e-6);
        }
    }
}

#[test]
fn fused_kernels_do_what_their_parts_do() {
    for kernels in levels() {
        let (mut numbers, rows, inputs, outputs) =
            (Numbers(3), if SLOW { 5 } else { 150 }, 64, if SLOW { 64 } else { 192 });
        let codes = coded(kernels, &numbers.floats(rows * inputs, 2.0), inputs);
        let mut matrix = Matrix::of(numbers.codes(outputs * inputs, 127), inputs, 0.002);
        matrix.biases = numbers.floats(outputs, 1.0);
        let packed = Packed::new(kernels, &matrix);
        let mut product = vec![0.0; rows * outputs];
        kernels.linear(&packed, &codes, 0..rows, &mut product);

        let mut activated = product.clone();
        kernels.gelu(&mut activated);
        let expected = coded(kernels, &activated, outputs);
        let mut found = Codes::default();
        found.grow(rows, outputs);
        kernels.linear_gelu(&packed, &codes, rows, &mut Aligned::default(), &mut found);
        assert_eq!(found.from(0)[..rows * outputs], expected.from(0)[..rows * outputs]);
        assert_eq!(found.scales[..rows], expected.scales[..rows]);
        assert_eq!(found.centres[..rows], expected.centres[..rows]);

        let norm = Norm {
            scale: numbers.floats(outputs, 1.0),
            shift: numbers.floats(outputs, 1.0),
            epsilon: 1e-12,
        };
        let mut states = numbers.floats(rows * outputs, 1.0);
        let mut summed: Vec<f32> = states.iter().zip(&product).map(|(a, b)| b + a).collect();
        let (mut expected, mut found) = (Codes::default(), Codes::default());
        expected.grow(rows, outputs);
        found.grow(rows, outputs);
        kernels.normalise(&mut summed, &norm, 0, &mut expected);
        kernels.linear_norm(&packed, &codes, rows, &mut states, &norm, &mut found);
        assert_eq!(states, summed);
        assert_eq!(found.from(0)[..rows * outputs], expected.from(0)[..rows * outputs]);
    }
}

#[test]
fn a_level_that_is_not_there_is_an_error_that_names_those_that_are() {
    assert_eq!(Level::named("portable"), Ok(Level::Portable));
    let problem = Level::named("sse9").unwrap_err().to_string();
    assert!(problem.contains("WINGBEAT_CPU=sse9") && problem.contains("portable"), "{problem}");
    for level in Level::ALL {
        assert_eq!(Level::named(level.name()).is_ok(), level.is_available());
        assert_eq!(Kernels::of(level).is_some(), level.is_available());
    }
}

#[test]
#[cfg_attr(miri, ignore = "it takes minutes; `products_are_exact` reads and writes the same way")]
fn every_level_is_right_and_one_that_is_not_is_found_out() {
    assert!(levels().into_iter().all(Kernels::is_right));
    assert_eq!(Some(Level::best()), Level::available().last());
    // The first sum of low products is one too large, as if a tile had not been cleared.
    unsafe fn wrong(w: &Packed, codes: &Codes, rows: Range<usize>, to: &mut [f32]) {
        Kernels::of(Level::Portable).unwrap().linear(w, codes, rows.clone(), to);
        to[0] += if rows.len() == trial::ROWS_LOW { 1.0 } else { 0.0 };
    }
    let portable = &portable::KERNELS;
    assert!(!Kernels { linear: wrong, ..*portable }.is_right());
}
