//! Shouting, emoji in heaps, one character many times over: the replaced service's heuristics.

use wingbeat_record::Reason;

use super::Rule;
use crate::Item;

/// Texts longer than this are looked at for capitals.
const SHOUT_LENGTH: usize = 20;
/// More than this share of capitals, in percent, is shouting.
const SHOUT_PERCENT: usize = 70;
/// Texts longer than this are looked at for emoji.
const HEAP_LENGTH: usize = 10;
/// More than this share of emoji, in percent, is a heap.
const HEAP_PERCENT: usize = 30;
/// Emoji begin behind this character.
const EMOJI_FROM: char = '\u{1f600}';
/// A character may stand so many times in a row.
const RUN_MAX: usize = 10;

pub(super) struct Content;

impl Rule for Content {
    fn look(&self, item: &mut Item) -> Option<Reason> {
        let text = item.text().trim();
        let (mut length, mut capitals, mut emoji) = (0, 0, 0);
        let (mut run, mut last) = (0, None);
        let mut has_run = false;
        for char in text.chars() {
            length += 1;
            capitals += usize::from(char.is_uppercase());
            emoji += usize::from(char > EMOJI_FROM);
            run = if last == Some(char) { run + 1 } else { 1 };
            has_run |= run > RUN_MAX;
            last = Some(char);
        }
        let is_shouting = length > SHOUT_LENGTH && capitals * 100 > length * SHOUT_PERCENT;
        let is_heap = length > HEAP_LENGTH && emoji * 100 > length * HEAP_PERCENT;
        (is_shouting || is_heap || has_run).then(|| Reason::new("content_filtered"))
    }
}
