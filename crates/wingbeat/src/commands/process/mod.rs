//! `wingbeat process`: one flow of the pack as a service, in the place of the stream processors.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use wingbeat_flow::{Flow, FollowedBooks, Pack, Pipeline, Pool, SubjectTemplate};
use wingbeat_log::{Consumer, Log, patiently};
use wingbeat_ops::{logging, shutdown};
use wingbeat_record::SubjectFilter;
use wingbeat_stage::ModelSettings;
use wingbeat_web::{AnalystCell, ServiceReport as _};

use super::{
    analyst::HttpAnalyst,
    open_to_write,
    serving::{Serving, look_ticks},
};
use crate::{
    analysis::{self, Analysis},
    cli::{Global, Process, Profile},
    config::{self, Answering, Config, Flag},
    failure::Failure,
    fetch, summary,
};

pub(crate) mod answer;
mod meter;
mod peers;
mod report;

use answer::AnswerDesk;
use peers::Peers;
use report::{Backlog, Report};

/// How often it is looked whether everything is processed, with `--once`.
const IDLE_POLL: Duration = Duration::from_millis(20);
/// How long records that are under way may take when it stops.
const STOP_WAIT: Duration = Duration::from_secs(10);

pub(crate) async fn run(global: &Global, args: &Process) -> Result<(), Failure> {
    let config = load(global, args.profile, args.listen.service())?;
    logging::start(config.logging.level, config.logging.format);
    warn(&config);
    let stop =
        shutdown::on_signal().map_err(|error| Failure::io("can't listen for signals", &error))?;
    let pack = pack(&config)?;
    let report = Arc::new(Report::new(&config));
    let answers = config.processor.answer != Answering::Off;
    let analyst = answers.then(AnalystCell::default);
    let place = analyst.clone();
    let serving = Serving::service(&config.service, Arc::clone(&report) as _, place).await?;
    let Some(log) = open_to_write(&report.log, &pack, &stop).await? else {
        serving.finish().await;
        return Ok(());
    };
    let result = run_on(&config, &pack, args, &log, (&report, serving, analyst), stop).await;
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
    let flags = match profile {
        Profile::Topics => [topics_model(|name| std::env::var(name).ok()), flags].concat(),
        Profile::Enriched | Profile::Sentiment => flags,
    };
    Ok(config::load_service(global, presets, flags)?.config)
}

/// In the topics service `MODEL_NAME` was a model of topics; elsewhere it is one of sentiment.
fn topics_model(variable: impl Fn(&str) -> Option<String>) -> Vec<Flag> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let Some(model) = set("MODEL_NAME") else { return Vec::new() };
    let usual = ModelSettings::default().sentiment.to_string();
    let topics = set("TOPIC_MODEL_NAME").unwrap_or(model);
    let sentiment = set("SENTIMENT_MODEL_NAME").unwrap_or(usual);
    vec![
        ("stages.models.topics", topics.into(), "environment MODEL_NAME"),
        ("stages.models.sentiment", sentiment.into(), "environment MODEL_NAME"),
    ]
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
    (report, mut serving, analyst): (&Arc<Report>, Serving, Option<AnalystCell>),
    stop: CancellationToken,
) -> Result<(), Failure> {
    let name = &config.processor.books;
    // `pack` has put it there.
    let Some(spec) = pack.flows.get(name) else { return Ok(()) };
    let pool = Pool::start(config.threads())
        .map_err(|error| Failure::io("can't start threads for the stages", &error))?;
    let ledger = pack.stream_of("ledger", spec.ledger.filter())?;
    let mut stages = spec.stages.clone();
    if analyst.is_some() {
        stages.extend(analysis::STAGES.map(str::to_owned));
    }
    let prepared = fetch::prepare_service(&pack.stages, &stages, &report.log, &stop).await?;
    let Some(models) = prepared else {
        serving.finish().await;
        return Ok(());
    };
    let pipeline = Pipeline::new(&spec.stages, &pack.stages)?.metered(report.meter());
    let mut answers = AnswerDesk::closed();
    if let Some(analyst) = analyst {
        let analysis = Arc::new(Analysis::new(&config.stages)?);
        answers = AnswerDesk::open(config, &analysis, &pool)?;
        // Nobody else sets it.
        analyst.get_or_init(|| Arc::new(HttpAnalyst::new(analysis, pool.clone())));
    }
    // The stages hold them by now.
    drop(models);
    // It may have to wait for a processor that still uses the consumer.
    let flow = tokio::select! {
        flow = Flow::open(name, spec, &ledger, Arc::clone(log), pipeline, pool) => flow?,
        () = stop.cancelled() => {
            answers.close().await;
            serving.finish().await;
            return Ok(());
        }
    };
    let followed = FollowedBooks::open(name, spec, &ledger, Arc::clone(log)).await?;
    let peers = Peers::open(&**log, &config.log.url, spec).await?;
    let peers = Arc::new(tokio::sync::Mutex::new(peers));
    let (books, consumer) = (flow.books(), flow.consumer());
    report.begin(books.clone());
    tracing::info!(service = config.service.name, consumer = spec.consumer, "starting_service");

    serving.add(watch_backlog(Arc::clone(report), Arc::clone(&consumer), Arc::clone(&peers)));
    serving.add(follow_books(Arc::clone(report), followed));
    serving.add(log_statistics(Arc::clone(report), config.service.stats_every.0));
    let flow_stop = stop.child_token();
    serving.stop_after(args.duration, flow_stop.clone());
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
    serving.finish().await;
    report.log.ask(async { peers.lock().await.leave().await }).await;
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

/// Looks how much is waiting, and who shares it.
async fn watch_backlog(
    report: Arc<Report>,
    consumer: Arc<dyn Consumer>,
    peers: Arc<tokio::sync::Mutex<Peers>>,
) {
    let mut ticks = look_ticks();
    loop {
        ticks.tick().await;
        let look = async {
            let place = peers.lock().await.beat().await?;
            let info = consumer.info().await?;
            Ok(Backlog { pending: info.pending, unsettled: info.unsettled_count, place })
        };
        let backlog = report.log.ask(look).await;
        report.note_backlog(backlog);
    }
}

/// Follows what all processes have settled.
async fn follow_books(report: Arc<Report>, followed: FollowedBooks) {
    report.note_flow_books(Some(followed.books()));
    let error = followed.run().await;
    tracing::error!(%error, "the books of the flow can't be read any more");
    report.note_flow_books(None);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_the_topics_service_is_one_of_topics() {
        let read = |set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(known, _)| *known == name);
            let flags = topics_model(|name| value(name).map(|(_, value)| (*value).to_owned()));
            flags.into_iter().map(|(path, value, _)| (path, value)).collect::<Vec<_>>()
        };
        let topics = |value: &str| ("stages.models.topics", value.into());
        let sentiment = |value: &str| ("stages.models.sentiment", value.into());
        assert_eq!(read(&[("TOPIC_MODEL_NAME", "a/t")]), []);
        let usual = ModelSettings::default().sentiment.to_string();
        assert_eq!(read(&[("MODEL_NAME", "a/t")]), [topics("a/t"), sentiment(&usual)]);
        let newer =
            [("MODEL_NAME", "a/old"), ("TOPIC_MODEL_NAME", "a/t"), ("SENTIMENT_MODEL_NAME", "a/s")];
        assert_eq!(read(&newer), [topics("a/t"), sentiment("a/s")]);
    }
}
