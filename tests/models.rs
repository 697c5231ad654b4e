//! `wingbeat models`, and models by name in other commands, with a hub that does what hubs do, on
//! this machine.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../crates/hub/tests/standin/mod.rs"]
mod standin;
mod support;
#[path = "../crates/model/tests/hugging_face/mod.rs"]
mod tiny;

use std::{collections::BTreeMap, process::Command};

use serde_json::{Value, json};
use standin::{COMMIT, Shelf, StandIn};
use support::{FAST_MODELS, Home, Ran, Running, nats::wait_until};

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

/// Models that can be loaded, for each task one.
fn tiny_shelf() -> Shelf {
    let sentiment = tiny::sentiment(["negative", "neutral", "positive"]);
    let models = [
        ("acme/mood", sentiment),
        ("acme/nameless", tiny::sentiment(["LABEL_0", "LABEL_1", "LABEL_2"])),
        ("acme/themes", tiny::topics()),
        ("sentence-transformers/tiny", tiny::embedding("pooling_mode_mean_tokens")),
    ];
    let models = models.into_iter().map(|(name, files)| (name.to_owned(), files)).collect();
    Shelf { models, ..Shelf::default() }
}

fn command(
    home: &Home,
    hub: &StandIn,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Command {
    let mut command = home.command(arguments);
    command.env("HF_ENDPOINT", &hub.endpoint).env("HF_HOME", home.path().join("hf"));
    for name in ["HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"] {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
    command
}

fn run(home: &Home, hub: &StandIn, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    Ran::of(&mut command(home, hub, arguments, environment))
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

/// Without a name: what the settings name, to where it will be looked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_settings_name_is_pulled_to_where_it_is_looked_for() {
    let (home, hub) = (Home::new(), StandIn::start(tiny_shelf()).await);
    let none = run(&home, &hub, &["models", "pull"], &[]);
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("the settings name no model"), "{}", none.stderr);
    let kept = home.path().join("kept");
    let kept = kept.to_str().unwrap();
    let settings = [&MODELS[..], &[("MODEL_CACHE_DIR", kept)]].concat();
    let pulled = run(&home, &hub, &["models", "pull"], &settings).ok().stdout;
    let folders: Vec<Value> =
        pulled.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    let is_kept = |at: usize| folders[at]["folder"].as_str().unwrap().starts_with(kept);
    assert_eq!([is_kept(0), is_kept(1), is_kept(2)], [true, true, false], "{pulled}");
    // By name it goes to the same place; a model that is not named goes to the usual one.
    let one = run(&home, &hub, &["models", "pull", "acme/mood"], &settings).ok().json();
    assert_eq!(one["folder"], folders[0]["folder"]);
    let other = run(&home, &hub, &["models", "pull", "acme/nameless"], &settings).ok().json();
    assert!(!other["folder"].as_str().unwrap().starts_with(kept), "{other}");
    let offline = [&settings[..], &[("HF_HUB_OFFLINE", "1")]].concat();
    enrich(&home, &hub, &[], &offline).ok();
}

const ENGLISH: &str = "The goal, what a good goal, such a good goal for the team";
const GERMAN: &str = "Der Zug kam wieder zu spät, bad bad bad, und niemand sagte uns warum";
/// Models by name, as the replaced services and others set them.
const MODELS: [(&str, &str); 3] = [
    ("SENTIMENT_MODEL_NAME", "acme/mood"),
    ("TOPIC_MODEL_NAME", "acme/themes"),
    ("EMBEDDING_MODEL", "tiny"),
];

fn enrich(home: &Home, hub: &StandIn, more: &[&str], environment: &[(&str, &str)]) -> Ran {
    let posts = [ENGLISH, GERMAN].map(|text| json!({ "text": text }).to_string()).join("\n");
    home.write("posts.jsonl", posts);
    let stages = r#"flows.enrich.stages=["post","language","sentiment","topics","embed"]"#;
    run(home, hub, &[&["enrich", "posts.jsonl", "--set", stages], more].concat(), environment)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_by_name_are_fetched_and_have_their_say() {
    let (home, hub) = (Home::new(), StandIn::start(tiny_shelf()).await);
    // As it stands on the hub, even where the download breaks off.
    hub.shelf().break_after = Some(1_000);
    let posts = enrich(&home, &hub, &[], &MODELS).ok().json_lines();
    hub.shelf().break_after = None;
    assert_eq!(posts[0]["sentiment"]["sentiment"], "positive");
    let topics = json!(["matches & goals"]);
    assert_eq!(
        (&posts[0]["topics"]["topics"], &posts[0]["topics"]["top_topic"]),
        (&topics, &topics[0])
    );
    let embedding: Vec<f64> = serde_json::from_value(posts[0]["embedding"].clone()).unwrap();
    assert!(embedding.len() == 8 && embedding[0] > 0.9 && embedding[4] == 0.0, "{embedding:?}");
    // What the linear model takes for another language is not read, unless one says so.
    assert_eq!((&posts[1]["language"], &posts[1]["sentiment"]), (&json!("de"), &Value::Null));
    let all = ["--set", "stages.sentiment.unread=score"];
    let all = enrich(&home, &hub, &all, &MODELS).ok().json_lines();
    assert_eq!(all[1]["sentiment"]["sentiment"], "negative");
    // Then without the hub: by settings, and from a folder.
    let offline = [("HF_HUB_OFFLINE", "1")];
    let mood = ["--set", "stages.models.sentiment=acme/mood"];
    let ask = |model: &[&str]| {
        let asked = [&["ask", "--format", "json", ENGLISH], model].concat();
        run(&home, &hub, &asked, &offline).ok().json()["sentiment"].clone()
    };
    assert_eq!(ask(&mood), posts[0]["sentiment"]);
    let pulled = run(&home, &hub, &["models", "pull", "acme/mood"], &offline).ok().json();
    let folder = format!("stages.models.sentiment={}", pulled["folder"].as_str().unwrap());
    assert_eq!(ask(&["--set", &folder]), posts[0]["sentiment"]);
    let pinned = format!("stages.models.sentiment=acme/mood@{COMMIT}");
    assert_eq!(ask(&["--set", &pinned]), posts[0]["sentiment"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_by_name_are_measured() {
    let (home, hub) = (Home::new(), StandIn::start(tiny_shelf()).await);
    let data = "label\ttext\npositive\tgood\nnegative\tbad\nneutral\tday\nneutral\tgood good\n";
    home.write("data.tsv", data);
    let eval = |task: &str, model: &str| {
        let arguments = ["eval", "--task", task, "--data", "data.tsv", "--model", model];
        run(&home, &hub, &[&arguments[..], &["--format", "json"]].concat(), &[])
    };
    let report = eval("sentiment", "acme/mood").ok().json();
    assert_eq!((&report["texts"], &report["macro_recall"]), (&json!(4), &json!(2.5 / 3.0)));
    let other = eval("topics", "acme/themes");
    assert!(
        other.code == Some(1) && other.stderr.contains("matches & goals, songs"),
        "{}",
        other.stderr
    );
    assert_eq!(eval("sentiment", "mood").code, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_by_name_that_can_not_be_had_is_an_error_of_the_start() {
    let (home, hub) = (Home::new(), StandIn::start(tiny_shelf()).await);
    let ask = |model: &str, environment: &[(&str, &str)]| {
        let choice = format!("stages.models.sentiment={model}");
        run(&home, &hub, &["ask", "--set", &choice, "good"], environment)
    };
    for (model, environment, code, parts) in [
        ("acme/none", &[][..], 1, ["acme/none is not on", "look at its name"]),
        ("acme/nameless", &[], 1, ["LABEL_0, LABEL_1, LABEL_2", "id2label"]),
        ("acme/themes", &[], 1, ["matches & goals, songs", "model of sentiment"]),
        ("acme/mood", &[("HF_HUB_OFFLINE", "1")], 1, ["HF_HUB_OFFLINE", "wingbeat models pull"]),
        ("./nowhere", &[], 1, ["nowhere", "name a folder"]),
        ("linaer", &[], 78, ["there is no model `linaer`", "OWNER/NAME"]),
    ] {
        let ran = ask(model, environment);
        assert_eq!(ran.code, Some(code), "{model}: {}", ran.stderr);
        // Behind what was downloaded, one line.
        let said: Vec<&str> = ran.stderr.lines().filter(|line| !line.contains("INFO")).collect();
        let is_told = |said: &str| parts.iter().all(|part| said.contains(part));
        assert!(matches!(said[..], [said] if is_told(said)), "{model}: {}", ran.stderr);
    }
    hub.shelf().is_damaging = true;
    let damaged = ask("acme/mood", &[]);
    assert!(damaged.code == Some(1) && damaged.stderr.contains("checksum"), "{}", damaged.stderr);
    // `check` starts nothing, and downloads nothing.
    let set = ["--set", "stages.models.sentiment=acme/mood"];
    let checked = run(&home, &hub, &[&["check"], &set[..]].concat(), &[]).ok().stdout;
    assert!(checked.contains("model acme/mood: is downloaded at the next start"), "{checked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_library_that_is_not_there_is_an_error_only_where_it_is_asked_for() {
    let (home, hub) = (Home::new(), StandIn::start(tiny_shelf()).await);
    let ask = |runtime: &str| {
        let runtime = format!("stages.models.runtime={runtime}");
        let mood = "stages.models.sentiment=acme/mood";
        let arguments = ["ask", "--format", "json", "--set", mood, "--set", &runtime, ENGLISH];
        run(&home, &hub, &arguments, &[("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")])
    };
    for runtime in ["auto", "rten"] {
        assert_eq!(ask(runtime).ok().json()["sentiment"]["sentiment"], "positive");
    }
    let missing = ask("ort");
    let parts = ["/nowhere/libonnxruntime.so", "set ORT_DYLIB_PATH", "`stages.models.runtime`"];
    assert_eq!(missing.code, Some(1));
    assert!(parts.iter().all(|part| missing.stderr.contains(part)), "{}", missing.stderr);
}

/// HTTP first: whoever asks is told that it waits for models. The variables are those of the older
/// services.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_says_that_it_waits_for_models() {
    let (home, hub) = (Home::new(), StandIn::start(tiny_shelf()).await);
    home.run(&["streams", "create", "bluesky-posts", "--subject", "bluesky.posts.>"]).ok();
    let post = json!({ "uri": "at://a/1", "cid": "c", "author": "did:plc:a", "text": ENGLISH });
    let publish = ["streams", "publish", "bluesky.posts.posts"];
    home.run_with_input(&publish, post.to_string().as_bytes()).ok();
    hub.shelf().is_holding = true;
    let cache = home.path().join("cache");
    let environment = [
        ("MODEL_NAME", "acme/mood"),
        ("TOPIC_MODEL_NAME", "acme/themes"),
        ("MODEL_CACHE_DIR", cache.to_str().unwrap()),
        ("MAX_SEQUENCE_LENGTH", "512"),
    ];
    let process = Running::spawn(command(&home, &hub, &["process", "--port", "0"], &environment));
    let waits_for = || process.get("/ready")["waits_for"].clone();
    wait_until(|| waits_for()["what"] == "models");
    assert_eq!(waits_for()["address"], "acme/mood, acme/themes");
    assert_eq!(process.get_text("/ready").0, 503);
    assert_eq!(process.get("/health")["status"], "ok");
    let models = || process.get("/health/detailed")["components"]["models"].clone();
    hub.shelf().is_holding = false;
    wait_until(|| process.get_text("/ready").0 == 200);
    let names = json!({"status": "healthy", "sentiment": "acme/mood", "topics": "acme/themes"});
    assert_eq!(models(), names);
    let counted = "stream_processor_topic_predictions_total{topic=\"matches & goals\"} 1";
    wait_until(|| process.get_text("/metrics").1.contains(counted));
    process.signal("TERM");
    assert_eq!(process.wait().code, Some(0));
    assert!(cache.join("models--acme--mood").exists());
    let stored = home.run(&["streams", "tail", "bluesky-posts-enriched"]).ok().json();
    assert_eq!(stored["subject"], "bluesky.enriched.positive.matches_&_goals");
}

#[test]
fn models_are_measured_here() {
    let home = Home::new();
    let bench = |arguments: &[&str]| {
        home.run(&[&["models", "bench", "--time", "10ms"], arguments].concat())
    };
    let encoder = ["--format", "json", "--set", "compute.threads=2"];
    let report = bench(&encoder).ok().json();
    assert!(report["processor"].as_str().unwrap().contains("portable"), "{report}");
    let rows = report["rows"].as_array().unwrap();
    let threads: Vec<_> = rows.iter().map(|row| (&row["model"], &row["threads"])).collect();
    let linear = (&json!("linear"), &json!(1));
    assert_eq!(threads[0], linear);
    assert!(rows.iter().all(|row| row["posts_per_second"].as_f64().unwrap() > 0.0));
    assert!(rows[0]["alone_ms"][0].as_f64() <= rows[0]["alone_ms"][1].as_f64());
    let fast = bench(&FAST_MODELS).ok().stdout;
    assert!(fast.starts_with("fused runs on ") && fast.contains("linear"), "{fast}");
}
