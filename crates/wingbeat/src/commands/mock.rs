//! `wingbeat mock`: made-up posts. Into the log, as a service in the place of the mock generator
//! and of the ingest, with the ingest's health and metrics; or to standard output.

use std::io::Write as _;

use tokio_util::sync::CancellationToken;
use wingbeat_flow::Counts;
use wingbeat_ops::{logging, shutdown};
use wingbeat_record::Outcome;
use wingbeat_source::{Content, OpenOptions, Source, SourceSpec};

use super::ingest::{self, Intake};
use crate::{
    cli::{Format, Global, Mock},
    config,
    failure::Failure,
};

/// Posts that are written together.
const BATCH: usize = 500;
/// Posts per second to standard output where nobody says: as fast as anybody takes them. It
/// leaves room for the simulator's bursts.
const UNHURRIED: f64 = wingbeat_source::RATE_MAX / 10.0;

pub(crate) async fn run(global: &Global, args: &Mock) -> Result<(), Failure> {
    let config = config::load_service(global, &["mock"], args.listen.service())?.config;
    logging::start(config.logging.level, config.logging.format);
    let spec = spec(args)?;
    let stop =
        shutdown::on_signal().map_err(|error| Failure::io("can't listen for signals", &error))?;
    if args.stdout {
        let stop = stop.child_token();
        if let Some(duration) = args.duration {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::time::sleep(duration.0).await;
                stop.cancel();
            });
        }
        return print(&spec, args.rate, &stop).await;
    }
    let intake = Intake {
        pack: ingest::pack(&config)?,
        spec,
        options: OpenOptions { rate: args.rate, ..OpenOptions::default() },
        legacy: None,
        once: true,
        duration: args.duration,
        format: Format::Text,
        config,
    };
    intake.run(stop).await
}

/// The simulator as the flags set it. What `--options` says too is set by the flag of its own.
fn spec(args: &Mock) -> Result<SourceSpec, Failure> {
    let mut settings: Vec<String> = args.options.iter().cloned().collect();
    let numbers = [
        ("burst", args.burst),
        ("malformed", args.malformed),
        ("duplicates", args.duplicates),
        ("oversize", args.oversize),
        ("spam", args.spam),
    ];
    let words = [
        ("languages", &args.languages),
        ("sentiments", &args.sentiments),
        ("topics", &args.topics),
    ];
    settings.extend(args.seed.map(|seed| format!("seed={seed}")));
    settings.extend(args.count.map(|count| format!("count={count}")));
    settings
        .extend(numbers.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?))));
    settings.extend(
        words.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?))),
    );
    let spec = if settings.is_empty() {
        "simulator".to_owned()
    } else {
        format!("simulator:{}", settings.join(","))
    };
    Ok(SourceSpec::parse(&spec)?)
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
