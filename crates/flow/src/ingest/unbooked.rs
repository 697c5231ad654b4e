//! What an earlier run has published and not booked: it ended in between.
//!
//! As a rule the source brings it again. Then the log answers that it is there already, and it is
//! booked as what it is, once. Where the source can't bring it again, a gap is reported, and what
//! is left is booked then.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use wingbeat_log::{Log, PubAck, Start, Stored};
use wingbeat_record::{DeadCause, Headers, Outcome, Reason, Time, name};

use super::{SavedPlace, cursor::is_of};
use crate::FlowError;

const READ_MAX: usize = 1_000;

/// The records that were published behind the saved place before this run began.
pub(super) struct Unbooked {
    source: String,
    /// What had been booked.
    position: u64,
    saved_at: Time,
    /// How far each stream reached.
    before: HashMap<Arc<str>, u64>,
    claimed: HashSet<(Arc<str>, u64)>,
}

impl Unbooked {
    pub(super) async fn open(log: &dyn Log, saved: &SavedPlace) -> Result<Self, FlowError> {
        let before = log.streams().await?.into_iter();
        Ok(Self {
            source: saved.source.clone(),
            position: saved.position,
            saved_at: saved.saved_at,
            before: before.map(|info| (Arc::from(info.config.name), info.last)).collect(),
            claimed: HashSet::new(),
        })
    }

    /// Whether the record at `ack` is one of them, and nobody has claimed it yet.
    pub(super) fn claim(&mut self, headers: &Headers, ack: &PubAck) -> bool {
        let position = headers.get(name::POSITION).and_then(|position| position.parse().ok());
        position.is_some_and(|position: u64| position > self.position)
            && self.before.get(&*ack.stream).is_some_and(|last| ack.sequence <= *last)
            && self.claimed.insert((ack.stream.clone(), ack.sequence))
    }

    /// How all those ended that nobody has claimed. They are claimed by that.
    pub(super) async fn claim_rest(&mut self, log: &dyn Log) -> Result<Vec<Outcome>, FlowError> {
        let mut outcomes = Vec::new();
        let streams: Vec<(Arc<str>, u64)> =
            self.before.iter().map(|(stream, last)| (Arc::clone(stream), *last)).collect();
        for (stream, last) in streams {
            let mut reader = log.read(&stream, Start::Time(self.saved_at), &[]).await?;
            loop {
                let records = reader.next(READ_MAX, Duration::ZERO).await?;
                let is_done = records.last().is_none_or(|stored| stored.sequence >= last);
                for stored in records {
                    if is_of(&self.source, &stored.record.headers) {
                        let ack = PubAck {
                            stream: Arc::clone(&stream),
                            sequence: stored.sequence,
                            is_duplicate: true,
                        };
                        if self.claim(&stored.record.headers, &ack) {
                            outcomes.push(outcome_of(&stored));
                        }
                    }
                }
                if is_done {
                    break;
                }
            }
        }
        Ok(outcomes)
    }
}

fn outcome_of(stored: &Stored) -> Outcome {
    match stored.record.headers.get(name::ERROR_KIND) {
        None => Outcome::Emitted,
        Some(kind) => Outcome::Dead(DeadCause::new("ingest", Reason::parse(kind), "")),
    }
}
