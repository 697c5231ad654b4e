//! What is made of the last states of a text: pools of them, and heads on the pools. In floats:
//! they are small, and their word is final.

use std::ops::Range;

use crate::{
    Error,
    kernels::{Aligned, Kernels},
};

/// The outputs of a head's layer are padded to a multiple of this: the floats of the longest vector.
const STEP: usize = 16;

/// How the states of a text become one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pool {
    /// Their mean.
    Mean,
    /// The first.
    First,
    /// Their sum, each with its share: the softmax of its product with these weights. (A bias would
    /// change no share.)
    Attention(Vec<f32>),
}

impl Pool {
    /// Adds the row to `features`, which has a zero for each of its numbers.
    pub(crate) fn pool(&self, states: &[f32], features: &mut [f32], shares: &mut Vec<f32>) {
        let rows = states.chunks_exact(features.len());
        #[expect(clippy::cast_precision_loss, reason = "texts are shorter than 2²⁴")]
        let even = 1.0 / rows.len() as f32;
        shares.clear();
        match self {
            Self::First => shares.push(1.0),
            Self::Mean => shares.resize(rows.len(), even),
            Self::Attention(weights) => {
                shares.extend(rows.clone().map(|row| product(row, weights)));
                let largest = shares.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                shares.iter_mut().for_each(|share| *share = (*share - largest).exp());
                let sum: f32 = shares.iter().sum();
                shares.iter_mut().for_each(|share| *share /= sum);
            }
        }
        for (row, share) in rows.zip(&*shares) {
            for (feature, state) in features.iter_mut().zip(row) {
                *feature += share * state;
            }
        }
    }
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What a layer of a head does with its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    None,
    Tanh,
    Gelu,
}

/// A layer of a head.
pub(crate) struct Dense {
    inputs: usize,
    outputs: usize,
    /// A row for each input, padded to whole vectors.
    matrix: Aligned<f32>,
    biases: Aligned<f32>,
    activation: Activation,
}

impl Dense {
    /// A layer whose matrix has a row for each output.
    pub(crate) fn new(by_output: &[f32], biases: &[f32], activation: Activation) -> Self {
        let outputs = biases.len();
        let inputs = by_output.len() / outputs.max(1);
        let width = outputs.next_multiple_of(STEP);
        let mut matrix = Aligned::zeros(inputs * width);
        for (output, row) in by_output.chunks_exact(inputs.max(1)).enumerate() {
            for (input, weight) in row.iter().enumerate() {
                matrix[input * width + output] = *weight;
            }
        }
        let mut padded = Aligned::zeros(width);
        padded[..outputs].copy_from_slice(biases);
        Self { inputs, outputs, matrix, biases: padded, activation }
    }

    fn run(&self, kernels: &Kernels, from: &[f32], to: &mut Vec<f32>) {
        to.clear();
        to.extend_from_slice(&self.biases);
        kernels.dense(from, &self.matrix, to);
        match self.activation {
            Activation::None => {}
            Activation::Tanh => to.iter_mut().for_each(|value| *value = value.tanh()),
            Activation::Gelu => kernels.gelu(to),
        }
        to.truncate(self.outputs);
    }
}

/// An output of a model.
pub(crate) struct Head {
    pub(crate) name: String,
    /// Which of the features it reads.
    pub(crate) inputs: Range<usize>,
    pub(crate) layers: Vec<Dense>,
    /// Its row is brought to length 1.
    pub(crate) unit: bool,
}

impl Head {
    /// The numbers of its row.
    pub(crate) fn width(&self) -> usize {
        self.layers.last().map_or(self.inputs.len(), |layer| layer.outputs)
    }

    /// Refuses layers that do not fit one another.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut width = self.inputs.len();
        for layer in &self.layers {
            if layer.inputs != width || layer.outputs == 0 {
                return Err(Error::model(format!(
                    "output `{}`: a layer reads {} numbers and gets {width}",
                    self.name, layer.inputs
                )));
            }
            width = layer.outputs;
        }
        Ok(())
    }

    /// Adds its row for one text to `rows`. `buffers` hold numbers between the layers.
    pub(crate) fn run(
        &self,
        kernels: &Kernels,
        features: &[f32],
        [from, to]: [&mut Vec<f32>; 2],
        rows: &mut Vec<f32>,
    ) {
        from.clear();
        from.extend_from_slice(&features[self.inputs.clone()]);
        for layer in &self.layers {
            layer.run(kernels, from, to);
            std::mem::swap(from, to);
        }
        if self.unit {
            let length = product(from, from).sqrt();
            from.iter_mut().for_each(|value| *value /= length.max(f32::MIN_POSITIVE));
        }
        rows.extend_from_slice(from);
    }
}
