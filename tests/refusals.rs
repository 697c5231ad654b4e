//! What the program refuses: one line that says what and what to do, and the right exit code.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::process::Command;

use support::{Home, Ran};

/// One line on stderr.
#[track_caller]
fn one_line(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, Some(code), "{}", ran.stderr);
    let lines: Vec<&str> =
        ran.stderr.lines().filter(|line| line.starts_with("wingbeat: ")).collect();
    assert_eq!(lines.len(), 1, "{}", ran.stderr);
    for part in parts {
        assert!(lines[0].contains(part), "{part:?} is not in {:?}", lines[0]);
    }
}

#[test]
fn wrong_configuration_names_the_place_and_ends_with_78() {
    let home = Home::new();
    home.write("wingbeat.toml", "[web]\nport = 3000\n\n[stages.sentiment]\ntreshold = 0.5\n");
    one_line(
        &home.run(&["check"]),
        78,
        &["wingbeat.toml:5", "stages.sentiment.treshold", "did you mean `threshold`"],
    );
    home.write("wingbeat.toml", "[web]\nport = \"many\"\n");
    one_line(&home.run(&["up"]), 78, &["wingbeat.toml:2", "web.port"]);
    home.write("wingbeat.toml", "[web\n");
    one_line(&home.run(&["up"]), 78, &["wingbeat.toml:1", "not TOML"]);
    home.write("wingbeat.toml", "[flows.enrich]\nto = \"bluesky.posts.enriched.{sentiment}\"\n");
    one_line(&home.run(&["check"]), 78, &["flows.enrich.to", "feed itself"]);
    home.write("wingbeat.toml", "[flows.enrich]\nstages = [\"post\", \"sentment\"]\n");
    one_line(&home.run(&["check"]), 78, &["sentment", "sentiment"]);
    std::fs::remove_file(home.path().join("wingbeat.toml")).unwrap();
    one_line(&home.run(&["up", "--source", "flie:x"]), 78, &["file"]);
    one_line(&home.run(&["up", "--log", "carrier-pigeon:home"]), 78, &["embedded:"]);
    one_line(&home.run(&["up", "nowhere.toml"]), 78, &["nowhere.toml"]);
    one_line(&home.run(&["--set", "web.prot=1", "check"]), 78, &["--set web.prot=1", "port"]);
    let mut command = home.command(&["check"]);
    let ran = command.env("SENTIMENT_CONFIDENCE_THRESHOLD", "high").output().unwrap();
    assert_eq!(ran.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("SENTIMENT_CONFIDENCE_THRESHOLD"));
}

#[test]
fn what_the_system_refuses_is_said_in_one_line() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    one_line(&home.run(&["up", "--port", &port]), 1, &[&port, "--port"]);
    home.write("a-file", "x");
    one_line(&home.run(&["up", "--log", "embedded:a-file"]), 1, &["a-file"]);
    one_line(&home.run(&["up", "--log", "embedded:/proc/wingbeat"]), 1, &["/proc/wingbeat"]);
    one_line(&home.run(&["up", "--source", "file:missing.jsonl"]), 1, &["missing.jsonl"]);
    one_line(&home.run(&["audit"]), 78, &["wingbeat-data", "--log"]);
    let other = Home::new();
    other.write("thesis.txt", "important");
    let log = format!("embedded:{}", other.path().display());
    one_line(&home.run(&["up", "--log", &log]), 78, &["thesis.txt"]);
}

/// A small file system in a mount namespace of its own, where the kernel allows that.
#[test]
fn a_full_disk_ends_it_with_one_line_and_nothing_is_lost() {
    let home = Home::new();
    let script = r#"mount -t tmpfs -o size=6m tmpfs disk && "$0" up --port 0 --log embedded:disk/log --source simulator --rate 20000 --for 60s; code=$?; "$0" audit --log embedded:disk/log >&2 || exit 99; exit $code"#;
    std::fs::create_dir(home.path().join("disk")).unwrap();
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        script,
        env!("CARGO_BIN_EXE_wingbeat"),
    ]);
    let Ok(ran) = command.current_dir(home.path()).output() else {
        eprintln!("skipped: there is no unshare");
        return;
    };
    let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
    if stderr.contains("unshare: ") || stderr.contains("mount: ") {
        eprintln!("skipped: no mount namespace here: {stderr}");
        return;
    }
    assert_eq!(ran.status.code(), Some(1), "{stderr}");
    let line = stderr.lines().find(|line| line.starts_with("wingbeat: ")).unwrap();
    assert!(line.contains("No space left") && line.contains("free some space"), "{line}");
}
