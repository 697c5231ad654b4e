//! `wingbeat up`: everything in one process.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use wingbeat_flow::{Cursor, Flow, FlowError, Ingest, IngestStatus, Pack, Pipeline, Pool, Stages};
use wingbeat_log::{Consumer, Log, patiently};
use wingbeat_ops::{logging, shutdown};
use wingbeat_source::{
    Connection, Description, Item, Place, Source, SourceError, SourceSpec, network::Verify,
};
use wingbeat_web::{AnalystCell, Hub, SourceState, SourceStatus, Sources, Streams};

use super::{analyst::HttpAnalyst, open_source, open_to_write, serving::Front, source_options};
use crate::{
    analysis::{self, Analysis},
    cli::{Global, Up},
    config::{self, Config, Flag},
    failure::Failure,
    fetch,
    summary::{self, Live},
};

/// The source where nobody names one, and the one where that can't be reached.
const BUILT_IN_SOURCE: &str = "auto";
const FALLBACK_SOURCE: &str = "simulator";
/// How long the built-in choice may take to bring the first events.
const FIRST_EVENTS_WAIT: Duration = Duration::from_secs(20);
/// How long flows may take to settle what is under way when the program is told to stop.
const STOP_WAIT: Duration = Duration::from_secs(20);
/// How often it is checked whether everything that was read is settled.
const IDLE_POLL: Duration = Duration::from_millis(20);

pub(crate) async fn run(global: &Global, args: &Up) -> Result<(), Failure> {
    let config = config::load(global, args.pack.as_deref(), flags(args))?.config;
    logging::start(config.logging.level, config.logging.format);
    let stop =
        shutdown::on_signal().map_err(|error| Failure::io("can't listen for signals", &error))?;
    let named = match config.source.spec.as_str() {
        "" => None,
        named => Some(SourceSpec::parse(named)?),
    };
    let analyst = AnalystCell::default();
    let front = Front::open(&config, Some(Arc::clone(&analyst))).await?;
    let Some(log) = open_to_write(&front.watch, &config.pack(), &stop).await? else {
        front.serving.finish().await;
        return Ok(());
    };
    let result = run_on(&config, args, (&log, named), (front, analyst), stop).await;
    let closed = log.close().await;
    result?;
    Ok(closed?)
}

fn flags(args: &Up) -> Vec<Flag> {
    let mut flags = super::source_flags(&args.source);
    flags.extend(args.listen.web());
    flags
}

/// The source that is asked for, or else the built-in choice: the network, and made-up posts where
/// it can't be reached.
async fn open_chosen(
    config: &Config,
    log: &dyn Log,
    named: Option<SourceSpec>,
) -> Result<(Box<dyn Source>, Cursor), Failure> {
    if let Some(spec) = named {
        return open_source(log, &spec, &source_options(config, &spec), None).await;
    }
    let spec = SourceSpec::parse(BUILT_IN_SOURCE)?;
    let (mut source, cursor) =
        open_source(log, &spec, &source_options(config, &spec), None).await?;
    let problem = match first_events(&mut *source).await? {
        Ok(first) => {
            let source = Begun { first: Some(first), source };
            return Ok((Box::new(source), cursor));
        }
        Err(problem) => problem,
    };
    drop((source, cursor));
    eprintln!(
        "NO HOST OF BLUESKY CAN BE REACHED ({problem}).\n\
         So this shows made-up posts (--source {FALLBACK_SOURCE}). They are not from Bluesky."
    );
    let spec = SourceSpec::parse(FALLBACK_SOURCE)?;
    let mut options = source_options(config, &spec);
    // Nothing is signed there.
    options.network.verify = Verify::None;
    open_source(log, &spec, &options, None).await
}

/// The first events of a source, or why there are none.
async fn first_events(source: &mut dyn Source) -> Result<Result<Vec<Item>, String>, Failure> {
    const FIRST_MAX: usize = 100;
    let connection = source.connection();
    let broken = async {
        let Some(mut connection) = connection else { return std::future::pending().await };
        loop {
            if let Connection::Broken { host, problem } = &*connection.borrow_and_update() {
                return format!("{host}: {problem}");
            }
            if connection.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        first = source.next(FIRST_MAX) => Ok(Ok(first?.unwrap_or_default())),
        problem = broken => Ok(Err(problem)),
        () = tokio::time::sleep(FIRST_EVENTS_WAIT) => {
            Ok(Err(format!("nothing came within {} s", FIRST_EVENTS_WAIT.as_secs())))
        }
    }
}

/// A source of which the first items were read already.
struct Begun {
    first: Option<Vec<Item>>,
    source: Box<dyn Source>,
}

#[async_trait]
impl Source for Begun {
    fn description(&self) -> &Description {
        self.source.description()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.source.counters()
    }

    fn places(&self) -> Vec<Place> {
        self.source.places()
    }

    fn connection(&self) -> Option<watch::Receiver<Connection>> {
        self.source.connection()
    }

    async fn next(&mut self, max: usize) -> Result<Option<Vec<Item>>, SourceError> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.source.next(max).await,
        }
    }
}

/// Everything that runs, with the log open.
async fn run_on(
    config: &Config,
    args: &Up,
    (log, named): (&Arc<dyn Log>, Option<SourceSpec>),
    (mut front, analyst): (Front, AnalystCell),
    stop: CancellationToken,
) -> Result<(), Failure> {
    let pack = config.pack();
    let stages = pack.flows.values().map(|flow| &flow.stages).chain([&pack.ingest.stages]);
    let mut stages: Vec<String> = stages.flatten().cloned().collect();
    stages.extend(analysis::STAGES.map(str::to_owned));
    let prepared = fetch::prepare_service(&pack.stages, &stages, &front.watch, &stop).await?;
    let Some(models) = prepared else { return Ok(()) };
    let asked_for = named.as_ref().map_or(BUILT_IN_SOURCE.to_owned(), SourceSpec::to_string);
    front.watch.readiness.wait_for("source", &asked_for, None);
    let (source, cursor) = tokio::select! {
        opened = open_chosen(config, &**log, named) => opened?,
        () = stop.cancelled() => return Ok(()),
    };
    let description = source.description().clone();
    let resumed = cursor.resume();
    let (status, watched) = watch::channel(SourceStatus {
        kind: description.kind.to_owned(),
        spec: description.spec.clone(),
        simulated: description.is_simulated,
        state: SourceState::Running,
        message: None,
        host: None,
        gaps: 0,
    });
    let to = pack.stream_of("ingest.to", pack.ingest.to.filter())?;
    let pool = Pool::start(config.threads())
        .map_err(|error| Failure::io("can't start threads for the stages", &error))?;
    let pipeline = Arc::new(Pipeline::new(&pack.ingest.stages, &pack.stages)?);
    let stages = Stages { pipeline, pool: pool.clone() };
    let ingest = Ingest::open(&pack.ingest, &to, Arc::clone(log), source, cursor, stages).await?;
    let flows = tokio::select! {
        flows = open_flows(&pool, &pack, log) => flows?,
        () = stop.cancelled() => return Ok(()),
    };
    let analysis = Arc::new(Analysis::new(&pack.stages)?);
    // Nobody else sets it.
    analyst.get_or_init(|| Arc::new(HttpAnalyst::new(analysis, pool)));
    // The stages hold them by now.
    drop(models);
    let mut books = vec![ingest.books()];
    books.extend(flows.iter().map(Flow::books));
    let consumers: Vec<Arc<dyn Consumer>> = flows.iter().map(Flow::consumer).collect();

    let sources = Sources { own: books.clone(), books: books.clone(), source: watched };
    let hub = Hub::open(Arc::clone(log), streams_shown(&pack)?, sources).await?;
    front.show(&hub, log, to);
    if let Some(resume) = resumed {
        eprintln!("Going on with {} at position {}.", description.spec, resume.position);
    }
    front.serving.add(watch_source(ingest.connection(), ingest.status(), status.clone()));
    let running = Running {
        once: args.once,
        duration: args.source.duration.map(|span| span.0),
        stop,
        status,
        consumers,
    };
    let hub_stop = CancellationToken::new();
    let reading = tokio::spawn({
        let stop = hub_stop.clone();
        async move { hub.run(stop).await }
    });
    let live = Live::start(&books, front.address);
    let result = running.run(ingest, flows).await;
    live.finish();
    hub_stop.cancel();
    front.serving.finish().await;
    let _ = reading.await;
    let is_balanced = summary::print(&books, args.format)?;
    result?;
    if is_balanced { Ok(()) } else { Err(Failure::Failed("the books do not balance".to_owned())) }
}

/// Tells the page what the source's connection does, and how many gaps there are.
async fn watch_source(
    mut connection: Option<watch::Receiver<Connection>>,
    mut ingest: watch::Receiver<IngestStatus>,
    status: watch::Sender<SourceStatus>,
) {
    loop {
        let gaps = ingest.borrow_and_update().gaps;
        let now = connection.as_mut().map(|connection| connection.borrow_and_update().clone());
        status.send_if_modified(|status| {
            let before = status.clone();
            status.gaps = gaps;
            let is_over = !matches!(
                status.state,
                SourceState::Running | SourceState::Connecting | SourceState::Broken
            );
            if let (Some(now), false) = (now, is_over) {
                let (state, host, message) = match now {
                    Connection::Connecting { host } => (SourceState::Connecting, host, None),
                    Connection::Live { host } => (SourceState::Running, host, None),
                    Connection::Waiting { host, problem }
                    | Connection::Broken { host, problem } => {
                        (SourceState::Broken, host, Some(problem))
                    }
                };
                (status.state, status.host, status.message) = (state, Some(host), message);
            }
            *status != before
        });
        let changed = async {
            match &mut connection {
                Some(connection) => connection.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        // Whatever has ended says nothing new any more.
        let goes_on = tokio::select! {
            goes_on = changed => goes_on,
            changed = ingest.changed() => changed.is_ok(),
        };
        if !goes_on {
            return;
        }
    }
}

async fn open_flows(pool: &Pool, pack: &Pack, log: &Arc<dyn Log>) -> Result<Vec<Flow>, Failure> {
    let mut flows = Vec::new();
    for (name, spec) in &pack.flows {
        let ledger = pack.stream_of("ledger", spec.ledger.filter())?;
        let pipeline = Pipeline::new(&spec.stages, &pack.stages)?;
        let flow = Flow::open(name, spec, &ledger, Arc::clone(log), pipeline, pool.clone());
        flows.push(flow.await?);
    }
    Ok(flows)
}

pub(crate) fn streams_shown(pack: &Pack) -> Result<Streams, Failure> {
    // `Pack::check` has seen to it that the flow is there.
    let shown = pack.flows.get(&pack.pack.shows).ok_or_else(|| {
        Failure::Config(format!("`pack.shows`: there is no flow `{}`", pack.pack.shows))
    })?;
    let posts = pack.stream_of("to", shown.to.filter())?;
    let deletions = pack.ingest.events.fill(|_| Some("delete")).map_err(FlowError::from)?;
    let events = pack.stream_of("ingest.events", pack.ingest.events.filter())?;
    Ok(Streams { posts: (posts, shown.to.filter().clone()), deletions: (events, deletions.into()) })
}

/// The flows that run, each with its name.
type Tasks = JoinSet<(String, Result<(), FlowError>)>;

/// What decides when it is over.
struct Running {
    once: bool,
    duration: Option<Duration>,
    stop: CancellationToken,
    status: watch::Sender<SourceStatus>,
    consumers: Vec<Arc<dyn Consumer>>,
}

impl Running {
    async fn run(self, ingest: Ingest, flows: Vec<Flow>) -> Result<(), Failure> {
        let source_stop = self.stop.child_token();
        let flow_stop = CancellationToken::new();
        let mut tasks = Tasks::new();
        for flow in flows {
            let name = flow.books().name().to_owned();
            let stop = flow_stop.clone();
            tasks.spawn(async move { (name, flow.run(stop).await) });
        }
        let mut reading = tokio::spawn(ingest.run(source_stop.clone()));
        let (mut result, is_reading) =
            self.wait_for_the_end(&mut reading, &source_stop, &mut tasks).await;
        if result.is_ok() && !self.stop.is_cancelled() {
            result = self.wait_until_settled(&mut tasks).await;
        }
        flow_stop.cancel();
        if is_reading {
            source_stop.cancel();
            let _ = tokio::time::timeout(STOP_WAIT, reading).await;
        }
        let stopping = async {
            let mut result = Ok(());
            while let Some(ended) = tasks.join_next().await {
                result = result.and(flow_ended(ended));
            }
            result
        };
        match tokio::time::timeout(STOP_WAIT, stopping).await {
            Ok(stopped) => result.and(stopped),
            Err(_) => {
                tracing::warn!(
                    "some records were still being worked on; they come again with the next start"
                );
                result
            }
        }
    }

    /// Waits until there is a reason to end. Gives whether the source is still being read.
    async fn wait_for_the_end(
        &self,
        reading: &mut JoinHandle<Result<bool, FlowError>>,
        source_stop: &CancellationToken,
        tasks: &mut Tasks,
    ) -> (Result<(), Failure>, bool) {
        let timer = async {
            match self.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(timer);
        let mut has_timed_out = false;
        let mut is_reading = true;
        loop {
            tokio::select! {
                // A stop ends the source too, which is then waited for.
                read = &mut *reading, if is_reading => {
                    is_reading = false;
                    let read = read.map_err(|e| Failure::Failed(format!("reading failed: {e}")));
                    let result = self.note_source(read.and_then(|read| Ok(read?)), has_timed_out);
                    if result.is_err() || has_timed_out || self.once || self.stop.is_cancelled() {
                        return (result, is_reading);
                    }
                }
                () = &mut timer, if !has_timed_out => {
                    has_timed_out = true;
                    source_stop.cancel();
                    if !is_reading {
                        return (Ok(()), is_reading);
                    }
                }
                () = self.stop.cancelled(), if !is_reading => return (Ok(()), is_reading),
                Some(ended) = tasks.join_next() => {
                    source_stop.cancel();
                    return (flow_ended(ended), is_reading);
                }
            }
        }
    }

    /// Tells the page how the source ended.
    fn note_source(&self, read: Result<bool, Failure>, has_timed_out: bool) -> Result<(), Failure> {
        let (state, message, result) = match read {
            Ok(true) => {
                (SourceState::Ended, Some("the source has come to its end".to_owned()), Ok(()))
            }
            Ok(false) if has_timed_out => {
                (SourceState::Stopped, Some("the time is over".to_owned()), Ok(()))
            }
            Ok(false) => (SourceState::Stopped, None, Ok(())),
            Err(failure) => (SourceState::Failed, Some(failure.to_string()), Err(failure)),
        };
        self.status.send_modify(|status| {
            status.state = state;
            status.message = message;
        });
        result
    }

    /// Waits until the flows have settled everything that was read.
    async fn wait_until_settled(&self, tasks: &mut Tasks) -> Result<(), Failure> {
        let settled = async {
            loop {
                let mut left = 0;
                for consumer in &self.consumers {
                    let info = patiently(|| consumer.info()).await?;
                    left += info.pending + info.unsettled_count;
                }
                if left == 0 {
                    return Ok::<_, Failure>(());
                }
                tokio::time::sleep(IDLE_POLL).await;
            }
        };
        tokio::select! {
            result = settled => result,
            () = self.stop.cancelled() => Ok(()),
            Some(ended) = tasks.join_next() => flow_ended(ended),
        }
    }
}

fn flow_ended(
    ended: Result<(String, Result<(), FlowError>), tokio::task::JoinError>,
) -> Result<(), Failure> {
    match ended {
        Ok((_, Ok(()))) => Ok(()),
        Ok((name, Err(error))) => {
            tracing::error!(flow = %name, %error, "the flow can't go on");
            Err(error.into())
        }
        Err(error) => Err(Failure::Failed(format!("a flow failed: {error}"))),
    }
}
