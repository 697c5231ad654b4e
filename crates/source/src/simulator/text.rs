//! How somebody puts something.

use super::{
    Mood,
    corpus::{Language, Topic},
    dice::Dice,
    people::Person,
    template::Template,
};

/// The longest text that Bluesky takes, in characters. (It counts what a reader sees as one
/// character, which is never more.)
pub(super) const TEXT_CHARACTERS_MAX: usize = 300;

/// How likely an answer is a short reaction.
const REACTION_SHARE_OF_REPLIES: f64 = 0.35;

/// How likely anything else is one.
const REACTION_SHARE: f64 = 0.02;

/// What is to be said.
pub(super) struct Idea<'a> {
    pub(super) language: &'a Language,
    pub(super) topic: &'a Topic,
    pub(super) mood: Mood,
    pub(super) is_reply: bool,
}

/// Puts it as this person would.
pub(super) fn compose(idea: &Idea<'_>, person: &Person, dice: &mut Dice) -> String {
    let Idea { language, topic, mood, is_reply } = *idea;
    let reaction_share = if is_reply { REACTION_SHARE_OF_REPLIES } else { REACTION_SHARE };
    let is_reaction = dice.chance(reaction_share);
    let templates = if is_reaction { &language.reactions } else { &topic.templates };
    let mut text = expand_one(templates.get(mood), language, dice);
    if dice.chance(person.typos) && language.has_case {
        text = with_typo(&text, dice);
    }
    let voice = &language.voice;
    if !is_reaction && dice.chance(person.chattiness) {
        if dice.chance(0.5) {
            let opener = dice.pick(voice.openers.get(mood)).map_or("", String::as_str);
            text.insert_str(0, opener);
        } else if let Some(closer) = dice.pick(voice.closers.get(mood)) {
            if text.ends_with(char::is_alphanumeric) {
                text.push_str(&language.stop);
            }
            push_word(&mut text, closer);
        }
    }
    if mood != Mood::Neutral && text.ends_with('!') && dice.chance(0.3) {
        text.push_str("!!");
    }
    if language.has_case {
        text = if person.is_casual { text.to_lowercase() } else { capitalised(&text) };
    }
    if dice.chance(person.emoji) {
        text.push(' ');
        for _ in 0..=dice.below(2) {
            text.push_str(dice.pick(voice.emoji.get(mood)).map_or("", String::as_str));
        }
    }
    if dice.chance(person.hashtags)
        && let Some(hashtag) = dice.pick(&topic.hashtags)
    {
        push_word(&mut text, &format!("#{hashtag}"));
    }
    shortened(text)
}

/// What a spammer writes.
pub(super) fn compose_spam(language: &Language, dice: &mut Dice) -> String {
    shortened(expand_one(&language.spam, language, dice))
}

fn expand_one(templates: &[Template], language: &Language, dice: &mut Dice) -> String {
    let mut text = String::new();
    if let Some(template) = dice.pick(templates) {
        template.expand(&language.lists, dice, &mut text);
    }
    text
}

fn push_word(text: &mut String, word: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(word);
}

/// The first letter large, wherever it stands (Spanish may begin with `¡`).
fn capitalised(text: &str) -> String {
    let Some(at) = text.find(char::is_alphabetic) else { return text.to_owned() };
    let (before, from) = text.split_at(at);
    let mut characters = from.chars();
    let first = characters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{before}{first}{}", characters.as_str())
}

/// Two letters inside of one of the longer words change places.
fn with_typo(text: &str, dice: &mut Dice) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let is_long = |word: &&str| word.len() > 4 && word.chars().all(char::is_alphabetic);
    let long: Vec<&str> = words.iter().copied().filter(|word| is_long(word)).collect();
    let Some(word) = dice.pick(&long) else { return text.to_owned() };
    let mut letters: Vec<char> = word.chars().collect();
    let at = 1 + dice.below(letters.len().saturating_sub(3));
    if at + 1 < letters.len() {
        letters.swap(at, at + 1);
    }
    text.replacen(word, &letters.into_iter().collect::<String>(), 1)
}

fn shortened(text: String) -> String {
    if text.len() <= TEXT_CHARACTERS_MAX {
        return text;
    }
    text.chars().take(TEXT_CHARACTERS_MAX).collect()
}
