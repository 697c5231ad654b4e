//! Small models that are made for a test.

use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, serialize, tensor::TensorView};
use serde_json::{Value, json};

/// The tensors of a model: their shapes and numbers.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The sizes of the models that are made.
pub(crate) const HIDDEN: usize = 64;
pub(crate) const INNER: usize = 128;
pub(crate) const LAYERS: usize = 3;
pub(crate) const VOCABULARY: usize = 90;
pub(crate) const POSITIONS: usize = 40;
pub(crate) const LABELS: usize = 3;

/// A model as two files.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) config: Value,
    pub(crate) tensors: Tensors,
}

/// Numbers that look random, from `-by` to `by`.
pub(crate) fn numbers(count: usize, by: f32, seed: &mut u64) -> Vec<f32> {
    let mut next = || {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(*seed >> 48).unwrap()) / 32_768.0 - 1.0
    };
    (0..count).map(|_| next() * by).collect()
}

impl Made {
    /// A BERT without a head.
    pub(crate) fn bert() -> Self {
        Self::new("bert", "", 2)
    }

    /// A BERT that classifies.
    pub(crate) fn bert_classifier() -> Self {
        let mut made = Self::new("bert", "bert.", 2);
        made.config["architectures"] = json!(["BertForSequenceClassification"]);
        made.linear("bert.pooler.dense", HIDDEN, HIDDEN, 8);
        made.linear("classifier", LABELS, HIDDEN, 9);
        made
    }

    /// A RoBERTa that classifies; XLM-RoBERTa is no other but for its name.
    pub(crate) fn roberta(family: &str) -> Self {
        let mut made = Self::new(family, "roberta.", 1);
        made.config["architectures"] = json!(["RobertaForSequenceClassification"]);
        made.config["pad_token_id"] = json!(1);
        made.linear("classifier.dense", HIDDEN, HIDDEN, 8);
        made.linear("classifier.out_proj", LABELS, HIDDEN, 9);
        made
    }

    fn new(family: &str, prefix: &str, types: usize) -> Self {
        let config = json!({
            "model_type": family,
            "hidden_size": HIDDEN,
            "num_attention_heads": 4,
            "num_hidden_layers": LAYERS,
            "intermediate_size": INNER,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": POSITIONS,
            "type_vocab_size": types,
        });
        let mut made = Self { config, tensors: Tensors::new() };
        let tables = [("word", VOCABULARY), ("position", POSITIONS), ("token_type", types)];
        for (seed, (table, rows)) in (1..).zip(tables) {
            let name = format!("{prefix}embeddings.{table}_embeddings.weight");
            made.put(&name, &[rows, HIDDEN], 1.0, seed);
        }
        made.norm(&format!("{prefix}embeddings.LayerNorm"), 4);
        for layer in 0..LAYERS {
            let name = |part: &str| format!("{prefix}encoder.layer.{layer}.{part}");
            let seed = 100 * (layer as u64 + 1);
            for (at, part) in (0..).zip(["query", "key", "value"]) {
                made.linear(&name(&format!("attention.self.{part}")), HIDDEN, HIDDEN, seed + at);
            }
            made.linear(&name("attention.output.dense"), HIDDEN, HIDDEN, seed + 4);
            made.norm(&name("attention.output.LayerNorm"), seed + 5);
            made.linear(&name("intermediate.dense"), INNER, HIDDEN, seed + 6);
            made.linear(&name("output.dense"), HIDDEN, INNER, seed + 7);
            made.norm(&name("output.LayerNorm"), seed + 8);
        }
        made
    }

    fn put(&mut self, name: &str, shape: &[usize], by: f32, mut seed: u64) {
        let values = numbers(shape.iter().product(), by, &mut seed);
        self.tensors.insert(name.to_owned(), (shape.to_vec(), values));
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize, seed: u64) {
        self.put(&format!("{name}.weight"), &[outputs, inputs], 0.3, seed);
        self.put(&format!("{name}.bias"), &[outputs], 0.3, seed + 50);
    }

    fn norm(&mut self, name: &str, seed: u64) {
        self.put(&format!("{name}.weight"), &[HIDDEN], 0.3, seed);
        let (_, scale) = self.tensors.get_mut(&format!("{name}.weight")).unwrap();
        scale.iter_mut().for_each(|value| *value += 1.0);
        self.put(&format!("{name}.bias"), &[HIDDEN], 0.2, seed + 50);
    }

    /// `config.json`.
    pub(crate) fn config(&self) -> Vec<u8> {
        self.config.to_string().into_bytes()
    }

    /// `model.safetensors`.
    pub(crate) fn weights(&self) -> Vec<u8> {
        let bytes: HashMap<&str, Vec<u8>> = self
            .tensors
            .iter()
            .map(|(name, (_, values))| {
                (name.as_str(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
            })
            .collect();
        let views = self.tensors.iter().map(|(name, (shape, _))| {
            (name, TensorView::new(Dtype::F32, shape.clone(), &bytes[name.as_str()]).unwrap())
        });
        serialize(views, None).unwrap()
    }
}
