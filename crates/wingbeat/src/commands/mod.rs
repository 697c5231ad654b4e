//! The commands, one file each.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod dead;
pub(crate) mod enrich;
pub(crate) mod eval;
pub(crate) mod mock;
pub(crate) mod streams;
pub(crate) mod up;

use std::{io::Write as _, sync::Arc};

use wingbeat_flow::Cursor;
use wingbeat_log::{Access, Log};
use wingbeat_source::{OpenOptions, Source, SourceSpec};

use crate::{config::Config, failure::Failure};

/// Opens the configured log for reading, also while another process writes to it.
pub(crate) async fn open_to_read(config: &Config) -> Result<Arc<dyn Log>, Failure> {
    Ok(config.log_url()?.open(Access::Read).await?)
}

/// Opens the configured log for writing and makes the pack's streams.
pub(crate) async fn open_to_write(config: &Config) -> Result<Arc<dyn Log>, Failure> {
    let log = config.log_url()?.open(Access::Write).await?;
    for stream in config.pack().stream_configs() {
        log.ensure_stream(&stream).await?;
    }
    Ok(log)
}

/// Opens a source where an earlier run has left it.
pub(crate) async fn open_source(
    log: &dyn Log,
    spec: &SourceSpec,
    rate: Option<f64>,
) -> Result<(Box<dyn Source>, Cursor), Failure> {
    let open = async |resume| {
        let (spec, options) =
            (spec.clone(), OpenOptions { resume, rate, ..OpenOptions::default() });
        let opened =
            tokio::task::spawn_blocking(move || wingbeat_source::open(&spec, &options)).await;
        match opened {
            Ok(source) => Ok::<_, Failure>(source?),
            Err(error) => Err(Failure::Failed(format!("opening the source failed: {error}"))),
        }
    };
    let source = open(None).await?;
    let cursor = Cursor::find(log, source.description()).await?;
    match cursor.resume() {
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
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}") {
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
