//! Features: what a linear model sees of a text.

use super::{
    script::{Counts, Writing},
    token::{Kind, Tokens},
};

/// A group of features. A model says which groups it adds up together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Words.
    Word,
    /// Mentions, links, punctuation, symbols.
    Mark,
    /// Words that stand behind a negation.
    Negated,
    /// Two neighbouring tokens.
    Pair,
    /// One character of a word.
    Gram1,
    /// Two characters of a word, its edges counting as characters; and so on.
    Gram2,
    /// Three characters.
    Gram3,
    /// Four characters.
    Gram4,
    /// Five characters.
    Gram5,
}

impl Group {
    /// All groups, in the order in which [`Features`] holds them.
    pub const ALL: [Self; 9] = [
        Self::Word,
        Self::Mark,
        Self::Negated,
        Self::Pair,
        Self::Gram1,
        Self::Gram2,
        Self::Gram3,
        Self::Gram4,
        Self::Gram5,
    ];
    const GRAMS: [Self; 5] = [Self::Gram1, Self::Gram2, Self::Gram3, Self::Gram4, Self::Gram5];
}

/// The features of one text: a hash each, in groups. A feature that occurs twice is there twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    hashes: Box<[u32]>,
    ends: [u32; Group::ALL.len()],
    writing: Option<Writing>,
}

impl Features {
    /// The hashes of a group.
    pub fn group(&self, group: Group) -> &[u32] {
        let index = group as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.hashes[start as usize..self.ends[index] as usize]
    }

    /// What the text is written in; `None` where it has no letters of a known script.
    pub fn writing(&self) -> Option<Writing> {
        self.writing
    }
}

/// Makes [`Features`] of texts. One per thread: it keeps its buffers.
#[derive(Debug, Default)]
pub struct Featuriser {
    tokens: Tokens,
    /// The hash of each token.
    hashes: Vec<u32>,
    token_hashes: Vec<u64>,
    groups: [Vec<u32>; Group::ALL.len()],
}

/// Keeps one kind of feature from meaning the same as another of equal content.
mod salt {
    pub(super) const WORD: u64 = 1;
    pub(super) const GRAM: u64 = 3;
    pub(super) const MENTION: u64 = 11;
    pub(super) const LINK: u64 = 13;
    pub(super) const NEGATED: u64 = 0xabc_def1_2345;
}

/// The golden ratio, and a multiplier of MurmurHash3's finaliser: odd, and far from any pattern.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const MURMUR: u64 = 0xff51_afd7_ed55_8ccd;

fn absorb(hash: u64, char: char) -> u64 {
    let hash = (hash ^ u64::from(u32::from(char))).wrapping_mul(MURMUR);
    hash ^ (hash >> 29)
}

fn finish(hash: u64) -> u32 {
    // The upper half is the better mixed.
    ((hash ^ (hash >> 32)).wrapping_mul(GOLDEN) >> 32) as u32
}

impl Featuriser {
    /// The features of `text`.
    pub fn features(&mut self, text: &str) -> Features {
        self.tokens.read(text);
        self.token_hashes.clear();
        for group in &mut self.groups {
            group.clear();
        }
        let mut counts = Counts::default();
        let Self { tokens, token_hashes, groups, hashes } = self;
        for token in &tokens.tokens {
            let chars = &tokens.chars[token.start..token.end];
            let hash = match token.kind {
                Kind::Mention => salt::MENTION,
                Kind::Link => salt::LINK,
                _ => chars.iter().copied().fold(salt::WORD, absorb),
            };
            token_hashes.push(hash);
            if token.kind == Kind::Word {
                groups[Group::Word as usize].push(finish(hash));
                if token.is_negated {
                    groups[Group::Negated as usize].push(finish(hash ^ salt::NEGATED));
                }
                chars.iter().for_each(|char| counts.add(*char));
                grams(chars, groups);
            } else {
                groups[Group::Mark as usize].push(finish(hash));
            }
        }
        for pair in token_hashes.windows(2) {
            let hash = pair[0].wrapping_mul(GOLDEN).wrapping_add(pair[1]).wrapping_mul(GOLDEN);
            groups[Group::Pair as usize].push(finish(hash));
        }
        hashes.clear();
        let mut ends = [0; Group::ALL.len()];
        for (group, end) in groups.iter().zip(&mut ends) {
            hashes.extend_from_slice(group);
            // At most six features per character that is read.
            *end = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        }
        Features { hashes: hashes.as_slice().into(), ends, writing: counts.writing() }
    }
}

/// Every run of one to five characters of a word with its edges.
fn grams(word: &[char], groups: &mut [Vec<u32>; Group::ALL.len()]) {
    const EDGE: char = ' ';
    let length = word.len() + 2;
    let at = |index: usize| if index == 0 { EDGE } else { *word.get(index - 1).unwrap_or(&EDGE) };
    for start in 0..length {
        let mut hash = salt::GRAM;
        for (n, group) in Group::GRAMS.into_iter().enumerate() {
            if start + n >= length {
                break;
            }
            hash = absorb(hash, at(start + n));
            // The edge alone says nothing.
            if n > 0 || (start > 0 && start < length - 1) {
                groups[group as usize].push(finish(hash));
            }
        }
    }
}

/// Texts that touch every rule of the featuriser; their features make its fingerprint.
const FINGERPRINT_TEXTS: [&str; 5] = [
    "Hello, @some.one! It&#39;s sooooo GOOD :D https://x.example/a #Tag 👍🏽",
    "I don\u{2019}t like this... not at all, never ever",
    "Ça alors ! Привет, мир. नमस्ते दुनिया ¿Qué tal?",
    "日本語のテスト 3.5/10 example.org/path www.x.example",
    "a",
];

/// A number that changes when the featuriser does. Weights carry that of the featuriser that they
/// were trained with, and no other may read them.
pub fn fingerprint() -> u64 {
    let mut featuriser = Featuriser::default();
    let mut sum = GOLDEN;
    for text in FINGERPRINT_TEXTS {
        let features = featuriser.features(text);
        for hash in features.hashes.iter().chain(&features.ends) {
            sum = (sum ^ u64::from(*hash)).wrapping_mul(MURMUR);
            sum ^= sum >> 29;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_stand_in_their_groups() {
        let features = Featuriser::default().features("not bad, not bad");
        let count = |group| features.group(group).len();
        // Words: not bad not bad; a comma; the words behind "not".
        assert_eq!(
            (count(Group::Word), count(Group::Mark), count(Group::Negated), count(Group::Pair)),
            (4, 1, 2, 4)
        );
        // Of each word with its edges (five characters): 3 single ones, 4 pairs, 3, 2, 1.
        let grams = Group::GRAMS.map(count);
        assert_eq!(grams, [12, 16, 12, 8, 4]);
        let words = features.group(Group::Word);
        assert_eq!((words[0], words[1]), (words[2], words[3]));
        assert_ne!(words[0], words[1]);
    }

    #[test]
    fn buffers_that_are_used_again_leave_no_trace() {
        let mut featuriser = Featuriser::default();
        let first = featuriser.features(FINGERPRINT_TEXTS[0]);
        featuriser.features(FINGERPRINT_TEXTS[1]);
        assert_eq!(featuriser.features(FINGERPRINT_TEXTS[0]), first);
    }

    #[test]
    fn no_text_is_no_features() {
        let features = Featuriser::default().features("");
        assert!(Group::ALL.iter().all(|group| features.group(*group).is_empty()));
        assert_eq!(features.writing(), None);
    }
}
