//! The ledger: the books' vouchers, kept in the log.
//!
//! With every group of records that a flow settles it publishes one [`Voucher`]: which sequences
//! of the input ended how. The voucher is durable before the input is acknowledged, so after any
//! crash the ledger and the consumer together tell of every record whether and how it ended. The
//! books are restored from it, and the audit compares it with the streams themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wingbeat_record::{DeadCause, Outcome, Reason, Sequences};

use crate::books::Counts;

/// First and last sequence of a run, both included.
pub type Run = (u64, u64);

/// How a group of input records ended. Its JSON form is a record of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// The input stream.
    pub input: String,
    /// Emitted input sequences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emitted: Vec<Run>,
    /// Filtered ones, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filtered: BTreeMap<String, Vec<Run>>,
    /// Dead ones, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dead: BTreeMap<String, Vec<Run>>,
    /// Where the outputs and dead letters went: by stream, the lowest and the highest sequence.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Run>,
}

impl Voucher {
    /// Adds an input sequence. They come in any order.
    pub fn add(&mut self, sequence: u64, outcome: &Outcome) {
        let runs = match outcome {
            Outcome::Emitted => &mut self.emitted,
            Outcome::Filtered(reason) => {
                self.filtered.entry(reason.as_str().to_owned()).or_default()
            }
            Outcome::Dead(cause) => self.dead.entry(cause.kind.as_str().to_owned()).or_default(),
        };
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == sequence => *last = sequence,
            _ => runs.push((sequence, sequence)),
        }
    }

    /// Adds where an output went.
    pub fn add_output(&mut self, stream: &str, sequence: u64) {
        match self.outputs.get_mut(stream) {
            Some((low, high)) => {
                *low = (*low).min(sequence);
                *high = (*high).max(sequence);
            }
            None => _ = self.outputs.insert(stream.to_owned(), (sequence, sequence)),
        }
    }

    /// Whether nothing stands on it.
    pub fn is_empty(&self) -> bool {
        self.emitted.is_empty() && self.filtered.is_empty() && self.dead.is_empty()
    }

    /// Every run with its outcome. A dead one's cause names only its kind.
    pub fn runs(&self) -> impl Iterator<Item = (Run, Outcome)> {
        let emitted = self.emitted.iter().map(|run| (*run, Outcome::Emitted));
        let filtered = self.filtered.iter().flat_map(|(reason, runs)| {
            let outcome = Outcome::Filtered(Reason::parse(reason));
            runs.iter().map(move |run| (*run, outcome.clone()))
        });
        let dead = self.dead.iter().flat_map(|(kind, runs)| {
            let outcome = Outcome::Dead(DeadCause::new("", Reason::parse(kind), ""));
            runs.iter().map(move |run| (*run, outcome.clone()))
        });
        emitted.chain(filtered).chain(dead)
    }

    /// Counts what it says, and collects the sequences. What is among them already was settled
    /// before, by somebody who died before it was acknowledged: it counts once.
    pub fn book(&self, counts: &mut Counts, settled: &mut Sequences) {
        for ((first, last), outcome) in self.runs() {
            counts.count_settled(&outcome, settled.insert_run(first, last));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(kind: u8) -> Outcome {
        match kind % 4 {
            0 => Outcome::Emitted,
            1 => Outcome::Filtered(Reason::new("low_confidence")),
            2 => Outcome::Filtered(Reason::new("duplicate")),
            _ => Outcome::Dead(DeadCause::new("post", Reason::new("not_json"), "")),
        }
    }

    proptest! {
        #[test]
        fn a_voucher_says_what_was_added(kinds in prop::collection::vec(0u8..4, 0..60)) {
            let mut voucher = Voucher { input: "s".to_owned(), ..Voucher::default() };
            let mut expected = Counts::default();
            for (sequence, kind) in (1..).zip(&kinds) {
                voucher.add(sequence, &outcome(*kind));
                expected.count_settled(&outcome(*kind), 1);
            }
            let json = serde_json::to_vec(&voucher).unwrap();
            let read: Voucher = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(&read, &voucher);
            let (mut counts, mut settled) = (Counts::default(), Sequences::default());
            read.book(&mut counts, &mut settled);
            prop_assert_eq!(counts, expected);
            prop_assert!((1..=kinds.len() as u64).all(|sequence| settled.contains(sequence)));
        }
    }

    #[test]
    fn runs_stay_short() {
        let mut voucher = Voucher::default();
        (1..=1000).for_each(|sequence| voucher.add(sequence, &Outcome::Emitted));
        voucher.add_output("out", 7);
        voucher.add_output("out", 3);
        assert_eq!(voucher.emitted, [(1, 1000)]);
        assert_eq!(voucher.outputs["out"], (3, 7));
    }
}
