//! Texts with choices in them.
//!
//! | in a template | becomes |
//! |---|---|
//! | `[one\|two\|]` | one of the alternatives, which may be empty and may hold choices themselves |
//! | `{dish}` | an entry of the list `dish`, which is a template without lists |
//! | `{3-12}` | a number from 3 to 12 |

use super::dice::Dice;

/// A text with choices in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Choice(Vec<Template>),
    List(usize),
    Number(usize, usize),
}

/// All lists of a language; templates refer to them by index.
pub(super) type Lists = Vec<Vec<Template>>;

impl Template {
    /// Reads a template. `list` finds a list by its name.
    pub(super) fn parse(text: &str, list: &impl Fn(&str) -> Option<usize>) -> Result<Self, String> {
        let mut rest = text;
        let template = parse_parts(&mut rest, list, false)?;
        if rest.is_empty() { Ok(template) } else { Err(format!("`{text}`: `{rest}` stands alone")) }
    }

    /// Makes a text of it.
    pub(super) fn expand(&self, lists: &Lists, dice: &mut Dice, out: &mut String) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Number(from, to) => {
                    out.push_str(&(from + dice.below(to - from + 1)).to_string());
                }
                Part::Choice(alternatives) => {
                    if let Some(alternative) = dice.pick(alternatives) {
                        alternative.expand(lists, dice, out);
                    }
                }
                Part::List(index) => {
                    let entries = lists.get(*index).map(Vec::as_slice).unwrap_or_default();
                    if let Some(entry) = dice.pick(entries) {
                        entry.expand(lists, dice, out);
                    }
                }
            }
        }
    }
}

fn parse_parts(
    rest: &mut &str,
    list: &impl Fn(&str) -> Option<usize>,
    is_alternative: bool,
) -> Result<Template, String> {
    let mut parts = Vec::new();
    loop {
        let end = rest.find(['[', ']', '|', '{', '}']).unwrap_or(rest.len());
        let (text, behind) = rest.split_at(end);
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        *rest = behind;
        match behind.chars().next() {
            Some('[') => parts.push(parse_choice(rest, list)?),
            Some('{') => parts.push(parse_reference(rest, list)?),
            Some(']' | '|') if is_alternative => return Ok(Template(parts)),
            None => return Ok(Template(parts)),
            Some(other) => return Err(format!("`{other}` stands alone before `{behind}`")),
        }
    }
}

fn parse_choice(rest: &mut &str, list: &impl Fn(&str) -> Option<usize>) -> Result<Part, String> {
    let mut alternatives = Vec::new();
    // Each turn begins at `[` or `|`.
    loop {
        *rest = rest.get(1..).unwrap_or_default();
        alternatives.push(parse_parts(rest, list, true)?);
        if rest.starts_with(']') {
            *rest = &rest[1..];
            return Ok(Part::Choice(alternatives));
        }
        if rest.is_empty() {
            return Err("a `[` without its `]`".to_owned());
        }
    }
}

fn parse_reference(rest: &mut &str, list: &impl Fn(&str) -> Option<usize>) -> Result<Part, String> {
    let Some((name, behind)) = rest.get(1..).and_then(|inside| inside.split_once('}')) else {
        return Err("a `{` without its `}`".to_owned());
    };
    *rest = behind;
    if let Some((from, to)) = name.split_once('-')
        && let (Ok(from), Ok(to)) = (from.parse(), to.parse())
    {
        return if from <= to { Ok(Part::Number(from, to)) } else { Err(format!("{{{name}}}")) };
    }
    list(name).map(Part::List).ok_or_else(|| format!("there is no list `{name}`"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::simulator::dice::Purpose;

    fn none(_: &str) -> Option<usize> {
        None
    }

    fn all_texts(template: &str) -> BTreeSet<String> {
        let pets =
            vec![Template::parse("cat", &none).unwrap(), Template::parse("dog", &none).unwrap()];
        let template = Template::parse(template, &|name| (name == "pet").then_some(0)).unwrap();
        let expand = |index| {
            let mut text = String::new();
            template.expand(
                &vec![pets.clone()],
                &mut Dice::new(1, Purpose::Text, index),
                &mut text,
            );
            text
        };
        (0..200).map(expand).collect()
    }

    #[test]
    fn every_choice_is_made() {
        let texts = all_texts("a[ b[c|d]|] {pet} {1-2}");
        let mut expected = BTreeSet::new();
        for middle in [" bc", " bd", ""] {
            for pet in ["cat", "dog"] {
                for number in [1, 2] {
                    expected.insert(format!("a{middle} {pet} {number}"));
                }
            }
        }
        assert_eq!(texts, expected);
    }

    #[test]
    fn broken_templates_are_refused() {
        for text in ["[a", "a]", "a|b", "{pet", "pet}", "{bird}", "{5-2}", "[a|{bird}]"] {
            assert!(Template::parse(text, &none).is_err(), "{text}");
        }
    }
}
