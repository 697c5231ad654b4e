//! The three models that ship inside the program.

use std::sync::{Arc, OnceLock};

use super::{
    features::Features,
    head::Head,
    script::{LANGUAGES, Writing},
};
use crate::{
    Language, ModelError, Sentiment, TOPIC_LABELS, Topics,
    labels::{index_of_max, softmax},
};

const SENTIMENT_FILE: &[u8] = include_bytes!("../../../../models/linear/sentiment.safetensors");
const TOPICS_FILE: &[u8] = include_bytes!("../../../../models/linear/topics.safetensors");
const LANGUAGE_FILE: &[u8] = include_bytes!("../../../../models/linear/language.safetensors");

/// The columns of the sentiment model: its labels, padded so that a row lies in one cache line.
pub const SENTIMENT_COLUMNS: usize = 4;
/// The columns of the topic model.
pub const TOPICS_COLUMNS: usize = 20;
/// The columns of the language model.
pub const LANGUAGE_COLUMNS: usize = 64;

/// The languages that sentiment and topics can read: what they were trained on.
const LANGUAGES_READ: [&str; 1] = ["en"];

/// Finds language, sentiment and topics of texts with the embedded linear models. Shared by all
/// threads; the weights are part of the program and are not copied.
#[derive(Debug)]
pub struct Analyzer {
    language: Head<'static, LANGUAGE_COLUMNS>,
    sentiment: Head<'static, SENTIMENT_COLUMNS>,
    topics: Head<'static, TOPICS_COLUMNS>,
}

impl Analyzer {
    /// The embedded models. They are read and checked when the first caller asks for them, once.
    ///
    /// # Errors
    ///
    /// When the program was built with weights that do not fit its featuriser.
    pub fn embedded() -> Result<Arc<Self>, ModelError> {
        static EMBEDDED: OnceLock<Result<Arc<Analyzer>, ModelError>> = OnceLock::new();
        EMBEDDED.get_or_init(|| Self::parse().map(Arc::new)).clone()
    }

    fn parse() -> Result<Self, ModelError> {
        let languages = LANGUAGES.map(|(code, _)| code);
        Ok(Self {
            language: Head::parse("language", &languages, LANGUAGE_FILE)?,
            sentiment: Head::parse("sentiment", &Sentiment::LABELS, SENTIMENT_FILE)?,
            topics: Head::parse("topics", &TOPIC_LABELS, TOPICS_FILE)?,
        })
    }

    /// The languages that sentiment and topics can read, ISO 639-1.
    pub fn languages_read(&self) -> &'static [&'static str] {
        &LANGUAGES_READ
    }

    /// The language; `None` where there are no letters of a known script.
    pub fn language(&self, features: &Features) -> Option<Language> {
        Self::language_by(&self.language, features)
    }

    /// The language according to a model with the columns of [`LANGUAGES`].
    pub fn language_by(head: &Head<'_, LANGUAGE_COLUMNS>, features: &Features) -> Option<Language> {
        let scripts = match features.writing()? {
            Writing::Own(code, confidence) => return Some(Language { code, confidence }),
            Writing::Shared(scripts) => scripts,
        };
        let mut logits = head.logits(features);
        for (index, logit) in logits.iter_mut().enumerate() {
            let is_possible =
                LANGUAGES.get(index).is_some_and(|(_, written)| written.meets(scripts));
            if !is_possible {
                *logit = f32::NEG_INFINITY;
            }
        }
        let probabilities = softmax(logits);
        let best = index_of_max(&probabilities);
        Some(Language { code: LANGUAGES[best].0, confidence: probabilities[best] })
    }

    /// The sentiment.
    pub fn sentiment(&self, features: &Features) -> Sentiment {
        let [negative, neutral, positive, _] = self.sentiment.logits(features);
        Sentiment::of_logits([negative, neutral, positive])
    }

    /// The topics.
    pub fn topics(&self, features: &Features) -> Topics {
        let padded = self.topics.logits(features);
        let mut logits = [0.0; TOPIC_LABELS.len()];
        for (logit, found) in logits.iter_mut().zip(padded) {
            *logit = found;
        }
        Topics::of_logits(logits)
    }
}
