//! Made-up posts that look alive: for trying things out, for tests, and as load.
//!
//! What item n is follows from the settings and n alone, so that a source which resumes at n goes
//! on exactly there. That holds for what identifies a post, its address and its CID: the CID is
//! that of the record with the time at which the item was due, `start` plus its place in the
//! schedule. Without `start` the schedule counts from a fixed day, and `created_at` and
//! `timestamp` of the payload, which identify nothing, say what the clock says.

mod corpus;
mod dice;
mod faults;
mod people;
mod plan;
mod schedule;
mod settings;
mod template;
mod text;
mod weather;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use wingbeat_atproto::{Cid, Codec, POST_COLLECTION, Tid, cbor::Value};
use wingbeat_record::{MessageId, Time};

use self::{
    dice::{Dice, Purpose},
    plan::{Plan, PostPlan},
};
pub use self::{
    faults::Fault,
    plan::{Described, Kind, Mood},
    settings::Settings,
};
use crate::{
    Content, Description, Event, Item, Pace, Post, Source, SourceError, hex,
    payload::{PostFields, PostPayload, RecordEvent},
};

/// Where the schedule starts if no start is set: 2026-01-01T00:00:00Z.
const EPOCH: Time = Time::from_micros(1_767_225_600_000_000);

/// The most items that are made at once: they are made where they are asked for, and take some
/// microseconds each.
const BATCH_ITEMS_MAX: usize = 128;

/// How likely a record does not say its language. In a recording of real posts it is 1 of 17.
const NO_LANGS_SHARE: f64 = 0.05;

/// Made-up posts, by index.
#[derive(Debug, Clone)]
pub struct Simulator {
    settings: Settings,
    plan: Plan,
    fingerprint: String,
}

/// What identifies a post, and what it says.
struct BuiltPost {
    uri: String,
    cid: Cid,
    did: String,
    text: String,
    langs: Vec<&'static str>,
    /// The address of the post that is answered, which is the first of its thread.
    reply_to: Option<String>,
}

impl Simulator {
    /// A simulator with these settings.
    pub fn new(settings: Settings) -> Result<Self, SourceError> {
        settings.check()?;
        let plan = Plan::new(&settings)?;
        let fingerprint = fingerprint(&settings);
        Ok(Self { settings, plan, fingerprint })
    }

    /// What item n is in truth. Nothing of it is in the item.
    pub fn describe(&self, n: u64) -> Described {
        self.plan.describe(n)
    }

    /// Item n. `now` is what its times say where no start is set.
    pub fn item(&self, n: u64, now: Time) -> Item {
        let made_at = if self.settings.start.is_some() { self.due_at(n) } else { now };
        let content = match self.plan.kind(n) {
            Kind::Post | Kind::Spam => Content::Post(self.post(n, made_at)),
            Kind::Duplicate { of } => {
                let before = self.due_at(n).since(self.due_at(of));
                Content::Post(self.post(of, made_at.minus(before)))
            }
            Kind::Delete { of } => Content::Event(self.deletion(n, of, made_at)),
            Kind::Malformed { fault } => {
                let id = MessageId::new(format!("simulator:{}:{n}", self.fingerprint));
                let mut dice = Dice::new(self.settings.seed, Purpose::Fault, n);
                fault.content(&self.post(n, made_at).payload, id, &mut dice)
            }
        };
        Item { position: n + 1, content }
    }

    /// When item n is due.
    fn due_at(&self, n: u64) -> Time {
        let start = self.settings.start.unwrap_or(EPOCH);
        let seconds = self.plan.seconds(n);
        #[expect(clippy::cast_possible_truncation, reason = "far below 2^63")]
        Time::from_micros(start.as_micros().saturating_add((seconds * 1e6) as i64))
    }

    /// The time-ordered key of item n. Items that are due in the same microsecond differ in the
    /// clock's number.
    fn tid(&self, n: u64) -> Tid {
        let micros = u64::try_from(self.due_at(n).as_micros()).unwrap_or(0);
        Tid::new(micros, u16::try_from(n % 1024).unwrap_or(0))
    }

    fn build(&self, n: u64) -> BuiltPost {
        let planned = self.plan.post(n);
        let text = self.plan.text(n, &planned);
        let answered = planned.reply_to.map(|answered| self.build(answered));
        let langs = self.langs(n, &planned);
        let created_at = rfc3339_millis(self.due_at(n));
        let mut record = vec![
            ("$type", Value::Text(POST_COLLECTION)),
            ("text", Value::Text(&text)),
            ("createdAt", Value::Text(&created_at)),
        ];
        if !langs.is_empty() {
            record.push((
                "langs",
                Value::Array(langs.iter().map(|lang| Value::Text(lang)).collect()),
            ));
        }
        let answered_cid = answered.as_ref().map(|answered| answered.cid.to_string());
        if let (Some(answered), Some(cid)) = (&answered, &answered_cid) {
            let reference =
                Value::Map(vec![("cid", Value::Text(cid)), ("uri", Value::Text(&answered.uri))]);
            let reply = vec![("root", reference.clone()), ("parent", reference)];
            record.push(("reply", Value::Map(reply)));
        }
        // Texts, arrays and maps of different keys can always be written.
        let record = Value::Map(record).encode().unwrap_or_default();
        BuiltPost {
            uri: format!("at://{}/{POST_COLLECTION}/{}", planned.person.did, self.tid(n)),
            cid: Cid::of(Codec::Drisl, &record),
            did: planned.person.did,
            langs,
            reply_to: answered.map(|answered| answered.uri),
            text,
        }
    }

    fn langs(&self, n: u64, planned: &PostPlan) -> Vec<&'static str> {
        let is_silent = Dice::new(self.settings.seed, Purpose::Language, !n).chance(NO_LANGS_SHARE);
        if is_silent { Vec::new() } else { vec![planned.language.code] }
    }

    fn post(&self, n: u64, made_at: Time) -> Post {
        let built = self.build(n);
        let cid = built.cid.to_string();
        let created_at = rfc3339_millis(made_at);
        let timestamp = format!("{made_at:.0}");
        let fields = PostFields {
            text: &built.text,
            created_at: Some(&created_at),
            timestamp: Some(&timestamp),
            langs: (!built.langs.is_empty()).then_some(&built.langs),
            reply_parent: built.reply_to.as_deref(),
            reply_root: built.reply_to.as_deref(),
            labels: None,
        };
        let payload = PostPayload { uri: &built.uri, cid: &cid, author: &built.did, fields };
        Post::of_document(payload.write(), MessageId::of_post(&built.uri, &cid))
    }

    fn deletion(&self, n: u64, of: u64, made_at: Time) -> Event {
        let did = self.plan.post(of).person.did;
        let rkey = self.tid(of).to_string();
        let rev = self.tid(n).to_string();
        let uri = format!("at://{did}/{POST_COLLECTION}/{rkey}");
        let payload = RecordEvent {
            kind: "delete",
            uri: &uri,
            did: &did,
            collection: POST_COLLECTION,
            rkey: &rkey,
            rev: &rev,
            seq: Some(n + 1),
            time: &rfc3339_millis(made_at),
            cid: None,
            fields: None,
        };
        let id = MessageId::new(format!("{uri}:{rev}:delete"));
        Event { kind: "delete", payload: payload.write().into_payload(), id }
    }
}

fn rfc3339_millis(time: Time) -> String {
    format!("{time:.3}")
}

/// Identifies what item n is: the settings that it follows from, and the corpus.
fn fingerprint(settings: &Settings) -> String {
    let mut hasher = Sha256::new();
    hasher.update(Settings { count: None, ..settings.clone() }.to_string());
    for file in corpus::files() {
        hasher.update(file);
    }
    hex(&hasher.finalize()[..16])
}

/// The simulator as a source.
pub struct SimulatorSource {
    description: Description,
    simulator: Simulator,
    pace: Pace,
    next_index: u64,
}

impl SimulatorSource {
    /// Starts at the first item, or behind the position `resume`.
    pub fn open(settings: Settings, resume: Option<u64>) -> Result<Self, SourceError> {
        let simulator = Simulator::new(settings)?;
        let description = Description {
            kind: "simulator",
            spec: simulator.settings.to_string(),
            is_simulated: true,
            fingerprint: Some(simulator.fingerprint.clone()),
        };
        let pace = Pace::new(simulator.settings.rate)?;
        Ok(Self { description, simulator, pace, next_index: resume.unwrap_or(0) })
    }
}

#[async_trait]
impl Source for SimulatorSource {
    fn description(&self) -> &Description {
        &self.description
    }

    async fn next(&mut self, max: usize) -> Result<Option<Vec<Item>>, SourceError> {
        let left = self
            .simulator
            .settings
            .count
            .map_or(u64::MAX, |count| count.saturating_sub(self.next_index));
        if left == 0 {
            return Ok(None);
        }
        let most = max.clamp(1, BATCH_ITEMS_MAX).min(usize::try_from(left).unwrap_or(usize::MAX));
        self.pace.set_rate(self.simulator.plan.rate_at(self.next_index));
        let due = self.pace.take(most).await;
        let now = Time::now();
        let first = self.next_index;
        self.next_index += due as u64;
        Ok(Some((first..self.next_index).map(|n| self.simulator.item(n, now)).collect()))
    }
}
