//! Linear models over hashed word and character n-grams.
//!
//! A text is cut into tokens ([`token`](self)), the tokens give features, each a 32-bit hash
//! ([`Featuriser`]), and every head (language, sentiment, topics) adds up one row of int8 weights
//! per feature. Features are hashed once and serve all heads.

mod analyzer;
mod features;
mod head;
mod script;
mod token;

pub use analyzer::{Analyzer, LANGUAGE_COLUMNS, SENTIMENT_COLUMNS, TOPICS_COLUMNS};
pub use features::{Features, Featuriser, Group, fingerprint};
pub use head::{Block, Head, Layout, bucket};
pub use script::{LANGUAGES, Scripts, Writing};
pub use token::CHARS_MAX;
pub(crate) use token::{EMOTICON_EYES, EMOTICON_LETTERS};
