//! Sets of sequences, such as all records that were ever settled.

use std::collections::BTreeMap;

/// A set of sequences, kept as runs: what is settled is nearly everything up to a place, so that
/// millions of sequences are a handful of runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences {
    /// First and last of each run. No two touch.
    runs: BTreeMap<u64, u64>,
}

impl Sequences {
    /// The set of these runs, given as first and last.
    pub fn from_runs(runs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut sequences = Self::default();
        for (first, last) in runs {
            sequences.insert_run(first, last);
        }
        sequences
    }

    /// Adds one; whether it is new.
    pub fn insert(&mut self, sequence: u64) -> bool {
        self.insert_run(sequence, sequence) > 0
    }

    /// Adds a run, both ends included; how many of it are new. Reversed ends add nothing.
    pub fn insert_run(&mut self, first: u64, last: u64) -> u64 {
        if first > last {
            return 0;
        }
        // Runs that overlap it or touch it become one with it.
        let (mut start, mut end, mut old) = (first, last, 0);
        let touching = last.saturating_add(1);
        while let Some((&run_first, &run_last)) = self.runs.range(..=touching).next_back() {
            if run_last.saturating_add(1) < first {
                break;
            }
            self.runs.remove(&run_first);
            let overlap = run_last.min(last).checked_sub(run_first.max(first));
            old += overlap.map_or(0, |more| more.saturating_add(1));
            start = start.min(run_first);
            end = end.max(run_last);
        }
        self.runs.insert(start, end);
        (last - first).saturating_add(1) - old
    }

    /// Whether it is in the set.
    pub fn contains(&self, sequence: u64) -> bool {
        self.runs.range(..=sequence).next_back().is_some_and(|(_, last)| sequence <= *last)
    }

    /// The runs, lowest first.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().map(|(first, last)| (*first, *last))
    }

    /// Forgets the lowest runs where there are more than `max`.
    pub fn keep_newest(&mut self, max: usize) {
        while self.runs.len() > max {
            self.runs.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_hold_what_was_put_in(runs in prop::collection::vec((1u64..60, 0u64..9), 0..60)) {
            let mut sequences = Sequences::default();
            let mut expected = BTreeSet::new();
            for (first, length) in runs {
                let new = (first..=first + length).filter(|s| expected.insert(*s)).count();
                prop_assert_eq!(sequences.insert_run(first, first + length), new as u64);
            }
            for sequence in 0..80 {
                prop_assert_eq!(sequences.contains(sequence), expected.contains(&sequence));
            }
            let ends = expected.iter().filter(|s| !expected.contains(&(**s + 1))).count();
            prop_assert_eq!(sequences.runs().count(), ends);
            prop_assert_eq!(Sequences::from_runs(sequences.runs()), sequences);
        }
    }

    #[test]
    fn there_are_not_too_many_runs() {
        let mut sequences = Sequences::default();
        for sequence in 1..=10 {
            sequences.insert(sequence * 2);
            sequences.keep_newest(3);
        }
        assert_eq!(sequences.runs().collect::<Vec<_>>(), [(16, 16), (18, 18), (20, 20)]);
    }

    #[test]
    fn the_ends_of_the_numbers_are_sequences_too() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.insert_run(u64::MAX - 1, u64::MAX), 2);
        assert_eq!(sequences.insert_run(5, 4), 0);
        assert!(sequences.insert(0) && !sequences.insert(u64::MAX));
    }
}
