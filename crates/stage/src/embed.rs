//! `embed`: a post's embedding, by which posts that are alike can be found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wingbeat_model::{Judge, Reading};

use crate::{
    Item, Stage, StageError,
    analysis::{Gate, Unread},
    models::{self, ModelSettings},
};

/// Settings of the stage `embed`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmbedSettings {
    /// What becomes of a post in a language that the encoder can't read.
    pub unread: Unread,
}

/// The numbers of an embedding are given in steps of one over this. Rounding changes the likeness of
/// two posts by less than the encoder's own int8 does, and halves the member.
const STEPS: f32 = 10_000.0;

/// The stage.
#[derive(Debug)]
pub(crate) struct Embed {
    judge: Judge,
    settings: EmbedSettings,
}

impl Embed {
    pub(crate) const NAME: &'static str = "embed";
    /// The member that it adds: a list of numbers.
    const MEMBER: &'static str = "embedding";

    pub(crate) fn new(
        settings: &EmbedSettings,
        models: &ModelSettings,
    ) -> Result<Self, StageError> {
        Ok(Self { judge: models.embedding_judge()?, settings: settings.clone() })
    }
}

impl Stage for Embed {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn run(&self, items: &mut [&mut Item]) {
        let unread = self.settings.unread;
        let gate = Gate { stage: Self::NAME, unread, member: Self::MEMBER, token: None };
        for mut open in models::read(&self.judge, &gate, items) {
            let (_, reading) = open.seen();
            let Some(embedding) = reading.and_then(Reading::embedding) else { continue };
            let rounded: Vec<f32> =
                embedding.iter().map(|number| (number * STEPS).round() / STEPS).collect();
            open.item.set_json(Self::MEMBER, &rounded);
        }
    }
}
