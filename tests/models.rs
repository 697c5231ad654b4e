//! `wingbeat models` with a hub that does what hubs do, on this machine.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../crates/hub/tests/standin/mod.rs"]
mod standin;
mod support;

use std::collections::BTreeMap;

use standin::{COMMIT, Shelf, StandIn};
use support::{Home, Ran};

fn shelf() -> Shelf {
    let files = [
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"a\":1}".to_vec()),
        ("onnx/model.onnx", vec![7; 90_000]),
        ("onnx/model_int8.onnx", vec![8; 30_000]),
    ];
    let files: BTreeMap<String, Vec<u8>> =
        files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
    Shelf { models: BTreeMap::from([("acme/tiny".to_owned(), files)]), ..Shelf::default() }
}

fn run(home: &Home, hub: &StandIn, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = home.command(arguments);
    command.env("HF_ENDPOINT", &hub.endpoint).env("HF_HOME", home.path().join("hf"));
    for name in ["HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"] {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
    Ran::of(&mut command)
}

/// Interrupted and resumed, then without a network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_pulled_listed_verified_and_used_offline() {
    let (home, hub) = (Home::new(), StandIn::start(shelf()).await);
    let pull = ["models", "pull", "acme/tiny"];
    let offline = [("HF_HUB_OFFLINE", "1")];
    assert_eq!(run(&home, &hub, &["models", "ls"], &[]).ok().stdout.lines().count(), 1);
    let missing = run(&home, &hub, &pull, &offline);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("HF_HUB_OFFLINE"), "{}", missing.stderr);
    // It breaks off at every 10,000 bytes: it goes on as long as it gets on.
    hub.shelf().break_after = Some(10_000);
    let pulled = run(&home, &hub, &pull, &[]).ok().json();
    hub.shelf().break_after = None;
    assert_eq!((&pulled["commit"], &pulled["model"]), (&COMMIT.into(), &"acme/tiny".into()));
    let names: Vec<&str> =
        pulled["files"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["config.json", "onnx/model_int8.onnx", "tokenizer.json"]);
    let again = run(&home, &hub, &pull, &offline).ok();
    assert_eq!(again.json()["commit"], COMMIT);
    let listed = run(&home, &hub, &["models", "ls"], &[]).ok().stdout;
    assert!(listed.lines().nth(1).unwrap().starts_with("acme/tiny  0123456789ab"), "{listed}");
    let verified = run(&home, &hub, &["models", "verify"], &[]).ok().stdout;
    assert_eq!(verified, "acme/tiny: 3 files are as they should be\n");
    // A damaged file is found, removed on request, and pulled anew.
    let folder = pulled["folder"].as_str().unwrap();
    std::fs::write(format!("{folder}/onnx/model_int8.onnx"), vec![9; 30_000]).unwrap();
    let damaged = run(&home, &hub, &["models", "verify"], &[]);
    assert_eq!(damaged.code, Some(1));
    assert!(damaged.stdout.contains("onnx/model_int8.onnx is DAMAGED"), "{}", damaged.stdout);
    run(&home, &hub, &["models", "verify", "--remove"], &[]).ok();
    run(&home, &hub, &pull, &[]).ok();
    run(&home, &hub, &["models", "verify", "acme/tiny"], &[]).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_in_one_line() {
    let (home, hub) = (Home::new(), StandIn::start(shelf()).await);
    let pull = |name: &str| run(&home, &hub, &["models", "pull", name], &[]);
    assert_eq!(pull("../x").code, Some(2));
    let missing = pull("acme/none");
    assert_eq!((missing.code, missing.stderr.lines().count()), (Some(1), 1), "{}", missing.stderr);
    assert!(missing.stderr.contains("acme/none is not on http://127.0.0.1"), "{}", missing.stderr);
    let file = ["models", "pull", "acme/tiny", "--file", "model.bin"];
    let missing = run(&home, &hub, &file, &[]);
    assert!(missing.stderr.contains("it has no file `model.bin`"), "{}", missing.stderr);
    hub.shelf().token = Some("sesame".to_owned());
    let denied = pull("acme/tiny");
    assert!(denied.stderr.contains("HF_TOKEN"), "{}", denied.stderr);
    let wrong = run(&home, &hub, &["models", "pull", "acme/tiny"], &[("HF_TOKEN", "open")]);
    assert!(wrong.code == Some(1) && !wrong.stderr.contains("open "), "{}", wrong.stderr);
    run(&home, &hub, &["models", "pull", "acme/tiny"], &[("HF_TOKEN", "sesame")]).ok();
}
