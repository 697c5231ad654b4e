//! The page in headless Chromium, against the real server.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::{path::Path, process::Command};

use support::Home;

/// Runs the page's own browser checks (`ui/e2e`) against a server.
fn check_in_browser(address: &str, arguments: &[&str]) {
    let ui = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui");
    let mut command = Command::new("node");
    command.args(["e2e/run.mjs", &format!("http://{address}")]).args(arguments);
    let ran = command.current_dir(ui).output().unwrap();
    let said =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    eprintln!("{said}");
}

#[test]
fn the_page_shows_live_posts_and_passes_its_checks() {
    let home = Home::new();
    let up = home.up(&["--source", "simulator", "--rate", "50"]);
    check_in_browser(&up.address, &[]);
    up.signal("TERM");
    assert_eq!(up.wait().code, Some(0));
}

#[test]
fn markup_in_a_post_is_shown_as_text() {
    const HOSTILE: &str = "<img src=x onerror=alert(1)>";
    let home = Home::new();
    let post = |text: &str| serde_json::json!({ "text": text }).to_string() + "\n";
    home.write("posts.jsonl", post(HOSTILE) + &post("<script>alert(2)</script>"));
    let up = home.up(&["--source", "file:posts.jsonl", "--set", "stages.sentiment.threshold=0"]);
    check_in_browser(&up.address, &["--expect-post", HOSTILE]);
    up.signal("TERM");
    assert_eq!(up.wait().code, Some(0));
}
