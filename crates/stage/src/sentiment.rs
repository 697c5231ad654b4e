//! `sentiment`: negative, neutral or positive.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wingbeat_model::Judge;
use wingbeat_record::Reason;

use crate::{
    Item, Stage, StageError,
    analysis::{self, Gate, Unread},
    models::{self, ModelSettings, Open},
};

/// Settings of the stage `sentiment`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SentimentSettings {
    /// A post whose sentiment is less certain than this, 0 to 1, is filtered with the reason
    /// `low_confidence`.
    #[schemars(extend("x-env" = ["SENTIMENT_CONFIDENCE_THRESHOLD", "CONFIDENCE_THRESHOLD"]))]
    pub threshold: f64,
    /// What becomes of a post in a language that the model can't read.
    pub unread: Unread,
    /// Whether the member `sentiment` also has `label` (in capitals) and `score`: the same as
    /// `sentiment` and `confidence`, under the names that dashboards of the older services read.
    pub label_and_score: bool,
}

impl Default for SentimentSettings {
    fn default() -> Self {
        Self { threshold: 0.4, unread: Unread::default(), label_and_score: true }
    }
}

/// The stage.
#[derive(Debug)]
pub(crate) struct Sentiment {
    judge: Judge,
    settings: SentimentSettings,
}

/// The member `sentiment`.
#[derive(Serialize)]
struct Member {
    sentiment: &'static str,
    confidence: f32,
    probabilities: Probabilities,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
}

#[derive(Serialize)]
struct Probabilities {
    negative: f32,
    neutral: f32,
    positive: f32,
}

impl Sentiment {
    pub(crate) const NAME: &'static str = "sentiment";

    pub(crate) fn new(
        settings: &SentimentSettings,
        models: &ModelSettings,
    ) -> Result<Self, StageError> {
        analysis::check_probability(Self::NAME, "threshold", settings.threshold)?;
        Ok(Self { judge: models.sentiment_judge()?, settings: settings.clone() })
    }

    fn score(&self, mut open: Open<'_>) {
        let SentimentSettings { threshold, label_and_score, .. } = self.settings;
        let (features, reading) = open.seen();
        let found = self.judge.sentiment(features, reading);
        let item = open.item;
        let (sentiment, confidence) = found.top();
        item.findings.sentiment = Some((sentiment, confidence));
        if f64::from(confidence) < threshold {
            item.filter(Reason::new("low_confidence"));
            return;
        }
        let wingbeat_model::Sentiment { negative, neutral, positive } = found;
        let member = Member {
            sentiment,
            confidence,
            probabilities: Probabilities { negative, neutral, positive },
            label: label_and_score.then(|| sentiment.to_ascii_uppercase()),
            score: label_and_score.then_some(confidence),
        };
        item.set_json(Self::NAME, &member);
        item.set_token(Self::NAME, sentiment);
    }
}

impl Stage for Sentiment {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn run(&self, items: &mut [&mut Item]) {
        let (unread, token) = (self.settings.unread, Some((Self::NAME, "unscored")));
        let gate = Gate { stage: Self::NAME, unread, member: Self::NAME, token };
        for open in models::read(&self.judge, &gate, items) {
            self.score(open);
        }
    }
}
