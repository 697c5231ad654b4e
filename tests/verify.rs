//! `wingbeat ingest --verify full` from the relay of the simulated network: what is forged is
//! refused and kept, everything else is in the log once, with faults and `kill -9`.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Home, Running};

const POSTS: &str = "app.bsky.feed.post/";

/// How many events the network makes.
const EVENTS: u64 = 6_000;

fn text(json: &Value, name: &str) -> String {
    json[name].as_str().unwrap_or_default().to_owned()
}

/// What the network has made.
#[derive(Default)]
struct Truth {
    /// What concerns posts and is true, in order: `create at://...`.
    events: Vec<String>,
    /// Posts that only their account's repository tells of: they may be found there.
    untold: BTreeSet<String>,
    /// The posts of commits that are forged.
    forged: Vec<String>,
    /// Accounts that are gone by now, and their keys with them.
    gone: BTreeSet<String>,
}

impl Truth {
    /// `None` while the network is still making events.
    fn of(network: &Running) -> Option<Self> {
        let (_, lines) = network.get_text("/simulate/events?from=0");
        let mut truth = Self::default();
        let last: Value = serde_json::from_str(lines.lines().last()?).unwrap();
        if last["n"] != EVENTS - 1 {
            return None;
        }
        for line in lines.lines().filter(|line| line.starts_with('{')) {
            truth.add(&serde_json::from_str(line).unwrap());
        }
        Some(truth)
    }

    fn add(&mut self, event: &Value) {
        let (did, path) = (text(event, "did"), text(event, "path"));
        if event["detail"] == "deleted" {
            self.gone.insert(did.clone());
        }
        match event["kind"].as_str().unwrap() {
            "commit" if !path.starts_with(POSTS) => {}
            "commit" => {
                let uri = format!("at://{did}/{path}");
                if event["fault"].is_null() {
                    self.events.push(format!("{} {uri}", text(event, "action")));
                } else {
                    self.forged.push(uri);
                }
            }
            "sync" => {
                // A post of the commit that nobody was told of has its revision for a key.
                let rev = text(event, "rev");
                self.untold.insert(format!("create at://{did}/{POSTS}{rev}"));
            }
            _ => {}
        }
    }

    /// Where the log differs from what was made since the first post in the log: a consumer
    /// without a cursor begins with what happens next.
    fn difference(&self, brought: &BTreeMap<String, usize>) -> Vec<String> {
        let is_first = |event: &String| event.starts_with("create") && brought.contains_key(event);
        let begin = self.events.iter().position(is_first).unwrap_or(0);
        let mut sent: BTreeMap<&String, usize> = BTreeMap::new();
        for event in &self.events[begin..] {
            *sent.entry(event).or_default() += 1;
        }
        let early: BTreeSet<&String> = self.events[..begin].iter().collect();
        let is_gone = |event: &str| self.gone.iter().any(|did| event.contains(did.as_str()));
        let names: BTreeSet<&String> = sent.keys().copied().chain(brought.keys()).collect();
        let mut differences = Vec::new();
        for name in names {
            let sent = sent.get(name).copied().unwrap_or(0);
            let there = brought.get(name).copied().unwrap_or(0);
            let is_excused =
                early.contains(name) || is_gone(name) || self.untold.contains(name) && there == 1;
            if sent != there && !is_excused {
                differences.push(format!("{name}: {sent} sent, {there} in the log"));
            }
        }
        differences
    }
}

/// What the log has of posts.
fn brought(home: &Home) -> BTreeMap<String, usize> {
    let mut events = BTreeMap::new();
    let mut count = |identity: String| *events.entry(identity).or_default() += 1;
    for stored in home.run(&["streams", "tail", "bluesky-posts"]).ok().json_lines() {
        count(format!("create {}", text(&stored["payload"], "uri")));
    }
    for stored in home.run(&["streams", "tail", "bluesky-events"]).ok().json_lines() {
        let event = &stored["payload"];
        let kind = text(event, "kind");
        if ["update", "delete"].contains(&kind.as_str()) {
            count(format!("{kind} {}", text(event, "uri")));
        }
    }
    events
}

/// Faults that a consumer can make good, and forgeries that it must refuse.
const FAULTS: [&str; 6] = [
    "disconnect@300/700",
    "bit-flip@500/1500",
    "refuse@2/5",
    "bad-signature@40/97",
    "fork@1500/211",
    "bad-signature@5990",
];

fn start_network() -> (Home, Running) {
    let home = Home::new();
    let events = EVENTS.to_string();
    let mut arguments = vec!["simulate-network", "--prepared", &events, "--rate", "1500"];
    arguments.extend(FAULTS.iter().flat_map(|fault| ["--fault", fault]));
    let network = Running::start(home.command(&arguments));
    (home, network)
}

fn ingest(home: &Home, network: &Running) -> Running {
    let source = format!("relay:ws://{}", network.address);
    let directory = format!("source.network.plc_directory=http://{}", network.address);
    let arguments = [
        "--source",
        &source,
        "--verify",
        "full",
        "--set",
        &directory,
        "--set",
        "source.network.retry_max=100ms",
    ];
    home.ingest(&arguments, &[("ENABLE_TEXT_FILTERING", "false")])
}

#[test]
fn i2_i3_i10_what_is_true_is_in_the_log_once_and_what_is_forged_is_not() {
    let (_network_home, network) = start_network();
    let home = Home::new();
    // A fixed pseudo-random rule spreads the kills over 50 to 350 ms.
    let mut moment = 17u64;
    for _ in 0..6 {
        moment = (moment * 61 + 29) % 301;
        let mut service = ingest(&home, &network);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(50 + moment) {
            std::hint::spin_loop();
        }
        service.child.kill().unwrap();
        service.child.wait().unwrap();
        home.run(&["audit"]).ok();
    }
    let service = ingest(&home, &network);
    let start = Instant::now();
    let truth = loop {
        let truth = Truth::of(&network);
        let missing = truth.as_ref().map(|truth| truth.difference(&brought(&home)));
        if missing.as_ref().is_some_and(Vec::is_empty) {
            break truth.unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(40), "{missing:#?}");
    };
    service.signal("TERM");
    assert_eq!(service.wait().code, Some(0));
    home.run(&["audit"]).ok();
    let there = brought(&home);
    let first = truth.events.iter().position(|event| there.contains_key(event)).unwrap();
    assert!(first < truth.events.len() / 2, "it began late");
    for forged in &truth.forged {
        assert!(!there.contains_key(&format!("create {forged}")), "{forged}");
    }
    let letters = home.run(&["dead", "ls", "--format", "json"]).ok().json_lines();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for letter in &letters {
        *kinds.entry(text(letter, "kind")).or_default() += 1;
    }
    // A fork of an account of which nothing was known yet shows by its tree.
    for kind in kinds.keys() {
        let known = ["bad_signature", "rev_not_later", "bad_tree", "no_identity"];
        assert!(known.contains(&kind.as_str()), "{kinds:?}");
    }
    assert!(kinds["bad_signature"] >= 20, "{kinds:?}");
    assert!(kinds["rev_not_later"] + kinds.get("bad_tree").unwrap_or(&0) >= 10, "{kinds:?}");
    // Nothing is missing but what the network itself told nobody of.
    for gap in home.run(&["streams", "gaps", "--format", "json"]).ok().json_lines() {
        assert_eq!(gap["payload"]["reason"], "sync", "{gap}");
    }
}
