//! What the stages do, counted as the replaced stream processors counted it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use wingbeat_flow::Meter;
use wingbeat_model::TOPIC_LABELS;
use wingbeat_stage::{Item, Verdict};

use crate::commands::legacy_metrics::{Histogram, write_histogram_help, write_split};

/// The bounds of probabilities.
const TENTHS: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// The bounds of durations, in seconds. The replaced services had those from a hundredth on.
const SECONDS: &[f64] = &[0.0001, 0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

const SENTIMENTS: [&str; 3] = ["negative", "neutral", "positive"];
/// The stages with a model, and what the replaced services call it.
const MODELS: [(&str, &str); 2] = [("sentiment", "sentiment"), ("topics", "topic")];

/// What was counted since the start.
pub(super) struct Counters {
    /// Posts that could be read as JSON.
    pub(super) processed: AtomicU64,
    sentiments: [AtomicU64; 3],
    sentiment_confidence: Histogram,
    topics: [AtomicU64; TOPIC_LABELS.len()],
    /// Topics of a model that has others. There are as many as the model has labels.
    other_topics: Mutex<BTreeMap<&'static str, u64>>,
    topic_confidence: Histogram,
    processing: Histogram,
    inference: [Histogram; 2],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            processed: AtomicU64::new(0),
            sentiments: Default::default(),
            sentiment_confidence: Histogram::new(TENTHS),
            topics: Default::default(),
            other_topics: Mutex::default(),
            topic_confidence: Histogram::new(TENTHS),
            processing: Histogram::new(SECONDS),
            inference: [Histogram::new(SECONDS), Histogram::new(SECONDS)],
        }
    }
}

/// The place of a word in a list.
fn place(words: &[&str], word: &str) -> Option<usize> {
    words.iter().position(|known| *known == word)
}

impl Meter for Counters {
    fn ran(&self, stage: &'static str, records: usize, took: Duration) {
        let count = records as u64;
        let each = took.as_secs_f64() / count.max(1) as f64;
        if let Some(model) = MODELS.iter().position(|(of, _)| *of == stage) {
            self.inference[model].observe(each, count);
        }
    }

    fn finished(&self, records: usize, took: Duration) {
        self.processing.observe(took.as_secs_f64(), records as u64);
    }

    fn judged(&self, item: &Item) {
        let is_unread =
            matches!(item.verdict(), Some(Verdict::Dead(cause)) if cause.stage == "post");
        if !is_unread {
            self.processed.fetch_add(1, Ordering::Relaxed);
        }
        let findings = item.findings();
        if let Some((sentiment, confidence)) = findings.sentiment {
            if let Some(place) = place(&SENTIMENTS, sentiment) {
                self.sentiments[place].fetch_add(1, Ordering::Relaxed);
            }
            self.sentiment_confidence.observe(confidence.into(), 1);
        }
        if let Some((topics, confidence)) = &findings.topics {
            for topic in topics {
                match place(&TOPIC_LABELS, topic) {
                    Some(place) => _ = self.topics[place].fetch_add(1, Ordering::Relaxed),
                    None => *self.other_topics().entry(topic).or_default() += 1,
                }
            }
            self.topic_confidence.observe((*confidence).into(), 1);
        }
    }
}

fn counts<'a>(
    words: &'a [&'a str],
    counters: &'a [AtomicU64],
) -> impl Iterator<Item = (&'a str, u64)> {
    words.iter().copied().zip(counters.iter().map(|counter| counter.load(Ordering::Relaxed)))
}

impl Counters {
    /// How often each sentiment was found.
    pub(super) fn sentiments(&self) -> impl Iterator<Item = (&str, u64)> {
        counts(&SENTIMENTS, &self.sentiments)
    }

    /// How often each topic was found, the most frequent first.
    pub(super) fn topics(&self) -> Vec<(&str, u64)> {
        let mut topics = self.all_topics();
        topics.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        topics
    }

    fn all_topics(&self) -> Vec<(&str, u64)> {
        let others: Vec<_> = self.other_topics().iter().map(|(topic, n)| (*topic, *n)).collect();
        counts(&TOPIC_LABELS, &self.topics).chain(others).collect()
    }

    fn other_topics(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.other_topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what was counted.
    pub(super) fn write(&self, text: &mut String, prefix: &str) {
        let name = |name: &str| format!("{prefix}_{name}");
        let sentiments = name("sentiment_predictions_total");
        write_split(text, &sentiments, "Sentiments found.", "sentiment", self.sentiments());
        let topics = name("topic_predictions_total");
        write_split(text, &topics, "Topics found.", "topic", self.all_topics());
        for (short, help, histogram) in [
            ("sentiment_confidence", "Probability of the sentiment.", &self.sentiment_confidence),
            ("topic_confidence", "Probability of the likeliest topic.", &self.topic_confidence),
            (
                "processing_duration_seconds",
                "How long the batch of a record took in all stages.",
                &self.processing,
            ),
        ] {
            write_histogram_help(text, &name(short), help);
            histogram.write(text, &name(short), "");
        }
        let inference = name("model_inference_duration_seconds");
        write_histogram_help(text, &inference, "How long a model took per record.");
        for ((_, model), histogram) in MODELS.iter().zip(&self.inference) {
            histogram.write(text, &inference, &format!("model=\"{model}\""));
        }
    }
}
