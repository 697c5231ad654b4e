//! Encoders: one pass over a text gives its sentiment, its topics and an embedding.
//!
//! ```text
//! texts ── Tokeniser ──> token ids ── plan ──> batches ── bounded queue ──> Workers ──> Readings
//!                                                                           one per core, each
//!                                                                           with a Runtime
//! ```
//!
//! What runs the model is behind the trait [`Runtime`]. What the model's numbers mean is written in
//! its [`Card`].

mod batch;
mod card;
mod clean;
mod files;
mod fused;
mod onnx;
mod rten;
mod runtime;
mod tokenise;
mod workers;

pub use batch::{Batch, plan};
pub use card::Card;
pub use clean::{Cleaner, Rule};
pub use files::{EncoderSource, is_embedded};
pub use fused::Fused;
pub use rten::{ModelFile, Rten};
pub use runtime::{OutputSpec, Rows, Runtime};
pub use tokenise::Tokeniser;
pub use workers::{Answer, Pending, Workers};

use self::files::Files;
use crate::{ModelError, Sentiment, TOPIC_LABELS, Topics};

/// How an encoder works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EncoderOptions {
    /// Threads; 0: one per core.
    pub threads: usize,
    /// The tokens of a batch, padding included.
    pub batch_tokens: usize,
    /// The tokens of a text at most; 0, or more than the model can: what the model can.
    pub tokens_max: usize,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        // Larger batches are slower: their activations leave the cache of a core.
        Self { threads: 0, batch_tokens: 256, tokens_max: 0 }
    }
}

/// What an encoder read out of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    sentiment: [f32; 3],
    topics: [f32; TOPIC_LABELS.len()],
    /// The embedding: a vector of length 1, whose product with that of another text says how much
    /// alike they are, -1 to 1.
    pub embedding: Vec<f32>,
}

/// A model that is loaded, and the threads that run it. Shared by all who need it.
#[derive(Debug)]
pub struct Encoder {
    card: Card,
    tokeniser: Tokeniser,
    workers: Workers,
    batch_tokens: usize,
    runtime: &'static str,
}

impl Encoder {
    /// Loads an encoder, tries it, and starts its threads.
    ///
    /// # Errors
    ///
    /// When a file is missing, damaged, or does not fit the others or this program; the error names
    /// it and says what to do.
    pub fn load(source: &EncoderSource, options: EncoderOptions) -> Result<Self, ModelError> {
        let Files { model, tokenizer, card } = Files::open(source)?;
        let described = Card::parse(&card.name, &card.content)?;
        described.check_files([
            (&model.name, model.content.bytes()),
            (&tokenizer.name, &tokenizer.content),
        ])?;
        let tokens_max = match options.tokens_max {
            0 => described.length_max,
            tokens_max => tokens_max.min(described.length_max),
        };
        let cleaner = Cleaner::new(&card.name, &described.normalisation)?;
        let tokeniser = Tokeniser::parse(&tokenizer.name, &tokenizer.content, cleaner, tokens_max)?;
        let mut runtime = runtime(&model.name, model.content, &described.outputs())?;
        let name = runtime.name();
        try_out(&mut *runtime, &tokeniser, tokens_max)?;
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let workers = Workers::start(&model.name, runtime, threads)?;
        let batch_tokens = options.batch_tokens;
        Ok(Self { card: described, tokeniser, workers, batch_tokens, runtime: name })
    }

    /// Reads texts, in one pass each. The answers come in their order; what is wrong with one text
    /// does not touch the others.
    ///
    /// This waits for the threads that compute: it does not belong on the async runtime.
    pub fn read<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Result<Reading, ModelError>> {
        let mut ids = Vec::new();
        let tokenised: Vec<Result<(), ModelError>> = texts
            .into_iter()
            .map(|text| self.tokeniser.ids(text).map(|found| ids.push(found)))
            .collect();
        let mut answers = self.workers.submit(&ids, self.batch_tokens).wait().into_iter();
        let lost = || Err(ModelError::new("encoder", "a text was left without an answer"));
        let answer = |tokenised: Result<(), ModelError>| {
            tokenised.and_then(|()| answers.next().unwrap_or_else(lost)).and_then(Reading::of)
        };
        tokenised.into_iter().map(answer).collect()
    }

    /// The sentiment of a text, out of what the encoder read and what the linear model says of it.
    pub fn sentiment(&self, reading: &Reading, linear: Sentiment) -> Sentiment {
        self.card.sentiment(reading.sentiment, linear)
    }

    /// The topics of a text, out of what the encoder read and what the linear model says of it.
    pub fn topics(&self, reading: &Reading, linear: Topics) -> Topics {
        self.card.topics(reading.topics, linear)
    }

    /// What runs the model: the name of a [`Runtime`].
    pub fn runtime(&self) -> &'static str {
        self.runtime
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.workers.threads()
    }
}

/// The fastest that can run the model: ours, or else the one that runs any.
fn runtime(
    name: &str,
    file: ModelFile,
    outputs: &[OutputSpec],
) -> Result<Box<dyn Runtime>, ModelError> {
    Ok(match Fused::load(name, file.bytes(), outputs)? {
        Some(fused) => Box::new(fused),
        None => Box::new(Rten::load(name, file, outputs)?),
    })
}

/// Runs the model once, over a short text and the longest, with the last token that the tokenizer
/// has: a model that does not fit its tokenizer, or gives other shapes, is refused at the start.
fn try_out(
    runtime: &mut dyn Runtime,
    tokeniser: &Tokeniser,
    tokens_max: usize,
) -> Result<(), ModelError> {
    let id = tokeniser.id_max();
    let batch: Batch = [&[id][..], &vec![id; tokens_max]].into_iter().collect();
    runtime.infer(&batch).map(drop)
}

impl Reading {
    fn of(rows: Vec<Vec<f32>>) -> Result<Self, ModelError> {
        // The runtime has checked the widths.
        let wrong = || ModelError::new("encoder", "it gave other outputs than it was loaded for");
        let [sentiment, topics, embedding] = rows.try_into().map_err(|_| wrong())?;
        Ok(Self {
            sentiment: sentiment.try_into().map_err(|_| wrong())?,
            topics: topics.try_into().map_err(|_| wrong())?,
            embedding,
        })
    }
}
