//! What the log knows besides the records: streams, consumers, buckets, deletions under way.
//!
//! It changes by [`Change`]s only. They are appended to the state journal (journal.rs) and
//! applied here, by the same code when they happen and when they are read back.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::contract::{ConsumerConfig, Entry, LostRange, StreamConfig};

/// First and last sequence of a run, both included.
pub(super) type Run = (u64, u64);

/// One change. The JSON form is the journal's format: names stay as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Change {
    /// A stream was created, or its settings changed.
    Stream { config: StreamConfig, salt: u32 },
    /// A stream is to be removed, with its consumers.
    Removing { stream: String },
    /// Its files are gone.
    StreamRemoved { stream: String },
    /// At least these sequences of a stream are durable; those before `first` have expired.
    Mark { stream: String, first: u64, last: u64 },
    /// A record is to be deleted.
    Deleting { stream: String, sequence: u64, place: DeletePlace },
    /// A record is deleted.
    Deleted { stream: String, sequence: u64 },
    /// A consumer was created, or its settings changed. `next` counts only when it is new.
    Consumer { stream: String, config: ConsumerConfig, next: u64 },
    /// Records were delivered. `from` is the sequence at which the consumer stood, `next` where
    /// it stands now.
    Delivered { stream: String, consumer: String, from: u64, next: u64, runs: Vec<Run> },
    /// Deliveries were settled for good.
    Settled { stream: String, consumer: String, runs: Vec<Run> },
    /// A consumer never got these: they had expired or were damaged.
    Missed { stream: String, consumer: String, range: LostRange },
    /// A consumer's whole state, in a snapshot.
    ConsumerState { stream: String, state: ConsumerImage },
    /// A value was set.
    Put { bucket: String, key: String, value: Text, revision: u64 },
    /// A key was removed.
    Removed { bucket: String, key: String, revision: u64 },
    /// A bucket exists. `revision` is its newest.
    Bucket { bucket: String, revision: u64 },
    /// The snapshot at the beginning of a journal file is complete.
    SnapshotEnd {},
}

/// Where a record lies that is to be deleted: enough to finish the job without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeletePlace {
    /// The first sequence of the segment.
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) frame_bytes: usize,
    /// When the record was stored, in microseconds since 1970.
    pub(super) time_us: i64,
    /// The hash of its message id; 0 where it had none.
    pub(super) id_hash: u64,
}

/// Bytes in JSON: as text where they are UTF-8, else as numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Text {
    Utf8(String),
    Bytes(Vec<u8>),
}

impl From<&Bytes> for Text {
    fn from(bytes: &Bytes) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text.to_owned()),
            Err(_) => Self::Bytes(bytes.to_vec()),
        }
    }
}

impl From<Text> for Bytes {
    fn from(text: Text) -> Self {
        match text {
            Text::Utf8(text) => text.into(),
            Text::Bytes(bytes) => bytes.into(),
        }
    }
}

/// What is known about one stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StreamImage {
    pub(super) config: StreamConfig,
    pub(super) salt: u32,
    /// What is known to have been stored: expired before `first`, durable up to `last`.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Deletions that may not be finished.
    pub(super) deleting: BTreeMap<u64, DeletePlace>,
    /// It is being removed.
    pub(super) is_removing: bool,
}

/// What is known about one consumer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ConsumerImage {
    pub(super) config: ConsumerConfig,
    /// The next sequence that was never delivered.
    pub(super) next: u64,
    /// Delivered and not settled: sequence and deliveries.
    pub(super) pending: BTreeMap<u64, u32>,
    pub(super) missed: Vec<LostRange>,
}

impl ConsumerImage {
    /// Everything up to here is settled.
    pub(super) fn ack_floor(&self) -> u64 {
        self.pending.keys().next().map_or(self.next, |first| *first) - 1
    }
}

/// One bucket.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct BucketImage {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) revision: u64,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Image {
    pub(super) streams: BTreeMap<String, StreamImage>,
    /// By stream and name.
    pub(super) consumers: BTreeMap<(String, String), ConsumerImage>,
    pub(super) buckets: BTreeMap<String, BucketImage>,
}

impl Image {
    /// Applies a change. A change that refers to something unknown is passed over: after damage
    /// to the journal, what is left of it still counts.
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::SnapshotEnd {} => {}
            Change::Put { bucket, key, value, revision } => {
                let bucket = self.buckets.entry(bucket).or_default();
                bucket.revision = bucket.revision.max(revision);
                bucket.entries.insert(key, Entry { value: value.into(), revision });
            }
            Change::Removed { bucket, key, revision } => {
                let bucket = self.buckets.entry(bucket).or_default();
                bucket.revision = bucket.revision.max(revision);
                bucket.entries.remove(&key);
            }
            Change::Bucket { bucket, revision } => {
                let bucket = self.buckets.entry(bucket).or_default();
                bucket.revision = bucket.revision.max(revision);
            }
            Change::Stream { .. }
            | Change::Removing { .. }
            | Change::StreamRemoved { .. }
            | Change::Mark { .. }
            | Change::Deleting { .. }
            | Change::Deleted { .. } => self.apply_to_stream(change),
            Change::Consumer { .. }
            | Change::ConsumerState { .. }
            | Change::Delivered { .. }
            | Change::Settled { .. }
            | Change::Missed { .. } => self.apply_to_consumer(change),
        }
    }

    fn apply_to_stream(&mut self, change: Change) {
        match change {
            Change::Stream { config, salt } => {
                let fresh = StreamImage {
                    config: config.clone(),
                    salt,
                    first: 1,
                    last: 0,
                    deleting: BTreeMap::new(),
                    is_removing: false,
                };
                let name = config.name.clone();
                self.streams.entry(name).or_insert(fresh).config = config;
            }
            Change::Removing { stream } => {
                self.consumers.retain(|(of, _), _| *of != stream);
                self.with_stream(&stream, |image| image.is_removing = true);
            }
            Change::StreamRemoved { stream } => _ = self.streams.remove(&stream),
            Change::Mark { stream, first, last } => self.with_stream(&stream, |image| {
                image.first = image.first.max(first);
                image.last = image.last.max(last);
            }),
            Change::Deleting { stream, sequence, place } => self.with_stream(&stream, |image| {
                image.deleting.insert(sequence, place);
            }),
            Change::Deleted { stream, sequence } => self.with_stream(&stream, |image| {
                image.deleting.remove(&sequence);
            }),
            _ => {}
        }
    }

    fn apply_to_consumer(&mut self, change: Change) {
        match change {
            Change::Consumer { stream, config, next } => {
                let name = config.name.clone();
                let fresh = ConsumerImage {
                    config: config.clone(),
                    next,
                    pending: BTreeMap::new(),
                    missed: Vec::new(),
                };
                self.consumers.entry((stream, name)).or_insert(fresh).config = config;
            }
            Change::ConsumerState { stream, state } => {
                let key = (stream, state.config.name.clone());
                self.consumers.insert(key, state);
            }
            Change::Delivered { stream, consumer, from, next, runs } => {
                self.with_consumer(stream, consumer, |image| {
                    // Deliveries whose change was lost with a damaged piece of the journal: they
                    // count as not settled, so that they come again.
                    for sequence in image.next..from {
                        image.pending.entry(sequence).or_insert(1);
                    }
                    for sequence in sequences(&runs) {
                        *image.pending.entry(sequence).or_insert(0) += 1;
                    }
                    image.next = image.next.max(next);
                });
            }
            Change::Settled { stream, consumer, runs } => {
                self.with_consumer(stream, consumer, |image| {
                    for sequence in sequences(&runs) {
                        image.pending.remove(&sequence);
                    }
                });
            }
            Change::Missed { stream, consumer, range } => {
                self.with_consumer(stream, consumer, |image| image.missed.push(range));
            }
            _ => {}
        }
    }

    fn with_stream(&mut self, name: &str, change: impl FnOnce(&mut StreamImage)) {
        if let Some(image) = self.streams.get_mut(name) {
            change(image);
        }
    }

    fn with_consumer(
        &mut self,
        stream: String,
        name: String,
        change: impl FnOnce(&mut ConsumerImage),
    ) {
        if let Some(image) = self.consumers.get_mut(&(stream, name)) {
            change(image);
        }
    }

    /// The changes that make this image out of an empty one.
    pub(super) fn snapshot(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, image) in &self.streams {
            let (stream, first, last) = (name.clone(), image.first, image.last);
            changes.push(Change::Stream { config: image.config.clone(), salt: image.salt });
            changes.push(Change::Mark { stream, first, last });
            if image.is_removing {
                changes.push(Change::Removing { stream: name.clone() });
            }
            changes.extend(image.deleting.iter().map(|(&sequence, &place)| Change::Deleting {
                stream: name.clone(),
                sequence,
                place,
            }));
        }
        for ((stream, _), state) in &self.consumers {
            changes.push(Change::ConsumerState { stream: stream.clone(), state: state.clone() });
        }
        for (name, image) in &self.buckets {
            changes.push(Change::Bucket { bucket: name.clone(), revision: image.revision });
            changes.extend(image.entries.iter().map(|(key, entry)| Change::Put {
                bucket: name.clone(),
                key: key.clone(),
                value: Text::from(&entry.value),
                revision: entry.revision,
            }));
        }
        changes.push(Change::SnapshotEnd {});
        changes
    }
}

fn sequences(runs: &[Run]) -> impl Iterator<Item = u64> {
    runs.iter().flat_map(|(first, last)| *first..=*last)
}

/// Sorted sequences as runs.
pub(super) fn runs_of(sequences: impl IntoIterator<Item = u64>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for sequence in sequences {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == sequence => *last = sequence,
            _ => runs.push((sequence, sequence)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use wingbeat_record::SubjectFilter;

    use super::*;

    fn image() -> Image {
        let mut image = Image::default();
        let subjects = vec![SubjectFilter::new("a.>").unwrap()];
        let (stream, consumer) = ("a".to_owned(), "c".to_owned());
        for change in [
            Change::Stream { config: StreamConfig::new("a", subjects), salt: 5 },
            Change::Mark { stream: stream.clone(), first: 2, last: 90 },
            Change::Deleting {
                stream: stream.clone(),
                sequence: 8,
                place: DeletePlace {
                    segment: 1,
                    offset: 32,
                    frame_bytes: 99,
                    time_us: 5,
                    id_hash: 1,
                },
            },
            Change::Consumer { stream: stream.clone(), config: ConsumerConfig::new("c"), next: 1 },
            Change::Delivered {
                stream: stream.clone(),
                consumer: consumer.clone(),
                from: 1,
                next: 21,
                runs: vec![(1, 10), (15, 20)],
            },
            Change::Settled { stream, consumer, runs: vec![(1, 4), (7, 7)] },
            Change::Put {
                bucket: "b".to_owned(),
                key: "k".to_owned(),
                value: Text::from(&Bytes::from_static(&[0xFF, 0])),
                revision: 3,
            },
            Change::Bucket { bucket: "empty".to_owned(), revision: 9 },
        ] {
            image.apply(change);
        }
        image
    }

    #[test]
    fn a_snapshot_makes_the_same_image_again() {
        let original = image();
        let mut copy = Image::default();
        for change in original.snapshot() {
            let json = serde_json::to_string(&change).unwrap();
            copy.apply(serde_json::from_str(&json).unwrap());
        }
        assert_eq!(copy, original);
    }

    #[test]
    fn the_ack_floor_stands_before_the_first_unsettled_record() {
        let image = image();
        let consumer = &image.consumers[&("a".to_owned(), "c".to_owned())];
        assert_eq!(consumer.ack_floor(), 4);
        let pending: Vec<u64> = consumer.pending.keys().copied().collect();
        assert_eq!(pending, [5, 6, 8, 9, 10, 15, 16, 17, 18, 19, 20]);
    }

    #[test]
    fn deliveries_whose_change_was_lost_come_again() {
        let mut image = image();
        image.apply(Change::Delivered {
            stream: "a".to_owned(),
            consumer: "c".to_owned(),
            from: 24,
            next: 26,
            runs: vec![(24, 25)],
        });
        let consumer = &image.consumers[&("a".to_owned(), "c".to_owned())];
        assert!((21..=25).all(|sequence| consumer.pending.contains_key(&sequence)));
    }

    #[test]
    fn runs_join_what_follows_one_another() {
        assert_eq!(runs_of([1, 2, 3, 5, 9, 10]), [(1, 3), (5, 5), (9, 10)]);
        assert_eq!(runs_of([]), []);
    }
}
