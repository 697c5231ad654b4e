//! ONNX files as the usual tools export them from Hugging Face's libraries, in floats or quantised.
//!
//! Biases, norms and tables keep their names there; the matrix of a product does not. It is found by
//! what its product goes into: the addition of the bias.

use super::{
    families::Weights,
    onnx::{Graph, QUANTISED, missing, turned},
};
use crate::{Error, kernels::Matrix, model::Table};

/// What exports put before the names of tensors.
const PREFIXES: [&str; 6] = ["", "bert.", "roberta.", "model.", "encoder.", "0.auto_model."];
/// The operations between a product and its bias at most: a cast, and a scale.
const STEPS_MAX: usize = 4;

/// An exported model.
pub(super) struct Exported<'a> {
    graph: Graph<'a>,
}

impl<'a> Exported<'a> {
    pub(super) fn new(graph: Graph<'a>) -> Self {
        Self { graph }
    }

    /// The name that a tensor has here.
    fn name(&self, name: &str) -> Result<String, Error> {
        let has = |name: &String| {
            self.graph.tensor(name).is_some()
                || self.graph.tensor(&format!("{name}{QUANTISED}")).is_some()
        };
        let mut names = PREFIXES.iter().map(|prefix| format!("{prefix}{name}"));
        names.find(has).ok_or_else(|| missing(name))
    }

    /// Whether a matrix has a row for each input: it goes into a plain product. (Into a `Gemm`, it goes
    /// with a row for each output; quantising turns it, and keeps its name.)
    fn is_turned(&self, name: &str) -> bool {
        let quantised = format!("{name}{QUANTISED}");
        let is_it = |weight: &&str| *weight == name || *weight == quantised;
        let is_product = |node: &super::onnx::Node<'_>| {
            matches!(node.operator, "MatMul" | "MatMulInteger")
                && node.inputs.get(1).is_some_and(is_it)
        };
        self.graph.nodes.iter().any(is_product)
    }

    /// The name of the matrix whose product gets this bias.
    fn weight_of(&self, bias: &str) -> Option<&'a str> {
        let adds =
            |node: &&super::onnx::Node<'a>| node.operator == "Add" && node.inputs.contains(&bias);
        let add = self.graph.nodes.iter().find(adds)?;
        let mut value = *add.inputs.iter().find(|input| **input != bias)?;
        for _ in 0..STEPS_MAX {
            let node = self.graph.maker(value)?;
            match node.operator {
                "MatMul" | "MatMulInteger" => return node.inputs.get(1).copied(),
                "Cast" => value = node.inputs.first()?,
                // The integers, brought to the scale of both factors.
                "Mul" => {
                    let is_cast = |input: &&&str| {
                        self.graph.maker(input).is_some_and(|node| node.operator == "Cast")
                    };
                    value = node.inputs.iter().find(is_cast)?;
                }
                _ => return None,
            }
        }
        None
    }
}

impl Weights for Exported<'_> {
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        match (self.name(name), shape, name.strip_suffix(".weight")) {
            (Ok(name), [outputs, inputs], _) if self.is_turned(&name) => {
                let by_input = self.graph.floats(&name, &[*inputs, *outputs])?;
                Ok(turned(&by_input, *outputs))
            }
            (Ok(name), ..) => self.graph.floats(&name, shape),
            // The matrix of a product, in floats or quantised.
            (Err(_), [outputs, inputs], Some(layer)) => {
                let matrix = self.matrix(layer, *outputs, *inputs)?;
                let rows = matrix.codes.chunks_exact(*inputs).zip(&matrix.scales);
                let row = |(row, scale): (&[i8], &f32)| -> Vec<f32> {
                    row.iter().map(|code| f32::from(*code) * scale).collect()
                };
                Ok(rows.flat_map(row).collect())
            }
            (Err(error), ..) => Err(error),
        }
    }

    fn length(&self, name: &str) -> Option<usize> {
        self.graph.tensor(&self.name(name).ok()?)?.shape.first().copied()
    }

    fn matrix(&self, name: &str, outputs: usize, inputs: usize) -> Result<Matrix, Error> {
        let bias = self.name(&format!("{name}.bias"))?;
        let biases = self.graph.floats(&bias, &[outputs])?;
        let weight = self.weight_of(&bias).ok_or_else(|| {
            Error::unsupported(format!("`{bias}` is not added to a product that is known here"))
        })?;
        self.graph.matrix(weight, inputs, biases)
    }

    fn table(&self, name: &str, rows: usize, width: usize) -> Result<Table, Error> {
        self.graph.table(&self.name(name)?, rows, width)
    }
}
