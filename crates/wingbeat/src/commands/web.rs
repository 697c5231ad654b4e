//! `wingbeat web`: the dashboard alone, over a log that others write to.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wingbeat_flow::Pack;
use wingbeat_log::{Access, Log, LogError};
use wingbeat_ops::{logging, shutdown};
use wingbeat_web::{Hub, Server, SourceState, SourceStatus, Sources};

use super::{process, up::streams_shown};
use crate::{
    cli::{Global, Web},
    config::{Config, Flag},
    failure::Failure,
};

pub(crate) async fn run(global: &Global, args: &Web) -> Result<(), Failure> {
    let config = process::load(global, args.profile, flags(args))?;
    logging::start(config.logging.level, config.logging.format);
    let stop =
        shutdown::on_signal().map_err(|error| Failure::io("can't listen for signals", &error))?;
    let pack = process::pack(&config)?;
    let server = Server::bind(&config.web).await?;
    let log = open(&config, &pack).await?;
    let result = serve(&config, &pack, &log, server, args, stop).await;
    let closed = log.close().await;
    result?;
    Ok(closed?)
}

fn flags(args: &Web) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    if let Some(host) = args.host {
        flags.push(("web.host", host.to_string().into(), "--host"));
    }
    if let Some(port) = args.port {
        flags.push(("web.port", port.into(), "--port"));
    }
    flags
}

/// Opens the log to read. Where a stream that is shown is missing, it is made, so that it does not
/// matter who starts first.
async fn open(config: &Config, pack: &Pack) -> Result<Arc<dyn Log>, Failure> {
    let shown = streams_shown(pack)?;
    let log = config.open_log(Access::Read).await?;
    let mut missing = Vec::new();
    for name in [&shown.posts.0, &shown.deletions.0] {
        match log.stream(name).await {
            Ok(_) => {}
            Err(LogError::UnknownStream { .. }) => missing.push(name.clone()),
            Err(error) => return Err(error.into()),
        }
    }
    if missing.is_empty() {
        return Ok(log);
    }
    log.close().await?;
    let log = config.open_log(Access::Write).await?;
    for stream in pack.stream_configs().iter().filter(|stream| missing.contains(&stream.name)) {
        log.ensure_stream(stream).await?;
    }
    Ok(log)
}

async fn serve(
    config: &Config,
    pack: &Pack,
    log: &Arc<dyn Log>,
    server: Server,
    args: &Web,
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
    let sources = Sources { books: Vec::new(), source };
    let hub = Hub::open(Arc::clone(log), streams_shown(pack)?, sources).await?;
    println!("Dashboard: http://{}/", server.address());
    let timer = super::stop_after(args.duration, stop.clone());
    let url = config.log.url.to_string();
    let is_reading = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (ready, order) = (Arc::clone(&is_reading), std::sync::atomic::Ordering::Relaxed);
    let serving = server.serve(Arc::clone(&hub), url, move || ready.load(order), stop.clone());
    let serving = tokio::spawn(serving);
    let read = hub.run(stop.clone()).await;
    if let Err(error) = &read {
        // Whoever looks is told, and whoever watches over it starts it anew.
        is_reading.store(false, order);
        status.send_modify(|status| {
            status.state = SourceState::Failed;
            status.message = Some(error.to_string());
        });
        stop.cancel();
    }
    timer.abort();
    // Browsers that keep their connections open do not keep the program.
    let _ = tokio::time::timeout(Duration::from_secs(2), serving).await;
    Ok(read?)
}
