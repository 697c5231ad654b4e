//! `wingbeat streams`: removing records and streams, reading across streams; and what `check` says
//! about streams that are there.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::Value;
use support::{
    Home, Ran, Running,
    nats::{Nats, wait_until},
};

/// Every log that there is here, with the arguments that choose it.
fn each_log(test: impl Fn(&Home, &dyn Fn(&[&str]) -> Ran)) {
    let home = Home::new();
    test(&home, &|arguments| home.run(arguments));
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    test(&home, &|arguments| home.run(&[arguments, &["--log", &nats.url]].concat()));
}

/// Makes a stream of numbered records.
fn fill(home: &Home, run: &dyn Fn(&[&str]) -> Ran, stream: &str, subject: &str, count: usize) {
    // `run` reads no input: the log is chosen once more.
    run(&["streams", "create", stream, "--subject", subject]).ok();
    let log = run(&["config", "--format", "json"]).ok().json();
    let url = log["log.url"]["value"].as_str().or(log["log"]["url"].as_str()).unwrap().to_owned();
    let lines: Vec<String> = (1..=count).map(|n| n.to_string()).collect();
    let name = subject.replace('>', "x");
    let publish = ["streams", "publish", &name, "--lines", "--log", &url];
    home.run_with_input(&publish, lines.join("\n").as_bytes()).ok();
}

fn sequences(run: &dyn Fn(&[&str]) -> Ran, stream: &str) -> Vec<u64> {
    let tailed = run(&["streams", "tail", stream]).ok();
    tailed.json_lines().iter().map(|record| record["seq"].as_u64().unwrap()).collect()
}

#[test]
fn records_are_purged_on_confirmation_only_and_it_is_said_what_goes() {
    each_log(|home, run| {
        fill(home, run, "s", "s.>", 10);
        let refused = run(&["streams", "purge", "s"]);
        assert_eq!(refused.code, Some(1));
        for part in ["10 records", "--yes", "nothing was removed"] {
            assert!(refused.stderr.contains(part), "{}", refused.stderr);
        }
        assert_eq!(sequences(run, "s").len(), 10);
        for (arguments, said, purged, first) in [
            (&["--before", "3"][..], "2 records", 2, 3),
            (&["--keep", "5"], "3 records", 3, 6),
            (&["--subject", "s.y"], "0 records under `s.y`", 0, 6),
            (&["--subject", "s.*", "--keep", "2"], "3 records under `s.*`", 3, 9),
            (&[], "2 records", 2, 11),
        ] {
            let ran = run(&[&["streams", "purge", "s", "--yes"], arguments].concat()).ok();
            assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
            assert_eq!(ran.json()["purged"], purged, "{arguments:?}");
            assert_eq!(sequences(run, "s"), (first..11).collect::<Vec<_>>(), "{arguments:?}");
        }
        assert_eq!(run(&["streams", "purge", "s", "--keep", "1", "--before", "2"]).code, Some(2));
        let missing = run(&["streams", "purge", "t", "--yes"]);
        assert!(missing.stderr.contains("there is no stream `t`"), "{}", missing.stderr);
    });
}

#[test]
fn a_stream_is_removed_on_confirmation_only() {
    each_log(|home, run| {
        fill(home, run, "s", "s.>", 3);
        fill(home, run, "t", "t.>", 1);
        let refused = run(&["streams", "rm", "s"]);
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains("with 3 records"), "{}", refused.stderr);
        assert_eq!(run(&["streams", "rm", "s", "--yes"]).ok().json()["removed"], 3);
        let left = run(&["streams", "ls", "--format", "json"]).ok().json_lines();
        assert_eq!(left.iter().map(|s| &s["name"]).collect::<Vec<_>>(), [&Value::from("t")]);
    });
}

/// Whoever had not come to what goes is named before, and lists it as missed afterwards.
#[test]
fn consumers_that_had_not_read_what_is_purged_are_named() {
    let home = Home::new();
    let posts = support::posts(&home, 20, 1);
    home.run(&["streams", "create", "bluesky-posts", "--subject", "bluesky.posts.>"]).ok();
    let publish = ["streams", "publish", "bluesky.posts.posts", "--lines"];
    home.run_with_input(&publish, &posts).ok();
    home.run(&["process", "--once", "--port", "0"]).ok();
    home.run_with_input(&publish, &posts).ok();
    let last = *sequences(&|arguments| home.run(arguments), "bluesky-posts").last().unwrap();
    let keep = ["streams", "purge", "bluesky-posts", "--keep", "1", "--yes"];
    let purged = home.run(&keep).ok();
    assert!(purged.stderr.contains("Consumer `unified-processor`"), "{}", purged.stderr);
    home.run(&["process", "--once", "--port", "0"]).ok();
    let info = home.run(&["streams", "info", "bluesky-posts", "--format", "json"]).ok().json();
    let missed = &info["consumers"][0]["missed"][0];
    assert_eq!(missed["last"], last - 1, "{info}");
    let audit = home.run(&["audit", "--profile", "enriched"]);
    assert!(audit.stdout.contains("never processed"), "{}", audit.stdout);
}

#[test]
fn subjects_are_read_across_the_streams_that_capture_them() {
    each_log(|home, run| {
        fill(home, run, "a", "x.a.>", 2);
        fill(home, run, "b", "x.b.>", 2);
        fill(home, run, "c", "y.>", 2);
        run(&["streams", "create", "a", "--subject", "x.a.>"]).ok();
        let read = |arguments: &[&str]| {
            let ran = run(&[&["streams", "tail"], arguments].concat()).ok();
            let place = |r: &Value| format!("{} {}", r["stream"].as_str().unwrap(), r["seq"]);
            ran.json_lines().iter().map(place).collect::<Vec<_>>()
        };
        // In the order in which they were stored.
        assert_eq!(read(&["x.>"]), ["a 1", "a 2", "b 1", "b 2"]);
        assert_eq!(read(&["x.>", "--count", "3"]), ["a 1", "a 2", "b 1"]);
        assert_eq!(read(&["*.b.x"]), ["b 1", "b 2"]);
        assert_eq!(read(&["x.>", "--from", "last"]), ["a 2", "b 2"]);
        let nobody = run(&["streams", "tail", "z.>"]);
        assert!(
            nobody.stderr.contains("no stream captures the subject `z.>`"),
            "{}",
            nobody.stderr
        );
        let sequence = run(&["streams", "tail", "x.>", "--from", "1"]);
        assert_eq!(sequence.code, Some(78));
        assert!(sequence.stderr.contains("a, b"), "{}", sequence.stderr);
        let twice = run(&["streams", "tail", "x.>", "--subject", "x.a.>"]);
        assert!(twice.stderr.contains("--subject"), "{}", twice.stderr);
    });
}

/// Two environments share a server: each has its own streams, consumers, subjects and books.
#[test]
fn an_environment_with_a_suffix_has_streams_and_books_of_its_own() {
    let home = Home::new();
    let run = |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut command = home.command(arguments);
        let output = command.envs(environment.iter().copied()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Ran { code: output.status.code(), stdout, stderr }.ok()
    };
    let dev = [("ENV_SUFFIX", "dev")];
    let source = ["--source", "simulator:count=50,deletes=0", "--once"];
    let up = [&["up", "--port", "0", "--set", "ingest.batch=10"], &source[..]].concat();
    run(&dev, &up);
    let streams = run(&[], &["streams", "ls", "--format", "json"]).json_lines();
    let shown = |s: &Value| format!("{} {}", s["name"].as_str().unwrap(), s["subjects"][0]);
    assert_eq!(
        streams.iter().map(shown).collect::<Vec<_>>(),
        [
            "bluesky-books-dev \"bluesky.books.dev.>\"",
            "bluesky-events-dev \"bluesky.events.dev.>\"",
            "bluesky-posts-dev \"bluesky.posts.dev.>\"",
            "bluesky-posts-dlq-dev \"bluesky.dlq.dev.>\"",
            "bluesky-posts-enriched-dev \"bluesky.enriched.dev.>\"",
        ]
    );
    let info = run(&[], &["streams", "info", "bluesky-posts-dev", "--format", "json"]).json();
    assert_eq!(info["consumers"][0]["name"], "unified-processor-dev");
    run(&dev, &["audit"]);
    // Production on the same log overlaps these, and says so before it makes anything.
    let refused = home.run(&["up", "--port", "0"]);
    assert_eq!(refused.code, Some(78), "{}", refused.stderr);
    for part in ["`bluesky-posts-dev`", "bluesky.posts.dev.>", "bluesky.posts.>", "ENV_SUFFIX"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let checked = home.run(&["check"]);
    assert_eq!(checked.code, Some(78), "{}", checked.stderr);
    assert!(checked.stdout.contains("PROBLEM: stream `bluesky-posts`"), "{}", checked.stdout);
    // Another suffix does not.
    run(&[("ENV_SUFFIX", "test")], &up);
    assert_eq!(run(&[], &["streams", "ls", "--format", "json"]).json_lines().len(), 10);
    // Services have the names that they had by hand.
    let ran = run(&dev, &["process", "--once", "--port", "0"]);
    assert!(ran.stderr.contains("unified-processor-dev"), "{}", ran.stderr);
    let wrong = home.run(&["check", "--set", "log.suffix=a.b"]);
    assert_eq!(wrong.code, Some(78));
    assert!(wrong.stderr.contains("log.suffix"), "{}", wrong.stderr);
}

/// `check` changes nothing, and says what is not as the pack wants it.
#[test]
fn check_names_what_is_there_and_differs() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let log = ["--log", &nats.url];
    let run = |arguments: &[&str]| home.run(&[arguments, &log[..]].concat());
    let empty = run(&["check"]).ok();
    assert!(empty.stdout.contains("stream `bluesky-posts` is not there yet"), "{}", empty.stdout);
    assert_eq!(run(&["streams", "ls", "--format", "json"]).ok().stdout, "");
    let create = ["streams", "create", "bluesky-posts", "--subject", "bluesky.posts.>"];
    run(&[&create[..], &["--records-max", "1000"]].concat()).ok();
    let checked = run(&["check", "--profile", "enriched"]).ok();
    let line = "stream `bluesky-posts`: records_max is 1,000, wanted 5,000,000 (stays as it is)";
    assert!(checked.stdout.contains(line), "{}", checked.stdout);
    let changing = format!("{}?existing=change", nats.url);
    let checked = home.run(&["check", "--log", &changing]).ok();
    assert!(checked.stdout.contains("is changed at the next start"), "{}", checked.stdout);
    run(&["streams", "rm", "bluesky-posts", "--yes"]).ok();
    run(&["streams", "create", "bluesky-posts", "--subject", "bluesky.>"]).ok();
    let looping = run(&["check"]);
    assert_eq!(looping.code, Some(78), "{}", looping.stderr);
    assert!(looping.stdout.contains("PROBLEM: `flows.enrich.to`"), "{}", looping.stdout);
    for command in ["up", "process", "ingest"] {
        let refused = run(&[command, "--port", "0"]);
        assert_eq!(refused.code, Some(78), "{command}: {}", refused.stderr);
    }
}

/// The replaced processor, as far as the server sees it: a push consumer that somebody is bound to.
struct OldProcessor(std::io::BufReader<std::net::TcpStream>);

impl OldProcessor {
    fn start(url: &str) -> Self {
        let stream = std::net::TcpStream::connect(url.strip_prefix("nats://").unwrap()).unwrap();
        let mut processor = Self(std::io::BufReader::new(stream));
        let config = r#"{"stream_name":"bluesky-posts","config":{"durable_name":"unified-processor","deliver_subject":"inbox","deliver_group":"unified-processor","deliver_policy":"all","ack_policy":"explicit","ack_wait":30000000000,"max_deliver":3,"filter_subject":"bluesky.posts.>","max_ack_pending":1000}}"#;
        let create = "$JS.API.CONSUMER.DURABLE.CREATE.bluesky-posts.unified-processor";
        processor.send("CONNECT {\"verbose\":false}\r\nSUB inbox unified-processor 1\r\n");
        processor.send(&format!("PUB {create} {}\r\n{config}\r\n", config.len()));
        processor
    }

    fn send(&mut self, text: &str) {
        std::io::Write::write_all(self.0.get_mut(), text.as_bytes()).unwrap();
    }

    /// Acknowledges the next message.
    fn acknowledge(&mut self) {
        loop {
            let mut line = Vec::new();
            std::io::BufRead::read_until(&mut self.0, b'\n', &mut line).unwrap();
            let line = String::from_utf8_lossy(&line).into_owned();
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["MSG" | "HMSG", _, "1", reply, ..] => {
                    return self.send(&format!("PUB {reply} 4\r\n+ACK\r\n"));
                }
                ["PING"] => self.send("PONG\r\n"),
                _ => {}
            }
        }
    }
}

/// `process` waits for the processor that it replaces, and goes on where that one was.
#[test]
fn i2_process_goes_on_where_the_replaced_processor_was() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let log = ["--log", &nats.url];
    let run = |arguments: &[&str]| home.run(&[arguments, &log[..]].concat());
    run(&["streams", "create", "bluesky-posts", "--subject", "bluesky.posts.>"]).ok();
    let publish = ["streams", "publish", "bluesky.posts.posts", "--lines", log[0], log[1]];
    home.run_with_input(&publish, &support::posts(&home, 30, 5)).ok();
    let mut old = OldProcessor::start(&nats.url);
    for _ in 0..12 {
        old.acknowledge();
    }
    // It answers while it waits.
    let service = Running::spawn(home.command(&["process", "--port", "0", log[0], log[1]]));
    assert_eq!(service.get_text("/health").0, 200);
    assert_eq!(service.get_text("/ready").0, 503);
    let line = "is a push consumer of another program, which has settled everything up to 12";
    wait_until(|| run(&["check", "--profile", "enriched"]).ok().stdout.contains(line));
    wait_until(|| service.has_said("still used by a running processor"));
    drop(old);
    let details = service.wait_for("/health/detailed", |details| {
        let (books, consumer) = (&details["books"], &details["components"]["consumer"]);
        details["status"] == "healthy"
            && books["in_flight"] == 0
            && consumer["pending"] == 0
            && books["received"] != 0
    });
    assert_eq!(details["books"]["received"], 18, "{details}");
    service.signal("TERM");
    let ended = service.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for said in ["still used by a running processor", "CONSUMER_NAME", "taken over, behind 12"] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    run(&["audit", "--profile", "enriched"]).ok();
}
