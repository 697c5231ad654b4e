//! `wingbeat ingest` from the simulated network: with faults and `kill -9`, every event that the
//! network sent is in the log once.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Home, Running};

const POSTS: &str = "app.bsky.feed.post/";

/// What an event is, whatever host it came from.
fn identity(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    match event["kind"].as_str().unwrap() {
        "commit" => format!("{} at://{}/{}", text("action"), text("did"), text("path")),
        kind => format!("{kind} {}", text("did")),
    }
}

/// Everything that the network has made and that concerns posts, with how often.
fn truth(network: &Running) -> BTreeMap<String, usize> {
    let (_, lines) = network.get_text("/simulate/events?from=0");
    let mut events = BTreeMap::new();
    for line in lines.lines().filter(|line| line.starts_with('{')) {
        let event: Value = serde_json::from_str(line).unwrap();
        let path = event["path"].as_str();
        if path.is_none_or(|path| path.starts_with(POSTS)) {
            *events.entry(identity(&event)).or_default() += 1;
        }
    }
    events
}

/// The same of the log. Gaps are left out.
fn brought(home: &Home) -> BTreeMap<String, usize> {
    let mut events = BTreeMap::new();
    let mut count = |identity: String| *events.entry(identity).or_default() += 1;
    for stored in home.run(&["streams", "tail", "bluesky-posts"]).ok().json_lines() {
        count(format!("create {}", stored["payload"]["uri"].as_str().unwrap()));
    }
    for stored in home.run(&["streams", "tail", "bluesky-events"]).ok().json_lines() {
        let event = &stored["payload"];
        match event["kind"].as_str().unwrap() {
            "gap" => {}
            kind @ ("update" | "delete") => {
                count(format!("{kind} {}", event["uri"].as_str().unwrap()));
            }
            kind => count(format!("{kind} {}", event["did"].as_str().unwrap())),
        }
    }
    events
}

/// How many events the network has that concern posts, and how many the log has.
fn difference(truth: &BTreeMap<String, usize>, brought: &BTreeMap<String, usize>) -> Vec<String> {
    let names: BTreeSet<&String> = truth.keys().chain(brought.keys()).collect();
    let of =
        |events: &BTreeMap<String, usize>, name: &String| events.get(name).copied().unwrap_or(0);
    names
        .into_iter()
        .filter(|name| of(truth, name) != of(brought, name))
        .map(|name| format!("{name}: {} sent, {} in the log", of(truth, name), of(brought, name)))
        .collect()
}

fn ingest(home: &Home, source: &str) -> Running {
    home.ingest(&["--source", source], &[("ENABLE_TEXT_FILTERING", "false")])
}

fn chaos(protocol: &str, faults: &[&str]) {
    let network = Home::new();
    let mut arguments = vec!["simulate-network", "--prepared", "6000", "--accounts", "60"];
    arguments.extend(faults.iter().flat_map(|fault| ["--fault", fault]));
    let network = Running::start(network.command(&arguments));
    let truth = truth(&network);
    let home = Home::new();
    let source = format!("{protocol}:ws://{}", network.address);
    // A fixed pseudo-random rule spreads the kills over 50 to 350 ms.
    let mut moment = 17u64;
    for _ in 0..8 {
        moment = (moment * 61 + 29) % 301;
        let mut service = ingest(&home, &source);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(50 + moment) {
            std::hint::spin_loop();
        }
        service.child.kill().unwrap();
        service.child.wait().unwrap();
        home.run(&["audit"]).ok();
    }
    let service = ingest(&home, &source);
    let wanted: usize = truth.values().sum();
    let start = Instant::now();
    loop {
        let brought = brought(&home);
        if brought.values().sum::<usize>() >= wanted {
            break;
        }
        let missing = difference(&truth, &brought);
        assert!(
            start.elapsed() < Duration::from_secs(90),
            "{} missing: {missing:#?}",
            missing.len()
        );
    }
    service.signal("TERM");
    assert_eq!(service.wait().code, Some(0));
    assert_eq!(difference(&truth, &brought(&home)), [""; 0]);
    home.run(&["audit"]).ok();
    let gaps = home.run(&["streams", "gaps"]).ok();
    assert!(gaps.stdout.starts_with("No gaps"), "{}", gaps.stdout);
}

/// Faults that a consumer can make good without losing anything.
const FAULTS: [&str; 7] = [
    "disconnect@300/700",
    "duplicate@150/333",
    "bit-flip@500/1500",
    "oversize@800/2000",
    "invalid-framing@1000/1800",
    "consumer-too-slow@2100/2500",
    "refuse@2/5",
];

#[test]
fn i2_i3_i10_every_event_of_a_relay_is_in_the_log_once() {
    chaos("relay", &FAULTS);
}

#[test]
fn i2_i3_i10_every_event_of_jetstream_is_in_the_log_once() {
    chaos("jetstream", &FAULTS);
}

#[test]
fn i2_i3_i10_every_event_of_the_old_jetstream_is_in_the_log_once() {
    chaos("jetstream1", &FAULTS);
}
