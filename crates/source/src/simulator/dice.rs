//! Chance that is the same every time.
//!
//! What the simulator makes of item n must follow from its settings and n alone, on every machine
//! and in every version of every library. So the numbers come from SplitMix64 (Steele, Lea, Flood:
//! "Fast splittable pseudorandom number generators", 2014), started from the seed, a purpose and
//! an index, and are turned into choices without functions that differ between machines.

/// What a choice is about. Each purpose has its own numbers, so that a change to one part of the
/// simulator leaves the others as they were.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Kind = 1,
    Earlier,
    Language,
    Author,
    Person,
    Did,
    Reply,
    Topic,
    Mood,
    Text,
    Spam,
    Fault,
    Burst,
    Weather,
    News,
}

/// A sequence of numbers.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    /// The sequence for this seed, purpose and index.
    pub(super) fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let purpose = mix(seed.wrapping_add(GOLDEN_GAMMA)) ^ (purpose as u64);
        Self(mix(mix(purpose).wrapping_add(index.wrapping_mul(GOLDEN_GAMMA))))
    }

    /// The next number, of 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix(self.0)
    }

    /// A number from 0 to 1, without 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in a double")]
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `end`; 0 where `end` is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        // The upper half of the product: even enough for ends that are far below 2^64.
        let product = u128::from(self.next()) * end as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// Whether something happens that has this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of them, each as likely; `None` where there are none.
    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len()))
    }

    /// The index of one of the weights, each as likely as it is heavy.
    pub(super) fn weighted(&mut self, weights: impl IntoIterator<Item = f64> + Clone) -> usize {
        let total: f64 = weights.clone().into_iter().sum();
        let mut left = self.unit() * total;
        let mut last = 0;
        for (index, weight) in weights.into_iter().enumerate() {
            if left < weight {
                return index;
            }
            left -= weight;
            last = index;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_these_on_every_machine() {
        // The published first number of SplitMix64 from 0.
        assert_eq!(Dice(0).next(), 0xe220_a839_7b1d_cdaf);
        // A change here is a change to every simulated post.
        let mut dice = Dice::new(7, Purpose::Text, 42);
        let numbers = [dice.next(), dice.next()];
        assert_eq!(numbers, [12_738_861_351_797_249_731, 4_141_476_748_781_498_479]);
    }

    #[test]
    fn chances_are_as_asked_for() {
        let mut dice = Dice::new(1, Purpose::Kind, 0);
        let mut counts = [0_u32; 3];
        for _ in 0..30_000 {
            counts[dice.weighted([1.0, 0.0, 2.0])] += 1;
        }
        assert!(counts[0].abs_diff(10_000) < 400 && counts[1] == 0, "{counts:?}");
        assert!((0..10_000).filter(|_| dice.chance(0.1)).count().abs_diff(1_000) < 150);
        assert_eq!(dice.pick::<u8>(&[]), None);
    }
}
