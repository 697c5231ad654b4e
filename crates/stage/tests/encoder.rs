//! The stages `sentiment`, `topics` and `embed` with an encoder: the small one that is made for the
//! tests of the crate that runs it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wingbeat_record::{Record, Subject};
use wingbeat_stage::{Explain, Item, ModelChoice, Settings, Stage, catalogue};

const ENGLISH: &str = "What a good day this was for the team, and what a goal";
const GERMAN: &str = "Der Zug kam wieder zu spät und niemand sagte uns warum.";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/encoder")
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.models.sentiment = ModelChoice::Encoder;
    settings.models.topics = ModelChoice::Encoder;
    settings.models.encoder = Some(folder());
    settings.models.threads = 1;
    settings
}

fn run(stages: &[&str], settings: &Settings, texts: &[&str]) -> Vec<Item> {
    let stages: Vec<Box<dyn Stage>> =
        stages.iter().map(|name| catalogue::stage(name, settings).unwrap()).collect();
    let item = |text: &&str| {
        let post = json!({ "text": text }).to_string().into_bytes();
        Item::new(Record::new(Subject::new("s").unwrap(), post))
    };
    let mut items: Vec<Item> = texts.iter().map(item).collect();
    for stage in stages {
        let mut open: Vec<&mut Item> =
            items.iter_mut().filter(|item| item.verdict().is_none()).collect();
        stage.run(&mut open);
    }
    items
}

fn output(item: &Item) -> Value {
    serde_json::from_slice(&item.output()).unwrap()
}

#[test]
fn the_stages_say_what_the_encoder_says() {
    let stages = ["post", "language", "sentiment", "topics", "embed"];
    let bad = "This was such a bad, bad, bad day for all of us";
    let items = run(&stages, &settings(), &[ENGLISH, bad]);
    let found: Vec<Value> = items.iter().map(output).collect();
    let moods = found.iter().map(|post| post["sentiment"]["sentiment"].as_str().unwrap());
    assert_eq!(moods.collect::<Vec<_>>(), ["positive", "negative"]);
    assert_eq!(found[0]["topics"]["top_topic"], "sports");
    let embedding: Vec<f64> = serde_json::from_value(found[0]["embedding"].clone()).unwrap();
    let length: f64 = embedding.iter().map(|number| number * number).sum();
    assert!(embedding.len() == 8 && (length - 1.0).abs() < 1e-3, "{embedding:?}");
}

/// The small encoder's say is the mean of that of the words, so it is known which of them decides.
#[test]
fn explanations_are_of_the_models_that_the_stages_use() {
    let mut settings = settings();
    settings.sentiment.threshold = 0.0;
    let explain: Box<dyn Stage> = Box::new(Explain::new(&settings).unwrap());
    let mut stages: Vec<Box<dyn Stage>> = ["post", "language", "sentiment", "topics"]
        .map(|name| catalogue::stage(name, &settings).unwrap())
        .into();
    stages.push(explain);
    let explained = |post: Value| {
        let subject = Subject::new("s").unwrap();
        let mut item = Item::new(Record::new(subject, post.to_string().into_bytes()));
        for stage in &stages {
            stage.run(&mut [&mut item]);
        }
        output(&item)
    };
    let post = explained(json!({ "text": ENGLISH, "explain": true }));
    let explanation = &post["explanation"];
    let parts: Vec<&str> = explanation["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["text"].as_str().unwrap())
        .collect();
    assert_eq!(parts.len(), 14);
    let most = |label: &Value| {
        let added: Vec<f64> = serde_json::from_value(label["added"].clone()).unwrap();
        let most = (0..added.len()).max_by(|a, b| added[*a].total_cmp(&added[*b])).unwrap();
        parts[most].to_owned()
    };
    assert_eq!(most(&explanation["sentiment"][0]), "good");
    let sports = explanation["topics"].as_array().unwrap().iter();
    let sports = sports.clone().find(|topic| topic["label"] == "sports").unwrap();
    assert!(["team", "goal"].contains(&most(sports).as_str()), "{sports}");
    // Without a word it is as if the text had never had it.
    let without = explained(json!({ "text": ENGLISH.replace("good ", "") }));
    let probability = |value: &Value| value.as_f64().unwrap();
    let expected = probability(&without["sentiment"]["probabilities"]["positive"]);
    let found = probability(&explanation["sentiment"][0]["without"][2]);
    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    assert!(explained(json!({ "text": ENGLISH })).get("explanation").is_none());
    assert!(explained(json!({ "text": GERMAN, "explain": true }))["explanation"].is_null());
}

#[test]
fn each_tier_is_its_own_setting() {
    let (mut mixed, mut linear) = (settings(), Settings::default());
    mixed.models.sentiment = ModelChoice::Linear;
    linear.models.sentiment = ModelChoice::Linear;
    linear.models.topics = ModelChoice::Linear;
    let stages = ["post", "sentiment", "topics"];
    let post = |settings: &Settings| output(&run(&stages, settings, &[ENGLISH])[0]);
    let (linear, encoder) = (post(&linear), post(&settings()));
    assert_eq!(post(&mixed)["sentiment"], linear["sentiment"]);
    assert_eq!(post(&mixed)["topics"], encoder["topics"]);
    assert_ne!(linear["sentiment"], encoder["sentiment"]);
    assert_ne!(linear["topics"], encoder["topics"]);
}

#[test]
fn what_can_not_be_read_is_not_read() {
    let stages = ["post", "sentiment", "topics", "embed"];
    let items = run(&stages, &settings(), &[GERMAN, ENGLISH, ""]);
    for item in [&items[0], &items[2]] {
        let post = output(item);
        assert!(post["sentiment"].is_null() && post["topics"].is_null());
        assert!(post.as_object().unwrap()["embedding"].is_null(), "{post}");
    }
    assert!(output(&items[1])["embedding"].is_array());
}

#[test]
fn an_encoder_that_can_not_be_had_is_an_error_of_the_start() {
    let problem =
        |settings: &Settings| catalogue::stage("topics", settings).err().unwrap().to_string();
    let mut settings = settings();
    settings.models.batch_tokens = 100_000;
    assert!(problem(&settings).contains("`batch_tokens` is 100000"));
    settings.models.batch_tokens = 64;
    settings.models.tokens_max = 2;
    assert!(problem(&settings).contains("allow at least 8"));
    settings.models.encoder = Some("nowhere".into());
    assert!(problem(&settings).contains("nowhere"), "{}", problem(&settings));
    if !wingbeat_model::encoder::is_embedded() {
        settings.models.encoder = None;
        assert!(problem(&settings).contains("built without an encoder"));
    }
}

#[test]
fn stages_share_an_encoder() {
    let models = settings().models;
    let first = models.encoder().unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &models.encoder().unwrap()));
    let mut other = models.clone();
    other.batch_tokens = 100;
    assert!(!std::sync::Arc::ptr_eq(&first, &other.encoder().unwrap()));
}
