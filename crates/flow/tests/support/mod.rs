//! What the engine's tests share: a small pack, a log in a temporary directory, a source of made
//! up items.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use wingbeat_flow::{Books, Cursor, Flow, FlowError, Ingest, Pack, Pipeline, Pool, Stages, audit};
use wingbeat_log::{Access, Log, LogUrl, Start, Stored};
use wingbeat_ops::config::Layers;
use wingbeat_record::{MessageId, Reason, Record, Subject};
use wingbeat_source::{Content, Description, Item, Place, Post, Source, SourceError};
use wingbeat_stage::Stage;

const PACK: &str = r#"
[pack]
name = "test"
shows = "f"

[streams.in]
subjects = ["in.>"]

[streams.out]
subjects = ["out.>"]

[streams.dead]
subjects = ["dead.>"]

[streams.ledger]
subjects = ["ledger.>"]

[streams.events]
subjects = ["events.>"]

[ingest]
to = "in.posts"
events = "events.{kind}"
dead = "dead.{flow}.{kind}"
batch = 7
save_every = "5ms"

[flows.f]
from = "in"
consumer = "c"
stages = ["post"]
to = "out.{mood}"
dead = "dead.{flow}.{kind}"
ledger = "ledger.{flow}"
batch = 5
batch_wait = "1ms"
in_flight = 3
ack_wait = "60s"
deliver_max = 3
retry_wait = "5ms"
"#;

/// The test pack, with further TOML on top.
pub fn pack(more: &str) -> Pack {
    let mut layers = Layers::default();
    layers.add_toml("pack", PACK).unwrap();
    layers.add_toml("more", more).unwrap();
    let pack: Pack = layers.finish().unwrap().config;
    pack.check().unwrap();
    pack
}

pub async fn open(directory: &Path, pack: &Pack) -> Arc<dyn Log> {
    let log = LogUrl::Embedded(directory.to_owned()).open(Access::Write).await.unwrap();
    for config in pack.stream_configs() {
        log.ensure_stream(&config).await.unwrap();
    }
    log
}

/// A stage that answers per payload, as a function says.
pub struct Scripted<F>(pub F);

impl<F: Fn(&mut wingbeat_stage::Item) + Send + Sync> Stage for Scripted<F> {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn run(&self, items: &mut [&mut wingbeat_stage::Item]) {
        items.iter_mut().for_each(|item| (self.0)(item));
    }
}

/// The stage `post`, then a scripted one.
pub fn pipeline(script: impl Fn(&mut wingbeat_stage::Item) + Send + Sync + 'static) -> Pipeline {
    let post = wingbeat_stage::catalogue::stage("post", &Default::default()).unwrap();
    Pipeline::of(vec![post, Box::new(Scripted(script))])
}

/// A flow that runs in a task of its own.
pub struct Running {
    pub books: Books,
    pub stop: CancellationToken,
    pub task: tokio::task::JoinHandle<Result<(), FlowError>>,
}

pub async fn start(log: &Arc<dyn Log>, pack: &Pack, pipeline: Pipeline) -> Running {
    let pool = Pool::start(2).unwrap();
    let flow = Flow::open("f", &pack.flows["f"], "ledger", Arc::clone(log), pipeline, pool);
    let flow = flow.await.unwrap();
    let (books, stop) = (flow.books(), CancellationToken::new());
    let task = tokio::spawn(flow.run(stop.clone()));
    Running { books, stop, task }
}

impl Running {
    /// Waits until so many records are settled, then stops in good order.
    pub async fn finish_after(self, settled: u64) -> Books {
        wait_for(&self.books, settled).await;
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.books
    }
}

pub async fn wait_for(books: &Books, settled: u64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let counts = books.counts();
        assert_eq!(counts.imbalance(), 0, "{counts:?}");
        if counts.received - counts.in_flight >= settled && counts.in_flight == 0 {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{counts:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub fn post(author: usize, number: usize) -> String {
    format!(
        r#"{{"uri":"at://{author}/{number}","cid":"c{number}","author":"did:{author}","text":"{number}"}}"#
    )
}

pub async fn publish(log: &Arc<dyn Log>, payloads: impl IntoIterator<Item = String>) {
    let record = |payload: String| {
        let id = MessageId::from_content(payload.as_bytes());
        Record::new(Subject::new("in.posts").unwrap(), payload).with_id(id)
    };
    for answer in log.publish(payloads.into_iter().map(record).collect()).await {
        answer.unwrap();
    }
}

pub async fn read_all(log: &Arc<dyn Log>, stream: &str) -> Vec<Stored> {
    let mut reader = log.read(stream, Start::First, &[]).await.unwrap();
    let mut all = Vec::new();
    loop {
        let more = reader.next(1000, Duration::ZERO).await.unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

pub async fn audit_lines(log: &Arc<dyn Log>, pack: &Pack) -> Vec<String> {
    let report = audit::audit(&**log, pack, &mut |_, _| {}).await.unwrap();
    assert_eq!(report.is_balanced(), report.flows.iter().all(|f| f.problems.is_empty()));
    report.flows.into_iter().flat_map(|flow| flow.problems).chain(report.problems).collect()
}

/// A source of items that are known beforehand.
pub struct ListSource {
    description: Description,
    items: Vec<Item>,
    next: usize,
    /// It has a host: it brings everything again, at new positions, and has no end.
    has_host: bool,
}

impl ListSource {
    /// Items at positions from 1 on; resumes behind `position`.
    pub fn new(contents: Vec<Content>, position: Option<u64>) -> Self {
        let description = Description {
            kind: "list",
            spec: "list".to_owned(),
            is_simulated: true,
            fingerprint: Some("list".to_owned()),
        };
        let item = |(position, content)| Item { position, content };
        let items: Vec<Item> = (1..).zip(contents).map(item).collect();
        let next = items.iter().position(|i| i.position > position.unwrap_or(0));
        Self { description, next: next.unwrap_or(items.len()), items, has_host: false }
    }

    /// The same of a host: everything again from its beginning, at positions behind this one, and
    /// without an end.
    pub fn of_host(contents: Vec<Content>, position: u64) -> Self {
        let mut source = Self::new(contents, None);
        source.has_host = true;
        for item in &mut source.items {
            item.position += position;
        }
        source.items.insert(0, Item { position, content: Content::Filtered(Reason::new("first")) });
        source
    }
}

#[async_trait]
impl Source for ListSource {
    fn description(&self) -> &Description {
        &self.description
    }

    async fn next(&mut self, max: usize) -> Result<Option<Vec<Item>>, SourceError> {
        tokio::task::yield_now().await;
        let end = (self.next + max).min(self.items.len());
        let items = self.items[self.next..end].to_vec();
        self.next = end;
        if self.has_host && items.is_empty() {
            std::future::pending::<()>().await;
        }
        Ok(Some(items).filter(|items| !items.is_empty()))
    }

    fn places(&self) -> Vec<Place> {
        let place = Place { host: "host".to_owned(), cursor: 0, time_us: 0 };
        self.has_host.then_some(place).into_iter().collect()
    }
}

pub fn post_item(author: usize, number: usize) -> Content {
    let payload = post(author, number);
    let id = MessageId::new(format!("at://{author}/{number}:c{number}"));
    Content::Post(Post::of_bytes(payload, id))
}

pub async fn ingest(log: &Arc<dyn Log>, pack: &Pack, contents: &[Content]) -> Ingest {
    let probe = ListSource::new(Vec::new(), None);
    let cursor = Cursor::find(&**log, probe.description()).await.unwrap();
    let source = ListSource::new(contents.to_vec(), cursor.resume().map(|resume| resume.position));
    ingest_from(log, pack, source, cursor).await
}

pub async fn ingest_from(
    log: &Arc<dyn Log>,
    pack: &Pack,
    source: ListSource,
    cursor: Cursor,
) -> Ingest {
    let pipeline = Pipeline::new(&pack.ingest.stages, &pack.stages).unwrap();
    let stages = Stages { pipeline: Arc::new(pipeline), pool: Pool::start(1).unwrap() };
    let log = Arc::clone(log);
    Ingest::open(&pack.ingest, "in", log, Box::new(source), cursor, stages).await.unwrap()
}
