//! `wingbeat streams tail`: the records of a stream, or of all streams that capture some subjects.

use std::{collections::VecDeque, time::Duration};

use futures_util::future::select_all;
use wingbeat_log::{Log, LogError, Reader, Start, Stored};
use wingbeat_ops::shutdown;
use wingbeat_record::{SubjectFilter, Time};

use super::{READ_MAX, record_json, record_line};
use crate::{
    cli::{Format, Tail},
    commands::{print_json, print_line},
    failure::Failure,
};

/// How long a follower waits before it looks whether it is to stop.
const FOLLOW_WAIT: Duration = Duration::from_secs(1);

/// One of the streams that are read side by side.
struct Head {
    stream: String,
    reader: Box<dyn Reader>,
    /// Read, and not printed yet.
    records: VecDeque<Stored>,
    has_ended: bool,
}

pub(super) async fn tail(log: &dyn Log, args: &Tail) -> Result<(), Failure> {
    let start = start(&args.from)?;
    let (streams, filters) = selected(log, args).await?;
    if let (Start::Sequence(_), 2..) = (start, streams.len()) {
        return Err(Failure::Config(format!(
            "`--from {}`: a sequence means something in one stream only, and these capture `{}`: {}",
            args.from,
            args.stream,
            streams.join(", ")
        )));
    }
    let stop =
        shutdown::on_signal().map_err(|error| Failure::io("can't listen for signals", &error))?;
    let mut heads = Vec::new();
    for stream in streams {
        let reader = log.read(&stream, start, &filters).await?;
        heads.push(Head { stream, reader, records: VecDeque::new(), has_ended: false });
    }
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let has_more = tokio::select! {
            () = stop.cancelled() => break,
            filled = fill(&mut heads, args.follow) => filled?,
        };
        if !has_more {
            break;
        }
        // Oldest first, until it has to be looked what comes next.
        while let (1.., Some(head)) = (left, oldest(&mut heads)) {
            let Some(stored) = head.records.pop_front() else { break };
            print(args, &head.stream, &stored)?;
            left -= 1;
            if head.records.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

/// The streams, and which of their records. What is no name of a stream is subjects.
async fn selected(
    log: &dyn Log,
    args: &Tail,
) -> Result<(Vec<String>, Vec<SubjectFilter>), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Config(error.to_string());
    let filter = |text: &String| SubjectFilter::new(text).map_err(|error| wrong(&error));
    if !is_subject(&args.stream) {
        let filters = args.subject.iter().map(filter).collect::<Result<Vec<_>, _>>()?;
        return Ok((vec![args.stream.clone()], filters));
    }
    if !args.subject.is_empty() {
        let problem = format!("`{}` says which subjects; leave --subject out", args.stream);
        return Err(Failure::Config(problem));
    }
    let wanted = filter(&args.stream)?;
    let mut streams = Vec::new();
    for info in log.streams().await? {
        if info.config.subjects.iter().any(|subject| subject.overlaps(&wanted)) {
            streams.push(info.config.name);
        }
    }
    if streams.is_empty() {
        return Err(LogError::NoStream { subject: args.stream.clone() }.into());
    }
    Ok((streams, vec![wanted]))
}

/// No name of a stream has any of these.
fn is_subject(text: &str) -> bool {
    text.contains(['.', '*', '>'])
}

/// Reads on where nothing is left to print. False where nothing will come any more.
async fn fill(heads: &mut [Head], is_following: bool) -> Result<bool, LogError> {
    for head in heads.iter_mut().filter(|head| head.records.is_empty() && !head.has_ended) {
        head.records.extend(head.reader.next(READ_MAX, Duration::ZERO).await?);
        head.has_ended = head.records.is_empty() && !is_following;
    }
    let has_some = heads.iter().any(|head| !head.records.is_empty());
    if !has_some && is_following {
        // Dropping a read that waits loses nothing.
        let waits = heads.iter_mut().map(|head| {
            Box::pin(async {
                head.records.extend(head.reader.next(READ_MAX, FOLLOW_WAIT).await?);
                Ok::<_, LogError>(())
            })
        });
        select_all(waits).await.0?;
    }
    Ok(has_some || is_following)
}

/// The stream whose next record was stored first.
fn oldest(heads: &mut [Head]) -> Option<&mut Head> {
    let waiting = heads.iter_mut().filter(|head| !head.records.is_empty());
    waiting.min_by_key(|head| head.records.front().map(|stored| stored.time))
}

fn print(args: &Tail, stream: &str, stored: &Stored) -> Result<(), Failure> {
    let is_mixed = is_subject(&args.stream);
    match args.format {
        Format::Json => {
            let mut json = record_json(stored);
            if is_mixed {
                json["stream"] = stream.into();
            }
            print_json(&json)
        }
        Format::Text if is_mixed => print_line(&format!("{stream}  {}", record_line(stored))),
        Format::Text => print_line(&record_line(stored)),
    }
}

fn start(text: &str) -> Result<Start, Failure> {
    if let Ok(sequence) = text.parse::<u64>() {
        return Ok(Start::Sequence(sequence));
    }
    match text {
        "first" => Ok(Start::First),
        "last" => Ok(Start::Last),
        "new" => Ok(Start::New),
        _ => text.parse::<Time>().map(Start::Time).map_err(|_| {
            LogError::Invalid(format!(
                "`--from {text}`: write first, last, a sequence such as 17, or a time such as 2026-07-04T14:38:08Z"
            ))
            .into()
        }),
    }
}
