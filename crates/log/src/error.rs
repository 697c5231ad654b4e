//! What can go wrong with a log, and whether trying again can help.

use std::io;

use wingbeat_record::SubjectError;

/// Whether it makes sense to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// It may work later: try again, with growing pauses.
    Transient,
    /// The caller has to change something; the same call fails again.
    Caller,
    /// The log can't go on; a person has to look.
    Fatal,
}

/// What went wrong. Cloneable, because one failed write fails many records.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// No stream captures the subject.
    #[error("no stream captures the subject `{subject}`; declare one that does")]
    NoStream {
        /// The subject.
        subject: String,
    },
    /// There is no stream of that name.
    #[error("there is no stream `{name}`; these are there: {present}")]
    UnknownStream {
        /// The name asked for.
        name: String,
        /// The names that exist.
        present: String,
    },
    /// Two streams would capture the same subject.
    #[error(
        "stream `{stream}` can't capture `{subject}`: stream `{other}` captures `{other_subject}`, and no two streams may capture the same subject; give this one other subjects or another suffix (ENV_SUFFIX), use another account or server, or remove `{other}` (wingbeat streams rm)"
    )]
    Overlap {
        /// The stream that was to be made or changed.
        stream: String,
        /// Its subject.
        subject: String,
        /// The stream that is there.
        other: String,
        /// Its subject.
        other_subject: String,
    },
    /// A name, key, value or setting that no log takes.
    #[error("{0}")]
    Invalid(String),
    /// A subject that is not valid.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// A record over the limit.
    #[error("a record of {bytes} bytes is over the log's limit of {max}{advice}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
        /// Which setting raises the limit, where one does.
        advice: &'static str,
    },
    /// A stream that discards new records is full.
    #[error(
        "stream `{stream}` is full and set to refuse new records; raise its limits or let its readers catch up"
    )]
    Full {
        /// The stream.
        stream: String,
    },
    /// Compare-and-set met another revision.
    #[error("key `{key}` has revision {found}, not {expected}: somebody else changed it")]
    WrongRevision {
        /// The key.
        key: String,
        /// The caller's revision.
        expected: u64,
        /// The bucket's revision; 0 where the key does not exist.
        found: u64,
    },
    /// A consumer that was open was deleted.
    #[error(
        "stream `{stream}` has no consumer `{consumer}` any more: somebody has deleted it; start again to make it anew, from its beginning"
    )]
    NoConsumer {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
    },
    /// Another program gets the records of the consumer, which is of a kind that can't be shared.
    #[error(
        "consumer `{consumer}` of stream `{stream}` is still used by a running processor (it is a push consumer, and somebody is bound to it); stop that one, or give this one's consumer another name (CONSUMER_NAME)"
    )]
    ConsumerInUse {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
    },
    /// The log's server can't be reached, or does not answer in time.
    #[error("{what}: {message}")]
    Unavailable {
        /// What was being done.
        what: String,
        /// What is known of the reason.
        message: String,
    },
    /// The log's server does not let this user do it.
    #[error("{what}: {message}; give this user the permission, or the right credentials")]
    Denied {
        /// What was being done.
        what: String,
        /// The server's words.
        message: String,
    },
    /// Another process has the directory open.
    #[error(
        "the log in {directory} is in use by {holder}; stop that process, or give this one another --log"
    )]
    InUse {
        /// The directory.
        directory: String,
        /// The other process, as far as known.
        holder: String,
    },
    /// The log was opened only to read.
    #[error("the log is open for reading only")]
    ReadOnly,
    /// The files are not what they should be, and going on could lose more.
    #[error("{what} is damaged: {problem}")]
    Damaged {
        /// Which file.
        what: String,
        /// What is wrong, where, and what to do.
        problem: String,
    },
    /// The operating system refused.
    #[error("{what}: {message}")]
    Io {
        /// What was being done, to which file.
        what: String,
        /// The system's words, and what to do where that is known.
        message: String,
        /// Its kind.
        kind: io::ErrorKind,
    },
    /// Something panicked that must not. The panic's own message is on stderr.
    #[error("a bug in wingbeat: a task of the log panicked; please report it with the lines above")]
    Bug,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    /// Wraps a system error with what was being done.
    pub fn io(what: impl Into<String>, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::StorageFull => {
                "; free some space, or lower the streams' limits, and start again"
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "; give this user the right to write there, or choose another --log"
            }
            _ => "",
        };
        Self::Io { what: what.into(), message: format!("{error}{advice}"), kind: error.kind() }
    }

    pub(crate) fn unavailable(what: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into(), message: message.into() }
    }

    /// Whether trying again can help.
    pub fn hint(&self) -> Hint {
        match self {
            Self::Full { .. } | Self::Unavailable { .. } | Self::ConsumerInUse { .. } => {
                Hint::Transient
            }
            Self::Io { kind: io::ErrorKind::StorageFull, .. } => Hint::Fatal,
            Self::Io { kind: io::ErrorKind::Interrupted | io::ErrorKind::TimedOut, .. } => {
                Hint::Transient
            }
            Self::Io { .. }
            | Self::Damaged { .. }
            | Self::InUse { .. }
            | Self::NoConsumer { .. }
            | Self::Bug
            | Self::Closed => Hint::Fatal,
            Self::NoStream { .. }
            | Self::UnknownStream { .. }
            | Self::Overlap { .. }
            | Self::Invalid(_)
            | Self::Subject(_)
            | Self::TooLarge { .. }
            | Self::WrongRevision { .. }
            | Self::Denied { .. }
            | Self::ReadOnly => Hint::Caller,
        }
    }
}
