//! What can go wrong with a model or with what is put into it.

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The model is sound, as far as can be said, but of a kind that is not run here: another
    /// family, activation or size. A general runtime may run it.
    #[error("not a model for this encoder: {0}")]
    Unsupported(String),
    /// The files are damaged, or do not fit one another.
    #[error("{0}")]
    Model(String),
    /// The processor that `WINGBEAT_CPU` asks for is not the one that is there.
    #[error("{0}")]
    Cpu(String),
    /// A text can't be read.
    #[error("text {text}: {problem}")]
    Text {
        /// Which text of the batch, from 0.
        text: usize,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// Whether a general runtime may run the model.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported(_))
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }

    pub(crate) fn model(problem: impl Into<String>) -> Self {
        Self::Model(problem.into())
    }
}
