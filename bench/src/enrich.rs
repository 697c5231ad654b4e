//! The stages over real posts, on one core: beside reading and writing the same JSON with
//! serde_json, and language identification beside whichlang. Then the whole program over a million
//! posts: its rate, and the memory that it takes.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use wingbeat_flow::Pipeline;
use wingbeat_model::linear::{Analyzer, Featuriser};
use wingbeat_record::{Record, Subject};
use wingbeat_stage::{Item, ModelChoice, Settings};

use crate::{Outcome, live, program};

const ROUNDS: usize = 5;
const BATCH: usize = 500;
const PROGRAM_POSTS: usize = 1_000_000;

pub(crate) fn run(file: Option<&str>) -> Outcome<()> {
    let file = file.unwrap_or("../shared/data/posts/bluesky_posts.jsonl.gz");
    let lines = read(Path::new(file))?;
    println!("{} posts of {file}, one core, best of {ROUNDS} rounds\n", lines.len());
    stages(&lines)?;
    heads(&lines)?;
    pipes(&lines)
}

/// The lines of a compressed file.
pub(crate) fn read(path: &Path) -> Outcome<Vec<Bytes>> {
    let failed = |error| format!("{}: {error}; give a .jsonl.gz with posts", path.display());
    let mut text = String::new();
    GzDecoder::new(File::open(path).map_err(failed)?).read_to_string(&mut text).map_err(failed)?;
    Ok(text.lines().map(|line| Bytes::copy_from_slice(line.as_bytes())).collect())
}

/// The settings with the fastest models: those that are measured here.
fn linear() -> Settings {
    let mut settings = Settings::default();
    settings.models.sentiment = ModelChoice::Linear;
    settings.models.topics = ModelChoice::Linear;
    settings
}

/// The best rate of some rounds, in posts per second.
#[expect(clippy::cast_precision_loss, reason = "counts of posts")]
fn rate(posts: usize, mut work: impl FnMut()) -> f64 {
    let round = || {
        let start = Instant::now();
        work();
        posts as f64 / start.elapsed().as_secs_f64()
    };
    std::iter::repeat_with(round).take(ROUNDS).fold(0.0, f64::max)
}

fn stages(lines: &[Bytes]) -> Outcome<()> {
    println!("| stages | posts/s | of serde_json |\n|---|---|---|");
    let plain = rate(lines.len(), || {
        for line in lines {
            let value: Option<serde_json::Value> = serde_json::from_slice(line).ok();
            std::hint::black_box(value.and_then(|value| serde_json::to_vec(&value).ok()));
        }
    });
    println!("| (serde_json: read and write) | {plain:.0} | 1.00 |");
    let all = ["post", "language", "sentiment", "topics", "stamp"];
    for count in 1..=all.len() {
        let names: Vec<String> = all[..count].iter().map(|name| (*name).to_owned()).collect();
        let pipeline = Pipeline::new(&names, &linear())?;
        let rate = rate(lines.len(), || enrich(&pipeline, lines));
        println!("| {} | {rate:.0} | {:.2} |", names.join(", "), rate / plain);
    }
    Ok(())
}

fn enrich(pipeline: &Pipeline, lines: &[Bytes]) {
    let Ok(subject) = Subject::new("bench") else { return };
    for batch in lines.chunks(BATCH) {
        let item = |line: &Bytes| Item::new(Record::new(subject.clone(), line.clone()));
        let mut items: Vec<Item> = batch.iter().map(item).collect();
        pipeline.run(&mut items.iter_mut().collect::<Vec<_>>());
        for item in items.iter().filter(|item| item.verdict().is_none()) {
            std::hint::black_box(item.output());
        }
    }
}

fn heads(lines: &[Bytes]) -> Outcome<()> {
    let texts: Vec<String> = lines
        .iter()
        .filter_map(|line| {
            let post: serde_json::Value = serde_json::from_slice(line).ok()?;
            Some(post["text"].as_str()?.to_owned())
        })
        .collect();
    let analyzer = Analyzer::embedded()?;
    let mut featuriser = Featuriser::default();
    let features: Vec<_> = texts.iter().map(|text| featuriser.features(text)).collect();
    println!("\n| model | posts/s |\n|---|---|");
    let line = |name: &str, rate: f64| println!("| {name} | {rate:.0} |");
    let cutting = rate(texts.len(), || {
        for text in &texts {
            std::hint::black_box(featuriser.features(text));
        }
    });
    line("features", cutting);
    macro_rules! head {
        ($name:literal, $head:ident) => {
            let head = rate(texts.len(), || {
                for features in &features {
                    std::hint::black_box(analyzer.$head(features));
                }
            });
            line($name, head);
        };
    }
    head!("language, from features", language);
    head!("sentiment, from features", sentiment);
    head!("topics, from features", topics);
    let ours = rate(texts.len(), || {
        for text in &texts {
            std::hint::black_box(analyzer.language(&featuriser.features(text)));
        }
    });
    line("language, from text (62 languages and 16 scripts)", ours);
    let theirs = rate(texts.len(), || {
        for text in &texts {
            std::hint::black_box(whichlang::detect_language(text));
        }
    });
    line("whichlang 0.1.1 (16 languages)", theirs);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of posts")]
fn pipes(lines: &[Bytes]) -> Outcome<()> {
    let mut child = Command::new(program()?)
        .args(["enrich", "--set", "stages.models.sentiment=linear"])
        .args(["--set", "stages.models.topics=linear"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("no pipes".into());
    };
    let counting = std::thread::spawn(move || BufReader::new(output).split(b'\n').count());
    let process = format!("/proc/{}", child.id());
    let mut input = BufWriter::with_capacity(1 << 16, input);
    let start = Instant::now();
    for line in lines.iter().cycle().take(PROGRAM_POSTS) {
        input.write_all(line)?;
        input.write_all(b"\n")?;
    }
    let peak = live::peak_memory(&process)?;
    drop(input);
    let emitted = counting.join().map_err(|_| "counting failed")?;
    let rate = PROGRAM_POSTS as f64 / start.elapsed().as_secs_f64();
    child.wait()?;
    println!(
        "\n`wingbeat enrich` over {PROGRAM_POSTS} posts through pipes, all cores: {rate:.0} posts/s, \
         {emitted} emitted, memory at most {peak}"
    );
    Ok(())
}
