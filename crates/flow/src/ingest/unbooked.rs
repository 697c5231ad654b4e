//! What an earlier run has published and not booked: it ended in between.
//!
//! As a rule the source brings it again. Then the log answers that it is there already, and it is
//! booked as what it is, once. Where the source can't bring it again, a gap is reported, and what
//! is left is booked then.
//!
//! The positions of a source that has hosts are new in each run. So its place is not saved while
//! some of it is still awaited: behind the new place, the next run would not know it any more.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use wingbeat_log::{Log, PubAck, Start, Stored, patiently, read_patiently};
use wingbeat_record::{DeadCause, Headers, Outcome, Reason, Time, name};

use super::{SavedPlace, cursor::is_of};
use crate::FlowError;

const READ_MAX: usize = 1_000;
/// How long a source has to bring it again. Then it is booked as it is, and is a duplicate if it
/// comes after all.
const AWAITED_MAX: Duration = Duration::from_secs(10);

/// The records that were published behind the saved place before this run began.
pub(super) struct Unbooked {
    source: String,
    /// What had been booked.
    position: u64,
    saved_at: Time,
    /// How far each stream reached.
    before: HashMap<Arc<str>, u64>,
    claimed: HashSet<(Arc<str>, u64)>,
    /// How many of a source with hosts nobody has claimed yet.
    awaited: usize,
    /// When the source brought something for the first time.
    since: Option<Instant>,
}

impl Unbooked {
    pub(super) async fn open(log: &dyn Log, saved: &SavedPlace) -> Result<Self, FlowError> {
        let before = patiently(|| log.streams()).await?.into_iter();
        let mut unbooked = Self {
            source: saved.source.clone(),
            position: saved.position,
            saved_at: saved.saved_at,
            before: before.map(|info| (Arc::from(info.config.name), info.last)).collect(),
            claimed: HashSet::new(),
            awaited: 0,
            since: None,
        };
        if !saved.places.is_empty() {
            unbooked.awaited = unbooked.each(log, |_, _| true).await?;
        }
        Ok(unbooked)
    }

    /// For how long the place must not be saved.
    pub(super) fn awaited_for(&self) -> Duration {
        match self.since {
            _ if self.awaited == 0 => Duration::ZERO,
            Some(since) => AWAITED_MAX.saturating_sub(since.elapsed()),
            None => AWAITED_MAX,
        }
    }

    /// The source has brought something.
    pub(super) fn begin(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    pub(super) fn has_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// Whether the record at `ack` is one of them, and nobody has claimed it yet.
    pub(super) fn claim(&mut self, headers: &Headers, ack: &PubAck) -> bool {
        let is_claimed = self.is_unbooked(headers, &ack.stream, ack.sequence)
            && self.claimed.insert((Arc::clone(&ack.stream), ack.sequence));
        if is_claimed {
            self.awaited = self.awaited.saturating_sub(1);
        }
        is_claimed
    }

    /// How all those ended that nobody has claimed. They are claimed by that.
    pub(super) async fn claim_rest(&mut self, log: &dyn Log) -> Result<Vec<Outcome>, FlowError> {
        let mut claimed = std::mem::take(&mut self.claimed);
        let mut outcomes = Vec::new();
        let claim = |stream: &Arc<str>, stored: &Stored| {
            let is_new = claimed.insert((Arc::clone(stream), stored.sequence));
            if is_new {
                outcomes.push(outcome_of(stored));
            }
            is_new
        };
        let read = self.each(log, claim).await;
        self.claimed = claimed;
        read?;
        self.awaited = 0;
        Ok(outcomes)
    }

    fn is_unbooked(&self, headers: &Headers, stream: &str, sequence: u64) -> bool {
        let position = headers.get(name::POSITION).and_then(|position| position.parse().ok());
        position.is_some_and(|position: u64| position > self.position)
            && self.before.get(stream).is_some_and(|last| sequence <= *last)
    }

    /// Shows `take` all of them; returns how often it said yes.
    async fn each(
        &self,
        log: &dyn Log,
        mut take: impl FnMut(&Arc<str>, &Stored) -> bool,
    ) -> Result<usize, FlowError> {
        let mut taken = 0;
        for (stream, last) in &self.before {
            let start = Start::Time(self.saved_at);
            let mut reader = patiently(|| log.read(stream, start, &[])).await?;
            loop {
                let records = read_patiently(&mut *reader, READ_MAX).await?;
                for stored in &records {
                    let headers = &stored.record.headers;
                    if is_of(&self.source, headers)
                        && self.is_unbooked(headers, stream, stored.sequence)
                    {
                        taken += usize::from(take(stream, stored));
                    }
                }
                if records.last().is_none_or(|stored| stored.sequence >= *last) {
                    break;
                }
            }
        }
        Ok(taken)
    }
}

fn outcome_of(stored: &Stored) -> Outcome {
    match stored.record.headers.get(name::ERROR_KIND) {
        None => Outcome::Emitted,
        Some(kind) => Outcome::Dead(DeadCause::new("ingest", Reason::parse(kind), "")),
    }
}
