//! `wingbeat process`: one flow of the pack as a service, in the place of the stream processors.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use wingbeat_flow::{Flow, Pack, Pipeline, Pool, SubjectTemplate};
use wingbeat_log::{Consumer, Log, patiently};
use wingbeat_ops::{logging, shutdown};
use wingbeat_record::SubjectFilter;
use wingbeat_web::{ServiceReport, ServiceServer};

use super::open_to_write;
use crate::{
    cli::{Global, Process, Profile},
    config::{self, Config, Flag},
    failure::Failure,
    summary,
};

pub(crate) mod answer;
mod meter;
mod report;

use answer::AnswerDesk;
use report::Report;

/// How often it is looked how much is waiting.
const BACKLOG_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether everything is processed, with `--once`.
const IDLE_POLL: Duration = Duration::from_millis(20);
/// How long records that are under way may take when it stops.
const STOP_WAIT: Duration = Duration::from_secs(10);

pub(crate) async fn run(global: &Global, args: &Process) -> Result<(), Failure> {
    let config = load(global, args.profile, flags(args))?;
    logging::start(config.logging.level, config.logging.format);
    warn(&config);
    let stop =
        shutdown::on_signal().map_err(|error| Failure::io("can't listen for signals", &error))?;
    let pack = pack(&config)?;
    let service = &config.service;
    // A port that is taken is told before anything is opened.
    let server = ServiceServer::bind(service.host, service.port).await?;
    let log = open_to_write(&config, &pack, &stop).await?;
    let result = run_on(&config, &pack, args, &log, server, stop).await;
    let closed = log.close().await;
    result?;
    Ok(closed?)
}

/// The configuration of a profile.
pub(crate) fn load(global: &Global, profile: Profile, flags: Vec<Flag>) -> Result<Config, Failure> {
    let presets: &[&str] = match profile {
        Profile::Enriched => &["process"],
        Profile::Sentiment => &["process", "process-sentiment"],
        Profile::Topics => &["process", "process-topics"],
    };
    Ok(config::load_service(global, presets, flags)?.config)
}

fn flags(args: &Process) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    if let Some(host) = args.host {
        flags.push(("service.host", host.to_string().into(), "--host"));
    }
    if let Some(port) = args.port {
        flags.push(("service.port", port.into(), "--port"));
    }
    flags
}

/// Says what of the replaced services' settings does not do what one might think.
fn warn(config: &Config) {
    let processor = &config.processor;
    if !processor.queue_group.is_empty() && processor.queue_group != processor.consumer {
        let (group, consumer) = (&processor.queue_group, &processor.consumer);
        tracing::warn!(
            group,
            consumer,
            "QUEUE_GROUP is not needed: the consumer is what is shared"
        );
    }
    // With three classes, the likeliest has at least a third.
    if config.stages.sentiment.threshold <= 1.0 / 3.0 {
        let threshold = config.stages.sentiment.threshold;
        tracing::warn!(threshold, "no post can be below this confidence: none is left out by it");
    }
    for name in ["MODEL_NAME", "SENTIMENT_MODEL_NAME", "TOPIC_MODEL_NAME"] {
        if let Ok(model) = std::env::var(name) {
            tracing::warn!(name, model, "the built-in model is used: others can't be loaded yet");
        }
    }
}

/// The pack with one flow, under the service's names.
pub(crate) fn pack(config: &Config) -> Result<Pack, Failure> {
    let mut pack = config.pack();
    let names = &config.processor;
    let Some(mut flow) = pack.flows.remove(&names.flow) else {
        let flow = &names.flow;
        return Err(Failure::Config(format!("`processor.flow`: there is no flow `{flow}`")));
    };
    let filter = |name: &str, text: String| {
        let wrong = |error| Failure::Config(format!("`processor.{name}` ({text}): {error}"));
        SubjectFilter::new(&text).map_err(wrong)
    };
    // An output among the input would be read again.
    let input = if names.output_subject.starts_with(&format!("{}.", names.input_subject)) {
        filter("input_subject", format!("{}.posts", names.input_subject))?
    } else {
        filter("input_subject", format!("{}.>", names.input_subject))?
    };
    let output = filter("output_subject", format!("{}.>", names.output_subject))?;
    let template = |name: &str, text: &str| {
        let wrong = |error| Failure::Config(format!("`processor.{name}`: {error}"));
        SubjectTemplate::new(text).map_err(wrong)
    };
    let to = format!("{}.{}", names.output_subject, names.output_tokens);
    let to = template("output_tokens", &to)?;
    // Whoever brings posts in writes them there; the audit compares with it.
    pack.ingest.to = template("input_subject", &format!("{}.posts", names.input_subject))?;
    let written = pack.stream_of("to", flow.to.filter())?;
    let read = std::mem::replace(&mut flow.from, names.input_stream.clone());
    for (old, new, subject) in
        [(read, &names.input_stream, &input), (written, &names.output_stream, &output)]
    {
        if let Some(mut stream) = pack.streams.remove(&old) {
            stream.subjects = vec![subject.clone()];
            pack.streams.insert(new.clone(), stream);
        }
    }
    if let Some(stream) = pack.streams.get_mut(&names.output_stream) {
        stream.duplicate_window = names.duplicate_window;
    }
    flow.subjects = vec![input];
    flow.consumer.clone_from(&names.consumer);
    flow.to = to;
    pack.flows.clear();
    pack.flows.insert(names.books.clone(), flow);
    pack.pack.shows.clone_from(&names.books);
    Ok(pack)
}

async fn run_on(
    config: &Config,
    pack: &Pack,
    args: &Process,
    log: &Arc<dyn Log>,
    server: ServiceServer,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let name = &config.processor.books;
    // `pack` has put it there.
    let Some(spec) = pack.flows.get(name) else { return Ok(()) };
    let pool = Pool::start(config.threads())
        .map_err(|error| Failure::io("can't start threads for the stages", &error))?;
    let ledger = pack.stream_of("ledger", spec.ledger.filter())?;
    let report = Arc::new(Report::new(config));
    let pipeline = Pipeline::new(&spec.stages, &pack.stages)?.metered(report.meter());
    let answers = AnswerDesk::open(config, &pool)?;
    // It answers before the flow is open: that may have to wait for the log, or for a processor
    // that still uses the consumer.
    println!("Health: http://{}/health", server.address());
    let web_stop = CancellationToken::new();
    let shared: Arc<dyn ServiceReport> = Arc::clone(&report) as _;
    let serving = tokio::spawn(server.serve(shared, web_stop.clone()));
    let flow = tokio::select! {
        flow = Flow::open(name, spec, &ledger, Arc::clone(log), pipeline, pool) => flow?,
        () = stop.cancelled() => return Ok(()),
    };
    report.begin(flow.books());
    let (books, consumer) = (flow.books(), flow.consumer());
    tracing::info!(service = config.service.name, consumer = spec.consumer, "starting_service");

    let watching = tokio::spawn(watch_backlog(Arc::clone(&report), Arc::clone(&consumer)));
    let statistics =
        tokio::spawn(log_statistics(Arc::clone(&report), config.service.stats_every.0));
    let flow_stop = stop.child_token();
    let timer = super::stop_after(args.duration, flow_stop.clone());
    let mut running = tokio::spawn(flow.run(flow_stop.clone()));
    let ended = tokio::select! {
        ended = &mut running => Some(ended),
        idle = wait_until_idle(&*consumer), if args.once => { idle?; None }
        () = flow_stop.cancelled() => None,
    };
    report.is_running.store(false, Ordering::Relaxed);
    flow_stop.cancel();
    let ended = match ended {
        Some(ended) => Some(ended),
        None => tokio::time::timeout(STOP_WAIT, running).await.ok(),
    };
    answers.close().await;
    timer.abort();
    statistics.abort();
    watching.abort();
    web_stop.cancel();
    // Clients that keep their connections open do not keep the program.
    let _ = tokio::time::timeout(Duration::from_secs(2), serving).await;
    summary::print(&[books], args.format)?;
    tracing::info!(service = config.service.name, "service_exited");
    match ended {
        Some(ended) => {
            Ok(ended.map_err(|error| Failure::Failed(format!("processing failed: {error}")))??)
        }
        None => {
            tracing::warn!("some records were still being worked on; they come again");
            Ok(())
        }
    }
}

async fn wait_until_idle(consumer: &dyn Consumer) -> Result<(), Failure> {
    loop {
        let info = patiently(|| consumer.info()).await?;
        if info.pending == 0 && info.unsettled.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(IDLE_POLL).await;
    }
}

async fn watch_backlog(report: Arc<Report>, consumer: Arc<dyn Consumer>) {
    let mut ticks = tokio::time::interval(BACKLOG_EVERY);
    loop {
        ticks.tick().await;
        report.note_backlog(consumer.info().await.map(|info| info.pending));
    }
}

/// Logs how it goes, at intervals.
async fn log_statistics(report: Arc<Report>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let window = report.turn(every.as_secs_f64());
        tracing::info!(
            service = report.name(),
            processed_per_second = window.processed,
            published_per_second = window.published,
            publish_rate = window.publish_rate,
            pending = window.pending,
            backlog_change = window.backlog_change,
            processed = window.processed_total,
            published = window.published_total,
            sentiments = window.sentiments,
            topics = window.topics,
            "Processor Statistics"
        );
    }
}
