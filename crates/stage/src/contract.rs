//! What every stage is.

use serde::Serialize;
use wingbeat_model::{Reading, linear::Features};
use wingbeat_record::{DeadCause, Document, JsonError, MessageId, Reason, Record, Subject};

/// A step that looks at a batch of records. It runs on a thread of its own kind, never on the
/// async runtime, so it may compute as long as it needs.
pub trait Stage: Send + Sync {
    /// Its name: what a flow lists, and what dead letters and metrics say.
    fn name(&self) -> &'static str;

    /// Looks at the records. Each may be annotated, or settled by [`Item::filter`] or
    /// [`Item::die`]; what no stage settles is emitted. Items that are settled already are not
    /// among them.
    fn run(&self, items: &mut [&mut Item]);
}

/// How a stage settles a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Left out on purpose.
    Filtered(Reason),
    /// It can't be handled.
    Dead(DeadCause),
    /// It could not be handled now, and may be later: the flow tries again, and makes it a dead
    /// letter when it has tried often enough.
    Retry(DeadCause),
}

/// What models have said about a text. It stays where a stage then leaves the record out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// The sentiment and its probability.
    pub sentiment: Option<(&'static str, f32)>,
    /// The topics, never none, and the probability of the likeliest.
    pub topics: Option<(Vec<&'static str>, f32)>,
}

/// A record on its way through the stages.
#[derive(Debug)]
pub struct Item {
    record: Record,
    /// The payload as an object, where whoever brought it knew it as one.
    scanned: Option<Document>,
    document: Option<Document>,
    pub(crate) text: String,
    /// Outside `None`: nobody has looked. Inside `None`: it can't be told.
    pub(crate) language: Option<Option<&'static str>>,
    pub(crate) features: Option<Features>,
    /// What the encoder has read out of the text, for all stages that want it.
    pub(crate) reading: Option<Reading>,
    members: Vec<(&'static str, Vec<u8>)>,
    tokens: Vec<(&'static str, String)>,
    tags: Vec<Reason>,
    pub(crate) findings: Findings,
    verdict: Option<Verdict>,
}

impl Item {
    /// A record that no stage has seen yet.
    pub fn new(record: Record) -> Self {
        Self {
            record,
            scanned: None,
            document: None,
            text: String::new(),
            language: None,
            features: None,
            reading: None,
            members: Vec::new(),
            tokens: Vec::new(),
            tags: Vec::new(),
            findings: Findings::default(),
            verdict: None,
        }
    }

    /// A record whose payload is known to be an object, which need not be scanned again.
    pub fn of_document(subject: Subject, document: Document) -> Self {
        let record = Record::new(subject, document.payload().clone());
        Self { scanned: Some(document), ..Self::new(record) }
    }

    /// The record as it came in.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The payload as an object; `None` before the stage `post`.
    pub fn document(&self) -> Option<&Document> {
        self.document.as_ref()
    }

    /// The text of the post; empty where it has none.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What models have said about the text.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Scans the payload, where that was not done before.
    pub(crate) fn scan(&mut self) -> Result<Document, JsonError> {
        match self.scanned.take() {
            Some(document) => Ok(document),
            None => Document::parse(self.record.payload.clone()),
        }
    }

    /// Sets what the stage `post` has found.
    pub(crate) fn set_document(&mut self, document: Document, text: String) {
        self.document = Some(document);
        self.text = text;
    }

    /// The language of the text, ISO 639-1; `None` where it can't be told or nobody has looked.
    pub fn language(&self) -> Option<&'static str> {
        self.language.flatten()
    }

    /// Sets the language.
    pub(crate) fn set_language(&mut self, language: Option<&'static str>) {
        self.language = Some(language);
    }

    /// Adds a member to the output object, or replaces it. `json` must be one JSON value.
    pub fn set_member(&mut self, name: &'static str, json: Vec<u8>) {
        self.members.retain(|(known, _)| *known != name);
        self.members.push((name, json));
    }

    /// A member that a stage has added.
    pub(crate) fn member(&self, name: &str) -> Option<&[u8]> {
        let (_, json) = self.members.iter().find(|(known, _)| *known == name)?;
        Some(json)
    }

    /// Adds a member that serde writes.
    pub(crate) fn set_json(&mut self, name: &'static str, member: &impl Serialize) {
        // Plain structs can't fail to be written; a null would say that something was wrong.
        let json = serde_json::to_vec(member).unwrap_or_else(|_| b"null".to_vec());
        self.set_member(name, json);
    }

    /// Sets what stands for `{name}` in the flow's output subject. Any text will do.
    pub fn set_token(&mut self, name: &'static str, token: &str) {
        self.tokens.retain(|(known, _)| *known != name);
        self.tokens.push((name, wingbeat_record::token(token).into_owned()));
    }

    /// What stands for `{name}` in the output subject.
    pub fn token(&self, name: &str) -> Option<&str> {
        self.tokens.iter().find(|(known, _)| *known == name).map(|(_, token)| token.as_str())
    }

    /// Notes something about the record, without settling it.
    pub fn tag(&mut self, reason: Reason) {
        if !self.tags.contains(&reason) {
            self.tags.push(reason);
        }
    }

    /// What was noted, for the header `Wingbeat-Tags`: words separated by commas. `None` where
    /// nothing was.
    pub fn tags(&self) -> Option<String> {
        let tags: Vec<&str> = self.tags.iter().map(Reason::as_str).collect();
        (!tags.is_empty()).then(|| tags.join(","))
    }

    /// The languages that the post declares, as it writes them.
    pub(crate) fn declared_languages(&self) -> Vec<String> {
        let languages = |document: &Document| {
            document.get("langs").or_else(|| document.get_path("record.langs"))?.strings()
        };
        self.document.as_ref().and_then(languages).unwrap_or_default()
    }

    /// Leaves the record out on purpose.
    pub fn filter(&mut self, reason: Reason) {
        self.settle(Verdict::Filtered(reason));
    }

    /// Gives the record up: it becomes a dead letter.
    pub fn die(&mut self, cause: DeadCause) {
        self.settle(Verdict::Dead(cause));
    }

    /// Asks for another try, later.
    pub fn retry(&mut self, cause: DeadCause) {
        self.settle(Verdict::Retry(cause));
    }

    fn settle(&mut self, verdict: Verdict) {
        // The first verdict counts: later stages do not see the item.
        self.verdict.get_or_insert(verdict);
    }

    /// How the record was settled; `None` where it is to be emitted.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// The key within which order is kept: the author.
    pub fn key(&self) -> Option<String> {
        let document = self.document.as_ref()?;
        ["author", "did"].iter().find_map(|name| Some(document.get(name)?.as_str()?.into_owned()))
    }

    /// The identity of the output: that of the input, or that of uri and cid, or that of the
    /// content.
    pub fn message_id(&self) -> MessageId {
        if let Some(id) = self.record.id() {
            return MessageId::new(id);
        }
        let text = |name| self.document.as_ref()?.get(name)?.as_str();
        match (text("uri"), text("cid")) {
            (Some(uri), Some(cid)) => MessageId::of_post(&uri, &cid),
            _ => MessageId::from_content(&self.record.payload),
        }
    }

    /// The output's payload: the input's members byte for byte, and behind them what the stages
    /// have added.
    pub fn output(&self) -> Vec<u8> {
        let members: Vec<(&str, &[u8])> =
            self.members.iter().map(|(name, json)| (*name, json.as_slice())).collect();
        match &self.document {
            Some(document) => document.with_members(&members),
            None => self.record.payload.to_vec(),
        }
    }

    /// What the stages have added, as an object of its own.
    pub fn additions(&self) -> Vec<u8> {
        let mut out = vec![b'{'];
        for (at, (name, json)) in self.members.iter().enumerate() {
            // Names are the stages' own words: they need no escapes.
            let begin = if at == 0 { "\"" } else { ",\"" };
            for part in [begin.as_bytes(), name.as_bytes(), b"\":", json] {
                out.extend_from_slice(part);
            }
        }
        out.push(b'}');
        out
    }

    /// The record back, for another try or a dead letter.
    pub fn into_record(self) -> Record {
        self.record
    }
}
