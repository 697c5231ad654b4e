//! `wingbeat enrich`: JSON lines in, enriched JSON lines out, in the same order. No log.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufWriter, IsTerminal as _, Write},
    path::Path,
    sync::Arc,
};

use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::oneshot;
use wingbeat_flow::{Counts, Pipeline, Pool, stage_item};
use wingbeat_ops::logging;
use wingbeat_record::{DeadCause, Outcome, Subject};
use wingbeat_source::{Content, OpenOptions, SourceSpec};
use wingbeat_stage::{Item, Verdict};

use crate::{
    cli::{Enrich, Format, Global},
    config,
    failure::Failure,
    fetch, summary,
};

/// Lines that go through the stages together.
const BATCH: usize = 500;

pub(crate) async fn run(global: &Global, args: &Enrich) -> Result<(), Failure> {
    let config = config::load(global, args.pack.as_deref(), Vec::new())?.config;
    logging::start(config.logging.level, config.logging.format);
    let pack = config.pack();
    let flow = pack.flows.get(&pack.pack.shows).ok_or_else(|| {
        Failure::Config(format!("`pack.shows`: there is no flow `{}`", pack.pack.shows))
    })?;
    let models = fetch::prepare(&pack.stages, &flow.stages).await?;
    let pipeline = Arc::new(Pipeline::new(&flow.stages, &pack.stages)?);
    drop(models);
    let threads = config.threads();
    let pool = Pool::start(threads)
        .map_err(|error| Failure::io("can't start threads for the stages", &error))?;
    let path = args.file.as_deref().unwrap_or(Path::new("-"));
    let spec = SourceSpec::parse(&format!("file:{}", path.display()))?;
    let mut source = wingbeat_source::open(&spec, &OpenOptions::default())?;
    let mut writer = Writer::open(args.dead.as_deref())?;
    // Twice as many batches as threads keep all of them busy; no more, so memory stays flat.
    let under_way_max = threads * 2;
    let mut under_way: VecDeque<oneshot::Receiver<Vec<Line>>> = VecDeque::new();
    loop {
        let items = source.next(BATCH).await?;
        let is_end = items.is_none();
        if let Some(items) = items {
            let pipeline = Arc::clone(&pipeline);
            under_way.push_back(pool.run(move || enrich(&pipeline, items)));
        }
        while under_way.len() >= under_way_max || (is_end && !under_way.is_empty()) {
            let Some(batch) = under_way.pop_front() else { break };
            let lines = batch.await.map_err(|_| {
                Failure::Failed("a thread that runs stages died; its message is above".to_owned())
            })?;
            writer.write(&lines)?;
        }
        if is_end {
            break;
        }
    }
    writer.finish(args.format)
}

/// A line and how it ends.
struct Line {
    position: u64,
    outcome: Outcome,
    /// The enriched line, or the original of a dead one.
    bytes: Vec<u8>,
}

/// A line on its way.
enum Work {
    /// For the stages.
    Open(u64, Box<Item>),
    /// The source has settled it.
    Settled(Line),
}

fn enrich(pipeline: &Pipeline, items: Vec<wingbeat_source::Item>) -> Vec<Line> {
    let Ok(subject) = Subject::new("enrich") else { return Vec::new() };
    let mut works: Vec<Work> = items
        .into_iter()
        .map(|wingbeat_source::Item { position, content }| {
            let (outcome, bytes) = match content {
                Content::Post(mut post) => {
                    return Work::Open(position, Box::new(stage_item(&subject, &mut post)));
                }
                Content::Event(event) => (Outcome::Emitted, event.payload.to_vec()),
                Content::Filtered(reason) => (Outcome::Filtered(reason), Vec::new()),
                Content::Dead { original, cause, .. } => (Outcome::Dead(cause), original.to_vec()),
            };
            Work::Settled(Line { position, outcome, bytes })
        })
        .collect();
    let open = works.iter_mut().filter_map(|work| match work {
        Work::Open(_, item) => Some(&mut **item),
        Work::Settled(_) => None,
    });
    pipeline.run(&mut open.collect::<Vec<_>>());
    works
        .into_iter()
        .map(|work| match work {
            Work::Settled(line) => line,
            Work::Open(position, item) => match item.verdict() {
                None => Line { position, outcome: Outcome::Emitted, bytes: item.output() },
                Some(Verdict::Filtered(reason)) => {
                    let outcome = Outcome::Filtered(reason.clone());
                    Line { position, outcome, bytes: Vec::new() }
                }
                // There is no later here: what can't be done now can't be done.
                Some(Verdict::Dead(cause) | Verdict::Retry(cause)) => {
                    let outcome = Outcome::Dead(cause.clone());
                    Line { position, outcome, bytes: item.into_record().payload.to_vec() }
                }
            },
        })
        .collect()
}

/// Writes lines and counts them.
struct Writer {
    out: BufWriter<std::io::Stdout>,
    dead: Option<BufWriter<File>>,
    counts: Counts,
    bar: ProgressBar,
}

impl Writer {
    fn open(dead: Option<&Path>) -> Result<Self, Failure> {
        let create = |path: &Path| {
            File::create(path)
                .map(BufWriter::new)
                .map_err(|error| Failure::io(&format!("can't write {}", path.display()), &error))
        };
        // A bar on the terminal that shows the output would garble it.
        let is_shown = std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
        let bar = if is_shown { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{spinner} {human_pos} lines, {per_sec}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Ok(Self {
            out: BufWriter::with_capacity(1 << 20, std::io::stdout()),
            dead: dead.map(create).transpose()?,
            counts: Counts::default(),
            bar,
        })
    }

    fn write(&mut self, lines: &[Line]) -> Result<(), Failure> {
        for line in lines {
            self.counts.count_settled(&line.outcome, 1);
            let written = match &line.outcome {
                Outcome::Emitted => write_line(&mut self.out, &line.bytes),
                Outcome::Filtered(_) => Ok(()),
                Outcome::Dead(cause) => match &mut self.dead {
                    Some(dead) => write_line(dead, &dead_line(line, cause)),
                    None => Ok(()),
                },
            };
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                    std::process::exit(0)
                }
                Err(error) => return Err(Failure::io("can't write", &error)),
            }
        }
        self.bar.inc(lines.len() as u64);
        Ok(())
    }

    fn finish(mut self, format: Format) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        let flushed =
            self.out.flush().and_then(|()| self.dead.as_mut().map_or(Ok(()), Write::flush));
        flushed.map_err(|error| Failure::io("can't write", &error))?;
        match format {
            Format::Text => {
                let table = summary::books_table([("enrich", &self.counts)]);
                eprint!("{table}{}", summary::reasons("enrich", &self.counts));
            }
            Format::Json => eprintln!("{}", json!(self.counts)),
        }
        Ok(())
    }
}

/// An enriched object on one line: a line break between its tokens becomes a space.
fn write_line(out: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.contains(&b'\n') || bytes.contains(&b'\r') {
        let on_one_line: Vec<u8> =
            bytes.iter().map(|&b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }).collect();
        out.write_all(&on_one_line)?;
    } else {
        out.write_all(bytes)?;
    }
    out.write_all(b"\n")
}

fn dead_line(line: &Line, cause: &DeadCause) -> Vec<u8> {
    let mut letter = json!({
        "position": line.position,
        "stage": cause.stage,
        "kind": cause.kind.as_str(),
        "error": cause.message,
        "bytes": line.bytes.len(),
    });
    match std::str::from_utf8(&line.bytes) {
        Ok(text) => letter["original"] = text.into(),
        Err(_) => {
            letter["original_base64"] = BASE64.encode(&line.bytes).into();
        }
    }
    letter.to_string().into_bytes()
}
