//! Texts in, rows of numbers out: what every model shares, whatever its numbers mean.

use super::{Answer, Batch, EncoderOptions, Loaded, Runtime, Tokeniser, Workers};
use crate::ModelError;

/// A tokeniser, and the threads that run a model over what it gives.
#[derive(Debug)]
pub(crate) struct Engine {
    tokeniser: Tokeniser,
    workers: Workers,
    /// How many numbers each output has for a text.
    widths: Vec<usize>,
    /// What runs it.
    runtime: &'static str,
    /// Why it is not the fastest runtime, where one was passed over.
    passed_over: Option<String>,
}

impl Engine {
    /// Tries a model and starts its threads. `name` is that of its file.
    ///
    /// # Errors
    ///
    /// When it does not fit its tokenizer, or there are no more threads.
    pub(crate) fn start(
        name: &str,
        loaded: Loaded,
        tokeniser: Tokeniser,
        options: EncoderOptions,
    ) -> Result<Self, ModelError> {
        let Loaded { mut runtime, passed_over } = loaded;
        let name_of_runtime = runtime.name();
        let widths = try_out(&mut *runtime, &tokeniser)?;
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let workers = Workers::start(name, runtime, threads, options.batch_tokens)?;
        Ok(Self { tokeniser, workers, widths, runtime: name_of_runtime, passed_over })
    }

    /// Runs the model over texts. The answers come in their order; what is wrong with one text does
    /// not touch the others. Waits for the threads that compute.
    pub(crate) fn run<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Vec<Answer> {
        let mut ids = Vec::new();
        let tokenised: Vec<Result<(), ModelError>> = texts
            .into_iter()
            .map(|text| self.tokeniser.ids(text).map(|found| ids.push(found)))
            .collect();
        let mut answers = self.workers.submit(&ids).wait().into_iter();
        let lost = || Err(ModelError::new("encoder", "a text was left without an answer"));
        let answer = |tokenised: Result<(), ModelError>| {
            tokenised.and_then(|()| answers.next().unwrap_or_else(lost))
        };
        tokenised.into_iter().map(answer).collect()
    }

    /// How many numbers each output has for a text.
    pub(crate) fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// What runs it, for people.
    pub(crate) fn runtime(&self) -> &'static str {
        self.runtime
    }

    /// Why a faster runtime does not run it, where one was passed over.
    pub(crate) fn passed_over(&self) -> Option<&str> {
        self.passed_over.as_deref()
    }

    /// How many threads compute.
    pub(crate) fn threads(&self) -> usize {
        self.workers.threads()
    }
}

/// Runs the model once, over a short text and the longest, with the last token that the tokenizer
/// has: a model that does not fit its tokenizer, or gives other shapes, is refused at the start.
/// Gives the widths of its outputs.
fn try_out(runtime: &mut dyn Runtime, tokeniser: &Tokeniser) -> Result<Vec<usize>, ModelError> {
    let id = tokeniser.id_max();
    let batch: Batch = [&[id][..], &vec![id; tokeniser.tokens_max()]].into_iter().collect();
    Ok(runtime.infer(&batch)?.into_iter().map(|rows| rows.width).collect())
}
