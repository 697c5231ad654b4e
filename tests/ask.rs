//! Asking what the models say of a text: here, and over NATS. What is about NATS needs what
//! `make nats` and `make nats-py` fetch.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use serde_json::{Value, json};
use support::{
    FAST_MODELS, Home, Running,
    nats::{Nats, wait_until},
    nats_py::Python,
};

const TEXT: &str = "What a wonderful morning, I love this music so much!";

#[test]
fn the_models_answer_here() {
    let home = Home::new();
    let said = home.run(&["ask", TEXT]).ok().stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "positive");
    assert!(lines[1].starts_with("  positive  █") && lines[1].ends_with(" %"), "{said}");
    assert!(lines.contains(&"language    en"), "{said}");
    // Words need no quotes.
    let words: Vec<&str> = ["ask", "--format", "json"].into_iter().chain(TEXT.split(' ')).collect();
    let answer = home.run(&words).ok().json();
    assert_eq!(
        (&answer["text"], &answer["sentiment"]["sentiment"]),
        (&json!(TEXT), &json!("positive"))
    );
    let topics = home.run(&["ask", "--topics", TEXT]).ok().stdout;
    assert!(topics.lines().any(|line| line.starts_with("  music ")), "{topics}");
    // Nothing was made.
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn every_line_of_standard_input_is_a_text() {
    let home = Home::new();
    let input = format!("{TEXT}\n\nDas ist ein ganz schrecklicher Tag, ich bin so traurig\n");
    let ran = home.run_with_input(&["ask", "--format", "json"], input.as_bytes()).ok();
    let answers = ran.json_lines();
    let of = |name: &str| answers.iter().map(|answer| answer[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("text"), input.lines().map(Value::from).collect::<Vec<_>>());
    assert_eq!(of("language"), [json!("en"), Value::Null, json!("de")]);
    let text = home.run_with_input(&["ask"], input.as_bytes()).ok().stdout;
    assert!(text.lines().nth(2).unwrap().starts_with("unscored        de  -  Das ist"), "{text}");
    // A text that is too short to tell its language, and a hostile one.
    let ran = home.run_with_input(&["ask", "--lang", "en"], b"I hate this\n\x1b[31m{\n").ok();
    assert!(ran.stdout.starts_with("negative "), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b'));
    let bad = home.run_with_input(&["ask"], b"fine\n\xff\n");
    assert_eq!(
        (bad.code, bad.stderr.trim()),
        (Some(1), "wingbeat: line 2 of the input is not UTF-8")
    );
}

/// Says which characters of the text each part is.
fn parts(answer: &Value) -> Vec<String> {
    let text: Vec<char> = answer["text"].as_str().unwrap().chars().collect();
    let parts = answer["explanation"]["parts"].as_array().unwrap();
    let part = |part: &Value| {
        let at = |index: usize| usize::try_from(part["chars"][index].as_u64().unwrap()).unwrap();
        text[at(0)..at(1)].iter().collect()
    };
    parts.iter().map(part).collect()
}

#[test]
fn each_word_is_said_to_add_what_its_absence_takes_away() {
    let home = Home::new();
    let text = "👍🏽 I love this café, the coffee is great";
    let ask = |arguments: &[&str]| {
        let all = [&["ask", "--lang", "en", "--format", "json"], arguments].concat();
        home.run(&all).ok().json()
    };
    let answer = ask(&["--explain", text]);
    let words = ["👍🏽", "I", "love", "this", "café", ",", "the", "coffee", "is", "great"];
    assert_eq!(parts(&answer), words);
    let explained = &answer["explanation"]["sentiment"][0];
    assert_eq!(explained["label"], "positive");
    assert_eq!(explained["probability"], answer["sentiment"]["confidence"]);
    let added = |word: usize| explained["added"][word].as_f64().unwrap();
    assert!(added(2) > 0.2 && added(2) > added(6).abs(), "{explained}");
    let without = ask(&["👍🏽 I this café, the coffee is great"]);
    assert_eq!(explained["without"][2], without["sentiment"]["probabilities"]["positive"]);
    assert_eq!(ask(&["--explain", text]), answer);
    let all = ask(&["--explain=all", text]);
    assert_eq!(all["explanation"]["sentiment"].as_array().unwrap().len(), 3);

    // For people: without a terminal, without colours.
    let said = home.run(&["ask", "--lang", "en", "--explain", text]).ok().stdout;
    assert!(said.contains("%, and without the word:\n"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("  love ") && line.contains('█')), "{said}");
    assert!(!said.contains('\x1b'));
    let long = format!("{}\n!\nDas ist ein schrecklicher Tag\n", "good day ".repeat(3_000));
    let said = home.run_with_input(&["ask", "--explain"], long.as_bytes()).ok().stdout;
    assert!(said.contains("Only the beginning of the text is explained."), "{said}");
    assert_eq!(home.run(&["ask", "--explain=some", text]).code, Some(2));
}

/// The server of `up` answers about texts, and so does that of a processor without NATS.
#[test]
fn texts_are_analysed_over_http() {
    let home = Home::new();
    let up = home.up(&["--source", "simulator", "--rate", "1"]);
    let elsewhere = Home::new();
    let process = elsewhere.process(&[], &[]);
    let request = json!({ "text": TEXT, "langs": ["en"], "explain": true }).to_string();
    let expected = home.run(&["ask", "--lang", "en", "--explain", "--format", "json", TEXT]);
    let mut expected = expected.ok().json();
    expected.as_object_mut().unwrap().remove("text");
    for server in [&up, &process] {
        // Its models may still be loading.
        let (status, answer) = loop {
            let (status, answer) = server.post("/api/analyze", &request);
            if status != 503 {
                break (status, answer);
            }
        };
        assert_eq!((status, &answer), (200, &expected));
        let (status, answer) = server.post("/api/analyze", "{\"text\":7}");
        assert_eq!(status, 400);
        assert!(answer["error"].as_str().unwrap().starts_with("wrong_type"), "{answer}");
        let long = json!({ "text": "x".repeat(70_000) }).to_string();
        assert_eq!(server.post("/api/analyze", &long).0, 413);
    }
    drop((up, process));
    let silent = elsewhere.process(&[], &[("ANSWER_REQUESTS", "off")]);
    assert_eq!(silent.post("/api/analyze", &request).0, 404);
}

#[test]
fn without_a_server_nobody_else_can_be_asked() {
    let home = Home::new();
    let asked = home.run(&["ask", "--log", "embedded:data", "hi"]);
    assert_eq!(asked.code, Some(78));
    assert!(asked.stderr.contains("leave --log out"), "{}", asked.stderr);
    let requested = home.run(&["streams", "request", "sentiment.analyze", "hi"]);
    assert_eq!(requested.code, Some(78));
    assert!(requested.stderr.contains("--log nats://"), "{}", requested.stderr);
    let process = home.run(&["process", "--port", "0", "--set", "processor.answer=on"]);
    assert_eq!(process.code, Some(78));
    assert!(process.stderr.contains("`processor.answer`"), "{}", process.stderr);
}

/// A processor that answers.
fn processor(home: &Home, nats: &Nats) -> Running {
    home.process(&["--log", &nats.url], &[])
}

/// One that answers fast: of what is asked here, only how much counts.
fn fast_processor(home: &Home, nats: &Nats) -> Running {
    home.process(&[&["--log", &nats.url][..], &FAST_MODELS].concat(), &[])
}

/// Asks all at once, as another program would.
fn ask_all(nats: &Nats, requests: &[Value]) -> Vec<Value> {
    let (asker, sent) = asker(nats, requests);
    assert_eq!(sent, requests.len());
    asker.end()
}

/// The same, as soon as everything is sent.
fn asker(nats: &Nats, requests: &[Value]) -> (Python, usize) {
    let mut asker = Python::start("asker", &[&nats.url]);
    asker.feed(&requests.iter().map(|request| format!("{request}\n")).collect::<String>());
    let sent = asker.next()["sent"].as_u64().unwrap();
    (asker, usize::try_from(sent).unwrap())
}

/// How many processors there are to be asked.
fn found(home: &Home, nats: &Nats) -> usize {
    let ping = ["streams", "request", "$SRV.PING.sentiment", "", "--all", "--timeout", "300ms"];
    let ran = home.run(&[&ping[..], &["--log", &nats.url]].concat());
    if ran.code == Some(0) { ran.stdout.lines().count() } else { 0 }
}

#[test]
fn processors_answer_and_are_found() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let log = ["--log", &nats.url];
    let alone = home.run(&[&["ask", TEXT][..], &log].concat());
    assert!(alone.stderr.contains("nobody answers there"), "{}", alone.stderr);
    let services = [processor(&home, &nats), processor(&home, &nats)];
    wait_until(|| found(&home, &nats) == 2);

    // The same answer as here, from either.
    let input = format!("{TEXT}\nThis is a terrible, horrible disaster\n").repeat(50);
    let here = home.run_with_input(&["ask", "--format", "json"], input.as_bytes()).ok();
    let there =
        home.run_with_input(&[&["ask", "--format", "json"][..], &log].concat(), input.as_bytes());
    assert_eq!(here.stdout, there.ok().stdout);
    let explain = ["ask", "--format", "json", "--explain=all"];
    let there = home.run_with_input(&[&explain[..], &log].concat(), input.as_bytes()).ok();
    assert_eq!(there.json()["explanation"]["sentiment"].as_array().unwrap().len(), 3);
    assert_eq!(home.run_with_input(&explain, input.as_bytes()).ok().stdout, there.stdout);
    let request = ["streams", "request", "sentiment.analyze", TEXT];
    let answer = home.run(&[&request[..], &log].concat()).ok().json();
    assert_eq!(answer["sentiment"]["label"], "POSITIVE");
    let stats = home.run(
        &[
            &["streams", "request", "--all", "--timeout", "300ms", "$SRV.STATS.sentiment", ""][..],
            &log,
        ]
        .concat(),
    );
    let requests = stats
        .ok()
        .json_lines()
        .iter()
        .map(|stats| stats["endpoints"][0]["num_requests"].as_u64().unwrap())
        .sum::<u64>();
    assert_eq!(requests, 201);

    // Whoever stops is not found any more; what is asked goes to the other.
    let [first, second] = services;
    first.signal("TERM");
    assert_eq!(first.wait().code, Some(0));
    assert_eq!(found(&home, &nats), 1);
    home.run(&[&["ask", TEXT][..], &log].concat()).ok();
    second.signal("TERM");
    assert_eq!(second.wait().code, Some(0));
    assert_eq!(found(&home, &nats), 0);
}

#[test]
fn a_processor_that_is_told_not_to_answer_does_not() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let silent = home.process(&["--log", &nats.url], &[("ANSWER_REQUESTS", "off")]);
    let loud = processor(&home, &nats);
    wait_until(|| found(&home, &nats) > 0);
    loud.signal("TERM");
    assert_eq!(loud.wait().code, Some(0));
    assert_eq!(found(&home, &nats), 0);
    drop(silent);
}

/// It is held up until more requests have come than it lets wait: some are refused, the others are
/// answered.
#[test]
fn i4_requests_beyond_what_it_lets_wait_are_refused_and_none_is_lost() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let service = fast_processor(&home, &nats);
    wait_until(|| found(&home, &nats) == 1);
    let request = json!({"subject": "sentiment.analyze", "text": "word and another ".repeat(100)});
    service.signal("STOP");
    let (asker, sent) = asker(&nats, &vec![request; 900]);
    service.signal("CONT");
    let answers = asker.end();
    assert_eq!((sent, answers.len()), (900, 900));
    let (refused, answered): (Vec<&Value>, Vec<&Value>) =
        answers.iter().partition(|answer| answer["headers"]["Nats-Service-Error-Code"] == "503");
    assert!(answered.iter().all(|answer| !answer["payload"].is_null()));
    assert!(!refused.is_empty() && answered.len() >= 512, "{} answered", answered.len());
}

/// An explanation takes the room of many texts.
#[test]
fn i4_explanations_beyond_what_it_lets_wait_are_refused_and_none_is_lost() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let service = fast_processor(&home, &nats);
    wait_until(|| found(&home, &nats) == 1);
    let text = json!({"text": "word and another ".repeat(100), "langs": ["en"], "explain": true});
    let request = json!({"subject": "sentiment.analyze", "text": text.to_string()});
    service.signal("STOP");
    let (asker, sent) = asker(&nats, &vec![request; 300]);
    service.signal("CONT");
    let answers = asker.end();
    assert_eq!((sent, answers.len()), (300, 300));
    let (refused, answered): (Vec<&Value>, Vec<&Value>) =
        answers.iter().partition(|answer| answer["headers"]["Nats-Service-Error-Code"] == "503");
    assert!(!refused.is_empty() && answered.len() >= 31, "{} answered", answered.len());
    for answer in answered {
        let parts = &answer["payload"]["explanation"]["parts"];
        assert_eq!(parts.as_array().map(Vec::len), Some(64), "{answer}");
    }
}

/// Any bytes are answered or refused, more at once than it lets wait, and the flow goes on.
#[test]
fn i6_any_request_is_answered_or_refused() {
    let home = Home::new();
    let Some(nats) = Nats::start() else { return };
    let service = processor(&home, &nats);
    wait_until(|| found(&home, &nats) == 1);
    let deep = format!("{{\"text\":{}", "[".repeat(10_000));
    let long = "x".repeat(100_000);
    let cases: [(&[u8], Option<&str>); 10] = [
        (TEXT.as_bytes(), None),
        (br#"{"text":"I hate this","langs":["en"]}"#, None),
        (b"", Some("400")),
        (b"\xff\xfe", Some("400")),
        (b"{", Some("400")),
        (br#"{"text":[]}"#, Some("400")),
        (br#"{"text":"\ud800"}"#, Some("400")),
        (deep.as_bytes(), Some("400")),
        (long.as_bytes(), Some("413")),
        ("\u{0}\r\n🦋\u{202e}".as_bytes(), None),
    ];
    let cycle = || cases.iter().cycle().take(1000);
    let request = |bytes| json!({"subject": "sentiment.analyze", "base64": BASE64.encode(bytes)});
    let requests: Vec<Value> = cycle().map(|(bytes, _)| request(bytes)).collect();
    let answers = ask_all(&nats, &requests);
    assert_eq!(answers.len(), 1000);
    let mut answered = 0;
    for (answer, (_, refused)) in answers.iter().zip(cycle()) {
        let code = answer["headers"]["Nats-Service-Error-Code"].as_str();
        if code == Some("503") {
            continue;
        }
        assert_eq!(code, *refused, "{answer}");
        assert_eq!(answer["payload"].is_null(), refused.is_some());
        answered += 1;
    }
    assert!(answered >= 10, "{answered}");
    let negative = &answers[1]["payload"]["sentiment"];
    assert_eq!(negative["sentiment"], "negative", "{}", answers[1]);
    let verbs = ["PING", "INFO", "STATS"];
    let discovery =
        verbs.map(|verb| json!({"subject": format!("$SRV.{verb}.sentiment"), "text": ""}));
    let found = ask_all(&nats, &discovery);
    for (answer, verb) in found.iter().zip(verbs) {
        let kind = format!("io.nats.micro.v1.{}_response", verb.to_lowercase());
        assert_eq!(answer["payload"]["type"], kind);
    }
    assert_eq!(found[1]["payload"]["endpoints"][0]["subject"], "sentiment.analyze");
    assert_eq!(service.get("/ready")["ready"], true);
    service.signal("TERM");
    let ended = service.wait();
    assert_eq!(ended.code, Some(0));
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}
