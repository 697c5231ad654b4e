//! Patterns of spam.

use regex::{RegexSet, RegexSetBuilder};
use wingbeat_record::Reason;

use super::{FilterSettings, Rule, wrong};
use crate::{Item, StageError};

/// The most memory that the patterns may take, in bytes: they come from a file.
const PATTERNS_BYTES_MAX: usize = 10 * 1024 * 1024;

pub(super) struct Spam {
    patterns: RegexSet,
}

impl Spam {
    pub(super) fn new(settings: &FilterSettings) -> Result<Self, StageError> {
        let patterns = RegexSetBuilder::new(&settings.spam_patterns)
            .case_insensitive(true)
            .dot_matches_new_line(true)
            .size_limit(PATTERNS_BYTES_MAX)
            .build()
            .map_err(|error| wrong(format!("`spam_patterns`: {error}")))?;
        Ok(Self { patterns })
    }
}

impl Rule for Spam {
    fn look(&self, item: &mut Item) -> Option<Reason> {
        self.patterns.is_match(item.text()).then(|| Reason::new("spam_detected"))
    }
}
