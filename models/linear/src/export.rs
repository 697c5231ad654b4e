//! From what was learnt to a file of int8 weights.

use wingbeat_model::linear::{Block, Head, Layout, fingerprint};

use crate::{data::Failure, regression::Weights};

/// A count as a number to compute with.
#[expect(clippy::cast_precision_loss, reason = "counts of texts, far below 2^24")]
pub(crate) fn count(count: usize) -> f32 {
    count as f32
}

/// 1 for one class, 0 for the others.
pub(crate) fn one_hot<const K: usize>(class: usize) -> [f32; K] {
    std::array::from_fn(|index| if index == class { 1.0 } else { 0.0 })
}

/// Weights that let every class of `rows` count the same (`power` 1), or as often as it occurs
/// (0). They are 1 on average.
pub(crate) fn balanced(classes: &[usize], rows: &[usize], k: usize, power: f32) -> Vec<f32> {
    let mut counts = vec![0usize; k];
    for row in rows {
        counts[classes[*row]] += 1;
    }
    let raw = |class: &usize| (count(counts[*class]).max(1.0)).powf(-power);
    let sum: f32 = rows.iter().map(|row| raw(&classes[*row])).sum();
    let scale = count(rows.len()) / sum.max(f32::MIN_POSITIVE);
    classes.iter().map(|class| raw(class) * scale).collect()
}

/// The number to divide logits by so that their softmax says how probable the classes are:
/// that of the greatest likelihood.
pub(crate) fn temperature<const K: usize>(logits: &[[f32; K]], classes: &[usize]) -> f32 {
    let loss = |temperature: f32| -> f64 {
        let of = |(logits, class): (&[f32; K], &usize)| {
            let sum: f32 = logits.iter().map(|z| ((z - logits[*class]) / temperature).exp()).sum();
            f64::from(sum.ln())
        };
        logits.iter().zip(classes).map(of).sum()
    };
    // The loss has one minimum: close in on it.
    let (mut low, mut high) = (0.05f32, 20.0f32);
    for _ in 0..60 {
        let third = (high / low).powf(1.0 / 3.0);
        let (a, b) = (low * third, high / third);
        if loss(a) < loss(b) { high = b } else { low = a }
    }
    (low * high).sqrt()
}

/// The file of a model with `K` labels in `C` columns.
pub(crate) fn file<const K: usize, const C: usize>(
    weights: &Weights<K>,
    labels: &[&str],
    blocks: Vec<Block>,
) -> Result<Vec<u8>, Failure> {
    let mut scale = [0.0; C];
    for (class, scale) in scale.iter_mut().enumerate().take(K) {
        *scale = best_scale(&weights.rows, class);
    }
    let quantise = |row: &[f32; K]| {
        std::array::from_fn(|class| match row.get(class) {
            Some(weight) if scale[class] > 0.0 => int8(*weight, scale[class]),
            _ => 0,
        })
    };
    let rows: Vec<[i8; C]> = weights.rows.iter().map(quantise).collect();
    let bias = std::array::from_fn(|class| weights.bias.get(class).copied().unwrap_or_default());
    let layout = Layout {
        featuriser: format!("{:016x}", fingerprint()),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        blocks,
    };
    Head::<C>::to_file(&layout, &rows, &scale, &bias).map_err(|error| error.to_string())
}

#[expect(clippy::cast_possible_truncation, reason = "clamped; `as` cuts what is not finite")]
fn int8(weight: f32, scale: f32) -> i8 {
    (weight / scale).round().clamp(-127.0, 127.0) as i8
}

/// The step of int8 weights that loses least: the largest weight may be cut so that the many
/// small ones keep their shape.
fn best_scale<const K: usize>(rows: &[[f32; K]], class: usize) -> f32 {
    const STEPS: u16 = 40;
    let max = rows.iter().map(|row| row[class].abs()).fold(0.0, f32::max);
    if max == 0.0 {
        return 0.0;
    }
    let loss = |scale: f32| -> f64 {
        let of = |row: &[f32; K]| {
            let error = row[class] - f32::from(int8(row[class], scale)) * scale;
            f64::from(error * error)
        };
        rows.iter().map(of).sum()
    };
    let candidates = (1..=STEPS).map(|step| max / 127.0 * f32::from(step) / f32::from(STEPS));
    candidates.min_by(|a, b| loss(*a).total_cmp(&loss(*b))).unwrap_or(max / 127.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_temperature_of_overconfident_logits_is_above_one() {
        // Right in three of four cases, but sure of itself.
        let logits = [[6.0, 0.0]; 4];
        let found = temperature(&logits, &[0, 0, 0, 1]);
        assert!((found - 6.0 / 3f32.ln()).abs() < 0.01, "{found}");
    }

    #[test]
    fn balanced_weights_are_one_on_average_and_even_out() {
        let classes = [0, 0, 0, 1];
        let weights = balanced(&classes, &[0, 1, 2, 3], 2, 1.0);
        assert_eq!(weights.iter().sum::<f32>(), 4.0);
        assert_eq!(weights[0] * 3.0, weights[3]);
    }
}
