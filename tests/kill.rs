//! `kill -9` at random moments.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use support::{FAST_MODELS, Home, posts};

#[test]
fn i10_twenty_kills_double_nothing_and_lose_nothing() {
    let home = Home::new();
    let total = 24_000;
    let file = posts(&home, total, 99);
    let uris: BTreeSet<String> = String::from_utf8_lossy(&file)
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["uri"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(uris.len(), total);
    home.write("posts.jsonl", &file);
    let source = ["--source", "file:posts.jsonl", "--set", "stages.sentiment.threshold=0"];
    let common = [&source[..], &FAST_MODELS].concat();
    let arguments = [&common[..], &["--rate", "6000"]].concat();
    let mut killed_in_the_middle = 0;
    // A fixed pseudo-random rule spreads the moments over 0 to 400 ms.
    let mut moment = 17u64;
    for _ in 0..20 {
        moment = (moment * 61 + 29) % 401;
        let mut up = home.up(&arguments);
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(moment) {
            std::hint::spin_loop();
        }
        up.child.kill().unwrap();
        up.child.wait().unwrap();
        let audit = home.run(&["audit", "--format", "json"]);
        let report = audit.ok().json();
        let received = report["flows"][1]["received"].as_u64().unwrap();
        killed_in_the_middle += u32::from(received > 0 && received < total as u64);
    }
    assert!(
        killed_in_the_middle >= 10,
        "only {killed_in_the_middle} kills hit a run in the middle"
    );
    let arguments = [&common[..], &["--once", "--format", "json"]].concat();
    let summary = home.up(&arguments).wait().ok().json();
    for flow in summary["flows"].as_array().unwrap() {
        assert_eq!(
            (&flow["received"], &flow["emitted"]),
            (&total.into(), &total.into()),
            "{summary}"
        );
    }
    let report = home.run(&["audit", "--format", "json"]).ok().json();
    assert_eq!(report["balanced"], true);
    let mut copies: BTreeMap<String, u32> = BTreeMap::new();
    for record in home.run(&["streams", "tail", "bluesky-posts-enriched"]).ok().json_lines() {
        *copies.entry(record["payload"]["uri"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(copies.values().all(|copies| *copies == 1), "a post stands in the output twice");
    assert!(copies.into_keys().collect::<BTreeSet<_>>() == uris, "posts are missing");
}
