//! The files of a model, in a repository or in a folder.

use std::{path::PathBuf, sync::Arc};

use serde::de::DeserializeOwned;

use super::{
    config::{Config, Limits, PoolingConfig},
    presets::Preset,
};
use crate::{
    ModelError,
    encoder::{
        Cleaner, EncoderOptions, Engine, MODEL_BYTES_MAX, ModelFile, ModelFiles, ModelSpec,
        OTHER_BYTES_MAX, Outline, OutputSpec, Tokeniser, read,
    },
};

/// Model files that can be used, the best first: eight bits are a fourth of the size.
const MODEL_FILES: [&str; 7] = [
    "onnx/model_int8.onnx",
    "onnx/model_quantized.onnx",
    "model_int8.onnx",
    "model_quantized.onnx",
    "onnx/model.onnx",
    "model.onnx",
    WEIGHTS,
];
/// Weights without a graph: only the runtime `fused` can make a model of them.
const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SENTENCE_CONFIG: &str = "sentence_bert_config.json";
const POOLING: &str = "1_Pooling/config.json";
/// What is taken where it is there.
const FURTHER_FILES: [&str; 4] =
    [TOKENIZER_CONFIG, "special_tokens_map.json", SENTENCE_CONFIG, POOLING];
/// The folders that these files are in.
const FOLDERS: [&str; 3] = ["", "onnx/", "1_Pooling/"];
/// So many names of files are told where none can be used.
const NAMES_TOLD_MAX: usize = 12;

/// The files that are needed to use a model, out of all that it has; that of the model first.
///
/// # Errors
///
/// What is missing, and what to do.
pub fn choose_files(repo: &str, names: &[&str]) -> Result<Vec<String>, String> {
    let is_there = |file: &&&str| names.contains(*file);
    let preferred = Preset::find(repo).and_then(|preset| preset.file);
    let Some(model) = preferred.iter().chain(&MODEL_FILES).find(is_there) else {
        return Err(no_model(repo, names));
    };
    if let Some(missing) = [CONFIG, TOKENIZER].iter().find(|file| !names.contains(*file)) {
        return Err(format!(
            "it has no `{missing}`: look for another export of the model, or make one ({})",
            export(repo)
        ));
    }
    let further = FURTHER_FILES.iter().filter(is_there);
    Ok([model, &CONFIG, &TOKENIZER].into_iter().chain(further).map(|f| (*f).to_owned()).collect())
}

fn no_model(repo: &str, names: &[&str]) -> String {
    let mut told: Vec<&str> =
        names.iter().copied().filter(|name| name.ends_with(".onnx")).collect();
    if told.is_empty() {
        told = names.to_vec();
    }
    let count = told.len();
    told.truncate(NAMES_TOLD_MAX);
    let more = if count > told.len() { ", ..." } else { "" };
    format!(
        "it has none of `{}`, but `{}`{more}: look for an ONNX export of it, or make one ({})",
        MODEL_FILES.join("`, `"),
        told.join("`, `"),
        export(repo)
    )
}

fn export(repo: &str) -> String {
    format!("`optimum-cli export onnx --model {repo} FOLDER`, and name that folder")
}

/// A model in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelFolder {
    /// The repository that it is from, `OWNER/NAME`; the folder, where it has no other name.
    pub repo: String,
    /// The folder.
    pub path: PathBuf,
}

impl ModelFolder {
    /// Reads all files of the model that are used.
    pub(super) fn open(&self) -> Result<Opened, ModelError> {
        let files = self.choose()?;
        let described = self.read(CONFIG, OTHER_BYTES_MAX)?;
        let config: Config = self.parse(CONFIG, &described)?;
        let limits: [Limits; 2] =
            [self.json(TOKENIZER_CONFIG, &files)?, self.json(SENTENCE_CONFIG, &files)?];
        let pooling = match files.iter().any(|file| file == POOLING) {
            true => Some(self.json(POOLING, &files)?),
            false => None,
        };
        // `choose_files` gives the model first.
        let model = files.first().map(String::as_str).unwrap_or_default();
        let content = ModelFile::Read(Arc::new(self.read(model, MODEL_BYTES_MAX)?));
        let files =
            ModelFiles { name: self.path_of(model), model: content, config: Some(described) };
        let outline = match files.is_safetensors() {
            true => None,
            false => Some(Outline::read(&files.name, files.model.bytes())?),
        };
        Ok(Opened {
            outline,
            model: files,
            tokenizer: (self.path_of(TOKENIZER), self.read(TOKENIZER, OTHER_BYTES_MAX)?),
            tokens_max: config.tokens_max(&limits),
            preset: Preset::find(&self.repo).or_else(|| config.origin().and_then(Preset::find)),
            config_name: self.path_of(CONFIG),
            pooling_name: self.path_of(POOLING),
            config,
            pooling,
        })
    }

    /// The names of the files that are used.
    fn choose(&self) -> Result<Vec<String>, ModelError> {
        let failed = |problem: String| ModelError::new(self.path.display().to_string(), problem);
        let mut names = Vec::new();
        for folder in FOLDERS {
            let entries = match std::fs::read_dir(self.path.join(folder)) {
                Ok(entries) => entries,
                Err(error) if folder.is_empty() => {
                    return Err(failed(format!(
                        "can't be read: {error}; name a folder that has a model"
                    )));
                }
                Err(_) => continue,
            };
            let found = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
            names.extend(found.map(|name| format!("{folder}{name}")));
        }
        names.sort();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        choose_files(&self.repo, &names).map_err(failed)
    }

    fn path_of(&self, file: &str) -> String {
        self.path.join(file).display().to_string()
    }

    fn read(&self, file: &str, bytes_max: u64) -> Result<Vec<u8>, ModelError> {
        read(&self.path.join(file), bytes_max, "fetch the model again")
    }

    /// A JSON file; as if it were empty where it is not among those that are used.
    fn json<T: DeserializeOwned + Default>(
        &self,
        file: &str,
        used: &[String],
    ) -> Result<T, ModelError> {
        if !used.iter().any(|name| name == file) {
            return Ok(T::default());
        }
        self.parse(file, &self.read(file, OTHER_BYTES_MAX)?)
    }

    /// What is in a JSON file.
    fn parse<T: DeserializeOwned>(&self, file: &str, content: &[u8]) -> Result<T, ModelError> {
        let damaged = |error| {
            let problem = format!("it is damaged: {error}; fetch the model again");
            ModelError::new(self.path_of(file), problem)
        };
        serde_json::from_slice(content).map_err(damaged)
    }
}

/// The files of a model. Each has its name beside it, for errors.
pub(super) struct Opened {
    model: ModelFiles,
    tokenizer: (String, Vec<u8>),
    config_name: String,
    pooling_name: String,
    tokens_max: usize,
    pub(super) config: Config,
    pub(super) pooling: Option<PoolingConfig>,
    /// What is in its ONNX file; `None`: it has none.
    pub(super) outline: Option<Outline>,
    pub(super) preset: Option<&'static Preset>,
}

impl Opened {
    /// An error of `config.json`.
    pub(super) fn wrong_config(&self, problem: impl Into<String>) -> ModelError {
        ModelError::new(&self.config_name, problem)
    }

    /// An error of `1_Pooling/config.json`.
    pub(super) fn wrong_pooling(&self, problem: impl Into<String>) -> ModelError {
        ModelError::new(&self.pooling_name, problem)
    }

    /// The model's file, for errors.
    pub(super) fn model_name(&self) -> &str {
        &self.model.name
    }

    /// Loads the model, which has this output, tries it and starts its threads.
    pub(super) fn start(
        self,
        output: OutputSpec,
        options: EncoderOptions,
    ) -> Result<Engine, ModelError> {
        let (name, tokenizer) = self.tokenizer;
        let rules = self.preset.map(Preset::rules).unwrap_or_default();
        let cleaner = Cleaner::new(&name, &rules)?;
        let tokens_max = options.tokens_max(self.tokens_max);
        let tokeniser = Tokeniser::parse(&name, &tokenizer, cleaner, tokens_max)?;
        let name = self.model.name.clone();
        let spec = ModelSpec { outputs: vec![output], padding: self.config.padding() };
        let loaded = options.runtime.load_by_name(self.model, &spec)?;
        Engine::start(&name, loaded, tokeniser, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(repo: &str, names: &[&str]) -> Result<Vec<String>, String> {
        choose_files(repo, &[&[CONFIG, TOKENIZER], names].concat())
    }

    #[test]
    fn the_best_file_is_chosen_with_what_it_needs() {
        let int8 = ["onnx/model.onnx", "onnx/model_int8.onnx", TOKENIZER_CONFIG, POOLING, "x.bin"];
        let expected = ["onnx/model_int8.onnx", CONFIG, TOKENIZER, TOKENIZER_CONFIG, POOLING];
        assert_eq!(choose("a/b", &int8).unwrap(), expected);
        assert_eq!(choose("a/b", &["model_quantized.onnx"]).unwrap()[0], "model_quantized.onnx");
        assert_eq!(choose("a/b", &[WEIGHTS, "model.onnx"]).unwrap()[0], "model.onnx");
        assert_eq!(choose("a/b", &[WEIGHTS]).unwrap()[0], WEIGHTS);
        let minilm = "sentence-transformers/all-MiniLM-L6-v2";
        assert_eq!(choose(minilm, &int8).unwrap()[0], "onnx/model.onnx");
        assert_eq!(choose(minilm, &["model_int8.onnx"]).unwrap()[0], "model_int8.onnx");
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let problem = choose("a/b", &["pytorch_model.bin"]).unwrap_err();
        let expected =
            ["but `config.json`", "pytorch_model.bin", "optimum-cli export onnx --model a/b"];
        assert!(expected.iter().all(|part| problem.contains(part)), "{problem}");
        let problem = choose("a/b", &["onnx/decoder.onnx", "pytorch_model.bin"]).unwrap_err();
        assert!(problem.contains("but `onnx/decoder.onnx`:"), "{problem}");
        let problem = choose_files("a/b", &["model.onnx", CONFIG]).unwrap_err();
        assert!(problem.contains("no `tokenizer.json`"), "{problem}");
        let many: Vec<String> = (0..100).map(|n| format!("{n}.txt")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(choose_files("a/b", &many).unwrap_err().contains("`11.txt`, ...:"));
    }
}
