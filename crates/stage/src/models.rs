//! Which models the stages use, and what a text is put through once for all of them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wingbeat_model::{
    Judge, ModelError,
    encoder::{Encoder, EncoderOptions, EncoderSource},
};
use wingbeat_record::{DeadCause, Reason};

use crate::{Item, StageError, analysis::Gate};

/// What the stages use where nothing is said.
const TIER: Tier = Tier::Linear;
/// The largest batch. Beyond the cache of a core, more tokens only take memory.
const BATCH_TOKENS_MAX: usize = 1 << 16;

/// A kind of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The embedded linear model: the fastest.
    Linear,
    /// The encoder, together with the linear model: the better one.
    Encoder,
}

/// Which models the stages use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Who says what a text's sentiment is: `linear`, the fastest, or `encoder`, a small transformer.
    pub sentiment: Tier,
    /// Who says what a text is about: as `sentiment`. One pass of the encoder serves both.
    pub topics: Tier,
    /// The folder of the encoder: `encoder.onnx`, `tokenizer.json` and `encoder.json`. Without it,
    /// the one that is part of the program.
    pub encoder: Option<PathBuf>,
    /// Threads of the encoder; 0: as many as `compute.threads`.
    pub threads: usize,
    /// The tokens that the encoder reads at a time, padding included. More is slower.
    pub batch_tokens: usize,
    /// The tokens of a text that are read; 0: as many as the encoder can.
    pub tokens_max: usize,
}

impl Default for ModelSettings {
    fn default() -> Self {
        let EncoderOptions { threads, batch_tokens, tokens_max } = EncoderOptions::default();
        Self { sentiment: TIER, topics: TIER, encoder: None, threads, batch_tokens, tokens_max }
    }
}

/// An encoder that somebody may be using.
struct Loaded {
    source: EncoderSource,
    options: EncoderOptions,
    encoder: Weak<Encoder>,
}

impl ModelSettings {
    /// Who says what texts are like: a model of this kind.
    ///
    /// # Errors
    ///
    /// When a model can't be loaded.
    pub fn judge(&self, tier: Tier) -> Result<Judge, StageError> {
        let encoder = match tier {
            Tier::Linear => None,
            Tier::Encoder => Some(self.encoder()?),
        };
        Ok(Judge::new(encoder)?)
    }

    /// The encoder. All stages of the program that want the same one share it: weights and threads.
    ///
    /// # Errors
    ///
    /// When it can't be loaded.
    pub fn encoder(&self) -> Result<Arc<Encoder>, StageError> {
        static LOADED: Mutex<Vec<Loaded>> = Mutex::new(Vec::new());
        let Self { threads, batch_tokens, tokens_max, .. } = *self;
        if !(1..=BATCH_TOKENS_MAX).contains(&batch_tokens) {
            let problem = format!("`batch_tokens` is {batch_tokens}, not 1 to {BATCH_TOKENS_MAX}");
            return Err(StageError::Settings { name: "models", problem });
        }
        let source = self.encoder.clone().map_or(EncoderSource::Embedded, EncoderSource::Folder);
        let options = EncoderOptions { threads, batch_tokens, tokens_max };
        // Whoever else wants it waits until it is loaded, and need not load it again.
        let mut all = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|loaded| loaded.encoder.strong_count() > 0);
        let is_wanted = |loaded: &&Loaded| loaded.source == source && loaded.options == options;
        if let Some(encoder) = all.iter().find(is_wanted).and_then(|it| it.encoder.upgrade()) {
            return Ok(encoder);
        }
        let encoder = Arc::new(Encoder::load(&source, options)?);
        all.push(Loaded { source, options, encoder: Arc::downgrade(&encoder) });
        Ok(encoder)
    }
}

/// The items whose texts are to be scored. Those that no stage before has read go through the
/// encoder, where there is one, in one go; what can't be read is settled.
pub(crate) fn read<'a>(
    judge: &Judge,
    gate: &Gate,
    items: &'a mut [&mut Item],
) -> Vec<&'a mut Item> {
    let mut open: Vec<&mut Item> = items
        .iter_mut()
        .map(|item| &mut **item)
        .filter_map(|item| item.is_to_be_scored(judge.analyzer(), gate).then_some(item))
        .collect();
    let Some(encoder) = judge.encoder() else { return open };
    let is_new = |item: &&mut &mut Item| item.reading.is_none();
    let mut new: Vec<&mut Item> = open.iter_mut().filter(is_new).map(|item| &mut **item).collect();
    let readings = encoder.read(new.iter().map(|item| item.text()));
    for (item, reading) in new.iter_mut().zip(readings) {
        match reading {
            Ok(reading) => item.reading = Some(reading),
            Err(error) => item.die(cause(gate.stage, &error)),
        }
    }
    open.retain(|item| item.verdict().is_none());
    open
}

fn cause(stage: &'static str, error: &ModelError) -> DeadCause {
    DeadCause::new(stage, Reason::new("inference"), error.to_string())
}
