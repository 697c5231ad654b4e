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

/// How many events a network makes.
const EVENTS: u64 = 6_000;

/// Everything that the network has made and that concerns posts, in order; `None` where it is
/// still making events.
fn truth(network: &Running, protocol: &str) -> Option<Vec<String>> {
    let (_, lines) = network.get_text("/simulate/events?from=0");
    let mut events = Vec::new();
    let last: Value = serde_json::from_str(lines.lines().last()?).unwrap();
    if last["n"] != EVENTS - 1 {
        return None;
    }
    for line in lines.lines().filter(|line| line.starts_with('{')) {
        let event: Value = serde_json::from_str(line).unwrap();
        let path = event["path"].as_str();
        // The old Jetstream knows no `#sync`.
        let is_sent = protocol != "jetstream1" || event["kind"] != "sync";
        if is_sent && path.is_none_or(|path| path.starts_with(POSTS)) {
            events.push(identity(&event));
        }
    }
    Some(events)
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

/// Where the log differs from what the network has made since the first post in the log: a
/// consumer without a cursor begins with what happens next.
fn difference(truth: &[String], brought: &BTreeMap<String, usize>) -> Vec<String> {
    let first = |event: &String| event.starts_with("create") && brought.contains_key(event);
    let begin = truth.iter().position(first).unwrap_or(0);
    let mut sent: BTreeMap<&String, usize> = BTreeMap::new();
    for event in &truth[begin..] {
        *sent.entry(event).or_default() += 1;
    }
    // Other kinds of events may have come before the first post.
    let early: BTreeSet<&String> = truth[..begin].iter().collect();
    let names: BTreeSet<&String> = sent.keys().copied().chain(brought.keys()).collect();
    let of = |name: &String| {
        (sent.get(name).copied().unwrap_or(0), brought.get(name).copied().unwrap_or(0))
    };
    names
        .into_iter()
        .filter(|name| of(name).0 != of(name).1 && !early.contains(name))
        .map(|name| format!("{name}: {} sent, {} in the log", of(name).0, of(name).1))
        .collect()
}

fn ingest(home: &Home, source: &str) -> Running {
    let arguments = ["--source", source, "--set", "source.network.retry_max=100ms"];
    home.ingest(&arguments, &[("ENABLE_TEXT_FILTERING", "false")])
}

fn chaos(protocol: &str, faults: &[&str]) {
    let network = Home::new();
    let events = EVENTS.to_string();
    let mut arguments = vec!["simulate-network", "--prepared", &events, "--rate", "1500"];
    arguments.extend(faults.iter().flat_map(|fault| ["--fault", fault]));
    let network = Running::start(network.command(&arguments));
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
    let start = Instant::now();
    loop {
        let missing = truth(&network, protocol).map(|truth| difference(&truth, &brought(&home)));
        if missing.as_ref().is_some_and(Vec::is_empty) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(25), "{missing:#?}");
    }
    service.signal("TERM");
    assert_eq!(service.wait().code, Some(0));
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
