//! What is done to a text before it is cut into tokens: what was done to the texts of the training.

use std::borrow::Cow;

use regex::{Captures, Regex, RegexBuilder};
use serde::Deserialize;

use crate::ModelError;

/// The largest pattern, compiled. Patterns are matched in time linear in the text, whatever they are.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// More rules are a mistake.
const RULES_MAX: usize = 32;

/// A rule: what the pattern finds is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Rule {
    /// Its name. What `escapes` and `entities` find becomes the character that it stands for, and
    /// their `replace` does not count.
    pub name: String,
    /// A regular expression.
    pub pattern: String,
    /// What stands in the place of a match; `$1` is its first group.
    pub replace: String,
}

/// Cleans texts by rules.
#[derive(Debug)]
pub struct Cleaner(Vec<(Regex, Replacement)>);

#[derive(Debug)]
enum Replacement {
    /// The character whose number the first group is, hexadecimal.
    Escape,
    /// The character that the entity in the first group stands for.
    Entity,
    Text(String),
}

impl Cleaner {
    /// A cleaner by these rules, in their order. `name` is that of the file that they stand in.
    ///
    /// # Errors
    ///
    /// When a pattern can't be read, or is too large.
    pub fn new(name: &str, rules: &[Rule]) -> Result<Self, ModelError> {
        let failed = |problem: String| ModelError::new(name, problem);
        if rules.len() > RULES_MAX {
            let count = rules.len();
            return Err(failed(format!("`normalisation` has {count} rules, over {RULES_MAX}")));
        }
        let rule = |rule: &Rule| {
            let pattern = RegexBuilder::new(&rule.pattern)
                .size_limit(PATTERN_BYTES_MAX)
                .build()
                .map_err(|error| failed(format!("the rule `{}`: {error}", rule.name)))?;
            let replacement = match rule.name.as_str() {
                "escapes" => Replacement::Escape,
                "entities" => Replacement::Entity,
                _ => Replacement::Text(rule.replace.clone()),
            };
            Ok((pattern, replacement))
        };
        Ok(Self(rules.iter().map(rule).collect::<Result<_, _>>()?))
    }

    /// The text as the model knows texts.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut cleaned = Cow::Borrowed(text);
        for (pattern, replacement) in &self.0 {
            let next = match replacement {
                Replacement::Escape => pattern.replace_all(&cleaned, escaped),
                Replacement::Entity => pattern.replace_all(&cleaned, entity),
                Replacement::Text(text) => pattern.replace_all(&cleaned, text.as_str()),
            };
            if let Cow::Owned(next) = next {
                cleaned = Cow::Owned(next);
            }
        }
        cleaned
    }
}

/// What `\u00e9` stands for; itself where there is no such character.
fn escaped(captures: &Captures<'_>) -> String {
    let code = captures.get(1).and_then(|code| u32::from_str_radix(code.as_str(), 16).ok());
    let found = code.and_then(char::from_u32).map(String::from);
    found.unwrap_or_else(|| captures[0].to_owned())
}

/// What `&amp;` stands for; itself where it is no entity that is known.
fn entity(captures: &Captures<'_>) -> String {
    let name = captures.get(1).map_or("", |name| name.as_str());
    match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "#39" => "'",
        _ => &captures[0],
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(name: &str, pattern: &str, replace: &str) -> Rule {
        Rule { name: name.to_owned(), pattern: pattern.to_owned(), replace: replace.to_owned() }
    }

    /// The rules of the embedded encoder.
    fn cleaner() -> Cleaner {
        let rules = [
            rule("escapes", r"\\u([0-9a-fA-F]{4})", "the character"),
            rule("entities", "&(amp|lt|gt|quot|#39);", "the character"),
            rule("links", r"\bhttps?\b(?:://\S*)?", ""),
            rule("mentions", r"(^|[^\w@.])@\w(?:[\w.-]*\w)?", "$1@user"),
        ];
        Cleaner::new("encoder.json", &rules).unwrap()
    }

    #[test]
    fn texts_are_cleaned_by_the_rules_in_their_order() {
        for (text, cleaned) in [
            ("nothing to do", "nothing to do"),
            (r"caf\u00e9 \ud83d", r"café \ud83d"),
            ("R&amp;B &lt;3 &quot;x&quot; it&#39;s &nbsp;", "R&B <3 \"x\" it's &nbsp;"),
            ("see https://a.example/b?c=d and http here", "see  and  here"),
            ("@ann.example.com hi (@bob) a@b.c", "@user hi (@user) a@b.c"),
            ("&amp;lt;", "&lt;"),
            ("", ""),
        ] {
            assert_eq!(cleaner().clean(text), cleaned);
        }
    }

    #[test]
    fn a_rule_that_can_not_be_read_is_refused() {
        for (pattern, problem) in [("(", "unclosed"), (r"\w{9999}", "size limit")] {
            let error = Cleaner::new("encoder.json", &[rule("r", pattern, "")]).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
        }
        assert!(Cleaner::new("c", &vec![rule("r", "a", ""); RULES_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn i6_any_text_is_cleaned(text in any::<String>()) {
            cleaner().clean(&text);
        }
    }
}
