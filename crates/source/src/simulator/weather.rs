//! The mood over time: a slow drift, and now and then some news that everybody talks about.

use super::{
    Mood,
    corpus::TOPICS,
    dice::{Dice, Purpose},
};

/// The waves of the drift: how long each takes in seconds, and how much it counts.
const WAVES: [(f64, f64); 3] = [(900.0, 0.5), (180.0, 0.3), (45.0, 0.2)];

/// The share of posts that are neutral, whatever the weather.
const NEUTRAL_SHARE: f64 = 0.36;

/// In each span of so many seconds there is at most one piece of news.
const NEWS_SPAN_SECONDS: f64 = 300.0;
const NEWS_PROBABILITY: f64 = 0.6;
const NEWS_SECONDS_MIN: f64 = 60.0;
const NEWS_SECONDS_MAX: f64 = 140.0;

/// How many posts are about the news when it is fresh.
const NEWS_STRENGTH: f64 = 0.55;

/// The mood over time.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    seed: u64,
}

/// Something that everybody talks about for a minute or two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct News {
    /// Index into [`TOPICS`].
    pub(super) topic: usize,
    pub(super) mood: Mood,
    /// The share of posts that are about it now: it comes at once and fades.
    pub(super) share: f64,
}

impl Weather {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// How good the mood is at this time, from -1 to 1.
    pub(super) fn drift(&self, seconds: f64) -> f64 {
        let waves = WAVES.iter().enumerate();
        waves.map(|(wave, (period, weight))| weight * self.noise(wave, seconds / period)).sum()
    }

    /// How likely each mood is at this time, for somebody who is so much more cheerful than
    /// others (from -1 to 1).
    pub(super) fn mood_weights(&self, seconds: f64, cheer: f64) -> [f64; 3] {
        let good = (0.55 + 0.35 * self.drift(seconds) + 0.2 * cheer).clamp(0.05, 0.95);
        let taken = 1.0 - NEUTRAL_SHARE;
        [taken * good, NEUTRAL_SHARE, taken * (1.0 - good)]
    }

    /// The news at this time.
    pub(super) fn news(&self, seconds: f64) -> Option<News> {
        let span = (seconds / NEWS_SPAN_SECONDS).floor();
        let mut dice = Dice::new(self.seed, Purpose::News, index(span));
        if !dice.chance(NEWS_PROBABILITY) {
            return None;
        }
        let lasts = NEWS_SECONDS_MIN + dice.unit() * (NEWS_SECONDS_MAX - NEWS_SECONDS_MIN);
        let starts = dice.unit() * (NEWS_SPAN_SECONDS - lasts);
        let since = seconds - span * NEWS_SPAN_SECONDS - starts;
        let topic = dice.below(TOPICS.len());
        let mood = if dice.chance(0.5) { Mood::Positive } else { Mood::Negative };
        let share = NEWS_STRENGTH * (1.0 - since / lasts);
        (0.0..lasts).contains(&since).then_some(News { topic, mood, share })
    }

    /// Smooth noise from -1 to 1: a number for each whole place, and a curve from one to the next.
    fn noise(&self, wave: usize, place: f64) -> f64 {
        let from = place.floor();
        let at = |place: f64| {
            let place = index(place) * WAVES.len() as u64 + wave as u64;
            Dice::new(self.seed, Purpose::Weather, place).unit() * 2.0 - 1.0
        };
        let share = place - from;
        let curve = share * share * (3.0 - 2.0 * share);
        at(from) * (1.0 - curve) + at(from + 1.0) * curve
    }
}

#[expect(clippy::cast_possible_truncation, reason = "far below 2^63, and not negative")]
fn index(place: f64) -> u64 {
    place as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drift_is_slow_and_goes_both_ways() {
        let weather = Weather::new(3);
        let drifts: Vec<f64> = (0..7_200).map(|second| weather.drift(f64::from(second))).collect();
        assert!(drifts.windows(2).all(|pair| (pair[1] - pair[0]).abs() < 0.05));
        let (low, high) =
            drifts.iter().fold((1.0_f64, -1.0_f64), |(l, h), d| (l.min(*d), h.max(*d)));
        assert!((-1.0..-0.2).contains(&low) && (0.2..=1.0).contains(&high), "{low} {high}");
    }

    #[test]
    fn news_come_fade_and_go() {
        let weather = Weather::new(3);
        let seconds = (0..36_000).map(f64::from);
        let shares: Vec<_> = seconds.map(|s| weather.news(s).map(|news| news.share)).collect();
        let with_news = shares.iter().flatten().count();
        assert!((3_600..18_000).contains(&with_news), "{with_news}");
        for pair in shares.windows(2) {
            if let [Some(before), Some(after)] = pair {
                assert!(after < before);
            }
        }
    }
}
