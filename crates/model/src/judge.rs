//! What texts are like: the word of the linear models, or of an encoder together with them.

use std::sync::Arc;

use crate::{
    ModelError, Sentiment, Topics,
    encoder::{Encoder, Reading},
    linear::{Analyzer, Features},
};

/// Says what texts are like. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Judge {
    analyzer: Arc<Analyzer>,
    encoder: Option<Arc<Encoder>>,
}

impl Judge {
    /// The embedded linear models, and an encoder where one is to have its say.
    ///
    /// # Errors
    ///
    /// When the embedded models can't be used.
    pub fn new(encoder: Option<Arc<Encoder>>) -> Result<Self, ModelError> {
        Ok(Self { analyzer: Analyzer::embedded()?, encoder })
    }

    /// The linear models.
    pub fn analyzer(&self) -> &Analyzer {
        &self.analyzer
    }

    /// The encoder, by which texts have to be read first.
    pub fn encoder(&self) -> Option<&Encoder> {
        self.encoder.as_deref()
    }

    /// The sentiment of a text that the encoder, where there is one, has read.
    pub fn sentiment(&self, features: &Features, reading: Option<&Reading>) -> Sentiment {
        let linear = self.analyzer.sentiment(features);
        match (self.encoder(), reading) {
            (Some(encoder), Some(reading)) => encoder.sentiment(reading, linear),
            _ => linear,
        }
    }

    /// The topics of a text that the encoder, where there is one, has read.
    pub fn topics(&self, features: &Features, reading: Option<&Reading>) -> Topics {
        let linear = self.analyzer.topics(features);
        match (self.encoder(), reading) {
            (Some(encoder), Some(reading)) => encoder.topics(reading, linear),
            _ => linear,
        }
    }
}
