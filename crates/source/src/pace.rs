//! A rate limit: so many items in a second, and no rush after a pause.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::SourceError;

/// The highest rate that can be asked for, in items per second: more than any source yields.
pub const RATE_MAX: f64 = 1_000_000.0;

/// How much of a pause is made up for afterwards. A machine that slept for an hour must not be
/// hit by an hour's items at once.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The shortest wait, which is the timer's own precision. Without it, a part of a token that is
/// missing by rounding would be waited for again and again for no time at all.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Hands out items at a steady rate.
///
/// Each item takes a token. Tokens come at the rate, and are kept while nobody takes them, up to
/// [`CATCH_UP`].
#[derive(Debug)]
pub struct Pace {
    per_second: f64,
    tokens: f64,
    refilled_at: Instant,
}

impl Pace {
    /// A pace of so many items in a second. The first item is due at once.
    pub fn new(per_second: f64) -> Result<Self, SourceError> {
        if per_second > 0.0 && per_second <= RATE_MAX {
            return Ok(Self { per_second, tokens: 1.0, refilled_at: Instant::now() });
        }
        Err(SourceError::Spec(format!(
            "the rate {per_second} can't be kept: it is a number of items per second, above 0 and \
             at most {RATE_MAX}"
        )))
    }

    /// Changes the rate from now on. The rate must be one that [`Pace::new`] takes; another one
    /// changes nothing.
    pub fn set_rate(&mut self, per_second: f64) {
        if per_second > 0.0 && per_second <= RATE_MAX {
            self.refill();
            self.per_second = per_second;
        }
    }

    /// Waits until at least one item is due, and says how many are: at most `max`. Dropping the
    /// future takes nothing.
    pub async fn take(&mut self, max: usize) -> usize {
        loop {
            self.refill();
            if self.tokens >= 1.0 {
                break;
            }
            let wait = Duration::from_secs_f64((1.0 - self.tokens) / self.per_second);
            sleep(wait.max(WAIT_MIN)).await;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most RATE_MAX, and not negative")]
        let due = (self.tokens as usize).min(max);
        #[expect(clippy::cast_precision_loss, reason = "at most RATE_MAX")]
        let taken = due as f64;
        self.tokens -= taken;
        due
    }

    fn refill(&mut self) {
        let now = Instant::now();
        let elapsed = now.duration_since(self.refilled_at).as_secs_f64();
        let kept_max = (self.per_second * CATCH_UP.as_secs_f64()).max(1.0);
        self.tokens = (self.tokens + elapsed * self.per_second).min(kept_max);
        self.refilled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    async fn items_within(pace: &mut Pace, span: Duration) -> usize {
        let end = Instant::now() + span;
        let mut items = 0;
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(end) => return items,
                taken = pace.take(64) => items += taken,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept() {
        for (rate, expected) in [(50.0, 500), (0.5, 5), (20_000.0, 200_000)] {
            let mut pace = Pace::new(rate).unwrap();
            let items = items_within(&mut pace, Duration::from_secs(10)).await;
            // The first one is free, and the last millisecond may go either way.
            assert!(items.abs_diff(expected) <= 1 + expected / 5_000, "{rate}: {items}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_made_up_for_by_a_second_at_most() {
        let mut pace = Pace::new(10.0).unwrap();
        advance(Duration::from_secs(3_600)).await;
        assert_eq!(pace.take(1_000).await, 10);
        let before = Instant::now();
        assert_eq!(pace.take(1_000).await, 1);
        assert!(before.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_takes_nothing() {
        let mut pace = Pace::new(1.0).unwrap();
        assert_eq!(pace.take(5).await, 1);
        for _ in 0..10 {
            let wait = tokio::time::timeout(Duration::from_millis(95), pace.take(5));
            assert!(wait.await.is_err());
        }
        assert_eq!(pace.take(5).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_can_change() {
        let mut pace = Pace::new(1.0).unwrap();
        assert_eq!(items_within(&mut pace, Duration::from_secs(10)).await, 10);
        pace.set_rate(100.0);
        let items = items_within(&mut pace, Duration::from_secs(10)).await;
        assert!(items.abs_diff(1_000) <= 2, "{items}");
        pace.set_rate(f64::NAN);
        assert!(items_within(&mut pace, Duration::from_secs(1)).await > 90);
    }

    #[test]
    fn rates_that_can_not_be_kept_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(matches!(Pace::new(rate), Err(SourceError::Spec(_))), "{rate}");
        }
    }
}
