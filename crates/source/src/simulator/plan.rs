//! What item n is: its kind, and for a post who writes it, in what language, mood and topic.
//!
//! An item may refer to an earlier one: it repeats it, deletes it, or answers it. What is referred
//! to is always a post that answers nothing, so that no chain of references has to be followed.

use super::{
    Fault, Settings,
    corpus::{self, Language, TOPICS},
    dice::{Dice, Purpose},
    people::{self, Person},
    schedule::Schedule,
    settings::SENTIMENTS,
    text::{Idea, compose, compose_spam},
    weather::Weather,
};
use crate::SourceError;

/// How far back an item refers, in items.
const REFERENCE_ITEMS_MAX: usize = 500;

/// How many earlier items are looked at to find one that can be referred to.
const REFERENCE_TRIES: usize = 16;

/// The share of posts that answer another one.
const REPLY_SHARE: f64 = 0.2;

/// The share of answers that go to oneself: a thread.
const THREAD_SHARE: f64 = 0.15;

/// How likely somebody writes about one of the topics that they like best.
const FAVOURITE_SHARE: f64 = 0.5;

/// How likely a post about the news has the mood of the news.
const NEWS_MOOD_SHARE: f64 = 0.8;

/// The place of posts among the weights of the kinds.
const POST_KIND: usize = 4;

/// The weight of a word in a mix; 0 where it is not in it.
fn weight(mix: &[(String, f64)], word: &str) -> f64 {
    mix.iter().find(|(known, _)| known == word).map_or(0.0, |(_, weight)| *weight)
}

/// The mood of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mood {
    /// Joy, praise, thanks.
    Positive,
    /// Neither.
    Neutral,
    /// Anger, sorrow, complaint.
    Negative,
}

const MOODS: [Mood; 3] = [Mood::Positive, Mood::Neutral, Mood::Negative];

/// What kind of item it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A post.
    Post,
    /// A post that is spam. Its topic and mood are the author's, not the text's.
    Spam,
    /// An earlier post once more.
    Duplicate {
        /// The item that is repeated.
        of: u64,
    },
    /// The deletion of an earlier post.
    Delete {
        /// The item that is deleted.
        of: u64,
    },
    /// Malformed input.
    Malformed {
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What an item is in truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its kind.
    pub kind: Kind,
    /// The language's code, such as `en`.
    pub language: &'static str,
    /// The mood.
    pub mood: Mood,
    /// The topic's label, such as `arts_&_culture`: what the post is about, or the one that it
    /// answers. A short reaction does not name it.
    pub topic: &'static str,
    /// The DID of the author.
    pub author: String,
    /// The item that is answered.
    pub reply_to: Option<u64>,
}

/// What the simulator plans by.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    seed: u64,
    malformed: f64,
    deletes: f64,
    duplicates: f64,
    oversize: f64,
    spam: f64,
    /// The weights of [`MOODS`], where they are set.
    moods: Option<[f64; 3]>,
    /// The topics that are set: index into [`TOPICS`], and weight.
    topics: Vec<(usize, f64)>,
    schedule: Schedule,
    weather: Weather,
    /// Each language with its weight, and its index in the corpus, which people belong to.
    languages: Vec<(&'static Language, f64, usize)>,
}

/// What a post is to be.
pub(super) struct PostPlan {
    pub(super) language: &'static Language,
    pub(super) person: Person,
    pub(super) mood: Mood,
    pub(super) topic: usize,
    pub(super) reply_to: Option<u64>,
    pub(super) is_spam: bool,
}

impl Plan {
    pub(super) fn new(settings: &Settings) -> Result<Self, SourceError> {
        let all = corpus::languages().map_err(|problem| SourceError::Damaged {
            what: "the simulator's corpus".to_owned(),
            problem: problem.to_owned(),
        })?;
        let asked_for = |code| settings.languages.iter().find(|(asked, _)| asked == code);
        let languages = all.iter().enumerate().filter_map(|(index, language)| {
            if settings.languages.is_empty() {
                return Some((language, language.share, index));
            }
            asked_for(language.code).map(|(_, weight)| (language, *weight, index))
        });
        Ok(Self {
            seed: settings.seed,
            malformed: settings.malformed,
            deletes: settings.deletes,
            duplicates: settings.duplicates,
            oversize: settings.oversize,
            spam: settings.spam,
            moods: (!settings.sentiments.is_empty())
                .then(|| SENTIMENTS.map(|word| weight(&settings.sentiments, word))),
            topics: (0..)
                .zip(TOPICS)
                .map(|(index, (label, _))| (index, weight(&settings.topics, label)))
                .filter(|(_, weight)| *weight > 0.0)
                .collect(),
            schedule: Schedule::new(settings),
            weather: Weather::new(settings.seed),
            languages: languages.collect(),
        })
    }

    /// When item n is due, in seconds after the start.
    pub(super) fn seconds(&self, n: u64) -> f64 {
        self.schedule.seconds(n)
    }

    /// How many items per second are due around item n.
    pub(super) fn rate_at(&self, n: u64) -> f64 {
        self.schedule.rate_at(n)
    }

    /// As [`super::Simulator::describe`].
    pub(super) fn describe(&self, n: u64) -> Described {
        let kind = self.kind(n);
        let planned = match kind {
            Kind::Duplicate { of } | Kind::Delete { of } => self.post(of),
            _ => self.post(n),
        };
        let topic = planned.language.topic(planned.topic).map_or(planned.topic, |t| t.index);
        Described {
            kind,
            language: planned.language.code,
            mood: planned.mood,
            topic: TOPICS.get(topic).map_or("", |(label, _)| label),
            author: planned.person.did,
            reply_to: planned.reply_to,
        }
    }

    /// What kind of item it is.
    pub(super) fn kind(&self, n: u64) -> Kind {
        let mut dice = self.dice(Purpose::Kind, n);
        let earlier = || self.earlier_post(n, None);
        match dice.weighted(self.kind_weights()) {
            0 => Kind::Malformed { fault: Fault::pick(&mut dice) },
            1 => earlier().map_or_else(|| self.kind_of_post(n), |of| Kind::Delete { of }),
            2 => earlier().map_or_else(|| self.kind_of_post(n), |of| Kind::Duplicate { of }),
            3 => Kind::Malformed { fault: Fault::TooLong },
            _ => self.kind_of_post(n),
        }
    }

    fn kind_weights(&self) -> [f64; 5] {
        let posts = 1.0 - self.malformed - self.deletes - self.duplicates - self.oversize;
        [self.malformed, self.deletes, self.duplicates, self.oversize, posts.max(0.0)]
    }

    fn kind_of_post(&self, n: u64) -> Kind {
        if self.is_spam(n) { Kind::Spam } else { Kind::Post }
    }

    fn is_spam(&self, n: u64) -> bool {
        self.dice(Purpose::Spam, n).chance(self.spam)
    }

    /// Whether it may be referred to: a post from the start (and not in place of something else),
    /// that answers nothing.
    fn can_be_referred_to(&self, n: u64) -> bool {
        self.dice(Purpose::Kind, n).weighted(self.kind_weights()) == POST_KIND
            && !self.wants_to_reply(n)
    }

    fn wants_to_reply(&self, n: u64) -> bool {
        self.dice(Purpose::Reply, n).chance(REPLY_SHARE)
    }

    /// An earlier item that may be referred to, in the given language where one is given.
    fn earlier_post(&self, n: u64, language: Option<usize>) -> Option<u64> {
        let mut dice = self.dice(Purpose::Earlier, n);
        let reach = usize::try_from(n).unwrap_or(usize::MAX).min(REFERENCE_ITEMS_MAX);
        if reach == 0 {
            return None;
        }
        (0..REFERENCE_TRIES).map(|_| n - 1 - dice.below(reach) as u64).find(|&earlier| {
            self.can_be_referred_to(earlier)
                && language.is_none_or(|language| self.language_at(earlier).2 == language)
        })
    }

    fn language_at(&self, n: u64) -> (&'static Language, f64, usize) {
        let weights = self.languages.iter().map(|(_, weight, _)| *weight);
        let index = self.dice(Purpose::Language, n).weighted(weights);
        // There is a language always: settings that leave none are refused.
        self.languages[index]
    }

    fn person_at(&self, n: u64) -> Person {
        let (language, _, index) = self.language_at(n);
        let rank = people::author(&mut self.dice(Purpose::Author, n), language.share);
        people::person(self.seed, index, rank)
    }

    /// What the post of item n is to be, if it is one.
    pub(super) fn post(&self, n: u64) -> PostPlan {
        let (language, _, language_index) = self.language_at(n);
        let is_spam = self.is_spam(n);
        let mut dice = self.dice(Purpose::Reply, n);
        let wants_to_reply = dice.chance(REPLY_SHARE);
        let reply_to = wants_to_reply
            .then(|| self.earlier_post(n, Some(language_index)))
            .flatten()
            .filter(|_| !is_spam);
        let continues = dice.chance(THREAD_SHARE);
        let person = match reply_to {
            Some(answered) if continues => self.person_at(answered),
            _ => self.person_at(n),
        };
        let seconds = self.seconds(n);
        let topic = self.topic_at(reply_to.unwrap_or(n), &person);
        let mood = self.mood_at(n, seconds, topic, &person);
        PostPlan { language, person, mood, topic, reply_to, is_spam }
    }

    fn topic_at(&self, n: u64, person: &Person) -> usize {
        let mut dice = self.dice(Purpose::Topic, n);
        let set = self.topics.iter().map(|(_, weight)| *weight);
        if !self.topics.is_empty() {
            return self.topics.get(dice.weighted(set)).map_or(0, |(topic, _)| *topic);
        }
        if let Some(news) = self.weather.news(self.seconds(n))
            && dice.chance(news.share)
        {
            return news.topic;
        }
        if dice.chance(FAVOURITE_SHARE)
            && let Some(favourite) = dice.pick(&person.favourites)
        {
            return *favourite;
        }
        dice.weighted(TOPICS.iter().map(|(_, share)| *share))
    }

    fn mood_at(&self, n: u64, seconds: f64, topic: usize, person: &Person) -> Mood {
        let mut dice = self.dice(Purpose::Mood, n);
        if let Some(weights) = self.moods {
            return MOODS.get(dice.weighted(weights)).copied().unwrap_or(Mood::Neutral);
        }
        let news = self.weather.news(seconds).filter(|news| news.topic == topic);
        if let Some(news) = news
            && dice.chance(NEWS_MOOD_SHARE)
        {
            return news.mood;
        }
        let weights = self.weather.mood_weights(seconds, person.cheer);
        MOODS.get(dice.weighted(weights)).copied().unwrap_or(Mood::Neutral)
    }

    /// The text of the post of item n.
    pub(super) fn text(&self, n: u64, planned: &PostPlan) -> String {
        let mut dice = self.dice(Purpose::Text, n);
        if planned.is_spam {
            return compose_spam(planned.language, &mut dice);
        }
        let Some(topic) = planned.language.topic(planned.topic) else { return String::new() };
        let idea = Idea {
            language: planned.language,
            topic,
            mood: planned.mood,
            is_reply: planned.reply_to.is_some(),
        };
        compose(&idea, &planned.person, &mut dice)
    }

    fn dice(&self, purpose: Purpose, n: u64) -> Dice {
        Dice::new(self.seed, purpose, n)
    }
}
