//! `topics`: what a post is about.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wingbeat_model::Judge;

use crate::{
    Item, Stage, StageError,
    analysis::{self, Gate, Unread},
    models::{self, ModelSettings, Open},
};

/// Settings of the stage `topics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TopicsSettings {
    /// A topic is given where its score, 0 to 1, is at least this. The topic with the highest
    /// score always is.
    #[schemars(extend("x-env" = ["TOPIC_SIGMOID_THRESHOLD", "SIGMOID_THRESHOLD"]))]
    pub threshold: f64,
    /// What becomes of a post in a language that the model can't read.
    pub unread: Unread,
    /// Whether the member `topics` also has `probabilities`: the scores of all topics.
    pub probabilities: bool,
}

impl Default for TopicsSettings {
    fn default() -> Self {
        Self { threshold: 0.5, unread: Unread::default(), probabilities: false }
    }
}

/// The stage.
#[derive(Debug)]
pub(crate) struct Topics {
    judge: Judge,
    settings: TopicsSettings,
}

/// The member `topics`.
#[derive(Serialize)]
struct Member {
    topics: Vec<&'static str>,
    top_topic: &'static str,
    top_confidence: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilities: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Topics {
    pub(crate) const NAME: &'static str = "topics";
    /// What stands for the leading topic in subjects.
    const TOKEN: &'static str = "topic";

    pub(crate) fn new(
        settings: &TopicsSettings,
        models: &ModelSettings,
    ) -> Result<Self, StageError> {
        analysis::check_probability(Self::NAME, "threshold", settings.threshold)?;
        Ok(Self { judge: models.topics_judge()?, settings: settings.clone() })
    }

    fn score(&self, mut open: Open<'_>) {
        let TopicsSettings { threshold, probabilities, .. } = self.settings;
        let (features, reading) = open.seen();
        let found = self.judge.topics(features, reading);
        let item = open.item;
        let (top_topic, top_confidence) = found.top();
        let mut topics: Vec<&'static str> = found
            .iter()
            .filter(|(_, score)| f64::from(*score) >= threshold)
            .map(|(label, _)| label)
            .collect();
        if topics.is_empty() {
            topics.push(top_topic);
        }
        let probabilities = probabilities
            .then(|| found.iter().map(|(label, score)| (label.to_owned(), score.into())).collect());
        item.findings.topics = Some((topics.clone(), top_confidence));
        item.set_json(Self::NAME, &Member { topics, top_topic, top_confidence, probabilities });
        item.set_token(Self::TOKEN, top_topic);
    }
}

impl Stage for Topics {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn run(&self, items: &mut [&mut Item]) {
        let (unread, token) = (self.settings.unread, Some((Self::TOKEN, "unknown")));
        let gate = Gate { stage: Self::NAME, unread, member: Self::NAME, token };
        for open in models::read(&self.judge, &gate, items) {
            self.score(open);
        }
    }
}
