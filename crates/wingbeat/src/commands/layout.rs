//! What is on the log already, compared with what a pack wants: what stands in the way, and what is
//! set otherwise. Nothing is changed.

use std::collections::BTreeMap;

use wingbeat_flow::{FlowError, FlowSpec, Pack};
use wingbeat_log::{ConsumerInfo, Log, LogError, StreamConfig, StreamInfo};
use wingbeat_ops::config::Span;
use wingbeat_record::SubjectFilter;

use crate::table::{bytes, number};

/// What keeps the pack from working on this log, in words: streams that would capture the same
/// subjects, and flows that would read what they write. `changes_existing`: the log sets streams
/// that are there as the pack wants them.
pub(crate) fn obstacles(
    existing: &[StreamConfig],
    pack: &Pack,
    changes_existing: bool,
) -> Result<Vec<String>, FlowError> {
    let wanted = pack.stream_configs();
    let mut found = Vec::new();
    // How the streams will be.
    let mut streams: BTreeMap<&str, &[SubjectFilter]> = BTreeMap::new();
    for stream in existing.iter().chain(&wanted) {
        let is_there = streams.contains_key(stream.name.as_str());
        if !is_there || changes_existing {
            streams.insert(&stream.name, &stream.subjects);
        }
    }
    for stream in &wanted {
        let subjects = streams.get(stream.name.as_str()).copied().unwrap_or_default();
        for other in existing.iter().filter(|other| is_foreign(other, pack)) {
            found.extend(overlap(&stream.name, subjects, other).map(|error| error.to_string()));
        }
    }
    for (name, flow) in &pack.flows {
        for (key, subject) in [("to", &flow.to), ("dead", &flow.dead), ("ledger", &flow.ledger)] {
            let key = format!("flows.{name}.{key}");
            let expected = pack.stream_of(&key, subject.filter())?;
            found.extend(check_subject(&key, subject.filter(), &expected, &streams, Some(flow)));
        }
    }
    let ingest = &pack.ingest;
    for (key, subject) in [("to", &ingest.to), ("events", &ingest.events), ("dead", &ingest.dead)] {
        let key = format!("ingest.{key}");
        let expected = pack.stream_of(&key, subject.filter())?;
        found.extend(check_subject(&key, subject.filter(), &expected, &streams, None));
    }
    Ok(found)
}

/// Whether the pack has no stream of that name.
fn is_foreign(stream: &StreamConfig, pack: &Pack) -> bool {
    !pack.streams.contains_key(&stream.name)
}

fn overlap(name: &str, subjects: &[SubjectFilter], other: &StreamConfig) -> Option<LogError> {
    let pairs = subjects.iter().flat_map(|s| other.subjects.iter().map(move |o| (s, o)));
    pairs.into_iter().find(|(s, o)| s.overlaps(o)).map(|(subject, theirs)| LogError::Overlap {
        stream: name.to_owned(),
        subject: subject.to_string(),
        other: other.name.clone(),
        other_subject: theirs.to_string(),
    })
}

/// Whether what is published under `subject` comes where it is expected, and not back to the flow.
fn check_subject(
    key: &str,
    subject: &SubjectFilter,
    expected: &str,
    streams: &BTreeMap<&str, &[SubjectFilter]>,
    flow: Option<&FlowSpec>,
) -> Option<String> {
    let list = |subjects: &[SubjectFilter]| {
        subjects.iter().map(SubjectFilter::as_str).collect::<Vec<_>>().join(" ")
    };
    let input = flow.and_then(|flow| Some((flow, *streams.get(flow.from.as_str())?)));
    if let Some((flow, captured)) = input
        && captured.iter().any(|captured| captured.overlaps(subject))
    {
        let from = &flow.from;
        let is_read = flow.subjects.is_empty() || flow.subjects.iter().any(|s| s.overlaps(subject));
        let effect = if is_read {
            "the flow would read what it writes, for ever"
        } else {
            "what it writes would lie among its input"
        };
        return Some(format!(
            "`{key}` ({subject}) is captured by the flow's own input stream `{from}` ({}): {effect}; narrow the stream (wingbeat streams create {from} --subject ..., existing=change), or give `{key}` a subject outside",
            list(captured)
        ));
    }
    let captured = streams.get(expected).copied().unwrap_or_default();
    if captured.iter().any(|captured| captured.covers(subject)) {
        return None;
    }
    Some(format!(
        "`{key}` ({subject}) is not captured by stream `{expected}`, which is there and captures {}; give it that subject (existing=change in the log's URL), or change `{key}`",
        list(captured)
    ))
}

/// In which way a stream or a consumer is not as the pack wants it, in words.
pub(crate) enum Difference {
    /// It is not there yet.
    Missing(String),
    /// It is set otherwise.
    Set(String),
    /// A push consumer stands in its place.
    Push(String),
}

/// In which ways streams and consumers are not as the pack wants them.
pub(crate) async fn differences(log: &dyn Log, pack: &Pack) -> Result<Vec<Difference>, LogError> {
    let existing = log.streams().await?;
    let mut found = Vec::new();
    for wanted in pack.stream_configs() {
        match existing.iter().find(|info| info.config.name == wanted.name) {
            None => {
                found.push(Difference::Missing(format!(
                    "stream `{}` is not there yet",
                    wanted.name
                )));
            }
            Some(info) => found.extend(stream_differences(info, &wanted)),
        }
    }
    for flow in pack.flows.values() {
        if !existing.iter().any(|info| info.config.name == flow.from) {
            continue;
        }
        let consumers = log.consumers(&flow.from).await?;
        match consumers.iter().find(|info| info.config.name == flow.consumer) {
            None => found.push(Difference::Missing(format!(
                "consumer `{}` of stream `{}` is not there yet",
                flow.consumer, flow.from
            ))),
            Some(info) => found.extend(consumer_differences(info, flow)),
        }
    }
    Ok(found)
}

fn stream_differences(info: &StreamInfo, wanted: &StreamConfig) -> Option<Difference> {
    let have = &info.config;
    let limit = |limit: Option<String>| limit.unwrap_or_else(|| "no limit".to_owned());
    let span = |span: std::time::Duration| Span(span).to_string();
    let subjects = |config: &StreamConfig| {
        let mut subjects: Vec<&str> = config.subjects.iter().map(SubjectFilter::as_str).collect();
        subjects.sort_unstable();
        subjects.join(" ")
    };
    let settings = |config: &StreamConfig| {
        // A window is never longer than records are kept.
        let window =
            config.age_max.map_or(config.duplicate_window, |age| age.min(config.duplicate_window));
        [
            ("subjects", subjects(config)),
            ("records_max", limit(config.records_max.map(number))),
            ("bytes_max", limit(config.bytes_max.map(bytes))),
            ("age_max", limit(config.age_max.map(span))),
            ("duplicate_window", span(window)),
            ("discard", format!("{:?}", config.discard).to_lowercase()),
        ]
    };
    listed(&format!("stream `{}`", have.name), &settings(have), &settings(wanted))
}

fn consumer_differences(info: &ConsumerInfo, flow: &FlowSpec) -> Option<Difference> {
    let label = format!("consumer `{}` of stream `{}`", flow.consumer, flow.from);
    if info.is_push {
        return Some(Difference::Push(format!(
            "{label} is a push consumer of another program, which has settled everything up to {}; the flow takes its place over, once nobody is bound to it",
            number(info.ack_floor)
        )));
    }
    let settings = |config: &wingbeat_log::ConsumerConfig| {
        let filters: Vec<&str> = config.filters.iter().map(SubjectFilter::as_str).collect();
        let deliver_max = config.deliver_max.map(|max| number(max.into()));
        [
            ("subjects", filters.join(" ")),
            ("ack_wait", Span(config.ack_wait).to_string()),
            ("deliver_max", deliver_max.unwrap_or_else(|| "no limit".to_owned())),
            ("ack_pending_max", number(config.ack_pending_max.into())),
        ]
    };
    listed(&label, &settings(&info.config), &settings(&flow.consumer_config()))
}

fn listed(label: &str, have: &[(&str, String)], wanted: &[(&str, String)]) -> Option<Difference> {
    let differing = have.iter().zip(wanted).filter(|(have, wanted)| have.1 != wanted.1);
    let texts: Vec<String> = differing
        .map(|((name, have), (_, wanted))| format!("{name} is {have}, wanted {wanted}"))
        .collect();
    (!texts.is_empty()).then(|| Difference::Set(format!("{label}: {}", texts.join("; "))))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{cli::Cli, config};

    fn pack() -> Pack {
        let cli = Cli::parse_from(["wingbeat", "check"]);
        config::load(&cli.global, None, Vec::new()).unwrap().config.pack()
    }

    fn stream(name: &str, subject: &str) -> StreamConfig {
        StreamConfig::new(name, vec![SubjectFilter::new(subject).unwrap()])
    }

    #[track_caller]
    fn expect(existing: &[StreamConfig], changes_existing: bool, parts: &[&str]) {
        let found = obstacles(existing, &pack(), changes_existing).unwrap();
        assert_eq!(found.is_empty(), parts.is_empty(), "{found:?}");
        for part in parts {
            assert!(found.iter().any(|text| text.contains(part)), "{part}: {found:?}");
        }
    }

    #[test]
    fn nothing_stands_in_the_way_of_an_empty_log_or_of_one_that_is_as_it_should_be() {
        expect(&[], false, &[]);
        expect(&pack().stream_configs(), false, &[]);
        expect(&[stream("orders", "shop.>")], false, &[]);
    }

    #[test]
    fn streams_of_others_that_capture_the_same_are_named() {
        // The development streams of the replaced services lie inside those of production.
        let dev = [stream("bluesky-posts-dev", "bluesky.posts.dev.>")];
        expect(
            &dev,
            false,
            &[
                "`bluesky-posts` can't capture `bluesky.posts.>`",
                "`bluesky-posts-dev` captures `bluesky.posts.dev.>`",
                "ENV_SUFFIX",
            ],
        );
        // Where ours is there already and does not reach that far, nothing is in the way.
        let narrow = [dev[0].clone(), stream("bluesky-posts", "bluesky.posts.posts")];
        expect(&narrow, false, &[]);
        expect(&narrow, true, &["bluesky-posts-dev"]);
    }

    #[test]
    fn a_flow_that_would_read_what_it_writes_is_told() {
        let wide = [stream("bluesky-posts", "bluesky.>")];
        expect(
            &wide,
            false,
            &[
                "`flows.enrich.to` (bluesky.enriched.*.*)",
                "`bluesky-posts` (bluesky.>)",
                "what it writes",
            ],
        );
        // It is changed before anything is published.
        expect(&wide, true, &[]);
    }

    #[test]
    fn an_output_that_no_stream_takes_is_told() {
        let other = [stream("bluesky-posts-enriched", "bluesky.sentiment.>")];
        expect(
            &other,
            false,
            &["not captured by stream `bluesky-posts-enriched`", "bluesky.sentiment.>"],
        );
    }
}
