//! `wingbeat models bench`: how fast this machine is with the models that the stages use.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use wingbeat_flow::{FlowError, Pipeline, Pool};
use wingbeat_model::encoder::Fused;
use wingbeat_record::{Record, Subject};
use wingbeat_source::{Content, OpenOptions, SourceSpec};
use wingbeat_stage::{Item, ModelChoice, Settings, Unread};

use crate::{
    analysis::STAGES,
    cli::{Bench, Format},
    config::Config,
    failure::Failure,
    fetch,
    table::{self, number},
};

/// Made-up posts, the same at any time.
const POSTS: &str = "simulator:seed=1,languages=en,malformed=0,duplicates=0,spam=0,count=500";
/// They are read together, as by a flow under load.
const BATCH: usize = 500;
/// For percentiles that mean something.
const SINGLE_MIN: usize = 200;

/// What was measured.
#[derive(Serialize)]
struct Report {
    processor: String,
    rows: Vec<Row>,
}

/// One way to use a model.
#[derive(Serialize)]
struct Row {
    model: String,
    runtime: &'static str,
    threads: usize,
    posts_per_second: f64,
    /// Of a post by itself, in milliseconds: the median, and what 99 of 100 do not exceed.
    alone_ms: Option<[f64; 2]>,
    /// Why a faster runtime does not run it, where one was passed over.
    passed_over: Option<String>,
}

pub(super) async fn run(config: &Config, args: &Bench) -> Result<(), Failure> {
    let posts = posts().await?;
    let mut rows = Vec::new();
    let mut linear = config.stages.clone();
    (linear.models.sentiment, linear.models.topics) = (ModelChoice::Linear, ModelChoice::Linear);
    rows.push(row(&linear, 1, &posts, args).await?);
    if config.stages.models != linear.models {
        rows.push(row(&config.stages, 1, &posts, args).await?);
        if config.threads() > 1 {
            rows.push(row(&config.stages, config.threads(), &posts, args).await?);
        }
    }
    let report = Report { processor: Fused::instructions().map_err(failed)?, rows };
    match args.format {
        Format::Json => super::print_json(&report),
        Format::Text => super::print_line(report.as_text().trim_end()),
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

/// The payloads of made-up posts.
async fn posts() -> Result<Vec<Record>, Failure> {
    let subject = Subject::new("bench").map_err(FlowError::from)?;
    let options =
        OpenOptions { rate: Some(wingbeat_source::RATE_MAX / 10.0), ..Default::default() };
    let mut source = wingbeat_source::open(&SourceSpec::parse(POSTS)?, &options)?;
    let mut posts = Vec::new();
    while let Some(items) = source.next(BATCH).await? {
        for item in items {
            if let Content::Post(post) = item.content {
                posts.push(Record::new(subject.clone(), post.payload));
            }
        }
    }
    Ok(posts)
}

async fn row(
    settings: &Settings,
    threads: usize,
    posts: &[Record],
    args: &Bench,
) -> Result<Row, Failure> {
    let mut settings = settings.clone();
    settings.models.threads = threads;
    settings.sentiment.threshold = 0.0;
    settings.sentiment.unread = Unread::Score;
    settings.topics.unread = Unread::Score;
    let stages = STAGES.map(str::to_owned);
    let models = fetch::prepare(&settings, &stages).await?;
    let runtime = models.iter().find_map(wingbeat_model::Judge::runtime).unwrap_or("linear");
    let passed_over = models.iter().find_map(wingbeat_model::Judge::passed_over).map(str::to_owned);
    let model = settings.models.sentiment.to_string();
    let pipeline = Arc::new(Pipeline::new(&stages, &settings)?);
    // As a flow does it, a batch waits while another one is worked on.
    let pool = Pool::start(threads)
        .map_err(|error| Failure::io("can't start threads for the models", &error))?;
    let time = args.time.0;
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < time {
        let batches = (0..threads).map(|_| {
            let (pipeline, posts) = (Arc::clone(&pipeline), posts.to_vec());
            pool.run(move || read(&pipeline, posts))
        });
        for batch in batches.collect::<Vec<_>>() {
            done += batch.await.map_err(|_| failed("a thread of the models died"))?;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of posts")]
    let posts_per_second = done as f64 / start.elapsed().as_secs_f64();
    let alone_ms = if threads == 1 { Some(alone(&pipeline, posts, time)) } else { None };
    Ok(Row { model, runtime, threads, posts_per_second, alone_ms, passed_over })
}

fn read(pipeline: &Pipeline, posts: Vec<Record>) -> usize {
    let mut items: Vec<Item> = posts.into_iter().map(Item::new).collect();
    pipeline.run(&mut items.iter_mut().collect::<Vec<_>>());
    items.len()
}

/// How long a post takes by itself: the median and the 99th percentile, in milliseconds.
fn alone(pipeline: &Pipeline, posts: &[Record], time: Duration) -> [f64; 2] {
    let start = Instant::now();
    let mut times = Vec::new();
    for post in posts.iter().cycle() {
        if start.elapsed() >= time && times.len() >= SINGLE_MIN || posts.is_empty() {
            break;
        }
        let begin = Instant::now();
        read(pipeline, vec![post.clone()]);
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    [at(50), at(99)]
}

impl Report {
    fn as_text(&self) -> String {
        let head = ["model", "runtime", "threads", "posts/s", "alone, ms: median", "99 %"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for row in &self.rows {
            let [median, most] = row.alone_ms.map_or_else(
                || [String::new(), String::new()],
                |times| times.map(|time| format!("{time:.2}")),
            );
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
            let rate = number(row.posts_per_second as u64);
            let threads = row.threads.to_string();
            rows.push(vec![row.model.clone(), row.runtime.to_owned(), threads, rate, median, most]);
        }
        let mut text = format!("fused runs on {}\n\n{}", self.processor, table::render(&rows));
        let one_thread = self.rows.iter().filter(|row| row.threads == 1);
        for (model, reason) in
            one_thread.filter_map(|row| Some((&row.model, row.passed_over.as_ref()?)))
        {
            let _ = write!(text, "\n{model}: {reason}");
        }
        text
    }
}
