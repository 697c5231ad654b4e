//! `wingbeat web`: the dashboard alone, over a log that others write to.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wingbeat_flow::{Books, FlowError, FollowedBooks, Pack, follow_ingest, ingest_books};
use wingbeat_log::{Access, Log, LogError, LogUrl, patiently};
use wingbeat_ops::{logging, shutdown};
use wingbeat_web::{Hub, SourceState, SourceStatus, Sources};

use super::{
    process,
    serving::{Front, LogWatch, Serving},
    up::streams_shown,
};
use crate::{
    cli::{Global, Web},
    config::Config,
    failure::Failure,
};

pub(crate) async fn run(global: &Global, args: &Web) -> Result<(), Failure> {
    let config = process::load(global, args.profile, args.listen.web())?;
    logging::start(config.logging.level, config.logging.format);
    let stop =
        shutdown::on_signal().map_err(|error| Failure::io("can't listen for signals", &error))?;
    let pack = process::pack(&config)?;
    let mut front = Front::open(&config, None).await?;
    front.serving.stop_after(args.duration, stop.clone());
    let log = tokio::select! {
        opened = open(&front.watch, &pack) => opened?,
        () = stop.cancelled() => {
            front.serving.finish().await;
            return Ok(());
        }
    };
    let result = show(&config, &pack, &log, front, stop).await;
    let closed = log.close().await;
    result?;
    Ok(closed?)
}

/// Opens the log to read; waits for one that can't be reached. Where a stream that is read is
/// missing, it is made, so that it does not matter who starts first.
async fn open(watch: &LogWatch, pack: &Pack) -> Result<Arc<dyn Log>, Failure> {
    let shown = streams_shown(pack)?;
    let mut read = vec![shown.posts.0, shown.deletions.0];
    for spec in pack.flows.values() {
        read.push(pack.stream_of("ledger", spec.ledger.filter())?);
    }
    let log = patiently(|| Box::pin(watch.open(Access::Read))).await?;
    let mut missing = Vec::new();
    for name in &read {
        match patiently(|| log.stream(name)).await {
            Ok(_) => {}
            Err(LogError::UnknownStream { .. }) => missing.push(name.clone()),
            Err(error) => return Err(error.into()),
        }
    }
    if missing.is_empty() {
        return Ok(log);
    }
    log.close().await?;
    let log = patiently(|| Box::pin(watch.open(Access::Write))).await?;
    for stream in pack.stream_configs().iter().filter(|stream| missing.contains(&stream.name)) {
        patiently(|| log.ensure_stream(stream)).await?;
    }
    Ok(log)
}

async fn show(
    config: &Config,
    pack: &Pack,
    log: &Arc<dyn Log>,
    mut front: Front,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let (status, source) = watch::channel(SourceStatus {
        kind: "log".to_owned(),
        spec: config.processor.output_stream.clone(),
        simulated: false,
        state: SourceState::Running,
        message: None,
        host: None,
        gaps: 0,
    });
    let books = follow_books(config, pack, log, &mut front.serving).await?;
    let sources = Sources { own: Vec::new(), books, source };
    let shown = streams_shown(pack)?;
    let posts = shown.posts.0.clone();
    let hub = Hub::open(Arc::clone(log), shown, sources).await?;
    front.show(&hub, log, posts);
    let read = hub.run(stop.clone()).await;
    if let Err(error) = &read {
        // Whoever looks is told, and whoever watches over it starts it anew.
        status.send_modify(|status| {
            status.state = SourceState::Failed;
            status.message = Some(error.to_string());
        });
    }
    front.serving.finish().await;
    Ok(read?)
}

/// The books of the flows that others run, as the log tells them.
async fn follow_books(
    config: &Config,
    pack: &Pack,
    log: &Arc<dyn Log>,
    serving: &mut Serving,
) -> Result<Vec<Books>, Failure> {
    let mut books = Vec::new();
    // Whoever only reads an embedded log sees the ingest's books as they were when it was opened.
    if let LogUrl::Nats(_) = config.log.url {
        let ingest = ingest_books();
        books.push(ingest.clone());
        serving.add(say_why_it_ends(follow_ingest(Arc::clone(log), ingest)));
    }
    for (name, spec) in &pack.flows {
        let ledger = pack.stream_of("ledger", spec.ledger.filter())?;
        let followed = FollowedBooks::open(name, spec, &ledger, Arc::clone(log)).await?;
        books.push(followed.books());
        serving.add(say_why_it_ends(followed.run()));
    }
    Ok(books)
}

async fn say_why_it_ends(following: impl Future<Output = FlowError>) {
    let error = following.await;
    tracing::error!(%error, "the books can't be read any more");
}
