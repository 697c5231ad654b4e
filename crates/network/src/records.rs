//! What people write: records in DRISL-CBOR.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use serde::Deserialize;
use wingbeat_atproto::{POST_COLLECTION, cbor::Value};
use wingbeat_record::Time;
use wingbeat_source::{
    Content,
    simulator::{Settings, Simulator},
};

use crate::{chance::Chance, options::StartError};

pub(crate) const LIKE: &str = "app.bsky.feed.like";
pub(crate) const REPOST: &str = "app.bsky.feed.repost";
pub(crate) const FOLLOW: &str = "app.bsky.graph.follow";
pub(crate) const BLOCK: &str = "app.bsky.graph.block";
pub(crate) const PROFILE: &str = "app.bsky.actor.profile";

/// How many posts are remembered for others to like, repost and answer.
const RECENT_POSTS_MAX: usize = 1024;

/// The share of posts that answer another one.
const REPLY_SHARE: f64 = 0.3;

/// A post that others may refer to.
#[derive(Debug)]
struct Reference {
    uri: String,
    cid: String,
}

/// Makes records.
#[derive(Debug)]
pub(crate) struct Writer {
    texts: Simulator,
    recent: VecDeque<Reference>,
}

/// The part of the text simulator's payload that matters here.
#[derive(Debug, Default, Deserialize)]
struct Written {
    #[serde(default)]
    text: String,
    #[serde(default)]
    langs: Vec<String>,
}

impl Writer {
    pub(crate) fn new(seed: u64) -> Result<Self, StartError> {
        let settings = Settings {
            seed,
            burst: 1.0,
            duplicates: 0.0,
            deletes: 0.0,
            malformed: 0.0,
            ..Settings::default()
        };
        let texts =
            Simulator::new(settings).map_err(|error| StartError::Texts(error.to_string()))?;
        Ok(Self { texts, recent: VecDeque::new() })
    }

    /// A record of a collection, which is number `n` of its kind. `subject` is the DID of someone
    /// else, for where one is needed.
    pub(crate) fn record(
        &self,
        collection: &str,
        n: u64,
        at: Time,
        subject: &str,
        chance: &mut Chance,
    ) -> Bytes {
        let created_at = format!("{at:.3}");
        if collection == POST_COLLECTION {
            return self.post(n, &created_at, chance);
        }
        let mut fields =
            vec![("$type", Value::Text(collection)), ("createdAt", Value::Text(&created_at))];
        let number = n.to_string();
        match collection {
            LIKE | REPOST => match self.any_post(chance) {
                Some(post) => fields.push(("subject", reference(post))),
                None => fields.push(("subject", Value::Text(subject))),
            },
            FOLLOW | BLOCK => fields.push(("subject", Value::Text(subject))),
            PROFILE => fields.push(("displayName", Value::Text(&number))),
            _ => fields.push(("number", Value::Text(&number))),
        }
        encode(fields)
    }

    /// A post whose text is a number, which its lexicon does not allow.
    pub(crate) fn post_against_its_lexicon(at: Time) -> Bytes {
        let created_at = format!("{at:.3}");
        encode(vec![
            ("$type", Value::Text(POST_COLLECTION)),
            ("text", Value::Integer(5)),
            ("createdAt", Value::Text(&created_at)),
        ])
    }

    /// Bytes that look like a post and are no DRISL: a map of no stated length.
    pub(crate) fn post_that_is_no_cbor() -> Bytes {
        Bytes::from_static(b"\xbfdtextfbroken")
    }

    /// Lets others refer to a post.
    pub(crate) fn remember(&mut self, did: &str, path: &Arc<str>, cid: String) {
        if self.recent.len() == RECENT_POSTS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Reference { uri: format!("at://{did}/{path}"), cid });
    }

    fn any_post(&self, chance: &mut Chance) -> Option<&Reference> {
        self.recent.get(chance.below(self.recent.len()))
    }

    fn post(&self, n: u64, created_at: &str, chance: &mut Chance) -> Bytes {
        let item = self.texts.item(n, Time::from_micros(0));
        let written: Written = match &item.content {
            Content::Post(post) => serde_json::from_slice(&post.payload).unwrap_or_default(),
            _ => Written::default(),
        };
        let mut fields = vec![
            ("$type", Value::Text(POST_COLLECTION)),
            ("text", Value::Text(&written.text)),
            ("createdAt", Value::Text(created_at)),
        ];
        if !written.langs.is_empty() {
            let langs = written.langs.iter().map(|lang| Value::Text(lang)).collect();
            fields.push(("langs", Value::Array(langs)));
        }
        if let Some(post) = chance.happens(REPLY_SHARE).then(|| self.any_post(chance)).flatten() {
            let reply = vec![("root", reference(post)), ("parent", reference(post))];
            fields.push(("reply", Value::Map(reply)));
        }
        encode(fields)
    }
}

fn reference(post: &Reference) -> Value<'_> {
    Value::Map(vec![("cid", Value::Text(&post.cid)), ("uri", Value::Text(&post.uri))])
}

fn encode(fields: Vec<(&str, Value<'_>)>) -> Bytes {
    // Texts and maps of different keys, a few levels deep, can always be written.
    Bytes::from(Value::Map(fields).encode().unwrap_or_default())
}
