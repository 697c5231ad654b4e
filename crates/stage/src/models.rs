//! Which models the stages use, and what a text is put through once for all of them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wingbeat_hub::{Cache, HubSettings, ModelName};
use wingbeat_model::{
    Judge, ModelError, Reader, Reading,
    encoder::{Encoder, EncoderOptions, EncoderSource, RuntimeChoice, is_embedded},
    hugging_face::{Classifier, Embedder, ModelFolder, Task},
    linear::Features,
};
use wingbeat_record::{DeadCause, Reason};

use crate::{
    Item, StageError,
    analysis::Gate,
    choice::{EmbeddingChoice, ModelChoice},
    embed::Embed,
    sentiment::Sentiment,
    topics::Topics,
};

/// What the stages use where nothing is said: the best that the program has in it.
const DEFAULT: ModelChoice = if is_embedded() { ModelChoice::Encoder } else { ModelChoice::Linear };
/// The largest batch. Beyond the cache of a core, more tokens only take memory.
const BATCH_TOKENS_MAX: usize = 1 << 16;

/// Which models the stages use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Who says what a text's sentiment is: `linear`, the fastest; `encoder`, a small transformer;
    /// `OWNER/NAME` or `OWNER/NAME@REVISION`, a classifier from the Hugging Face hub; or a folder
    /// that has one in it, written with `./` or `/`. docs/models.md has the rest.
    #[schemars(with = "String", extend("x-env" = ["SENTIMENT_MODEL_NAME", "MODEL_NAME"]))]
    pub sentiment: ModelChoice,
    /// Who says what a text is about: as `sentiment`. One pass of the encoder serves both.
    #[schemars(with = "String", extend("x-env" = ["TOPIC_MODEL_NAME"]))]
    pub topics: ModelChoice,
    /// Who gives embeddings, where the stage `embed` is used: `encoder`, or an encoder by name, as
    /// in `sentiment`. `NAME` is short for `sentence-transformers/NAME`.
    #[schemars(with = "String", extend("x-env" = ["EMBEDDING_MODEL"]))]
    pub embedding: EmbeddingChoice,
    /// Where the model of `sentiment` is kept when it is from the hub. Without it, where the hub's
    /// own libraries keep theirs: docs/reference/hub.md.
    #[schemars(extend("x-env" = ["SENTIMENT_MODEL_CACHE_DIR", "MODEL_CACHE_DIR"]))]
    pub sentiment_cache: Option<PathBuf>,
    /// Where the model of `topics` is kept, as `sentiment_cache`.
    #[schemars(extend("x-env" = ["TOPIC_MODEL_CACHE_DIR", "MODEL_CACHE_DIR"]))]
    pub topics_cache: Option<PathBuf>,
    /// The folder of the encoder: `encoder.onnx`, `tokenizer.json` and `encoder.json`. Without it,
    /// the one that is part of the program.
    pub encoder: Option<PathBuf>,
    /// What runs the models: `fused`, ours, for the encoder in the program and for BERT, RoBERTa and
    /// XLM-RoBERTa; `rten`, for any model, in Rust alone; `ort`, ONNX Runtime, whose library has to
    /// be installed (`ORT_DYLIB_PATH`); `auto`: `fused` for what it knows, then
    /// `ort` for models by name where it is there, `rten` otherwise.
    pub runtime: RuntimeSetting,
    /// Threads of each model; 0: as many as `compute.threads`.
    pub threads: usize,
    /// The tokens that a model reads at a time, padding included; 0: what is best for the runtime,
    /// 512 for `fused`, 256 for others.
    pub batch_tokens: usize,
    /// The tokens of a text that are read; 0, or more than the model can: as many as the model can.
    #[schemars(extend("x-env" = ["SENTIMENT_MAX_SEQUENCE_LENGTH", "TOPIC_MAX_SEQUENCE_LENGTH", "MAX_SEQUENCE_LENGTH"]))]
    pub tokens_max: usize,
}

/// What runs the models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeSetting {
    /// As the model is, and what is there.
    #[default]
    Auto,
    /// Ours.
    Fused,
    /// The crate `rten`.
    Rten,
    /// ONNX Runtime.
    Ort,
}

impl From<RuntimeSetting> for RuntimeChoice {
    fn from(setting: RuntimeSetting) -> Self {
        match setting {
            RuntimeSetting::Auto => Self::Auto,
            RuntimeSetting::Fused => Self::Fused,
            RuntimeSetting::Rten => Self::Rten,
            RuntimeSetting::Ort => Self::Ort,
        }
    }
}

impl Default for ModelSettings {
    fn default() -> Self {
        let EncoderOptions { threads, batch_tokens, tokens_max, .. } = EncoderOptions::default();
        Self {
            sentiment: DEFAULT,
            topics: DEFAULT,
            embedding: EmbeddingChoice::ENCODER,
            sentiment_cache: None,
            topics_cache: None,
            encoder: None,
            runtime: RuntimeSetting::default(),
            threads,
            batch_tokens,
            tokens_max,
        }
    }
}

/// Models that somebody may be using: each is loaded once.
struct Loaded<K, T>(Mutex<Vec<(K, EncoderOptions, Weak<T>)>>);

impl<K: PartialEq, T> Loaded<K, T> {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The model, loaded where nobody uses it yet. Whoever else wants one waits meanwhile, and need
    /// not load the same again.
    fn get(
        &self,
        key: K,
        options: EncoderOptions,
        load: impl FnOnce(&K) -> Result<T, ModelError>,
    ) -> Result<Arc<T>, StageError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, _, model)| model.strong_count() > 0);
        let same = all.iter().find(|(known, how, _)| *known == key && *how == options);
        if let Some(model) = same.and_then(|(_, _, model)| model.upgrade()) {
            return Ok(model);
        }
        let model = Arc::new(load(&key)?);
        all.push((key, options, Arc::downgrade(&model)));
        Ok(model)
    }
}

static ENCODERS: Loaded<EncoderSource, Encoder> = Loaded::new();
static CLASSIFIERS: Loaded<(ModelFolder, Task), Classifier> = Loaded::new();
static EMBEDDERS: Loaded<ModelFolder, Embedder> = Loaded::new();

/// A model from the hub that a stage needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The model.
    pub name: ModelName,
    /// The folder of downloads, where it is not the usual one.
    pub cache: Option<PathBuf>,
}

impl Wanted {
    /// Where the hub is and where the model is kept, by the environment.
    pub fn hub(&self) -> HubSettings {
        let settings = HubSettings::from_environment(|name| std::env::var(name).ok());
        match &self.cache {
            Some(cache) => HubSettings { cache: cache.clone(), ..settings },
            None => settings,
        }
    }

    /// Whether it was downloaded.
    pub fn is_there(&self) -> bool {
        self.folder().is_ok()
    }

    /// The folder that the model was downloaded to.
    fn folder(&self) -> Result<ModelFolder, StageError> {
        let cache = Cache::new(self.hub().cache);
        let missing = || {
            let (name, cache) = (&self.name, cache.root().display());
            let problem =
                format!("it is not in {cache}; run `wingbeat models pull` with the same settings");
            StageError::Model(ModelError { model: name.to_string(), problem })
        };
        let cached = cache.find(&self.name)?.ok_or_else(missing)?;
        Ok(ModelFolder { repo: self.name.repo().to_owned(), path: cached.folder })
    }
}

impl ModelSettings {
    /// Who says what the sentiment of a text is.
    ///
    /// # Errors
    ///
    /// When a model can't be loaded, or was not downloaded.
    pub fn sentiment_judge(&self) -> Result<Judge, StageError> {
        self.judge(Task::Sentiment, &self.sentiment)
    }

    /// Who says what a text is about.
    ///
    /// # Errors
    ///
    /// As [`ModelSettings::sentiment_judge`].
    pub fn topics_judge(&self) -> Result<Judge, StageError> {
        self.judge(Task::Topics, &self.topics)
    }

    /// Who gives embeddings.
    ///
    /// # Errors
    ///
    /// As [`ModelSettings::sentiment_judge`].
    pub fn embedding_judge(&self) -> Result<Judge, StageError> {
        let reader = match self.folder_of(self.embedding.model(), None)? {
            Some(folder) => {
                let options = self.options()?;
                let load = |folder: &ModelFolder| Embedder::load(folder, options);
                Reader::Embedder(EMBEDDERS.get(folder, options, load)?)
            }
            None => Reader::Encoder(self.encoder()?),
        };
        Ok(Judge::new(reader)?)
    }

    fn judge(&self, task: Task, choice: &ModelChoice) -> Result<Judge, StageError> {
        let cache = match task {
            Task::Sentiment => &self.sentiment_cache,
            Task::Topics => &self.topics_cache,
        };
        let reader = match (choice, self.folder_of(choice, cache.as_ref())?) {
            (_, Some(folder)) => {
                let options = self.options()?;
                let load =
                    |(folder, task): &(ModelFolder, Task)| Classifier::load(folder, *task, options);
                Reader::Classifier(CLASSIFIERS.get((folder, task), options, load)?)
            }
            (ModelChoice::Encoder, None) => Reader::Encoder(self.encoder()?),
            (_, None) => Reader::None,
        };
        Ok(Judge::new(reader)?)
    }

    /// The encoder. All stages of the program that want the same one share it: weights and threads.
    ///
    /// # Errors
    ///
    /// When it can't be loaded.
    pub fn encoder(&self) -> Result<Arc<Encoder>, StageError> {
        let options = self.options()?;
        let source = self.encoder.clone().map_or(EncoderSource::Embedded, EncoderSource::Folder);
        ENCODERS.get(source, options, |source| Encoder::load(source, options))
    }

    fn options(&self) -> Result<EncoderOptions, StageError> {
        let Self { threads, batch_tokens, tokens_max, .. } = *self;
        if batch_tokens <= BATCH_TOKENS_MAX {
            let runtime = self.runtime.into();
            return Ok(EncoderOptions { threads, batch_tokens, tokens_max, runtime });
        }
        let problem = format!("`batch_tokens` is {batch_tokens}, not 0 to {BATCH_TOKENS_MAX}");
        Err(StageError::Settings { name: "models", problem })
    }

    /// The folder of a model by name; `None`: it is none.
    fn folder_of(
        &self,
        choice: &ModelChoice,
        cache: Option<&PathBuf>,
    ) -> Result<Option<ModelFolder>, StageError> {
        match choice {
            ModelChoice::Linear | ModelChoice::Encoder => Ok(None),
            ModelChoice::Folder(path) => {
                Ok(Some(ModelFolder { repo: path.display().to_string(), path: path.clone() }))
            }
            ModelChoice::Hub(name) => {
                Wanted { name: name.clone(), cache: cache.cloned() }.folder().map(Some)
            }
        }
    }

    /// What these stages use: the model of each that has one.
    fn choices<'a>(
        &'a self,
        stages: &'a [String],
    ) -> impl Iterator<Item = (&'a str, &'a ModelChoice, Option<&'a PathBuf>)> {
        stages.iter().filter_map(|stage| match stage.as_str() {
            Sentiment::NAME => {
                Some((Sentiment::NAME, &self.sentiment, self.sentiment_cache.as_ref()))
            }
            Topics::NAME => Some((Topics::NAME, &self.topics, self.topics_cache.as_ref())),
            Embed::NAME => Some((Embed::NAME, self.embedding.model(), None)),
            _ => None,
        })
    }

    /// The models that these stages need from the hub, each once.
    pub fn wanted(&self, stages: &[String]) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for (_, choice, cache) in self.choices(stages) {
            let ModelChoice::Hub(name) = choice else { continue };
            let one = Wanted { name: name.clone(), cache: cache.cloned() };
            if !wanted.contains(&one) {
                wanted.push(one);
            }
        }
        wanted
    }

    /// The names of all models that these stages have to load.
    pub fn names(&self, stages: &[String]) -> Vec<String> {
        let mut names: Vec<String> = self
            .choices(stages)
            .filter(|(_, choice, _)| **choice != ModelChoice::Linear)
            .map(|(_, choice, _)| choice.to_string())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Loads all models that these stages need. As long as somebody holds what this gives, the
    /// stages need not load them again.
    ///
    /// # Errors
    ///
    /// As [`ModelSettings::sentiment_judge`].
    pub fn load(&self, stages: &[String]) -> Result<Vec<Judge>, StageError> {
        self.choices(stages)
            .map(|(stage, choice, _)| match stage {
                Embed::NAME => self.embedding_judge(),
                Topics::NAME => self.judge(Task::Topics, choice),
                _ => self.judge(Task::Sentiment, choice),
            })
            .collect()
    }
}

/// An item whose text is to be scored.
pub(crate) struct Open<'a> {
    pub(crate) item: &'a mut Item,
    /// What a model that this stage has for itself has read out of it.
    own: Option<Reading>,
}

impl Open<'_> {
    /// The features of the text, and what was read out of it, by this stage's own model or for
    /// several stages.
    pub(crate) fn seen(&mut self) -> (&Features, Option<&Reading>) {
        let (features, shared) = self.item.seen();
        (features, self.own.as_ref().or(shared))
    }
}

/// The items whose texts are to be scored. They go through the model, where there is one, in one go;
/// what the encoder has read for a stage before is not read again. What can't be read is settled.
pub(crate) fn read<'a>(judge: &Judge, gate: &Gate, items: &'a mut [&mut Item]) -> Vec<Open<'a>> {
    let is_shared = matches!(judge.reader(), Reader::Encoder(_));
    let mut open: Vec<Open> = items
        .iter_mut()
        .filter_map(|item| {
            let is_open = item.is_to_be_scored(judge.analyzer(), gate);
            is_open.then_some(Open { item, own: None })
        })
        .collect();
    let is_new = |open: &&mut Open| !(is_shared && open.item.reading.is_some());
    let mut new: Vec<&mut Open> = open.iter_mut().filter(is_new).collect();
    let readings = judge.read(new.iter().map(|open| open.item.text()));
    for (open, reading) in new.iter_mut().zip(readings) {
        match reading {
            Ok(reading) if is_shared => open.item.reading = Some(reading),
            Ok(reading) => open.own = Some(reading),
            Err(error) => open.item.die(cause(gate.stage, &error)),
        }
    }
    open.retain(|open| open.item.verdict().is_none());
    open
}

fn cause(stage: &'static str, error: &ModelError) -> DeadCause {
    DeadCause::new(stage, Reason::new("inference"), error.to_string())
}
