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
mod engine;
mod files;
mod fused;
mod onnx;
mod onnx_runtime;
mod queue;
mod rten;
mod runtime;
mod tokenise;
mod workers;

pub use batch::{Batch, plan};
pub use card::Card;
pub(crate) use card::{EMBEDDING_SIZE_MAX, TOKENS_MAX};
pub use clean::{Cleaner, Rule};
pub(crate) use engine::Engine;
pub use files::{EncoderSource, ModelFile, ModelFiles, is_embedded};
pub(crate) use files::{MODEL_BYTES_MAX, OTHER_BYTES_MAX, read};
pub use fused::Fused;
pub(crate) use onnx::Outline;
pub use onnx_runtime::{OnnxRuntime, is_installed};
pub use rten::Rten;
pub use runtime::{Layout, ModelSpec, OutputSpec, Pooling, Rows, Runtime};
pub use tokenise::Tokeniser;
pub use workers::{Answer, Pending, Workers};

use self::files::Files;
use crate::{ModelError, Sentiment, TOPIC_LABELS, Topics};

/// What fills up the shorter texts of a batch: the encoder does not look at it.
const PADDING: u32 = 0;

/// How an encoder works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct EncoderOptions {
    /// Threads; 0: one per core.
    pub threads: usize,
    /// The tokens of a batch, padding included; 0: what is best for the runtime.
    pub batch_tokens: usize,
    /// The tokens of a text at most; 0, or more than the model can: what the model can.
    pub tokens_max: usize,
    /// What runs the model.
    pub runtime: RuntimeChoice,
}

/// What runs a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum RuntimeChoice {
    /// Ours, where it knows the model and the machine. Otherwise, for models by name, ONNX Runtime
    /// if its library is there and takes the model; then `rten`.
    #[default]
    Auto,
    /// Ours: the fastest, for the models that it knows.
    Fused,
    /// The crate `rten`, in Rust alone.
    Rten,
    /// ONNX Runtime; it is an error where its library is not there.
    Ort,
}

/// A model that is loaded.
pub(crate) struct Loaded {
    pub(crate) runtime: Box<dyn Runtime>,
    /// Why it is not the fastest runtime, where one was passed over.
    pub(crate) passed_over: Option<String>,
}

impl RuntimeChoice {
    /// Loads a model with it.
    fn load(self, files: ModelFiles, spec: &ModelSpec) -> Result<Loaded, ModelError> {
        match self {
            Self::Auto => Self::fused_or(files, spec, Self::Rten),
            chosen => chosen.load_alone(files, spec),
        }
    }

    /// Loads a model by name.
    pub(crate) fn load_by_name(
        self,
        files: ModelFiles,
        spec: &ModelSpec,
    ) -> Result<Loaded, ModelError> {
        match self {
            Self::Auto if is_installed() => Self::fused_or(files, spec, Self::Ort),
            chosen => chosen.load(files, spec),
        }
    }

    /// Loads it with ours, where it is the fastest and knows the model; otherwise with another.
    fn fused_or(files: ModelFiles, spec: &ModelSpec, other: Self) -> Result<Loaded, ModelError> {
        let reason = if Fused::is_fast() {
            match Fused::load(&files, spec)? {
                Ok(fused) => return Ok(Loaded { runtime: Box::new(fused), passed_over: None }),
                Err(reason) => reason,
            }
        } else {
            "it has no fast instructions for this machine".to_owned()
        };
        if files.is_safetensors() {
            let problem = format!(
                "the runtime `fused` can't run it here ({reason}), and others read ONNX files alone: \
                 look for an ONNX export of the model, or make one"
            );
            return Err(ModelError::new(&files.name, problem));
        }
        let loaded = match other.load_alone(files.clone(), spec) {
            Err(_) if other == Self::Ort => Self::Rten.load_alone(files, spec),
            loaded => loaded,
        };
        loaded
            .map(|loaded| Loaded { passed_over: Some(format!("not `fused`: {reason}")), ..loaded })
    }

    /// Loads it with this one and no other.
    fn load_alone(self, files: ModelFiles, spec: &ModelSpec) -> Result<Loaded, ModelError> {
        if files.is_safetensors() && matches!(self, Self::Rten | Self::Ort) {
            let problem = "only the runtime `fused` reads safetensors; set the runtime `auto`, or \
                           look for an ONNX export of the model";
            return Err(ModelError::new(&files.name, problem));
        }
        let runtime: Box<dyn Runtime> = match self {
            Self::Auto | Self::Fused => Box::new(Fused::load(&files, spec)?.map_err(|reason| {
                let problem = format!(
                    "the runtime `fused` can't run it ({reason}); set the runtime `auto`, or another"
                );
                ModelError::new(&files.name, problem)
            })?),
            Self::Rten => Box::new(Rten::load(&files.name, files.model, spec)?),
            Self::Ort => Box::new(OnnxRuntime::load(&files.name, files.model, spec)?),
        };
        Ok(Loaded { runtime, passed_over: None })
    }
}

impl EncoderOptions {
    /// The tokens of a text, with a model that can take so many.
    pub(crate) fn tokens_max(&self, model_max: usize) -> usize {
        match self.tokens_max {
            0 => model_max,
            tokens_max => tokens_max.min(model_max),
        }
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
    engine: Engine,
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
        let tokens_max = options.tokens_max(described.length_max);
        let cleaner = Cleaner::new(&card.name, &described.normalisation)?;
        let tokeniser = Tokeniser::parse(&tokenizer.name, &tokenizer.content, cleaner, tokens_max)?;
        let spec = ModelSpec { outputs: described.outputs().to_vec(), padding: PADDING };
        let files = ModelFiles { name: model.name, model: model.content, config: None };
        let name = files.name.clone();
        let loaded = options.runtime.load(files, &spec)?;
        let engine = Engine::start(&name, loaded, tokeniser, options)?;
        Ok(Self { card: described, engine })
    }

    /// Reads texts, in one pass each. The answers come in their order; what is wrong with one text
    /// does not touch the others.
    ///
    /// This waits for the threads that compute: it does not belong on the async runtime.
    pub fn read<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Result<Reading, ModelError>> {
        self.engine.run(texts).into_iter().map(|answer| answer.and_then(Reading::of)).collect()
    }

    /// The sentiment of a text, out of what the encoder read and what the linear model says of it.
    pub fn sentiment(&self, reading: &Reading, linear: Sentiment) -> Sentiment {
        self.card.sentiment(reading.sentiment, linear)
    }

    /// The topics of a text, out of what the encoder read and what the linear model says of it.
    pub fn topics(&self, reading: &Reading, linear: &Topics) -> Topics {
        self.card.topics(reading.topics, linear)
    }

    /// What runs it, for people.
    pub fn runtime(&self) -> &'static str {
        self.engine.runtime()
    }

    /// Why a faster runtime does not run it, where one was passed over.
    pub fn passed_over(&self) -> Option<&str> {
        self.engine.passed_over()
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.engine.threads()
    }
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
