//! `rten` beside ONNX Runtime, over the models of the tests. Needs the library of ONNX Runtime
//! (1.17 or newer), which `ORT_DYLIB_PATH` names.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "hugging_face/mod.rs"]
mod tiny;

use std::path::Path;

use tempfile::TempDir;
use tiny::Files;
use wingbeat_model::{
    Judge, Reader, Reading, Sentiment,
    encoder::{Encoder, EncoderOptions, EncoderSource, RuntimeChoice, is_installed},
    hugging_face::{Classifier, Embedder, ModelFolder, Task},
};

/// How far numbers may be apart: another order of adding up.
const APART_MAX: f32 = 1e-5;

fn has_oracle() -> bool {
    if std::env::var_os("ORT_DYLIB_PATH").is_some() {
        assert!(is_installed(), "ORT_DYLIB_PATH names a library that can't be used");
        return true;
    }
    eprintln!("skipped: ORT_DYLIB_PATH is not set");
    false
}

fn options(runtime: RuntimeChoice) -> EncoderOptions {
    EncoderOptions { threads: 2, runtime, ..EncoderOptions::default() }
}

/// Texts of all lengths, in the words that the models have and others.
fn texts() -> Vec<String> {
    let words = ["good", "bad", "day", "goal", "song", "the", "user", "@", ".", "!", "else", "👍"];
    (0..200)
        .map(|n| {
            (0..n % 45)
                .map(|at| words[(at * 7 + n * 5) % words.len()])
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

/// What a model says of a text, as numbers.
fn numbers(reading: &Reading, judge: &Judge) -> Vec<f32> {
    let features = wingbeat_model::linear::Featuriser::default().features("");
    let sentiment = judge.sentiment(&features, Some(reading)).probabilities();
    let topics = judge.topics(&features, Some(reading)).scores;
    let embedding = reading.embedding().unwrap_or_default();
    [&sentiment[..], &topics, embedding].concat()
}

fn compare(name: &str, load: impl Fn(EncoderOptions) -> Reader) {
    let [rten, ort] = [RuntimeChoice::Rten, RuntimeChoice::Ort].map(|runtime| {
        let judge = Judge::new(load(options(runtime))).unwrap();
        let texts = texts();
        let read = judge.read(texts.iter().map(String::as_str)).into_iter();
        let said: Vec<Vec<f32>> = read.map(|read| numbers(&read.unwrap(), &judge)).collect();
        (judge.runtime().unwrap(), said)
    });
    assert_eq!((rten.0, ort.0), ("rten", "ort"));
    for (text, (a, b)) in rten.1.iter().zip(&ort.1).enumerate() {
        let is_same = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < APART_MAX);
        assert!(is_same, "{name}, text {text}: {a:?} {b:?}");
    }
}

fn folder(files: &Files) -> (TempDir, ModelFolder) {
    let folder = TempDir::new().unwrap();
    tiny::write(files, folder.path());
    let path = folder.path().to_owned();
    (folder, ModelFolder { repo: "acme/tiny".to_owned(), path })
}

#[test]
fn both_runtimes_say_the_same() {
    if !has_oracle() {
        return;
    }
    let encoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encoder");
    let encoder = EncoderSource::Folder(encoder);
    compare("encoder", |options| Reader::Encoder(Encoder::load(&encoder, options).unwrap().into()));
    let (_sentiment, model) = folder(&tiny::sentiment(Sentiment::LABELS));
    compare("sentiment", |options| {
        Reader::Classifier(Classifier::load(&model, Task::Sentiment, options).unwrap().into())
    });
    let (_topics, model) = folder(&tiny::topics());
    compare("topics", |options| {
        Reader::Classifier(Classifier::load(&model, Task::Topics, options).unwrap().into())
    });
    for pooling in ["pooling_mode_mean_tokens", "pooling_mode_cls_token"] {
        let (_embedding, model) = folder(&tiny::embedding(pooling));
        compare("embedding", |options| {
            Reader::Embedder(Embedder::load(&model, options).unwrap().into())
        });
    }
}

/// With `auto`, a model by name that ours does not know is run by whichever is there.
#[test]
fn a_model_by_name_takes_the_faster_runtime_that_is_there() {
    let (_kept, model) = folder(&tiny::topics());
    let load = |runtime| Classifier::load(&model, Task::Topics, options(runtime));
    let expected = if is_installed() { "ort" } else { "rten" };
    assert_eq!(load(RuntimeChoice::Auto).unwrap().runtime(), expected);
    if !is_installed() {
        let problem = load(RuntimeChoice::Ort).unwrap_err().to_string();
        assert!(problem.contains("ORT_DYLIB_PATH") && problem.contains("`rten`"), "{problem}");
    }
}
