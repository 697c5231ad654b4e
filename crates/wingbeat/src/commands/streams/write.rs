//! `wingbeat streams create` and `publish`.

use std::io::{BufRead as _, Read as _};

use wingbeat_log::{Discard, Log, RECORD_BYTES_MAX, StreamConfig};
use wingbeat_ops::config::Span;
use wingbeat_record::{MessageId, Record, Subject, SubjectFilter};

use crate::{
    cli::{Create, Publish},
    commands::print_json,
    failure::Failure,
};

/// Lines that are published together.
const BATCH: usize = 1_000;

/// Creates a stream, or changes the settings of one.
pub(super) async fn create(log: &dyn Log, args: &Create) -> Result<(), Failure> {
    let subjects = args.subject.iter().map(|subject| {
        let wrong = |error| Failure::Config(format!("--subject {subject}: {error}"));
        SubjectFilter::new(subject.as_str()).map_err(wrong)
    });
    let usual = StreamConfig::new(args.stream.clone(), subjects.collect::<Result<_, _>>()?);
    let config = StreamConfig {
        records_max: args.records_max,
        bytes_max: args.bytes_max,
        age_max: args.age_max.map(|span| span.0),
        duplicate_window: args.duplicate_window.map_or(usual.duplicate_window, |Span(span)| span),
        discard: if args.refuse_new { Discard::New } else { Discard::Old },
        ..usual
    };
    let info = log.ensure_stream(&config).await?;
    print_json(&super::stream_json(&info))
}

/// Publishes what comes on standard input, as one record or as one a line.
pub(super) async fn publish(log: &dyn Log, args: &Publish) -> Result<(), Failure> {
    let wrong = |error| Failure::Config(format!("{}: {error}", args.subject));
    let subject = Subject::new(args.subject.as_str()).map_err(wrong)?;
    let record = |payload: Vec<u8>| -> Result<Record, Failure> {
        let mut record = Record::new(subject.clone(), payload);
        for header in &args.header {
            let wrong = |problem: String| Failure::Config(format!("--header {header}: {problem}"));
            let (name, value) =
                header.split_once('=').ok_or_else(|| wrong("write NAME=VALUE".to_owned()))?;
            record.headers.try_set(name, value).map_err(|error| wrong(error.to_string()))?;
        }
        Ok(match &args.id {
            Some(id) => record.with_id(MessageId::new(id.as_str())),
            None => record,
        })
    };
    let failed = |error: &std::io::Error| Failure::io("can't read standard input", error);
    let input = std::io::stdin();
    if !args.lines {
        let mut payload = Vec::new();
        let mut input = input.lock().take(RECORD_BYTES_MAX as u64 + 1);
        input.read_to_end(&mut payload).map_err(|error| failed(&error))?;
        return send(log, vec![record(payload)?]).await;
    }
    let mut batch = Vec::new();
    for line in input.lock().split(b'\n') {
        batch.push(record(line.map_err(|error| failed(&error))?)?);
        if batch.len() >= BATCH {
            send(log, std::mem::take(&mut batch)).await?;
        }
    }
    send(log, batch).await
}

async fn send(log: &dyn Log, records: Vec<Record>) -> Result<(), Failure> {
    for answer in log.publish(records).await {
        let ack = answer?;
        print_json(&serde_json::json!({
            "stream": &*ack.stream, "seq": ack.sequence, "duplicate": ack.is_duplicate,
        }))?;
    }
    Ok(())
}
