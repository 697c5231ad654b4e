//! The same models in the plainest way: 32-bit floats, one text at a time, loops.

use serde_json::Value;

use crate::made::Tensors;

/// A model in floats.
pub(crate) struct Plain<'a> {
    pub(crate) config: &'a Value,
    pub(crate) tensors: &'a Tensors,
}

impl Plain<'_> {
    fn size(&self, name: &str) -> usize {
        usize::try_from(self.config[name].as_u64().unwrap()).unwrap()
    }

    /// A tensor, whatever its model puts before names.
    fn tensor(&self, name: &str) -> &[f32] {
        let prefixed = ["", "bert.", "roberta."].map(|prefix| format!("{prefix}{name}"));
        let found = prefixed.iter().find_map(|name| self.tensors.get(name));
        &found.unwrap_or_else(|| panic!("no {name}")).1
    }

    /// `rows * weight + bias`, for a weight with a row for each output.
    fn linear(&self, name: &str, rows: &[f32]) -> Vec<f32> {
        let bias = self.tensor(&format!("{name}.bias"));
        let weight = self.tensor(&format!("{name}.weight"));
        let inputs = weight.len() / bias.len();
        let value = |row: &[f32], (weight, bias): (&[f32], &f32)| -> f32 {
            row.iter().zip(weight).map(|(a, b)| a * b).sum::<f32>() + bias
        };
        let rows = rows.chunks_exact(inputs);
        rows.flat_map(|row| weight.chunks_exact(inputs).zip(bias).map(move |of| value(row, of)))
            .collect()
    }

    fn norm(&self, name: &str, rows: &mut [f32]) {
        let scale = self.tensor(&format!("{name}.weight"));
        let shift = self.tensor(&format!("{name}.bias"));
        let epsilon = self.config["layer_norm_eps"].as_f64().unwrap() as f32;
        for row in rows.chunks_exact_mut(scale.len()) {
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let count = row.len() as f32;
            let mean = row.iter().sum::<f32>() / count;
            let spread = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / count;
            for (x, (scale, shift)) in row.iter_mut().zip(scale.iter().zip(shift)) {
                *x = (*x - mean) / (spread + epsilon).sqrt() * scale + shift;
            }
        }
    }

    fn attention(&self, layer: &str, rows: &[f32]) -> Vec<f32> {
        let (hidden, heads) = (self.size("hidden_size"), self.size("num_attention_heads"));
        let size = hidden / heads;
        let [q, k, v] = ["query", "key", "value"]
            .map(|part| self.linear(&format!("{layer}.attention.self.{part}"), rows));
        let length = rows.len() / hidden;
        let mut mixed = vec![0.0; rows.len()];
        for (row, head) in (0..length).flat_map(|row| (0..heads).map(move |head| (row, head))) {
            let part = |of: &[f32], row: usize| of[row * hidden + head * size..][..size].to_vec();
            let score = |key: usize| -> f32 {
                part(&q, row).iter().zip(part(&k, key)).map(|(a, b)| a * b).sum()
            };
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let divisor = (size as f32).sqrt();
            let shares: Vec<f32> = (0..length).map(|key| (score(key) / divisor).exp()).collect();
            let sum: f32 = shares.iter().sum();
            for (key, share) in shares.iter().enumerate() {
                let to = &mut mixed[row * hidden + head * size..][..size];
                to.iter_mut().zip(part(&v, key)).for_each(|(to, v)| *to += share / sum * v);
            }
        }
        mixed
    }

    /// The last states of a text.
    pub(crate) fn states(&self, ids: &[u32]) -> Vec<f32> {
        let hidden = self.size("hidden_size");
        let row = |table: &str, row: usize| {
            self.tensor(&format!("embeddings.{table}_embeddings.weight"))[row * hidden..][..hidden]
                .to_vec()
        };
        // RoBERTa's: <https://github.com/huggingface/transformers>,
        // `create_position_ids_from_input_ids`. The padding's place is its id, and it is not counted.
        let padding = if self.config["model_type"] == "bert" { None } else { Some(1) };
        let mut states = Vec::new();
        let mut place = padding.map_or(0, |id| id as usize + 1);
        for id in ids {
            let at = if Some(*id) == padding { *id as usize } else { place };
            place += usize::from(Some(*id) != padding);
            let (word, position) = (row("word", *id as usize), row("position", at));
            let kind = row("token_type", 0);
            states.extend((0..hidden).map(|i| word[i] + position[i] + kind[i]));
        }
        self.norm("embeddings.LayerNorm", &mut states);
        for layer in 0..self.size("num_hidden_layers") {
            let layer = format!("encoder.layer.{layer}");
            let mixed = self.attention(&layer, &states);
            let added = self.linear(&format!("{layer}.attention.output.dense"), &mixed);
            states.iter_mut().zip(added).for_each(|(state, added)| *state += added);
            self.norm(&format!("{layer}.attention.output.LayerNorm"), &mut states);
            let mut inner = self.linear(&format!("{layer}.intermediate.dense"), &states);
            inner.iter_mut().for_each(|x| *x = gelu(*x));
            let added = self.linear(&format!("{layer}.output.dense"), &inner);
            states.iter_mut().zip(added).for_each(|(state, added)| *state += added);
            self.norm(&format!("{layer}.output.LayerNorm"), &mut states);
        }
        states
    }

    /// The mean of the last states.
    pub(crate) fn mean(&self, ids: &[u32]) -> Vec<f32> {
        let hidden = self.size("hidden_size");
        let mut mean = vec![0.0; hidden];
        for row in self.states(ids).chunks_exact(hidden) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x);
        }
        mean
    }

    /// What a classifier says: these two layers over the first state.
    pub(crate) fn logits(&self, ids: &[u32], dense: &str, labels: &str) -> Vec<f32> {
        let states = self.states(ids);
        let mut pooled = self.linear(dense, &states[..self.size("hidden_size")]);
        pooled.iter_mut().for_each(|x| *x = x.tanh());
        self.linear(labels, &pooled)
    }
}

/// By the error function's approximation 7.1.26 of Abramowitz and Stegun, to 1.5e-7.
pub(crate) fn gelu(x: f32) -> f32 {
    let z = (x / std::f32::consts::SQRT_2).abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let factors = [1.061_405_4, -1.453_152_1, 1.421_413_8, -0.284_496_74, 0.254_829_6];
    let erf = 1.0 - factors.iter().fold(0.0, |sum, factor| sum * t + factor) * t * (-z * z).exp();
    0.5 * x * (1.0 + erf.copysign(x))
}

/// The cosine between two rows.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}
