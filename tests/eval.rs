//! Measuring the models, or what they have said before, on labelled texts.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::Home;

/// Labelled texts of our own: label, text, language. The models are sure of them; one label is wrong.
const ROWS: [(&str, &str, &str); 8] = [
    ("positive", "What a wonderful morning, I love this music so much!", "en"),
    ("positive", "Thank you all, this was the best day of my life", "en"),
    ("negative", "This is a terrible, horrible disaster and I hate it", "en"),
    ("negative", "The worst service ever, I am so angry and sad", "en"),
    ("neutral", "The meeting takes place on Tuesday at the town hall", "en"),
    ("positive", "I hate this awful, ugly, broken thing", "xx"),
    ("negative", "Such a sad and awful loss, I am heartbroken", "xx"),
    ("positive", "So happy and proud, we love our great team", "xx"),
];

fn tsv() -> String {
    let rows = ROWS.map(|(label, text, language)| format!("{label}\t{text}\t{language}\n"));
    format!("label\ttext\tlang\n{}", rows.concat())
}

fn eval(home: &Home, arguments: &[&str]) -> Value {
    let all = [&["eval", "--task", "sentiment", "--data", "gold.tsv"], arguments].concat();
    home.run(&[&all[..], &["--format", "json"]].concat()).ok().json()
}

fn home() -> Home {
    let home = Home::new();
    home.write("gold.tsv", tsv());
    home
}

#[test]
fn figures_are_those_of_what_the_models_say() {
    let home = home();
    let report = eval(&home, &[]);
    assert_eq!((&report["texts"], &report["unscored"]), (&json!(8), &json!(0)));
    // Counted by hand, out of what `ask` says.
    let texts = ROWS.map(|(_, text, _)| format!("{text}\n")).concat();
    let asked = ["ask", "--lang", "en", "--format", "json"];
    let answers = home.run_with_input(&asked, texts.as_bytes()).ok().json_lines();
    let found = |row: usize| answers[row]["sentiment"]["sentiment"].as_str().unwrap();
    let right = ROWS.iter().enumerate().filter(|(row, (label, ..))| found(*row) == *label).count();
    assert!(right < 8);
    assert!((report["micro_f1"].as_f64().unwrap() - right as f64 / 8.0).abs() < 1e-9);
    let positive = (0..8).filter(|row| ROWS[*row].0 == "positive");
    let confusion: Vec<usize> = ["negative", "neutral", "positive"]
        .map(|label| positive.clone().filter(|row| found(*row) == label).count())
        .to_vec();
    assert_eq!(report["confusion"][2], json!(confusion));
    let text = home.run(&["eval", "--task", "sentiment", "--data", "gold.tsv"]).ok().stdout;
    for part in ["macro recall", "calibration error", "is \\ found", "mean confidence"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn languages_have_figures_of_their_own() {
    let home = home();
    let report = eval(&home, &["--by-language"]);
    let languages = report["languages"].as_array().unwrap();
    let of = |at: usize| (languages[at]["language"].clone(), languages[at]["texts"].clone());
    assert_eq!((of(0), of(1)), ((json!("en"), json!(5)), (json!("xx"), json!(3))));
    assert!(languages[1]["micro_f1"].as_f64().unwrap() < 1.0);
    // Where the data does not say it, the text does.
    let rows = ["Das ist ein ganz schrecklicher Tag, ich bin so traurig", ROWS[0].1]
        .map(|text| json!({"label": "negative", "text": text}).to_string() + "\n");
    home.write("gold.tsv", rows.concat());
    let report = eval(&home, &["--by-language"]);
    let named: Vec<&Value> =
        report["languages"].as_array().unwrap().iter().map(|it| &it["language"]).collect();
    assert_eq!(named, ["de", "en"]);
}

/// What `enrich` writes gives the same figures as the models asked now.
#[test]
fn predictions_of_enrich_are_measured_the_same() {
    let home = home();
    let posts = ROWS.iter().enumerate().map(|(row, (_, text, _))| {
        json!({"uri": format!("at://x/{row}"), "cid": "c", "text": text, "langs": ["en"]})
            .to_string()
            + "\n"
    });
    let posts: String = posts.collect();
    let set = ["--set", "stages.sentiment.threshold=0", "--set", "stages.sentiment.unread=score"];
    let enriched = home.run_with_input(&[&["enrich"][..], &set].concat(), posts.as_bytes()).ok();
    home.write("enriched.jsonl", &enriched.stdout);
    let now = eval(&home, &["--by-language"]);
    let mut then = eval(&home, &["--by-language", "--predictions", "enriched.jsonl"]);
    let matching = then.as_object_mut().unwrap().remove("matching").unwrap();
    assert_eq!(then, now);
    let expected = json!({
        "by": "text", "rows_unmatched": 0, "predictions_unused": 0, "predictions_repeated": 0,
    });
    assert_eq!(matching, expected);

    // By id, and with lines that are missing, of no use, and there twice.
    let with_ids = tsv().lines().enumerate().fold(String::new(), |all, (line, row)| {
        let id = if line == 0 { "uri".to_owned() } else { format!("at://x/{}", line - 1) };
        all + row + "\t" + &id + "\n"
    });
    home.write("gold.tsv", with_ids);
    let lines: Vec<&str> = enriched.stdout.lines().collect();
    let extra = lines[0].replace("at://x/0", "at://x/99");
    home.write("some.jsonl", [&lines[2..], &[lines[2], &extra]].concat().join("\n"));
    let report = eval(&home, &["--predictions", "some.jsonl"]);
    let expected = json!({
        "by": "id", "rows_unmatched": 2, "predictions_unused": 1, "predictions_repeated": 1,
    });
    assert_eq!((&report["texts"], &report["matching"]), (&json!(6), &expected));
    // What was not scored is told.
    home.write("null.jsonl", lines[0].replace("\"sentiment\":{", "\"sentiment\":null,\"x\":{"));
    let null = ["eval", "--task", "sentiment", "--data", "gold.tsv", "--predictions", "null.jsonl"];
    let ran = home.run(&null);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("nothing was said"), "{}", ran.stderr);
}

#[test]
fn the_drawing_has_the_bins_of_the_table() {
    let home = home();
    let report = eval(&home, &["--plot", "calibration.svg"]);
    let svg = std::fs::read_to_string(home.path().join("calibration.svg")).unwrap();
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
    let bins = report["calibration"].as_array().unwrap();
    let sum: u64 = bins.iter().map(|bin| bin["texts"].as_u64().unwrap()).sum();
    assert_eq!(sum, 8);
    for bin in bins {
        let number = |name: &str| bin[name].as_f64().unwrap();
        let title = format!(
            "{:.2} to {:.2}: {} texts, {:.4} right, mean confidence {:.4}",
            number("from"),
            number("to"),
            bin["texts"],
            number("right"),
            number("confidence")
        );
        assert!(svg.contains(&title), "{title}\n{svg}");
    }
    let nowhere = ["eval", "--task", "sentiment", "--data", "gold.tsv", "--plot", "no/where.svg"];
    let ran = home.run(&nowhere);
    assert!(ran.code == Some(1) && ran.stderr.contains("no/where.svg"), "{}", ran.stderr);
}

#[test]
fn bad_data_is_named_by_its_line() {
    let home = Home::new();
    let predicted = |said: &str| format!("{{\"text\":\"a\",\"sentiment\":{said}}}\n");
    let good = "label\ttext\npositive\ta\n";
    for (gold, predictions, problem) in [
        ("", None, "no labelled texts"),
        ("nothing\n", None, "line 1: neither a JSON object nor a header"),
        ("label\ttext\npositive\n", None, "line 2: it has fewer columns"),
        ("label\ttext\npositive\ta\n\nhappy\tb\n", None, "line 4: there is no label `happy`"),
        ("labels\ttext\npositive|neutral\ta\n", None, "line 2: it has 2 labels"),
        ("{\"text\":\"a\"}\n", None, "line 1: it has neither `label` nor `labels`"),
        ("{\"text\":\"a\",\"label\":\"neutral\"}\nx\ty\n", None, "line 2: it is no JSON object"),
        (good, Some(String::new()), "no enriched posts in it"),
        (good, Some("{\n".to_owned()), "line 1: no enriched post"),
        (good, Some("{\"sentiment\":null}\n".to_owned()), "line 1: it has no `text`"),
        (good, Some("{\"text\":\"b\"}\n".to_owned()), "no post in it is one of the data"),
        (
            good,
            Some(predicted("null") + &predicted("{\"sentiment\":\"glad\",\"confidence\":1}")),
            "line 2: there is no label `glad`",
        ),
        (
            good,
            Some(predicted("{\"sentiment\":\"positive\",\"confidence\":7}")),
            "line 1: a confidence is 7",
        ),
    ] {
        home.write("gold.tsv", gold);
        let mut arguments = vec!["eval", "--task", "sentiment", "--data", "gold.tsv"];
        if let Some(predictions) = predictions {
            home.write("said.jsonl", predictions);
            arguments.extend(["--predictions", "said.jsonl"]);
        }
        let ran = home.run(&arguments);
        assert_eq!(ran.code, Some(1), "{gold}");
        assert!(ran.stderr.contains(problem), "{problem}: {}", ran.stderr);
    }
}

#[test]
fn topics_are_measured_too() {
    let home = Home::new();
    let rows = [
        json!({"labels": ["sports"], "text": "The team won the football match with a late goal"}),
        json!({"labels": ["music"], "text": "New album by the band, the song is great"}),
    ];
    home.write("topics.jsonl", format!("{}\n{}\n", rows[0], rows[1]));
    let arguments = ["eval", "--task", "topics", "--data", "topics.jsonl", "--format", "json"];
    let report = home.run(&arguments).ok().json();
    assert_eq!(report["texts"], 2);
    assert_eq!(report["labels"].as_array().unwrap().len(), 19);
    assert!(report.get("confusion").is_none());
}
