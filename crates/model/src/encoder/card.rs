//! What a model says about itself: `encoder.json`, beside the model and its tokenizer.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{Normalisation, OutputSpec, tokenise::TOKENS_MIN};
use crate::{ModelError, Sentiment, TOPIC_LABELS, Topics};

/// The form of the file that is read here.
const FORMAT: u32 = 1;
/// Texts can't be longer than this many tokens: attention costs the square of it.
const TOKENS_MAX: usize = 512;
/// The largest embedding that is taken.
const EMBEDDING_WIDTH_MAX: usize = 4096;

/// The file `encoder.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Card {
    /// Its form.
    format: u32,
    /// The checksums of the files beside it.
    sha256: Checksums,
    /// The tokens of a text, those that begin and end it included; what goes beyond is left unread.
    pub tokens_max: usize,
    /// What is done to a text before it is cut into tokens.
    #[serde(default)]
    pub normalisation: Normalisation,
    sentiment: Head,
    topics: Head,
    embedding: Embedding,
}

/// SHA-256 of files, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Checksums {
    #[serde(rename = "encoder.onnx")]
    model: String,
    #[serde(rename = "tokenizer.json")]
    tokenizer: String,
}

/// How an output of the model becomes probabilities.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Head {
    /// What its columns stand for.
    labels: Vec<String>,
    /// What the model's logits are multiplied with: one over the temperature, as it was fitted to
    /// texts that the model had not seen.
    encoder_weight: f32,
    /// What the linear model's logits are multiplied with; 0 where it has no say.
    #[serde(default)]
    linear_weight: f32,
    /// What is added, one for each label; none is 0.
    #[serde(default)]
    bias: Vec<f32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Embedding {
    width: usize,
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
        if self.format != FORMAT {
            return Err(format!("its form is {}, and this program reads {FORMAT}", self.format));
        }
        if !(TOKENS_MIN..=TOKENS_MAX).contains(&self.tokens_max) {
            let allowed = format!("{TOKENS_MIN} to {TOKENS_MAX}");
            return Err(format!("`tokens_max` is {}, not {allowed}", self.tokens_max));
        }
        if !(1..=EMBEDDING_WIDTH_MAX).contains(&self.embedding.width) {
            let allowed = format!("1 to {EMBEDDING_WIDTH_MAX}");
            return Err(format!("`embedding.width` is {}, not {allowed}", self.embedding.width));
        }
        self.sentiment.check("sentiment", &Sentiment::LABELS)?;
        self.topics.check("topics", &TOPIC_LABELS)
    }

    /// Refuses files that are not those which the card was written for.
    pub(super) fn check_files(&self, files: [(&str, &[u8]); 2]) -> Result<(), ModelError> {
        let wanted = [&self.sha256.model, &self.sha256.tokenizer];
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
        let output = |name: &str, width| OutputSpec { name: name.to_owned(), width };
        [
            output("sentiment", Sentiment::LABELS.len()),
            output("topics", TOPIC_LABELS.len()),
            output("embedding", self.embedding.width),
        ]
    }

    /// The sentiment, out of the model's logits and what the linear model says.
    pub(super) fn sentiment(&self, logits: [f32; 3], linear: Sentiment) -> Sentiment {
        let linear = linear.probabilities().map(|probability| probability.max(LEAST).ln());
        Sentiment::of_logits(self.sentiment.blend(logits, linear))
    }

    /// The topics, out of the model's logits and what the linear model says.
    pub(super) fn topics(&self, logits: [f32; TOPIC_LABELS.len()], linear: Topics) -> Topics {
        let logit = |score: f32| {
            let score = score.clamp(LEAST, 1.0 - f32::EPSILON);
            (score / (1.0 - score)).ln()
        };
        Topics::of_logits(self.topics.blend(logits, linear.scores.map(logit)))
    }
}

/// No probability counts as less, so that its logarithm is a number.
const LEAST: f32 = 1e-7;

impl Head {
    fn check(&self, name: &str, labels: &[&str]) -> Result<(), String> {
        if self.labels != labels {
            let (found, wanted) = (self.labels.join(", "), labels.join(", "));
            return Err(format!("the labels of `{name}` are {found}; they must be {wanted}"));
        }
        if !self.bias.is_empty() && self.bias.len() != labels.len() {
            let (found, wanted) = (self.bias.len(), labels.len());
            return Err(format!("`{name}.bias` has {found} numbers, not {wanted}"));
        }
        let is_sound = self.encoder_weight.is_finite()
            && self.encoder_weight > 0.0
            && self.linear_weight.is_finite()
            && self.linear_weight >= 0.0
            && self.bias.iter().all(|bias| bias.is_finite());
        if is_sound { Ok(()) } else { Err(format!("the weights of `{name}` are no weights")) }
    }

    fn blend<const N: usize>(&self, encoder: [f32; N], linear: [f32; N]) -> [f32; N] {
        std::array::from_fn(|label| {
            let bias = self.bias.get(label).copied().unwrap_or(0.0);
            self.encoder_weight * encoder[label] + self.linear_weight * linear[label] + bias
        })
    }
}
