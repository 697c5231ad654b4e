//! The URL that chooses a log.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use crate::{EmbeddedLog, Log, LogError};

/// Which log: `embedded:DIR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogUrl {
    /// The embedded log in a directory.
    Embedded(PathBuf),
}

/// What a log is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading and writing.
    Write,
    /// Reading, also beside another process that writes. Nothing is repaired.
    Read,
}

impl LogUrl {
    /// Opens the log.
    pub async fn open(&self, access: Access) -> Result<Arc<dyn Log>, LogError> {
        match self {
            Self::Embedded(directory) => {
                let directory = directory.clone();
                let open = move || match access {
                    Access::Write => EmbeddedLog::open(&directory),
                    Access::Read => EmbeddedLog::open_read_only(&directory),
                };
                let opened = tokio::task::spawn_blocking(open).await;
                Ok(Arc::new(opened.unwrap_or(Err(LogError::Bug))?))
            }
        }
    }
}

impl FromStr for LogUrl {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        let refused = |why: &str| {
            Err(LogError::Invalid(format!(
                "the log `{text}` {why}; write `embedded:DIR`, such as `embedded:wingbeat-data`"
            )))
        };
        match text.split_once(':') {
            Some(("embedded", "")) => refused("names no directory"),
            Some(("embedded", directory)) => Ok(Self::Embedded(PathBuf::from(directory))),
            Some((scheme, _)) => refused(&format!("is of an unknown kind `{scheme}`")),
            None => refused("is no log URL"),
        }
    }
}

impl fmt::Display for LogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(directory) => write!(f, "embedded:{}", directory.display()),
        }
    }
}
