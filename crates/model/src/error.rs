//! What can go wrong with a model.

/// A model that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model `{model}`: {problem}")]
pub struct ModelError {
    /// Which model: the name of its file.
    pub model: &'static str,
    /// What is wrong with it.
    pub problem: String,
}
