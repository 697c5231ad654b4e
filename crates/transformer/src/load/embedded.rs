//! The embedded encoder, as `models/encoder/graph.py` writes it: its file says all that there is to
//! know, and it has three heads.

use super::onnx::{Graph, missing};
use crate::{
    Error,
    config::{Config, Family},
    head::{Activation, Dense, Head, Pool},
    kernels::{Matrix, Norm},
    model::{LayerParts, Parts, Positions, Table},
};

/// Whether it is such a file.
pub(super) fn is_embedded(graph: &Graph<'_>) -> bool {
    graph.tensor("layer.0.qkv.bias").is_some()
}

/// Reads such a file.
pub(super) fn parts(graph: &Graph<'_>) -> Result<Parts, Error> {
    let config = config(graph)?;
    config.check()?;
    let hidden = config.hidden;
    let layer = |layer: usize| layer_parts(graph, &config, &format!("layer.{layer}."));
    let layers = (0..config.layers).map(layer).collect::<Result<_, _>>()?;
    let pools = vec![
        Pool::Mean,
        Pool::First,
        Pool::Attention(graph.floats("pool.scores.weight", &[hidden, 1])?),
    ];
    let head =
        |name: &str, inputs, layers, unit| Head { name: name.to_owned(), inputs, layers, unit };
    let features = pools.len() * hidden;
    let first = dense(graph, "sentiment.dense", features, Activation::Gelu)?;
    let between = length(graph, "sentiment.dense.bias")?;
    let sentiment = vec![first, dense(graph, "sentiment.logits", between, Activation::None)?];
    let topics = vec![dense(graph, "topics.logits", features, Activation::None)?];
    let heads = vec![
        head("sentiment", 0..features, sentiment, false),
        head("topics", 0..features, topics, false),
        head("embedding", 0..hidden, Vec::new(), true),
    ];
    let rows = graph.floats("positions", &[config.positions, hidden])?;
    let positions = Positions { rows, uncounted: None };
    let words = words(graph, &config)?;
    let norm = norm(graph, &config, "embeddings.norm")?;
    Ok(Parts { config, words, positions, norm, layers, pools, heads })
}

fn length(graph: &Graph<'_>, name: &str) -> Result<usize, Error> {
    let shape = &graph.tensor(name).ok_or_else(|| missing(name))?.shape;
    shape.first().copied().ok_or_else(|| missing(name))
}

fn config(graph: &Graph<'_>) -> Result<Config, Error> {
    let node =
        |name: &str| graph.nodes.iter().find(|node| node.name == name).ok_or_else(|| missing(name));
    // The heads' shape: texts, tokens, heads, the numbers of each.
    let shape = node("layer.0.heads.0")?.inputs.get(1).copied().unwrap_or_default();
    let sizes = graph.tensor(shape).ok_or_else(|| missing(shape))?.sizes(shape)?;
    let [_, _, heads, _] = sizes[..] else { return Err(missing("the number of heads")) };
    let epsilon = node("embeddings.norm")?.floats.iter().find(|(name, _)| *name == "epsilon");
    let layers =
        (0..).take_while(|layer| graph.tensor(&format!("layer.{layer}.qkv.bias")).is_some());
    Ok(Config {
        family: Family::Bert,
        hidden: length(graph, "embeddings.norm.bias")?,
        heads,
        layers: layers.count(),
        intermediate: length(graph, "layer.0.intermediate.bias")?,
        epsilon: epsilon.ok_or_else(|| missing("epsilon"))?.1,
        vocabulary: length(graph, "words")?,
        positions: length(graph, "positions")?,
        offset: 0,
        types: 0,
        classifies: false,
    })
}

fn words(graph: &Graph<'_>, config: &Config) -> Result<Table, Error> {
    let (rows, width) = (config.vocabulary, config.hidden);
    let words = graph.tensor("words").ok_or_else(|| missing("words"))?;
    if !words.is_bytes() {
        return graph.table("words", rows, width);
    }
    let scales = graph.floats("words.scale", &[rows, 1])?;
    let byte = |code: i16| i8::try_from(code).map_err(|_| missing("words of 8 bits"));
    let codes = words.integers("words")?.into_iter().map(byte).collect::<Result<Vec<_>, _>>()?;
    if words.shape != [rows, width] {
        return Err(Error::model(format!("`words` has the shape {:?}", words.shape)));
    }
    Ok(Table { codes, scales })
}

fn norm(graph: &Graph<'_>, config: &Config, name: &str) -> Result<Norm, Error> {
    Ok(Norm {
        scale: graph.floats(&format!("{name}.weight"), &[config.hidden])?,
        shift: graph.floats(&format!("{name}.bias"), &[config.hidden])?,
        epsilon: config.epsilon,
    })
}

fn layer_parts(graph: &Graph<'_>, config: &Config, layer: &str) -> Result<LayerParts, Error> {
    let (hidden, inner) = (config.hidden, config.intermediate);
    let matrix = |part: &str, inputs: usize, outputs: usize| -> Result<Matrix, Error> {
        let biases = graph.floats(&format!("{layer}{part}.bias"), &[outputs])?;
        graph.matrix(&format!("{layer}{part}.weight"), inputs, biases)
    };
    Ok(LayerParts {
        // The scores' divisor is in the queries' weights.
        qkv: matrix("qkv", hidden, 3 * hidden)?,
        attention: matrix("attention.output", hidden, hidden)?,
        attention_norm: norm(graph, config, &format!("{layer}attention.output.norm"))?,
        inner: matrix("intermediate", hidden, inner)?,
        output: matrix("output", inner, hidden)?,
        output_norm: norm(graph, config, &format!("{layer}output.norm"))?,
    })
}

/// A layer of a head. Its matrix has a row for each input.
fn dense(graph: &Graph<'_>, name: &str, inputs: usize, then: Activation) -> Result<Dense, Error> {
    let outputs = length(graph, &format!("{name}.bias"))?;
    let biases = graph.floats(&format!("{name}.bias"), &[outputs])?;
    let matrix = graph.floats(&format!("{name}.weight"), &[inputs, outputs])?;
    Ok(Dense::new(&super::onnx::turned(&matrix, outputs), &biases, then))
}
