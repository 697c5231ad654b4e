//! `wingbeat mock`: made-up posts, into the log or to standard output.

use std::{io::Write as _, sync::Arc};

use tokio_util::sync::CancellationToken;
use wingbeat_flow::{Counts, Ingest, Pipeline, Pool, Stages};
use wingbeat_log::Log;
use wingbeat_ops::{logging, shutdown};
use wingbeat_record::Outcome;
use wingbeat_source::{Content, OpenOptions, Source, SourceSpec};

use super::{open_source, open_to_write};
use crate::{
    cli::{Format, Global, Mock},
    config::{self, Config},
    failure::Failure,
    summary,
};

/// Posts that are written together.
const BATCH: usize = 500;
/// Posts per second to standard output where nobody says: as fast as anybody takes them. It
/// leaves room for the simulator's bursts.
const UNHURRIED: f64 = wingbeat_source::RATE_MAX / 10.0;

pub(crate) async fn run(global: &Global, args: &Mock) -> Result<(), Failure> {
    let config = config::load(global, None, Vec::new())?.config;
    logging::start(config.logging.level, config.logging.format);
    let spec = spec(args)?;
    let signal =
        shutdown::on_signal().map_err(|error| Failure::io("can't listen for signals", &error))?;
    let stop = signal.child_token();
    if let Some(duration) = args.duration {
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration.0).await;
            stop.cancel();
        });
    }
    if args.stdout {
        return print(&spec, args.rate, &stop).await;
    }
    let log = open_to_write(&config, &config.pack(), &stop).await?;
    let result = publish(&config, &log, &spec, args.rate, stop).await;
    let closed = log.close().await;
    result?;
    Ok(closed?)
}

fn spec(args: &Mock) -> Result<SourceSpec, Failure> {
    let mut settings: Vec<String> = args.options.iter().cloned().collect();
    settings.extend(args.seed.map(|seed| format!("seed={seed}")));
    settings.extend(args.count.map(|count| format!("count={count}")));
    let spec = if settings.is_empty() {
        "simulator".to_owned()
    } else {
        format!("simulator:{}", settings.join(","))
    };
    Ok(SourceSpec::parse(&spec)?)
}

async fn publish(
    config: &Config,
    log: &Arc<dyn Log>,
    spec: &SourceSpec,
    rate: Option<f64>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let pack = config.pack();
    let options = OpenOptions { rate, ..OpenOptions::default() };
    let (source, cursor) = open_source(&**log, spec, &options, None).await?;
    let stream = pack.stream_of("ingest.to", pack.ingest.to.filter())?;
    // Made-up posts are brought in as they are: what filters do with them is for flows to show.
    let pool = Pool::start(1)
        .map_err(|error| Failure::io("can't start threads for the stages", &error))?;
    let stages = Stages { pipeline: Arc::new(Pipeline::of(Vec::new())), pool };
    let ingest =
        Ingest::open(&pack.ingest, &stream, Arc::clone(log), source, cursor, stages).await?;
    let books = ingest.books();
    ingest.run(stop).await?;
    summary::print(&[books], Format::Text)?;
    Ok(())
}

/// Writes the payloads as lines. With `--rate` they come at that rate; else as fast as they are
/// taken.
async fn print(
    spec: &SourceSpec,
    rate: Option<f64>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let rate = Some(rate.unwrap_or(UNHURRIED));
    let mut source: Box<dyn Source> =
        wingbeat_source::open(spec, &OpenOptions { rate, ..OpenOptions::default() })?;
    let mut counts = Counts::default();
    loop {
        let items = tokio::select! {
            () = stop.cancelled() => break,
            items = source.next(BATCH) => items?,
        };
        let Some(items) = items else { break };
        let mut lines = Vec::new();
        for item in items {
            if let Content::Post(post) = item.content {
                counts.count_settled(&Outcome::Emitted, 1);
                lines.extend_from_slice(&post.payload);
                lines.push(b'\n');
            }
        }
        let written = std::io::stdout().lock().write_all(&lines);
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(Failure::io("can't write to standard output", &error)),
        }
    }
    eprintln!("{} posts", crate::table::number(counts.emitted));
    Ok(())
}
