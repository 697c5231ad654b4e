//! The same words again and again.
//!
//! Texts are compared without case, punctuation, digits, links and mentions, so that a counter or
//! a name in them does not make them new. Counting takes bounded memory: there are two
//! generations, and the older one is forgotten when the younger one is half a window old or full.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use wingbeat_record::Reason;

use super::{FilterSettings, Rule, density};
use crate::Item;

/// Shorter texts repeat by chance.
const LENGTH_MIN: usize = 11;
/// So many different texts are remembered in each generation.
const TEXTS_MAX: usize = 200_000;

pub(super) struct Repeat {
    window: Duration,
    author_max: u32,
    authors_max: u32,
    hasher: RandomState,
    seen: Mutex<Seen>,
}

/// Counts by hash: of author and text, and of text alone (its authors).
struct Seen {
    since: Instant,
    young: HashMap<u64, u32>,
    old: HashMap<u64, u32>,
}

impl Seen {
    fn turn(&mut self, window: Duration) {
        let age = self.since.elapsed();
        if age < window / 2 && self.young.len() < TEXTS_MAX {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        if age >= window {
            self.old.clear();
        }
        self.since = Instant::now();
    }

    /// Counts one more; gives how many there are.
    fn count(&mut self, hash: u64) -> u32 {
        let count = self.young.entry(hash).or_default();
        *count = count.saturating_add(1);
        count.saturating_add(self.old.get(&hash).copied().unwrap_or(0))
    }

    fn get(&self, hash: u64) -> u32 {
        let count = |map: &HashMap<u64, u32>| map.get(&hash).copied().unwrap_or(0);
        count(&self.young).saturating_add(count(&self.old))
    }
}

impl Repeat {
    pub(super) fn new(settings: &FilterSettings) -> Self {
        let seen = Seen { since: Instant::now(), young: HashMap::new(), old: HashMap::new() };
        Self {
            window: settings.repeat_window.0,
            author_max: settings.repeat_author_max,
            authors_max: settings.repeat_authors_max,
            hasher: RandomState::new(),
            seen: Mutex::new(seen),
        }
    }
}

/// What is compared.
fn normalised(text: &str) -> String {
    let words = text.split_whitespace();
    words
        .filter(|word| !density::is_link(word) && !density::is_mention(word))
        .flat_map(str::chars)
        .filter(|char| char.is_alphabetic())
        .flat_map(char::to_lowercase)
        .collect()
}

impl Rule for Repeat {
    fn look(&self, item: &mut Item) -> Option<Reason> {
        let text = normalised(item.text());
        if text.chars().count() < LENGTH_MIN {
            return None;
        }
        let author = item.key().unwrap_or_default();
        let (by_author, by_all) =
            (self.hasher.hash_one((&author, &text)), self.hasher.hash_one(&text));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.turn(self.window);
        let times = seen.count(by_author);
        let authors = if times == 1 { seen.count(by_all) } else { seen.get(by_all) };
        let is_repeated = times > self.author_max || authors > self.authors_max;
        is_repeated.then(|| Reason::new("repeated"))
    }
}
