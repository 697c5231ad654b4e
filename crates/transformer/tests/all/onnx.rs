//! ONNX files: the embedded encoder's, and what the usual tools export, in floats and quantised.

use proptest::prelude::*;
use wingbeat_transformer::{Level, Model, Workspace};

use crate::{
    made::{HIDDEN, INNER, LABELS, LAYERS, Made, POSITIONS, VOCABULARY, numbers},
    plain::{Plain, cosine},
};

/// `TensorProto.DataType`.
const FLOAT: u64 = 1;
const UINT8: u64 = 2;
const INT8: u64 = 3;
const INT64: u64 = 7;

fn varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// A field of a message: a number.
fn number(field: u64, value: u64, to: &mut Vec<u8>) {
    varint(field << 3, to);
    varint(value, to);
}

/// A field of a message: bytes.
fn bytes(field: u64, value: &[u8], to: &mut Vec<u8>) {
    varint(field << 3 | 2, to);
    varint(value.len() as u64, to);
    to.extend_from_slice(value);
}

/// A file in the making: `GraphProto`.
#[derive(Default)]
struct File(Vec<u8>);

impl File {
    fn tensor(&mut self, name: &str, kind: u64, shape: &[usize], raw: &[u8]) {
        let mut tensor = Vec::new();
        shape.iter().for_each(|dim| number(1, *dim as u64, &mut tensor));
        number(2, kind, &mut tensor);
        bytes(8, name.as_bytes(), &mut tensor);
        bytes(9, raw, &mut tensor);
        bytes(5, &tensor, &mut self.0);
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, FLOAT, shape, &raw);
    }

    /// Numbers that are listed, as ONNX's helpers do it: floats in field 4, integers in field 5.
    fn listed(&mut self, name: &str, kind: u64, floats: &[f32], integers: &[u64]) {
        let (mut tensor, mut packed) = (Vec::new(), Vec::new());
        number(1, (floats.len() + integers.len()) as u64, &mut tensor);
        number(2, kind, &mut tensor);
        bytes(8, name.as_bytes(), &mut tensor);
        floats.iter().for_each(|value| packed.extend(value.to_le_bytes()));
        integers.iter().for_each(|value| varint(*value, &mut packed));
        bytes(if floats.is_empty() { 5 } else { 4 }, &packed, &mut tensor);
        bytes(5, &tensor, &mut self.0);
    }

    fn node(
        &mut self,
        name: &str,
        operator: &str,
        inputs: &[&str],
        attribute: Option<(&str, f32)>,
    ) {
        let mut node = Vec::new();
        inputs.iter().for_each(|input| bytes(1, input.as_bytes(), &mut node));
        bytes(2, name.as_bytes(), &mut node);
        bytes(3, name.as_bytes(), &mut node);
        bytes(4, operator.as_bytes(), &mut node);
        if let Some((name, value)) = attribute {
            let mut attribute = Vec::new();
            bytes(1, name.as_bytes(), &mut attribute);
            varint(2 << 3 | 5, &mut attribute);
            attribute.extend(value.to_le_bytes());
            bytes(5, &attribute, &mut node);
        }
        bytes(1, &node, &mut self.0);
    }

    /// Bytes around `zero`, with a scale for each column of `[inputs, outputs]`; or one for all.
    fn quantised(
        &mut self,
        name: &str,
        kind: u64,
        zero: u8,
        weights: &[f32],
        outputs: usize,
        each: bool,
    ) {
        let inputs = weights.len() / outputs;
        let largest = |column: Option<usize>| {
            let values = weights.iter().enumerate();
            let of = values.filter(|(at, _)| column.is_none_or(|column| at % outputs == column));
            of.fold(0.0f32, |largest, (_, value)| largest.max(value.abs())) / 120.0
        };
        let scales: Vec<f32> = if each {
            (0..outputs).map(|at| largest(Some(at))).collect()
        } else {
            vec![largest(None)]
        };
        let scale = |at: usize| scales[if each { at % outputs } else { 0 }];
        let code = |(at, value): (usize, &f32)| (value / scale(at)).round() as i16 as u8;
        let codes: Vec<u8> =
            weights.iter().enumerate().map(|of| code(of).wrapping_add(zero)).collect();
        self.tensor(&format!("{name}_quantized"), kind, &[inputs, outputs], &codes);
        self.listed(&format!("{name}_scale"), FLOAT, &scales, &[]);
        self.listed(&format!("{name}_zero_point"), kind, &[], &vec![zero.into(); scales.len()]);
    }

    fn file(self) -> Vec<u8> {
        let mut file = Vec::new();
        number(1, 8, &mut file);
        bytes(7, &self.0, &mut file);
        file
    }
}

/// Rows as columns.
fn turned(values: &[f32], inputs: usize) -> Vec<f32> {
    let outputs = values.len() / inputs;
    (0..values.len()).map(|at| values[at % outputs * inputs + at / outputs]).collect()
}

/// What an export does with matrices.
#[derive(Clone, Copy, PartialEq)]
enum Export {
    Floats,
    /// Signed bytes around zero, by column.
    Signed,
    /// Bytes without a sign around another number, one scale for a matrix; tables too.
    Unsigned,
}

/// A model as it is exported.
fn exported(made: &Made, export: Export) -> Vec<u8> {
    let mut file = File::default();
    for (name, (shape, values)) in &made.tensors {
        let Some(layer) = name.strip_suffix(".weight").filter(|_| shape.len() == 2) else {
            if name.ends_with("layer.1.output.dense.bias") {
                // As it is where an equal one is stored already.
                file.floats("onnx::equal", shape, values);
                file.node(name, "Identity", &["onnx::equal"], None);
            } else {
                file.floats(name, shape, values);
            }
            continue;
        };
        if layer.ends_with("_embeddings") {
            match export {
                Export::Unsigned => file.quantised(name, UINT8, 124, values, shape[1], false),
                _ => file.floats(name, shape, values),
            }
            continue;
        }
        let inputs = shape[1];
        let is_head = layer.contains("classifier") || layer.contains("pooler");
        if is_head && export == Export::Floats {
            // With a row for each output, and its bias.
            file.floats(name, shape, values);
            let bias = format!("{layer}.bias");
            file.node(&format!("{layer}/sum"), "Gemm", &["x", name, &bias], None);
            continue;
        }
        // A head keeps its name where it is turned.
        let weight = if is_head { name.clone() } else { format!("onnx::MatMul_{layer}") };
        let values = turned(values, inputs);
        let product = format!("{layer}/product");
        if export == Export::Floats {
            file.floats(&weight, &[inputs, shape[0]], &values);
            file.node(&product, "MatMul", &["x", &weight], None);
        } else {
            let (kind, zero) = if export == Export::Signed { (INT8, 0) } else { (UINT8, 131) };
            file.quantised(&weight, kind, zero, &values, shape[0], export == Export::Signed);
            let [integers, cast, scale] =
                ["integers", "cast", "scale"].map(|part| format!("{layer}/{part}"));
            file.node(&integers, "MatMulInteger", &["x", &format!("{weight}_quantized")], None);
            file.node(&cast, "Cast", &[&integers], None);
            file.node(&scale, "Mul", &["x_scale", &format!("{weight}_scale")], None);
            file.node(&product, "Mul", &[&scale, &cast], None);
        }
        file.node(&format!("{layer}/sum"), "Add", &[&format!("{layer}.bias"), &product], None);
    }
    file.file()
}

fn texts() -> Vec<Vec<u32>> {
    (1..30).map(|n| (0..n).map(|at| (at * at + n) % VOCABULARY as u32).collect()).collect()
}

fn rows(model: &Model, output: usize) -> Vec<Vec<f32>> {
    let mut work = Workspace::default();
    model.run(&mut work, texts().iter().map(Vec::as_slice)).unwrap();
    let (_, width) = model.outputs().nth(output).unwrap();
    work.rows(output).chunks_exact(width).map(<[f32]>::to_vec).collect()
}

#[test]
fn exports_are_read_in_floats_and_quantised() {
    let level = Level::best();
    for made in [Made::bert(), Made::bert_classifier(), Made::roberta("roberta")] {
        let config = made.config();
        let original = Model::from_safetensors(&config, &made.weights(), level).unwrap();
        let plain = Plain { config: &made.config, tensors: &made.tensors };
        for export in [Export::Floats, Export::Signed, Export::Unsigned] {
            let file = exported(&made, export);
            let model = Model::from_onnx(&file, Some(&config), level).unwrap();
            assert!(model.outputs().eq(original.outputs()));
            let (found, expected) = (rows(&model, 0), rows(&original, 0));
            let is_classifier = model.outputs().any(|(name, _)| name == "logits");
            if export == Export::Floats && !is_classifier {
                assert_eq!(found, expected);
            }
            // All texts together: some have next to no logits.
            let least = if export == Export::Unsigned { 0.98 } else { 0.995 };
            let alike = cosine(&found.concat(), &expected.concat());
            assert!(alike > least, "{alike}");
            if !is_classifier {
                let plain: Vec<_> = texts().iter().map(|ids| plain.mean(ids)).collect();
                let alike = found.iter().zip(&plain).map(|(a, b)| cosine(a, b));
                assert!(alike.fold(1.0, f32::min) > least);
            }
        }
        let error = Model::from_onnx(&exported(&made, Export::Floats), None, level).err().unwrap();
        assert!(error.is_unsupported() && error.to_string().contains("config.json"), "{error}");
    }
}

/// The embedded encoder's file, of the tensors of a BERT; and the tensors of its heads.
fn embedded(made: &Made) -> (Vec<u8>, Vec<Vec<f32>>) {
    let mut file = File::default();
    let tensor = |name: &str| &made.tensors[name].1;
    file.floats("words", &[VOCABULARY, HIDDEN], tensor("embeddings.word_embeddings.weight"));
    let kind = tensor("embeddings.token_type_embeddings.weight")[..HIDDEN].iter().cycle();
    let positions = tensor("embeddings.position_embeddings.weight").iter().zip(kind);
    let positions: Vec<f32> = positions.map(|(a, b)| a + b).collect();
    file.floats("positions", &[POSITIONS, HIDDEN], &positions);
    file.node("embeddings.norm", "LayerNormalization", &["sum"], Some(("epsilon", 1e-5)));
    file.node("layer.0.heads.0", "Reshape", &["q", "shape"], None);
    let shape: Vec<u8> = [0, 0, 4, 16u64].iter().flat_map(|size| size.to_le_bytes()).collect();
    file.tensor("shape", INT64, &[4], &shape);
    let norm = |file: &mut File, name: &str, of: &str| {
        for part in ["weight", "bias"] {
            file.floats(&format!("{name}.{part}"), &[HIDDEN], tensor(&format!("{of}.{part}")));
        }
    };
    norm(&mut file, "embeddings.norm", "embeddings.LayerNorm");
    for layer in 0..LAYERS {
        let of = |part: &str| tensor(&format!("encoder.layer.{layer}.{part}")).clone();
        let name = |part: &str| format!("layer.{layer}.{part}");
        let joined = |part: &str| {
            // The scores' divisor is in the queries.
            let parts = [("query", 0.25), ("key", 1.0), ("value", 1.0)];
            let parts = parts.map(|(key, by)| (of(&format!("attention.self.{key}.{part}")), by));
            let scaled =
                parts.iter().flat_map(|(values, by)| values.iter().map(move |value| value * by));
            scaled.collect::<Vec<f32>>()
        };
        for (part, weights, biases, inputs) in [
            ("qkv", joined("weight"), joined("bias"), HIDDEN),
            (
                "attention.output",
                of("attention.output.dense.weight"),
                of("attention.output.dense.bias"),
                HIDDEN,
            ),
            (
                "intermediate",
                of("intermediate.dense.weight"),
                of("intermediate.dense.bias"),
                HIDDEN,
            ),
            ("output", of("output.dense.weight"), of("output.dense.bias"), INNER),
        ] {
            let (weights, weight) = (turned(&weights, inputs), name(&format!("{part}.weight")));
            file.quantised(&weight, INT8, 0, &weights, biases.len(), true);
            file.floats(&name(&format!("{part}.bias")), &[biases.len()], &biases);
        }
        norm(
            &mut file,
            &name("attention.output.norm"),
            &format!("encoder.layer.{layer}.attention.output.LayerNorm"),
        );
        norm(&mut file, &name("output.norm"), &format!("encoder.layer.{layer}.output.LayerNorm"));
    }
    let mut heads = Vec::new();
    for (seed, (name, inputs, outputs)) in (70u64..).zip([
        ("pool.scores", HIDDEN, 1),
        ("sentiment.dense", 3 * HIDDEN, 20),
        ("sentiment.logits", 20, LABELS),
        ("topics.logits", 3 * HIDDEN, 19),
    ]) {
        let mut state = seed;
        let weights = numbers(inputs * outputs, 0.3, &mut state);
        let biases = numbers(outputs, 0.3, &mut state);
        file.floats(&format!("{name}.weight"), &[inputs, outputs], &weights);
        file.floats(&format!("{name}.bias"), &[outputs], &biases);
        heads.extend([weights, biases]);
    }
    (file.file(), heads)
}

#[test]
fn the_embedded_encoder_has_its_three_outputs() {
    let made = Made::bert();
    let (file, heads) = embedded(&made);
    let model = Model::from_onnx(&file, None, Level::best()).unwrap();
    let outputs = [("sentiment", LABELS), ("topics", 19), ("embedding", HIDDEN)];
    assert_eq!(model.outputs().collect::<Vec<_>>(), outputs);
    let plain = Plain { config: &made.config, tensors: &made.tensors };
    let expected =
        texts().iter().map(|ids| plain_heads(&plain.states(ids), &heads)).collect::<Vec<_>>();
    for (output, found) in [2, 0, 1].into_iter().map(|output| rows(&model, output)).enumerate() {
        let expected: Vec<_> = expected.iter().map(|outputs| outputs[output].as_slice()).collect();
        // Of an embedding only the direction is told.
        if output == 0 {
            let alike = found.iter().zip(&expected).map(|(a, b)| cosine(a, b));
            assert!(alike.fold(1.0, f32::min) > 0.999);
        } else {
            let alike = cosine(&found.concat(), &expected.concat());
            assert!(alike > 0.999, "{alike}");
        }
    }
}

/// The mean, sentiment, topics, in the plainest way.
fn plain_heads(states: &[f32], heads: &[Vec<f32>]) -> [Vec<f32>; 3] {
    let product = |row: &[f32], weights: &[f32], biases: &[f32]| -> Vec<f32> {
        let output = |output: usize| -> f32 {
            row.iter().enumerate().map(|(i, x)| x * weights[i * biases.len() + output]).sum()
        };
        biases.iter().enumerate().map(|(at, bias)| output(at) + bias).collect()
    };
    let pool = |shares: &[f32]| -> Vec<f32> {
        let mut pooled = vec![0.0; HIDDEN];
        for (row, share) in states.chunks_exact(HIDDEN).zip(shares) {
            pooled.iter_mut().zip(row).for_each(|(pooled, x)| *pooled += share * x);
        }
        pooled
    };
    let rows = states.len() / HIDDEN;
    let mean = pool(&vec![1.0 / rows as f32; rows]);
    let scores = states.chunks_exact(HIDDEN).map(|row| product(row, &heads[0], &heads[1])[0].exp());
    let scores: Vec<f32> = scores.collect();
    let sum: f32 = scores.iter().sum();
    let shares: Vec<f32> = scores.iter().map(|score| score / sum).collect();
    let features = [mean.clone(), states[..HIDDEN].to_vec(), pool(&shares)].concat();
    let mut dense = product(&features, &heads[2], &heads[3]);
    dense.iter_mut().for_each(|x| *x = crate::plain::gelu(*x));
    [mean, product(&dense, &heads[4], &heads[5]), product(&features, &heads[6], &heads[7])]
}

#[test]
fn files_that_can_not_be_read_are_refused() {
    let made = Made::bert();
    let (file, _) = embedded(&made);
    for end in [0, 1, 5, file.len() / 2, file.len() - 1] {
        let error = Model::from_onnx(&file[..end], None, Level::Portable).err().unwrap();
        assert!(error.to_string().contains("not a whole ONNX file"), "{end}: {error}");
    }
    let mut other = File::default();
    other.floats("layer.0.qkv.bias", &[3], &[0.0; 3]);
    let error = Model::from_onnx(&other.file(), None, Level::Portable).err().unwrap();
    assert!(error.to_string().contains("layer.0.heads.0"), "{error}");

    let mut wrong = made.clone();
    wrong.tensors.get_mut("encoder.layer.2.output.dense.weight").unwrap().1[7] = f32::NAN;
    let file = exported(&wrong, Export::Floats);
    let error = Model::from_onnx(&file, Some(&made.config()), Level::Portable).err().unwrap();
    assert!(error.to_string().contains("NaN or infinite"), "{error}");

    let mut short = File::default();
    short.tensor("embeddings.word_embeddings.weight", FLOAT, &[VOCABULARY, HIDDEN], &[0; 12]);
    let error =
        Model::from_onnx(&short.file(), Some(&made.config()), Level::Portable).err().unwrap();
    assert!(error.to_string().contains("does not fit its shape"), "{error}");
}

proptest! {
    #[test]
    fn damaged_files_never_panic(at in any::<prop::sample::Index>(), byte: u8) {
        let (mut file, _) = embedded(&Made::bert());
        let at = at.index(2_000.min(file.len()));
        file[at] = byte;
        let _ = Model::from_onnx(&file, None, Level::Portable);
    }
}
