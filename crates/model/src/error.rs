//! What can go wrong with a model.

/// A model that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model `{model}`: {problem}")]
pub struct ModelError {
    /// Which model: the name of its file.
    pub model: String,
    /// What is wrong with it, and what to do.
    pub problem: String,
}

impl ModelError {
    /// An error of the model in this file.
    pub(crate) fn new(model: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { model: model.into(), problem: problem.into() }
    }
}
