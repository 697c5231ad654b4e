//! What the models say, whichever model says it.

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

/// The topics of a text: one score each in the order of [`TOPIC_LABELS`], 0 to 1, independent of
/// one another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Topics {
    /// The scores. 0.5 is where a topic counts as present.
    pub scores: [f32; TOPIC_LABELS.len()],
}

impl Topics {
    /// The topics that these logits mean, in the order of [`TOPIC_LABELS`].
    pub fn of_logits(logits: [f32; TOPIC_LABELS.len()]) -> Self {
        Self { scores: logits.map(|logit| 1.0 / (1.0 + (-logit).exp())) }
    }

    /// The topic with the highest score, and the score.
    pub fn top(&self) -> (&'static str, f32) {
        let top = index_of_max(&self.scores);
        (TOPIC_LABELS[top], self.scores[top])
    }
}

/// Probabilities that sum to 1.
pub(crate) fn softmax<const N: usize>(logits: [f32; N]) -> [f32; N] {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials = logits.map(|logit| (logit - max).exp());
    let sum: f32 = exponentials.iter().sum();
    exponentials.map(|exponential| exponential / sum)
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
