//! Who writes: a population with languages, habits and interests.

use super::{
    corpus::TOPICS,
    dice::{Dice, Purpose},
};

/// How many people there are in all languages together, about.
const PEOPLE: f64 = 3_000.0;

/// The fewest people of a language.
const PEOPLE_MIN: f64 = 25.0;

/// How many topics somebody likes best.
const FAVOURITES: usize = 3;

/// The alphabet of did:plc identifiers, RFC 4648 base32 in lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The characters of a did:plc identifier.
const PLC_CHARACTERS: usize = 24;

/// Somebody who writes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Person {
    pub(super) did: String,
    /// How much more cheerful than others, from -1 to 1.
    pub(super) cheer: f64,
    /// Whether everything is in lower case.
    pub(super) is_casual: bool,
    /// How likely a post has a typing error.
    pub(super) typos: f64,
    /// How likely a post ends in emoji.
    pub(super) emoji: f64,
    /// How likely a post ends in a hashtag.
    pub(super) hashtags: f64,
    /// How likely something stands before or behind what is to be said.
    pub(super) chattiness: f64,
    /// Indexes into [`TOPICS`].
    pub(super) favourites: [usize; FAVOURITES],
}

/// Which of the people of a language writes. Some write much more than others: somebody's share
/// falls with the square root of the rank.
pub(super) fn author(dice: &mut Dice, share: f64) -> u64 {
    let people = (PEOPLE * share).max(PEOPLE_MIN);
    let place = dice.unit();
    #[expect(clippy::cast_possible_truncation, reason = "at most PEOPLE, and not negative")]
    let rank = (people * place * place) as u64;
    rank
}

/// Somebody by rank.
pub(super) fn person(seed: u64, language: usize, rank: u64) -> Person {
    // Ranks stay far below 2^32.
    let index = (language as u64) << 32 | rank;
    let mut letters = Dice::new(seed, Purpose::Did, index);
    let id = (0..PLC_CHARACTERS).filter_map(|_| letters.pick(BASE32).copied().map(char::from));
    let did = format!("did:plc:{}", id.collect::<String>());
    let mut dice = Dice::new(seed, Purpose::Person, index);
    let mut one_of = |values: [f64; 4]| dice.pick(&values).copied().unwrap_or_default();
    Person {
        did,
        emoji: one_of([0.0, 0.1, 0.3, 0.7]),
        hashtags: one_of([0.0, 0.0, 0.1, 0.5]),
        typos: one_of([0.0, 0.0, 0.02, 0.15]),
        chattiness: one_of([0.1, 0.25, 0.4, 0.6]),
        is_casual: dice.chance(0.35),
        cheer: dice.unit() * 2.0 - 1.0,
        favourites: std::array::from_fn(|_| dice.below(TOPICS.len())),
    }
}
