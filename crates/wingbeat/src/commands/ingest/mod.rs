//! `wingbeat ingest`: brings a source into the log, and nothing else. It stands in the place of
//! `nats-firehose-ingest`: its names, its subjects, its payloads, its health and its metrics.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use wingbeat_flow::{Ingest, LegacyCursor, Pack, Pipeline, Pool, Stages, SubjectTemplate};
use wingbeat_log::Log;
use wingbeat_ops::{config::Span, logging, shutdown};
use wingbeat_record::SubjectFilter;
use wingbeat_source::{
    OpenOptions, SourceSpec,
    network::{Endpoint, Protocol},
};
use wingbeat_web::ServiceReport as _;

use super::{open_source, open_to_write, serving::Serving, source_options};
use crate::{
    cli::{Format, Global, Ingest as Args},
    config::{self, Config, Flag},
    failure::Failure,
    fetch, summary,
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
    let service = &config.service;
    let spec = match config.source.spec.as_str() {
        "" => SourceSpec::parse(SOURCE)?,
        spec => SourceSpec::parse(spec)?,
    };
    let legacy = LegacyCursor {
        bucket: service.bucket.clone(),
        key: service.name.clone(),
        host: Endpoint::parse(Protocol::Relay, &service.cursor_host)?.url(),
    };
    let intake = Intake {
        pack: pack(&config)?,
        options: source_options(&config, &spec),
        spec,
        legacy: Some(legacy),
        once: args.once,
        duration: args.source.duration,
        format: args.format,
        config,
    };
    intake.run(stop).await
}

fn flags(args: &Args) -> Vec<Flag> {
    let mut flags = super::source_flags(&args.source);
    flags.extend(args.listen.service());
    flags
}

/// A source that is brought into the log by a service.
pub(crate) struct Intake {
    pub(crate) config: Config,
    pub(crate) pack: Pack,
    pub(crate) spec: SourceSpec,
    pub(crate) options: OpenOptions,
    pub(crate) legacy: Option<LegacyCursor>,
    /// Whether it ends with the source.
    pub(crate) once: bool,
    pub(crate) duration: Option<Span>,
    pub(crate) format: Format,
}

/// The pack without its flows, and with the service's names for the stream of raw posts.
pub(crate) fn pack(config: &Config) -> Result<Pack, Failure> {
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

impl Intake {
    /// Answers from now on, and reads the source as soon as there is a log.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let report = Arc::new(Report::new(&self.config));
        let serving =
            Serving::service(&self.config.service, Arc::clone(&report) as _, None).await?;
        let Some(log) = open_to_write(&report.log, &self.pack, &stop).await? else {
            serving.finish().await;
            return Ok(());
        };
        let result = self.read(&report, serving, &log, stop).await;
        let closed = log.close().await;
        result?;
        Ok(closed?)
    }

    async fn read(
        &self,
        report: &Arc<Report>,
        mut serving: Serving,
        log: &Arc<dyn Log>,
        stop: CancellationToken,
    ) -> Result<(), Failure> {
        let (settings, stages) = (&self.pack.stages, &self.pack.ingest.stages);
        let prepared = fetch::prepare_service(settings, stages, &report.log, &stop).await?;
        let Some(models) = prepared else {
            serving.finish().await;
            return Ok(());
        };
        let ingest = self.open(log).await?;
        drop(models);
        let books = ingest.books();
        report.begin(&ingest);
        let service = &self.config.service;
        let source = self.spec.to_string();
        tracing::info!(service = service.name, source, "starting_service");
        serving.add(report.log.clone().run(Arc::clone(log), service.stream.clone()));
        serving.add(log_statistics(Arc::clone(report), service.stats_every.0));
        let source_stop = stop.child_token();
        serving.stop_after(self.duration, source_stop.clone());
        let ended = tokio::spawn(ingest.run(source_stop)).await;
        report.is_running.store(false, Ordering::Relaxed);
        // Without `--once` a source that has ended leaves a service that still answers.
        if !self.once && !stop.is_cancelled() && matches!(&ended, Ok(Ok(true))) {
            stop.cancelled().await;
        }
        serving.finish().await;
        summary::print(&[books], self.format)?;
        let ended = ended.map_err(|error| Failure::Failed(format!("reading failed: {error}")))?;
        tracing::info!(service = service.name, "service_exited");
        ended?;
        Ok(())
    }

    async fn open(&self, log: &Arc<dyn Log>) -> Result<Ingest, Failure> {
        let (source, cursor) =
            open_source(&**log, &self.spec, &self.options, self.legacy.as_ref()).await?;
        let pool = Pool::start(self.config.threads())
            .map_err(|error| Failure::io("can't start threads for the stages", &error))?;
        let (spec, to) = (&self.pack.ingest, &self.config.service.stream);
        let pipeline = Arc::new(Pipeline::new(&spec.stages, &self.pack.stages)?);
        let stages = Stages { pipeline, pool };
        let mut ingest = Ingest::open(spec, to, Arc::clone(log), source, cursor, stages).await?;
        if let Some(legacy) = &self.legacy {
            ingest.keep_legacy_cursor(legacy.clone());
        }
        Ok(ingest)
    }
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
            queue_size = report.counts().in_flight,
            matched_per_second = (rates.posts * 100.0).round() / 100.0,
            events_per_second = (rates.events * 100.0).round() / 100.0,
            posts,
            received,
            "Ingest Statistics"
        );
    }
}
