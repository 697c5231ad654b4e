//! The books: per flow, what came in and how it ended.
//!
//! `received = emitted + filtered + dead + in_flight` at every instant. The three outcomes are
//! counted when a record is settled; what is in flight is counted by [`Ticket`]s, which exist as
//! long as somebody holds the record. A record that is settled twice, or never, shows up as an
//! imbalance.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use wingbeat_record::{Outcome, Reason};

/// What a flow's books say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records that came in.
    pub received: u64,
    /// Records whose output is durable in the log.
    pub emitted: u64,
    /// Records left out on purpose, by reason.
    pub filtered: BTreeMap<String, u64>,
    /// Records that became dead letters, by kind.
    pub dead: BTreeMap<String, u64>,
    /// Records that are being worked on.
    #[serde(default)]
    pub in_flight: u64,
}

impl Counts {
    /// All that was filtered.
    pub fn filtered_total(&self) -> u64 {
        self.filtered.values().sum()
    }

    /// All that died.
    pub fn dead_total(&self) -> u64 {
        self.dead.values().sum()
    }

    /// How far the books are out of balance: positive where records are unaccounted for, negative
    /// where some were counted twice. Must be 0.
    pub fn imbalance(&self) -> i64 {
        let ended = self.emitted + self.filtered_total() + self.dead_total() + self.in_flight;
        i64::try_from(i128::from(self.received) - i128::from(ended)).unwrap_or(i64::MAX)
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.emitted += other.emitted;
        self.in_flight += other.in_flight;
        for (reason, number) in &other.filtered {
            *self.filtered.entry(reason.clone()).or_default() += number;
        }
        for (kind, number) in &other.dead {
            *self.dead.entry(kind.clone()).or_default() += number;
        }
    }

    /// What has been counted on top of earlier counts of the same books. Reasons and kinds that
    /// were there before stay, with what has come since.
    fn since(mut self, before: &Self) -> Self {
        self.received = self.received.saturating_sub(before.received);
        self.emitted = self.emitted.saturating_sub(before.emitted);
        for (now, before) in
            [(&mut self.filtered, &before.filtered), (&mut self.dead, &before.dead)]
        {
            for (reason, count) in before {
                now.entry(reason.clone()).and_modify(|now| *now = now.saturating_sub(*count));
            }
        }
        self
    }

    /// Counts one outcome.
    pub fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Emitted => self.emitted += 1,
            Outcome::Filtered(reason) => add(&mut self.filtered, reason, 1),
            Outcome::Dead(cause) => add(&mut self.dead, &cause.kind, 1),
        }
    }

    /// Counts `number` records that are received and settled in one go, as a ledger tells it.
    pub fn count_settled(&mut self, outcome: &Outcome, number: u64) {
        self.received = self.received.saturating_add(number);
        match outcome {
            Outcome::Emitted => self.emitted = self.emitted.saturating_add(number),
            Outcome::Filtered(reason) => add(&mut self.filtered, reason, number),
            Outcome::Dead(cause) => add(&mut self.dead, &cause.kind, number),
        }
    }
}

fn add(counts: &mut BTreeMap<String, u64>, reason: &Reason, number: u64) {
    let count = counts.entry(reason.as_str().to_owned()).or_default();
    *count = count.saturating_add(number);
}

/// The books of one flow. Cloning gives another handle.
#[derive(Debug, Clone)]
pub struct Books {
    name: Arc<str>,
    counts: Arc<Mutex<Counts>>,
    /// What they said when they were opened.
    before: Arc<Counts>,
}

impl Books {
    /// Books that go on from earlier counts. What was in flight then was never settled, so it
    /// comes again and is counted then.
    pub fn restore(name: &str, mut counts: Counts) -> Self {
        counts.received = counts.received.saturating_sub(counts.in_flight);
        counts.in_flight = 0;
        let before = Arc::new(counts.clone());
        Self { name: Arc::from(name), counts: Arc::new(Mutex::new(counts)), before }
    }

    /// The flow's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What they say now.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// What was counted since they were opened: what this process has done. They balance as well.
    pub fn own(&self) -> Counts {
        self.counts().since(&self.before)
    }

    /// Sets what they say, for books that are read and not kept.
    pub(crate) fn show(&self, counts: Counts) {
        *self.lock() = counts;
    }

    /// Takes records in.
    pub fn receive(&self, number: usize) -> Vec<Ticket> {
        let mut counts = self.lock();
        counts.received += number as u64;
        counts.in_flight += number as u64;
        (0..number).map(|_| Ticket { books: Some(self.clone()) }).collect()
    }

    /// Settles records, all at the same instant.
    pub fn settle<'a>(&self, settled: impl IntoIterator<Item = (Ticket, &'a Outcome)>) {
        let mut counts = self.lock();
        for (mut ticket, outcome) in settled {
            if ticket.books.take().is_some() {
                counts.in_flight -= 1;
            }
            counts.count(outcome);
        }
    }
}

/// One record in flight. Dropping it gives the record back unsettled: it was not received after
/// all, and the log will deliver it again.
#[derive(Debug)]
pub struct Ticket {
    books: Option<Books>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(books) = self.books.take() {
            let mut counts = books.lock();
            counts.in_flight -= 1;
            counts.received -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wingbeat_record::DeadCause;

    use super::*;

    fn outcome(kind: u8) -> Outcome {
        match kind % 3 {
            0 => Outcome::Emitted,
            1 => Outcome::Filtered(Reason::new("low_confidence")),
            _ => Outcome::Dead(DeadCause::new("post", Reason::new("not_json"), "")),
        }
    }

    proptest! {
        #[test]
        fn i1_the_books_balance_at_every_instant(steps in prop::collection::vec((0u8..6, 0usize..20), 0..60)) {
            let books = Books::restore("f", Counts::default());
            let mut held: Vec<Ticket> = Vec::new();
            for (kind, number) in steps {
                match kind {
                    0 | 1 => held.extend(books.receive(number)),
                    2 => drop(held.drain(..number.min(held.len()))),
                    _ => {
                        let outcome = outcome(kind);
                        let settled = held.drain(..number.min(held.len())).map(|t| (t, &outcome));
                        books.settle(settled.collect::<Vec<_>>());
                    }
                }
                let counts = books.counts();
                prop_assert_eq!(counts.imbalance(), 0);
                prop_assert_eq!(counts.in_flight, held.len() as u64);
            }
            held.clear();
            prop_assert_eq!(books.counts().in_flight, 0);
            let restored = Books::restore("f", books.counts());
            prop_assert_eq!(restored.counts(), books.counts());
        }
    }

    #[test]
    fn what_was_in_flight_when_the_books_were_closed_is_not_received_yet() {
        let books = Books::restore("f", Counts::default());
        let _held = books.receive(3);
        let restored = Books::restore("f", books.counts());
        assert_eq!(restored.counts(), Counts::default());
    }

    #[test]
    fn what_this_process_has_done_begins_at_nothing_and_balances() {
        let filtered = Outcome::Filtered(Reason::new("low_confidence"));
        let mut before = Counts::default();
        before.count_settled(&Outcome::Emitted, 7);
        before.count_settled(&filtered, 2);
        let books = Books::restore("f", before);
        let own = books.own();
        assert_eq!((own.received, own.emitted, own.filtered_total()), (0, 0, 0));
        let mut held = books.receive(3);
        books.settle(held.drain(..1).zip([&filtered]));
        let own = books.own();
        assert_eq!((own.received, own.in_flight, own.filtered["low_confidence"]), (3, 2, 1));
        assert_eq!((own.imbalance(), books.counts().received), (0, 12));
    }

    #[test]
    fn an_imbalance_shows() {
        let counts = Counts { received: 5, emitted: 3, ..Counts::default() };
        assert_eq!(counts.imbalance(), 2);
        assert_eq!(Counts { emitted: 9, ..counts }.imbalance(), -4);
    }
}
