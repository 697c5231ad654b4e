//! Texts that are mostly links or mentions.

use wingbeat_record::Reason;

use super::{FilterSettings, Rule};
use crate::Item;

pub(super) struct Density {
    links_max: usize,
    mentions_max: usize,
}

impl Density {
    pub(super) fn new(settings: &FilterSettings) -> Self {
        Self { links_max: settings.links_max, mentions_max: settings.mentions_max }
    }
}

impl Rule for Density {
    fn look(&self, item: &mut Item) -> Option<Reason> {
        let count = |is: fn(&str) -> bool| item.text().split_whitespace().filter(|w| is(w)).count();
        if count(is_link) > self.links_max {
            return Some(Reason::new("link_density"));
        }
        (count(is_mention) > self.mentions_max).then(|| Reason::new("mention_density"))
    }
}

/// Whether a word is a link.
pub(super) fn is_link(word: &str) -> bool {
    ["http://", "https://", "www."]
        .iter()
        .any(|start| word.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start)))
}

/// Whether a word is a mention.
pub(super) fn is_mention(word: &str) -> bool {
    word.len() > 1 && word.starts_with('@')
}
