//! Many processes on one NATS server: ingest, three processors, the dashboard. Needs the server
//! that `make nats` fetches; otherwise it is skipped.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use support::{
    Home, Running,
    nats::{Nats, wait_until},
    processed,
};

/// Three share the work. Two are killed, one is held up for longer than the ack wait: then others
/// get what it had, and it goes on with it all the same.
#[test]
fn i1_i2_i3_processors_that_die_or_hang_leave_every_post_with_one_outcome() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let log = ["--log", &nats.url];
    let start = || home.process(&log, &[("ACK_WAIT_SECONDS", "2")]);
    let [first, mut second, mut third] = [start(), start(), start()];
    let web = Running::start(home.command(&["web", "--port", "0", "--log", &nats.url]));
    let source = ["--source", "simulator:seed=9,count=6000,deletes=0", "--rate", "1500"];
    let ingest = home.ingest(&[&log[..], &source[..]].concat(), &[]);
    wait_until(|| processed(&second) > 200);
    second.child.kill().unwrap();
    wait_until(|| processed(&first) > 500);
    first.signal("STOP");
    let fourth = start();
    wait_until(|| processed(&third) > 1_000);
    third.child.kill().unwrap();
    // What the one that hangs had is done by the other one that is left.
    let info =
        || home.run(&["streams", "info", "bluesky-posts", "--format", "json", log[0], log[1]]);
    let running = ingest.wait_for("/health/detailed", |details| {
        details["components"]["firehose"]["running"] == false
    });
    assert_eq!(running["books"]["in_flight"], 0);
    wait_until(|| {
        let consumer = info().ok().json()["consumers"][0].clone();
        consumer["pending"] == 0 && consumer["unsettled"] == 0
    });
    first.signal("CONT");
    let received = running["books"]["received"].as_u64().unwrap();
    let moods = web.wait_for("/api/status", |status| !status["streams"].is_null());
    assert!(moods["log"].as_str().unwrap().starts_with("nats://127.0.0.1"), "{moods}");
    for service in [first, fourth, ingest, web] {
        service.signal("TERM");
        assert_eq!(service.wait().code, Some(0));
    }
    let audit = home.run(&["audit", "--format", "json", log[0], log[1]]).ok().json();
    let books = audit["flows"].as_array().unwrap();
    assert_eq!(
        (&books[0]["flow"], books[0]["received"].as_u64()),
        (&"ingest".into(), Some(received))
    );
    assert_eq!(books[1]["received"], books[0]["emitted"], "{audit}");
}

/// Somebody deletes an output in the middle of its stream, by JetStream's own request.
#[test]
fn i1_the_audit_finds_an_output_that_was_deleted_by_hand() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let log = ["--log", &nats.url];
    home.run(&[&["mock", "--count", "60", "--rate", "5000"], &log[..]].concat()).ok();
    let process = home.process(&[&["--once"], &log[..]].concat(), &[]);
    assert_eq!(process.wait().code, Some(0));
    home.run(&[&["audit"], &log[..]].concat()).ok();
    let (subject, wanted) = ("$JS.API.STREAM.MSG.DELETE.bluesky-posts-enriched", r#"{"seq":17}"#);
    let deleted = home.run(&[&["streams", "request", subject, wanted], &log[..]].concat()).ok();
    assert_eq!(deleted.json()["success"], true);
    let audit = home.run(&[&["audit"], &log[..]].concat());
    assert_eq!(audit.code, Some(1), "{}", audit.stdout);
    assert!(
        audit.stdout.contains("1 emitted records have no output in the log: input "),
        "{}",
        audit.stdout
    );
}
