//! The duplicate window: which message ids a stream has seen lately.
//!
//! It remembers hashes, not ids: 64 bits each, keyed with the stream's salt. A hash that was seen
//! before is a suspicion; the stream then reads the older record and compares the ids themselves,
//! so that a collision never costs a record. Only a deleted record can't be compared any more:
//! its frame keeps the hash, so that a replay does not bring it back.

use std::{collections::VecDeque, hash::Hasher as _, time::Duration};

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;
use wingbeat_record::Time;

/// The most ids that one stream remembers, whatever the time window: about 150 MB. At 5,000
/// records a second that is a quarter of an hour.
pub(super) const IDS_MAX: usize = 4_000_000;

/// How finely the ages of ids are told apart, in microseconds.
const TICK_MICROS: i64 = 100_000;

/// The hash of a message id. It is stored with deleted records, so it must stay as it is. Zero
/// stands for no id.
pub(super) fn id_hash(salt: u32, id: &str) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(u64::from(salt), 0x5769_6e67_6265_6174);
    hasher.write(id.as_bytes());
    hasher.finish().max(1)
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    hash: u64,
    sequence: u64,
}

/// The message ids of one stream's last minutes.
#[derive(Debug)]
pub(super) struct DuplicateWindow {
    length: Duration,
    ids_max: usize,
    table: HashTable<Seen>,
    /// In the order of their arrival.
    order: VecDeque<Seen>,
    /// How many of `order` arrived in each tick of time.
    ticks: VecDeque<(i64, usize)>,
}

impl DuplicateWindow {
    pub(super) fn new(length: Duration, ids_max: usize) -> Self {
        Self {
            length,
            ids_max,
            table: HashTable::new(),
            order: VecDeque::new(),
            ticks: VecDeque::new(),
        }
    }

    /// Changes how long ids are remembered.
    pub(super) fn set_length(&mut self, length: Duration) {
        self.length = length;
    }

    /// The sequences of earlier records whose ids have this hash; most often none or one.
    pub(super) fn suspects(&self, hash: u64) -> impl Iterator<Item = u64> {
        self.table.iter_hash(hash).filter(move |seen| seen.hash == hash).map(|seen| seen.sequence)
    }

    /// Remembers an id. Sequences and times only grow.
    pub(super) fn insert(&mut self, hash: u64, sequence: u64, time: Time) {
        let seen = Seen { hash, sequence };
        self.table.insert_unique(seen.hash, seen, |seen| seen.hash);
        self.order.push_back(seen);
        let tick = time.as_micros().div_euclid(TICK_MICROS);
        match self.ticks.back_mut() {
            Some((last, count)) if *last >= tick => *count += 1,
            _ => self.ticks.push_back((tick, 1)),
        }
        if self.order.len() > self.ids_max {
            self.forget_oldest();
        }
    }

    /// Forgets what is older than the window.
    pub(super) fn expire(&mut self, now: Time) {
        let horizon = now.minus(self.length).as_micros().div_euclid(TICK_MICROS);
        while self.ticks.front().is_some_and(|(tick, _)| *tick < horizon) {
            self.forget_oldest();
        }
    }

    /// Forgets everything from a sequence on: those records were not stored after all.
    pub(super) fn roll_back(&mut self, from: u64) {
        while self.order.back().is_some_and(|seen| seen.sequence >= from) {
            if let Some(seen) = self.order.pop_back() {
                self.remove(seen);
            }
            if let Some((_, count)) = self.ticks.back_mut() {
                *count -= 1;
                if *count == 0 {
                    self.ticks.pop_back();
                }
            }
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(seen) = self.order.pop_front() {
            self.remove(seen);
        }
        if let Some((_, count)) = self.ticks.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.ticks.pop_front();
            }
        }
    }

    fn remove(&mut self, gone: Seen) {
        let found = self.table.find_entry(gone.hash, |seen| seen.sequence == gone.sequence);
        if let Ok(entry) = found {
            entry.remove();
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        assert_eq!(self.table.len(), self.order.len());
        assert_eq!(self.ticks.iter().map(|(_, count)| count).sum::<usize>(), self.order.len());
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(0).plus(Duration::from_secs(seconds))
    }

    fn hash(id: &str) -> u64 {
        id_hash(7, id)
    }

    fn first(window: &DuplicateWindow, id: &str) -> Option<u64> {
        window.suspects(hash(id)).next()
    }

    #[test]
    fn ids_are_known_for_the_window_and_not_longer() {
        let mut window = DuplicateWindow::new(Duration::from_secs(120), 100);
        window.insert(hash("a"), 1, at(0));
        window.insert(hash("b"), 2, at(60));
        window.expire(at(119));
        assert_eq!((first(&window, "a"), first(&window, "b")), (Some(1), Some(2)));
        window.expire(at(121));
        assert_eq!((first(&window, "a"), first(&window, "b")), (None, Some(2)));
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn the_hash_stays_as_it_is() {
        assert_eq!(
            id_hash(7, "at://did:plc:a/app.bsky.feed.post/1:bafy"),
            7_427_508_740_673_729_658
        );
        assert_ne!(hash("a"), id_hash(8, "a"));
    }

    #[test]
    fn the_number_of_ids_is_bounded_and_the_oldest_go_first() {
        let mut window = DuplicateWindow::new(Duration::from_secs(120), 3);
        for sequence in 1..=5 {
            window.insert(hash(&sequence.to_string()), sequence, at(0));
        }
        assert_eq!(window.len(), 3);
        assert_eq!((first(&window, "2"), first(&window, "3")), (None, Some(3)));
    }

    proptest! {
        /// Against a plain list, over any mixture of inserts, expiries and roll-backs.
        #[test]
        fn it_behaves_as_a_list_would(steps in prop::collection::vec((0u8..4, 0u64..6, 0u64..40), 1..80)) {
            let mut window = DuplicateWindow::new(Duration::from_secs(30), 20);
            let mut list: Vec<(String, u64, u64)> = Vec::new();
            let (mut now, mut next) = (1000, 1);
            for (kind, id, advance) in steps {
                match kind {
                    0 | 1 => {
                        window.insert(hash(&id.to_string()), next, at(now));
                        list.push((id.to_string(), next, now));
                        if list.len() > 20 { list.remove(0); }
                        next += 1;
                    }
                    2 => {
                        now += advance;
                        window.expire(at(now));
                        list.retain(|(_, _, time)| time + 30 >= now);
                    }
                    _ => {
                        let from = next.saturating_sub(id);
                        window.roll_back(from);
                        list.retain(|(_, sequence, _)| *sequence < from);
                        next = next.min(from.max(1));
                    }
                }
                prop_assert_eq!(window.len(), list.len());
                for id in 0..6 {
                    let mut found: Vec<u64> = window.suspects(hash(&id.to_string())).collect();
                    found.sort_unstable();
                    let expected: Vec<u64> =
                        list.iter().filter(|(i, _, _)| *i == id.to_string()).map(|(_, s, _)| *s).collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
