//! Streams: their settings as JetStream writes them, and what they hold.

use std::time::Duration;

use serde_json::{Map, Value, json};
use wingbeat_record::SubjectFilter;

use super::{
    api::{Config, StreamAnswer},
    message,
};
use crate::{Discard, LostRange, StreamConfig, StreamInfo};

/// The settings of a stream that the log cares for, as JetStream writes them. Everything else of
/// an existing stream stays as it is.
pub(super) fn wanted(config: &StreamConfig, replicas: Option<usize>) -> Config {
    let limit = |limit: Option<u64>| limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(-1));
    let age = config.age_max.map_or(0, nanos);
    let window = nanos(config.duplicate_window);
    // JetStream refuses a window that is longer than records are kept.
    let window = if age > 0 { window.min(age) } else { window };
    let subjects: Vec<&str> = config.subjects.iter().map(SubjectFilter::as_str).collect();
    let mut wanted = object(json!({
        "name": config.name,
        "subjects": subjects,
        "max_msgs": limit(config.records_max),
        "max_bytes": limit(config.bytes_max),
        "max_age": age,
        "duplicate_window": window,
        "discard": match config.discard { Discard::Old => "old", Discard::New => "new" },
    }));
    if let Some(replicas) = replicas {
        wanted.insert("num_replicas".to_owned(), json!(replicas));
    }
    wanted
}

/// What a new stream has beside that.
pub(super) fn created(mut wanted: Config) -> Config {
    wanted.insert("retention".to_owned(), json!("limits"));
    wanted.insert("storage".to_owned(), json!("file"));
    wanted.entry("num_replicas").or_insert(json!(1));
    wanted
}

/// The fields in which a configuration is not what is wanted, in words. JetStream leaves out what
/// has its default.
pub(super) fn differences(wanted: &Config, have: &Config) -> Vec<String> {
    let is_same = |wanted: &Value, have: Option<&Value>| match (wanted, have) {
        (Value::Array(wanted), Some(Value::Array(have))) => {
            wanted.len() == have.len() && wanted.iter().all(|value| have.contains(value))
        }
        (Value::Number(wanted), None) => wanted.as_i64().is_some_and(|number| number <= 0),
        (Value::Array(wanted), None) => wanted.is_empty(),
        (Value::String(wanted), None) => wanted.is_empty(),
        // -1 and 0 both say: no limit.
        (Value::Number(wanted), Some(Value::Number(have))) => {
            let limit = |number: &serde_json::Number| number.as_i64().map(|n| n.max(0));
            limit(wanted) == limit(have)
        }
        (wanted, have) => have == Some(wanted),
    };
    let differing = wanted.iter().filter(|(name, value)| !is_same(value, have.get(*name)));
    differing
        .map(|(name, value)| {
            let have = have.get(name).map_or_else(|| "not set".to_owned(), Value::to_string);
            format!("{name} is {have}, wanted {value}")
        })
        .collect()
}

/// `have` with the wanted settings in it.
pub(super) fn merged(wanted: Config, mut have: Config) -> Config {
    have.extend(wanted);
    have
}

pub(super) fn info(answer: &StreamAnswer) -> StreamInfo {
    let StreamAnswer { config, state, .. } = answer;
    let lost = state.lost.as_ref().and_then(|lost| lost.msgs.as_deref()).unwrap_or_default();
    let is_empty = state.messages == 0;
    let first = if is_empty { state.last_seq + 1 } else { state.first_seq };
    let span = state.last_seq + 1 - first;
    StreamInfo {
        config: stream_config(config),
        first,
        last: state.last_seq,
        records: state.messages,
        bytes: state.bytes,
        last_time: (state.last_seq > 0).then(|| message::time(&state.last_ts)),
        deleted: span.saturating_sub(state.messages + lost.len() as u64),
        lost: ranges(lost),
    }
}

fn stream_config(config: &Config) -> StreamConfig {
    let number = |name: &str| config.get(name).and_then(Value::as_i64).unwrap_or(0);
    let limit = |name: &str| u64::try_from(number(name)).ok().filter(|limit| *limit > 0);
    let span = |name: &str| limit(name).map(Duration::from_nanos);
    StreamConfig {
        name: text(config, "name").to_owned(),
        subjects: texts(config, "subjects").filter_map(|s| SubjectFilter::new(s).ok()).collect(),
        records_max: limit("max_msgs"),
        bytes_max: limit("max_bytes"),
        age_max: span("max_age"),
        duplicate_window: span("duplicate_window").unwrap_or_default(),
        discard: if text(config, "discard") == "new" { Discard::New } else { Discard::Old },
    }
}

/// How acknowledged records of a stream can be lost, in words; `None` where that takes the loss
/// of several machines at once.
pub(super) fn durability(answer: &StreamAnswer) -> Option<String> {
    let name = text(&answer.config, "name");
    let replicas = answer.config.get("num_replicas").and_then(Value::as_u64).unwrap_or(1);
    if text(&answer.config, "storage") == "memory" {
        return Some(format!(
            "stream `{name}` is kept in memory: a restart of its server loses it"
        ));
    }
    (replicas < 2).then(|| {
        format!(
            "stream `{name}` has one copy: if its machine loses power, what was acknowledged in the last sync interval (2 minutes by default) can be lost; set `sync_interval: always` in the server's `jetstream` block, or 3 replicas"
        )
    })
}

pub(super) fn text<'a>(config: &'a Config, name: &str) -> &'a str {
    config.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn texts<'a>(config: &'a Config, name: &str) -> impl Iterator<Item = &'a str> {
    config.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// JetStream's lengths of time.
pub(super) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn object(value: Value) -> Config {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn ranges(sequences: &[u64]) -> Vec<LostRange> {
    let mut sequences = sequences.to_vec();
    sequences.sort_unstable();
    let mut ranges: Vec<LostRange> = Vec::new();
    for sequence in sequences {
        match ranges.last_mut() {
            Some(range) if range.last + 1 == sequence => range.last = sequence,
            _ => ranges.push(LostRange {
                first: sequence,
                last: sequence,
                cause: "the server says that its storage is damaged".to_owned(),
            }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Vec<SubjectFilter> {
        texts.iter().map(|text| SubjectFilter::new(text).unwrap()).collect()
    }

    #[test]
    fn a_stream_of_the_replaced_services_differs_in_its_limits_only() {
        let have = object(json!({
            "name": "bluesky-posts", "subjects": ["bluesky.posts.>"], "retention": "limits",
            "max_consumers": -1, "max_msgs": 5_000_000, "max_bytes": -1, "max_age": 0,
            "max_msgs_per_subject": -1, "max_msg_size": -1, "discard": "old", "storage": "file",
            "num_replicas": 1, "duplicate_window": 120_000_000_000_i64, "compression": "s2",
        }));
        let plain = StreamConfig::new("bluesky-posts", filters(&["bluesky.posts.>"]));
        let ours = wanted(&plain, None);
        assert_eq!(differences(&ours, &have), ["max_msgs is 5000000, wanted -1"]);
        let changed = merged(ours.clone(), have);
        assert_eq!(differences(&ours, &changed), [""; 0]);
        assert_eq!(text(&changed, "compression"), "s2");
        assert_eq!(stream_config(&changed), plain);
    }

    #[test]
    fn a_window_is_not_longer_than_records_are_kept() {
        let age = Some(Duration::from_secs(60));
        let short = StreamConfig { age_max: age, ..StreamConfig::new("s", filters(&["s"])) };
        assert_eq!(wanted(&short, Some(3))["duplicate_window"], json!(60_000_000_000_i64));
        assert_eq!(wanted(&short, Some(3))["num_replicas"], json!(3));
    }

    #[test]
    fn lost_sequences_become_ranges() {
        let ranges: Vec<_> = ranges(&[9, 2, 3, 4]).iter().map(|r| (r.first, r.last)).collect();
        assert_eq!(ranges, [(2, 4), (9, 9)]);
    }
}
