//! Encoders, with a small one made for these tests (`encoder/make.py`): what it says of a text is
//! the mean of what it says of its words.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use wingbeat_model::{
    Sentiment, Topics,
    encoder::{Encoder, EncoderOptions, EncoderSource, Reading},
};

/// The linear model has no say in the small encoder.
const LINEAR: Sentiment = Sentiment { negative: 0.3, neutral: 0.3, positive: 0.4 };

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encoder")
}

fn load(folder: &Path) -> Result<Encoder, wingbeat_model::ModelError> {
    let options = EncoderOptions { threads: 2, ..EncoderOptions::default() };
    Encoder::load(&EncoderSource::Folder(folder.to_owned()), options)
}

fn encoder() -> Encoder {
    load(&fixture()).unwrap()
}

fn read(encoder: &Encoder, texts: &[&str]) -> Vec<Reading> {
    encoder.read(texts.iter().copied()).into_iter().collect::<Result<_, _>>().unwrap()
}

#[test]
fn one_pass_gives_sentiment_topics_and_embedding() {
    let encoder = encoder();
    assert_eq!(encoder.threads(), 2);
    // It is no transformer: the runtime that runs anything takes it.
    assert_eq!(encoder.runtime(), "rten");
    let readings = read(&encoder, &["good day", "a bad, bad goal", "the song"]);
    let mood = |reading| encoder.sentiment(reading, LINEAR).top().0;
    assert_eq!(readings.iter().map(mood).collect::<Vec<_>>(), ["positive", "negative", "negative"]);
    let topics = |reading| encoder.topics(reading, &Topics::of_logits([0.0; 19]));
    assert_eq!(topics(&readings[1]).top().0, "sports");
    assert_eq!(topics(&readings[2]).top().0, "music");
    for reading in &readings {
        let length: f32 = reading.embedding.iter().map(|number| number * number).sum();
        assert!((length - 1.0).abs() < 1e-5 && reading.embedding.len() == 8);
    }
}

#[test]
fn a_text_gets_the_same_answer_alone_and_among_others() {
    let encoder = encoder();
    let texts: Vec<String> =
        (0..300).map(|n| ["good ", "bad ", "goal "][n % 3].repeat(n % 40)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let together = read(&encoder, &texts);
    for (text, reading) in texts.iter().zip(together).step_by(7) {
        let alone = &read(&encoder, &[text])[0];
        let is_same =
            alone.embedding.iter().zip(&reading.embedding).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(is_same, "{text}");
        let moods = [alone, &reading].map(|reading| encoder.sentiment(reading, LINEAR).positive);
        assert!((moods[0] - moods[1]).abs() < 1e-5, "{text}");
    }
}

#[test]
fn mentions_are_read_as_in_training() {
    let encoder = encoder();
    let readings = read(&encoder, &["@somebody good", "@user good", "somebody good"]);
    assert_eq!(readings[0], readings[1]);
    assert_ne!(readings[0], readings[2]);
}

#[test]
fn i6_texts_of_any_kind_and_length_are_read() {
    let encoder = encoder();
    let long = "good ".repeat(100_000);
    let blank = " ".repeat(1 << 20);
    let word = "a".repeat(1 << 20);
    let emoji = "👍🏽👩‍👩‍👧‍👦".repeat(10_000);
    let texts = [
        "",
        " ",
        &long,
        &blank,
        &word,
        &emoji,
        "👍",
        "\u{0}\u{7}\u{1b}[31m",
        "[SEP] [PAD]",
        "\u{202e}x",
    ];
    let readings = read(&encoder, &texts);
    assert_eq!(readings.len(), texts.len());
    // What is beyond the limit is left unread: 30 words between the first token and the last.
    assert_eq!(readings[2], read(&encoder, &[&"good ".repeat(30)])[0]);
    assert_ne!(readings[2], read(&encoder, &[&"good ".repeat(29)])[0]);
    // Beyond so many bytes nothing is looked at.
    assert_eq!(readings[3], readings[0]);
    assert!(encoder.read([]).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn i6_any_text_gives_a_reading(texts in prop::collection::vec(any::<String>(), 0..20)) {
        let encoder = encoder();
        for reading in encoder.read(texts.iter().map(String::as_str)) {
            let sum: f32 = encoder.sentiment(&reading.unwrap(), LINEAR).probabilities().iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-5);
        }
    }
}

/// A copy of the small encoder, to be damaged.
struct Copy(TempDir);

impl Copy {
    fn new() -> Self {
        let copy = Self(TempDir::new().unwrap());
        for name in ["encoder.onnx", "tokenizer.json", "encoder.json"] {
            fs::copy(fixture().join(name), copy.path(name)).unwrap();
        }
        copy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts other bytes in the place of a file; the card does not know.
    fn replace(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn change_card(&self, pointer: &str, value: Value) {
        let mut card: Value = serde_json::from_slice(&self.bytes("encoder.json")).unwrap();
        *card.pointer_mut(pointer).unwrap() = value;
        self.replace("encoder.json", card.to_string().as_bytes());
    }

    /// As [`Copy::replace`], and the card says that it is right.
    fn exchange(&self, name: &str, bytes: &[u8]) {
        self.replace(name, bytes);
        let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let key = if name == "encoder.onnx" { "onnx" } else { "tokenizer" };
        self.change_card(&format!("/{key}/sha256"), json!(sum));
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// What is said about it; it must name the file.
    fn problem(&self, name: &str) -> String {
        let error = load(self.0.path()).unwrap_err();
        assert!(error.model.ends_with(name), "{error}");
        error.problem
    }
}

/// `bytes` with the only `old` in it replaced.
fn with(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
    assert_eq!(at.len(), 1, "{old:?}");
    [&bytes[..at[0]], new, &bytes[at[0] + old.len()..]].concat()
}

#[test]
fn i6_a_file_that_is_missing_or_damaged_is_named_with_what_to_do() {
    for name in ["encoder.onnx", "tokenizer.json", "encoder.json"] {
        let copy = Copy::new();
        fs::remove_file(copy.path(name)).unwrap();
        let problem = copy.problem(name);
        assert!(problem.contains("can't be read") && problem.contains("an encoder is a folder"));
    }
    for name in ["encoder.onnx", "tokenizer.json"] {
        let copy = Copy::new();
        let mut bytes = copy.bytes(name);
        bytes[100] ^= 1;
        copy.replace(name, &bytes);
        let problem = copy.problem(name);
        assert!(problem.contains("SHA-256") && problem.contains("fetch all files again"));
    }
    let copy = Copy::new();
    copy.replace("encoder.json", b"{\"version\": 1");
    assert!(copy.problem("encoder.json").contains("not the description of an encoder"));
    // Cut short where it was made: its checksum is that of the part.
    for part in [0, 100, 2_000] {
        let copy = Copy::new();
        copy.exchange("encoder.onnx", &copy.bytes("encoder.onnx")[..part]);
        assert!(copy.problem("encoder.onnx").contains("cut short"), "{part}");
        let copy = Copy::new();
        copy.exchange("tokenizer.json", &copy.bytes("tokenizer.json")[..part.min(1_000)]);
        assert!(copy.problem("tokenizer.json").contains("not a sound tokenizer"), "{part}");
    }
}

#[test]
fn i6_a_model_that_does_not_fit_is_refused_at_the_start() {
    let model = |old: &[u8], new: &[u8]| {
        let copy = Copy::new();
        copy.exchange("encoder.onnx", &with(&copy.bytes("encoder.onnx"), old, new));
        copy.problem("encoder.onnx")
    };
    // The import of ONNX's own operators: field 8, no domain, version 17.
    let import = [0x42, 4, 0x0a, 0, 0x10, 17];
    let of = |version| [0x42, 4, 0x0a, 0, 0x10, version];
    assert!(model(&import, &of(99)).contains("operator set 99; sets 11 to 21 can be run"));
    assert!(model(b"\x22\x06Gather", b"\x22\x06Gbther").contains("can't be loaded"));
    let copy = Copy::new();
    copy.change_card("/embedding/size", json!(9));
    let problem = copy.problem("encoder.onnx");
    assert!(problem.contains("output `embedding` has the shape [2, 8], not [2, 9]"), "{problem}");
    // A token that the model does not have.
    let copy = Copy::new();
    let text = String::from_utf8(copy.bytes("tokenizer.json")).unwrap();
    copy.exchange(
        "tokenizer.json",
        text.replace(r###""##s": 14"###, r###""##s": 15"###).as_bytes(),
    );
    assert!(copy.problem("encoder.onnx").contains("can't be run"));
    let copy = Copy::new();
    copy.change_card("/sentiment/labels", json!(["positive", "neutral", "negative"]));
    assert!(copy.problem("encoder.json").contains("the labels of `sentiment` are positive"));
}
