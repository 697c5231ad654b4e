//! How long a host may be silent.

use std::time::Duration;

/// How unlikely a pause must be for a host to be given up: the natural logarithm of a million.
/// Events that come independently at a mean distance of `d` leave a pause longer than `t` with the
/// probability `exp(-t/d)`.
const UNLIKELY: f64 = 13.815_510_557_964_274;

/// How many distances make up the mean, roughly: the older ones fade out.
const MEMORY: u32 = 128;

/// How many distances must have been seen for the mean to be of use.
const SAMPLES_MIN: u32 = 32;

/// Learns how often a host's events come.
///
/// By the times of the events, not by when they arrived: what is replayed after a reconnect
/// arrives much faster than what comes live.
#[derive(Debug, Clone, Default)]
pub(crate) struct Silence {
    mean_us: f64,
    samples: u32,
    last_us: Option<u64>,
}

impl Silence {
    /// Takes in the time of an event, in microseconds since 1970.
    pub(crate) fn event(&mut self, time_us: u64) {
        let Some(last_us) = self.last_us.replace(time_us) else { return };
        self.samples = self.samples.saturating_add(1);
        #[expect(clippy::cast_precision_loss, reason = "a distance of 2^53 us takes 285 years")]
        let distance = time_us.saturating_sub(last_us) as f64;
        self.mean_us += (distance - self.mean_us) / f64::from(self.samples.min(MEMORY));
    }

    /// Forgets the last event, as what comes next is not what follows it.
    pub(crate) fn interrupted(&mut self) {
        self.last_us = None;
    }

    /// The silence after which the host is given up; `None` as long as too little is known.
    pub(crate) fn limit(&self, min: Duration) -> Option<Duration> {
        if self.samples < SAMPLES_MIN {
            return None;
        }
        let limit = Duration::try_from_secs_f64(self.mean_us * UNLIKELY / 1e6).ok()?;
        Some(limit.max(min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_secs(5);

    fn after(distances_us: impl Iterator<Item = u64>) -> Silence {
        let mut silence = Silence::default();
        let mut time_us = 1_783_175_888_000_000;
        silence.event(time_us);
        for distance in distances_us {
            time_us += distance;
            silence.event(time_us);
        }
        silence
    }

    #[test]
    fn a_busy_host_may_be_silent_for_seconds_and_a_quiet_one_for_long() {
        assert_eq!(after((0..31).map(|_| 2_000)).limit(MIN), None);
        assert_eq!(after((0..1000).map(|_| 2_000)).limit(MIN), Some(MIN));
        // An event a minute: a quarter of an hour is nothing unusual.
        let limit = after((0..1000).map(|_| 60_000_000)).limit(MIN).unwrap();
        assert_eq!(limit.as_secs(), 828);
    }

    #[test]
    fn the_mean_follows_the_rate() {
        let busy_then_quiet = (0..5000).map(|i| if i < 4000 { 1_000 } else { 10_000_000 });
        let limit = after(busy_then_quiet).limit(MIN).unwrap();
        assert!((130..140).contains(&limit.as_secs()), "{limit:?}");
        // Times that go back count as no distance, and one outage does not spoil it.
        let with_outage = (0..2000).map(|i| if i == 1000 { 300_000_000 } else { 2_000 });
        assert_eq!(after(with_outage).limit(MIN), Some(MIN));
        let mut silence = Silence::default();
        for i in 0..100_u64 {
            silence.event(1_000_000 - i);
        }
        assert_eq!(silence.limit(MIN), Some(MIN));
    }
}
