//! How a record ends: exactly one of emitted, filtered, dead.

use std::{borrow::Cow, fmt};

/// A short, countable word that says why: lower-case letters, digits and `_`. It becomes a metric
/// label and a subject token, so it never carries text from outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    /// A reason known at compile time.
    pub const fn new(word: &'static str) -> Self {
        Self(Cow::Borrowed(word))
    }

    /// A reason read back from a stored ledger or header; anything but `[a-z0-9_]` becomes `_`,
    /// and at most 64 characters are kept.
    pub fn parse(text: &str) -> Self {
        let clean = |c: char| match c {
            'a'..='z' | '0'..='9' | '_' => c,
            'A'..='Z' => c.to_ascii_lowercase(),
            _ => '_',
        };
        Self(Cow::Owned(text.chars().take(64).map(clean).collect()))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a record died: what a dead letter says beside the original bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadCause {
    /// The stage that gave up, or `source`, or `log`.
    pub stage: Cow<'static, str>,
    /// The countable kind.
    pub kind: Reason,
    /// What was wrong and where, in words.
    pub message: String,
}

impl DeadCause {
    /// Puts a cause together.
    pub fn new(
        stage: impl Into<Cow<'static, str>>,
        kind: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self { stage: stage.into(), kind, message: message.into() }
    }
}

/// How a record ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its output is durable in the log.
    Emitted,
    /// It was left out on purpose.
    Filtered(Reason),
    /// It could not be handled; a dead letter keeps it.
    Dead(DeadCause),
}
