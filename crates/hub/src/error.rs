//! Why a model can't be had.

use std::path::PathBuf;

/// Why a model can't be had. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The name is none.
    #[error(
        "`{name}` is no name of a model: {problem}; write ORGANISATION/NAME, or ORGANISATION/NAME@REVISION"
    )]
    Name {
        /// What was written.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The settings can't be used.
    #[error("{0}")]
    Settings(String),
    /// The hub has no such model, or the model no such revision or file.
    #[error("{what} is not on {endpoint}; look at its name there")]
    NotThere {
        /// What was looked for.
        what: String,
        /// The hub.
        endpoint: String,
    },
    /// The hub does not let this user have it.
    #[error(
        "{endpoint} does not give {what} to this user: {status}; set HF_TOKEN to a token that may read it, and accept the model's terms there"
    )]
    Denied {
        /// What was asked for.
        what: String,
        /// The hub.
        endpoint: String,
        /// Its answer.
        status: u16,
    },
    /// The hub can't be reached, or has trouble.
    #[error("can't get {what}: {problem}; try again, it goes on where it stopped")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// What happened.
        problem: String,
    },
    /// The hub's answer makes no sense.
    #[error("{endpoint} answers about {what} what can't be used: {problem}")]
    Answer {
        /// What was asked for.
        what: String,
        /// The hub.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is not what the hub says that it is.
    #[error("{file} is damaged: its checksum is {found}, and {expected} was expected; {advice}")]
    Checksum {
        /// The file.
        file: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// The hub is not to be asked, and what is wanted was not downloaded before.
    #[error("{what} is not in {}, and HF_HUB_OFFLINE forbids to download it; run `wingbeat models pull` where there is a network, or unset it", cache.display())]
    Offline {
        /// What was looked for.
        what: String,
        /// Where.
        cache: PathBuf,
    },
    /// No file of the model is of a kind that can be used.
    #[error("{model} has no file that this program can use: {problem}")]
    Unusable {
        /// The model.
        model: String,
        /// What is missing.
        problem: String,
    },
    /// A file or directory can't be used.
    #[error("can't {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
}

impl HubError {
    /// For errors of one path.
    pub(crate) fn io(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { what, path, error }
    }
}
