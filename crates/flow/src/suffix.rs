//! A pack under other names, so that two of them share a server: names get a suffix, subjects one
//! more token. With `dev`, `bluesky-posts` becomes `bluesky-posts-dev`, and what begins with
//! `bluesky.posts` begins with `bluesky.posts.dev`.
//!
//! What has the suffix already keeps its name.

use std::collections::BTreeMap;

use wingbeat_record::SubjectFilter;

use crate::{FlowError, Pack, SubjectTemplate};

/// A name with the suffix.
pub fn suffixed_name(name: &str, suffix: &str) -> String {
    let end = format!("-{suffix}");
    if suffix.is_empty() || name.ends_with(&end) { name.to_owned() } else { format!("{name}{end}") }
}

/// What subjects begin with, with one more token.
pub fn suffixed_prefix(prefix: &str, suffix: &str) -> String {
    let count = prefix.split('.').count();
    with_token(prefix, count, suffix)
}

impl Pack {
    /// The pack with a suffix; an empty one changes nothing.
    pub fn with_suffix(&self, suffix: &str) -> Result<Self, FlowError> {
        if suffix.is_empty() {
            return Ok(self.clone());
        }
        let template = |template: &SubjectTemplate| {
            let text = self.with_suffix_in(&template.to_string(), template.filter(), suffix);
            SubjectTemplate::new(&text)
        };
        let mut pack = self.clone();
        let ingest = &mut pack.ingest;
        for to in [&mut ingest.to, &mut ingest.events, &mut ingest.dead] {
            *to = template(to)?;
        }
        for flow in pack.flows.values_mut() {
            flow.from = suffixed_name(&flow.from, suffix);
            flow.consumer = suffixed_name(&flow.consumer, suffix);
            for to in [&mut flow.to, &mut flow.dead, &mut flow.ledger] {
                *to = template(to)?;
            }
            for filter in &mut flow.subjects {
                *filter = SubjectFilter::new(self.with_suffix_in(filter.as_str(), filter, suffix))?;
            }
        }
        pack.streams = BTreeMap::new();
        for (name, stream) in &self.streams {
            let mut stream = stream.clone();
            for subject in &mut stream.subjects {
                let text = with_token(subject.as_str(), fixed(subject), suffix);
                *subject = SubjectFilter::new(text)?;
            }
            pack.streams.insert(suffixed_name(name, suffix), stream);
        }
        Ok(pack)
    }

    /// A subject with the token where the stream that captures it has it. One that no stream
    /// captures whole, such as a filter for everything, stays.
    fn with_suffix_in(&self, text: &str, filter: &SubjectFilter, suffix: &str) -> String {
        let mut captures = self.streams.values().flat_map(|stream| &stream.subjects);
        let place = captures.find(|captured| captured.covers(filter)).map(fixed);
        place.map_or_else(|| text.to_owned(), |place| with_token(text, place, suffix))
    }
}

/// How many tokens stand before the first that is not fixed; where all are, the last one counts as
/// not fixed.
fn fixed(filter: &SubjectFilter) -> usize {
    let tokens: Vec<&str> = filter.as_str().split('.').collect();
    let wildcard = tokens.iter().position(|token| matches!(*token, "*" | ">"));
    wildcard.unwrap_or(tokens.len() - 1)
}

/// Puts a token at a place, unless it stands right before it.
fn with_token(subject: &str, place: usize, token: &str) -> String {
    let mut tokens: Vec<&str> = subject.split('.').collect();
    let place = place.min(tokens.len());
    if !token.is_empty() && tokens[..place].last() != Some(&token) {
        tokens.insert(place, token);
    }
    tokens.join(".")
}

#[cfg(test)]
mod tests {
    use wingbeat_ops::config::Layers;

    use super::*;

    fn pack() -> Pack {
        let mut layers = Layers::default();
        let text = include_str!("../../../packs/bluesky.toml");
        layers.add_toml("packs/bluesky.toml", text).unwrap();
        layers.finish().unwrap().config
    }

    /// As the development setup of the replaced services has them.
    #[test]
    fn the_names_for_development_are_those_of_the_replaced_services() {
        let dev = pack().with_suffix("dev").unwrap();
        dev.check().unwrap();
        let subjects = |name: &str| -> Vec<String> {
            dev.streams[name].subjects.iter().map(ToString::to_string).collect()
        };
        assert_eq!(subjects("bluesky-posts-dev"), ["bluesky.posts.dev.>"]);
        assert_eq!(subjects("bluesky-posts-enriched-dev"), ["bluesky.enriched.dev.>"]);
        assert_eq!(dev.ingest.to.to_string(), "bluesky.posts.dev.posts");
        let flow = &dev.flows["enrich"];
        assert_eq!((&*flow.from, &*flow.consumer), ("bluesky-posts-dev", "unified-processor-dev"));
        assert_eq!(flow.subjects[0].as_str(), "bluesky.posts.dev.>");
        assert_eq!(flow.to.to_string(), "bluesky.enriched.dev.{sentiment}.{topic}");
        assert_eq!(flow.dead.to_string(), "bluesky.dlq.dev.{flow}.{kind}");
        assert_eq!(flow.ledger.to_string(), "bluesky.books.dev.{flow}");
    }

    #[test]
    fn a_suffix_is_added_once_and_none_changes_nothing() {
        let dev = pack().with_suffix("dev").unwrap();
        assert_eq!(dev.with_suffix("dev").unwrap(), dev);
        assert_eq!(pack().with_suffix("").unwrap(), pack());
    }

    #[test]
    fn the_token_stands_behind_what_is_fixed() {
        for (subject, expected) in [
            ("bluesky.posts.>", "bluesky.posts.dev.>"),
            ("bluesky.posts.posts", "bluesky.posts.dev.posts"),
            ("a.*.b", "a.dev.*.b"),
            (">", "dev.>"),
            ("a", "dev.a"),
        ] {
            let filter = SubjectFilter::new(subject).unwrap();
            assert_eq!(with_token(subject, fixed(&filter), "dev"), expected);
        }
        assert_eq!(suffixed_prefix("bluesky.posts", "dev"), "bluesky.posts.dev");
        assert_eq!(suffixed_name("bluesky-posts-dev", "dev"), "bluesky-posts-dev");
    }
}
