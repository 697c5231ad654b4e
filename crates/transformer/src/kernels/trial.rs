//! Whether the products of a level are right on this machine.

use super::{Codes, Kernels, Matrix, Packed};

/// The shapes of the products that show whether products are right: high tiles, and a low one.
const ROWS: usize = 35;
pub(super) const ROWS_LOW: usize = 5;
const INPUTS: usize = 128;
const OUTPUTS: usize = 64;

impl Kernels {
    /// Whether the product of some codes and weights, the largest among them, is what plain
    /// arithmetic says.
    pub(super) fn is_right(&self) -> bool {
        // Half of them are the least there is, the others zero and more, up to the most.
        let code = |at: usize, most: i8| match i8::try_from(at * 89 % 255) {
            Ok(code) => code.min(most),
            Err(_) => -most,
        };
        // The first two say how far the codes of a row go, so that they are its values.
        let most = self.form.most;
        let left = (0..ROWS * INPUTS).map(|at| match at % INPUTS {
            0 => most,
            1 => -most,
            _ => code(at, most),
        });
        let left: Vec<i8> = left.collect();
        let right: Vec<i8> = (0..OUTPUTS * INPUTS).map(|at| code(at * 7, 127)).collect();
        let expected = plain_sums(&left, &right, INPUTS);
        let weights = Packed::new(self, &Matrix::of(right, INPUTS, 1.0));
        let values: Vec<f32> = left.into_iter().map(f32::from).collect();
        let mut codes = Codes::default();
        codes.grow(ROWS, INPUTS);
        self.quantise(&values, 0, &mut codes);
        // Low tiles have instructions of their own.
        [ROWS, ROWS_LOW].into_iter().all(|rows| {
            let mut found = vec![0.0; rows * OUTPUTS];
            self.linear(&weights, &codes, 0..rows, &mut found);
            found.iter().eq(&expected[..rows * OUTPUTS])
        })
    }
}

/// The product of rows of codes and rows of weights, in integers; as floats, which are exact for
/// sums under 2²⁴.
#[expect(clippy::cast_precision_loss, reason = "small sums")]
pub(super) fn plain_sums(left: &[i8], right: &[i8], inputs: usize) -> Vec<f32> {
    let sum = |left: &[i8], right: &[i8]| -> i32 {
        left.iter().zip(right).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
    };
    let rows = left.chunks_exact(inputs);
    rows.flat_map(|row| right.chunks_exact(inputs).map(move |column| sum(row, column) as f32))
        .collect()
}
