//! The replaced services' own client library beside Wingbeat, on one NATS server: programs that
//! subscribe and publish as they did (`support/nats_py/`), on either side. Needs what `make nats`
//! and `make nats-py` fetch.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{Home, nats::Nats, nats_py::Python};

/// Made-up posts, as [`Home::run`] takes them.
const SOURCE: [&str; 4] =
    ["--source", "simulator:seed=5,count=300,deletes=0,malformed=0,duplicates=0", "--rate", "2000"];

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Runs a service to its end; the books of its flow.
fn books(home: &Home, arguments: &[&str], environment: &[(&str, &str)]) -> Value {
    let mut command = home.command(arguments);
    command.args(["--port", "0", "--once", "--format", "json"]);
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    let summary = stdout.lines().find(|line| line.starts_with('{')).unwrap();
    serde_json::from_str::<Value>(summary).unwrap()["flows"][0].clone()
}

fn ingest(home: &Home, url: &str) -> u64 {
    let flow = books(home, &[&["ingest", "--log", url], &SOURCE[..]].concat(), &[]);
    flow["emitted"].as_u64().unwrap()
}

fn process(home: &Home, url: &str, names: &[(&str, &str)]) -> Value {
    // Every post comes out, however uncertain its mood.
    let all = [("SENTIMENT_CONFIDENCE_THRESHOLD", "0")];
    books(home, &["process", "--log", url], &[&all, names].concat())
}

#[test]
fn the_old_processor_reads_what_ingest_writes() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let emitted = ingest(&home, &nats.url);
    assert!(emitted > 0);
    let arguments = [&nats.url, "bluesky-posts", "bluesky.posts", "old-processor"];
    let mut processor = Python::reader("processor", &arguments);
    for sequence in 1..=emitted {
        let post = processor.next();
        let payload = &post["payload"];
        assert_eq!(
            post["keys"].as_array().unwrap()[..5],
            ["uri", "cid", "author", "text", "created_at"].map(Value::from)
        );
        assert_eq!(post["subject"], "bluesky.posts.posts");
        assert_eq!((&post["sequence"], &post["deliveries"]), (&json!(sequence), &json!(1)));
        let id =
            format!("{}:{}", payload["uri"].as_str().unwrap(), payload["cid"].as_str().unwrap());
        assert_eq!(post["headers"]["Nats-Msg-Id"], id);
        assert!(payload["text"].is_string() && payload["created_at"].is_string(), "{payload}");
    }
    assert_eq!(processor.end(), Vec::<Value>::new());
}

#[test]
fn the_old_processor_reads_what_mock_writes() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    home.run(&["mock", "--count", "20", "--rate", "5000", "--log", &nats.url]).ok();
    let arguments = [&nats.url, "bluesky-posts", "bluesky.posts", "old-processor"];
    let mut processor = Python::reader("processor", &arguments);
    let post = processor.next();
    assert!(post["subject"].as_str().unwrap().starts_with("bluesky.posts."), "{post}");
    assert!(post["payload"]["text"].is_string(), "{post}");
    drop(processor);
}

/// All filters of the old dashboard, each with the ordered consumer that it made for a browser.
#[test]
fn the_old_dashboard_reads_what_process_writes() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    // The streams are there before the dashboard comes.
    assert_eq!(process(&home, &nats.url, &[])["received"], 0);
    let subject = "bluesky.enriched";
    let filters = [".positive.relationships", ".negative.>", ".*.film_tv_&_video", ".>"];
    let filters = filters.map(|filter| format!("{subject}{filter}"));
    let mut arguments = vec![nats.url.as_str(), "bluesky-posts-enriched"];
    arguments.extend(filters.iter().map(String::as_str));
    let mut dashboard = Python::reader("dashboard", &arguments);
    ingest(&home, &nats.url);
    let flow = process(&home, &nats.url, &[]);
    let emitted = flow["emitted"].as_u64().unwrap();
    assert!(emitted > 200, "{flow}");

    let is_wanted = |filter: &str, subject: &str| {
        let mut tokens = subject.split('.');
        let mut wanted = filter.split('.');
        wanted.all(|want| {
            want == ">" || tokens.next().is_some_and(|have| want == "*" || want == have)
        })
    };
    let stored = home.run(&["streams", "tail", "bluesky-posts-enriched", "--log", &nats.url]).ok();
    let stored = stored.json_lines();
    assert_eq!(stored.len() as u64, emitted);
    let mut expected = Vec::new();
    for filter in &filters {
        let before = expected.len();
        for record in &stored {
            let subject = record["subject"].as_str().unwrap();
            if is_wanted(filter, subject) {
                expected.push((filter.clone(), record["seq"].as_u64().unwrap()));
            }
        }
        assert!(expected.len() > before, "nothing for {filter}");
    }
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let post = dashboard.next();
        assert_enriched(&post);
        let filter = post["filter"].as_str().unwrap().to_owned();
        seen.push((filter, post["sequence"].as_u64().unwrap()));
    }
    assert_eq!(dashboard.end(), Vec::<Value>::new());
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

/// The payload that the old dashboard's page reads, with what is new beside it.
#[track_caller]
fn assert_enriched(post: &Value) {
    let payload = &post["payload"];
    for name in ["uri", "cid", "author", "text", "created_at", "processor"] {
        assert!(payload[name].is_string(), "{name} of {payload}");
    }
    assert_eq!(payload["processor"], "nats-stream-processor");
    let seconds = payload["processed_at"].as_f64().unwrap();
    assert!(seconds > 1.7e9 && seconds < 1e11 && payload["processed_at"].is_f64(), "{seconds}");
    assert!(payload["processed_at_iso"].as_str().unwrap().ends_with('Z'));
    let id = format!("{}:{}", payload["uri"].as_str().unwrap(), payload["cid"].as_str().unwrap());
    assert_eq!(post["headers"]["Nats-Msg-Id"], id);
    let (sentiment, topics) = (&payload["sentiment"], &payload["topics"]);
    let mut tokens = post["subject"].as_str().unwrap().split('.').skip(2);
    let (first, second) = (tokens.next().unwrap(), tokens.next().unwrap());
    assert_eq!(tokens.next(), None);
    if sentiment.is_null() {
        assert_eq!((first, second, topics), ("unscored", "unknown", &Value::Null));
        return;
    }
    assert_eq!(keys(sentiment), ["sentiment", "confidence", "probabilities", "label", "score"]);
    let word = sentiment["sentiment"].as_str().unwrap();
    assert_eq!(keys(&sentiment["probabilities"]), ["negative", "neutral", "positive"]);
    assert_eq!(sentiment["probabilities"][word], sentiment["confidence"]);
    assert_eq!(sentiment["label"], word.to_uppercase());
    assert_eq!(sentiment["score"], sentiment["confidence"]);
    let all: f64 = keys(&sentiment["probabilities"])
        .iter()
        .map(|key| sentiment["probabilities"][*key].as_f64().unwrap())
        .sum();
    assert!((all - 1.0).abs() < 1e-4, "{all}");
    assert_eq!(keys(topics), ["topics", "top_topic", "top_confidence"]);
    let top = topics["top_topic"].as_str().unwrap();
    assert!(topics["topics"].as_array().unwrap().contains(&top.into()), "{topics}");
    assert!(topics["top_confidence"].is_f64());
    // The subject says the same; `&` and the like are as the old processor wrote them.
    assert_eq!((first, second), (word, top));
}

const TEXTS: &str = "\
What a wonderful morning, I love this music so much!
This is a terrible, horrible disaster and I hate it
Ein wunderschöner Morgen — ich liebe diese Musik! 🎶
";

/// Neither ids nor headers; what the old ingest sent twice comes out once, for it has an identity.
#[test]
fn what_the_old_ingest_writes_is_processed() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    for _ in 0..2 {
        let mut writer =
            Python::start("writer", &[&nats.url, "ingest", "bluesky-posts", "bluesky.posts"]);
        writer.feed(TEXTS);
        assert_eq!(writer.end().len(), 3);
    }
    let flow = process(&home, &nats.url, &[]);
    assert_eq!((&flow["received"], &flow["emitted"]), (&json!(6), &json!(3)), "{flow}");
    assert_eq!(flow["filtered"], json!({"duplicate": 3}));
    let stored = home.run(&["streams", "tail", "bluesky-posts-enriched", "--log", &nats.url]).ok();
    let stored = stored.json_lines();
    for (at, (record, text)) in stored.iter().zip(TEXTS.lines()).enumerate() {
        let payload = &record["payload"];
        assert_eq!(payload["text"], text);
        let author = format!("did:plc:{at:024}");
        assert_eq!(payload["author"], author);
        let id = format!("at://{author}/app.bsky.feed.post/{at}:bafyrei{at:052}");
        assert_eq!(record["headers"]["Nats-Msg-Id"], id);
    }
    let mood = |at: usize| stored[at]["payload"]["sentiment"]["sentiment"].clone();
    assert_eq!((mood(0), mood(1), mood(2)), ("positive".into(), "negative".into(), Value::Null));
    home.run(&["audit", "--log", &nats.url]).ok();
}

/// No `cid`, and `timestamp` for `created_at`; and the names of the development streams.
#[test]
fn what_the_old_mock_writes_is_processed() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let mut writer =
        Python::start("writer", &[&nats.url, "mock", "bluesky-posts-dev", "bluesky.posts.dev"]);
    writer.feed(TEXTS);
    assert_eq!(writer.end().len(), 3);
    let names = [
        ("INPUT_STREAM", "bluesky-posts-dev"),
        ("INPUT_SUBJECT", "bluesky.posts.dev"),
        ("OUTPUT_STREAM", "bluesky-posts-enriched-dev"),
        ("OUTPUT_SUBJECT", "bluesky.enriched.dev"),
        ("CONSUMER_NAME", "unified-processor-dev"),
    ];
    let flow = process(&home, &nats.url, &names);
    assert_eq!((&flow["received"], &flow["emitted"]), (&json!(3), &json!(3)), "{flow}");
    let tail = ["streams", "tail", "bluesky-posts-enriched-dev", "--log", &nats.url];
    let stored = home.run(&tail).ok().json_lines();
    let post = &stored[0]["payload"];
    assert_eq!(keys(post)[..4], ["uri", "text", "author", "timestamp"]);
    assert_eq!((&post["uri"], &post["author"]), (&json!("at://test/0"), &json!("test-user-0")));
    assert!(post["timestamp"].as_str().unwrap().contains('T'), "{post}");
    let subject = stored[0]["subject"].as_str().unwrap();
    assert!(subject.starts_with("bluesky.enriched.dev.positive."), "{subject}");
    let mut audit = home.command(&["audit", "--profile", "enriched", "--log", &nats.url]);
    assert!(audit.envs(names).status().unwrap().success());
}
