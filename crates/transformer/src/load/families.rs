//! The tensors of BERT and of RoBERTa, by the names that Hugging Face's libraries give them.

use super::quantise::{scale, stack};
use crate::{
    Error,
    config::{Config, Family},
    head::{Activation, Dense, Head, Pool},
    kernels::{Matrix, Norm},
    model::{LayerParts, Parts, Positions, Table},
};

/// A head of a classifier may have so many outputs.
const LABELS_MAX: usize = 1 << 16;

/// Where weights are read from. Names are without what models put before those of the encoder.
pub(super) trait Weights {
    /// A tensor of this shape, all of it finite.
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error>;
    /// The length of a tensor's first axis.
    fn length(&self, name: &str) -> Option<usize>;
    /// The `weight` and the `bias` of a linear layer, as bytes.
    fn matrix(&self, name: &str, outputs: usize, inputs: usize) -> Result<Matrix, Error>;
    /// A table of rows, of which some are looked up.
    fn table(&self, name: &str, rows: usize, width: usize) -> Result<Table, Error>;
}

/// Reads a whole model.
pub(super) fn parts(config: Config, weights: &impl Weights) -> Result<Parts, Error> {
    let hidden = config.hidden;
    let name = "embeddings.word_embeddings.weight";
    let words = weights.table(name, config.vocabulary, hidden)?;
    let norm = norm(&config, weights, "embeddings.LayerNorm")?;
    let layers = (0..config.layers).map(|layer| layer_parts(&config, weights, layer));
    let layers = layers.collect::<Result<_, _>>()?;
    let (pools, heads) = if config.classifies {
        (vec![Pool::First], vec![classifier(&config, weights)?])
    } else {
        let head = |name: &str, inputs| {
            let (name, layers) = (name.to_owned(), Vec::new());
            Head { name, inputs, layers, unit: true }
        };
        let heads = vec![head("mean", 0..hidden), head("first", hidden..2 * hidden)];
        (vec![Pool::Mean, Pool::First], heads)
    };
    let positions = positions(&config, weights)?;
    Ok(Parts { config, words, positions, norm, layers, pools, heads })
}

/// The rows of positions from the first token's on, with the first token type added; and that of the
/// padding, where positions begin behind it.
fn positions(config: &Config, weights: &impl Weights) -> Result<Positions, Error> {
    let hidden = config.hidden;
    let name = "embeddings.position_embeddings.weight";
    let mut positions = weights.floats(name, &[config.positions, hidden])?;
    let name = "embeddings.token_type_embeddings.weight";
    if config.types > 0 {
        let types = weights.floats(name, &[config.types, hidden])?;
        for row in positions.chunks_exact_mut(hidden) {
            row.iter_mut().zip(&types).for_each(|(value, kind)| *value += kind);
        }
    }
    let rows = positions.split_off(config.offset * hidden);
    let padding = config.offset.checked_sub(1).and_then(|id| u32::try_from(id).ok());
    let uncounted = padding.map(|id| (id, positions.split_off(positions.len() - hidden)));
    Ok(Positions { rows, uncounted })
}

fn norm(config: &Config, weights: &impl Weights, name: &str) -> Result<Norm, Error> {
    Ok(Norm {
        scale: weights.floats(&format!("{name}.weight"), &[config.hidden])?,
        shift: weights.floats(&format!("{name}.bias"), &[config.hidden])?,
        epsilon: config.epsilon,
    })
}

fn layer_parts(config: &Config, weights: &impl Weights, layer: usize) -> Result<LayerParts, Error> {
    let (hidden, inner) = (config.hidden, config.intermediate);
    let name = |part: &str| format!("encoder.layer.{layer}.{part}");
    let attends =
        |part: &str| weights.matrix(&name(&format!("attention.self.{part}")), hidden, hidden);
    #[expect(clippy::cast_precision_loss, reason = "a head's width has few digits")]
    let divisor = ((hidden / config.heads) as f32).sqrt();
    let query = scale(attends("query")?, 1.0 / divisor);
    Ok(LayerParts {
        qkv: stack(query, [attends("key")?, attends("value")?]),
        attention: weights.matrix(&name("attention.output.dense"), hidden, hidden)?,
        attention_norm: norm(config, weights, &name("attention.output.LayerNorm"))?,
        inner: weights.matrix(&name("intermediate.dense"), inner, hidden)?,
        output: weights.matrix(&name("output.dense"), hidden, inner)?,
        output_norm: norm(config, weights, &name("output.LayerNorm"))?,
    })
}

/// A layer of width `hidden` over the first state, then one that gives a number for each label.
fn classifier(config: &Config, weights: &impl Weights) -> Result<Head, Error> {
    let hidden = config.hidden;
    let (dense, labels) = match config.family {
        Family::Bert => ("pooler.dense", "classifier"),
        Family::Roberta => ("classifier.dense", "classifier.out_proj"),
    };
    let count = weights.length(&format!("{labels}.bias")).filter(|count| *count <= LABELS_MAX);
    let count = count.ok_or_else(|| {
        Error::model(format!("the weights have no `{labels}.bias` for up to {LABELS_MAX} labels"))
    })?;
    let layer = |name: &str, outputs, activation| {
        let matrix = weights.floats(&format!("{name}.weight"), &[outputs, hidden])?;
        let biases = weights.floats(&format!("{name}.bias"), &[outputs])?;
        Ok(Dense::new(&matrix, &biases, activation))
    };
    let layers =
        vec![layer(dense, hidden, Activation::Tanh)?, layer(labels, count, Activation::None)?];
    Ok(Head { name: "logits".to_owned(), inputs: 0..hidden, layers, unit: false })
}
