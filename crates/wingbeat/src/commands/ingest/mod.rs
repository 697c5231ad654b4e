//! `wingbeat ingest`: brings a source into the log, and nothing else. It stands in the place of
//! `nats-firehose-ingest`: its names, its subjects, its payloads, its health and its metrics.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use wingbeat_flow::{Ingest, LegacyCursor, Pack, Pipeline, Pool, Stages, SubjectTemplate};
use wingbeat_log::Log;
use wingbeat_ops::{logging, shutdown};
use wingbeat_record::SubjectFilter;
use wingbeat_source::{
    SourceSpec,
    network::{Endpoint, Protocol},
};
use wingbeat_web::{ServiceReport, ServiceServer};

use super::{open_source, open_to_write, source_options};
use crate::{
    cli::{Global, Ingest as Args},
    config::{self, Config, Flag},
    failure::Failure,
    summary,
};

mod report;

use report::Report;

/// The source where nobody names one.
const SOURCE: &str = "relay";

pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    let config = config::load_service(global, &["ingest"], flags(args))?.config;
    logging::start(config.logging.level, config.logging.format);
    let stop =
        shutdown::on_signal().map_err(|error| Failure::io("can't listen for signals", &error))?;
    let pack = pack(&config)?;
    let log = open_to_write(&config, &pack, &stop).await?;
    let result = run_on(&config, &pack, args, &log, stop).await;
    let closed = log.close().await;
    result?;
    Ok(closed?)
}

fn flags(args: &Args) -> Vec<Flag> {
    let mut flags = super::source_flags(&args.source);
    if let Some(host) = args.host {
        flags.push(("service.host", host.to_string().into(), "--host"));
    }
    if let Some(port) = args.port {
        flags.push(("service.port", port.into(), "--port"));
    }
    flags
}

/// The pack without its flows, and with the service's names for the stream of raw posts.
fn pack(config: &Config) -> Result<Pack, Failure> {
    let mut pack = config.pack();
    let service = &config.service;
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::Config(format!("`service.subject` ({}): {error}", service.subject))
    };
    let raw = pack.stream_of("ingest.to", pack.ingest.to.filter())?;
    if let Some(mut stream) = pack.streams.remove(&raw) {
        let all = format!("{}.>", service.subject);
        stream.subjects = vec![SubjectFilter::new(all).map_err(|error| wrong(&error))?];
        pack.streams.insert(service.stream.clone(), stream);
    }
    let to = format!("{}.posts", service.subject);
    pack.ingest.to = SubjectTemplate::new(&to).map_err(|error| wrong(&error))?;
    pack.flows.clear();
    Ok(pack)
}

async fn run_on(
    config: &Config,
    pack: &Pack,
    args: &Args,
    log: &Arc<dyn Log>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let service = &config.service;
    let server = ServiceServer::bind(service.host, service.port).await?;
    let spec = match config.source.spec.as_str() {
        "" => SourceSpec::parse(SOURCE)?,
        spec => SourceSpec::parse(spec)?,
    };
    let legacy = LegacyCursor {
        bucket: service.bucket.clone(),
        key: service.name.clone(),
        host: Endpoint::parse(Protocol::Relay, &service.cursor_host)?.url(),
    };
    let (source, cursor) =
        open_source(&**log, &spec, &source_options(config, &spec), Some(&legacy)).await?;
    let pool = Pool::start(config.threads())
        .map_err(|error| Failure::io("can't start threads for the stages", &error))?;
    let pipeline = Arc::new(Pipeline::new(&pack.ingest.stages, &pack.stages)?);
    let stages = Stages { pipeline, pool };
    let spec = source.description().spec.clone();
    let (pack_ingest, to) = (&pack.ingest, &service.stream);
    let mut ingest = Ingest::open(pack_ingest, to, Arc::clone(log), source, cursor, stages).await?;
    ingest.keep_legacy_cursor(legacy);
    let report = Arc::new(Report::new(config, &ingest));
    println!("Health: http://{}/health", server.address());
    tracing::info!(service = service.name, source = spec, "starting_service");

    let web_stop = CancellationToken::new();
    let shared: Arc<dyn ServiceReport> = Arc::clone(&report) as _;
    let serving = tokio::spawn(server.serve(shared, web_stop.clone()));
    let statistics = tokio::spawn(log_statistics(Arc::clone(&report), service.stats_every.0));
    let source_stop = stop.child_token();
    let timer = super::stop_after(args.source.duration, source_stop.clone());
    let ended = tokio::spawn(ingest.run(source_stop)).await;
    report.is_running.store(false, Ordering::Relaxed);
    // Without `--once` a source that has ended leaves a service that still answers.
    if !args.once && !stop.is_cancelled() && matches!(&ended, Ok(Ok(true))) {
        stop.cancelled().await;
    }
    timer.abort();
    statistics.abort();
    web_stop.cancel();
    // Clients that keep their connections open do not keep the program.
    let _ = tokio::time::timeout(Duration::from_secs(2), serving).await;
    summary::print(std::slice::from_ref(&report.books), args.format)?;
    let ended = ended.map_err(|error| Failure::Failed(format!("reading failed: {error}")))?;
    tracing::info!(service = service.name, "service_exited");
    ended?;
    Ok(())
}

/// Logs how it goes, at intervals.
async fn log_statistics(report: Arc<Report>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let rates = report.turn(every.as_secs_f64());
        let (posts, received) = report.totals();
        tracing::info!(
            service = report.name(),
            cursor = report.cursor(),
            queue_size = report.books.counts().in_flight,
            matched_per_second = (rates.posts * 100.0).round() / 100.0,
            events_per_second = (rates.events * 100.0).round() / 100.0,
            posts,
            received,
            "Ingest Statistics"
        );
    }
}
