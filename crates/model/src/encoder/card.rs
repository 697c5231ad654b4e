//! What a model says about itself: `encoder.json`, beside the model and its tokenizer.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{OutputSpec, Rule, tokenise::TOKENS_MIN};
use crate::{ModelError, Sentiment, TOPIC_LABELS, Topics};

/// The form of the file that is read here.
const VERSION: u32 = 1;
/// Texts can't be longer than this many tokens: attention costs the square of it.
pub(crate) const TOKENS_MAX: usize = 512;
/// The largest embedding that is taken.
pub(crate) const EMBEDDING_SIZE_MAX: usize = 4096;
/// No probability counts as less, so that its logarithm is a number.
const PROBABILITY_MIN: f32 = 1e-7;

/// The file `encoder.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Card {
    version: u32,
    onnx: Checksum,
    tokenizer: Checksum,
    /// The tokens of a text, those that begin and end it included; what goes beyond is left unread.
    pub length_max: usize,
    /// What is done to a text before it is cut into tokens, in this order.
    #[serde(default)]
    pub normalisation: Vec<Rule>,
    sentiment: Head,
    topics: Head,
    embedding: Embedding,
}

/// What says that a file is the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Checksum {
    /// Hexadecimal.
    sha256: String,
}

/// How an output of the model becomes probabilities.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Head {
    /// What its columns stand for.
    labels: Vec<String>,
    /// What the model's logits are multiplied with. The temperature is in it, fitted to texts that
    /// the model had not seen.
    encoder: f32,
    /// What the linear model's logits are multiplied with; 0 where it has no say.
    linear: f32,
    /// What is added, one for each label.
    bias: Vec<f32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Embedding {
    size: usize,
}

impl Card {
    /// Reads the file and checks that it means what this program means. `name` is that of the file,
    /// for errors.
    ///
    /// # Errors
    ///
    /// When it is damaged, has other labels, or numbers that can't be.
    pub fn parse(name: &str, file: &[u8]) -> Result<Self, ModelError> {
        let failed = |problem: String| ModelError::new(name, problem);
        let card: Self = serde_json::from_slice(file)
            .map_err(|error| failed(format!("not the description of an encoder: {error}")))?;
        card.check().map_err(failed)?;
        Ok(card)
    }

    fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("it is of version {}; this program reads {VERSION}", self.version));
        }
        if !(TOKENS_MIN..=TOKENS_MAX).contains(&self.length_max) {
            let allowed = format!("{TOKENS_MIN} to {TOKENS_MAX}");
            return Err(format!("`length_max` is {}, not {allowed}", self.length_max));
        }
        if !(1..=EMBEDDING_SIZE_MAX).contains(&self.embedding.size) {
            let allowed = format!("1 to {EMBEDDING_SIZE_MAX}");
            return Err(format!("`embedding.size` is {}, not {allowed}", self.embedding.size));
        }
        self.sentiment.check("sentiment", &Sentiment::LABELS)?;
        self.topics.check("topics", &TOPIC_LABELS)
    }

    /// Refuses files that are not those which the card was written for.
    pub(super) fn check_files(&self, files: [(&str, &[u8]); 2]) -> Result<(), ModelError> {
        let wanted = [&self.onnx.sha256, &self.tokenizer.sha256];
        for ((name, file), wanted) in files.into_iter().zip(wanted) {
            let digest = Sha256::digest(file);
            let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            if !found.eq_ignore_ascii_case(wanted) {
                let bytes = file.len();
                return Err(ModelError::new(
                    name,
                    format!(
                        "its SHA-256 is {found} ({bytes} bytes), and `encoder.json` says {wanted}: \
                         it is damaged or of another version; fetch all files again"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The outputs that the model must have.
    pub(super) fn outputs(&self) -> [OutputSpec; 3] {
        [
            OutputSpec::row("sentiment", Sentiment::LABELS.len()),
            OutputSpec::row("topics", TOPIC_LABELS.len()),
            OutputSpec::row("embedding", self.embedding.size),
        ]
    }

    /// The sentiment, out of the model's logits and what the linear model says.
    pub(super) fn sentiment(&self, logits: [f32; 3], linear: Sentiment) -> Sentiment {
        let linear =
            linear.probabilities().map(|probability| probability.max(PROBABILITY_MIN).ln());
        Sentiment::of_logits(self.sentiment.blend(logits, linear))
    }

    /// The topics, out of the model's logits and what the linear model says.
    pub(super) fn topics(&self, logits: [f32; TOPIC_LABELS.len()], linear: &Topics) -> Topics {
        let logit = |label| {
            let score = linear.score(label).unwrap_or_default();
            let score = score.clamp(PROBABILITY_MIN, 1.0 - f32::EPSILON);
            (score / (1.0 - score)).ln()
        };
        Topics::of_logits(self.topics.blend(logits, TOPIC_LABELS.map(logit)))
    }
}

impl Head {
    fn check(&self, name: &str, labels: &[&str]) -> Result<(), String> {
        if self.labels != labels {
            let (found, wanted) = (self.labels.join(", "), labels.join(", "));
            return Err(format!("the labels of `{name}` are {found}; they must be {wanted}"));
        }
        if self.bias.len() != labels.len() {
            let (found, wanted) = (self.bias.len(), labels.len());
            return Err(format!("`{name}.bias` has {found} numbers, not {wanted}"));
        }
        let is_sound = self.encoder.is_finite()
            && self.encoder > 0.0
            && self.linear.is_finite()
            && self.linear >= 0.0
            && self.bias.iter().all(|bias| bias.is_finite());
        if is_sound { Ok(()) } else { Err(format!("the weights of `{name}` are no weights")) }
    }

    /// The logits of both together. [`Head::check`] has seen to it that there are `N` labels.
    fn blend<const N: usize>(&self, encoder: [f32; N], linear: [f32; N]) -> [f32; N] {
        std::array::from_fn(|label| {
            self.encoder * encoder[label] + self.linear * linear[label] + self.bias[label]
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn card() -> Value {
        json!({
            "version": 1,
            "onnx": { "sha256": "00" },
            "tokenizer": { "sha256": "00" },
            "length_max": 128,
            "embedding": { "size": 384 },
            "sentiment": {
                "labels": Sentiment::LABELS, "encoder": 0.5, "linear": 0.25, "bias": [0.0, 0.1, 0.0],
            },
            "topics": {
                "labels": TOPIC_LABELS, "encoder": 1.0, "linear": 0.0, "bias": vec![0.5; 19],
            },
        })
    }

    fn parse(card: &Value) -> Result<Card, ModelError> {
        Card::parse("encoder.json", card.to_string().as_bytes())
    }

    #[test]
    fn logits_are_blended_as_the_card_says() {
        let card = parse(&card()).unwrap();
        let linear = Sentiment { negative: 0.2, neutral: 0.3, positive: 0.5 };
        let found = card.sentiment([2.0, 0.0, -1.0], linear).probabilities();
        let powers = [
            (1.0f32 + 0.25 * 0.2f32.ln()).exp(),
            (0.1f32 + 0.25 * 0.3f32.ln()).exp(),
            (-0.5f32 + 0.25 * 0.5f32.ln()).exp(),
        ];
        let sum: f32 = powers.iter().sum();
        for (found, power) in found.iter().zip(powers) {
            assert!((found - power / sum).abs() < 1e-6, "{found} {}", power / sum);
        }
        let topics = card.topics([-0.5; 19], &Topics::new(&TOPIC_LABELS, vec![1.0; 19]));
        assert!(topics.scores.iter().all(|score| (score - 0.5).abs() < 1e-6));
    }

    #[test]
    fn certainties_of_the_linear_model_stay_numbers() {
        let mut card = card();
        card["topics"]["linear"] = json!(1.0);
        let card = parse(&card).unwrap();
        let sure = Sentiment { negative: 0.0, neutral: 0.0, positive: 1.0 };
        assert!(card.sentiment([0.0; 3], sure).probabilities().iter().all(|p| p.is_finite()));
        for score in [0.0, 1.0] {
            let topics = card.topics([0.0; 19], &Topics::new(&TOPIC_LABELS, vec![score; 19]));
            assert!(topics.scores.iter().all(|score| score.is_finite()));
        }
    }

    #[test]
    fn a_card_that_means_something_else_is_refused_with_the_reason() {
        let mut swapped = Sentiment::LABELS;
        swapped.swap(0, 2);
        for (path, value, reason) in [
            ("/version", json!(2), "version 2"),
            ("/length_max", json!(4), "`length_max` is 4"),
            ("/length_max", json!(100_000), "`length_max` is 100000"),
            ("/embedding/size", json!(0), "`embedding.size` is 0"),
            ("/sentiment/labels", json!(swapped), "the labels of `sentiment` are positive"),
            ("/topics/labels", json!(["x"]), "the labels of `topics` are x"),
            ("/topics/bias", json!([1.0]), "`topics.bias` has 1 numbers"),
            ("/topics/encoder", json!(0.0), "the weights of `topics`"),
            ("/sentiment/linear", json!(-1.0), "the weights of `sentiment`"),
            ("/sentiment", json!(null), "not the description of an encoder"),
        ] {
            let mut card = card();
            *card.pointer_mut(path).unwrap() = value;
            let error = parse(&card).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("encoder.json"), "{path}: {error}");
        }
        assert!(Card::parse("c", b"").is_err() && Card::parse("c", b"[]").is_err());
    }
}
