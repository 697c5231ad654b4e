//! What stops a flow.

use wingbeat_log::LogError;
use wingbeat_record::SubjectError;
use wingbeat_source::SourceError;
use wingbeat_stage::StageError;

/// Why a flow or an ingest can't start or go on. One bad record never does.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The pack does not work out.
    #[error("{0}")]
    Pack(String),
    /// A stage can't be made.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A subject is not valid.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The threads for computing can't be had, or one of them died.
    #[error("can't compute: {0}")]
    Pool(String),
    /// Something stored by an earlier run can't be read.
    #[error("{what} can't be read: {problem}")]
    Stored {
        /// What was stored.
        what: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}
