//! The commands, one file each.

mod analyst;
pub(crate) mod ask;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod dead;
pub(crate) mod enrich;
pub(crate) mod eval;
pub(crate) mod ingest;
mod layout;
mod legacy_metrics;
pub(crate) mod mock;
pub(crate) mod models;
pub(crate) mod process;
mod serving;
pub(crate) mod simulate_network;
pub(crate) mod streams;
pub(crate) mod up;
pub(crate) mod web;

use std::{io::Write as _, sync::Arc};

use tokio_util::sync::CancellationToken;
use wingbeat_flow::{Cursor, LegacyCursor, Pack};
use wingbeat_log::{Access, Log, patiently};
use wingbeat_source::{
    OpenOptions, Place, Resume, Source, SourceSpec,
    network::{NetworkOptions, Timings, Verify},
};

pub(crate) use serving::LogWatch;

use crate::{
    cli::{Global, Profile, SourceArgs},
    config::{Config, Flag, VerifyLevel},
    failure::Failure,
};

/// The configuration and the pack: of the service `process` with a profile, or of a pack's name.
pub(crate) fn load_pack(
    global: &Global,
    pack: Option<&str>,
    profile: Option<Profile>,
) -> Result<(Config, Pack), Failure> {
    match profile {
        Some(profile) => {
            let config = process::load(global, profile, Vec::new())?;
            let pack = process::pack(&config)?;
            Ok((config, pack))
        }
        None => {
            let config = crate::config::load(global, pack, Vec::new())?.config;
            let pack = config.pack();
            Ok((config, pack))
        }
    }
}

/// Opens the configured log for reading, also while another process writes to it.
pub(crate) async fn open_to_read(config: &Config) -> Result<Arc<dyn Log>, Failure> {
    Ok(config.log.open(Access::Read).await?)
}

/// Opens the configured log for writing and makes the pack's streams. Waits for a log that can't
/// be reached, and says so to `watch`. `None` where `stop` was cancelled meanwhile.
pub(crate) async fn open_to_write(
    watch: &LogWatch,
    pack: &Pack,
    stop: &CancellationToken,
) -> Result<Option<Arc<dyn Log>>, Failure> {
    let open = async {
        let log = patiently(|| Box::pin(watch.open(Access::Write))).await?;
        check_layout(watch, pack, &*log).await?;
        for stream in pack.stream_configs() {
            patiently(|| log.ensure_stream(&stream)).await?;
        }
        Ok(Some(log))
    };
    tokio::select! {
        opened = open => opened,
        () = stop.cancelled() => {
            tracing::info!(log = %watch.log.url, "stopped before the log could be reached");
            Ok(None)
        }
    }
}

/// Refuses a log on which the pack can't work, before anything is made there.
async fn check_layout(watch: &LogWatch, pack: &Pack, log: &dyn Log) -> Result<(), Failure> {
    let existing = patiently(|| log.streams()).await?;
    let existing: Vec<_> = existing.into_iter().map(|info| info.config).collect();
    let obstacles = layout::obstacles(&existing, pack, watch.log.url.changes_existing())?;
    if obstacles.is_empty() { Ok(()) } else { Err(Failure::Config(obstacles.join("; "))) }
}

/// What the flags of a source set.
pub(crate) fn source_flags(args: &SourceArgs) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    if let Some(source) = &args.source {
        flags.push(("source.spec", source.as_str().into(), "--source"));
    }
    if let Some(verify) = args.verify {
        // A unit variant always serialises to its word.
        let word = serde_json::to_value(verify).unwrap_or_default();
        flags.push(("source.network.verify", word, "--verify"));
    }
    if let Some(rate) = args.rate {
        flags.push(("source.rate", rate.into(), "--rate"));
    }
    flags
}

/// How a source is opened, by the configuration.
pub(crate) fn source_options(config: &Config, spec: &SourceSpec) -> OpenOptions {
    let rate = Some(config.source.rate).filter(|rate| *rate > 0.0);
    let settings = &config.source.network;
    let verify = match (settings.verify, spec) {
        (VerifyLevel::Hashes, _) | (VerifyLevel::Default, SourceSpec::Relay(_)) => Verify::Hashes,
        (VerifyLevel::Full, _) => Verify::Full,
        (VerifyLevel::None | VerifyLevel::Default, _) => Verify::None,
    };
    let usual = Timings::default();
    let timings = Timings {
        retry_min: usual.retry_min.min(settings.retry_max.0),
        retry_max: settings.retry_max.0,
        ..usual
    };
    let network = NetworkOptions {
        timings,
        dids: settings.dids.clone(),
        verify,
        plc_directory: settings.plc_directory.clone(),
        handles: settings.handles,
        handle_resolver: settings.handle_resolver.clone(),
        jetstream_v1_dictionary: settings.jetstream_v1_dictionary.clone(),
        ..NetworkOptions::default()
    };
    OpenOptions { rate, network, ..OpenOptions::default() }
}

/// Opens a source where an earlier run has left it, or else where a replaced service has.
pub(crate) async fn open_source(
    log: &dyn Log,
    spec: &SourceSpec,
    options: &OpenOptions,
    legacy: Option<&LegacyCursor>,
) -> Result<(Box<dyn Source>, Cursor), Failure> {
    let open = async |resume| {
        let (spec, options) = (spec.clone(), OpenOptions { resume, ..options.clone() });
        let opened =
            tokio::task::spawn_blocking(move || wingbeat_source::open(&spec, &options)).await;
        match opened {
            Ok(source) => Ok::<_, Failure>(source?),
            Err(error) => Err(Failure::Failed(format!("opening the source failed: {error}"))),
        }
    };
    let source = open(None).await?;
    let cursor = Cursor::find(log, source.description()).await?;
    let mut resume = cursor.resume();
    if let (None, Some(legacy)) = (&resume, legacy)
        && let Some(sequence) = legacy.read(log).await?
    {
        let place = Place { host: legacy.host.clone(), cursor: sequence, time_us: 0 };
        resume = Some(Resume { position: 0, places: vec![place] });
    }
    match resume {
        None => Ok((source, cursor)),
        Some(resume) => {
            drop(source);
            Ok((open(Some(resume)).await?, cursor))
        }
    }
}

/// Writes a line to standard output. A reader that has gone away (`| head`) ends the command in
/// good order.
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    print_bytes(line.as_bytes())
}

/// As [`print_line`], any bytes.
pub(crate) fn print_bytes(line: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(line).and_then(|()| out.write_all(b"\n")) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::io("can't write to standard output", &error)),
    }
}

/// As [`print_line`], a value as one line of JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(value)
        .map_err(|error| Failure::Failed(format!("can't write JSON: {error}")))?;
    print_line(&json)
}
