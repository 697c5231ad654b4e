//! What the simulator's people write: word lists and templates, one file for each language.
//!
//! The files are under `corpus/`. Their form: `code` is the language's code; `has_case` says
//! whether its letters come in two sizes, so that people may be careless about it; `stop` ends a
//! sentence; `spam` is what spammers write; `[slots]` are lists for all templates; `[voice]` is
//! what people put around a text; `[reactions]` are short answers; `[topics.NAME]` has the topic's
//! hashtags, lists and templates by mood. Templates start in lower case: whoever writes properly
//! gets a capital letter.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use super::{
    Mood,
    template::{Lists, Template},
};

/// The topics, in the order of the topic model's labels, each with its share of posts.
pub(super) const TOPICS: [(&str, f64); 19] = [
    ("arts_&_culture", 0.06),
    ("business_&_entrepreneurs", 0.03),
    ("celebrity_&_pop_culture", 0.06),
    ("diaries_&_daily_life", 0.17),
    ("family", 0.03),
    ("fashion_&_style", 0.02),
    ("film_tv_&_video", 0.08),
    ("fitness_&_health", 0.04),
    ("food_&_dining", 0.07),
    ("gaming", 0.07),
    ("learning_&_educational", 0.03),
    ("music", 0.07),
    ("news_&_social_concern", 0.07),
    ("other_hobbies", 0.04),
    ("relationships", 0.04),
    ("science_&_technology", 0.06),
    ("sports", 0.08),
    ("travel_&_adventure", 0.04),
    ("youth_&_student_life", 0.03),
];

/// The languages' files, each with its share of posts: about what one sees on Bluesky.
const LANGUAGES: [(&str, f64, &str); 12] = [
    ("en", 0.55, include_str!("corpus/en.toml")),
    ("ja", 0.15, include_str!("corpus/ja.toml")),
    ("pt", 0.10, include_str!("corpus/pt.toml")),
    ("es", 0.06, include_str!("corpus/es.toml")),
    ("de", 0.05, include_str!("corpus/de.toml")),
    ("fr", 0.03, include_str!("corpus/fr.toml")),
    ("ko", 0.02, include_str!("corpus/ko.toml")),
    ("tr", 0.01, include_str!("corpus/tr.toml")),
    ("it", 0.01, include_str!("corpus/it.toml")),
    ("nl", 0.01, include_str!("corpus/nl.toml")),
    ("id", 0.005, include_str!("corpus/id.toml")),
    ("pl", 0.005, include_str!("corpus/pl.toml")),
];

/// The codes of the languages that there are.
pub(super) const LANGUAGE_CODES: [&str; LANGUAGES.len()] = {
    let mut codes = [""; LANGUAGES.len()];
    let mut index = 0;
    while index < LANGUAGES.len() {
        codes[index] = LANGUAGES[index].0;
        index += 1;
    }
    codes
};

/// Something for each mood.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ByMood<T> {
    positive: T,
    neutral: T,
    negative: T,
}

impl<T> ByMood<T> {
    pub(super) fn get(&self, mood: Mood) -> &T {
        match mood {
            Mood::Positive => &self.positive,
            Mood::Neutral => &self.neutral,
            Mood::Negative => &self.negative,
        }
    }

    fn try_map<U>(self, map: impl Fn(T) -> Result<U, String>) -> Result<ByMood<U>, String> {
        Ok(ByMood {
            positive: map(self.positive)?,
            neutral: map(self.neutral)?,
            negative: map(self.negative)?,
        })
    }
}

/// What people put around a text.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Voice {
    /// Before it, each with its comma and space.
    pub(super) openers: ByMood<Vec<String>>,
    /// Behind it.
    pub(super) closers: ByMood<Vec<String>>,
    /// Behind it.
    pub(super) emoji: ByMood<Vec<String>>,
}

/// A language.
#[derive(Debug)]
pub(super) struct Language {
    /// Its code, such as `en`.
    pub(super) code: &'static str,
    /// Its share of posts.
    pub(super) share: f64,
    /// Whether its letters come in two sizes.
    pub(super) has_case: bool,
    /// What ends a sentence.
    pub(super) stop: String,
    pub(super) voice: Voice,
    /// Short answers.
    pub(super) reactions: ByMood<Vec<Template>>,
    /// The topics that it has something to say about.
    pub(super) topics: Vec<Topic>,
    /// What spammers write.
    pub(super) spam: Vec<Template>,
    /// What the templates refer to.
    pub(super) lists: Lists,
}

/// A topic in a language.
#[derive(Debug)]
pub(super) struct Topic {
    /// Index into [`TOPICS`].
    pub(super) index: usize,
    pub(super) hashtags: Vec<String>,
    pub(super) templates: ByMood<Vec<Template>>,
}

impl Language {
    /// The topic with this index, or another one in its place where the language has nothing to
    /// say about it. `None` where it has no topics.
    pub(super) fn topic(&self, index: usize) -> Option<&Topic> {
        let exact = self.topics.iter().find(|topic| topic.index == index);
        exact.or_else(|| self.topics.get(index % self.topics.len().max(1)))
    }
}

/// All languages, or what is wrong with their files.
pub(super) fn languages() -> Result<&'static [Language], &'static str> {
    static PARSED: LazyLock<Result<Vec<Language>, String>> = LazyLock::new(|| {
        let files = LANGUAGES.iter();
        files.map(|(code, share, file)| parse(code, *share, file)).collect()
    });
    PARSED.as_ref().map(Vec::as_slice).map_err(String::as_str)
}

/// The files as they are: a change to one changes what item n is.
pub(super) fn files() -> impl Iterator<Item = &'static str> {
    LANGUAGES.iter().map(|(_, _, file)| *file)
}

/// A language's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LanguageFile {
    code: String,
    has_case: bool,
    stop: String,
    #[serde(default)]
    slots: BTreeMap<String, Vec<String>>,
    voice: Voice,
    reactions: ByMood<Vec<String>>,
    topics: BTreeMap<String, TopicFile>,
    spam: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicFile {
    hashtags: Vec<String>,
    #[serde(default)]
    slots: BTreeMap<String, Vec<String>>,
    positive: Vec<String>,
    neutral: Vec<String>,
    negative: Vec<String>,
}

fn parse(code: &'static str, share: f64, file: &str) -> Result<Language, String> {
    let in_file = |problem: String| format!("corpus/{code}.toml: {problem}");
    let file: LanguageFile = toml::from_str(file).map_err(|error| in_file(error.to_string()))?;
    if file.code != code {
        return Err(in_file(format!("`code` is `{}`", file.code)));
    }
    compile(code, share, file).map_err(in_file)
}

fn compile(code: &'static str, share: f64, file: LanguageFile) -> Result<Language, String> {
    let mut lists = Lists::new();
    let shared = add_lists(&mut lists, file.slots)?;
    let parse_all = |texts: Vec<String>, own: &BTreeMap<String, usize>| {
        let find = |name: &str| own.get(name).or_else(|| shared.get(name)).copied();
        let parsed: Result<Vec<_>, String> =
            texts.iter().map(|text| Template::parse(text, &find)).collect();
        match parsed {
            Ok(templates) if templates.is_empty() => Err("a list of templates is empty".to_owned()),
            parsed => parsed,
        }
    };
    let none = BTreeMap::new();
    let mut topics = Vec::new();
    for (name, topic) in file.topics {
        let Some(index) = TOPICS.iter().position(|(known, _)| *known == name) else {
            return Err(format!("there is no topic `{name}`"));
        };
        let in_topic = |problem: String| format!("topic `{name}`: {problem}");
        let own = add_lists(&mut lists, topic.slots).map_err(in_topic)?;
        let by_mood =
            ByMood { positive: topic.positive, neutral: topic.neutral, negative: topic.negative };
        let templates = by_mood.try_map(|texts| parse_all(texts, &own)).map_err(in_topic)?;
        topics.push(Topic { index, hashtags: topic.hashtags, templates });
    }
    topics.sort_by_key(|topic| topic.index);
    Ok(Language {
        code,
        share,
        has_case: file.has_case,
        stop: file.stop,
        voice: file.voice,
        reactions: file.reactions.try_map(|texts| parse_all(texts, &none))?,
        topics,
        spam: parse_all(file.spam, &none)?,
        lists,
    })
}

/// Adds lists, and returns where each is.
fn add_lists(
    lists: &mut Lists,
    slots: BTreeMap<String, Vec<String>>,
) -> Result<BTreeMap<String, usize>, String> {
    let mut indexes = BTreeMap::new();
    for (name, entries) in slots {
        if entries.is_empty() {
            return Err(format!("the list `{name}` is empty"));
        }
        // Lists hold no lists, so that no template expands without end.
        let parsed: Result<Vec<_>, String> =
            entries.iter().map(|entry| Template::parse(entry, &|_| None)).collect();
        indexes.insert(name, lists.len());
        lists.push(parsed?);
    }
    Ok(indexes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::dice::{Dice, Purpose};

    const MOODS: [Mood; 3] = [Mood::Positive, Mood::Neutral, Mood::Negative];

    #[test]
    fn every_file_is_sound_and_english_knows_every_topic() {
        let languages = languages().unwrap();
        assert_eq!(
            languages.iter().map(|language| language.code).collect::<Vec<_>>(),
            LANGUAGE_CODES
        );
        assert_eq!(languages[0].topics.len(), TOPICS.len());
        for language in languages {
            let voice = &language.voice;
            for mood in MOODS {
                let lists = [&voice.openers, &voice.closers, &voice.emoji];
                assert!(lists.iter().all(|list| !list.get(mood).is_empty()), "{}", language.code);
            }
            assert!(language.topics.len() >= 5, "{}", language.code);
            assert!(language.topics.iter().all(|topic| !topic.hashtags.is_empty()));
        }
        let shares: f64 = LANGUAGES.iter().map(|(_, share, _)| share).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    }

    /// With what stands around it, a text still has to fit into a post.
    #[test]
    fn every_template_makes_a_text_that_fits() {
        for language in languages().unwrap() {
            let topics = language.topics.iter().map(|topic| &topic.templates);
            for by_mood in topics.chain([&language.reactions]) {
                for template in MOODS.iter().flat_map(|mood| by_mood.get(*mood)) {
                    for index in 0..20 {
                        let mut text = String::new();
                        let mut dice = Dice::new(5, Purpose::Text, index);
                        template.expand(&language.lists, &mut dice, &mut text);
                        let length = text.chars().count();
                        assert!((2..=200).contains(&length), "{}: {text}", language.code);
                        assert!(!text.contains("  "), "{}: {text}", language.code);
                    }
                }
            }
        }
    }

    #[test]
    fn broken_files_are_refused_with_the_place() {
        let english = LANGUAGES[0].2;
        let problem =
            |from: &str, to: &str| parse("en", 1.0, &english.replacen(from, to, 1)).unwrap_err();
        assert!(parse("de", 1.0, english).unwrap_err().contains("corpus/de.toml: `code` is `en`"));
        assert!(problem("[topics.gaming]", "[topics.chess]").contains("no topic `chess`"));
        let unknown = problem("{game} is {great}!", "{gaem} is {great}!");
        assert!(unknown.contains("topic `gaming`: there is no list `gaem`"), "{unknown}");
        assert!(problem("has_case = true", "has_case = 1").contains("corpus/en.toml"));
        assert!(problem("stop = \".\"", "stop = \".\"\ncolour = 1").contains("colour"));
    }
}
