//! What runs a model: the contract.

use std::borrow::Cow;

use super::Batch;
use crate::ModelError;

/// What a runtime is to make of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// The outputs that the model must have.
    pub outputs: Vec<OutputSpec>,
    /// The token that fills up the shorter texts of a batch. The model is told not to look at it.
    pub padding: u32,
}

/// An output that a model must have: one row of numbers for each text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// Its name in the model.
    pub name: String,
    /// The numbers in a row; `None`: as many as the model gives.
    pub width: Option<usize>,
    /// How the rows of a text's tokens become one, where the model gives a row for each token.
    pub pooling: Option<Pooling>,
}

impl OutputSpec {
    /// An output with a row of this width for each text.
    pub fn row(name: &str, width: usize) -> Self {
        Self { name: name.to_owned(), width: Some(width), pooling: None }
    }
}

/// How the rows of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token.
    First,
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

    /// The rows of an output, out of the tensor that a runtime has for it: `[texts, width]`, or
    /// `[texts, tokens, width]` where it is to be pooled.
    ///
    /// # Errors
    ///
    /// What is wrong with it, where it has another shape.
    pub(super) fn of_tensor(
        spec: &OutputSpec,
        batch: &Batch,
        shape: &[usize],
        values: Cow<'_, [f32]>,
    ) -> Result<Self, String> {
        let OutputSpec { name, width: wanted, pooling } = spec;
        let fits = |width: usize| wanted.is_none_or(|wanted| wanted == width) && width > 0;
        let is_whole = shape.iter().product::<usize>() == values.len();
        match (shape, pooling) {
            ([texts, width], None) if *texts == batch.len() && fits(*width) && is_whole => {
                Ok(Self { width: *width, values: values.into_owned() })
            }
            ([texts, tokens, width], Some(pooling))
                if *texts == batch.len()
                    && *tokens == batch.longest()
                    && fits(*width)
                    && is_whole =>
            {
                Ok(Self { width: *width, values: pooling.pool(batch, *tokens, *width, &values) })
            }
            _ => {
                let texts = batch.len().to_string();
                let tokens = pooling.map(|_| batch.longest().to_string());
                let width = wanted.map_or("any".to_owned(), |width| width.to_string());
                let wanted: Vec<String> =
                    [Some(texts), tokens, Some(width)].into_iter().flatten().collect();
                Err(format!("output `{name}` has the shape {shape:?}, not [{}]", wanted.join(", ")))
            }
        }
    }
}

impl Pooling {
    /// One row for each text, out of `tokens` rows for each, of which those behind its last token
    /// are padding.
    fn pool(self, batch: &Batch, tokens: usize, width: usize, values: &[f32]) -> Vec<f32> {
        let mut pooled = vec![0.0; batch.len() * width];
        let texts = values.chunks(tokens.max(1) * width);
        for ((text, ids), pooled) in texts.zip(batch.texts()).zip(pooled.chunks_mut(width)) {
            let count = match self {
                Self::Mean => ids.len().max(1),
                Self::First => 1,
            };
            for row in text.chunks(width).take(count) {
                pooled.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            #[expect(clippy::cast_precision_loss, reason = "a text has some hundred tokens")]
            pooled.iter_mut().for_each(|sum| *sum /= count as f32);
        }
        pooled
    }
}

/// How the texts of a batch lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All as long as the longest: texts of a batch should be of like length.
    Padded,
    /// End to end: nothing is lost by texts of different lengths.
    Packed,
}

impl Layout {
    /// The tokens of a batch that are best. What is padded gets slower with more: a batch's states
    /// leave the cache of a core. Where all is fused they stay there, and weights are read for twice
    /// as many texts.
    pub(super) fn batch_tokens(self) -> usize {
        match self {
            Self::Padded => 256,
            Self::Packed => 512,
        }
    }
}

/// Runs a model over batches. Each worker has one of its own.
///
/// A runtime computes on the thread that calls it, or on one thread that stands in for it: how many
/// batches are worked on at a time is the workers' business.
pub trait Runtime: Send {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// How it lays out the texts of a batch.
    fn layout(&self) -> Layout {
        Layout::Padded
    }

    /// As many of it as there are workers, itself among them. They share what they can of the
    /// weights.
    ///
    /// # Errors
    ///
    /// When there can't be so many.
    fn times(self: Box<Self>, count: usize) -> Result<Vec<Box<dyn Runtime>>, ModelError>;

    /// Runs the model over a batch. Gives the [`Rows`] of each output that it was loaded for, in
    /// that order.
    ///
    /// # Errors
    ///
    /// When the model can't be run over this batch. What is wrong with one text may be wrong with
    /// it alone: the workers try each by itself then.
    fn infer(&mut self, batch: &Batch) -> Result<Vec<Rows>, ModelError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(pooling: Option<Pooling>, shape: &[usize], values: &[f32]) -> Result<Rows, String> {
        let batch: Batch = [&[5, 6, 7][..], &[8]].into_iter().collect();
        let spec = OutputSpec { name: "out".to_owned(), width: None, pooling };
        Rows::of_tensor(&spec, &batch, shape, values.into())
    }

    #[test]
    fn rows_of_tokens_become_one_without_the_padding() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 99.0, 99.0, 99.0, 99.0];
        let mean = rows(Some(Pooling::Mean), &[2, 3, 2], &values).unwrap();
        assert_eq!(mean, Rows { width: 2, values: vec![3.0, 4.0, 7.0, 8.0] });
        let first = rows(Some(Pooling::First), &[2, 3, 2], &values).unwrap();
        assert_eq!(first, Rows { width: 2, values: vec![1.0, 2.0, 7.0, 8.0] });
    }

    #[test]
    fn another_shape_is_refused_with_the_one_that_is_wanted() {
        let problem = |pooling, shape: &[usize]| rows(pooling, shape, &[0.0; 6]).unwrap_err();
        assert_eq!(problem(None, &[3, 2]), "output `out` has the shape [3, 2], not [2, any]");
        let pooled = problem(Some(Pooling::Mean), &[2, 3]);
        assert_eq!(pooled, "output `out` has the shape [2, 3], not [2, 3, any]");
        assert!(rows(None, &[2, 4], &[0.0; 6]).is_err(), "it is not whole");
    }
}
