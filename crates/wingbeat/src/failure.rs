//! How a command fails: one line, and an exit code.

use std::process::ExitCode;

use wingbeat_flow::FlowError;
use wingbeat_hub::HubError;
use wingbeat_log::{Hint, LogError};
use wingbeat_ops::config::ConfigError;
use wingbeat_source::SourceError;
use wingbeat_stage::StageError;
use wingbeat_web::WebError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration can't be used.
    #[error("{0}")]
    Config(String),
    /// Something went wrong.
    #[error("{0}")]
    Failed(String),
    /// The command did its work and the answer is no; what there is to say was said.
    #[error("")]
    No,
}

/// `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: u8 = 78;

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(EXIT_CONFIG),
            Self::Failed(_) | Self::No => ExitCode::FAILURE,
        }
    }

    /// An input or output error, with what was being done.
    pub(crate) fn io(what: &str, error: &std::io::Error) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error.to_string())
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        // What the caller asked for is wrong, or the log itself has trouble.
        match (&error, error.hint()) {
            (LogError::Invalid(_) | LogError::Overlap { .. }, Hint::Caller) => {
                Self::Config(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Spec(_) => Self::Config(error.to_string()),
            SourceError::Io { .. } | SourceError::Damaged { .. } => Self::Failed(error.to_string()),
        }
    }
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Unknown { .. } | StageError::Settings { .. } => {
                Self::Config(error.to_string())
            }
            StageError::Model(_) => Self::Failed(error.to_string()),
            StageError::Hub(error) => error.into(),
        }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Name { .. } | HubError::Settings(_) => Self::Config(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<WebError> for Failure {
    fn from(error: WebError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<FlowError> for Failure {
    fn from(error: FlowError) -> Self {
        match error {
            FlowError::Log(error) => error.into(),
            FlowError::Source(error) => error.into(),
            FlowError::Pack(_) | FlowError::Stage(_) | FlowError::Subject(_) => {
                Self::Config(error.to_string())
            }
            FlowError::Pool(_) | FlowError::Stored { .. } => Self::Failed(error.to_string()),
        }
    }
}
