//! The clock of the machine is set while the services run on NATS: forward by a day, and back by
//! two. Needs a C compiler, and the server that `make nats` fetches; otherwise it is skipped.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::{
    collections::BTreeSet,
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use support::{
    Home, Running,
    nats::{Nats, wait_until},
    processed,
};

const DAY: i64 = 24 * 60 * 60;

/// The clock of some processes.
struct Clock {
    library: std::path::PathBuf,
    file: std::path::PathBuf,
}

impl Clock {
    /// `None` where there is no compiler for it.
    fn new(home: &Home) -> Option<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/support/clock.c");
        let library = home.path().join("clock.so");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, Path::new(source)])
            .status();
        if !built.is_ok_and(|status| status.success()) {
            eprintln!("skipped: there is no C compiler `cc` that makes a shared library");
            return None;
        }
        let file = home.write("clock", 0_i64.to_ne_bytes());
        Some(Self { library, file })
    }

    /// Starts a command under this clock.
    fn start(&self, mut command: Command) -> Running {
        command.env("LD_PRELOAD", &self.library).env("WINGBEAT_TEST_CLOCK", &self.file);
        Running::start(command)
    }

    /// Sets it, relative to the right time.
    fn set(&self, seconds: i64) {
        let file = std::fs::File::options().write(true).open(&self.file).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}

#[test]
fn i1_i3_a_clock_that_is_set_doubles_nothing_and_holds_nothing_up() {
    const COUNT: u64 = 6000;
    let home = Home::new();
    let Some(clock) = Clock::new(&home) else { return };
    let Some(nats) = Nats::start() else { return };
    let log = ["--log", &nats.url];
    let service = |name: &str, more: &[&str]| {
        let mut command = home.command(&[&[name, "--port", "0"], &log[..], more].concat());
        command.env("SENTIMENT_CONFIDENCE_THRESHOLD", "0");
        clock.start(command)
    };
    let source = format!("simulator:seed=3,count={COUNT},deletes=0,malformed=0,duplicates=0");
    let ingest = service("ingest", &["--source", &source, "--rate", "2000"]);
    let mut processor = service("process", &[]);
    for (seconds, goal) in [(DAY, 800), (-DAY, 1600), (0, 2400)] {
        wait_until(|| processed(&processor) > goal);
        clock.set(seconds);
    }
    // One that dies while the clock is wrong leaves its work to the next.
    clock.set(DAY);
    wait_until(|| processed(&processor) > 2800);
    processor.child.kill().unwrap();
    let processor = service("process", &[]);
    wait_until(|| processed(&processor) > 100);
    clock.set(-DAY);
    let done = ingest.wait_for("/health/detailed", |details| {
        details["components"]["firehose"]["running"] == false
    });
    assert_eq!(done["books"]["in_flight"], 0, "{done}");
    processor.wait_for("/health/detailed", |details| {
        let consumer = &details["components"]["consumer"];
        consumer["pending"] == 0 && details["books"]["in_flight"] == 0
    });
    for service in [ingest, processor] {
        service.signal("TERM");
        assert_eq!(service.wait().code, Some(0));
    }
    let info = ["streams", "info", "bluesky-posts", "--format", "json", log[0], log[1]];
    let posts = home.run(&info).ok().json();
    let audit = ["audit", "--profile", "enriched", "--format", "json", log[0], log[1]];
    let audit = home.run(&audit).ok().json();
    assert_eq!(audit["flows"][1]["received"], posts["records"], "{audit}");
    let outputs = home.run(&["streams", "tail", "bluesky-posts-enriched", log[0], log[1]]).ok();
    let outputs = outputs.json_lines();
    let ids: BTreeSet<&str> =
        outputs.iter().map(|o| o["headers"]["Nats-Msg-Id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), outputs.len());
    assert_eq!(audit["flows"][1]["emitted"], outputs.len(), "{audit}");
    // The clock really was wrong.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let off = |o: &serde_json::Value| o["payload"]["processed_at"].as_f64().unwrap() - now;
    assert!(outputs.iter().any(|output| off(output) > 40_000.0));
    assert!(outputs.iter().any(|output| off(output) < -40_000.0));
}
