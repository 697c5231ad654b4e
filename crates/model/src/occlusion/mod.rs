//! What each word of a text adds to a verdict.
//!
//! Each word is left out in turn, and the models are asked again. So it does not matter which models
//! they are, and a number means something: "without this word the probability would be 0.41 instead
//! of 0.87". What a word has *added* is the change of the log-odds, `ln(p / (1 - p))`: unlike a
//! difference of probabilities it is as large for a verdict that is nearly sure as for any other.
//!
//! What words add does not sum up to the verdict: where two say the same, each alone can be spared.
//!
//! The cost is bounded: [`PARTS_MAX`] further texts of at most [`CHARS_MAX`] characters.

mod words;

use std::{borrow::Cow, ops::Range};

use unicode_segmentation::UnicodeSegmentation as _;

pub use crate::linear::CHARS_MAX;

/// A text has at most so many parts. A post has 300 graphemes, some 50 words; the words of a longer
/// text are left out in groups.
pub const PARTS_MAX: usize = 64;
/// No probability counts as less, so that log-odds are numbers.
const PROBABILITY_MIN: f64 = 1e-7;
/// So many bytes on either side say whether two words would become one.
const JOINT_BYTES: usize = 64;

/// A word, or several that stand beside each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it stands in the text, in bytes of UTF-8.
    pub bytes: Range<usize>,
    /// The same in characters (Unicode scalar values).
    pub chars: Range<usize>,
    /// How many words it has.
    pub words: usize,
}

/// A text whose parts are to be left out.
#[derive(Debug, Clone)]
pub struct Occlusion<'a> {
    /// As much of the text as is looked at.
    text: &'a str,
    parts: Vec<Part>,
    is_whole: bool,
}

impl<'a> Occlusion<'a> {
    /// Cuts a text into parts: words, or groups of words of equal number where there are more than
    /// [`PARTS_MAX`]. Of a text over [`CHARS_MAX`] characters, only the beginning is looked at.
    pub fn of(text: &'a str) -> Self {
        let looked_at = beginning(text);
        let words = words::words(looked_at);
        let count = words.len().min(PARTS_MAX);
        let mut parts = Vec::with_capacity(count);
        let (mut bytes, mut chars) = (0, 0);
        for part in 0..count {
            let group = &words[part * words.len() / count..(part + 1) * words.len() / count];
            let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
            let start = chars + looked_at[bytes..first.start].chars().count();
            let end = start + looked_at[first.start..last.end].chars().count();
            (bytes, chars) = (last.end, end);
            parts.push(Part {
                bytes: first.start..last.end,
                chars: start..end,
                words: group.len(),
            });
        }
        let is_whole = text[looked_at.len()..].trim().is_empty();
        Self { text: looked_at, parts, is_whole }
    }

    /// The parts, in their order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether the whole text is looked at.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The texts to ask the models about: that which is looked at, then it without each part.
    pub fn texts(&self) -> impl Iterator<Item = Cow<'a, str>> {
        let without = self.parts.iter().map(|part| self.without(&part.bytes));
        std::iter::once(Cow::Borrowed(self.text)).chain(without)
    }

    fn without(&self, part: &Range<usize>) -> Cow<'a, str> {
        let (before, behind) = (&self.text[..part.start], &self.text[part.end..]);
        // One gap is left of the two that were on either side.
        let before = if behind.trim().is_empty() { before.trim_end() } else { before };
        let has_gap = before.is_empty() || before.ends_with(char::is_whitespace);
        let behind = if has_gap { behind.trim_start() } else { behind };
        match (before, behind) {
            ("", text) | (text, "") => Cow::Borrowed(text),
            _ if would_fuse(before, behind) => Cow::Owned(format!("{before} {behind}")),
            _ => Cow::Owned(format!("{before}{behind}")),
        }
    }
}

/// As much of a text as is looked at: up to the last white space before the limit, if there is any.
fn beginning(text: &str) -> &str {
    let Some((cut, _)) = text.char_indices().nth(CHARS_MAX) else { return text };
    let text = &text[..cut];
    match text.rfind(char::is_whitespace) {
        Some(gap) if !text[..gap].trim().is_empty() => &text[..gap],
        _ => text,
    }
}

/// Whether the last word of `before` and the first of `behind` would become one word.
fn would_fuse(before: &str, behind: &str) -> bool {
    let start = before.ceil_char_boundary(before.len().saturating_sub(JOINT_BYTES));
    let end = behind.floor_char_boundary(JOINT_BYTES);
    let joint = before.len() - start;
    let joined = format!("{}{}", &before[start..], &behind[..end]);
    joined.split_word_bound_indices().all(|(at, _)| at != joint)
}

/// A label's probability, and that of everything else, which may be known more exactly than as one
/// minus the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Odds {
    /// The probability of the label, 0 to 1.
    pub probability: f32,
    /// The probability of everything else, 0 to 1.
    pub rest: f64,
}

impl Odds {
    /// Of a label that stands alone.
    pub fn alone(probability: f32) -> Self {
        Self { probability, rest: 1.0 - f64::from(probability) }
    }

    fn log(self) -> f64 {
        let clamp = |probability: f64| probability.clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN);
        (clamp(self.probability.into()) / clamp(self.rest)).ln()
    }
}

/// What the parts of a text add to one label.
#[derive(Debug, Clone, PartialEq)]
pub struct Contributions {
    /// The label's probability.
    pub probability: f32,
    /// The probability without each part.
    pub without: Vec<f32>,
    /// What each part adds to the log-odds: above 0 it speaks for the label, below 0 against it.
    pub added: Vec<f64>,
}

impl Contributions {
    /// Out of a label's odds in each of the texts that [`Occlusion::texts`] gives, in their order.
    /// `None` where there are no texts.
    pub fn of(odds: impl IntoIterator<Item = Odds>) -> Option<Self> {
        let mut odds = odds.into_iter();
        let whole = odds.next()?;
        let (without, added) =
            odds.map(|without| (without.probability, whole.log() - without.log())).unzip();
        Some(Self { probability: whole.probability, without, added })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str) -> Vec<String> {
        Occlusion::of(text).texts().map(Cow::into_owned).collect()
    }

    #[test]
    fn each_word_is_left_out_in_turn() {
        for (text, expected) in [
            ("I love  it!", vec!["I love  it!", "love  it!", "I it!", "I love  !", "I love  it"]),
            (" one ", vec![" one ", ""]),
            ("good👍day", vec!["good👍day", "👍day", "good day", "good👍"]),
            ("日本語", vec!["日本語", "本語", "日語", "日本"]),
            ("well-known", vec!["well-known", "-known", "well known", "well-"]),
            ("a\nb c", vec!["a\nb c", "b c", "a\nc", "a\nb"]),
            ("", vec![""]),
            (" \u{7} ", vec![" \u{7} "]),
        ] {
            assert_eq!(texts(text), expected, "{text:?}");
        }
    }

    #[test]
    fn parts_say_where_they_stand_in_bytes_and_in_characters() {
        let text = "é 👍🏽 hi";
        let parts = Occlusion::of(text).parts().to_vec();
        let part = |bytes, chars| Part { bytes, chars, words: 1 };
        assert_eq!(parts, [part(0..2, 0..1), part(3..11, 2..4), part(12..14, 5..7)]);
        for part in &parts {
            let by_chars: String =
                text.chars().skip(part.chars.start).take(part.chars.len()).collect();
            assert_eq!(by_chars, text[part.bytes.clone()]);
        }
    }

    /// A judge whose log-odds are the sum of what words are worth, and who adds up the same.
    #[test]
    fn where_words_add_up_each_is_found_to_add_what_it_is_worth() {
        let worth = |word: &str| match word {
            "good" => 2.0,
            "bad" => -3.0,
            "but" => 0.25,
            _ => 0.0,
        };
        let probability = |text: &str| {
            let sum: f64 = 0.5 + text.split_whitespace().map(worth).sum::<f64>();
            #[expect(clippy::cast_possible_truncation, reason = "a probability")]
            Odds::alone((1.0 / (1.0 + (-sum).exp())) as f32)
        };
        let text = "good but bad and good";
        let found = Contributions::of(texts(text).iter().map(|t| probability(t))).unwrap();
        for (word, added) in text.split(' ').zip(&found.added) {
            assert!((added - worth(word)).abs() < 1e-5, "{word}: {added}");
        }
        assert_eq!(found.without[2], probability("good but and good").probability);
        assert_eq!(found.probability, probability(text).probability);
    }

    #[test]
    fn certainties_stay_numbers() {
        let sure = [Odds::alone(1.0), Odds::alone(0.0), Odds { probability: 0.0, rest: 0.0 }];
        let found = Contributions::of(sure).unwrap();
        assert!(found.added.iter().all(|added| added.is_finite()), "{found:?}");
        assert_eq!((found.without, found.probability), (vec![0.0, 0.0], 1.0));
        assert_eq!(Contributions::of([]), None);
    }

    #[test]
    fn i6_a_text_of_any_length_has_a_bounded_number_of_parts() {
        let word = "x".repeat(1 << 20);
        for (text, parts, is_whole) in [
            ("word ".repeat(100_000).as_str(), PARTS_MAX, false),
            (word.as_str(), 1, false),
            (&"👍".repeat(10_000), PARTS_MAX, false),
            (&"a b ".repeat(50), PARTS_MAX, true),
            (&format!("hello{}", " ".repeat(1 << 20)), 1, true),
            (&" ".repeat(1 << 20), 0, true),
        ] {
            let occlusion = Occlusion::of(text);
            assert_eq!((occlusion.parts().len(), occlusion.is_whole()), (parts, is_whole));
            assert!(occlusion.texts().all(|text| text.chars().count() <= CHARS_MAX + 1));
            let words: usize = occlusion.parts().iter().map(|part| part.words).sum();
            assert!(words <= CHARS_MAX);
        }
        let groups = Occlusion::of(&"a b ".repeat(50)).parts().to_vec();
        assert!(groups.iter().all(|part| (1..=2).contains(&part.words)));
    }

    proptest! {
        #[test]
        fn i6_any_text_has_parts_on_character_boundaries(text in any::<String>()) {
            let occlusion = Occlusion::of(&text);
            let mut end = 0;
            for part in occlusion.parts() {
                prop_assert!(part.bytes.start >= end && text.get(part.bytes.clone()).is_some());
                prop_assert_eq!(text[..part.bytes.start].chars().count(), part.chars.start);
                prop_assert_eq!(text[..part.bytes.end].chars().count(), part.chars.end);
                end = part.bytes.end;
            }
            prop_assert_eq!(occlusion.texts().count(), occlusion.parts().len() + 1);
        }
    }
}
