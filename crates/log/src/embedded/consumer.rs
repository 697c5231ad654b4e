//! Durable consumers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    image::{Change, ConsumerImage, runs_of},
    journal::Journal,
    stream::{Place, READ_BYTES_MAX, Stream},
};
use crate::{
    LogError,
    contract::{
        AckToken, Consumer, ConsumerConfig, ConsumerInfo, Delivery, LostRange, Settle, Stored,
    },
};

/// One delivery that is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pending {
    deliveries: u32,
    /// When it is delivered again.
    due: Instant,
}

/// Which records are where. No I/O and no clock: time comes in as an argument.
#[derive(Debug)]
struct Machine {
    config: ConsumerConfig,
    /// The next sequence that was never delivered.
    next: u64,
    pending: BTreeMap<u64, Pending>,
    /// The same by due time, to find what is due.
    due: BTreeSet<(Instant, u64)>,
    missed: Vec<LostRange>,
}

impl Machine {
    /// Goes on from what the journal knew. Everything unsettled is due at once: whoever worked on
    /// it is gone with the process.
    fn new(image: ConsumerImage, now: Instant) -> Self {
        let mut machine = Self {
            config: image.config,
            next: image.next,
            pending: BTreeMap::new(),
            due: BTreeSet::new(),
            missed: image.missed,
        };
        for (sequence, deliveries) in image.pending {
            machine.put(sequence, Pending { deliveries, due: now });
        }
        machine
    }

    fn put(&mut self, sequence: u64, pending: Pending) {
        if let Some(old) = self.pending.insert(sequence, pending) {
            self.due.remove(&(old.due, sequence));
        }
        self.due.insert((pending.due, sequence));
    }

    fn remove(&mut self, sequence: u64) -> bool {
        let removed = self.pending.remove(&sequence);
        if let Some(old) = removed {
            self.due.remove(&(old.due, sequence));
        }
        removed.is_some()
    }

    /// Takes up to `max` deliveries that are due again. Those that were delivered often enough are
    /// given up: they are the second list.
    fn take_due(&mut self, now: Instant, max: usize) -> (Vec<u64>, Vec<u64>) {
        let (mut again, mut given_up) = (Vec::new(), Vec::new());
        let limit = self.config.deliver_max.unwrap_or(u32::MAX);
        while again.len() < max {
            let Some(&(due, sequence)) = self.due.first().filter(|(due, _)| *due <= now) else {
                break;
            };
            let is_spent = self.pending.get(&sequence).is_none_or(|p| p.deliveries >= limit);
            if is_spent {
                self.remove(sequence);
                given_up.push(sequence);
            } else {
                self.due.remove(&(due, sequence));
                again.push(sequence);
            }
        }
        // In order, so that a redelivered author's records keep theirs.
        again.sort_unstable();
        (again, given_up)
    }

    /// How many new records may be delivered.
    fn room(&self) -> usize {
        (self.config.ack_pending_max as usize).saturating_sub(self.pending.len())
    }

    /// Notes a delivery and returns how often the record has been delivered now.
    fn deliver(&mut self, sequence: u64, now: Instant) -> u32 {
        let before = self.pending.get(&sequence).map_or(0, |pending| pending.deliveries);
        let deliveries = before.saturating_add(1);
        self.put(sequence, Pending { deliveries, due: now + self.config.ack_wait });
        deliveries
    }

    /// Settles a delivery; true where it is settled for good. What is not pending any more is
    /// passed over: somebody else has settled it.
    fn settle(&mut self, sequence: u64, settle: Settle, now: Instant) -> bool {
        let Some(&pending) = self.pending.get(&sequence) else { return false };
        match settle {
            Settle::Ack | Settle::Term => return self.remove(sequence),
            Settle::Nak(delay) => self.put(sequence, Pending { due: now + delay, ..pending }),
            Settle::Progress => {
                let due = now + self.config.ack_wait;
                self.put(sequence, Pending { due, ..pending });
            }
        }
        false
    }

    fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    fn ack_floor(&self) -> u64 {
        self.pending.keys().next().map_or(self.next, |first| *first) - 1
    }
}

/// A durable consumer of an embedded stream. All handles on one consumer share this.
pub(super) struct EmbeddedConsumer {
    stream: Arc<Stream>,
    journal: Journal,
    machine: Mutex<Machine>,
    /// Where reading goes on. Held over a fetch's reading, so that two fetches don't get the same
    /// records.
    place: tokio::sync::Mutex<Place>,
    /// Wakes a fetch when something was nakked, settled or reconfigured.
    changed: tokio::sync::Notify,
}

impl EmbeddedConsumer {
    pub(super) fn new(stream: Arc<Stream>, journal: Journal, image: ConsumerImage) -> Self {
        let place = tokio::sync::Mutex::new(Place::at(image.next));
        let machine = Mutex::new(Machine::new(image, Instant::now()));
        Self { stream, journal, machine, place, changed: tokio::sync::Notify::new() }
    }

    pub(super) fn configure(&self, config: ConsumerConfig) {
        self.machine().config = config;
        self.changed.notify_waiters();
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> ConsumerInfo {
        let (first, last) = {
            let state = self.stream.state();
            (state.first, state.last)
        };
        let machine = self.machine();
        ConsumerInfo {
            config: machine.config.clone(),
            stream: self.stream.name.to_string(),
            ack_floor: machine.ack_floor(),
            delivered: machine.next - 1,
            unsettled: machine.pending.keys().copied().collect(),
            unsettled_count: machine.pending.len() as u64,
            pending: (last + 1).saturating_sub(machine.next.max(first)),
            missed: machine.missed.clone(),
            is_push: false,
        }
    }

    /// What can be delivered right now. Dropping the future delivers nothing.
    async fn take(&self, max: usize) -> Result<Vec<Delivery>, LogError> {
        let mut place = self.place.lock().await;
        let (again, given_up) = self.machine().take_due(Instant::now(), max);
        let mut again = GiveBack { consumer: self, sequences: again };
        if !given_up.is_empty() {
            self.note_settled(given_up)?;
        }
        let room = self.machine().room().min(max - again.sequences.len());
        let from = place.next;
        let mut moving = std::mem::replace(&mut *place, Place::at(from));
        let stream = Arc::clone(&self.stream);
        let filters = self.machine().config.filters.clone();
        let wanted = again.sequences.clone();
        let read = tokio::task::spawn_blocking(move || {
            let old = read_again(&stream, &wanted)?;
            let fresh = if room > 0 {
                stream.read(&mut moving, room, READ_BYTES_MAX, &filters)?
            } else {
                Vec::new()
            };
            Ok::<_, LogError>((old, fresh, moving))
        });
        let (old, fresh, moved) = read.await.map_err(|_| LogError::Bug)??;
        *place = moved;
        let missed = std::mem::take(&mut place.missed);
        let wanted = std::mem::take(&mut again.sequences);
        let deliveries = self.deliver(&wanted, old, fresh, from, place.next)?;
        self.note_missed(missed)?;
        Ok(deliveries)
    }

    /// Notes what expired or was damaged before this consumer came to it.
    fn note_missed(&self, missed: Vec<LostRange>) -> Result<(), LogError> {
        for range in missed {
            let mut machine = self.machine();
            let (stream, consumer) = (self.stream.name.to_string(), machine.config.name.clone());
            tracing::error!(%stream, %consumer, lost = %range, "a consumer missed records");
            machine.missed.push(range.clone());
            self.journal.note(Change::Missed { stream, consumer, range })?;
        }
        Ok(())
    }

    fn deliver(
        &self,
        again: &[u64],
        old: Vec<Stored>,
        fresh: Vec<Stored>,
        from: u64,
        next: u64,
    ) -> Result<Vec<Delivery>, LogError> {
        let now = Instant::now();
        let mut machine = self.machine();
        // What was to come again but has been deleted or has expired is settled.
        let is_there = |s: &u64| old.binary_search_by_key(s, |stored| stored.sequence).is_ok();
        let gone: Vec<u64> = again.iter().copied().filter(|sequence| !is_there(sequence)).collect();
        for &sequence in &gone {
            machine.remove(sequence);
        }
        machine.next = next;
        // What was settled while it was being read does not come again.
        let mut records = old;
        records.retain(|stored| machine.pending.contains_key(&stored.sequence));
        records.extend(fresh);
        let runs = runs_of(records.iter().map(|stored| stored.sequence));
        let deliver = |stored: Stored| Delivery {
            token: AckToken(stored.sequence),
            deliveries: machine.deliver(stored.sequence, now),
            stored,
        };
        let deliveries: Vec<Delivery> = records.into_iter().map(deliver).collect();
        if !runs.is_empty() || next > from {
            let (stream, consumer) = (self.stream.name.to_string(), machine.config.name.clone());
            self.journal.note(Change::Delivered { stream, consumer, from, next, runs })?;
        }
        drop(machine);
        if !gone.is_empty() {
            self.note_settled(gone)?;
        }
        Ok(deliveries)
    }

    fn note_settled(&self, mut sequences: Vec<u64>) -> Result<(), LogError> {
        sequences.sort_unstable();
        let consumer = self.machine().config.name.clone();
        let (stream, runs) = (self.stream.name.to_string(), runs_of(sequences));
        self.journal.note(Change::Settled { stream, consumer, runs })
    }
}

/// Redeliveries that are being read; due again at once where the reading is given up.
struct GiveBack<'a> {
    consumer: &'a EmbeddedConsumer,
    sequences: Vec<u64>,
}

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        let mut machine = self.consumer.machine();
        for &sequence in &self.sequences {
            machine.settle(sequence, Settle::Nak(Duration::ZERO), Instant::now());
        }
    }
}

/// Reads single records; those that are gone are left out.
fn read_again(stream: &Stream, sequences: &[u64]) -> Result<Vec<Stored>, LogError> {
    let mut records = Vec::with_capacity(sequences.len());
    for &sequence in sequences {
        records.extend(stream.get(sequence)?);
    }
    Ok(records)
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, LogError> {
        let deadline = Instant::now() + wait;
        let mut tip = self.stream.tip.subscribe();
        loop {
            tip.mark_unchanged();
            let changed = self.changed.notified();
            let deliveries = self.take(max).await?;
            if !deliveries.is_empty() || max == 0 {
                return Ok(deliveries);
            }
            let due = self.machine().next_due().map_or(deadline, |due| due.min(deadline));
            tokio::select! {
                moved = tip.changed() => moved.map_err(|_| LogError::Closed)?,
                () = changed => {}
                () = tokio::time::sleep_until(due) => {}
            }
            if Instant::now() >= deadline {
                return self.take(max).await;
            }
        }
    }

    async fn settle(&self, settled: &[(AckToken, Settle)]) -> Result<(), LogError> {
        self.stream.check_there()?;
        let now = Instant::now();
        let mut done = Vec::new();
        {
            let mut machine = self.machine();
            for (token, settle) in settled {
                if machine.settle(token.0, *settle, now) {
                    done.push(token.0);
                }
            }
        }
        self.changed.notify_waiters();
        if done.is_empty() { Ok(()) } else { self.note_settled(done) }
    }

    async fn info(&self) -> Result<ConsumerInfo, LogError> {
        self.stream.check_there()?;
        Ok(self.snapshot())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn machine(deliver_max: Option<u32>, ack_pending_max: u32) -> (Machine, Instant) {
        let config = ConsumerConfig {
            deliver_max,
            ack_pending_max,
            ack_wait: Duration::from_secs(30),
            ..ConsumerConfig::new("c")
        };
        let image = ConsumerImage { config, next: 1, pending: BTreeMap::new(), missed: Vec::new() };
        let now = Instant::now();
        (Machine::new(image, now), now)
    }

    #[test]
    fn a_record_comes_again_after_the_ack_wait_and_is_given_up_at_the_maximum() {
        let (mut machine, start) = machine(Some(2), 10);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(machine.deliver(1, start), 1);
        machine.next = 2;
        assert_eq!(machine.take_due(after(29), 10), (vec![], vec![]));
        assert_eq!(machine.take_due(after(30), 10), (vec![1], vec![]));
        assert_eq!(machine.deliver(1, after(30)), 2);
        assert_eq!(machine.take_due(after(60), 10), (vec![], vec![1]));
        assert_eq!((machine.ack_floor(), machine.next_due()), (1, None));
    }

    #[test]
    fn progress_starts_the_ack_wait_anew_and_a_nak_sets_its_own() {
        let (mut machine, start) = machine(None, 10);
        let after = |seconds| start + Duration::from_secs(seconds);
        machine.deliver(1, start);
        machine.deliver(2, start);
        assert!(!machine.settle(1, Settle::Progress, after(20)));
        assert!(!machine.settle(2, Settle::Nak(Duration::from_secs(5)), after(20)));
        assert_eq!(machine.take_due(after(24), 10).0, [0u64; 0]);
        assert_eq!(machine.take_due(after(25), 10).0, [2]);
        assert_eq!(machine.take_due(after(49), 10).0, [0u64; 0]);
        assert_eq!(machine.take_due(after(50), 10).0, [1]);
    }

    proptest! {
        /// Whatever happens in whatever order: both views of what is pending agree, nothing is
        /// delivered over the limits, and the floor never goes back or passes what is unsettled.
        #[test]
        fn the_books_of_a_consumer_hold(
            steps in prop::collection::vec((0u8..6, any::<prop::sample::Index>(), 0u64..40), 1..100),
        ) {
            let (mut machine, start) = machine(Some(3), 5);
            let mut now = start;
            let mut floor = 0;
            for (kind, index, seconds) in steps {
                now += Duration::from_secs(seconds);
                let pending: Vec<u64> = machine.pending.keys().copied().collect();
                let one = (!pending.is_empty()).then(|| pending[index.index(pending.len())]);
                match (kind, one) {
                    (0 | 1, _) => {
                        for _ in 0..machine.room().min(index.index(4)) {
                            prop_assert_eq!(machine.deliver(machine.next, now), 1);
                            machine.next += 1;
                        }
                    }
                    (2, _) => {
                        let (again, _) = machine.take_due(now, 3);
                        for sequence in again {
                            prop_assert!(machine.deliver(sequence, now) <= 3);
                        }
                    }
                    (3, Some(one)) => prop_assert!(machine.settle(one, Settle::Ack, now)),
                    (4, Some(one)) => {
                        machine.settle(one, Settle::Nak(Duration::from_secs(seconds)), now);
                    }
                    (5, Some(one)) => {
                        machine.settle(one, Settle::Term, now);
                        prop_assert!(!machine.settle(one, Settle::Ack, now));
                    }
                    _ => {}
                }
                let by_due: BTreeSet<(Instant, u64)> =
                    machine.pending.iter().map(|(sequence, p)| (p.due, *sequence)).collect();
                prop_assert_eq!(&machine.due, &by_due);
                prop_assert!(machine.pending.len() <= 5);
                prop_assert!(machine.ack_floor() >= floor);
                floor = machine.ack_floor();
            }
        }
    }
}
