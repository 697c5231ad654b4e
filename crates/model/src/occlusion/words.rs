//! Cutting a text into words, as its reader sees them.
//!
//! Word boundaries are those of Unicode (UAX #29), with these exceptions:
//!
//! - A link, a mention with its `@`, a hashtag with its `#`, and an emoticon are one word each.
//! - A run of punctuation is one word (`!!!`): it says something too.
//! - An emoji is a word, and so is every other symbol.
//! - White space, and characters that can't be seen, are none.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;

use crate::linear::{EMOTICON_EYES, EMOTICON_LETTERS};

/// The words of a text as byte ranges: in their order, none empty, all on character boundaries.
pub(super) fn words(text: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut before = None;
    let mut at = 0;
    let mut is_run = false;
    while let Some(segment) = text[at..].split_word_bounds().next() {
        let rest = &text[at..];
        let whole = if before.is_some_and(is_name_char) { None } else { whole(rest) };
        let end = at + whole.unwrap_or(segment.len());
        let is_sign_alone = whole.is_none() && segment.chars().all(is_sign);
        if whole.is_some() || !segment.chars().all(is_unseen) {
            match words.last_mut() {
                Some(last) if is_run && is_sign_alone && last.end == at => last.end = end,
                _ => words.push(at..end),
            }
        }
        is_run = is_sign_alone;
        before = text[at..end].chars().next_back();
        at = end;
    }
    words
}

/// The length of what `text` begins with, where that is one word whatever boundaries lie in it.
fn whole(text: &str) -> Option<usize> {
    match text.chars().next()? {
        '@' => name(&text[1..], |c| is_name_char(c) || matches!(c, '-' | '.')).map(|n| n + 1),
        sign @ ('#' | '＃') => {
            let sign = sign.len_utf8();
            name(&text[sign..], is_name_char).map(|n| n + sign)
        }
        first if first.is_ascii_alphanumeric() => link(text),
        _ => emoticon(text),
    }
}

/// The length of the name that `text` begins with: it begins and ends with a letter or a digit.
fn name(text: &str, is_part: impl Fn(char) -> bool) -> Option<usize> {
    if !text.starts_with(is_name_char) {
        return None;
    }
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    Some(text[..end].trim_end_matches(['-', '.']).len())
}

/// The length of the link that `text` begins with: with a scheme, `www.`, or `domain.tld/...`.
fn link(text: &str) -> Option<usize> {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let run = &text[..end];
    let begins =
        |prefix: &str| run.get(..prefix.len()).is_some_and(|run| run.eq_ignore_ascii_case(prefix));
    let is_link = ["http://", "https://", "www."].into_iter().any(begins) || has_domain(run);
    // What ends a sentence, or closes a bracket around the link, is no part of it.
    let closing = ['.', ',', ';', ':', '!', '?', ')', ']', '}', '"', '\'', '…', '”', '’', '»'];
    is_link.then(|| run.trim_end_matches(closing).len()).filter(|length| *length > 0)
}

/// Whether this is `domain.tld/...`.
fn has_domain(run: &str) -> bool {
    let Some((domain, _)) = run.split_once('/') else { return false };
    let Some((name, top_level)) = domain.rsplit_once('.') else { return false };
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
        && top_level.len() >= 2
        && top_level.chars().all(|c| c.is_ascii_alphabetic())
}

/// The length of an emoticon that ends in a letter (`:D`, `;-p`) or is a heart (`<3`). The others
/// are runs of signs.
fn emoticon(text: &str) -> Option<usize> {
    let mut chars = text.chars().peekable();
    let eyes = chars.next()?;
    if !EMOTICON_EYES.contains(&eyes) && eyes != '<' {
        return None;
    }
    let nose = chars.next_if(|c| eyes != '<' && matches!(c, '-' | '\''));
    let mouth = chars.next()?;
    let is_mouth = if eyes == '<' { mouth == '3' } else { EMOTICON_LETTERS.contains(&mouth) };
    let is_over = chars.next().is_none_or(|c| !is_name_char(c));
    // All of them are ASCII.
    (is_mouth && is_over).then_some(2 + usize::from(nose.is_some()))
}

fn is_name_char(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Punctuation: of ASCII, the dashes and quotation marks of Unicode, and that of other scripts.
fn is_sign(char: char) -> bool {
    char.is_ascii_punctuation()
        || matches!(char, '¡' | '«' | '»' | '¿' | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}')
        || matches!(char, '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{ff01}'..='\u{ff0f}')
        || matches!(char, '،' | '؛' | '؟' | '।' | '॥')
}

/// White space, controls, and characters that only steer what stands beside them.
fn is_unseen(char: char) -> bool {
    char.is_whitespace()
        || char.is_control()
        || matches!(char, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(char, '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        words(text).into_iter().map(|word| &text[word]).collect()
    }

    #[test]
    fn words_are_those_that_a_reader_sees() {
        for (text, expected) in [
            ("Hello, World!", vec!["Hello", ",", "World", "!"]),
            ("I don\u{2019}t, can't", vec!["I", "don\u{2019}t", ",", "can't"]),
            ("so good!!! ...", vec!["so", "good", "!!!", "..."]),
            ("@some.one-x. hi (@b)", vec!["@some.one-x", ".", "hi", "(", "@b", ")"]),
            ("a@b.c #Tag #1! # x", vec!["a", "@", "b.c", "#Tag", "#1", "!", "#", "x"]),
            ("see https://x.example/a?b=c).", vec!["see", "https://x.example/a?b=c", ")."]),
            (
                "www.x.example and news.example/today",
                vec!["www.x.example", "and", "news.example/today"],
            ),
            ("either/or 3.5/5", vec!["either", "/", "or", "3.5", "/", "5"]),
            (
                "nice :D ;-p <3 :-) at 10:30",
                vec!["nice", ":D", ";-p", "<3", ":-)", "at", "10", ":", "30"],
            ),
            (
                "👍🏽👍 ❤\u{fe0f}👩\u{200d}👩\u{200d}👧🇩🇪🇫🇷1\u{fe0f}\u{20e3}",
                vec![
                    "👍🏽",
                    "👍",
                    "❤\u{fe0f}",
                    "👩\u{200d}👩\u{200d}👧",
                    "🇩🇪",
                    "🇫🇷",
                    "1\u{fe0f}\u{20e3}",
                ],
            ),
            ("日本、テスト", vec!["日", "本", "、", "テスト"]),
            ("हिन्दी में।", vec!["हिन्दी", "में", "।"]),
            ("Straße\u{a0}café\n", vec!["Straße", "café"]),
            (" \t\u{0}\u{7}\u{200b} ", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(cut(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn i6_words_of_any_text_lie_on_character_boundaries(
            text in prop_oneof![any::<String>(), "[a@#:<3./ ́👍🏽é-]{0,60}", "(https?://|www\\.)?\\PC{0,30}"],
        ) {
            let mut end = 0;
            for word in words(&text) {
                prop_assert!(word.start >= end && word.start < word.end);
                prop_assert!(text.get(word.clone()).is_some_and(|word| !word.chars().all(is_unseen)));
                end = word.end;
            }
            prop_assert!(end <= text.len());
        }
    }
}
