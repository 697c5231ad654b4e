//! Which records a handle has settled for good.
//!
//! A server that crashes may forget acknowledgements, and delivers the records again to somebody
//! who is still there and has them in his books. They are acknowledged again, and not delivered.

use std::collections::BTreeMap;

/// At most this many ranges are remembered; the oldest go first.
const RANGES_MAX: usize = 100_000;

/// Sequences, as ranges: first and last.
#[derive(Debug, Default)]
pub(super) struct Settled(BTreeMap<u64, u64>);

impl Settled {
    pub(super) fn insert(&mut self, sequence: u64) {
        if self.contains(sequence) {
            return;
        }
        let last = self.0.remove(&(sequence + 1)).unwrap_or(sequence);
        let before = self.0.range_mut(..sequence).next_back();
        match before.filter(|(_, end)| **end + 1 == sequence) {
            Some((_, end)) => *end = last,
            None => {
                self.0.insert(sequence, last);
            }
        }
        if self.0.len() > RANGES_MAX {
            self.0.pop_first();
        }
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.0.range(..=sequence).next_back().is_some_and(|(_, last)| sequence <= *last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_hold_what_was_put_in(sequences in prop::collection::vec(1u64..60, 0..80)) {
            let mut settled = Settled::default();
            let mut expected = BTreeSet::new();
            for sequence in sequences {
                settled.insert(sequence);
                expected.insert(sequence);
            }
            for sequence in 0..62 {
                prop_assert_eq!(settled.contains(sequence), expected.contains(&sequence));
            }
            let gaps = expected.iter().filter(|s| !expected.contains(&(**s + 1))).count();
            prop_assert_eq!(settled.0.len(), gaps);
        }
    }
}
