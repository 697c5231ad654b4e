//! `wingbeat ingest` in the place of `nats-firehose-ingest`.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    io::BufReader,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use support::{Home, Running, read_address, wait_until_begun};
use wingbeat_log::{Bucket, EmbeddedLog, Log as _};

fn post(number: usize, text: &str) -> String {
    let post = json!({
        "uri": format!("at://did:plc:a/app.bsky.feed.post/{number}"), "cid": format!("c{number}"),
        "author": "did:plc:a", "text": text, "created_at": null,
    });
    post.to_string() + "\n"
}

#[test]
fn names_filters_health_and_metrics_are_those_of_the_replaced_service() {
    let home = Home::new();
    let texts = ["long enough to pass", "short", "", "another one that is let through"];
    let posts: String = texts.iter().enumerate().map(|(n, text)| post(n, text)).collect();
    home.write("posts.jsonl", posts);
    let service = home.ingest(
        &["--source", "file:posts.jsonl"],
        &[
            ("SERVICE_NAME", "my-ingest"),
            ("NATS_STREAM", "my-posts"),
            ("NATS_SUBJECT", "my.posts"),
            ("MIN_TEXT_LENGTH", "6"),
            ("ENABLE_TEXT_FILTERING", "True"),
            ("METRICS_ENABLED", "true"),
            ("BATCH_SIZE", "3"),
            ("BATCH_TIMEOUT_MS", "50"),
        ],
    );
    // It has ended only once its place is saved, some time after the last record is settled.
    let details = service.wait_for("/health/detailed", |details| {
        details["components"]["firehose"]["running"] == false
    });
    assert_eq!(
        (&details["books"]["received"], &details["books"]["in_flight"]),
        (&json!(4), &json!(0))
    );
    assert_eq!(service.get("/health"), json!({"status": "ok", "service": "my-ingest"}));
    let filter = &details["components"]["filters"]["stats"]["post_filter"];
    assert_eq!((&filter["accepted"], &filter["rejected"]), (&json!(2), &json!(2)));
    assert_eq!(filter["rejection_reasons"], json!({"no_text": 1, "too_short": 1}));
    assert_eq!(filter["filters_enabled"]["min_text_length"], 6);
    assert_eq!(details["service_stats"]["posts_published"], 2);
    assert_eq!(details["components"]["nats"]["stats"]["success_rate"], 1.0);
    let (status, metrics) = service.get_text("/metrics");
    assert_eq!(status, 200);
    for line in [
        "nats_firehose_operations_total 2",
        "nats_firehose_posts_published_total 2",
        "nats_firehose_publish_errors_total 0",
        "firehose_messages_per_second 0",
        "firehose_events_per_second 0",
        "nats_connected 1",
        "firehose_cursor 0",
        "firehose_ops_queue_size 0",
        "wingbeat_books_imbalance{flow=\"ingest\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    // A source that has ended brings nothing any more.
    let (status, ready) = service.get_text("/ready");
    assert_eq!((status, ready.contains("\"ready\":false")), (503, true));
    assert_eq!(service.get_text("/docs").0, 404);
    service.signal("TERM");
    let ended = service.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // Every line of the log is JSON, and says which service it is from.
    let lines = ended.stderr.lines().filter(|line| line.starts_with('{'));
    let said: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    for message in ["starting_service", "service_exited"] {
        let line = said.iter().find(|line| line["message"] == message).unwrap();
        assert_eq!((&line["service"], &line["level"]), (&json!("my-ingest"), &json!("INFO")));
    }
    let stored = home.run(&["streams", "tail", "my-posts"]).ok().json_lines();
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0]["subject"], "my.posts.posts");
    let keys: Vec<&String> = stored[0]["payload"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["uri", "cid", "author", "text", "created_at"]);
    assert!(stored[0]["headers"]["Wingbeat-Correlation-Id"].is_string());
}

/// The cursor that both generations of the replaced service have left, each in its format.
#[test]
fn i2_a_cursor_of_the_replaced_service_is_taken_over() {
    let network = Home::new();
    let arguments = ["simulate-network", "--prepared", "400", "--rate", "4000"];
    let network = Running::start(network.command(&arguments));
    let events = loop {
        let (_, lines) = network.get_text("/simulate/events?from=0");
        let lines = lines.lines().filter(|line| line.starts_with('{'));
        let events: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        if events.last().is_some_and(|event| event["n"] == 399) {
            break events;
        }
    };
    let cursor = events[events.len() / 2]["seq"].as_u64().unwrap();
    let posts = events.iter().filter(|event| {
        event["seq"].as_u64().unwrap() > cursor
            && event["action"] == "create"
            && event["path"].as_str().unwrap().starts_with("app.bsky.feed.post/")
    });
    let uri = |event: &Value| {
        format!("at://{}/{}", event["did"].as_str().unwrap(), event["path"].as_str().unwrap())
    };
    let expected: Vec<String> = posts.map(uri).collect();
    let formats = [
        ("my-ingest", cursor.to_string()),
        ("my-ingest.cursor", format!("{{\"cursor\": {cursor}}}")),
    ];
    for (key, value) in formats {
        let home = Home::new();
        put(&home, key, &value);
        let source = format!("relay:ws://{}", network.address);
        let host = format!("service.cursor_host=ws://{}", network.address);
        let environment = [("SERVICE_NAME", "my-ingest"), ("ENABLE_TEXT_FILTERING", "false")];
        let service = home.ingest(&["--source", &source, "--set", &host], &environment);
        let last = events.last().unwrap()["seq"].as_u64();
        service.wait_for("/health/detailed", |details| {
            details["components"]["firehose"]["stats"]["current_cursor"].as_u64() == last
        });
        service.signal("TERM");
        assert_eq!(service.wait().code, Some(0));
        let stored = home.run(&["streams", "tail", "bluesky-posts"]).ok().json_lines();
        let uris = stored.iter().filter_map(|record| record["payload"]["uri"].as_str());
        let brought: Vec<&str> = uris.collect();
        assert_eq!(brought, expected);
        let gaps = home.run(&["streams", "gaps"]).ok();
        assert!(gaps.stdout.starts_with("No gaps"), "{}", gaps.stdout);
        assert_eq!(get(&home, "my-ingest"), last.unwrap().to_string());
    }
}

/// A bucket of the replaced service.
async fn bucket(home: &Home) -> (EmbeddedLog, std::sync::Arc<dyn Bucket>) {
    let log = EmbeddedLog::open(&home.path().join("wingbeat-data")).unwrap();
    let bucket = log.bucket("firehose-state").await.unwrap();
    (log, bucket)
}

#[tokio::main(flavor = "current_thread")]
async fn put(home: &Home, key: &str, value: &str) {
    let (log, bucket) = bucket(home).await;
    bucket.put(key, value.to_owned().into()).await.unwrap();
    log.close().await.unwrap();
}

#[tokio::main(flavor = "current_thread")]
async fn get(home: &Home, key: &str) -> String {
    let (log, bucket) = bucket(home).await;
    let entry = bucket.get(key).await.unwrap().unwrap();
    log.close().await.unwrap();
    String::from_utf8_lossy(&entry.value).into_owned()
}

/// Whoever has started it may be gone.
#[test]
fn i10_it_stops_in_good_order_where_nobody_reads_what_it_says() {
    let home = Home::new();
    let mut command = home.command(&["ingest", "--port", "0", "--source", "simulator"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    wait_until_begun(&read_address(&mut stdout).unwrap());
    drop(stdout);
    drop(child.stderr.take());
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    child.wait().unwrap();
    home.run(&["audit"]).ok();
}

#[test]
fn metrics_can_be_switched_off_and_filters_too() {
    let home = Home::new();
    home.write("posts.jsonl", post(1, "") + &post(2, "x"));
    let environment = [("METRICS_ENABLED", "false"), ("ENABLE_TEXT_FILTERING", "false")];
    let service = home.ingest(&["--source", "file:posts.jsonl"], &environment);
    service.wait_for("/health/detailed", |d| d["service_stats"]["posts_published"] == 2);
    assert_eq!(service.get_text("/metrics").0, 404);
    service.signal("INT");
    assert_eq!(service.wait().code, Some(0));
}

#[test]
fn wrong_settings_are_refused_with_the_variable_named() {
    let home = Home::new();
    for (name, value) in
        [("HEALTH_CHECK_PORT", "http"), ("MIN_TEXT_LENGTH", "ten"), ("NATS_SUBJECT", "a b")]
    {
        let mut command = home.command(&["ingest", "--source", "simulator"]);
        let ran = command.env(name, value).output().unwrap();
        let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(78), "{name}: {stderr}");
        assert!(stderr.contains(value), "{name}: {stderr}");
    }
}
