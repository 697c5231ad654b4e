//! `wingbeat ingest` from the simulated network: with faults and `kill -9`, every event that the
//! network sent is in the log once and in order per author, or lies in a reported gap.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use support::{
    Home, Running,
    network::{Brought, Sent, difference, truth},
};

/// How many events a network makes.
const EVENTS: u64 = 6_000;

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

fn ingest(home: &Home, source: &str) -> Running {
    let arguments = ["--source", source, "--set", "source.network.retry_max=100ms"];
    home.ingest(&arguments, &[("ENABLE_TEXT_FILTERING", "false")])
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
        if let Some(truth) = truth(network, protocol, EVENTS) {
            let brought = Brought::read(home, &[]);
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
        if let Some(truth) = truth(&network, protocol, EVENTS) {
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
        let mut brought = Brought::read(&home, &[]);
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
