//! What was read lately, so that what a rewind brings again is recognised.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, Hash, RandomState},
};

/// How many events are remembered. The public network has some 50 posts in a second, and a rewind
/// goes half a minute back: some 1,500 events; a replay or a burst may be much denser.
const EVENTS_MAX: usize = 65_536;

/// The events that were read last, by a hash of 64 bits under a secret key: two events that are
/// taken for one another are not to be expected, and can't be made.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    hasher: RandomState,
    order: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Recent {
    /// Whether an event is remembered.
    pub(crate) fn contains(&self, event: impl Hash) -> bool {
        self.known.contains(&self.hasher.hash_one(event))
    }

    /// Remembers an event by what makes it this one. Returns `false` if it was known.
    pub(crate) fn insert(&mut self, event: impl Hash) -> bool {
        let hash = self.hasher.hash_one(event);
        if !self.known.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > EVENTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_known_and_no_others() {
        let mut recent = Recent::default();
        assert!(recent.insert((0, "a")) && recent.insert((0, "b")));
        assert!(!recent.insert((0, "a")));
        for number in 1..=EVENTS_MAX {
            assert!(recent.insert((number, "")));
        }
        assert!(recent.insert((0, "a")), "it was forgotten");
        assert_eq!((recent.order.len(), recent.known.len()), (EVENTS_MAX, EVENTS_MAX));
    }
}
