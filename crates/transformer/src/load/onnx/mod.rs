//! Tensors out of an ONNX file, and enough of its graph to know which of them belong together.
//!
//! The format is a protocol buffer, `ModelProto`:
//! <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.

mod tensor;

use std::collections::HashMap;

use self::tensor::Tensor;
use super::quantise::{quantise, quantise_table};
use crate::{
    Error,
    kernels::Matrix,
    model::Table,
    protobuf::{Fields, Value},
};

/// What ONNX Runtime's quantisation adds to the name of a tensor: for its bytes, their scale, and
/// what stands for zero.
pub(super) const QUANTISED: &str = "_quantized";
const SCALE: &str = "_scale";
const ZERO: &str = "_zero_point";

/// A name leads to another so often at most.
const IDENTITIES_MAX: usize = 4;

/// An operation.
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    pub(super) operator: &'a str,
    pub(super) inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
    /// Those attributes that are floats.
    pub(super) floats: Vec<(&'a str, f32)>,
}

/// What is read of a model.
pub(super) struct Graph<'a> {
    tensors: HashMap<&'a str, Tensor<'a>>,
    pub(super) nodes: Vec<Node<'a>>,
    /// Which node makes a value.
    makers: HashMap<&'a str, usize>,
}

impl<'a> Graph<'a> {
    /// Reads a file.
    pub(super) fn open(file: &'a [u8]) -> Result<Self, Error> {
        Self::read(file).ok_or_else(|| {
            Error::model("not a whole ONNX file: it is damaged or cut short; fetch it again")
        })
    }

    fn read(file: &'a [u8]) -> Option<Self> {
        /// `ModelProto.graph`, and in it `GraphProto.node` and `initializer`.
        const GRAPH: u64 = 7;
        const NODE: u64 = 1;
        const INITIALIZER: u64 = 5;
        let mut graph = None;
        for field in Fields(file) {
            if let (GRAPH, Value::Bytes(bytes)) = field? {
                graph = Some(bytes);
            }
        }
        let mut read = Self { tensors: HashMap::new(), nodes: Vec::new(), makers: HashMap::new() };
        for field in Fields(graph?) {
            match field? {
                (NODE, Value::Bytes(bytes)) => read.nodes.push(Node::read(bytes)?),
                (INITIALIZER, Value::Bytes(bytes)) => {
                    let (name, tensor) = Tensor::read(bytes)?;
                    read.tensors.insert(name, tensor);
                }
                _ => {}
            }
        }
        for (index, node) in read.nodes.iter().enumerate() {
            read.makers.extend(node.outputs.iter().map(|output| (*output, index)));
        }
        Some(read)
    }

    /// A tensor that is part of the file, by its name or another: exporters store equal ones once, and
    /// give the others as the first's identity.
    pub(super) fn tensor(&self, name: &str) -> Option<&Tensor<'a>> {
        let mut name = name;
        for _ in 0..IDENTITIES_MAX {
            match self.maker(name) {
                Some(node) if node.operator == "Identity" => name = node.inputs.first()?,
                _ => break,
            }
        }
        self.tensors.get(name)
    }

    /// The node that makes a value.
    pub(super) fn maker(&self, value: &str) -> Option<&Node<'a>> {
        self.nodes.get(*self.makers.get(value)?)
    }

    /// A tensor of this shape as finite floats, whether it is in floats or in bytes.
    pub(super) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        if let Some(tensor) = self.tensor(name) {
            check(name, tensor, shape)?;
            return finite(name, tensor.floats(name)?);
        }
        let coded = self.coded(name, shape)?;
        let width = shape.last().copied().unwrap_or(1).max(1);
        let values = coded.codes.iter().enumerate();
        finite(name, values.map(|(at, code)| f32::from(*code) * coded.scale(at % width)).collect())
    }

    /// The matrix of a product, whose tensor has a row for each input, and its biases.
    pub(super) fn matrix(
        &self,
        name: &str,
        inputs: usize,
        biases: Vec<f32>,
    ) -> Result<Matrix, Error> {
        let outputs = biases.len();
        let name = name.strip_suffix(QUANTISED).unwrap_or(name);
        let shape = [inputs, outputs];
        if self.tensor(name).is_none() {
            let coded = self.coded(name, &shape)?;
            if let Some(codes) = coded.as_bytes() {
                let scales = (0..outputs).map(|output| coded.scale(output)).collect();
                let scales = finite(name, scales)?;
                return Ok(Matrix { inputs, codes: turned(&codes, outputs), scales, biases });
            }
        }
        // Bytes with another zero have no place in ours: they become floats, and bytes again.
        let weights = self.floats(name, &shape)?;
        Ok(quantise(&turned(&weights, outputs), inputs, biases))
    }

    /// A table whose rows are looked up.
    pub(super) fn table(&self, name: &str, rows: usize, width: usize) -> Result<Table, Error> {
        self.floats(name, &[rows, width]).map(|values| quantise_table(&values, width))
    }

    /// A tensor that was quantised.
    fn coded(&self, name: &str, shape: &[usize]) -> Result<Coded, Error> {
        let part = |what: &str| {
            let name = format!("{name}{what}");
            let tensor = self.tensor(&name).ok_or_else(|| missing(&name))?;
            Ok((name, tensor))
        };
        let (codes_name, codes) = part(QUANTISED)?;
        check(&codes_name, codes, shape)?;
        let (scale_name, scale) = part(SCALE)?;
        let zeros = self.tensor(&format!("{name}{ZERO}"));
        let zeros = zeros.map_or(Ok(vec![0]), |zeros| zeros.integers(name))?;
        let scales = scale.floats(&scale_name)?;
        let width = shape.last().copied().unwrap_or(0);
        let fits = |count: usize| count == 1 || count == width;
        if !fits(scales.len()) || !fits(zeros.len()) {
            return Err(Error::unsupported(format!(
                "`{name}` has {} scales and {} zeros for {width} columns",
                scales.len(),
                zeros.len()
            )));
        }
        let zero = |column: usize| if zeros.len() == 1 { zeros[0] } else { zeros[column] };
        let codes = codes.integers(&codes_name)?.into_iter().enumerate();
        // Both are of 8 bits.
        let codes = codes.map(|(at, code)| code - zero(at % width)).collect();
        Ok(Coded { codes, scales })
    }
}

/// Numbers with a scale for each column, or one for all.
struct Coded {
    codes: Vec<i16>,
    scales: Vec<f32>,
}

impl Coded {
    fn scale(&self, column: usize) -> f32 {
        if self.scales.len() == 1 { self.scales[0] } else { self.scales[column] }
    }

    /// Its codes, where all are from -127 to 127.
    fn as_bytes(&self) -> Option<Vec<i8>> {
        let byte = |code: &i16| i8::try_from(*code).ok().filter(|code| *code > i8::MIN);
        self.codes.iter().map(byte).collect()
    }
}

/// Columns as rows, of a tensor with so many columns.
pub(super) fn turned<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    let rows = values.len() / columns.max(1);
    (0..values.len()).map(|at| values[at % rows * columns + at / rows]).collect()
}

pub(super) fn missing(name: &str) -> Error {
    Error::model(format!("the file has no `{name}`: it was exported otherwise"))
}

fn check(name: &str, tensor: &Tensor<'_>, shape: &[usize]) -> Result<(), Error> {
    if tensor.shape == shape {
        return Ok(());
    }
    Err(Error::model(format!("`{name}` has the shape {:?}, not {shape:?}", tensor.shape)))
}

fn finite(name: &str, values: Vec<f32>) -> Result<Vec<f32>, Error> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(values);
    }
    Err(Error::model(format!("`{name}` has numbers that are none (NaN or infinite)")))
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        /// `NodeProto`: `input`, `output`, `name`, `op_type`, `attribute`.
        const INPUT: u64 = 1;
        const OUTPUT: u64 = 2;
        const NAME: u64 = 3;
        const OPERATOR: u64 = 4;
        const ATTRIBUTE: u64 = 5;
        let (inputs, outputs, floats) = (Vec::new(), Vec::new(), Vec::new());
        let mut node = Self { name: "", operator: "", inputs, outputs, floats };
        for field in Fields(bytes) {
            let (number, Value::Bytes(bytes)) = field? else { continue };
            let text = || std::str::from_utf8(bytes).ok();
            match number {
                INPUT => node.inputs.push(text()?),
                OUTPUT => node.outputs.push(text()?),
                NAME => node.name = text()?,
                OPERATOR => node.operator = text()?,
                ATTRIBUTE => node.floats.extend(float_attribute(bytes)?),
                _ => {}
            }
        }
        Some(node)
    }
}

/// An attribute, where it is a float. Outside `None`: it can't be read.
fn float_attribute(bytes: &[u8]) -> Option<Option<(&str, f32)>> {
    /// `AttributeProto`: `name`, `f`.
    const NAME: u64 = 1;
    const FLOAT: u64 = 2;
    let (mut name, mut float) = ("", None);
    for field in Fields(bytes) {
        match field? {
            (NAME, Value::Bytes(bytes)) => name = std::str::from_utf8(bytes).ok()?,
            (FLOAT, Value::Four(bytes)) => float = Some(f32::from_le_bytes(bytes)),
            _ => {}
        }
    }
    Some(float.map(|float| (name, float)))
}
