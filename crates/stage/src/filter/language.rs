//! Languages that are not wanted.

use std::sync::Arc;

use wingbeat_model::linear::Analyzer;
use wingbeat_record::Reason;

use super::{FilterSettings, Rule};
use crate::Item;

/// A text whose language is at least this certain is clearly written in it.
const CLEARLY: f32 = 0.9;

pub(super) struct Language {
    allowed: Vec<String>,
    analyzer: Option<Arc<Analyzer>>,
}

impl Language {
    pub(super) fn new(settings: &FilterSettings, analyzer: Arc<Analyzer>) -> Self {
        let allowed = settings.languages.iter().map(|code| primary(code)).collect();
        Self { allowed, analyzer: settings.language_check.then_some(analyzer) }
    }

    fn is_allowed(&self, code: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == code)
    }
}

/// The language of a tag such as `en-US`.
fn primary(tag: &str) -> String {
    tag.split('-').next().unwrap_or_default().to_ascii_lowercase()
}

impl Rule for Language {
    fn look(&self, item: &mut Item) -> Option<Reason> {
        if self.allowed.is_empty() {
            return None;
        }
        let declared = item.declared_languages().into_iter().next()?;
        let reason = Some(Reason::new("language_filtered"));
        if !self.is_allowed(&primary(&declared)) {
            return reason;
        }
        let found = self.analyzer.as_ref()?.language(item.features())?;
        if found.confidence >= CLEARLY && !self.is_allowed(found.code) { reason } else { None }
    }
}
