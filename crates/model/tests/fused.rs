//! Models by name in our own runtime: weights without a graph, and models that it does not know.

#![expect(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "shared files of other tests")]

#[path = "../../transformer/tests/all/made.rs"]
mod made;
#[path = "hugging_face/mod.rs"]
mod tiny;

use made::Made;
use serde_json::{Value, json};
use tempfile::TempDir;
use tiny::Files;
use wingbeat_model::{
    ModelError,
    encoder::{Cleaner, EncoderOptions, Fused, RuntimeChoice, Tokeniser},
    hugging_face::{Classifier, Embedder, ModelFolder, Said, Task},
};
use wingbeat_transformer::{Level, Model, Workspace};

const WEIGHTS: &str = "model.safetensors";
const TEXTS: [&str; 4] = ["good day", "bad", "the goal. the song! good days", ""];

fn folder(files: &Files) -> (TempDir, ModelFolder) {
    let folder = TempDir::new().unwrap();
    tiny::write(files, folder.path());
    let path = folder.path().to_owned();
    (folder, ModelFolder { repo: "acme/tiny".to_owned(), path })
}

fn options(runtime: RuntimeChoice) -> EncoderOptions {
    EncoderOptions { threads: 2, runtime, ..EncoderOptions::default() }
}

/// The files of a model that was made, as a repository without ONNX files has them.
fn files(made: &Made, pooling: Option<&str>) -> Files {
    let mut config = made.config.clone();
    config["id2label"] = json!({"0": "negative", "1": "neutral", "2": "positive"});
    let mut files = tiny::embedding(pooling.unwrap_or_default());
    files.remove("onnx/model.onnx");
    if pooling.is_none() {
        files.remove("1_Pooling/config.json");
    }
    files.insert("config.json".to_owned(), config.to_string().into_bytes());
    files.insert(WEIGHTS.to_owned(), made.weights());
    files
}

/// What the model itself gives, by the place of its output.
fn rows(made: &Made, files: &Files, output: usize) -> Vec<Vec<f32>> {
    let level = Level::chosen().unwrap();
    let model = Model::from_safetensors(&made.config(), &made.weights(), level).unwrap();
    let tokenizer = &files["tokenizer.json"];
    let cleaner = Cleaner::new("none", &[]).unwrap();
    let tokeniser = Tokeniser::parse("tokenizer.json", tokenizer, cleaner, 32).unwrap();
    let ids = TEXTS.map(|text| tokeniser.ids(text).unwrap());
    let mut work = Workspace::default();
    model.run(&mut work, ids.iter().map(Vec::as_slice)).unwrap();
    let (_, width) = model.outputs().nth(output).unwrap();
    work.rows(output).chunks_exact(width).map(<[f32]>::to_vec).collect()
}

#[test]
fn a_classifier_needs_no_graph() {
    for made in [Made::bert_classifier(), Made::roberta("roberta"), Made::roberta("xlm-roberta")] {
        let files = files(&made, None);
        let (_kept, model) = folder(&files);
        let load = |runtime| Classifier::load(&model, Task::Sentiment, options(runtime));
        let fused = load(RuntimeChoice::Fused).unwrap();
        assert_eq!((fused.runtime(), fused.passed_over()), ("fused", None));
        for (said, logits) in fused.read(TEXTS).into_iter().zip(rows(&made, &files, 0)) {
            let Said::Sentiment(said) = said.unwrap() else { panic!("no sentiment") };
            let powers: Vec<f32> = logits.iter().map(|logit| logit.exp()).collect();
            let sum: f32 = powers.iter().sum();
            for (found, power) in said.probabilities().iter().zip(powers) {
                assert!((found - power / sum).abs() < 1e-6);
            }
        }
        // With `auto` too, on machines that it is fast on; elsewhere it is said what to do.
        match load(RuntimeChoice::Auto) {
            Ok(loaded) => assert!(Fused::is_fast() && loaded.runtime() == "fused"),
            Err(error) => assert!(!Fused::is_fast() && error.problem.contains("an ONNX export")),
        }
        let problem = load(RuntimeChoice::Rten).unwrap_err().to_string();
        assert!(problem.contains(WEIGHTS) && problem.contains("only the runtime `fused`"));
    }
}

#[test]
fn an_encoder_needs_no_graph() {
    let made = Made::bert();
    for (output, pooling) in
        ["pooling_mode_mean_tokens", "pooling_mode_cls_token"].iter().enumerate()
    {
        let files = files(&made, Some(pooling));
        let (_kept, model) = folder(&files);
        let embedder = Embedder::load(&model, options(RuntimeChoice::Fused)).unwrap();
        assert_eq!((embedder.runtime(), embedder.size()), ("fused", made::HIDDEN));
        for (found, row) in embedder.read(TEXTS).into_iter().zip(rows(&made, &files, output)) {
            let found = found.unwrap();
            assert!(found.iter().zip(row).all(|(found, row)| (found - row).abs() < 1e-6));
        }
    }
}

fn problem(files: &Files) -> ModelError {
    let (_kept, model) = folder(files);
    Classifier::load(&model, Task::Sentiment, options(RuntimeChoice::Fused)).unwrap_err()
}

#[test]
fn i6_weights_that_can_not_be_run_are_refused_with_what_to_do() {
    let made = Made::bert_classifier();
    let config = |key: &str, value: Value| {
        let mut made = made.clone();
        made.config[key] = value;
        files(&made, None)
    };
    let mut cut = files(&made, None);
    cut.get_mut(WEIGHTS).unwrap().truncate(1_000);
    for (files, part) in [
        (config("model_type", json!("distilbert")), "family `distilbert`"),
        (config("hidden_act", json!("relu")), "the activation `relu`"),
        (config("hidden_size", json!(128)), "it does not fit config.json"),
        (config("hidden_size", json!(80)), "hidden width 80: it must be a multiple of 64"),
        (cut, "no whole safetensors file"),
    ] {
        let problem = problem(&files).to_string();
        assert!(problem.contains(WEIGHTS) && problem.contains(part), "{part}: {problem}");
    }
}

/// An export of a kind that it does not know is run by a general runtime, and it is said why.
#[test]
fn what_it_does_not_know_is_left_to_others() {
    let mut files = tiny::sentiment(["negative", "neutral", "positive"]);
    let mut config: Value = serde_json::from_slice(&files["config.json"]).unwrap();
    config["model_type"] = json!("distilbert");
    files.insert("config.json".to_owned(), config.to_string().into_bytes());
    let (_kept, model) = folder(&files);
    let loaded = Classifier::load(&model, Task::Sentiment, options(RuntimeChoice::Auto)).unwrap();
    assert_ne!(loaded.runtime(), "fused");
    let reason = loaded.passed_over().unwrap();
    let expected = if Fused::is_fast() { "distilbert" } else { "instructions for this machine" };
    assert!(reason.contains("not `fused`") && reason.contains(expected), "{reason}");
    assert!(problem(&files).to_string().contains("set the runtime `auto`"));
}
