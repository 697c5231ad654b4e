//! What runs a model: the contract.

use super::Batch;
use crate::ModelError;

/// An output that a model must have: one row of numbers for each text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// Its name in the model.
    pub name: String,
    /// The numbers in a row.
    pub width: usize,
}

/// What a model gave for one output: a row for each text of the batch, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// The numbers in a row.
    pub width: usize,
    /// The rows, end to end.
    pub values: Vec<f32>,
}

impl Rows {
    /// The row of a text.
    pub fn row(&self, text: usize) -> Option<&[f32]> {
        let begin = text.checked_mul(self.width)?;
        self.values.get(begin..begin.checked_add(self.width)?)
    }
}

/// Runs a model over batches. Each worker has one of its own; the weights are shared by all.
///
/// A runtime computes on the thread that calls it, or on one thread that stands in for it: how many
/// batches are worked on at a time is the workers' business.
pub trait Runtime: Send {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// One more over the same weights, for another worker.
    fn another(&self) -> Box<dyn Runtime>;

    /// Runs the model over a batch. Gives the [`Rows`] of each output that it was loaded for, in
    /// that order.
    ///
    /// # Errors
    ///
    /// When the model can't be run over this batch. What is wrong with one text may be wrong with
    /// it alone: the workers try each by itself then.
    fn infer(&mut self, batch: &Batch) -> Result<Vec<Rows>, ModelError>;
}
