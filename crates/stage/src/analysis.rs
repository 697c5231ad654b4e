//! What the stages `language`, `sentiment`, `topics` and `embed` share: a text is cut into features
//! once, and what no model can read is not scored.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};
use wingbeat_model::{
    Reading,
    linear::{Analyzer, Features, Featuriser},
};
use wingbeat_record::Reason;

use crate::{Item, StageError};

/// What becomes of a post in a language that the model can't read.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Unread {
    /// It is emitted without a score: the member is null.
    #[default]
    Emit,
    /// It is filtered, with the reason `unread_language`.
    Filter,
    /// It is scored as if the model could read it.
    Score,
}

/// What a stage does with texts that its model can't read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate {
    /// The stage.
    pub(crate) stage: &'static str,
    /// What becomes of the post.
    pub(crate) unread: Unread,
    /// The member that the stage adds: null, then.
    pub(crate) member: &'static str,
    /// The token that it sets, if it sets one, and what it is then.
    pub(crate) token: Option<(&'static str, &'static str)>,
}

impl Item {
    /// The features of the text, and what the encoder has read out of it, if it has.
    pub(crate) fn seen(&mut self) -> (&Features, Option<&Reading>) {
        thread_local! {
            static FEATURISER: RefCell<Featuriser> = RefCell::default();
        }
        let Self { text, features, reading, .. } = self;
        let features = features.get_or_insert_with(|| {
            FEATURISER.with_borrow_mut(|featuriser| featuriser.features(text))
        });
        (features, reading.as_ref())
    }

    /// The features of the text.
    pub(crate) fn features(&mut self) -> &Features {
        self.seen().0
    }

    /// Whether the analyzer can read the text. A flow without the stage `language` gets the answer
    /// too.
    fn is_readable(&mut self, analyzer: &Analyzer) -> bool {
        let language = match self.language {
            Some(language) => language,
            None => analyzer.language(self.features()).map(|language| language.code),
        };
        language.is_some_and(|code| analyzer.languages_read().contains(&code))
    }

    /// Whether a model is to score the text. Where it is not, the item is settled or annotated.
    pub(crate) fn is_to_be_scored(&mut self, analyzer: &Analyzer, gate: &Gate) -> bool {
        if gate.unread == Unread::Score && !self.text().trim().is_empty() {
            return true;
        }
        if self.is_readable(analyzer) {
            return true;
        }
        if gate.unread == Unread::Filter {
            self.filter(Reason::new("unread_language"));
        } else {
            self.set_member(gate.member, b"null".to_vec());
            if let Some((name, token)) = gate.token {
                self.set_token(name, token);
            }
        }
        false
    }
}

/// Refuses a setting that is to be a probability and is none.
pub(crate) fn check_probability(
    stage: &'static str,
    name: &str,
    value: f64,
) -> Result<(), StageError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    let problem = format!("`{name}` is {value}; it is a probability, from 0 to 1");
    Err(StageError::Settings { name: stage, problem })
}
