//! Logistic regression with L2 regularisation, by L-BFGS.

use std::collections::VecDeque;

use crate::{matrix::Matrix, progress::Progress};

/// What is to be learnt: the sum over rows of weighted losses, plus `l2`/2 times the squared
/// weights. Biases are free.
pub(crate) struct Problem<'a, const K: usize> {
    pub(crate) matrix: &'a Matrix,
    /// How many columns the matrix has.
    pub(crate) columns: usize,
    /// The rows that count.
    pub(crate) rows: &'a [usize],
    /// The wanted probabilities of every row of the matrix.
    pub(crate) targets: &'a [[f32; K]],
    pub(crate) loss: Loss<'a, K>,
    pub(crate) l2: f32,
}

/// How the classes relate.
#[derive(Clone, Copy)]
pub(crate) enum Loss<'a, const K: usize> {
    /// One of them is right. A weight per row, and which classes are possible for it, as bits.
    Softmax { weights: &'a [f32], possible: &'a [u64] },
    /// Each is right or not. A weight per row and class; 0 where nothing is known.
    Sigmoid { weights: &'a [[f32; K]] },
}

/// What was learnt: a row per column of the matrix, and the biases.
#[derive(Debug, Clone)]
pub(crate) struct Weights<const K: usize> {
    pub(crate) rows: Vec<[f32; K]>,
    pub(crate) bias: [f32; K],
}

impl<const K: usize> Weights<K> {
    fn zero(columns: usize) -> Self {
        Self { rows: vec![[0.0; K]; columns], bias: [0.0; K] }
    }

    pub(crate) fn logits(&self, row: impl Iterator<Item = (u32, f32)>) -> [f32; K] {
        let mut logits = self.bias;
        for (column, value) in row {
            add(&mut logits, &self.rows[column as usize], value);
        }
        logits
    }

    /// Multiplies each row with its factor; rows without one stay.
    pub(crate) fn scale(&mut self, factors: &[f32]) {
        for (row, factor) in self.rows.iter_mut().zip(factors) {
            row.iter_mut().for_each(|weight| *weight *= factor);
        }
    }

    /// All numbers, those of the bias last.
    fn parts(&self) -> impl Iterator<Item = &[f32; K]> {
        self.rows.iter().chain(std::iter::once(&self.bias))
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut [f32; K]> {
        self.rows.iter_mut().chain(std::iter::once(&mut self.bias))
    }

    fn dot(&self, other: &Self) -> f64 {
        let part = |(a, b): (&[f32; K], &[f32; K])| {
            f64::from(a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>())
        };
        self.parts().zip(other.parts()).map(part).sum()
    }

    /// Adds `factor` times `other`.
    fn step(&mut self, factor: f32, other: &Self) {
        for (a, b) in self.parts_mut().zip(other.parts()) {
            add(a, b, factor);
        }
    }

    fn minus(&self, other: &Self) -> Self {
        let mut difference = self.clone();
        difference.step(-1.0, other);
        difference
    }
}

fn add<const K: usize>(to: &mut [f32; K], from: &[f32; K], factor: f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += factor * from;
    }
}

/// The texts are shared out over so many threads. Fixed, so that sums, and with them the weights,
/// do not depend on the machine.
const THREADS: usize = 2;

impl<const K: usize> Problem<'_, K> {
    /// The value and the gradient at `weights`.
    fn evaluate(&self, weights: &Weights<K>) -> (f64, Weights<K>) {
        let chunk = self.rows.len().div_ceil(THREADS).max(1);
        let parts = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .rows
                .chunks(chunk)
                .map(|rows| scope.spawn(|| self.evaluate_rows(weights, rows)))
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect::<Vec<_>>()
        });
        let mut gradient = weights.clone();
        gradient.bias = [0.0; K];
        let mut value = f64::from(self.l2) / 2.0 * gradient.dot(&gradient);
        gradient.rows.iter_mut().flatten().for_each(|weight| *weight *= self.l2);
        for (part, part_gradient) in parts {
            value += part;
            gradient.step(1.0, &part_gradient);
        }
        (value, gradient)
    }

    fn evaluate_rows(&self, weights: &Weights<K>, rows: &[usize]) -> (f64, Weights<K>) {
        let mut gradient = Weights::zero(self.columns);
        let mut value = 0.0;
        for row in rows {
            let logits = weights.logits(self.matrix.row(*row));
            let (loss, errors) = self.loss(*row, logits);
            value += f64::from(loss);
            for (column, factor) in self.matrix.row(*row) {
                add(&mut gradient.rows[column as usize], &errors, factor);
            }
            add(&mut gradient.bias, &errors, 1.0);
        }
        (value, gradient)
    }

    /// The loss of a row and its derivative by the logits.
    fn loss(&self, row: usize, mut logits: [f32; K]) -> (f32, [f32; K]) {
        let target = &self.targets[row];
        match self.loss {
            Loss::Softmax { weights, possible } => {
                for (class, logit) in logits.iter_mut().enumerate() {
                    if possible[row] >> class & 1 == 0 {
                        *logit = f32::NEG_INFINITY;
                    }
                }
                let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = logits.iter().map(|logit| (logit - max).exp()).sum();
                let log_sum = max + sum.ln();
                let mut loss = 0.0;
                for (logit, target) in logits.iter_mut().zip(target) {
                    if *target > 0.0 {
                        loss += target * (log_sum - *logit);
                    }
                    *logit = weights[row] * ((*logit - log_sum).exp() - target);
                }
                (weights[row] * loss, logits)
            }
            Loss::Sigmoid { weights } => {
                let mut loss = 0.0;
                for ((logit, target), weight) in logits.iter_mut().zip(target).zip(&weights[row]) {
                    // log(1 + e^x), safe for large x.
                    let softplus = logit.max(0.0) + (-logit.abs()).exp().ln_1p();
                    loss += weight * (softplus - target * *logit);
                    *logit = weight * (1.0 / (1.0 + (-*logit).exp()) - target);
                }
                (loss, logits)
            }
        }
    }

    /// Learns, for at most so many iterations. Fewer than convergence takes are a regularisation
    /// of their own.
    pub(crate) fn solve(&self, iterations: usize, progress: &Progress) -> Weights<K> {
        let mut weights = Weights::zero(self.columns);
        let (mut value, mut gradient) = self.evaluate(&weights);
        let mut history = History::default();
        for _ in 0..iterations {
            progress.tick();
            let direction = history.direction(&gradient);
            let slope = gradient.dot(&direction);
            let Some((next, next_value, next_gradient)) =
                self.line_search(&weights, value, &direction, slope)
            else {
                break;
            };
            history.push(next.minus(&weights), next_gradient.minus(&gradient));
            let gain = value - next_value;
            (weights, value, gradient) = (next, next_value, next_gradient);
            if gain < 1e-6 * value.abs() {
                break;
            }
        }
        weights
    }

    /// Goes along `direction` until the value falls enough (Armijo's condition).
    fn line_search(
        &self,
        from: &Weights<K>,
        value: f64,
        direction: &Weights<K>,
        slope: f64,
    ) -> Option<(Weights<K>, f64, Weights<K>)> {
        const ENOUGH: f64 = 1e-4;
        const HALVINGS: usize = 20;
        let mut length = 1.0f32;
        for _ in 0..HALVINGS {
            let mut next = from.clone();
            next.step(length, direction);
            let (next_value, gradient) = self.evaluate(&next);
            if next_value <= value + ENOUGH * f64::from(length) * slope {
                return Some((next, next_value, gradient));
            }
            length /= 2.0;
        }
        None
    }
}

/// The last steps, from which L-BFGS guesses the curvature.
#[derive(Default)]
struct History<const K: usize>(VecDeque<(Weights<K>, Weights<K>, f64)>);

impl<const K: usize> History<K> {
    const LENGTH: usize = 7;

    fn push(&mut self, step: Weights<K>, change: Weights<K>) {
        let curvature = step.dot(&change);
        if curvature > 0.0 {
            if self.0.len() == Self::LENGTH {
                self.0.pop_front();
            }
            self.0.push_back((step, change, 1.0 / curvature));
        }
    }

    /// The direction of descent (Nocedal and Wright, Numerical Optimization, algorithm 7.4).
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
    fn direction(&self, gradient: &Weights<K>) -> Weights<K> {
        let mut direction = gradient.clone();
        let mut factors = Vec::with_capacity(self.0.len());
        for (step, change, rho) in self.0.iter().rev() {
            let factor = rho * step.dot(&direction);
            direction.step(-factor as f32, change);
            factors.push(factor);
        }
        let scale = match self.0.back() {
            Some((_, change, rho)) => 1.0 / (rho * change.dot(change)),
            None => 1.0 / gradient.dot(gradient).sqrt().max(f64::MIN_POSITIVE),
        };
        direction.parts_mut().flatten().for_each(|value| *value *= -scale as f32);
        for ((step, change, rho), factor) in self.0.iter().zip(factors.iter().rev()) {
            // The direction is negated already.
            let correction = -factor - rho * change.dot(&direction);
            direction.step(correction as f32, step);
        }
        direction
    }
}

impl<const K: usize> Default for Weights<K> {
    fn default() -> Self {
        Self::zero(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separable_problem_is_solved() {
        let matrix = Matrix::default().extended(&[]);
        let matrix = {
            let rows: Vec<Vec<(u32, f32)>> =
                vec![vec![(0, 1.0)], vec![(1, 1.0)], vec![(2, 1.0)], vec![(0, 1.0), (1, 0.1)]];
            let empty = Matrix::of(&vec![no_features(); rows.len()], &[], 1);
            drop(matrix);
            empty.extended(&rows)
        };
        let targets = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]];
        let problem = Problem {
            matrix: &matrix,
            columns: 3,
            rows: &[0, 1, 2, 3],
            targets: &targets,
            loss: Loss::Softmax { weights: &[1.0; 4], possible: &[0b111; 4] },
            l2: 0.01,
        };
        let weights = problem.solve(100, &Progress::hidden());
        for (row, target) in targets.iter().enumerate() {
            let logits = weights.logits(matrix.row(row));
            let top = (0..3).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            assert!(target[top] > 0.5, "{row}: {logits:?}");
        }
        // At the minimum the gradient vanishes.
        let (_, gradient) = problem.evaluate(&weights);
        assert!(gradient.dot(&gradient).sqrt() < 0.02);
    }

    fn no_features() -> wingbeat_model::linear::Features {
        wingbeat_model::linear::Featuriser::default().features("")
    }
}
