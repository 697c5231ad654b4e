//! How long to wait before the next try.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use super::options::Timings;

/// Waits that double, and vary so that many who lost the same host don't come back at once.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    failures: u32,
}

impl Retry {
    /// Counts a failure, and says how long to wait.
    pub(crate) fn wait(&mut self, timings: &Timings) -> Duration {
        // From three quarters of the wait to five: the hash of nothing by a random key is random.
        let random = RandomState::new().hash_one(()) >> 32;
        let wait = self.next(timings).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "32 bits are exact in a double")]
        let part = 0.75 + random as f64 / f64::from(u32::MAX) / 2.0;
        Duration::from_secs_f64(wait * part)
    }

    /// All is well again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    fn next(&mut self, timings: &Timings) -> Duration {
        let doubled = timings.retry_min.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(timings.retry_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_vary() {
        let timings = Timings::default();
        let mut retry = Retry::default();
        let waits: Vec<_> = (0..40).map(|_| retry.next(&timings).as_millis()).collect();
        assert_eq!(waits[..8], [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(waits[39], 30000);
        retry.reset();
        let wait = retry.wait(&timings).as_millis();
        assert!((375..=625).contains(&wait), "{wait}");
    }
}
