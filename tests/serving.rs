//! What services say about themselves while the log comes and goes, and when several share a flow.
//! Needs the server that `make nats` fetches; otherwise it is skipped.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::Value;
use support::{
    Home, Running,
    nats::{Nats, wait_until},
    signal,
};

/// A service whose log need not be there.
fn early(home: &Home, arguments: &[&str], nats: &Nats) -> Running {
    let mut command = home.command(&[arguments, &["--port", "0", "--log", &nats.url]].concat());
    command.env("SENTIMENT_CONFIDENCE_THRESHOLD", "0").env("LOG_LEVEL", "error");
    Running::spawn(command)
}

fn ready(service: &Running) -> (u16, Value) {
    let (status, body) = service.get_text("/ready");
    (status, serde_json::from_str(&body).unwrap())
}

fn is_ready(service: &Running) -> bool {
    ready(service).0 == 200
}

const CONNECTED: &str = "stream_processor_nats_connected";
const QUEUE: &str = "stream_processor_message_queue_size";
const EMITTED: &str = "wingbeat_flow_books{flow=\"enrich\",outcome=\"emitted\",reason=\"\"}";

/// What the replaced services' Grafana dashboard asks for, with the labels that it groups by.
const INGEST_METRICS: [&str; 5] = [
    "nats_connected 1",
    "firehose_events_per_second ",
    "firehose_messages_per_second ",
    "nats_firehose_operations_total ",
    "nats_firehose_publish_errors_total ",
];
const PROCESS_METRICS: [&str; 10] = [
    "stream_processor_nats_connected 1",
    "stream_processor_message_queue_size ",
    "stream_processor_posts_processed_total ",
    "stream_processor_posts_published_total ",
    "stream_processor_processing_duration_seconds_bucket{le=\"0.5\"} ",
    "stream_processor_model_inference_duration_seconds_bucket{model=\"topic\",le=\"0.5\"} ",
    "stream_processor_sentiment_predictions_total{sentiment=\"neutral\"} ",
    "stream_processor_topic_predictions_total{topic=\"arts_&_culture\"} ",
    "stream_processor_sentiment_confidence_bucket{le=\"0.5\"} ",
    "stream_processor_errors_total{error_type=\"json_parse\"} ",
];

#[track_caller]
fn check_metrics(service: &Running, names: &[&str]) {
    let (_, metrics) = service.get_text("/metrics");
    for name in names {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name}: {metrics}");
    }
}

fn publish(home: &Home, nats: &Nats, posts: std::ops::Range<usize>) {
    let post = |number: usize| {
        format!(
            r#"{{"uri":"at://a/{number}","cid":"c{number}","author":"did:plc:a{number}","text":"What a wonderful day, number {number}"}}"#
        )
    };
    let lines: Vec<String> = posts.map(post).collect();
    let arguments = ["streams", "publish", "bluesky.posts.posts", "--lines", "--log", &nats.url];
    home.run_with_input(&arguments, lines.join("\n").as_bytes()).ok();
}

#[test]
fn services_answer_without_a_log_and_go_on_when_it_comes_back() {
    let home = Home::new();
    let Some(mut nats) = Nats::start() else { return };
    nats.kill();
    let process = early(&home, &["process"], &nats);
    let ingest = early(&home, &["ingest", "--source", "simulator:deletes=0"], &nats);
    let mock = early(&home, &["mock", "--seed", "7"], &nats);
    let web = early(&home, &["web"], &nats);
    let up = early(&home, &["up", "--source", "simulator:seed=5"], &nats);
    let all = [&process, &ingest, &mock, &web, &up];
    for service in all {
        assert_eq!(service.get("/health")["status"], "ok");
        let (status, body) = ready(service);
        let waits_for = &body["waits_for"];
        assert_eq!((status, &body["ready"]), (503, &Value::Bool(false)));
        assert_eq!(
            (&waits_for["what"], &waits_for["address"]),
            (&"log".into(), &(*nats.url).into())
        );
        assert!(waits_for["since"].is_string(), "{body}");
    }
    assert_eq!(process.metric(CONNECTED), Some(0.0));
    assert_eq!(process.metric(QUEUE), None);
    assert_eq!(ingest.metric("nats_connected"), Some(0.0));
    assert_eq!(web.metric("wingbeat_log_connected"), Some(0.0));
    assert_eq!(web.get_text("/api/stream").0, 503);
    assert!(web.get("/api/status")["error"].as_str().unwrap().contains("waiting for the log"));

    nats.start_again();
    for service in all {
        wait_until(|| is_ready(service));
    }
    assert_eq!(process.metric(CONNECTED), Some(1.0));
    assert!(process.metric(QUEUE).is_some());
    let published = |service: &Running| service.metric("nats_firehose_posts_published_total");
    let processed = || process.metric("stream_processor_posts_published_total");
    wait_until(|| published(&ingest) > Some(20.0) && published(&mock) > Some(20.0));
    wait_until(|| processed() > Some(20.0));

    nats.kill();
    for service in all {
        wait_until(|| !is_ready(service));
        assert_eq!(ready(service).1["waits_for"]["what"], "log");
        assert_eq!(service.get("/health")["status"], "ok");
    }
    assert_eq!((process.metric(CONNECTED), process.metric(QUEUE)), (Some(0.0), None));
    assert_eq!(ingest.metric("nats_connected"), Some(0.0));
    assert_eq!(web.metric("wingbeat_log_connected"), Some(0.0));
    let settled = |service: &Running| service.metric(EMITTED);
    let before = (published(&ingest), processed(), settled(&process), settled(&web));

    nats.start_again();
    for service in all {
        wait_until(|| is_ready(service));
    }
    wait_until(|| published(&ingest) > before.0.map(|n| n + 20.0));
    wait_until(|| processed() > before.1.map(|n| n + 20.0));
    wait_until(|| settled(&process) > before.2 && settled(&web) > before.3);
    check_metrics(&ingest, &INGEST_METRICS);
    check_metrics(&process, &PROCESS_METRICS);
    for service in [process, ingest, mock, web, up] {
        service.signal("TERM");
        let ended = service.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    home.run(&["audit", "--log", &nats.url]).ok();
}

/// The connection stays, and nobody answers.
#[test]
fn a_log_that_hangs_is_not_there() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let process = home.process(&["--log", &nats.url], &[]);
    assert!(is_ready(&process) && process.metric(QUEUE).is_some());
    signal(nats.id(), "STOP");
    wait_until(|| !is_ready(&process));
    let problem = ready(&process).1["waits_for"]["problem"].clone();
    assert!(problem.as_str().unwrap().starts_with("no answer within"), "{problem}");
    assert_eq!((process.metric(CONNECTED), process.metric(QUEUE)), (Some(0.0), None));
    signal(nats.id(), "CONT");
    wait_until(|| is_ready(&process) && process.metric(CONNECTED) == Some(1.0));
    wait_until(|| process.metric(QUEUE) == Some(0.0));
}

#[test]
fn i10_who_waits_for_the_log_stops_in_good_order() {
    let home = Home::new();
    let Some(mut nats) = Nats::start() else { return };
    nats.kill();
    for command in ["process", "ingest", "mock", "web", "up"] {
        let service = early(&home, &[command], &nats);
        service.signal("TERM");
        let ended = service.wait();
        assert_eq!(ended.code, Some(0), "{command}: {}", ended.stderr);
    }
}

/// The output takes nothing, so what waits stays what it is.
#[test]
fn processes_that_share_a_consumer_share_its_backlog() {
    const POSTS: usize = 7_000;
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let log = ["--log", &nats.url];
    let create = |arguments: &[&str]| {
        home.run(&[&["streams", "create"], arguments, &log[..]].concat()).ok();
    };
    create(&["bluesky-posts", "--subject", "bluesky.posts.>"]);
    let full = ["--records-max", "1", "--refuse-new"];
    let output = ["bluesky-posts-enriched", "--subject", "bluesky.enriched.>"];
    create(&[&output[..], &full[..]].concat());
    let fill = ["streams", "publish", "bluesky.enriched.x.y"];
    home.run_with_input(&[&fill[..], &log[..]].concat(), b"{}").ok();
    publish(&home, &nats, 0..POSTS);

    let start = || home.process(&log, &[("ACK_WAIT_SECONDS", "2")]);
    let mut processes = vec![start(), start(), start()];
    let shares = |processes: &[Running]| -> Vec<f64> {
        processes.iter().filter_map(|process| process.metric(QUEUE)).collect()
    };
    let is_shared = |processes: &[Running]| {
        let shares = shares(processes);
        let (whole, of) = (POSTS as f64, processes.len() as f64);
        shares.len() == processes.len()
            && shares.iter().sum::<f64>() == whole
            && shares.iter().all(|share| (share - whole / of).abs() < 1.0)
    };
    wait_until(|| is_shared(&processes));
    for process in &processes {
        assert_eq!(process.metric("stream_processor_consumer_backlog"), Some(POSTS as f64));
        assert_eq!(process.metric("stream_processor_consumer_processes"), Some(3.0));
    }
    // One is killed and leaves no word.
    processes[1].child.kill().unwrap();
    processes.remove(1);
    wait_until(|| is_shared(&processes));
    // One is stopped, and one comes.
    processes.push(start());
    wait_until(|| is_shared(&processes));
    let stopped = processes.remove(0);
    stopped.signal("TERM");
    assert_eq!(stopped.wait().code, Some(0));
    wait_until(|| is_shared(&processes));
}

/// Counters are each process' own, and come to the whole; the flow's books are the same everywhere,
/// also on the page of a process that runs no flow.
#[test]
fn i1_counters_add_up_over_processes_and_the_books_are_the_same_everywhere() {
    const POSTS: usize = 3_000;
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let log = ["--log", &nats.url];
    let web = early(&home, &["web"], &nats);
    wait_until(|| is_ready(&web));
    let mock = ["mock", "--port", "0", "--rate", "4000", "--burst", "1"];
    let count = ["--count", &POSTS.to_string()];
    let ran = home.run(&[&mock[..], &count[..], &log[..]].concat()).ok();
    assert!(ran.stderr.contains("ingest"), "{}", ran.stderr);

    let once = ["--once", "--format", "json"];
    let environment = [("SENTIMENT_CONFIDENCE_THRESHOLD", "0")];
    let first = home.process(&[&log[..], &once[..]].concat(), &environment);
    assert_eq!(first.wait().code, Some(0));
    let books = |name: &str| {
        let books = web.get("/api/status")["books"].clone();
        books.as_array().unwrap().iter().find(|books| books["flow"] == name).unwrap().clone()
    };
    let settled = |name: &str| books(name)["received"].as_f64();
    wait_until(|| settled("ingest") == Some(POSTS as f64));
    let emitted = books("ingest")["emitted"].as_f64().unwrap();
    assert!(emitted > 0.9 * POSTS as f64, "{}", books("ingest"));
    let raw = || {
        let streams = web.get("/api/status")["streams"].clone();
        let mut streams = streams.as_array().unwrap().iter();
        streams.find(|stream| stream["name"] == "bluesky-posts").unwrap()["records"].as_f64()
    };
    wait_until(|| settled("enrich") == raw());
    let before = books("enrich");

    // Two more begin where the first has ended.
    let start = || home.process(&log, &environment);
    let both = [start(), start()];
    publish(&home, &nats, 0..POSTS);
    let own = |name: &str| -> f64 {
        let name = format!("{name}{{flow=\"enrich\"}}");
        both.iter().map(|process| process.metric(&name).unwrap()).sum()
    };
    wait_until(|| own("wingbeat_emitted_total") == POSTS as f64);
    assert_eq!(own("wingbeat_received_total"), POSTS as f64);
    assert_eq!(own("wingbeat_books_imbalance"), 0.0);
    let whole = before["emitted"].as_f64().unwrap() + POSTS as f64;
    for service in [&both[0], &both[1], &web] {
        wait_until(|| service.metric(EMITTED) == Some(whole));
    }
    wait_until(|| books("enrich")["emitted"] == whole);
    assert_eq!(web.metric("wingbeat_received_total{flow=\"enrich\"}"), None);
    for service in both {
        service.signal("TERM");
        assert_eq!(service.wait().code, Some(0));
    }
    home.run(&["audit", log[0], log[1]]).ok();
}

/// Another name for everything, as in the mock generator's development set-up.
#[test]
fn the_mock_is_a_service_with_the_mix_that_is_asked_for() {
    let home = Home::new();
    let mut command = home.command(&["mock", "--port", "0", "--seed", "3", "--count", "400"]);
    command.args(["--rate", "2000", "--burst", "1", "--languages", "en", "--topics", "sports"]);
    command.args(["--sentiments", "negative", "--malformed", "0.1", "--oversize", "0.02"]);
    command.args(["--duplicates", "0.1", "--spam", "0"]);
    command.env("NATS_STREAM", "bluesky-posts-dev").env("NATS_SUBJECT", "bluesky.posts.dev");
    let service = Running::start(command);
    assert_eq!(service.get("/health")["service"], "mock-ingest");
    let ended = service.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("400"), "{}", ended.stderr);

    let stored = home.run(&["streams", "tail", "bluesky-posts-dev"]).ok().json_lines();
    let posts: Vec<&Value> = stored.iter().filter(|record| record["payload"].is_object()).collect();
    assert!((300..360).contains(&posts.len()), "{}", posts.len());
    for record in &posts {
        assert_eq!(record["subject"], "bluesky.posts.dev.posts");
    }
    for field in ["uri", "cid", "author", "text", "created_at", "timestamp"] {
        let with = posts.iter().filter(|record| record["payload"][field].is_string());
        assert!(with.count() * 10 > posts.len() * 9, "{field}");
    }
    let mut uris: Vec<&str> =
        posts.iter().filter_map(|record| record["payload"]["uri"].as_str()).collect();
    let all = uris.len();
    uris.sort_unstable();
    uris.dedup();
    assert_eq!(uris.len(), all);
    let dead = home.run(&["dead", "ls", "--kind", "too_large", "--format", "json"]).ok();
    assert!(!dead.json_lines().is_empty());
}
