//! `wingbeat up` as a user runs it.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{collections::BTreeMap, process::Stdio};

use serde_json::Value;
use support::{Home, posts, shared};

fn flow<'a>(summary: &'a Value, name: &str) -> &'a Value {
    summary["flows"].as_array().unwrap().iter().find(|flow| flow["flow"] == name).unwrap()
}

fn sum(parts: &Value) -> u64 {
    parts.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum()
}

#[test]
fn made_up_posts_flow_for_a_while_and_the_books_balance() {
    let home = Home::new();
    let up = home.up(&[
        "--source",
        "simulator:seed=3",
        "--rate",
        "400",
        "--for",
        "3s",
        "--format",
        "json",
    ]);
    let ended = up.wait().ok();
    let summary = ended.json();
    assert_eq!(summary["balanced"], true);
    let (ingest, enrich) = (flow(&summary, "ingest"), flow(&summary, "enrich"));
    assert!(ingest["received"].as_u64().unwrap() > 900, "{summary}");
    assert_eq!((&ingest["in_flight"], &enrich["in_flight"]), (&0.into(), &0.into()));
    assert!(sum(&enrich["dead"]) > 0, "the simulator makes malformed posts: {summary}");
    assert!(ingest["filtered"]["duplicate"].as_u64().unwrap() > 0, "{summary}");
    let audit = home.run(&["audit", "--format", "json"]).ok().json();
    assert_eq!(audit["balanced"], true);
    for name in ["ingest", "enrich"] {
        for count in ["received", "emitted"] {
            assert_eq!(flow(&audit, name)[count], flow(&summary, name)[count], "{name} {count}");
        }
    }
    let listed = home.run(&["dead", "ls", "--format", "json"]).ok().json_lines();
    assert_eq!(listed.len() as u64, sum(&enrich["dead"]) + sum(&ingest["dead"]));
}

#[test]
fn the_built_in_choice_says_that_its_posts_are_made_up() {
    let home = Home::new();
    let up = home.up(&["--for", "1s"]);
    let status = up.get("/api/status");
    assert_eq!(
        (&status["source"]["kind"], &status["source"]["simulated"]),
        (&"simulator".into(), &true.into())
    );
    let ended = up.wait().ok();
    assert!(ended.stderr.contains("made-up posts"), "{}", ended.stderr);
    assert!(ended.stderr.contains("balanced"), "{}", ended.stderr);
}

#[test]
fn a_recording_gives_exactly_its_posts() {
    let Some(shared) = shared() else { return };
    let corpus = shared.join("fixtures/jetstream-corpus");
    let expected: BTreeMap<(String, String), String> =
        std::fs::read_to_string(corpus.join("expected_v1.jsonl"))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|event| {
                let commit = &event["commit"];
                commit["operation"] == "create" && commit["collection"] == "app.bsky.feed.post"
            })
            .map(|event| {
                let commit = &event["commit"];
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let (did, rkey) = (text(&event["did"]), text(&commit["rkey"]));
                let uri = format!("at://{did}/app.bsky.feed.post/{rkey}");
                ((uri, text(&commit["cid"])), text(&commit["record"]["text"]))
            })
            .collect();
    assert_eq!(expected.len(), 17);

    let home = Home::new();
    let spec = format!("frames:{}", corpus.join("frames.bin.zst").display());
    let mut command = home.command(&["up", "--port", "0", "--source", &spec, "--once"]);
    command.env("SENTIMENT_CONFIDENCE_THRESHOLD", "0").stdin(Stdio::null());
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let records = home.run(&["streams", "tail", "bluesky-posts-enriched"]).ok().json_lines();
    let found: BTreeMap<(String, String), String> = records
        .iter()
        .map(|record| {
            let text = |name: &str| record["payload"][name].as_str().unwrap().to_owned();
            ((text("uri"), text("cid")), text("text"))
        })
        .collect();
    assert_eq!(records.len(), 17);
    assert!(found == expected, "the posts differ");
    assert_eq!(home.run(&["audit"]).ok().code, Some(0));
}

#[test]
fn an_enriched_post_has_the_fields_of_the_replaced_services() {
    let home = Home::new();
    let lines = concat!(
        r#"{"uri":"at://did:plc:a/app.bsky.feed.post/1","cid":"bafy1","author":"did:plc:a","text":"I absolutely love this wonderful sunny day, what a great match!","created_at":"2026-07-04T14:38:08Z","unknown": [1.0e0]}"#,
        "\n",
        r#"{"uri":"at://did:plc:b/app.bsky.feed.post/2","cid":"bafy2","author":"did:plc:b","text":"今日はとても良い天気ですね。散歩に行きましょう。","created_at":"2026-07-04T14:38:09Z"}"#,
        "\n",
    );
    home.write("posts.jsonl", lines);
    home.up(&["--source", "file:posts.jsonl", "--once"]).wait().ok();
    let records = home.run(&["streams", "tail", "bluesky-posts-enriched"]).ok().json_lines();
    let english = &records[0];
    let subject = english["subject"].as_str().unwrap();
    assert!(subject.starts_with("bluesky.enriched.positive."), "{subject}");
    let post = &english["payload"];
    let keys: Vec<&str> = post.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "uri",
            "cid",
            "author",
            "text",
            "created_at",
            "unknown",
            "language",
            "sentiment",
            "topics",
            "processed_at",
            "processed_at_iso",
            "processor"
        ]
    );
    let sentiment = &post["sentiment"];
    assert_eq!(
        (&sentiment["sentiment"], &sentiment["label"]),
        (&"positive".into(), &"POSITIVE".into())
    );
    assert_eq!(sentiment["confidence"], sentiment["score"]);
    let probabilities = sentiment["probabilities"].as_object().unwrap();
    let total: f64 = probabilities.values().map(|p| p.as_f64().unwrap()).sum();
    assert!((total - 1.0).abs() < 1e-3, "{sentiment}");
    assert!(!post["topics"]["topics"].as_array().unwrap().is_empty());
    assert!(post["topics"]["top_confidence"].is_f64());
    assert_eq!(english["headers"]["Nats-Msg-Id"], "at://did:plc:a/app.bsky.feed.post/1:bafy1");
    // A language that the model can't read is not scored as if it were English.
    let japanese = &records[1];
    assert_eq!(japanese["subject"], "bluesky.enriched.unscored.unknown");
    assert_eq!(japanese["payload"]["language"], "ja");
    assert!(japanese["payload"]["sentiment"].is_null() && japanese["payload"]["topics"].is_null());
}

#[test]
fn i10_a_signal_stops_it_in_good_order_and_the_next_start_goes_on() {
    let home = Home::new();
    home.write("posts.jsonl", posts(&home, 4000, 5));
    let up = home.up(&["--source", "file:posts.jsonl", "--rate", "2000", "--format", "json"]);
    while up.get("/api/status")["books"][0]["received"].as_u64().unwrap() < 500 {}
    up.signal("TERM");
    let first = up.wait().ok().json();
    assert!(flow(&first, "ingest")["received"].as_u64().unwrap() < 4000, "{first}");
    assert_eq!(home.run(&["audit"]).ok().code, Some(0));
    let second =
        home.up(&["--source", "file:posts.jsonl", "--once", "--format", "json"]).wait().ok();
    assert_eq!(flow(&second.json(), "ingest")["received"], 4000);
    assert_eq!(flow(&second.json(), "enrich")["received"], 4000);
}

#[test]
fn i6_a_file_of_hostile_lines_becomes_dead_letters_and_the_rest_flows() {
    let home = Home::new();
    let mut file = Vec::new();
    for line in [
        &b""[..],
        b"",
        b"\xff\xfe\xfd",
        b"not json",
        b"[1,2]",
        b"{\"text\":5}",
        b"{\"no\":\"text\"}",
        b"{\"text\":\"\\ud800\"}",
        b"{\"text\":\"fine, really good and lovely\"}",
    ] {
        file.extend_from_slice(line);
        file.push(b'\n');
    }
    file.extend_from_slice(
        format!("{{\"text\":\"x\",\"a\":{}{}}}\n", "[".repeat(50_000), "]".repeat(50_000))
            .as_bytes(),
    );
    file.extend(std::iter::repeat_n(b'y', 10 * 1024 * 1024));
    file.push(b'\n');
    home.write("hostile.jsonl", &file);
    let mut command = home.command(&[
        "up",
        "--port",
        "0",
        "--source",
        "file:hostile.jsonl",
        "--once",
        "--format",
        "json",
    ]);
    let ended = command.env("SENTIMENT_CONFIDENCE_THRESHOLD", "0").output().unwrap();
    let summary: Value =
        serde_json::from_slice(ended.stdout.split(|b| *b == b'\n').nth(1).unwrap()).unwrap();
    assert!(ended.status.success());
    let dead = sum(&flow(&summary, "enrich")["dead"]) + sum(&flow(&summary, "ingest")["dead"]);
    assert_eq!((dead, &flow(&summary, "enrich")["emitted"]), (10, &1.into()), "{summary}");
    let letters = home.run(&["dead", "ls", "--format", "json"]).ok().json_lines();
    let of_kind = |kind: &str| letters.iter().filter(|letter| letter["kind"] == kind).count();
    assert_eq!((of_kind("empty"), of_kind("not_utf8"), of_kind("too_large")), (2, 1, 1));
    let sequence =
        letters.iter().find(|l| l["kind"] == "not_utf8").unwrap()["sequence"].to_string();
    let raw = home.command(&["dead", "show", &sequence, "--raw"]).output().unwrap();
    assert_eq!(raw.stdout, b"\xff\xfe\xfd");
    assert_eq!(home.run(&["audit"]).ok().code, Some(0));
}

#[test]
fn a_second_process_on_the_same_log_is_refused_and_looking_is_not() {
    let home = Home::new();
    let up = home.up(&["--source", "simulator", "--rate", "200"]);
    let refused = home.run(&["up", "--port", "0", "--for", "1s"]);
    assert_eq!(refused.code, Some(1));
    let holder = format!("in use by process {}", up.child.id());
    let last = refused.stderr.lines().last().unwrap();
    assert!(last.contains(&holder), "{}", refused.stderr);
    while up.get("/api/status")["books"][1]["emitted"].as_u64().unwrap() < 50 {}
    // While it runs: the list, the tail, the audit.
    let streams = home.run(&["streams", "ls", "--format", "json"]).ok().json_lines();
    assert_eq!(streams.len(), 5);
    let tail = [
        "streams",
        "tail",
        "bluesky-posts-enriched",
        "--from",
        "last",
        "--follow",
        "--count",
        "20",
    ];
    assert_eq!(home.run(&tail).ok().json_lines().len(), 20);
    assert_eq!(home.run(&["audit"]).ok().code, Some(0));
    up.signal("INT");
    assert_eq!(up.wait().code, Some(0));
}
