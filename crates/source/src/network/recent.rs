//! What was read lately, so that what a rewind brings again is recognised.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
};

use wingbeat_record::MessageId;

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
    /// Remembers an event. Returns `false` if it was known.
    ///
    /// The revision belongs to it: a post that was deleted and made again is another event.
    pub(crate) fn insert(&mut self, id: &MessageId, rev: &str) -> bool {
        let hash = self.hasher.hash_one((id, rev));
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
        let id = |number: usize| MessageId::new(format!("at://{number}"));
        assert!(recent.insert(&id(0), "a") && recent.insert(&id(0), "b"));
        assert!(!recent.insert(&id(0), "a"));
        for number in 1..=EVENTS_MAX {
            assert!(recent.insert(&id(number), ""));
        }
        assert!(recent.insert(&id(0), "a"), "it was forgotten");
        assert_eq!((recent.order.len(), recent.known.len()), (EVENTS_MAX, EVENTS_MAX));
    }
}
