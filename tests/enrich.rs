//! `wingbeat enrich` and `mock`, as scripts use them.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{io::Write as _, process::Stdio};

use serde_json::Value;
use support::{FAST_MODELS, Home, posts, shared};

#[test]
fn every_line_becomes_an_enriched_line_or_a_counted_reason_in_order() {
    let home = Home::new();
    let input = posts(&home, 3000, 11);
    let ran = home.run_with_input(&["enrich", "--format", "json"], &input).ok();
    let counts: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    let lines = ran.json_lines();
    assert_eq!(counts["received"], 3000);
    let filtered = counts["filtered"]["low_confidence"].as_u64().unwrap_or(0);
    assert_eq!(lines.len() as u64, 3000 - filtered);
    let input: Vec<Value> = String::from_utf8(input)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let mut expected = input.iter();
    for line in &lines {
        let original =
            expected.find(|original| original["uri"] == line["uri"]).expect("the order changed");
        for (key, value) in original.as_object().unwrap() {
            assert_eq!(&line[key], value, "{key}");
        }
    }
}

#[test]
fn real_posts_are_all_accounted_for() {
    let Some(shared) = shared() else { return };
    let home = Home::new();
    let file = shared.join("data/posts/bluesky_posts.jsonl.gz");
    let enrich = ["enrich", file.to_str().unwrap(), "--format", "json"];
    let ran = home.run(&[&enrich[..], &FAST_MODELS].concat()).ok();
    let counts: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(counts["received"], 15_000);
    let emitted = ran.stdout.lines().count() as u64;
    let sum =
        |part: &Value| part.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>();
    assert_eq!(emitted + sum(&counts["filtered"]) + sum(&counts["dead"]), 15_000);
    assert_eq!(counts["emitted"], emitted);
}

#[test]
fn i6_hostile_lines_go_to_the_dead_file_with_their_bytes() {
    let home = Home::new();
    let mut input = b"\n\xff\xfe\nnot json\n{\"text\":7}\n".to_vec();
    input.extend_from_slice(b"{\"text\":\"fine and good, lovely day\"}\n");
    input.extend(std::iter::repeat_n(b'z', 3 * 1024 * 1024));
    input.push(b'\n');
    let ran = home
        .run_with_input(
            &["--set", "stages.sentiment.threshold=0", "enrich", "--dead", "dead.jsonl"],
            &input,
        )
        .ok();
    assert_eq!(ran.stdout.lines().count(), 1);
    assert!(ran.stderr.contains("dead"), "{}", ran.stderr);
    let letters: Vec<Value> = std::fs::read_to_string(home.path().join("dead.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = letters.iter().map(|letter| letter["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["empty", "not_utf8", "not_json", "wrong_type", "too_large"]);
    assert_eq!(
        (&letters[1]["original_base64"], &letters[2]["original"]),
        (&"//4=".into(), &"not json".into())
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    let input = posts(&home, 2000, 1);
    let mut child = home
        .command(&["enrich"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(&input);
    drop(stdin);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert!(!String::from_utf8_lossy(&ended.stderr).contains("panic"));
}

#[test]
fn the_same_seed_makes_the_same_posts_and_another_makes_others() {
    let home = Home::new();
    let identities = |seed| -> Vec<Value> {
        let lines = String::from_utf8(posts(&home, 50, seed)).unwrap();
        lines
            .lines()
            .map(|line| {
                let post: Value = serde_json::from_str(line).unwrap();
                post["text"].clone()
            })
            .collect()
    };
    assert_eq!(identities(7), identities(7));
    assert_ne!(identities(7), identities(8));
}

#[test]
fn mock_fills_a_log_that_up_then_works_off() {
    let home = Home::new();
    home.run(&[
        "mock",
        "--count",
        "300",
        "--rate",
        "100000",
        "--options",
        "malformed=0,duplicates=0,deletes=0",
    ])
    .ok();
    let raw = home.run(&["streams", "info", "bluesky-posts", "--format", "json"]).ok().json();
    assert_eq!(raw["records"], 300);
    home.write("empty.jsonl", "");
    let up = home.up(&["--source", "file:empty.jsonl", "--once", "--format", "json"]).wait().ok();
    let enrich = &up.json()["flows"][1];
    assert_eq!(enrich["received"], 300);
    assert_eq!(home.run(&["audit"]).ok().code, Some(0));
}
