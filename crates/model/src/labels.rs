//! What the models say, whichever model says it.

use std::sync::{Mutex, PoisonError};

/// The topics, in the order of the model that the replaced services used (TweetTopic, multi-label).
pub const TOPIC_LABELS: [&str; 19] = [
    "arts_&_culture",
    "business_&_entrepreneurs",
    "celebrity_&_pop_culture",
    "diaries_&_daily_life",
    "family",
    "fashion_&_style",
    "film_tv_&_video",
    "fitness_&_health",
    "food_&_dining",
    "gaming",
    "learning_&_educational",
    "music",
    "news_&_social_concern",
    "other_hobbies",
    "relationships",
    "science_&_technology",
    "sports",
    "travel_&_adventure",
    "youth_&_student_life",
];

/// The language of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Language {
    /// ISO 639-1.
    pub code: &'static str,
    /// The probability that the model gives it, 0 to 1.
    pub confidence: f32,
}

/// The sentiment of a text: probabilities that sum to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sentiment {
    /// The probability that it is negative.
    pub negative: f32,
    /// The probability that it is neutral.
    pub neutral: f32,
    /// The probability that it is positive.
    pub positive: f32,
}

impl Sentiment {
    /// The labels, in the order of [`Sentiment::probabilities`].
    pub const LABELS: [&'static str; 3] = ["negative", "neutral", "positive"];

    /// The sentiment that these logits mean, in the order of [`Sentiment::LABELS`].
    pub fn of_logits(logits: [f32; 3]) -> Self {
        let [negative, neutral, positive] = softmax(logits);
        Self { negative, neutral, positive }
    }

    /// The probabilities in the order of [`Sentiment::LABELS`].
    pub fn probabilities(&self) -> [f32; 3] {
        [self.negative, self.neutral, self.positive]
    }

    /// The most probable label and its probability.
    pub fn top(&self) -> (&'static str, f32) {
        let probabilities = self.probabilities();
        let top = index_of_max(&probabilities);
        (Self::LABELS[top], probabilities[top])
    }
}

/// The topics of a text: one score each, 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Topics {
    labels: &'static [&'static str],
    /// The scores, in the order of [`Topics::labels`]. 0.5 is where a topic counts as present.
    pub scores: Vec<f32>,
}

impl Topics {
    /// Scores for these labels, of which there must be at least one, and as many as scores.
    pub(crate) fn new(labels: &'static [&'static str], scores: Vec<f32>) -> Self {
        Self { labels, scores }
    }

    /// The topics that these logits mean, in the order of [`TOPIC_LABELS`], independent of one
    /// another.
    pub fn of_logits(logits: [f32; TOPIC_LABELS.len()]) -> Self {
        Self::new(&TOPIC_LABELS, logits.map(sigmoid).to_vec())
    }

    /// What the scores are of: [`TOPIC_LABELS`], or a model's own.
    pub fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// The labels with their scores.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f32)> {
        self.labels.iter().copied().zip(self.scores.iter().copied())
    }

    /// The score of a label; `None` where there is no such label.
    pub fn score(&self, label: &str) -> Option<f32> {
        self.iter().find(|(known, _)| *known == label).map(|(_, score)| score)
    }

    /// The topic with the highest score, and the score.
    pub fn top(&self) -> (&'static str, f32) {
        let top = index_of_max(&self.scores);
        self.iter().nth(top).unwrap_or(("", 0.0))
    }
}

/// Labels of a model, kept as long as the program runs: a few hundred words for each model that is
/// loaded, and the same ones once. So what was found of a text can be handed on without a copy.
pub(crate) fn keep(labels: &[String]) -> &'static [&'static str] {
    static KEPT: Mutex<Vec<&'static [&'static str]>> = Mutex::new(Vec::new());
    if labels == TOPIC_LABELS {
        return &TOPIC_LABELS;
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(same) = kept.iter().find(|same| **same == labels) {
        return same;
    }
    let words = labels.iter().map(|label| &*label.clone().leak());
    let new: &'static [&'static str] = words.collect::<Vec<_>>().leak();
    kept.push(new);
    new
}

/// The probability that a logit means by itself.
pub(crate) fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Probabilities that sum to 1.
pub(crate) fn softmax<const N: usize>(mut logits: [f32; N]) -> [f32; N] {
    to_probabilities(&mut logits);
    logits
}

/// Puts probabilities that sum to 1 in the place of logits.
pub(crate) fn to_probabilities(logits: &mut [f32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter_mut().for_each(|logit| *logit = (*logit - max).exp());
    let sum: f32 = logits.iter().sum();
    logits.iter_mut().for_each(|exponential| *exponential /= sum);
}

/// The index of the largest value; the first of equals.
pub fn index_of_max(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}
