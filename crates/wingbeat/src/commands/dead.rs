//! `wingbeat dead`: looking at records that could not be handled.

use std::{collections::BTreeSet, io::Write as _, time::Duration};

use serde_json::json;
use wingbeat_flow::DeadLetter;
use wingbeat_log::{Log, LogError, Start};
use wingbeat_ops::logging;

use super::{open_to_read, print_json, print_line, streams::record_json};
use crate::{
    cli::{Dead, Format, Global},
    config::{self, Config},
    failure::Failure,
    table::{self, bytes, number, plain},
};

/// The longest error text in the list.
const ERROR_CHARS: usize = 60;

pub(crate) async fn run(global: &Global, command: &Dead) -> Result<(), Failure> {
    let config = config::load(global, None, Vec::new())?.config;
    logging::start(config.logging.level, config.logging.format);
    let log = open_to_read(&config).await?;
    let done = look(&*log, &config, command).await;
    log.close().await?;
    done
}

async fn look(log: &dyn Log, config: &Config, command: &Dead) -> Result<(), Failure> {
    match command {
        Dead::Ls { flow, kind, last, format } => {
            let mut letters = read_all(log, config).await?;
            letters.retain(|letter| {
                flow.as_ref().is_none_or(|flow| letter.flow == *flow)
                    && kind.as_ref().is_none_or(|kind| letter.kind == *kind)
            });
            let skip = last.map_or(0, |last| letters.len().saturating_sub(last));
            list(&letters[skip..], *format)
        }
        Dead::Show { sequence, raw, format } => show(log, config, *sequence, *raw, *format).await,
    }
}

/// The streams that dead letters go to.
fn streams(config: &Config) -> Result<BTreeSet<String>, Failure> {
    let pack = config.pack();
    let mut streams = BTreeSet::from([pack.stream_of("ingest.dead", pack.ingest.dead.filter())?]);
    for flow in pack.flows.values() {
        streams.insert(pack.stream_of("dead", flow.dead.filter())?);
    }
    Ok(streams)
}

async fn read_all(log: &dyn Log, config: &Config) -> Result<Vec<DeadLetter>, Failure> {
    let mut letters = Vec::new();
    for stream in streams(config)? {
        let mut reader = match log.read(&stream, Start::First, &[]).await {
            Ok(reader) => reader,
            Err(LogError::UnknownStream { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        loop {
            let records = reader.next(500, Duration::ZERO).await?;
            if records.is_empty() {
                break;
            }
            letters.extend(records.iter().map(|stored| {
                let mut letter = DeadLetter::read(stored);
                // The list needs no bytes.
                letter.original = Default::default();
                letter
            }));
        }
    }
    Ok(letters)
}

fn list(letters: &[DeadLetter], format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return letters.iter().try_for_each(print_json);
    }
    if letters.is_empty() {
        eprintln!("no dead letters");
        return Ok(());
    }
    let head = ["seq", "died at", "flow", "stage", "kind", "tries", "size", "from", "error"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for letter in letters {
        let mut error: String = plain(&letter.error).chars().take(ERROR_CHARS).collect();
        if letter.error.chars().count() > ERROR_CHARS {
            error.push_str("...");
        }
        rows.push(vec![
            letter.sequence.to_string(),
            letter.died_at.clone(),
            letter.flow.clone(),
            letter.stage.clone(),
            letter.kind.clone(),
            letter.deliveries.to_string(),
            bytes(letter.bytes),
            plain(&letter.origin),
            error,
        ]);
    }
    print_line(table::render(&rows).trim_end())
}

async fn show(
    log: &dyn Log,
    config: &Config,
    sequence: u64,
    raw: bool,
    format: Format,
) -> Result<(), Failure> {
    for stream in streams(config)? {
        let stored = match log.get(&stream, sequence).await {
            Ok(Some(stored)) => stored,
            Ok(None) | Err(LogError::UnknownStream { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let letter = DeadLetter::read(&stored);
        if raw {
            let written = std::io::stdout().lock().write_all(&letter.original);
            return written.map_err(|e| Failure::io("can't write to standard output", &e));
        }
        if format == Format::Json {
            let mut json = json!(letter);
            json["record"] = record_json(&stored);
            return print_json(&json);
        }
        let lines = [
            ("sequence", letter.sequence.to_string()),
            ("died at", letter.died_at.clone()),
            ("flow", letter.flow.clone()),
            ("stage", letter.stage.clone()),
            ("kind", letter.kind.clone()),
            ("error", plain(&letter.error)),
            ("came from", plain(&letter.origin)),
            ("subject", plain(&letter.subject)),
            ("deliveries", letter.deliveries.to_string()),
            ("size", format!("{} bytes", number(letter.bytes))),
        ];
        for (name, value) in lines {
            print_line(&format!("{name:<11} {value}"))?;
        }
        print_line("")?;
        return print_line(&original(&letter));
    }
    Err(Failure::Failed(format!(
        "there is no dead letter {sequence}; `wingbeat dead ls` lists those that there are"
    )))
}

/// The original as text that is safe on a terminal.
fn original(letter: &DeadLetter) -> String {
    const SHOWN_BYTES: usize = 4096;
    let shown = &letter.original[..letter.original.len().min(SHOWN_BYTES)];
    let text = match std::str::from_utf8(shown) {
        Ok(text) => plain(text),
        Err(_) => shown.escape_ascii().to_string(),
    };
    if letter.bytes > shown.len() as u64 {
        let rest = number(letter.bytes - shown.len() as u64);
        return format!("{text}\n... and {rest} bytes more; --raw writes all that was kept");
    }
    text
}
