//! All stages, by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Stage,
    post::{Post, PostSettings},
    stamp::{Stamp, StampSettings},
};

/// A stage that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// There is none of that name.
    #[error("there is no stage `{name}`; there are: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// Its settings do not work.
    #[error("stage `{name}`: {problem}")]
    Settings {
        /// The stage.
        name: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// The settings of all stages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Reading a post out of a payload.
    pub post: PostSettings,
    /// Who processed the record, and when.
    pub stamp: StampSettings,
}

/// The names of all stages.
pub const NAMES: [&str; 2] = [Post::NAME, Stamp::NAME];

/// Makes a stage.
pub fn stage(name: &str, settings: &Settings) -> Result<Box<dyn Stage>, StageError> {
    match name {
        Post::NAME => Ok(Box::new(Post::new(&settings.post))),
        Stamp::NAME => Ok(Box::new(Stamp::new(&settings.stamp)?)),
        _ => Err(StageError::Unknown { name: name.to_owned(), known: NAMES.join(", ") }),
    }
}
