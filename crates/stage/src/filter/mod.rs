//! `filter`: leaves posts out, or tags them, by rules.
//!
//! Every rule is one file beside this one and one line in [`Filter::new`]: that is the place to
//! add one's own. A rule looks at a post and gives a reason; what then happens is the rule's
//! setting: `drop` filters the post with that reason, `tag` notes the reason in the header
//! `Wingbeat-Tags` and lets it pass, `off` does not ask the rule at all.

mod content;
mod density;
mod label;
mod language;
mod length;
mod repeat;
mod spam;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wingbeat_model::linear::Analyzer;
use wingbeat_ops::config::Span;
use wingbeat_record::Reason;

use crate::{Item, Stage, StageError};

/// What a rule's finding leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The rule is not asked.
    Off,
    /// The post passes with the reason in its header `Wingbeat-Tags`.
    Tag,
    /// The post is filtered with the reason.
    Drop,
}

/// Settings of the stage `filter`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterSettings {
    /// Whether any rule is asked.
    #[schemars(extend("x-env" = ["ENABLE_TEXT_FILTERING"]))]
    pub enabled: bool,
    /// Posts without text, too short or too long: `no_text`, `too_short`, `too_long`.
    pub length: Action,
    /// The fewest Unicode characters that a text has, without the space around it.
    #[schemars(extend("x-env" = ["MIN_TEXT_LENGTH"]))]
    pub length_min: usize,
    /// The most Unicode characters that a text has.
    #[schemars(extend("x-env" = ["MAX_TEXT_LENGTH"]))]
    pub length_max: usize,
    /// Posts in other languages than those allowed: `language_filtered`.
    pub language: Action,
    /// The languages allowed, such as `en`; none means all. The first language that the post
    /// declares counts; a post that declares none passes.
    pub languages: Vec<String>,
    /// Whether a post that declares an allowed language is also read, and left out when it is
    /// clearly written in another.
    pub language_check: bool,
    /// Posts that match a pattern of spam: `spam_detected`.
    pub spam: Action,
    /// Patterns of spam: regular expressions, in which case does not matter.
    pub spam_patterns: Vec<String>,
    /// Shouting, emoji in heaps, one character many times over: `content_filtered`.
    pub content: Action,
    /// The same words again and again, by one author or by many: `repeated`.
    pub repeat: Action,
    /// Over what time repeats are counted.
    pub repeat_window: Span,
    /// So often may one author say the same within that time.
    pub repeat_author_max: u32,
    /// So many authors may say the same within that time.
    pub repeat_authors_max: u32,
    /// Texts that are mostly links or mentions: `link_density`, `mention_density`.
    pub density: Action,
    /// The most links in a post.
    pub links_max: usize,
    /// The most mentions in a post.
    pub mentions_max: usize,
    /// Posts that their authors have labelled: `labelled`.
    pub label: Action,
    /// The labels that count.
    pub labels: Vec<String>,
}

impl Default for FilterSettings {
    fn default() -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            enabled: true,
            length: Action::Drop,
            length_min: 10,
            length_max: 1000,
            language: Action::Drop,
            languages: Vec::new(),
            language_check: true,
            spam: Action::Tag,
            spam_patterns: texts(&[
                r"bit\.ly/",
                r"tinyurl\.com/",
                "🚀.*moon",
                "💎.*hands",
                "buy.*now.*limited.*time",
            ]),
            content: Action::Tag,
            repeat: Action::Tag,
            repeat_window: Span::from_secs(600),
            repeat_author_max: 3,
            repeat_authors_max: 20,
            density: Action::Tag,
            links_max: 4,
            mentions_max: 6,
            label: Action::Tag,
            labels: texts(&["porn", "sexual", "nudity", "graphic-media", "spam"]),
        }
    }
}

/// A rule: gives the reason why a post should be left out, if there is one.
trait Rule: Send + Sync {
    fn look(&self, item: &mut Item) -> Option<Reason>;
}

/// The stage.
pub(crate) struct Filter {
    rules: Vec<(Action, Box<dyn Rule>)>,
}

impl Filter {
    pub(crate) const NAME: &'static str = "filter";

    pub(crate) fn new(
        settings: &FilterSettings,
        analyzer: Arc<Analyzer>,
    ) -> Result<Self, StageError> {
        let mut rules: Vec<(Action, Box<dyn Rule>)> = vec![
            (settings.length, Box::new(length::Length::new(settings)?)),
            (settings.language, Box::new(language::Language::new(settings, analyzer))),
            (settings.label, Box::new(label::Label::new(settings))),
            (settings.spam, Box::new(spam::Spam::new(settings)?)),
            (settings.content, Box::new(content::Content)),
            (settings.density, Box::new(density::Density::new(settings))),
            (settings.repeat, Box::new(repeat::Repeat::new(settings))),
        ];
        rules.retain(|(action, _)| settings.enabled && *action != Action::Off);
        Ok(Self { rules })
    }

    fn look(&self, item: &mut Item) {
        for (action, rule) in &self.rules {
            let Some(reason) = rule.look(item) else { continue };
            if *action == Action::Drop {
                item.filter(reason);
                return;
            }
            item.tag(reason);
        }
    }
}

impl Stage for Filter {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn run(&self, items: &mut [&mut Item]) {
        for item in items {
            self.look(item);
        }
    }
}

/// A setting that does not work.
fn wrong(problem: String) -> StageError {
    StageError::Settings { name: Filter::NAME, problem }
}
