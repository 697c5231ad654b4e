//! What can be set about the simulator.

use std::fmt;

use wingbeat_record::Time;

use super::corpus::{LANGUAGE_CODES, TOPICS};
use crate::{RATE_MAX, SourceError, spec::nearest};

/// The names of the settings, for messages.
const NAMES: [&str; 13] = [
    "seed",
    "rate",
    "burst",
    "count",
    "duplicates",
    "deletes",
    "malformed",
    "oversize",
    "spam",
    "languages",
    "sentiments",
    "topics",
    "start",
];

/// The moods, in the words that classifiers have for them.
pub(super) const SENTIMENTS: [&str; 3] = ["positive", "neutral", "negative"];

/// What the simulator makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Another seed, other posts.
    pub seed: u64,
    /// Items per second between bursts.
    pub rate: f64,
    /// How many times the rate there is in a burst, which comes once in two minutes for eight
    /// seconds. 1: no bursts.
    pub burst: f64,
    /// End after so many items. `None`: go on for ever.
    pub count: Option<u64>,
    /// The share of items that repeat an earlier post: exactly, but that without `start` their
    /// times are only about what they were.
    pub duplicates: f64,
    /// The share of items that delete an earlier post.
    pub deletes: f64,
    /// The share of items that are malformed.
    pub malformed: f64,
    /// The share of items that are larger than a record may be.
    pub oversize: f64,
    /// The share of posts that are spam.
    pub spam: f64,
    /// The languages, each with its weight. Empty: about as on Bluesky.
    pub languages: Vec<(String, f64)>,
    /// The sentiments, each with its weight. Empty: they drift, and follow the news.
    pub sentiments: Vec<(String, f64)>,
    /// The topics, each with its weight, as far as a language has texts about them. Empty: about
    /// as on Bluesky, and everybody likes some better than others.
    pub topics: Vec<(String, f64)>,
    /// When the first item was made. `None`: in live use; posts say that they were made now.
    pub start: Option<Time>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            rate: 50.0,
            burst: 3.0,
            count: None,
            duplicates: 0.01,
            deletes: 0.01,
            malformed: 0.005,
            oversize: 0.0,
            spam: 0.02,
            languages: Vec::new(),
            sentiments: Vec::new(),
            topics: Vec::new(),
            start: None,
        }
    }
}

impl Settings {
    /// Reads `name=value` pairs with commas between them. What is not named keeps its default.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let mut settings = Self::default();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(SourceError::Spec(format!(
                    "`{pair}` is no setting of the simulator: write name=value, such as rate=500"
                )));
            };
            settings.set(name.trim(), value.trim())?;
        }
        settings.check()?;
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), SourceError> {
        match name {
            "seed" => self.seed = parse(name, value, "a whole number")?,
            "rate" => self.rate = parse(name, value, "a number of items per second")?,
            "burst" => self.burst = parse(name, value, "a number, 1 or more")?,
            "count" => self.count = Some(parse(name, value, "a whole number")?),
            "duplicates" => self.duplicates = parse(name, value, SHARE)?,
            "deletes" => self.deletes = parse(name, value, SHARE)?,
            "malformed" => self.malformed = parse(name, value, SHARE)?,
            "oversize" => self.oversize = parse(name, value, SHARE)?,
            "spam" => self.spam = parse(name, value, SHARE)?,
            "languages" => self.languages = parse_weights(name, value)?,
            "sentiments" => self.sentiments = parse_weights(name, value)?,
            "topics" => self.topics = parse_weights(name, value)?,
            "start" => self.start = Some(parse(name, value, "a time, as 2026-07-04T14:38:08Z")?),
            _ => {
                let hint = nearest(name, &NAMES)
                    .map_or(String::new(), |known| format!(" did you mean `{known}`?"));
                return Err(SourceError::Spec(format!(
                    "the simulator has no setting `{name}`:{hint} It has {}",
                    NAMES.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Checks what each setting may be. The error says it.
    pub(super) fn check(&self) -> Result<(), SourceError> {
        let refuse = |problem: String| Err(SourceError::Spec(format!("simulator: {problem}")));
        if !(self.rate > 0.0 && self.rate <= RATE_MAX) {
            return refuse(format!(
                "rate={} must be above 0 and at most {RATE_MAX} per second",
                self.rate
            ));
        }
        if !(self.burst >= 1.0 && self.burst * self.rate <= RATE_MAX) {
            return refuse(format!(
                "burst={} must be 1 or more, and with rate={} come to at most {RATE_MAX} per second",
                self.burst, self.rate
            ));
        }
        let shares = [
            ("duplicates", self.duplicates),
            ("deletes", self.deletes),
            ("malformed", self.malformed),
            ("oversize", self.oversize),
            ("spam", self.spam),
        ];
        if let Some((name, share)) = shares.iter().find(|(_, s)| !(0.0..=1.0).contains(s)) {
            return refuse(format!("{name}={share} must be {SHARE}"));
        }
        if self.duplicates + self.deletes + self.malformed + self.oversize > 1.0 {
            return refuse(
                "duplicates, deletes, malformed and oversize come to more than 1".to_owned(),
            );
        }
        let topics = TOPICS.map(|(label, _)| label);
        for (name, mix, known) in [
            ("languages", &self.languages, &LANGUAGE_CODES[..]),
            ("sentiments", &self.sentiments, &SENTIMENTS[..]),
            ("topics", &self.topics, &topics[..]),
        ] {
            for (word, weight) in mix {
                if !known.contains(&word.as_str()) {
                    return refuse(format!("{name}: no `{word}`; there are {}", known.join(", ")));
                }
                if !(*weight > 0.0 && weight.is_finite()) {
                    return refuse(format!("{name}: the weight of `{word}` must be above 0"));
                }
            }
        }
        Ok(())
    }
}

const SHARE: &str = "a share from 0 to 1";

fn parse<T: std::str::FromStr>(name: &str, value: &str, what: &str) -> Result<T, SourceError> {
    value.parse().map_err(|_| {
        SourceError::Spec(format!("simulator: {name}={value} is wrong: it must be {what}"))
    })
}

/// Reads `en:3+ja:1`; a weight that is not named is 1.
fn parse_weights(name: &str, value: &str) -> Result<Vec<(String, f64)>, SourceError> {
    let mut mix: Vec<(String, f64)> = Vec::new();
    for part in value.split('+') {
        let (word, weight) = part.split_once(':').unwrap_or((part, "1"));
        let weight = parse(name, weight, "words with weights, such as en:3+ja:1")?;
        if mix.iter().any(|(known, _)| known == word) {
            return Err(SourceError::Spec(format!("simulator: {name}: `{word}` stands twice")));
        }
        mix.push((word.to_owned(), weight));
    }
    Ok(mix)
}

impl fmt::Display for Settings {
    /// As in a spec: `simulator`, and what differs from the defaults.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let mut pairs = Vec::new();
        let mut add = |name: &str, is_default: bool, value: &dyn fmt::Display| {
            if !is_default {
                pairs.push(format!("{name}={value}"));
            }
        };
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        add("seed", self.seed == default.seed, &self.seed);
        add("rate", same(self.rate, default.rate), &self.rate);
        add("burst", same(self.burst, default.burst), &self.burst);
        add("count", self.count.is_none(), &self.count.unwrap_or(0));
        add("duplicates", same(self.duplicates, default.duplicates), &self.duplicates);
        add("deletes", same(self.deletes, default.deletes), &self.deletes);
        add("malformed", same(self.malformed, default.malformed), &self.malformed);
        add("oversize", same(self.oversize, default.oversize), &self.oversize);
        add("spam", same(self.spam, default.spam), &self.spam);
        for (name, mix) in [
            ("languages", &self.languages),
            ("sentiments", &self.sentiments),
            ("topics", &self.topics),
        ] {
            let parts: Vec<_> =
                mix.iter().map(|(word, weight)| format!("{word}:{weight}")).collect();
            add(name, parts.is_empty(), &parts.join("+"));
        }
        add("start", self.start.is_none(), &self.start.unwrap_or(Time::from_micros(0)));
        f.write_str("simulator")?;
        if pairs.is_empty() { Ok(()) } else { write!(f, ":{}", pairs.join(",")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        Settings::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_named_keeps_its_default() {
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
        let settings = Settings::parse("seed=9, spam=0.5 ,languages=de+ja:2").unwrap();
        assert_eq!((settings.seed, settings.spam), (9, 0.5));
        assert_eq!(settings.languages, [("de".to_owned(), 1.0), ("ja".to_owned(), 2.0)]);
    }

    #[test]
    fn wrong_settings_are_refused_and_the_right_ones_are_told() {
        assert!(problem("sed=1").contains("did you mean `seed`?"));
        assert!(problem("rate").contains("write name=value"));
        assert!(problem("rate=fast").contains("a number of items per second"));
        assert!(problem("rate=0").contains("above 0"));
        assert!(problem("rate=NaN").contains("above 0"));
        assert!(problem("rate=500000,burst=10").contains("burst=10"));
        assert!(problem("spam=1.5").contains("a share from 0 to 1"));
        assert!(problem("duplicates=0.6,deletes=0.6").contains("more than 1"));
        assert!(problem("languages=xx").contains("there are en, ja"));
        assert!(problem("sentiments=good").contains("there are positive, neutral, negative"));
        assert!(problem("topics=sport").contains("sports"));
        assert!(problem("oversize=0.7,malformed=0.4").contains("more than 1"));
        assert!(problem("languages=en+en").contains("stands twice"));
        assert!(problem("languages=en:0").contains("above 0"));
        assert!(problem("start=noon").contains("2026-07-04T14:38:08Z"));
    }
}
