//! Models by name, with small ones made for these tests (`hugging_face/make.py`).

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "hugging_face/mod.rs"]
mod tiny;

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tiny::Files;
use wingbeat_model::{
    ModelError, Sentiment, Topics,
    encoder::EncoderOptions,
    hugging_face::{Classifier, Embedder, ModelFolder, Said, Task},
};

const LABELS: [&str; 3] = ["negative", "neutral", "positive"];

fn folder(files: &Files) -> (TempDir, ModelFolder) {
    let folder = TempDir::new().unwrap();
    tiny::write(files, folder.path());
    let path = folder.path().to_owned();
    (folder, ModelFolder { repo: "acme/tiny".to_owned(), path })
}

fn options() -> EncoderOptions {
    EncoderOptions { threads: 1, ..EncoderOptions::default() }
}

fn classifier(files: &Files, task: Task) -> Result<Classifier, ModelError> {
    Classifier::load(&folder(files).1, task, options())
}

fn sentiments(classifier: &Classifier, texts: &[&str]) -> Vec<Sentiment> {
    let said = classifier.read(texts.iter().copied()).into_iter().map(|said| match said.unwrap() {
        Said::Sentiment(sentiment) => sentiment,
        Said::Topics(topics) => panic!("{topics:?}"),
    });
    said.collect()
}

fn topics(classifier: &Classifier, text: &str) -> Topics {
    match classifier.read([text]).pop().unwrap().unwrap() {
        Said::Topics(topics) => topics,
        Said::Sentiment(sentiment) => panic!("{sentiment:?}"),
    }
}

#[test]
fn a_classifier_says_sentiment_by_the_names_of_its_labels() {
    let texts = ["good", "bad bad", "the day", "GOOD!"];
    let expected = ["positive", "negative", "neutral", "positive"];
    for labels in [LABELS, ["NEG", "Neu", "pos"], ["1 star", "3 stars", "5 stars"]] {
        let classifier = classifier(&tiny::sentiment(labels), Task::Sentiment).unwrap();
        let found = sentiments(&classifier, &texts);
        assert_eq!(found.iter().map(|it| it.top().0).collect::<Vec<_>>(), expected);
        // One word of three tokens: the mean of 24 is 8, and the others are 0.
        let share = 8.0f32.exp() / (8.0f32.exp() + 2.0);
        assert!((found[0].positive - share).abs() < 1e-5, "{:?}", found[0]);
    }
    let turned = classifier(&tiny::sentiment(["positive", "neutral", "negative"]), Task::Sentiment);
    assert_eq!(sentiments(&turned.unwrap(), &["good"])[0].top().0, "negative");
}

#[test]
fn a_classifier_says_topics_of_its_own_each_by_itself() {
    let classifier = classifier(&tiny::topics(), Task::Topics).unwrap();
    assert_eq!(classifier.topics(), ["matches & goals", "songs", "weather", "other"]);
    let found = topics(&classifier, "goal song");
    // Two words of four tokens: 60 / 4 - 4.
    let high = 1.0 / (1.0 + (-11.0f32).exp());
    let low = 1.0 / (1.0 + 4.0f32.exp());
    for (found, expected) in found.scores.iter().zip([high, high, low, low]) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    assert_eq!(found.top().0, "matches & goals");
    assert_eq!(found.score("weather"), Some(found.scores[2]));
    assert_eq!(found.score("sports"), None);
    // A model of topics does not say sentiment, and its labels are told.
    let problem = problem_of(&tiny::topics(), Task::Sentiment);
    assert!(problem.contains("matches & goals, songs"), "{problem}");
}

fn problem_of(files: &Files, task: Task) -> String {
    classifier(files, task).unwrap_err().to_string()
}

#[test]
fn an_embedding_is_the_mean_of_the_tokens_or_the_first() {
    let read = |pooling: &str, texts: &[&str]| {
        let embedder = Embedder::load(&folder(&tiny::embedding(pooling)).1, options()).unwrap();
        assert_eq!(embedder.size(), 8);
        let read = embedder.read(texts.iter().copied()).into_iter();
        read.collect::<Result<Vec<_>, _>>().unwrap()
    };
    // Longer texts beside it: padding must not be heard.
    let found = read("pooling_mode_mean_tokens", &["good", "bad bad bad", "good good bad"]);
    let length = (9.0f32 + 1.0 + 4.0).sqrt();
    let expected = [3.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0].map(|number: f32| number / length);
    assert!(found[0].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", found[0]);
    assert!(found[2][0] > found[2][4] && found[2][3].abs() < 1e-6);
    let first = read("pooling_mode_cls_token", &["good"]);
    assert!((first[0][1] - 1.0).abs() < 1e-6, "{first:?}");
}

#[test]
fn i6_texts_of_any_kind_and_length_are_classified() {
    let classifier = classifier(&tiny::sentiment(LABELS), Task::Sentiment).unwrap();
    let long = "good ".repeat(100_000);
    let emoji = "👍🏽👩‍👩‍👧‍👦".repeat(10_000);
    let texts = ["", " ", &long, &emoji, "👍", "\u{0}\u{7}\u{1b}[31m", "[SEP] [PAD]", "\u{202e}x"];
    let found = sentiments(&classifier, &texts);
    assert_eq!(found.len(), texts.len());
    // 30 words between the first token and the last.
    assert_eq!(found[2], sentiments(&classifier, &[&"good ".repeat(30)])[0]);
    assert_ne!(found[2], sentiments(&classifier, &[&"good ".repeat(29)])[0]);
    assert!(classifier.read([]).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn i6_any_text_is_classified(texts in prop::collection::vec(any::<String>(), 0..20)) {
        let classifier = classifier(&tiny::sentiment(LABELS), Task::Sentiment).unwrap();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for sentiment in sentiments(&classifier, &texts) {
            let sum: f32 = sentiment.probabilities().iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-5);
        }
    }
}

/// The files with one of them changed.
fn with(mut files: Files, name: &str, content: impl Into<Vec<u8>>) -> Files {
    files.insert(name.to_owned(), content.into());
    files
}

fn with_config(files: &Files, key: &str, value: Value) -> Files {
    let mut config: Value = serde_json::from_slice(&files["config.json"]).unwrap();
    config[key] = value;
    with(files.clone(), "config.json", config.to_string())
}

fn without(mut files: Files, name: &str) -> Files {
    files.remove(name).unwrap();
    files
}

#[test]
fn i6_a_model_by_name_that_is_wrong_is_refused_with_what_to_do() {
    let model = "onnx/model_int8.onnx";
    let good = || tiny::sentiment(LABELS);
    let of = |files: &Files| problem_of(files, Task::Sentiment);
    let onnx = good()[model].clone();
    let import = [0x42, 4, 0x0a, 0, 0x10, 17];
    let at = (0..onnx.len()).find(|at| onnx[*at..].starts_with(&import)).unwrap();
    let mut newer = onnx.clone();
    newer[at + 5] = 99;
    for (files, parts) in [
        (
            tiny::sentiment(["LABEL_0", "LABEL_1", "LABEL_2"]),
            ["config.json", "LABEL_0, LABEL_1, LABEL_2"],
        ),
        (tiny::sentiment(["joy", "anger", "fear"]), ["joy, anger, fear", "id2label"]),
        (
            with_config(&good(), "id2label", json!({"0": "negative", "1": "positive"})),
            [model, "[2, 3], not [2, 2]"],
        ),
        (
            with_config(&good(), "architectures", json!(["BertForMaskedLM"])),
            ["config.json", "BertForMaskedLM"],
        ),
        (with_config(&good(), "problem_type", json!("regression")), ["config.json", "regression"]),
        (with(good(), model, &onnx[..onnx.len() / 2]), [model, "cut short"]),
        (with(good(), model, newer), [model, "operator set 99"]),
        (with(good(), model, *b"<html>not found</html>"), [model, "not a whole ONNX file"]),
        (without(good(), "tokenizer.json"), ["no `tokenizer.json`", "optimum-cli export onnx"]),
        (without(good(), model), ["none of `onnx/model_int8.onnx`", "`config.json`"]),
        (with(good(), "tokenizer.json", "{}"), ["tokenizer.json", "not a sound tokenizer"]),
        (with(good(), "config.json", "{"), ["config.json", "damaged"]),
        (with(good(), "tokenizer_config.json", "7"), ["tokenizer_config.json", "damaged"]),
        (
            with(good(), model, tiny::embedding("x")["onnx/model.onnx"].clone()),
            ["no output `logits`", "last_hidden_state"],
        ),
    ] {
        let problem = of(&files);
        assert!(parts.iter().all(|part| problem.contains(part)), "{parts:?}: {problem}");
    }
    // The model has fewer places than its files say.
    let mut longer = with_config(&good(), "max_position_embeddings", json!(64));
    longer.remove("tokenizer_config.json");
    assert!(of(&longer).contains("can't be run"), "{}", of(&longer));
    let missing = ModelFolder { repo: "acme/none".to_owned(), path: "nowhere".into() };
    let problem = Classifier::load(&missing, Task::Topics, options()).unwrap_err().to_string();
    assert!(problem.contains("nowhere") && problem.contains("name a folder"), "{problem}");
}

#[test]
fn i6_an_encoder_by_name_that_is_wrong_is_refused_with_what_to_do() {
    let problem =
        |files: &Files| Embedder::load(&folder(files).1, options()).unwrap_err().to_string();
    let max = problem(&tiny::embedding("pooling_mode_max_tokens"));
    assert!(max.contains("1_Pooling/config.json") && max.contains("another pooling"), "{max}");
    let classifier = problem(&tiny::sentiment(LABELS));
    assert!(
        classifier.contains("`sentence_embedding`") && classifier.contains("no encoder"),
        "{classifier}"
    );
}

/// Where a model has only numbers for labels, what is known of it by its name counts, or by that of
/// the model that it was made from.
#[test]
fn a_model_that_is_known_needs_no_names() {
    let files = tiny::sentiment(["LABEL_0", "LABEL_1", "LABEL_2"]);
    let (_kept, mut known) = folder(&files);
    known.repo = "onnx-community/twitter-roberta-base-sentiment-ONNX".to_owned();
    let classifier = Classifier::load(&known, Task::Sentiment, options()).unwrap();
    let found = sentiments(&classifier, &["good", "@somebody good", "@user good", "somebody good"]);
    assert_eq!(found[0].top().0, "positive");
    assert_eq!(found[1], found[2]);
    assert_ne!(found[1], found[3]);
    let made_from =
        with_config(&files, "_name_or_path", json!("cardiffnlp/twitter-roberta-base-sentiment"));
    assert!(Classifier::load(&folder(&made_from).1, Task::Sentiment, options()).is_ok());
}
