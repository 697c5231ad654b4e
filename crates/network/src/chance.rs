//! Chance that is the same on every machine: SplitMix64 (Steele, Lea, Flood: "Fast splittable
//! pseudorandom number generators", 2014), started from the seed, a purpose and an index.

use sha2::{Digest as _, Sha256};

/// A sequence of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The sequence for this seed, purpose and index.
    pub(crate) fn new(seed: u64, purpose: &str, index: u64) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = secret(seed, purpose, index);
        Self(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The next number, of 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where `end` is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // The upper half of the product: even enough for ends that are far below 2^64.
        let product = u128::from(self.next()) * end as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// Whether something happens that has this probability.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in a double")]
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64 / (1_u64 << 53) as f64) < probability
    }

    /// One of them, each as likely as its weight is heavy; `None` where nothing weighs anything.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in a double")]
    pub(crate) fn weighted<'a, T>(&mut self, choices: &'a [(T, f64)]) -> Option<&'a T> {
        let total: f64 = choices.iter().map(|(_, weight)| weight).sum();
        let mut left = (self.next() >> 11) as f64 / (1_u64 << 53) as f64 * total;
        for (choice, weight) in choices {
            if left < *weight {
                return Some(choice);
            }
            left -= weight;
        }
        None
    }
}

/// 32 bytes that follow from these three and look like chance.
pub(crate) fn secret(seed: u64, purpose: &str, index: u64) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"wingbeat-network");
    hasher.update(seed.to_le_bytes());
    hasher.update(index.to_le_bytes());
    hasher.update(purpose);
    hasher.finalize().into()
}
