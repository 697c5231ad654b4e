//! Encoders: a text's embedding.

use super::{ModelFolder, config::PoolingConfig};
use crate::{
    ModelError,
    encoder::{EMBEDDING_SIZE_MAX, EncoderOptions, Engine, OutputSpec, Pooling},
};

/// An output that is a text's embedding.
const OF_TEXTS: &str = "sentence_embedding";
/// Outputs that have a row for each token.
const OF_TOKENS: [&str; 2] = ["last_hidden_state", "token_embeddings"];

/// An encoder that is loaded, and the threads that run it.
#[derive(Debug)]
pub struct Embedder {
    engine: Engine,
    size: usize,
}

impl Embedder {
    /// Loads an encoder, tries it, and starts its threads.
    ///
    /// # Errors
    ///
    /// When a file is missing, damaged, or does not fit the others or this program; the error names
    /// it and says what to do.
    pub fn load(folder: &ModelFolder, options: EncoderOptions) -> Result<Self, ModelError> {
        let opened = folder.open()?;
        let output =
            |name: &str, pooling| OutputSpec { name: name.to_owned(), width: None, pooling };
        let has_output =
            |name: &str| opened.outline.as_ref().is_none_or(|outline| outline.has_output(name));
        let output = if opened.outline.is_some() && has_output(OF_TEXTS) {
            output(OF_TEXTS, None)
        } else if let Some(name) = OF_TOKENS.iter().find(|name| has_output(name)) {
            let pooling = opened.pooling.as_ref().map_or(Ok(Pooling::Mean), PoolingConfig::pooling);
            output(name, Some(pooling.map_err(|problem| opened.wrong_pooling(problem))?))
        } else {
            let known = OF_TOKENS.join("`, `");
            let problem =
                format!("it has none of the outputs `{OF_TEXTS}`, `{known}`: it is no encoder");
            return Err(ModelError::new(opened.model_name(), problem));
        };
        let name = opened.model_name().to_owned();
        let engine = opened.start(output, options)?;
        let size = engine.widths().first().copied().unwrap_or_default();
        if !(1..=EMBEDDING_SIZE_MAX).contains(&size) {
            let problem =
                format!("its embeddings have {size} numbers, not 1 to {EMBEDDING_SIZE_MAX}");
            return Err(ModelError::new(name, problem));
        }
        Ok(Self { engine, size })
    }

    /// The embeddings of texts: vectors of length 1. They come in the order of the texts; what is
    /// wrong with one text does not touch the others. Waits for the threads that compute.
    pub fn read<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Result<Vec<f32>, ModelError>> {
        let embedding = |rows: Vec<Vec<f32>>| match rows.into_iter().next() {
            Some(row) if row.len() == self.size => Ok(normalised(row)),
            _ => Err(ModelError::new("encoder", "its embeddings are not all of one size")),
        };
        self.engine.run(texts).into_iter().map(|answer| answer.and_then(embedding)).collect()
    }

    /// What runs it, for people.
    pub fn runtime(&self) -> &'static str {
        self.engine.runtime()
    }

    /// Why a faster runtime does not run it, where one was passed over.
    pub fn passed_over(&self) -> Option<&str> {
        self.engine.passed_over()
    }

    /// How many numbers an embedding has.
    pub fn size(&self) -> usize {
        self.size
    }
}

/// The vector brought to length 1; one of length 0 stays as it is.
fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number /= length);
    }
    vector
}
