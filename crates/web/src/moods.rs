//! Counting moods and topics over the last minute and the last hour.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// The moods that are told apart; `unscored` is a post that the model could not read.
pub(crate) const MOODS: [&str; 4] = ["positive", "neutral", "negative", "unscored"];
/// The length of the window that "now" means, in seconds.
pub(crate) const WINDOW_SECONDS: i64 = 60;
/// The length of a bucket of the history, in seconds.
pub(crate) const BUCKET_SECONDS: i64 = 5;
/// How far the history reaches back, in seconds.
pub(crate) const HISTORY_SECONDS: i64 = 3600;
/// At most this many topics are told apart: a hostile stream could bring any number.
const TOPICS_MAX: usize = 256;

/// Posts per mood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Moods {
    pub(crate) positive: u64,
    pub(crate) neutral: u64,
    pub(crate) negative: u64,
    pub(crate) unscored: u64,
}

impl Moods {
    fn add(&mut self, mood: &str, number: u64) {
        match mood {
            "positive" => self.positive += number,
            "neutral" => self.neutral += number,
            "negative" => self.negative += number,
            _ => self.unscored += number,
        }
    }

    fn plus(&mut self, other: &Self) {
        self.positive += other.positive;
        self.neutral += other.neutral;
        self.negative += other.negative;
        self.unscored += other.unscored;
    }

    fn total(&self) -> u64 {
        self.positive + self.neutral + self.negative + self.unscored
    }
}

/// Moods of one bucket of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Bucket {
    /// Its start, in seconds since 1970.
    pub(crate) t: i64,
    #[serde(flatten)]
    pub(crate) moods: Moods,
}

/// One topic's count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TopicCount {
    pub(crate) topic: String,
    pub(crate) count: u64,
}

/// What the last minute looked like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Now {
    pub(crate) window_s: i64,
    pub(crate) moods: Moods,
    pub(crate) topics: Vec<TopicCount>,
    pub(crate) posts_with_topics: u64,
    pub(crate) posts_per_s: f64,
    pub(crate) bucket: Option<Bucket>,
}

#[derive(Debug, Default)]
struct Second {
    t: i64,
    moods: Moods,
    topics: BTreeMap<u16, u64>,
    posts_with_topics: u64,
}

/// Counts posts as they come. Seconds come in order; a second that goes back (the clock was set)
/// counts as the newest one.
#[derive(Debug, Default)]
pub(crate) struct MoodCounter {
    /// The window, second by second.
    seconds: VecDeque<Second>,
    /// The history.
    buckets: VecDeque<Bucket>,
    topics: Vec<String>,
}

impl MoodCounter {
    /// Counts a post that was stored in second `t`.
    pub(crate) fn count<'a>(
        &mut self,
        t: i64,
        mood: &str,
        topics: impl IntoIterator<Item = &'a str>,
    ) {
        let t = self.seconds.back().map_or(t, |newest| t.max(newest.t));
        if self.seconds.back().is_none_or(|newest| newest.t < t) {
            self.seconds.push_back(Second { t, ..Second::default() });
        }
        let indices: Vec<u16> = topics.into_iter().map(|topic| self.index_of(topic)).collect();
        if let Some(second) = self.seconds.back_mut() {
            second.moods.add(mood, 1);
            second.posts_with_topics += u64::from(!indices.is_empty());
            for index in indices {
                *second.topics.entry(index).or_default() += 1;
            }
        }
        let start = t - t.rem_euclid(BUCKET_SECONDS);
        if self.buckets.back().is_none_or(|newest| newest.t < start) {
            self.buckets.push_back(Bucket { t: start, moods: Moods::default() });
        }
        if let Some(bucket) = self.buckets.back_mut() {
            bucket.moods.add(mood, 1);
        }
        self.forget(t);
    }

    fn index_of(&mut self, topic: &str) -> u16 {
        let known = self.topics.iter().position(|name| name == topic);
        let index = known.unwrap_or_else(|| {
            if self.topics.len() < TOPICS_MAX {
                let is_full = self.topics.len() + 1 == TOPICS_MAX;
                self.topics.push(if is_full { "other" } else { topic }.to_owned());
            }
            self.topics.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    fn forget(&mut self, now: i64) {
        while self.seconds.front().is_some_and(|second| second.t <= now - WINDOW_SECONDS) {
            self.seconds.pop_front();
        }
        while self.buckets.front().is_some_and(|bucket| bucket.t < now - HISTORY_SECONDS) {
            self.buckets.pop_front();
        }
    }

    /// What the last minute before second `now` looked like.
    pub(crate) fn now(&mut self, now: i64) -> Now {
        self.forget(now);
        let mut moods = Moods::default();
        let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
        let mut posts_with_topics = 0;
        for second in &self.seconds {
            moods.plus(&second.moods);
            posts_with_topics += second.posts_with_topics;
            for (topic, count) in &second.topics {
                *counts.entry(*topic).or_default() += count;
            }
        }
        let name = |index: u16| self.topics.get(usize::from(index)).cloned().unwrap_or_default();
        let mut topics: Vec<TopicCount> = counts
            .into_iter()
            .map(|(index, count)| TopicCount { topic: name(index), count })
            .collect();
        topics.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.topic.cmp(&b.topic)));
        // The current second is not over yet, so the rate goes by the ten before it.
        let recent = self.seconds.iter().filter(|s| (now - 10..now).contains(&s.t));
        let recent: u64 = recent.map(|second| second.moods.total()).sum();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let posts_per_s = recent as f64 / 10.0;
        Now {
            window_s: WINDOW_SECONDS,
            moods,
            topics,
            posts_with_topics,
            posts_per_s,
            bucket: self.buckets.back().copied(),
        }
    }

    /// The history from second `since` on, oldest first.
    pub(crate) fn history(&self, since: i64) -> Vec<Bucket> {
        self.buckets.iter().filter(|bucket| bucket.t + BUCKET_SECONDS > since).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_forgets_and_the_history_remembers() {
        let mut counter = MoodCounter::default();
        for t in 1000..1100 {
            counter.count(t, MOODS[usize::try_from(t % 4).unwrap()], ["sports"]);
        }
        let now = counter.now(1100);
        assert_eq!(now.moods.total(), 59);
        assert_eq!((now.topics[0].count, now.posts_with_topics), (59, 59));
        assert!((now.posts_per_s - 1.0).abs() < 1e-9);
        let history = counter.history(0);
        assert_eq!(history.len(), 20);
        assert_eq!(history.iter().map(|bucket| bucket.moods.total()).sum::<u64>(), 100);
        assert_eq!(counter.history(1095).len(), 1);
        counter.count(1000 + HISTORY_SECONDS + 50, "positive", []);
        assert_eq!(counter.history(0)[0].t, 1050);
        assert_eq!(counter.now(10_000).moods.total(), 0);
    }

    #[test]
    fn a_clock_that_goes_back_and_endless_topics_do_no_harm() {
        let mut counter = MoodCounter::default();
        counter.count(1000, "positive", []);
        counter.count(900, "strange", []);
        assert_eq!(counter.now(1000).moods, Moods { positive: 1, unscored: 1, ..Moods::default() });
        for n in 0..1000 {
            counter.count(1000, "neutral", [n.to_string().as_str()]);
        }
        let topics = counter.now(1000).topics;
        assert_eq!((topics.len(), topics[0].topic.as_str()), (TOPICS_MAX, "other"));
    }
}
