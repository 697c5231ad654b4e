//! What a model says of itself, in the files that Hugging Face's libraries write.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::labels;
use crate::encoder::{Pooling, TOKENS_MAX};

/// Model types that count the places of tokens from the one behind the padding token's id, as
/// RoBERTa did: so many places fewer are left for a text
/// (<https://github.com/huggingface/transformers>, `create_position_ids_from_input_ids`).
const OFFSET_TYPES: [&str; 8] = [
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
];
/// What the classes end with whose models are no classifiers of texts.
const OTHER_ARCHITECTURES: [&str; 6] = [
    "ForCausalLM",
    "ForConditionalGeneration",
    "ForMaskedLM",
    "ForQuestionAnswering",
    "ForTokenClassification",
    "Model",
];

/// `config.json`. Whatever is of another kind than it should be is as if it were not there: most of
/// it is not needed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    model_type: Value,
    #[serde(default)]
    architectures: Value,
    #[serde(default)]
    id2label: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    problem_type: Value,
    #[serde(default)]
    max_position_embeddings: Value,
    #[serde(default)]
    pad_token_id: Value,
    /// What it was made from.
    #[serde(default, rename = "_name_or_path")]
    origin: Value,
}

impl Config {
    /// The name of the model that this one was made from.
    pub(super) fn origin(&self) -> Option<&str> {
        self.origin.as_str()
    }

    /// The token that fills up shorter texts.
    pub(super) fn padding(&self) -> u32 {
        let id = self.pad_token_id.as_u64().and_then(|id| u32::try_from(id).ok());
        id.unwrap_or(0)
    }

    /// The labels, in the order of the outputs.
    pub(super) fn labels(&self) -> Result<Vec<String>, String> {
        let Some(by_id) = &self.id2label else {
            return Err("it has no `id2label`: it is no classifier".to_owned());
        };
        if let Some(other) = self.other_architecture() {
            let other = other.escape_debug();
            return Err(format!("the model is a {other}, and no classifier of texts"));
        }
        let label = |id: usize| match by_id.get(&id.to_string()) {
            Some(Value::String(label)) => Ok(label.clone()),
            _ => Err(format!("`id2label` has {} entries, and no text for {id}", by_id.len())),
        };
        let found = (0..by_id.len()).map(label).collect::<Result<Vec<_>, _>>()?;
        labels::check(&found)?;
        Ok(found)
    }

    fn other_architecture(&self) -> Option<&str> {
        let is_other = |name: &&str| OTHER_ARCHITECTURES.iter().any(|end| name.ends_with(end));
        self.architectures.as_array()?.iter().filter_map(Value::as_str).find(is_other)
    }

    /// Whether each label stands for itself (`multi_label_classification`), instead of one of them.
    pub(super) fn is_multi_label(&self) -> Result<bool, String> {
        match self.problem_type.as_str() {
            Some("regression") => {
                Err("the model gives a number (`regression`), no label".to_owned())
            }
            problem_type => Ok(problem_type == Some("multi_label_classification")),
        }
    }

    /// The most tokens that a text may have: as many as the model has places for, as the tokenizer
    /// is set to, and as this program takes.
    pub(super) fn tokens_max<'a>(&self, others: impl IntoIterator<Item = &'a Limits>) -> usize {
        let size = |value: &Value| value.as_f64().filter(|size| *size >= 1.0);
        let model_type = self.model_type.as_str().unwrap_or_default();
        let offset =
            if OFFSET_TYPES.contains(&model_type) { f64::from(self.padding()) + 1.0 } else { 0.0 };
        let places = size(&self.max_position_embeddings).map(|places| places - offset);
        let further = others
            .into_iter()
            .flat_map(|limits| [&limits.model_max_length, &limits.max_seq_length]);
        #[expect(clippy::cast_precision_loss, reason = "512")]
        let most =
            places.into_iter().chain(further.filter_map(size)).fold(TOKENS_MAX as f64, f64::min);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "to 512")]
        let most = most.max(0.0) as usize;
        most
    }
}

/// What `tokenizer_config.json` and `sentence_bert_config.json` say of lengths.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Limits {
    /// `1e30` where nobody has set it.
    #[serde(default)]
    model_max_length: Value,
    #[serde(default)]
    max_seq_length: Value,
}

/// `1_Pooling/config.json` of sentence-transformers: one of its members is true.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PoolingConfig {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
}

impl PoolingConfig {
    /// How the rows of tokens become one.
    pub(super) fn pooling(&self) -> Result<Pooling, String> {
        match (self.pooling_mode_cls_token, self.pooling_mode_mean_tokens) {
            (true, false) => Ok(Pooling::First),
            (false, true) => Ok(Pooling::Mean),
            _ => Err("it asks for another pooling than the mean or the first token".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    fn limits(value: Value) -> Limits {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_text_may_be_as_long_as_all_say() {
        let roberta =
            json!({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1});
        let bert = json!({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0});
        let short =
            json!({"model_type": "roberta", "max_position_embeddings": 130, "pad_token_id": 1});
        let long = json!({"model_type": "modernbert", "max_position_embeddings": 8192});
        let unset = limits(json!({"model_max_length": 1e30}));
        let of = |value: &Value, others: &[&Limits]| {
            config(value.clone()).tokens_max(others.iter().copied())
        };
        assert_eq!(of(&roberta, &[&unset]), 512);
        assert_eq!(of(&bert, &[]), 512);
        assert_eq!(of(&short, &[&unset]), 128);
        assert_eq!(of(&long, &[]), 512);
        let sentences = limits(json!({"max_seq_length": 256, "do_lower_case": false}));
        assert_eq!(of(&bert, &[&unset, &sentences]), 256);
        assert_eq!(of(&json!({"max_position_embeddings": "many", "pad_token_id": -1}), &[]), 512);
        assert_eq!(of(&json!({"model_type": "roberta", "max_position_embeddings": 1}), &[]), 0);
    }

    #[test]
    fn labels_come_in_the_order_of_the_outputs() {
        let labels = |value: Value| config(value).labels();
        let ten: BTreeMap<String, String> =
            (0..11).map(|n| (n.to_string(), format!("l{n}"))).collect();
        assert_eq!(labels(json!({"id2label": ten})).unwrap()[10], "l10");
        for (value, problem) in [
            (json!({}), "no `id2label`"),
            (json!({"id2label": {"0": "a", "2": "b"}}), "no text for 1"),
            (json!({"id2label": {"0": "a", "1": 7}}), "no text for 1"),
            (json!({"id2label": {"0": "a"}}), "1 labels"),
            (
                json!({"id2label": {"0": "a", "1": "b"}, "architectures": ["RobertaForMaskedLM"]}),
                "the model is a RobertaForMaskedLM",
            ),
        ] {
            assert!(labels(value.clone()).unwrap_err().contains(problem), "{value}");
        }
        let classifier = json!({"id2label": {"0": "a", "1": "b"}, "architectures": ["BertForSequenceClassification"]});
        assert_eq!(labels(classifier).unwrap(), ["a", "b"]);
    }

    #[test]
    fn the_kind_of_problem_is_as_the_model_says() {
        let kind = |value: Value| config(json!({"problem_type": value})).is_multi_label();
        assert!(kind(json!("multi_label_classification")).unwrap());
        assert!(
            !kind(json!("single_label_classification")).unwrap() && !kind(json!(null)).unwrap()
        );
        assert!(kind(json!("regression")).unwrap_err().contains("regression"));
    }
}
