//! `wingbeat process` in the place of the stream processors.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{Home, Ran, Running};

const POSTS: [&str; 6] = [
    r#"{"uri":"at://a/1","cid":"c1","author":"did:plc:a","text":"What a wonderful morning, I love this music!","created_at":"2026-01-02T03:04:05Z"}"#,
    // The mock's: no cid, and another name for the time.
    r#"{"uri":"at://test/2","author":"test-user-2","text":"This is a terrible, horrible disaster and I hate it","timestamp":"2026-01-02T03:04:05"}"#,
    r#"{"uri":"at://a/3","cid":"c3","author":"did:plc:a"}"#,
    "no JSON",
    "[1]",
    r#"{"uri":"at://a/4","cid":"c4","author":"did:plc:a","record":{"text":"The match was great, what a goal!"}}"#,
];

/// A log with raw posts as somebody else has written them.
fn home() -> Home {
    let home = Home::new();
    home.run(&["streams", "create", "bluesky-posts", "--subject", "bluesky.posts.>"]).ok();
    let publish = ["streams", "publish", "bluesky.posts.posts", "--lines"];
    home.run_with_input(&publish, POSTS.join("\n").as_bytes()).ok();
    home
}

fn enriched(home: &Home, stream: &str) -> Vec<Value> {
    home.run(&["streams", "tail", stream]).ok().json_lines()
}

fn summary(ran: &Ran) -> Value {
    let line = ran.stdout.lines().find(|line| line.starts_with('{') || line.starts_with('['));
    serde_json::from_str(line.unwrap()).unwrap()
}

#[test]
fn health_metrics_and_output_are_those_of_the_replaced_service() {
    let home = home();
    let environment = [
        ("SERVICE_NAME", "my-processor"),
        ("CONSUMER_NAME", "my-consumer"),
        ("MAX_DELIVER", "7"),
        ("ACK_WAIT_SECONDS", "45"),
        ("MAX_ACK_PENDING", "100"),
        ("SENTIMENT_CONFIDENCE_THRESHOLD", "0"),
        ("LOG_LEVEL", "INFO"),
    ];
    let service = home.process(&[], &environment);
    let details = service.wait_for("/health/detailed", |details| {
        let (books, consumer) = (&details["books"], &details["components"]["consumer"]);
        books["received"] == 6 && books["in_flight"] == 0 && consumer["share"] == 0
    });
    assert_eq!(service.get("/health"), json!({"status": "ok", "service": "my-processor"}));
    assert_eq!(service.get("/ready")["ready"], true);
    assert_eq!(details["service_stats"]["posts_processed"], 3);
    let (status, metrics) = service.get_text("/metrics");
    assert_eq!(status, 200);
    for line in [
        "stream_processor_posts_processed_total 3",
        "stream_processor_posts_published_total 3",
        "stream_processor_errors_total{error_type=\"json_parse\"} 2",
        "stream_processor_errors_total{error_type=\"message_handling\"} 1",
        "stream_processor_sentiment_predictions_total{sentiment=\"negative\"} 1",
        "stream_processor_sentiment_predictions_total{sentiment=\"positive\"} 2",
        "stream_processor_sentiment_confidence_bucket{le=\"0.1\"} 0",
        "stream_processor_sentiment_confidence_count 3",
        "stream_processor_topic_confidence_count 3",
        "stream_processor_processing_duration_seconds_count 6",
        "stream_processor_model_inference_duration_seconds_count{model=\"sentiment\"} 3",
        "stream_processor_model_inference_duration_seconds_count{model=\"topic\"} 3",
        "stream_processor_nats_connected 1",
        "stream_processor_message_queue_size 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    service.signal("TERM");
    let ended = service.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let stored = enriched(&home, "bluesky-posts-enriched");
    assert_eq!(stored.len(), 3);
    let first = &stored[0]["payload"];
    assert_eq!(first["sentiment"]["sentiment"], "positive");
    assert_eq!((&first["processor"], &first["cid"]), (&json!("my-processor"), &json!("c1")));
    assert_eq!(stored[0]["headers"]["Nats-Msg-Id"], "at://a/1:c1");
    let topic = first["topics"]["top_topic"].as_str().unwrap();
    assert_eq!(stored[0]["subject"], format!("bluesky.enriched.positive.{topic}"));
    assert_eq!(stored[1]["payload"]["timestamp"], "2026-01-02T03:04:05");
    let consumers = home.run(&["streams", "info", "bluesky-posts", "--format", "json"]).ok().json();
    assert_eq!(consumers["consumers"][0]["name"], "my-consumer");
    home.run(&["audit"]).ok();
}

#[test]
fn each_profile_has_the_names_of_the_service_that_it_replaces() {
    for (profile, stream, subject, absent, name) in [
        (
            "sentiment",
            "bluesky-posts-sentiment",
            "bluesky.posts.sentiment.",
            "topics",
            "nats-stream-processor",
        ),
        (
            "topics",
            "bluesky-posts-topics",
            "bluesky.posts.topics.",
            "sentiment",
            "nats-stream-processor-topics",
        ),
    ] {
        let home = Home::new();
        home.run(&["streams", "create", "bluesky-posts", "--subject", "bluesky.posts.posts"]).ok();
        home.run_with_input(&["streams", "publish", "bluesky.posts.posts"], POSTS[0].as_bytes())
            .ok();
        let ran = home
            .run(&["process", "--port", "0", "--profile", profile, "--once", "--format", "json"])
            .ok();
        let flow = &summary(&ran)["flows"][0];
        assert_eq!((&flow["flow"], &flow["emitted"]), (&json!(profile), &json!(1)), "{flow}");
        let stored = enriched(&home, stream);
        let payload = &stored[0]["payload"];
        assert!(stored[0]["subject"].as_str().unwrap().starts_with(subject));
        assert_eq!(
            payload[profile]["probabilities"].as_object().unwrap().len(),
            if profile == "topics" { 19 } else { 3 }
        );
        assert_eq!((&payload[absent], &payload["processor"]), (&Value::Null, &json!(name)));
        home.run(&["audit", "--profile", profile]).ok();
    }
}

#[test]
fn the_dashboard_alone_shows_what_another_process_writes() {
    let home = home();
    // Nothing was processed yet: the stream is made.
    let early = Running::start(home.command(&["web", "--port", "0"]));
    assert_eq!(early.get("/ready")["ready"], true);
    early.signal("TERM");
    assert_eq!(early.wait().code, Some(0));
    let service = home.process(&[], &[("SENTIMENT_CONFIDENCE_THRESHOLD", "0")]);
    let web = Running::start(home.command(&["web", "--port", "0"]));
    let history = web.wait_for("/api/history", |history| {
        let moods = history["buckets"].as_array().unwrap().iter();
        moods.map(|bucket| bucket["positive"].as_u64().unwrap()).sum::<u64>() == 2
    });
    assert_eq!(history["bucket_s"], 5);
    assert_eq!(web.get("/api/status")["source"]["kind"], "log");
    for running in [web, service] {
        running.signal("TERM");
        assert_eq!(running.wait().code, Some(0));
    }
}
