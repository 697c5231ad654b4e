//! Records that wait for another try, and those that must not overtake them.
//!
//! Order is kept per author: when a record has to wait, all later records of its author wait
//! behind it, whatever became of them; everybody else goes on.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::time::Instant;

/// Something that waits: a key to keep in order, and whether it needs another try itself.
pub(crate) trait Waiting {
    /// The key within which order is kept.
    fn key(&self) -> String;
    /// Whether it needs another try.
    fn needs_retry(&self) -> bool;
}

/// All that wait, by key. The first of each queue needs another try.
#[derive(Debug)]
pub(crate) struct Deferral<W> {
    queues: HashMap<String, VecDeque<W>>,
    due: BTreeSet<(Instant, String)>,
}

impl<W: Waiting> Deferral<W> {
    pub(crate) fn new() -> Self {
        Self { queues: HashMap::new(), due: BTreeSet::new() }
    }

    /// Sorts records that have come through the stages, in order: returns those that may be
    /// settled now, keeps those that must wait. `due` says when a record is to be tried again.
    pub(crate) fn sift(&mut self, works: Vec<W>, due: impl Fn(&W) -> Instant) -> Vec<W> {
        let mut free = Vec::with_capacity(works.len());
        for work in works {
            // Most often nobody waits and nothing fails.
            if self.queues.is_empty() && !work.needs_retry() {
                free.push(work);
                continue;
            }
            let key = work.key();
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.push_back(work);
            } else if work.needs_retry() {
                self.due.insert((due(&work), key.clone()));
                self.queues.insert(key, VecDeque::from([work]));
            } else {
                free.push(work);
            }
        }
        free
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes the records that are due for another try. Their queues stay closed until they come
    /// back through [`give_back`](Self::give_back).
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<W> {
        let mut taken = Vec::new();
        while let Some((due, _)) = self.due.first().filter(|(due, _)| *due <= now) {
            let entry = (*due, self.due.first().map(|(_, key)| key.clone()).unwrap_or_default());
            self.due.remove(&entry);
            taken.extend(self.queues.get_mut(&entry.1).and_then(VecDeque::pop_front));
        }
        taken
    }

    /// Takes a record back after another try: returns what may be settled now, in order.
    pub(crate) fn give_back(&mut self, work: W, due: impl Fn(&W) -> Instant) -> Vec<W> {
        let key = work.key();
        let Some(mut queue) = self.queues.remove(&key) else { return vec![work] };
        queue.push_front(work);
        let mut free = Vec::new();
        while let Some(work) = queue.pop_front() {
            if work.needs_retry() {
                self.due.insert((due(&work), key.clone()));
                queue.push_front(work);
                self.queues.insert(key, queue);
                break;
            }
            free.push(work);
        }
        free
    }

    /// Gives up waiting: everything that waits.
    pub(crate) fn drain(&mut self) -> Vec<W> {
        self.due.clear();
        self.queues.drain().flat_map(|(_, queue)| queue).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Work {
        author: u8,
        number: usize,
        failures_left: u8,
    }

    impl Waiting for Work {
        fn key(&self) -> String {
            self.author.to_string()
        }

        fn needs_retry(&self) -> bool {
            self.failures_left > 0
        }
    }

    proptest! {
        /// However tries fail and in whatever order they come back: everything is settled once,
        /// and each author's records in the order in which they came.
        #[test]
        fn i9_order_per_author_survives_retries(
            works in prop::collection::vec((0u8..4, prop_oneof![4 => Just(0u8), 1 => 1u8..4]), 1..80),
            batch in 1usize..9,
        ) {
            let works: Vec<Work> = works
                .into_iter()
                .enumerate()
                .map(|(number, (author, failures_left))| Work { author, number, failures_left })
                .collect();
            let start = Instant::now();
            let due = |work: &Work| start + Duration::from_secs(u64::from(work.failures_left));
            let mut deferral = Deferral::new();
            let mut settled: Vec<Work> = Vec::new();
            for chunk in works.chunks(batch) {
                settled.extend(deferral.sift(chunk.to_vec(), due));
                for mut again in deferral.take_due(start + Duration::from_secs(2)) {
                    again.failures_left -= 1;
                    settled.extend(deferral.give_back(again, due));
                }
            }
            let late = start + Duration::from_secs(100);
            while deferral.next_due().is_some() {
                for mut again in deferral.take_due(late) {
                    again.failures_left -= 1;
                    settled.extend(deferral.give_back(again, due));
                }
            }
            prop_assert!(deferral.drain().is_empty());
            prop_assert_eq!(settled.len(), works.len());
            for author in 0..4 {
                let of = |works: &[Work]| -> Vec<usize> {
                    works.iter().filter(|w| w.author == author).map(|w| w.number).collect()
                };
                prop_assert_eq!(of(&settled), of(&works));
            }
        }
    }
}
