//! `language`: finds out what a post is written in.
//!
//! The text decides, not what the post declares: declarations come from the settings of an app and
//! are often wrong. Only where the text leaves it open does the declaration count.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wingbeat_model::linear::{Analyzer, LANGUAGES};

use crate::{Item, Stage, StageError, analysis};

/// Settings of the stage `language`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LanguageSettings {
    /// Below this probability, 0 to 1, the text leaves its language open: then the language that
    /// the post declares counts, where it declares one.
    pub sure: f64,
}

impl Default for LanguageSettings {
    fn default() -> Self {
        Self { sure: 0.5 }
    }
}

/// The stage.
#[derive(Debug)]
pub(crate) struct Language {
    analyzer: Arc<Analyzer>,
    sure: f64,
}

impl Language {
    pub(crate) const NAME: &'static str = "language";

    pub(crate) fn new(
        settings: &LanguageSettings,
        analyzer: Arc<Analyzer>,
    ) -> Result<Self, StageError> {
        analysis::check_probability(Self::NAME, "sure", settings.sure)?;
        Ok(Self { analyzer, sure: settings.sure })
    }

    fn of(&self, item: &mut Item) -> Option<&'static str> {
        let found = self.analyzer.language(item.features())?;
        if f64::from(found.confidence) >= self.sure {
            return Some(found.code);
        }
        Some(declared(item).unwrap_or(found.code))
    }
}

/// The first language that the post declares, if it is one of those that the model tells apart.
fn declared(item: &Item) -> Option<&'static str> {
    let first = item.declared_languages().into_iter().next()?.to_ascii_lowercase();
    let code = first.split('-').next()?;
    LANGUAGES.iter().map(|(known, _)| *known).find(|known| *known == code)
}

impl Stage for Language {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn run(&self, items: &mut [&mut Item]) {
        for item in items {
            let code = self.of(item);
            item.set_language(code);
            item.set_json(Self::NAME, &code);
        }
    }
}
