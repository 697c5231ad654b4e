//! The stages `language`, `sentiment` and `topics`, one behind the other as a flow runs them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};
use wingbeat_record::{Record, Subject};
use wingbeat_stage::{Item, Settings, Unread, Verdict, catalogue};

const ENGLISH: &str = "I love this so much, what a wonderful day with my team!";
const GERMAN: &str = "Der Zug kam wieder zu spät und niemand sagte uns warum.";

fn run(stages: &[&str], settings: &Settings, post: &Value) -> Item {
    let record = Record::new(Subject::new("s").unwrap(), post.to_string().into_bytes());
    let mut item = Item::new(record);
    for name in stages {
        if item.verdict().is_none() {
            catalogue::stage(name, settings).unwrap().run(&mut [&mut item]);
        }
    }
    item
}

fn all(settings: &Settings, post: &Value) -> Item {
    run(&["post", "language", "sentiment", "topics"], settings, post)
}

fn output(item: &Item) -> Value {
    serde_json::from_slice(&item.output()).unwrap()
}

fn tokens(item: &Item) -> (Option<&str>, Option<&str>) {
    (item.token("sentiment"), item.token("topic"))
}

fn filtered(item: &Item) -> String {
    match item.verdict() {
        Some(Verdict::Filtered(reason)) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_english_post_gets_language_sentiment_and_topics() {
    let item = all(&Settings::default(), &json!({ "text": ENGLISH }));
    let post = output(&item);
    assert_eq!((&post["language"], tokens(&item).0), (&json!("en"), Some("positive")));
    let sentiment = &post["sentiment"];
    let keys: Vec<&String> = sentiment.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["sentiment", "confidence", "probabilities", "label", "score"]);
    assert_eq!(
        (&sentiment["sentiment"], &sentiment["label"]),
        (&json!("positive"), &json!("POSITIVE"))
    );
    assert_eq!(sentiment["confidence"], sentiment["probabilities"]["positive"]);
    assert_eq!(sentiment["confidence"], sentiment["score"]);
    let topics = &post["topics"];
    let keys: Vec<&String> = topics.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["topics", "top_topic", "top_confidence"]);
    assert!(topics["topics"].as_array().unwrap().contains(&topics["top_topic"]));
    let top = topics["top_topic"].as_str().unwrap();
    assert_eq!(tokens(&item).1, Some(&*wingbeat_record::token(top)));
}

#[test]
fn a_language_that_the_model_cant_read_is_not_scored_as_english() {
    for (text, language) in [(GERMAN, json!("de")), ("", json!(null)), ("👍 12", json!(null))] {
        let item = all(&Settings::default(), &json!({ "text": text }));
        let post = output(&item);
        assert_eq!((item.verdict(), &post["language"]), (None, &language), "{text}");
        assert!(post["sentiment"].is_null() && post["topics"].is_null(), "{text}");
        assert_eq!(tokens(&item), (Some("unscored"), Some("unknown")), "{text}");
    }
    let mut settings = Settings::default();
    settings.sentiment.unread = Unread::Filter;
    assert_eq!(filtered(&all(&settings, &json!({ "text": GERMAN }))), "unread_language");
    settings.sentiment.unread = Unread::Score;
    settings.sentiment.threshold = 0.0;
    let post = output(&all(&settings, &json!({ "text": GERMAN })));
    assert!(post["sentiment"].is_object() && post["topics"].is_null(), "{post}");
    // There is nothing to score in an empty text.
    assert!(output(&all(&settings, &json!({ "text": "" })))["sentiment"].is_null());
}

#[test]
fn a_flow_without_the_stage_language_does_not_score_other_languages_either() {
    let stages = ["post", "sentiment"];
    let post = output(&run(&stages, &Settings::default(), &json!({ "text": GERMAN })));
    assert!(post["sentiment"].is_null() && post.get("language").is_none());
    let post = output(&run(&stages, &Settings::default(), &json!({ "text": ENGLISH })));
    assert_eq!(post["sentiment"]["sentiment"], "positive");
}

#[test]
fn the_declared_language_counts_only_where_the_text_leaves_it_open() {
    let language = |text: &str, langs: Value| {
        output(&all(&Settings::default(), &json!({ "text": text, "langs": langs })))["language"]
            .clone()
    };
    assert_eq!(language(ENGLISH, json!(["tr"])), "en");
    let mut settings = Settings::default();
    settings.language.sure = 1.0;
    let unsure = |post: Value| output(&all(&settings, &post))["language"].clone();
    assert_eq!(unsure(json!({ "text": "ok ok", "langs": ["fi-FI", "en"] })), "fi");
    assert_eq!(unsure(json!({ "text": "ok ok", "record": { "langs": ["nl"] } })), "nl");
    // What is no language, or not declared, does not count.
    let alone = unsure(json!({ "text": "ok ok" }));
    assert_eq!(unsure(json!({ "text": "ok ok", "langs": ["xx"] })), alone);
    assert_eq!(unsure(json!({ "text": "ok ok", "langs": "fi" })), alone);
}

#[test]
fn a_post_below_the_threshold_is_filtered_with_its_reason() {
    let mut settings = Settings::default();
    settings.sentiment.threshold = 1.0;
    assert_eq!(filtered(&all(&settings, &json!({ "text": ENGLISH }))), "low_confidence");
    for wrong in [-0.1, 1.1, f64::NAN] {
        settings.sentiment.threshold = wrong;
        let error = catalogue::stage("sentiment", &settings).err().unwrap().to_string();
        assert!(error.contains("from 0 to 1"), "{error}");
    }
}

#[test]
fn topics_are_those_above_the_threshold_and_never_none() {
    let topics = |threshold: f64, probabilities: bool| {
        let mut settings = Settings::default();
        settings.topics.threshold = threshold;
        settings.topics.probabilities = probabilities;
        output(&all(&settings, &json!({ "text": ENGLISH })))["topics"].clone()
    };
    assert_eq!(topics(0.0, false)["topics"].as_array().unwrap().len(), 19);
    let none = topics(1.0, true);
    assert_eq!(none["topics"], json!([none["top_topic"]]));
    assert_eq!(none["probabilities"].as_object().unwrap().len(), 19);
}
