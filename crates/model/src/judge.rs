//! What texts are like: the word of the linear models, of an encoder together with them, or of a
//! model by name.

use std::sync::Arc;

use crate::{
    ModelError, Sentiment, TOPIC_LABELS, Topics,
    encoder::{self, Encoder},
    hugging_face::{Classifier, Embedder, Said},
    linear::{Analyzer, Features},
};

/// Says what texts are like. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Judge {
    analyzer: Arc<Analyzer>,
    reader: Reader,
}

/// Who reads texts before anything is said of them.
#[derive(Debug, Clone)]
pub enum Reader {
    /// Nobody: the linear models have their say alone.
    None,
    /// The encoder.
    Encoder(Arc<Encoder>),
    /// A classifier by name. It says either sentiment or topics; of the other, and of language, the
    /// linear models say what there is to say.
    Classifier(Arc<Classifier>),
    /// An encoder by name, which gives nothing but embeddings.
    Embedder(Arc<Embedder>),
}

/// What a [`Reader`] has read out of a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// The encoder's.
    Encoder(encoder::Reading),
    /// What a classifier says.
    Said(Said),
    /// An embedding.
    Embedding(Vec<f32>),
}

impl Reading {
    /// The embedding, where there is one.
    pub fn embedding(&self) -> Option<&[f32]> {
        match self {
            Self::Encoder(reading) => Some(&reading.embedding),
            Self::Embedding(embedding) => Some(embedding),
            Self::Said(_) => None,
        }
    }
}

impl Judge {
    /// The embedded linear models, and who is to have its say with them or in their place.
    ///
    /// # Errors
    ///
    /// When the embedded models can't be used.
    pub fn new(reader: Reader) -> Result<Self, ModelError> {
        Ok(Self { analyzer: Analyzer::embedded()?, reader })
    }

    /// The linear models.
    pub fn analyzer(&self) -> &Analyzer {
        &self.analyzer
    }

    /// Who reads texts first.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Reads texts, in their order, by whoever has to read them first; none are read where nobody
    /// has to. Waits for the threads that compute.
    pub fn read<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Result<Reading, ModelError>> {
        fn all<T>(
            read: Vec<Result<T, ModelError>>,
            reading: impl Fn(T) -> Reading,
        ) -> Vec<Result<Reading, ModelError>> {
            read.into_iter().map(|read| read.map(&reading)).collect()
        }
        match &self.reader {
            Reader::None => Vec::new(),
            Reader::Encoder(encoder) => all(encoder.read(texts), Reading::Encoder),
            Reader::Classifier(classifier) => all(classifier.read(texts), Reading::Said),
            Reader::Embedder(embedder) => all(embedder.read(texts), Reading::Embedding),
        }
    }

    /// What runs the model of whoever reads texts first, for people.
    pub fn runtime(&self) -> Option<&'static str> {
        match &self.reader {
            Reader::None => None,
            Reader::Encoder(encoder) => Some(encoder.runtime()),
            Reader::Classifier(classifier) => Some(classifier.runtime()),
            Reader::Embedder(embedder) => Some(embedder.runtime()),
        }
    }

    /// Why a faster runtime does not run that model, where one was passed over.
    pub fn passed_over(&self) -> Option<&str> {
        match &self.reader {
            Reader::None => None,
            Reader::Encoder(encoder) => encoder.passed_over(),
            Reader::Classifier(classifier) => classifier.passed_over(),
            Reader::Embedder(embedder) => embedder.passed_over(),
        }
    }

    /// The topics that it tells apart.
    pub fn topic_labels(&self) -> &'static [&'static str] {
        match &self.reader {
            Reader::Classifier(classifier) if !classifier.topics().is_empty() => {
                classifier.topics()
            }
            _ => &TOPIC_LABELS,
        }
    }

    /// The sentiment of a text that was read, where somebody had to read it.
    pub fn sentiment(&self, features: &Features, reading: Option<&Reading>) -> Sentiment {
        if let Some(Reading::Said(Said::Sentiment(said))) = reading {
            return *said;
        }
        let linear = self.analyzer.sentiment(features);
        match (&self.reader, reading) {
            (Reader::Encoder(encoder), Some(Reading::Encoder(reading))) => {
                encoder.sentiment(reading, linear)
            }
            _ => linear,
        }
    }

    /// The topics of a text that was read, where somebody had to read it.
    pub fn topics(&self, features: &Features, reading: Option<&Reading>) -> Topics {
        if let Some(Reading::Said(Said::Topics(said))) = reading {
            return said.clone();
        }
        let linear = self.analyzer.topics(features);
        match (&self.reader, reading) {
            (Reader::Encoder(encoder), Some(Reading::Encoder(reading))) => {
                encoder.topics(reading, &linear)
            }
            _ => linear,
        }
    }
}
