//! The steps that look at records.
//!
//! Floor 2. A stage sees a batch and settles or annotates each record; one file each, and one
//! line each in [`catalogue`]. Which stages a flow has, and in which order, its pack says.

mod analysis;
pub mod catalogue;
mod choice;
mod contract;
mod embed;
mod explain;
mod filter;
mod language;
mod models;
mod post;
mod sentiment;
mod stamp;
mod topics;

pub use analysis::Unread;
pub use catalogue::{Settings, StageError};
pub use choice::{EmbeddingChoice, ModelChoice};
pub use contract::{Findings, Item, Stage, Verdict};
pub use embed::EmbedSettings;
pub use explain::Explain;
pub use filter::{Action, FilterSettings};
pub use language::LanguageSettings;
pub use models::{ModelSettings, RuntimeSetting, Wanted};
pub use post::PostSettings;
pub use sentiment::SentimentSettings;
pub use stamp::StampSettings;
pub use topics::TopicsSettings;
