//! `explain`: what each word of a text added to the verdict, for whoever asks about a text.
//!
//! It is in no pack, and packs can't name it: it costs as much as [`Explain::TEXTS_MAX`] further
//! texts. It explains what stands in the members `sentiment` and `topics`, by running the stages that
//! write them over the text without each of its parts. Whatever models these stages use, then.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wingbeat_model::{
    linear::Analyzer,
    occlusion::{Contributions, Occlusion, Odds, PARTS_MAX},
};
use wingbeat_record::{DeadCause, Reason, Record, Value};

use crate::{
    Item, Settings, Stage, StageError, Unread, Verdict, sentiment::Sentiment, topics::Topics,
};

/// Log-odds are given in steps of one over this: finer than the models are.
const STEPS: f64 = 10_000.0;

/// The stage.
pub struct Explain {
    sentiment: Sentiment,
    topics: Topics,
    /// A language that the models read. A text that was scored is scored without a word too, whatever
    /// language it then seems to be in.
    language: Option<&'static str>,
}

/// What is to be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The sentiment that was found, and the topics.
    Verdict,
    /// All sentiments, and the topics that were found.
    All,
}

/// The member `explanation`.
#[derive(Serialize)]
struct Explanation<'a> {
    is_whole: bool,
    parts: Vec<Part<'a>>,
    sentiment: Option<Vec<Label>>,
    topics: Option<Vec<Label>>,
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
    bytes: [usize; 2],
    chars: [usize; 2],
    words: usize,
}

/// A label, and what the parts add to it.
#[derive(Serialize)]
struct Label {
    label: String,
    probability: f32,
    without: Vec<f32>,
    added: Vec<f64>,
}

/// What is read of the member `sentiment`.
#[derive(Deserialize)]
struct SentimentMember {
    sentiment: String,
    probabilities: BTreeMap<String, f32>,
}

/// What is read of the member `topics`.
#[derive(Deserialize)]
struct TopicsMember {
    topics: Vec<String>,
    probabilities: BTreeMap<String, f32>,
}

impl Explain {
    /// Its name, which dead letters have.
    pub const NAME: &'static str = "explain";
    /// So many texts are scored for one explanation, at most.
    pub const TEXTS_MAX: usize = PARTS_MAX + 1;
    /// The member of a request that asks for an explanation.
    const ASKED_BY: &'static str = "explain";
    /// The member that it adds.
    const MEMBER: &'static str = "explanation";

    /// Makes it, for what stages with these settings say.
    ///
    /// # Errors
    ///
    /// As their own.
    pub fn new(settings: &Settings) -> Result<Self, StageError> {
        let mut settings = settings.clone();
        settings.sentiment.threshold = 0.0;
        settings.sentiment.unread = Unread::Emit;
        settings.topics.unread = Unread::Emit;
        settings.topics.probabilities = true;
        Ok(Self {
            sentiment: Sentiment::new(&settings.sentiment, &settings.models)?,
            topics: Topics::new(&settings.topics, &settings.models)?,
            language: Analyzer::embedded()?.languages_read().first().copied(),
        })
    }

    /// Whether a request may ask for an explanation, which costs more than a verdict. Cheap, and
    /// right whenever it is false: a key that is written with escapes asks for nothing.
    pub fn may_be_wanted(request: &[u8]) -> bool {
        const KEY: &[u8] = b"\"explain\"";
        request.trim_ascii_start().starts_with(b"{")
            && request.windows(KEY.len()).any(|window| window == KEY)
    }

    fn wanted(item: &Item) -> Result<Option<Wanted>, DeadCause> {
        if !Self::may_be_wanted(&item.record().payload) {
            return Ok(None);
        }
        let asked = item.document().and_then(|document| document.get(Self::ASKED_BY));
        match asked.as_ref().map(Value::raw) {
            None | Some(b"false" | b"null") => Ok(None),
            Some(b"true") => Ok(Some(Wanted::Verdict)),
            Some(b"\"all\"") => Ok(Some(Wanted::All)),
            Some(_) => {
                let message = "`explain` is neither true nor false nor \"all\"";
                Err(DeadCause::new(Self::NAME, Reason::new("wrong_type"), message))
            }
        }
    }

    fn explain(&self, item: &mut Item, wanted: Wanted) -> Result<(), DeadCause> {
        let (has_sentiment, has_topics) =
            (item.findings.sentiment.is_some(), item.findings.topics.is_some());
        if !has_sentiment && !has_topics {
            item.set_member(Self::MEMBER, b"null".to_vec());
            return Ok(());
        }
        let text = item.text().to_owned();
        let occlusion = Occlusion::of(&text);
        let mut copies: Vec<Item> = occlusion.texts().map(|text| self.copy(item, text)).collect();
        let mut open: Vec<&mut Item> = copies.iter_mut().collect();
        if has_sentiment {
            self.sentiment.run(&mut open);
        }
        open.retain(|copy| copy.verdict().is_none());
        if has_topics {
            self.topics.run(&mut open);
        }
        for copy in &copies {
            if let Some(Verdict::Dead(cause) | Verdict::Retry(cause)) = copy.verdict() {
                return Err(cause.clone());
            }
        }
        let explanation = Explanation {
            is_whole: occlusion.is_whole(),
            parts: parts(&text, &occlusion),
            sentiment: has_sentiment.then(|| sentiments(&copies, wanted)).flatten(),
            topics: has_topics.then(|| topics(&copies)).flatten(),
        };
        item.set_json(Self::MEMBER, &explanation);
        Ok(())
    }

    /// An item with another text, for the stages alone.
    fn copy(&self, item: &Item, text: Cow<'_, str>) -> Item {
        let mut copy = Item::new(Record::new(item.record().subject.clone(), Bytes::new()));
        copy.text = text.into_owned();
        copy.set_language(self.language);
        copy
    }
}

fn parts<'a>(text: &'a str, occlusion: &Occlusion<'_>) -> Vec<Part<'a>> {
    let part = |part: &wingbeat_model::occlusion::Part| Part {
        text: &text[part.bytes.clone()],
        bytes: [part.bytes.start, part.bytes.end],
        chars: [part.chars.start, part.chars.end],
        words: part.words,
    };
    occlusion.parts().iter().map(part).collect()
}

/// What the parts add to the sentiment that was found, and to the others where they are wanted.
fn sentiments(copies: &[Item], wanted: Wanted) -> Option<Vec<Label>> {
    let said = members::<SentimentMember>(copies, Sentiment::NAME)?;
    let found = &said.first()?.sentiment;
    let others = said.first()?.probabilities.keys().filter(|label| *label != found);
    let others = others.filter(|_| wanted == Wanted::All);
    let odds = |said: &SentimentMember, label: &str| {
        let rest = said.probabilities.iter().filter(|(other, _)| *other != label);
        let rest = rest.map(|(_, probability)| f64::from(*probability)).sum();
        Some(Odds { probability: *said.probabilities.get(label)?, rest })
    };
    std::iter::once(found)
        .chain(others)
        .map(|name| label(name, said.iter().map(|said| odds(said, name)).collect::<Option<_>>()?))
        .collect()
}

/// What the parts add to each topic that was found.
fn topics(copies: &[Item]) -> Option<Vec<Label>> {
    let said = members::<TopicsMember>(copies, Topics::NAME)?;
    let odds =
        |said: &TopicsMember, label: &str| said.probabilities.get(label).copied().map(Odds::alone);
    let found = said.first()?.topics.iter();
    found
        .map(|name| label(name, said.iter().map(|said| odds(said, name)).collect::<Option<_>>()?))
        .collect()
}

/// What the stages have said of each text; `None` where one was not scored.
fn members<T: for<'de> Deserialize<'de>>(copies: &[Item], name: &str) -> Option<Vec<T>> {
    copies.iter().map(|copy| serde_json::from_slice(copy.member(name)?).ok()).collect()
}

fn label(name: &str, odds: Vec<Odds>) -> Option<Label> {
    let Contributions { probability, without, added } = Contributions::of(odds)?;
    let added = added.iter().map(|added| (added * STEPS).round() / STEPS).collect();
    Some(Label { label: name.to_owned(), probability, without, added })
}

impl Stage for Explain {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn run(&self, items: &mut [&mut Item]) {
        for item in items {
            // Each is a batch of its own: what is under way stays small.
            let explained = match Self::wanted(item) {
                Ok(None) => Ok(()),
                Ok(Some(wanted)) => self.explain(item, wanted),
                Err(cause) => Err(cause),
            };
            if let Err(cause) = explained {
                item.die(cause);
            }
        }
    }
}
