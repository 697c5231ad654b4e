//! Subjects with places to fill: `bluesky.enriched.{sentiment}.{topic}`.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use wingbeat_record::{Subject, SubjectError, SubjectFilter, token};

/// A subject some of whose tokens are filled in per record. A `{name}` stands for a whole token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectTemplate {
    tokens: Vec<Token>,
    /// What every subject made from this falls under.
    filter: SubjectFilter,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Fixed(String),
    Place(String),
}

impl SubjectTemplate {
    /// Reads a template.
    pub fn new(text: &str) -> Result<Self, SubjectError> {
        let place = |token: &str| {
            token.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).map(str::to_owned)
        };
        let tokens: Vec<Token> = text
            .split('.')
            .map(|token| place(token).map_or_else(|| Token::Fixed(token.to_owned()), Token::Place))
            .collect();
        let with = |filling: &str| {
            let text = |token: &Token| match token {
                Token::Fixed(text) => text.clone(),
                Token::Place(_) => filling.to_owned(),
            };
            tokens.iter().map(text).collect::<Vec<_>>().join(".")
        };
        // Filled with a plain word it must be a subject: this refuses wildcards of the user's.
        Subject::new(with("x"))?;
        let filter = SubjectFilter::new(with("*"))?;
        Ok(Self { tokens, filter })
    }

    /// What every subject made from this falls under.
    pub fn filter(&self) -> &SubjectFilter {
        &self.filter
    }

    /// The subject for one record. A place that `fill` knows nothing for says `unknown`.
    pub fn fill<'a>(
        &self,
        fill: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Subject, SubjectError> {
        let mut made = String::with_capacity(64);
        for part in &self.tokens {
            if !made.is_empty() {
                made.push('.');
            }
            match part {
                Token::Fixed(text) => made.push_str(text),
                Token::Place(name) => made.push_str(&token(fill(name).unwrap_or_default())),
            }
        }
        Subject::new(made)
    }
}

impl fmt::Display for SubjectTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, token) in self.tokens.iter().enumerate() {
            let dot = if at > 0 { "." } else { "" };
            match token {
                Token::Fixed(text) => write!(f, "{dot}{text}")?,
                Token::Place(name) => write!(f, "{dot}{{{name}}}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for SubjectTemplate {
    type Error = SubjectError;
    fn try_from(text: String) -> Result<Self, SubjectError> {
        Self::new(&text)
    }
}

impl From<SubjectTemplate> for String {
    fn from(template: SubjectTemplate) -> Self {
        template.to_string()
    }
}

impl JsonSchema for SubjectTemplate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SubjectTemplate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "subject with {places}"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_with_valid_tokens() {
        let template = SubjectTemplate::new("bluesky.enriched.{sentiment}.{topic}").unwrap();
        let fill = |name: &str| match name {
            "sentiment" => Some("positive"),
            "topic" => Some("a.b > c*"),
            _ => None,
        };
        assert_eq!(template.fill(fill).unwrap().as_str(), "bluesky.enriched.positive.a_b___c_");
        assert_eq!(template.fill(|_| None).unwrap().as_str(), "bluesky.enriched.unknown.unknown");
        assert_eq!(template.filter().as_str(), "bluesky.enriched.*.*");
        assert_eq!(template.to_string(), "bluesky.enriched.{sentiment}.{topic}");
    }

    #[test]
    fn what_is_no_subject_is_refused() {
        for text in ["", "a..b", "a.*", "a.>", "a.{x}y z", "a b.{x}"] {
            assert!(SubjectTemplate::new(text).is_err(), "{text:?}");
        }
    }
}
