//! `wingbeat streams purge` and `rm`. What goes, and who had not read it, is said before.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use serde_json::json;
use wingbeat_log::{Keep, Log, Purge, Start, StreamInfo};
use wingbeat_record::SubjectFilter;

use super::READ_MAX;
use crate::{cli, commands::print_json, failure::Failure, table::number};

/// Removes records.
pub(super) async fn purge(log: &dyn Log, args: &cli::Purge) -> Result<(), Failure> {
    let filter = args.subject.as_ref().map(SubjectFilter::new).transpose();
    let filter = filter.map_err(|error| Failure::Config(format!("--subject: {error}")))?;
    let keep = match (args.keep, args.before) {
        (Some(count), _) => Keep::Newest(count),
        (None, Some(sequence)) => Keep::From(sequence),
        (None, None) => Keep::Nothing,
    };
    let purge = Purge { filter, keep };
    let info = log.stream(&args.stream).await?;
    let what = describe(log, &info, &purge).await?;
    // By subject, what stays may lie anywhere.
    let end = match keep {
        Keep::Newest(count) if purge.filter.is_none() => (info.last + 1).saturating_sub(count),
        Keep::From(sequence) => sequence.min(info.last + 1),
        Keep::Nothing | Keep::Newest(_) => info.last + 1,
    };
    eprintln!("This removes {what} from stream `{}`.", args.stream);
    tell_readers(log, &info, end).await?;
    confirm(args.yes)?;
    let purged = log.purge(&args.stream, &purge).await?;
    print_json(&json!({ "stream": args.stream, "purged": purged }))
}

/// Removes a stream.
pub(super) async fn stream(log: &dyn Log, args: &cli::Rm) -> Result<(), Failure> {
    let info = log.stream(&args.stream).await?;
    let count = number(info.records);
    eprintln!("This removes stream `{}`, with {count} records and all its consumers.", args.stream);
    tell_readers(log, &info, info.last + 1).await?;
    confirm(args.yes)?;
    log.remove_stream(&args.stream).await?;
    print_json(&json!({ "stream": args.stream, "removed": info.records }))
}

/// How many records go, in words.
async fn describe(log: &dyn Log, info: &StreamInfo, purge: &Purge) -> Result<String, Failure> {
    let span = |end: u64| end.min(info.last + 1).saturating_sub(info.first);
    let count = match (&purge.filter, purge.keep) {
        (None, Keep::Nothing) => info.records,
        (None, Keep::Newest(count)) => info.records.saturating_sub(count),
        (None, Keep::From(sequence)) if info.deleted == 0 => span(sequence),
        (None, Keep::From(sequence)) => {
            return Ok(format!("up to {} records", number(span(sequence))));
        }
        (Some(filter), keep) => {
            let count = count_matching(log, info, filter, keep).await?;
            return Ok(format!("{} records under `{filter}`", number(count)));
        }
    };
    Ok(format!("{} records", number(count)))
}

/// Reads through the stream: nobody counts by subject.
async fn count_matching(
    log: &dyn Log,
    info: &StreamInfo,
    filter: &SubjectFilter,
    keep: Keep,
) -> Result<u64, Failure> {
    let end = if let Keep::From(sequence) = keep { sequence } else { info.last + 1 };
    let mut reader =
        log.read(&info.config.name, Start::First, std::slice::from_ref(filter)).await?;
    let mut count = 0;
    loop {
        let records = reader.next(READ_MAX, Duration::ZERO).await?;
        let wanted = records.iter().filter(|stored| stored.sequence < end).count();
        count += wanted as u64;
        if records.is_empty() || wanted < records.len() {
            break;
        }
    }
    Ok(if let Keep::Newest(kept) = keep { count.saturating_sub(kept) } else { count })
}

/// Names the consumers that have not settled everything before a sequence.
async fn tell_readers(log: &dyn Log, info: &StreamInfo, end: u64) -> Result<(), Failure> {
    for consumer in log.consumers(&info.config.name).await? {
        let from = (consumer.ack_floor + 1).max(info.first);
        if from < end {
            eprintln!(
                "Consumer `{}` has settled everything up to {} only: it has not read up to {} of them.",
                consumer.config.name,
                number(consumer.ack_floor),
                number(end - from)
            );
        }
    }
    Ok(())
}

/// Asks whoever sits at the terminal, unless it was confirmed already.
fn confirm(is_confirmed: bool) -> Result<(), Failure> {
    if is_confirmed {
        return Ok(());
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Failure::Failed("nothing was removed; confirm it with --yes".to_owned()));
    }
    eprint!("Go on? [y/N] ");
    let mut answer = String::new();
    std::io::stderr()
        .flush()
        .and_then(|()| input.read_line(&mut answer))
        .map_err(|error| Failure::io("can't read the answer", &error))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::Failed("nothing was removed".to_owned()))
}
