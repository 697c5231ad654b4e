//! Subjects, and the filters that match them. The rules are those of NATS
//! (<https://docs.nats.io/nats-concepts/subjects>): tokens between dots, `*` matches one token,
//! `>` matches the rest, one token or more.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The longest subject that is accepted, in bytes. NATS allows about 4,000 in a protocol line;
/// ours stay far below, so that a hostile label can't blow up an index.
pub const SUBJECT_BYTES_MAX: usize = 512;

/// Why a subject or a filter was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Nothing at all.
    #[error("the subject is empty")]
    Empty,
    /// Over [`SUBJECT_BYTES_MAX`].
    #[error("the subject has {0} bytes, over the limit of {SUBJECT_BYTES_MAX}")]
    TooLong(usize),
    /// Two dots in a row, or a dot at an end.
    #[error("the subject `{0}` has an empty token: dots stand between tokens only")]
    EmptyToken(String),
    /// A space or a control character.
    #[error("the subject `{subject}` holds the character {character:?}, which is not allowed")]
    Character {
        /// The whole subject.
        subject: String,
        /// The offending character.
        character: char,
    },
    /// `*` or `>` where a concrete subject is needed, or inside a longer token.
    #[error("the subject `{0}` holds a wildcard where none is allowed")]
    Wildcard(String),
}

/// A concrete subject: where a record was or will be published, such as `bluesky.posts.posts`.
/// Cloning it is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subject(Arc<str>);

impl Subject {
    /// Checks and takes a subject.
    pub fn new(text: impl AsRef<str>) -> Result<Self, SubjectError> {
        let text = text.as_ref();
        check(text)?;
        if text.split('.').any(|token| token.contains(['*', '>'])) {
            return Err(SubjectError::Wildcard(text.to_owned()));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens between the dots.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<String> for Subject {
    type Error = SubjectError;
    fn try_from(text: String) -> Result<Self, SubjectError> {
        Self::new(text)
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.0.as_ref().to_owned()
    }
}

/// A subject that may hold wildcards: what a stream captures, or what a consumer wants.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectFilter(Arc<str>);

impl SubjectFilter {
    /// Checks and takes a filter.
    pub fn new(text: impl AsRef<str>) -> Result<Self, SubjectError> {
        let text = text.as_ref();
        check(text)?;
        let mut tokens = text.split('.').peekable();
        while let Some(token) = tokens.next() {
            let is_last = tokens.peek().is_none();
            let is_plain = !token.contains(['*', '>']);
            if !(is_plain || token == "*" || (token == ">" && is_last)) {
                return Err(SubjectError::Wildcard(text.to_owned()));
            }
        }
        Ok(Self(Arc::from(text)))
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the subject falls under this filter.
    pub fn matches(&self, subject: &Subject) -> bool {
        self.matches_str(subject.as_str())
    }

    /// As [`matches`](Self::matches), for a subject that is already known to be valid.
    pub fn matches_str(&self, subject: &str) -> bool {
        let mut wanted = self.0.split('.');
        let mut given = subject.split('.');
        loop {
            match (wanted.next(), given.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(_)) => {}
                (Some(w), Some(g)) if w == g => {}
                _ => return false,
            }
        }
    }

    /// Whether some subject falls under both filters. Two streams may not overlap, and a flow's
    /// output may not overlap its input (it would feed itself).
    pub fn overlaps(&self, other: &Self) -> bool {
        let mut left = self.0.split('.');
        let mut right = other.0.split('.');
        loop {
            match (left.next(), right.next()) {
                (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
                (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
                (Some(l), Some(r)) if l == r => {}
                _ => return false,
            }
        }
    }
}

impl SubjectFilter {
    /// Whether every subject that falls under `inner` falls under this filter.
    pub fn covers(&self, inner: &Self) -> bool {
        let mut outer = self.0.split('.');
        let mut inner = inner.0.split('.');
        loop {
            match (outer.next(), inner.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(token)) if token != ">" => {}
                (Some(o), Some(i)) if o == i => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for SubjectFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SubjectFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<String> for SubjectFilter {
    type Error = SubjectError;
    fn try_from(text: String) -> Result<Self, SubjectError> {
        Self::new(text)
    }
}

impl From<SubjectFilter> for String {
    fn from(filter: SubjectFilter) -> Self {
        filter.0.as_ref().to_owned()
    }
}

impl From<Subject> for SubjectFilter {
    /// A concrete subject is the filter that matches only itself.
    fn from(subject: Subject) -> Self {
        Self(subject.0)
    }
}

fn check(text: &str) -> Result<(), SubjectError> {
    if text.is_empty() {
        return Err(SubjectError::Empty);
    }
    if text.len() > SUBJECT_BYTES_MAX {
        return Err(SubjectError::TooLong(text.len()));
    }
    if let Some(character) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(SubjectError::Character { subject: text.to_owned(), character });
    }
    if text.split('.').any(str::is_empty) {
        return Err(SubjectError::EmptyToken(text.to_owned()));
    }
    Ok(())
}

/// The longest token that [`token`] makes, in bytes.
const TOKEN_BYTES_MAX: usize = 64;

/// Makes any text usable as one token of a subject: characters that have a meaning in subjects,
/// spaces and control characters become `_`, and the result is cut at 64 bytes. Empty text
/// becomes `unknown`, as the replaced processor did.
pub fn token(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>');
    if text.is_empty() {
        return Cow::Borrowed("unknown");
    }
    if text.len() <= TOKEN_BYTES_MAX && !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut made = String::with_capacity(TOKEN_BYTES_MAX);
    for character in text.chars() {
        if made.len() + character.len_utf8() > TOKEN_BYTES_MAX {
            break;
        }
        made.push(if is_bad(character) { '_' } else { character });
    }
    Cow::Owned(made)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> SubjectFilter {
        SubjectFilter::new(text).unwrap()
    }

    fn subject(text: &str) -> Subject {
        Subject::new(text).unwrap()
    }

    #[test]
    fn star_matches_one_token_and_arrow_the_rest() {
        for (pattern, text, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.*.c", "a.b.c", true),
            ("a.>", "a.b", true),
            ("a.>", "a.b.c.d", true),
            ("a.>", "a", false),
            ("*.b", "a.b", true),
            (">", "a", true),
        ] {
            assert_eq!(filter(pattern).matches(&subject(text)), expected, "{pattern} ~ {text}");
        }
    }

    #[test]
    fn subjects_that_nats_refuses_are_refused() {
        for text in ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\u{7f}", "a.*", "a.>", "a*b"] {
            assert!(Subject::new(text).is_err(), "{text:?}");
        }
        for text in ["a.>.b", "a*", ">a", "a.b>", "", "a..>"] {
            assert!(SubjectFilter::new(text).is_err(), "{text:?}");
        }
        assert!(Subject::new("x".repeat(SUBJECT_BYTES_MAX + 1)).is_err());
        assert!(Subject::new("bluesky.enriched.positive.arts_&_culture").is_ok());
    }

    #[test]
    fn covering_is_more_than_overlapping() {
        for (outer, inner, expected) in [
            ("a.>", "a.*.*", true),
            ("a.>", "a.>", true),
            ("a.*", "a.>", false),
            ("a.*", "a.*", true),
            ("a.b", "a.*", false),
            ("*.b", "a.b", true),
            ("a.>", "a", false),
        ] {
            assert_eq!(filter(outer).covers(&filter(inner)), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn overlap_is_found_in_both_directions() {
        for (left, right, expected) in [
            ("bluesky.posts.>", "bluesky.posts.sentiment.>", true),
            ("bluesky.posts.>", "bluesky.enriched.>", false),
            ("bluesky.*.posts", "bluesky.posts.*", true),
            ("a.*", "a.b.c", false),
            ("a", "a", true),
            (">", "x.y", true),
            ("a.b", "a.b.>", false),
        ] {
            assert_eq!(filter(left).overlaps(&filter(right)), expected, "{left} {right}");
            assert_eq!(filter(right).overlaps(&filter(left)), expected, "{right} {left}");
        }
    }

    proptest! {
        #[test]
        fn any_text_makes_a_valid_token(text in "\\PC*|.*") {
            let made = token(&text);
            prop_assert!(Subject::new(made.as_ref()).is_ok(), "{made:?}");
        }

        #[test]
        fn a_subject_matches_its_own_filter_and_overlaps_what_matches_it(
            text in "[a-c]{1,2}(\\.[a-c]{1,2}){0,3}",
            pattern in "([a-c]|\\*)(\\.([a-c]|\\*)){0,3}(\\.>)?",
        ) {
            let (subject, pattern) = (subject(&text), filter(&pattern));
            let own = SubjectFilter::from(subject.clone());
            prop_assert!(own.matches(&subject));
            prop_assert_eq!(own.overlaps(&pattern), pattern.matches(&subject));
        }
    }
}
