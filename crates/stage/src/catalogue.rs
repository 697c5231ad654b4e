//! All stages, by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wingbeat_hub::HubError;
use wingbeat_model::{ModelError, linear::Analyzer};

use crate::{
    Stage,
    embed::{Embed, EmbedSettings},
    filter::{Filter, FilterSettings},
    language::{Language, LanguageSettings},
    models::ModelSettings,
    post::{Post, PostSettings},
    sentiment::{Sentiment, SentimentSettings},
    stamp::{Stamp, StampSettings},
    topics::{Topics, TopicsSettings},
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
    /// A model that it needs can't be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The folder of downloaded models can't be read.
    #[error(transparent)]
    Hub(#[from] HubError),
}

/// The settings of all stages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which models the stages use.
    pub models: ModelSettings,
    /// Reading a post out of a payload.
    pub post: PostSettings,
    /// Which posts are left out or tagged.
    pub filter: FilterSettings,
    /// What language a post is written in.
    pub language: LanguageSettings,
    /// Negative, neutral or positive.
    pub sentiment: SentimentSettings,
    /// What a post is about.
    pub topics: TopicsSettings,
    /// By what posts that are alike are found.
    pub embed: EmbedSettings,
    /// Who processed the record, and when.
    pub stamp: StampSettings,
}

/// The names of all stages.
pub const NAMES: [&str; 7] = [
    Post::NAME,
    Filter::NAME,
    Language::NAME,
    Sentiment::NAME,
    Topics::NAME,
    Embed::NAME,
    Stamp::NAME,
];

/// Makes a stage.
pub fn stage(name: &str, settings: &Settings) -> Result<Box<dyn Stage>, StageError> {
    match name {
        Post::NAME => Ok(Box::new(Post::new(&settings.post))),
        Filter::NAME => Ok(Box::new(Filter::new(&settings.filter, Analyzer::embedded()?)?)),
        Language::NAME => Ok(Box::new(Language::new(&settings.language, Analyzer::embedded()?)?)),
        Sentiment::NAME => Ok(Box::new(Sentiment::new(&settings.sentiment, &settings.models)?)),
        Topics::NAME => Ok(Box::new(Topics::new(&settings.topics, &settings.models)?)),
        Embed::NAME => Ok(Box::new(Embed::new(&settings.embed, &settings.models)?)),
        Stamp::NAME => Ok(Box::new(Stamp::new(&settings.stamp)?)),
        _ => Err(StageError::Unknown { name: name.to_owned(), known: NAMES.join(", ") }),
    }
}
