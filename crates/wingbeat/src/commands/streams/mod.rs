//! `wingbeat streams`: looking at the log, also while another process writes to it; and writing to
//! it by hand.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use serde_json::{Value, json};
use wingbeat_flow::{FlowError, GAP_KINDS, Pack};
use wingbeat_log::{Access, ConsumerInfo, Log, Start, Stored, StreamInfo};
use wingbeat_ops::{config::Span, logging};
use wingbeat_record::SubjectFilter;

use super::{open_to_read, print_json, print_line};
use crate::{
    cli::{Format, Global, Streams},
    config::{self, Config},
    failure::Failure,
    table::{self, bytes, number},
};

mod remove;
mod request;
mod tail;
mod write;

const READ_MAX: usize = 500;

pub(crate) async fn run(global: &Global, command: &Streams) -> Result<(), Failure> {
    let config = config::load(global, None, Vec::new())?.config;
    logging::start(config.logging.level, config.logging.format);
    if let Streams::Request(args) = command {
        return request::run(&config, args).await;
    }
    if let Streams::Create(_) | Streams::Publish(_) | Streams::Purge(_) | Streams::Rm(_) = command {
        // Streams that are missing are named, not made.
        let log = config.log.open(Access::Write).await?;
        let done = match command {
            Streams::Create(args) => write::create(&*log, args).await,
            Streams::Publish(args) => write::publish(&*log, args).await,
            Streams::Purge(args) => remove::purge(&*log, args).await,
            Streams::Rm(args) => remove::stream(&*log, args).await,
            _ => Ok(()),
        };
        log.close().await?;
        return done;
    }
    let log = open_to_read(&config).await?;
    let done = look(&*log, &config, command).await;
    log.close().await?;
    done
}

/// What only reads.
async fn look(log: &dyn Log, config: &Config, command: &Streams) -> Result<(), Failure> {
    match command {
        Streams::Ls { format } => list(&log.streams().await?, *format),
        Streams::Info { stream, format } => {
            let info = log.stream(stream).await?;
            show(&info, &log.consumers(stream).await?, *format)
        }
        Streams::Tail(args) => tail::tail(log, args).await,
        Streams::Gaps { format } => gaps(log, &config.pack(), *format).await,
        Streams::Create(_)
        | Streams::Publish(_)
        | Streams::Purge(_)
        | Streams::Request(_)
        | Streams::Rm(_) => Ok(()),
    }
}

/// The events that say that something may have been missed: by a host, or of an account.
async fn gaps(log: &dyn Log, pack: &Pack, format: Format) -> Result<(), Failure> {
    let events = &pack.ingest.events;
    let stream = pack.stream_of("ingest.events", events.filter())?;
    let mut subjects = Vec::new();
    for kind in GAP_KINDS {
        subjects.push(events.fill(|_| Some(kind)).map_err(FlowError::from)?.into());
    }
    let mut reader = log.read(&stream, Start::First, &subjects).await?;
    let head = ["reported", "host", "account", "from", "to", "reason"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    loop {
        let records = reader.next(READ_MAX, Duration::ZERO).await?;
        if records.is_empty() {
            break;
        }
        for stored in &records {
            if format == Format::Json {
                print_json(&record_json(stored))?;
                continue;
            }
            let gap: Value = serde_json::from_slice(&stored.record.payload).unwrap_or(Value::Null);
            let text = |name: &str| match &gap[name] {
                Value::Null => "-".to_owned(),
                Value::String(text) => table::plain(text),
                other => other.to_string(),
            };
            let mut row = vec![stored.time.to_string(), text("host"), text("did")];
            // Between two times of the host, or two revisions of the account.
            let ends = match gap.get("did") {
                None => ["from_time", "to_time"],
                Some(_) => ["from_rev", "to_rev"],
            };
            row.extend(ends.map(text));
            row.push(text("reason"));
            rows.push(row);
        }
    }
    match (format, rows.len()) {
        (Format::Json, _) => Ok(()),
        (Format::Text, 1) => print_line("No gaps: the source has seen everything."),
        (Format::Text, _) => print_line(table::render(&rows).trim_end()),
    }
}

fn list(streams: &[StreamInfo], format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return streams.iter().try_for_each(|info| print_json(&stream_json(info)));
    }
    let head = ["stream", "records", "size", "first", "last", "newest", "subjects"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for info in streams {
        let subjects: Vec<&str> = info.config.subjects.iter().map(SubjectFilter::as_str).collect();
        rows.push(vec![
            info.config.name.clone(),
            number(info.records),
            bytes(info.bytes),
            number(info.first),
            number(info.last),
            info.last_time.map_or_else(|| "-".to_owned(), |time| time.to_string()),
            subjects.join(" "),
        ]);
    }
    print_line(table::render(&rows).trim_end())
}

fn stream_json(info: &StreamInfo) -> Value {
    json!({
        "name": info.config.name,
        "subjects": info.config.subjects,
        "records": info.records,
        "bytes": info.bytes,
        "first": info.first,
        "last": info.last,
        "last_time": info.last_time,
        "deleted": info.deleted,
        "lost": info.lost,
        "records_max": info.config.records_max,
        "bytes_max": info.config.bytes_max,
        "age_max": info.config.age_max.map(Span),
        "duplicate_window": Span(info.config.duplicate_window),
        "discard": info.config.discard,
    })
}

fn consumer_json(info: &ConsumerInfo) -> Value {
    json!({
        "name": info.config.name,
        "ack_floor": info.ack_floor,
        "delivered": info.delivered,
        "unsettled": info.unsettled_count,
        "pending": info.pending,
        "missed": info.missed,
    })
}

fn show(info: &StreamInfo, consumers: &[ConsumerInfo], format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        let mut json = stream_json(info);
        json["consumers"] = consumers.iter().map(consumer_json).collect();
        return print_json(&json);
    }
    let limit = |value: Option<String>| value.unwrap_or_else(|| "no limit".to_owned());
    let config = &info.config;
    let subjects: Vec<&str> = config.subjects.iter().map(SubjectFilter::as_str).collect();
    let lines = [
        ("stream", config.name.clone()),
        ("subjects", subjects.join(" ")),
        ("records", number(info.records)),
        ("size", bytes(info.bytes)),
        ("sequences", format!("{} to {}", number(info.first), number(info.last))),
        ("newest", info.last_time.map_or_else(|| "-".to_owned(), |time| time.to_string())),
        ("deleted", number(info.deleted)),
        (
            "keeps at most",
            format!(
                "{} records, {}, {}",
                limit(config.records_max.map(number)),
                limit(config.bytes_max.map(bytes)),
                limit(config.age_max.map(|age| Span(age).to_string())),
            ),
        ),
        ("duplicate window", Span(config.duplicate_window).to_string()),
    ];
    for (name, value) in lines {
        print_line(&format!("{name:<17} {value}"))?;
    }
    for lost in &info.lost {
        print_line(&format!("{:<17} {lost}", "LOST"))?;
    }
    for consumer in consumers {
        print_line(&format!(
            "{:<17} {}: settled up to {}, {} being worked on, {} waiting",
            "consumer",
            consumer.config.name,
            number(consumer.ack_floor),
            number(consumer.unsettled_count),
            number(consumer.pending),
        ))?;
        for missed in &consumer.missed {
            print_line(&format!("{:<17} {missed}", "  MISSED"))?;
        }
    }
    Ok(())
}

/// A record as a line for people: its place, its subject, and its text or else its payload.
fn record_line(stored: &Stored) -> String {
    let record = &stored.record;
    let payload = String::from_utf8_lossy(&record.payload);
    let post = serde_json::from_slice::<Value>(&record.payload).ok();
    let text = post.as_ref().and_then(|post| post["text"].as_str()).unwrap_or(&payload);
    let text = table::plain(text);
    format!("{:>8}  {}  {}  {text}", stored.sequence, stored.time, record.subject)
}

/// A record as one line of JSON: its place, its headers, and its payload as JSON where it is
/// JSON, as text where it is text, else in base64.
pub(crate) fn record_json(stored: &Stored) -> Value {
    let record = &stored.record;
    let headers: serde_json::Map<String, Value> =
        record.headers.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let mut json = json!({
        "seq": stored.sequence,
        "time": stored.time,
        "subject": record.subject,
        "headers": headers,
    });
    if let Ok(payload) = serde_json::from_slice::<Value>(&record.payload) {
        json["payload"] = payload;
    } else if let Ok(text) = std::str::from_utf8(&record.payload) {
        json["text"] = text.into();
    } else {
        json["base64"] = BASE64.encode(&record.payload).into();
    }
    json
}
