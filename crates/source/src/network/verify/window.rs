//! Events that are being verified, in the order in which they came.
//!
//! Events overtake one another. The place that is told to whoever keeps it is the one behind which
//! none is missing.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The most events that are being verified: half a minute of the public network.
const EVENTS_MAX: usize = 16_384;

/// The most bytes of them.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long an event may be overtaken. What has overtaken it comes again when the process is
/// killed, and is recognised by its message id, but not for ever: so this is well below the time
/// for which a stream remembers message ids.
const OVERTAKEN_MAX: Duration = Duration::from_secs(30);

/// The most events and places that are remembered, verified or not.
const SLOTS_MAX: usize = 1 << 18;

/// How far a host's stream was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) host: usize,
    pub(super) cursor: u64,
    pub(super) time_us: u64,
}

#[derive(Debug)]
enum Slot {
    Open { since: Instant, bytes: usize },
    Settled,
    Mark(Mark),
}

/// The events that are being verified, and the places between them.
#[derive(Debug, Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    first: u64,
    open: usize,
    bytes: usize,
}

impl Window {
    /// An event came. The result is its number.
    pub(super) fn open(&mut self, bytes: usize) -> u64 {
        self.slots.push_back(Slot::Open { since: Instant::now(), bytes });
        self.open += 1;
        self.bytes += bytes;
        self.first + self.slots.len() as u64 - 1
    }

    /// What came before is all that there was up to here.
    pub(super) fn mark(&mut self, mark: Mark) {
        self.slots.push_back(Slot::Mark(mark));
    }

    /// It is known what becomes of an event.
    pub(super) fn settle(&mut self, number: u64) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = index.and_then(|index| self.slots.get_mut(index))
            && let Slot::Open { bytes, .. } = *slot
        {
            *slot = Slot::Settled;
            self.open -= 1;
            self.bytes -= bytes;
        }
    }

    /// The next place before which nothing is missing any more.
    pub(super) fn next_mark(&mut self) -> Option<Mark> {
        loop {
            let mark = match self.slots.front()? {
                Slot::Open { .. } => return None,
                Slot::Settled => None,
                Slot::Mark(mark) => Some(*mark),
            };
            self.slots.pop_front();
            self.first += 1;
            if mark.is_some() {
                return mark;
            }
        }
    }

    /// Whether more events may come.
    pub(super) fn has_room(&self) -> bool {
        let is_overtaken_long = match self.slots.front() {
            Some(Slot::Open { since, .. }) => since.elapsed() >= OVERTAKEN_MAX,
            _ => false,
        };
        self.open < EVENTS_MAX
            && self.bytes < BYTES_MAX
            && self.slots.len() < SLOTS_MAX
            && !is_overtaken_long
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark(cursor: u64) -> Mark {
        Mark { host: 0, cursor, time_us: cursor }
    }

    proptest! {
        /// Invariant 2: in whatever order events are settled, a place is told when all events
        /// before it are, and not before.
        #[test]
        fn i2_a_place_waits_for_every_event_before_it(
            order in Just((0..40_usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut window = Window::default();
            let mut numbers = Vec::new();
            for cursor in 0..order.len() as u64 {
                numbers.push(window.open(1));
                window.mark(mark(cursor));
            }
            let mut is_settled = vec![false; order.len()];
            let mut told = 0;
            for index in order {
                window.settle(numbers[index]);
                window.settle(numbers[index]);
                is_settled[index] = true;
                while let Some(next) = window.next_mark() {
                    prop_assert_eq!(next, mark(told));
                    told += 1;
                }
                let prefix = is_settled.iter().take_while(|is_settled| **is_settled).count();
                prop_assert_eq!(told, prefix as u64);
            }
            prop_assert_eq!((window.open, window.bytes, window.slots.len()), (0, 0, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_room_is_bounded_in_number_bytes_and_time() {
        let mut window = Window::default();
        for _ in 0..EVENTS_MAX {
            assert!(window.has_room());
            window.open(1);
        }
        assert!(!window.has_room());
        window.settle(7);
        assert!(window.has_room());
        let large = window.open(BYTES_MAX);
        window.settle(8);
        assert!(!window.has_room());
        window.settle(large);
        assert!(window.has_room());
        tokio::time::advance(OVERTAKEN_MAX).await;
        assert!(!window.has_room());
    }
}
