//! The URL that chooses a log.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{EmbeddedLog, Log, LogError, NatsLog, NatsUrl};

/// Which log: `embedded:DIR` or `nats://HOST:PORT`. Its text never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LogUrl {
    /// The embedded log in a directory.
    Embedded(PathBuf),
    /// NATS JetStream.
    Nats(NatsUrl),
}

/// What a log is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading and writing.
    Write,
    /// Reading, also beside another process that writes. Nothing is made, changed or repaired.
    Read,
}

impl LogUrl {
    /// Opens the log. A server that can't be reached is an error with the hint *transient*.
    pub async fn open(&self, access: Access) -> Result<Arc<dyn Log>, LogError> {
        self.open_with_suffix(access, "").await
    }

    /// As [`open`](Self::open), with a suffix for the names of buckets (`-SUFFIX`), so that two
    /// programs share a server and not their buckets. Without one where it is empty.
    pub async fn open_with_suffix(
        &self,
        access: Access,
        suffix: &str,
    ) -> Result<Arc<dyn Log>, LogError> {
        let suffix = suffix.to_owned();
        match self {
            Self::Embedded(directory) => {
                let directory = directory.clone();
                let open = move || match access {
                    Access::Write => EmbeddedLog::open(&directory),
                    Access::Read => EmbeddedLog::open_read_only(&directory),
                };
                let opened = tokio::task::spawn_blocking(open).await;
                let log = opened.unwrap_or(Err(LogError::Bug))?;
                Ok(Arc::new(log.with_bucket_suffix(suffix)))
            }
            Self::Nats(url) => {
                Ok(Arc::new(NatsLog::open(url, access).await?.with_bucket_suffix(suffix)))
            }
        }
    }

    /// Whether streams and consumers that are there and set otherwise are changed to what is wanted.
    pub fn changes_existing(&self) -> bool {
        match self {
            Self::Embedded(_) => true,
            Self::Nats(url) => url.changes_existing(),
        }
    }
}

impl FromStr for LogUrl {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        let refused = |why: &str| {
            Err(LogError::Invalid(format!(
                "the log `{text}` {why}; write `embedded:DIR`, such as `embedded:wingbeat-data`, or `nats://HOST:PORT`"
            )))
        };
        match text.split_once(':') {
            Some(("embedded", "")) => refused("names no directory"),
            Some(("embedded", directory)) => Ok(Self::Embedded(PathBuf::from(directory))),
            Some(("nats" | "tls", _)) => Ok(Self::Nats(text.parse()?)),
            // The text may hold a password.
            Some((scheme, rest)) if rest.contains('@') => Err(LogError::Invalid(format!(
                "a log of the kind `{scheme}` is not known; write `embedded:DIR` or `nats://HOST:PORT`"
            ))),
            Some((scheme, _)) => refused(&format!("is of an unknown kind `{scheme}`")),
            None => refused("is no log URL"),
        }
    }
}

impl TryFrom<String> for LogUrl {
    type Error = LogError;

    fn try_from(text: String) -> Result<Self, LogError> {
        text.parse()
    }
}

impl From<LogUrl> for String {
    /// Without secrets.
    fn from(url: LogUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for LogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(directory) => write!(f, "embedded:{}", directory.display()),
            Self::Nats(url) => url.fmt(f),
        }
    }
}
