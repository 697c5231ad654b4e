//! When each item is due.
//!
//! Time is cut into windows of two minutes. Each has one burst, of which the place changes from
//! window to window and the length does not; so all windows hold equally many items, and the time
//! of an item follows from its index without a look at the ones before it.

use super::{
    Settings,
    dice::{Dice, Purpose},
};

const WINDOW_SECONDS: f64 = 120.0;
const BURST_SECONDS: f64 = 8.0;

/// When items are due.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    seed: u64,
    rate: f64,
    burst: f64,
}

/// An item's place in its window.
struct Place {
    window: f64,
    /// Items of the window that are due before it.
    items_before: f64,
    /// Where the burst starts, in seconds into the window.
    burst_start: f64,
}

impl Schedule {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { seed: settings.seed, rate: settings.rate, burst: settings.burst }
    }

    /// When item n is due, in seconds after the start.
    pub(super) fn seconds(&self, n: u64) -> f64 {
        let place = self.place(n);
        let before_burst = place.burst_start * self.rate;
        let in_burst = BURST_SECONDS * self.rate * self.burst;
        let into_window = if place.items_before < before_burst {
            place.items_before / self.rate
        } else if place.items_before < before_burst + in_burst {
            place.burst_start + (place.items_before - before_burst) / (self.rate * self.burst)
        } else {
            let behind = place.items_before - before_burst - in_burst;
            place.burst_start + BURST_SECONDS + behind / self.rate
        };
        place.window * WINDOW_SECONDS + into_window
    }

    /// How many items per second are due around item n.
    pub(super) fn rate_at(&self, n: u64) -> f64 {
        let place = self.place(n);
        let before_burst = place.burst_start * self.rate;
        let behind_burst = before_burst + BURST_SECONDS * self.rate * self.burst;
        let is_in_burst = (before_burst..behind_burst).contains(&place.items_before);
        if is_in_burst { self.rate * self.burst } else { self.rate }
    }

    #[expect(clippy::cast_precision_loss, reason = "2^53 items take centuries")]
    #[expect(clippy::cast_possible_truncation, reason = "far below 2^63, and not negative")]
    fn place(&self, n: u64) -> Place {
        let calm_seconds = WINDOW_SECONDS - BURST_SECONDS;
        let items_per_window = self.rate * (calm_seconds + BURST_SECONDS * self.burst);
        let window = (n as f64 / items_per_window).floor();
        let mut dice = Dice::new(self.seed, Purpose::Burst, window as u64);
        Place {
            window,
            items_before: n as f64 - window * items_per_window,
            burst_start: dice.unit() * calm_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_at_the_rate_and_faster_in_bursts() {
        let settings = Settings { rate: 10.0, burst: 4.0, ..Settings::default() };
        let schedule = Schedule::new(&settings);
        // Three windows of 112 s at 10/s and 8 s at 40/s.
        let window_items = 1_120 + 320;
        let mut fast = 0;
        for n in 0..3 * window_items {
            let step = schedule.seconds(n + 1) - schedule.seconds(n);
            assert!(step > 0.0 && step < 0.1001, "{n}: {step}");
            fast += u64::from(schedule.rate_at(n) > 10.0);
        }
        assert!(fast.abs_diff(3 * 320) <= 6, "{fast}");
        assert!((schedule.seconds(3 * window_items) - 360.0).abs() < 1e-6);
    }

    #[test]
    fn a_burst_of_one_is_none() {
        let settings = Settings { rate: 0.5, burst: 1.0, ..Settings::default() };
        let schedule = Schedule::new(&settings);
        for n in [0, 1, 59, 60, 1_000_000] {
            assert!((schedule.seconds(n) - n as f64 * 2.0).abs() < 1e-6);
            assert!((schedule.rate_at(n) - 0.5).abs() < f64::EPSILON);
        }
    }
}
