//! What the program refuses: one line that says what and what to do, and the right exit code.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;
use support::{Home, Ran, posts};

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
    one_line(&home.run(&["audit"]), 78, &["wingbeat-data", "--log"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    one_line(&home.run(&["up", "--port", &port]), 1, &[&port, "--port"]);
    home.write("a-file", "x");
    one_line(&home.run(&["up", "--port", "0", "--log", "embedded:a-file"]), 1, &["a-file"]);
    one_line(
        &home.run(&["up", "--port", "0", "--log", "embedded:/proc/wingbeat"]),
        1,
        &["/proc/wingbeat"],
    );
    one_line(
        &home.run(&["up", "--port", "0", "--source", "file:missing.jsonl"]),
        1,
        &["missing.jsonl"],
    );
    let other = Home::new();
    other.write("thesis.txt", "important");
    let log = format!("embedded:{}", other.path().display());
    one_line(&home.run(&["up", "--port", "0", "--log", &log]), 78, &["thesis.txt"]);
}

/// Fills a small file system (in a mount namespace of its own, where the kernel allows that),
/// makes it larger, and goes on.
const FULL_DISK: &str = r#"
set -u
mount -t tmpfs -o size=6m tmpfs disk || exit 90
up() { "$0" up --port 0 --log embedded:disk/log --set stages.sentiment.threshold=0 "$@" >&2; }
up --source file:posts.jsonl; test $? = 1 || exit 91
"$0" audit --log embedded:disk/log >&2 || exit 92
mount -o remount,size=64m disk || exit 93
up --source file:posts.jsonl --once || exit 94
"$0" audit --log embedded:disk/log >&2 || exit 95
exec "$0" streams tail bluesky-posts-enriched --log embedded:disk/log
"#;

#[test]
fn i1_a_full_disk_ends_it_with_one_line_and_nothing_is_lost() {
    const POSTS: usize = 10_000;
    let home = Home::new();
    home.write("posts.jsonl", posts(&home, POSTS, 5));
    std::fs::create_dir(home.path().join("disk")).unwrap();
    let program = env!("CARGO_BIN_EXE_wingbeat");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", FULL_DISK, program]);
    let Ok(ran) = command.current_dir(home.path()).output() else {
        eprintln!("skipped: there is no unshare");
        return;
    };
    let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
    if stderr.contains("unshare: ") || stderr.contains("mount: ") {
        eprintln!("skipped: no mount namespace here: {stderr}");
        return;
    }
    assert_eq!(ran.status.code(), Some(0), "{stderr}");
    let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("wingbeat: ")).collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    for part in ["No space left", "free some space"] {
        assert!(lines[0].contains(part), "{}", lines[0]);
    }
    let uris: BTreeSet<String> = String::from_utf8_lossy(&ran.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["payload"]["uri"].to_string())
        .collect();
    assert_eq!(uris.len(), POSTS, "posts are missing");
    assert_eq!(ran.stdout.iter().filter(|byte| **byte == b'\n').count(), POSTS);
}
