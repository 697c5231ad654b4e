//! `wingbeat ingest` from the simulated network: with faults and `kill -9`, every event that the
//! network sent is in the log once and in order per author, or lies in a reported gap.

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

/// What the network says that it has sent.
struct Sent {
    /// The relay's number.
    seq: u64,
    identity: String,
}

/// What is in the log, in order, by stream and author. Gaps are left out.
#[derive(Default)]
struct Brought {
    /// The post that came first.
    first: Option<String>,
    posts: BTreeMap<String, Vec<String>>,
    events: BTreeMap<String, Vec<String>>,
}

impl Brought {
    fn read(home: &Home) -> Self {
        let mut brought = Self::default();
        let of = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        for stored in home.run(&["streams", "tail", "bluesky-posts"]).ok().json_lines() {
            let post = &stored["payload"];
            let identity = format!("create {}", of(post, "uri"));
            brought.first.get_or_insert_with(|| identity.clone());
            brought.posts.entry(of(post, "author")).or_default().push(identity);
        }
        for stored in home.run(&["streams", "tail", "bluesky-events"]).ok().json_lines() {
            let event = &stored["payload"];
            let identity = match event["kind"].as_str().unwrap() {
                "gap" => continue,
                kind @ ("update" | "delete") => format!("{kind} {}", of(event, "uri")),
                kind => format!("{kind} {}", of(event, "did")),
            };
            let uri = of(event, "uri");
            let author = uri.strip_prefix("at://").and_then(|rest| rest.split('/').next());
            let author = author.map_or_else(|| of(event, "did"), str::to_owned);
            brought.events.entry(author).or_default().push(identity);
        }
        brought
    }

    /// Where in the truth the log begins: a consumer without a cursor begins with what happens
    /// next.
    fn beginning<'a>(&self, mut truth: impl Iterator<Item = &'a Sent>) -> usize {
        truth.position(|sent| self.first.as_ref() == Some(&sent.identity)).unwrap_or(0)
    }

    fn forget(&mut self, forgotten: &BTreeSet<&String>) {
        for brought in self.posts.values_mut().chain(self.events.values_mut()) {
            brought.retain(|identity| !forgotten.contains(identity));
        }
    }

    fn counts(&self) -> BTreeMap<&String, usize> {
        let mut counts = BTreeMap::new();
        for identity in self.posts.values().chain(self.events.values()).flatten() {
            *counts.entry(identity).or_default() += 1;
        }
        counts
    }

    /// The authors whose events stand in another order than they were sent in. What was sent
    /// before the first post that was brought may come late, when a host is asked by time.
    fn out_of_order(&self, truth: &[Sent]) -> Vec<&String> {
        let begin = self.beginning(truth.iter());
        let mut order: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
        for (at, sent) in truth.iter().enumerate() {
            order.entry(&sent.identity).or_default().push(at);
        }
        let is_ordered = |brought: &[String]| {
            // Where the same happened twice, it is not known which of the two it is.
            let places = brought.iter().filter_map(|identity| match order[identity][..] {
                [at] if at >= begin => Some(at),
                _ => None,
            });
            places.is_sorted()
        };
        let all = self.posts.iter().chain(&self.events);
        all.filter(|(_, brought)| !is_ordered(brought)).map(|(author, _)| author).collect()
    }
}

/// How many events a network makes.
const EVENTS: u64 = 6_000;

/// Everything that the network has made and that concerns posts, in order; `None` where it is
/// still making events.
fn truth(network: &Running, protocol: &str) -> Option<Vec<Sent>> {
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
        let is_told = protocol != "jetstream1" || event["kind"] != "sync";
        // One post of a commit can't be read; its siblings can.
        let is_broken = event["fault"].is_string() && event["text"].is_null();
        if is_told && !is_broken && path.is_none_or(|path| path.starts_with(POSTS)) {
            let number = |name: &str| event[name].as_u64().unwrap();
            events.push(Sent { seq: number("seq"), identity: identity(&event) });
        }
    }
    Some(events)
}

/// Where the log differs from what the network has made since the first post in the log.
fn difference<'a>(truth: impl IntoIterator<Item = &'a Sent>, brought: &Brought) -> Vec<String> {
    let truth: Vec<&Sent> = truth.into_iter().collect();
    let begin = brought.beginning(truth.iter().copied());
    let brought = brought.counts();
    let mut sent: BTreeMap<&String, usize> = BTreeMap::new();
    for event in &truth[begin..] {
        *sent.entry(&event.identity).or_default() += 1;
    }
    // Other kinds of events may have come before the first post.
    let early: BTreeSet<&String> = truth[..begin].iter().map(|event| &event.identity).collect();
    let names: BTreeSet<&String> = sent.keys().chain(brought.keys()).copied().collect();
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

/// A network and the addresses of its hosts.
fn network(home: &Home, hosts: usize, faults: &[&str], more: &[&str]) -> (Running, Vec<String>) {
    let events = EVENTS.to_string();
    let mut arguments = vec!["simulate-network", "--prepared", &events, "--rate", "1500"];
    arguments.extend((0..hosts).flat_map(|_| ["--port", "0"]));
    arguments.extend(faults.iter().flat_map(|fault| ["--fault", fault]));
    arguments.extend(more);
    let mut network = Running::start(home.command(&arguments));
    let mut addresses = vec![network.address.clone()];
    addresses.extend((1..hosts).map(|_| network.next_address()));
    (network, addresses)
}

/// Runs the ingest again and again, and ends it with `kill -9` each time.
fn kill_again_and_again(home: &Home, source: &str, times: usize) {
    // A fixed pseudo-random rule spreads the kills over 50 to 350 ms.
    let mut moment = 17u64;
    for _ in 0..times {
        moment = (moment * 61 + 29) % 301;
        let mut service = ingest(home, source);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(50 + moment) {
            std::hint::spin_loop();
        }
        service.child.kill().unwrap();
        service.child.wait().unwrap();
        home.run(&["audit"]).ok();
    }
}

/// Waits until everything is in the log; ends the ingest then.
fn finish(home: &Home, network: &Running, service: Running, protocol: &str) {
    let start = Instant::now();
    loop {
        if let Some(truth) = truth(network, protocol) {
            let brought = Brought::read(home);
            let missing = difference(&truth, &brought);
            if missing.is_empty() {
                assert_eq!(brought.out_of_order(&truth), Vec::<&String>::new());
                break;
            }
            assert!(start.elapsed() < PATIENCE, "{missing:#?}");
        }
    }
    service.signal("TERM");
    assert_eq!(service.wait().code, Some(0));
    home.run(&["audit"]).ok();
    let gaps = home.run(&["streams", "gaps"]).ok();
    assert!(gaps.stdout.starts_with("No gaps"), "{}", gaps.stdout);
}

fn chaos(protocol: &str, faults: &[&str]) {
    let (home, place) = (Home::new(), Home::new());
    let (network, hosts) = network(&place, 1, faults, &[]);
    let source = format!("{protocol}:ws://{}", hosts[0]);
    kill_again_and_again(&home, &source, 8);
    let service = ingest(&home, &source);
    finish(&home, &network, service, protocol);
}

/// How long a test waits for what must happen. Only one that fails takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Faults that a consumer can make good without losing anything.
const FAULTS: [&str; 11] = [
    "disconnect@300/700",
    "duplicate@150/333",
    "bit-flip@500/1500",
    "oversize@800/2000",
    "invalid-framing@1000/1800",
    "consumer-too-slow@2100/2500",
    "reorder@400/400",
    "refuse@2/5",
    "bad-cbor@350/900",
    "bad-lexicon@550/900",
    "zip-bomb@1700/2300",
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

/// Both hosts fall silent, again and again: each time the other one takes over.
#[test]
fn i2_i3_another_host_takes_over_and_nothing_is_missing_or_doubled() {
    let faults = ["silence@1500/2500", "mute@2/4", "disconnect@900/1100", "refuse@4/5"];
    let (home, place) = (Home::new(), Home::new());
    let (network, hosts) = network(&place, 2, &faults, &[]);
    let source = format!("auto:v2=ws://{},v2=ws://{}", hosts[0], hosts[1]);
    kill_again_and_again(&home, &source, 1);
    let service = ingest(&home, &source);
    let start = Instant::now();
    while service.get("/health/detailed")["counters"]["host_switches"].as_u64() < Some(1) {
        assert!(start.elapsed() < PATIENCE);
    }
    finish(&home, &network, service, "jetstream");
}

/// What a host does not keep long enough is lost, and the log says from where to where.
fn outdated(protocol: &str, more: &[&str]) {
    let (home, place) = (Home::new(), Home::new());
    let more: Vec<&str> = ["--window", "600"].into_iter().chain(more.iter().copied()).collect();
    let (network, hosts) = network(&place, 1, &[], &more);
    let source = format!("{protocol}:ws://{}", hosts[0]);
    kill_again_and_again(&home, &source, 1);
    // Meanwhile, everything that comes next goes out of the window.
    let truth = loop {
        if let Some(truth) = truth(&network, protocol) {
            break truth;
        }
    };
    let service = ingest(&home, &source);
    let start = Instant::now();
    loop {
        let gaps = home.run(&["streams", "gaps", "--format", "json"]).ok().json_lines();
        let Some(gap) = gaps.first() else { continue };
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        let bound = |name: &str| gap["payload"][name].as_u64().unwrap();
        let (from, to) = (bound("from_cursor"), bound("to_cursor"));
        let mut brought = Brought::read(&home);
        let begin = brought.beginning(truth.iter());
        let is_proved =
            |(at, sent): (usize, &Sent)| at >= begin && (sent.seq <= from || sent.seq >= to);
        // Some of what lies in the gap had come before the kill.
        let others = truth.iter().enumerate().filter(|sent| !is_proved(*sent));
        let others: BTreeSet<&String> = others.map(|(_, sent)| &sent.identity).collect();
        brought.forget(&others);
        let proved = truth.iter().filter(|sent| !others.contains(&sent.identity));
        let missing = difference(proved, &brought);
        if missing.is_empty() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{missing:#?}");
    }
    service.signal("TERM");
    assert_eq!(service.wait().code, Some(0));
    home.run(&["audit"]).ok();
}

#[test]
fn i5_what_a_relay_no_longer_has_is_a_gap() {
    outdated("relay", &[]);
}

#[test]
fn i5_what_a_relay_no_longer_has_is_a_gap_even_if_it_says_nothing() {
    outdated("relay", &["--clamp"]);
}
