//! Three NATS servers, one ingest, three processors, and faults in seeded order: servers and
//! processes are killed and held up. In the end every input has one outcome, and every output is
//! there once.
//!
//! `make test` runs it for seconds and slowly, `make test-chaos` for five minutes at 2,000
//! events/s. Needs the server that `make nats` fetches; otherwise it is skipped.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    collections::BTreeMap,
    fs::File,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use support::{
    FAST_MODELS, Home, Running,
    nats::Nats,
    network::{Brought, difference, truth},
};

/// How long what must happen may take once nothing disturbs it any more.
const PATIENCE: Duration = Duration::from_secs(180);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Numbers in an order that the seed decides (splitmix64).
struct Dice(u64);

impl Dice {
    /// Below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.roll(to - from))
    }
}

/// A process of ours that is started again and again.
struct Service {
    name: &'static str,
    arguments: Vec<String>,
    child: Child,
    /// How often it was started.
    starts: u32,
}

impl Service {
    fn start(home: &Home, name: &'static str, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        let child = spawn(home, &arguments, &format!("{name}-1.log"));
        Self { name, arguments, child, starts: 1 }
    }

    fn start_again(&mut self, home: &Home) {
        self.starts += 1;
        self.child = spawn(home, &self.arguments, &self.log());
    }

    /// The file to which this start writes.
    fn log(&self) -> String {
        format!("{}-{}.log", self.name, self.starts)
    }

    fn said(&self, home: &Home) -> String {
        std::fs::read_to_string(home.path().join(self.log())).unwrap()
    }
}

fn spawn(home: &Home, arguments: &[String], log: &str) -> Child {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let log = File::create(home.path().join(log)).unwrap();
    let mut command = home.command(&arguments);
    command
        .envs([("ENABLE_TEXT_FILTERING", "false"), ("ACK_WAIT_SECONDS", "4")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything that faults may hit: first the servers, then the services.
struct Victims<'a> {
    home: &'a Home,
    servers: Vec<Nats>,
    services: Vec<Service>,
    /// Who suffers now: until when, and whether it was killed or is held up.
    hurt: BTreeMap<usize, (Instant, bool)>,
    done: BTreeMap<&'static str, u32>,
}

impl Victims<'_> {
    fn id(&self, victim: usize) -> u32 {
        match self.servers.get(victim) {
            Some(server) => server.id(),
            None => self.services[victim - self.servers.len()].child.id(),
        }
    }

    /// Kills one, or holds it up. Of the servers only one at a time: without a majority nothing
    /// can be acknowledged, and nothing would be tested.
    fn hurt_one(&mut self, dice: &mut Dice) {
        let count = self.servers.len() + self.services.len();
        let victim = usize::try_from(dice.roll(count as u64)).unwrap();
        let is_server = victim < self.servers.len();
        let another_is_down = self.hurt.keys().any(|other| *other < self.servers.len());
        if self.hurt.contains_key(&victim) || (is_server && another_is_down) {
            return;
        }
        let is_killed = dice.roll(2) == 0;
        let pause = match (is_server, is_killed) {
            (true, _) => dice.millis(300, 6_000),
            (false, true) => dice.millis(10, 1_500),
            // Shorter and longer than the ack wait.
            (false, false) => dice.millis(300, 9_000),
        };
        let what = match (is_server, is_killed) {
            (true, true) => "servers killed",
            (true, false) => "servers held up",
            (false, true) => "services killed",
            (false, false) => "services held up",
        };
        *self.done.entry(what).or_default() += 1;
        if !is_killed {
            signal(self.id(victim), "STOP");
        } else if is_server {
            self.servers[victim].kill();
        } else {
            let service = &mut self.services[victim - self.servers.len()];
            service.child.kill().unwrap();
            service.child.wait().unwrap();
        }
        self.hurt.insert(victim, (Instant::now() + pause, is_killed));
    }

    /// Helps up who has suffered until `now`; everybody, where there is none.
    fn help_up(&mut self, now: Option<Instant>) {
        let is_due = |until: &Instant| now.is_none_or(|now| *until <= now);
        let due: Vec<_> = self
            .hurt
            .extract_if(.., |_, (until, _)| is_due(until))
            .map(|(v, h)| (v, h.1))
            .collect();
        for (victim, is_killed) in due {
            let first_service = self.servers.len();
            if !is_killed {
                signal(self.id(victim), "CONT");
            } else if victim < first_service {
                self.servers[victim].start_again();
            } else {
                self.services[victim - first_service].start_again(self.home);
            }
        }
    }

    /// No service gives up by itself, whatever happens to the servers.
    fn expect_alive(&mut self) {
        for (at, service) in self.services.iter_mut().enumerate() {
            if !self.hurt.contains_key(&(self.servers.len() + at)) {
                let ended = service.child.try_wait().unwrap();
                assert!(ended.is_none(), "{ended:?}: {}", service.said(self.home));
            }
        }
    }
}

fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status().unwrap();
    assert!(sent.success());
}

fn network(rate: u64, events: u64) -> (Home, Running) {
    let home = Home::new();
    let (rate, events) = (rate.to_string(), events.to_string());
    let arguments = [
        "simulate-network",
        "--port",
        "0",
        "--rate",
        &rate,
        "--prepared",
        &events,
        "--window",
        &events,
    ];
    let network = Running::start(home.command(&arguments));
    (home, network)
}

#[test]
fn i1_i2_i3_i10_servers_and_processes_that_are_killed_or_held_up_lose_and_double_nothing() {
    let seconds = number("WINGBEAT_CHAOS_SECONDS", 20);
    let rate = number("WINGBEAT_CHAOS_RATE", 200);
    let seed = number("WINGBEAT_CHAOS_SEED", 1);
    let events = seconds * rate;
    let Some(servers) = Nats::cluster() else { return };
    let home = Home::new();
    let (_network_home, network) = network(rate, events);
    let url = format!("{}?replicas=3", Nats::url_of(&servers));
    let log = ["--log", url.as_str()];
    let source = format!("relay:ws://{}", network.address);
    let ingest = ["ingest", "--port", "0", "--source", &source];
    let processor = [&["process", "--port", "0"][..], &log, &FAST_MODELS].concat();
    let services = vec![
        Service::start(&home, "ingest", &[&ingest[..], &log].concat()),
        Service::start(&home, "process-1", &processor),
        Service::start(&home, "process-2", &processor),
        Service::start(&home, "process-3", &processor),
    ];
    let (hurt, done) = (BTreeMap::new(), BTreeMap::new());
    let mut victims = Victims { home: &home, servers, services, hurt, done };
    // A consumer without a cursor begins with what happens next: it must have begun.
    let first = [&["streams", "tail", "bluesky-posts", "--count", "1"], &log[..]].concat();
    wait_until("the first post", || !home.run(&first).stdout.is_empty());
    let mut dice = Dice(seed);
    let start = Instant::now();
    let mut next = start;
    while start.elapsed() < Duration::from_secs(seconds) {
        let now = Instant::now();
        victims.expect_alive();
        victims.help_up(Some(now));
        if now >= next {
            victims.hurt_one(&mut dice);
            next = now + dice.millis(200, 2_000);
        }
        thread::sleep(Duration::from_millis(20));
    }
    victims.help_up(None);
    eprintln!("seed {seed}: {:?}", victims.done);
    let info = || {
        home.run(&[&["streams", "info", "bluesky-posts", "--format", "json"], &log[..]].concat())
    };
    wait_until("the servers answer", || info().code == Some(0));
    compare(&home, &network, &log, events);
    wait_until("every post processed", || {
        let info = info();
        info.code == Some(0) && {
            let consumer = &info.json()["consumers"][0];
            consumer["pending"] == 0 && consumer["unsettled"] == 0
        }
    });
    wait_until("every service at work", || {
        victims.services.iter().all(|service| service.said(&home).contains("starting_service"))
    });
    for service in &mut victims.services {
        signal(service.child.id(), "TERM");
        let ended = service.child.wait().unwrap();
        assert!(ended.success(), "{ended}: {}", service.said(&home));
    }
    let audit = home.run(&[&["audit", "--format", "json"], &log[..]].concat()).ok().json();
    eprintln!("{audit}");
    let posts = info().ok().json()["records"].as_u64().unwrap();
    assert_eq!(audit["flows"][1]["received"].as_u64(), Some(posts));
    expect_outputs_once(&home, &log);
}

/// Waits until the log has exactly what the network has made, in order.
fn compare(home: &Home, network: &Running, log: &[&str], events: u64) {
    let mut truth_made = None;
    wait_until("every event made", || {
        truth_made = truth(network, "relay", events);
        truth_made.is_some()
    });
    let truth_made = truth_made.unwrap();
    let mut missing = Vec::new();
    wait_until("every event in the log", || {
        let brought = Brought::read(home, log);
        missing = difference(&truth_made, &brought);
        missing.is_empty() && {
            assert_eq!(brought.out_of_order(&truth_made), Vec::<&String>::new());
            true
        }
    });
}

/// No post stands in the output twice.
fn expect_outputs_once(home: &Home, log: &[&str]) {
    let tail = [&["streams", "tail", "bluesky-posts-enriched"], log].concat();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for stored in home.run(&tail).ok().json_lines() {
        *seen.entry(stored["payload"]["uri"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let doubled: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(doubled.is_empty() && !seen.is_empty(), "{doubled:?}");
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: waited for too long");
        thread::yield_now();
    }
}
