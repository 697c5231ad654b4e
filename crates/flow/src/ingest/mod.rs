//! Bringing what a source reads into the log.
//!
//! Every item of the source ends in the ingest's books as emitted, filtered or dead. Posts may go
//! through stages first, which leave them out or tag them. The source's place is saved together with the books' counts up to that
//! place, by compare-and-set, and only behind records that the log has acknowledged. After a
//! crash the source goes on from the saved place; what had been published behind it is published
//! again, recognised by its message id, and counted as what it is: the same item, not a
//! duplicate.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use wingbeat_log::{Log, PubAck, patiently};
use wingbeat_record::{DeadCause, MessageId, Outcome, Reason, Record, Subject, Time, name};
use wingbeat_source::{Connection, Content, Item, Place, Source};
use wingbeat_stage::Verdict;

use crate::{
    FlowError, Pipeline, Pool,
    books::{Books, Counts, Ticket},
    commit::publish,
    dead::{self, Death},
    pack::IngestSpec,
    stage_item,
};

mod cursor;
mod unbooked;

pub(crate) use cursor::saved_places;
pub use cursor::{Cursor, LegacyCursor, SavedPlace};
use unbooked::Unbooked;

/// The name of the ingest's books.
pub(crate) const NAME: &str = "ingest";
/// How often a source that is held back looks whether it may go on.
const BACKLOG_POLL: Duration = Duration::from_millis(20);

/// What an ingest has done and seen, for health and metrics. It is up to date after each batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestStatus {
    /// What the source counts.
    pub counters: Vec<(&'static str, u64)>,
    /// How far each host was read.
    pub places: Vec<Place>,
    /// Posts that this run has published.
    pub posts: u64,
    /// Other events that this run has published.
    pub events: u64,
    /// Gaps that this run has reported.
    pub gaps: u64,
    /// When the last batch was settled.
    pub settled_at: Option<Time>,
}

/// A source that is ready to be read into the log.
pub struct Ingest {
    source: Box<dyn Source>,
    settler: Settler,
}

/// What an item is, for the counts of the status.
const POST: &str = "post";
/// The kind of an event that says that something may have been missed, and does not come again.
const GAP: &str = "gap";
/// The kind of an event that says the same of one account.
const DESYNC: &str = "desync";

/// The kinds of events that say that something may have been missed.
pub const GAP_KINDS: [&str; 2] = [GAP, DESYNC];

fn kind_of(content: &Content) -> Option<&'static str> {
    match content {
        Content::Post(_) => Some(POST),
        Content::Event(event) => Some(event.kind),
        Content::Filtered(_) | Content::Dead { .. } => None,
    }
}

/// The stages that posts go through before they are published, and the threads that run them.
#[derive(Debug)]
pub struct Stages {
    /// The stages; none is fine.
    pub pipeline: Arc<Pipeline>,
    /// The threads.
    pub pool: Pool,
}

/// What the stages say of a post.
struct Judgement {
    verdict: Option<Verdict>,
    tags: Option<String>,
}

/// Settles what a source has read.
struct Settler {
    spec: IngestSpec,
    stages: Stages,
    log: Arc<dyn Log>,
    cursor: Cursor,
    books: Books,
    /// The stream that the flows read, whose backlog holds the source back.
    stream: String,
    /// So many items may still come before it has to be asked how far behind the flows are.
    room: u64,
    /// Counts of this source at its place; the books also count earlier sources.
    counts: Counts,
    position: u64,
    places: Vec<Place>,
    unbooked: Unbooked,
    saved: Instant,
    /// Items since then.
    unsaved_items: u64,
    legacy: Option<LegacyCursor>,
    status: watch::Sender<IngestStatus>,
}

impl Ingest {
    /// Puts an ingest together. `stream` is the stream that captures the posts. The books go on
    /// from what all sources have brought into this log.
    pub async fn open(
        spec: &IngestSpec,
        stream: &str,
        log: Arc<dyn Log>,
        source: Box<dyn Source>,
        cursor: Cursor,
        stages: Stages,
    ) -> Result<Self, FlowError> {
        let mut total = Counts::default();
        for place in saved_places(&*log).await? {
            total.add(&place.counts);
        }
        let unbooked = Unbooked::open(&*log, &cursor.saved).await?;
        let settler = Settler {
            unbooked,
            spec: spec.clone(),
            stages,
            log,
            position: cursor.saved.position,
            places: cursor.saved.places.clone(),
            counts: cursor.saved.counts.clone(),
            cursor,
            books: Books::restore(NAME, total),
            stream: stream.to_owned(),
            room: 0,
            saved: Instant::now(),
            unsaved_items: 0,
            legacy: None,
            status: watch::channel(IngestStatus::default()).0,
        };
        Ok(Self { source, settler })
    }

    /// Also writes the cursor where the replaced services keep theirs.
    pub fn keep_legacy_cursor(&mut self, cursor: LegacyCursor) {
        self.settler.legacy = Some(cursor);
    }

    /// What it has done and seen.
    pub fn status(&self) -> watch::Receiver<IngestStatus> {
        self.settler.status.subscribe()
    }

    /// How the source's connection is, where it has one.
    pub fn connection(&self) -> Option<watch::Receiver<Connection>> {
        self.source.connection()
    }

    /// The ingest's books.
    pub fn books(&self) -> Books {
        self.settler.books.clone()
    }

    /// Reads until the source ends or `stop` is cancelled. True where the source has ended.
    pub async fn run(mut self, stop: CancellationToken) -> Result<bool, FlowError> {
        let result = self.pump(&stop).await;
        let saved = self.settler.save().await;
        let has_ended = result?;
        saved?;
        Ok(has_ended)
    }

    async fn pump(&mut self, stop: &CancellationToken) -> Result<bool, FlowError> {
        let settler = &mut self.settler;
        loop {
            let wait = settler.save_in();
            let items = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(false),
                items = self.source.next(settler.spec.batch) => items?,
                // A quiet source's last items are saved in time too.
                () = tokio::time::sleep(wait), if settler.is_unsaved() => {
                    settler.save().await?;
                    continue;
                }
            };
            let Some(mut items) = items else { return Ok(true) };
            let is_end = fill(&mut *self.source, &settler.spec, &mut items).await?;
            settler.settle(items, self.source.places()).await?;
            settler.status.send_modify(|status| status.counters = self.source.counters());
            if settler.is_to_be_saved() {
                settler.save().await?;
            }
            if is_end {
                return Ok(true);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                result = settler.wait_for_flows() => result?,
            }
        }
    }
}

/// Waits until a batch is full, for as long as that may take. True where the source has ended.
async fn fill(
    source: &mut dyn Source,
    spec: &IngestSpec,
    items: &mut Vec<Item>,
) -> Result<bool, FlowError> {
    if items.is_empty() {
        // A source says where it begins.
        return Ok(false);
    }
    let deadline = Instant::now() + Duration::from_millis(spec.batch_timeout_ms);
    while items.len() < spec.batch && spec.batch_timeout_ms > 0 {
        match tokio::time::timeout_at(deadline, source.next(spec.batch - items.len())).await {
            Ok(more) => match more? {
                Some(more) => items.extend(more),
                None => return Ok(true),
            },
            Err(_) => break,
        }
    }
    Ok(false)
}

impl Settler {
    fn is_to_be_saved(&self) -> bool {
        // Before anything is kept of a new source: a kill must not let it begin anew, later.
        self.cursor.resume().is_none()
            || self.save_in().is_zero()
            || (self.spec.save_items > 0
                && self.unsaved_items >= self.spec.save_items
                && self.unbooked.awaited_for().is_zero())
    }

    fn save_in(&self) -> Duration {
        let due = self.spec.save_every.0.saturating_sub(self.saved.elapsed());
        due.max(self.unbooked.awaited_for())
    }

    fn is_unsaved(&self) -> bool {
        self.position > self.cursor.saved.position || self.places != self.cursor.saved.places
    }

    async fn save(&mut self) -> Result<(), FlowError> {
        if self.unbooked.has_awaited() {
            self.book_rest().await?;
        }
        self.saved = Instant::now();
        self.unsaved_items = 0;
        self.cursor.save(self.position, &self.places, &self.counts).await?;
        if let Some(legacy) = &self.legacy
            && let Some(place) = self.places.iter().find(|place| place.host == legacy.host)
        {
            legacy.write(&*self.log, place.cursor).await?;
        }
        Ok(())
    }

    /// Back-pressure: waits while the flows are far behind.
    async fn wait_for_flows(&mut self) -> Result<(), FlowError> {
        while self.room == 0 {
            let consumers = patiently(|| self.log.consumers(&self.stream)).await?;
            let behind = consumers.iter().map(|c| c.pending + c.unsettled_count).max();
            match self.spec.backlog_max.checked_sub(behind.unwrap_or(0)) {
                Some(room) => {
                    self.room = room;
                    return Ok(());
                }
                None => tokio::time::sleep(BACKLOG_POLL).await,
            }
        }
        Ok(())
    }

    /// Publishes what was read, and books it.
    async fn settle(&mut self, mut items: Vec<Item>, places: Vec<Place>) -> Result<(), FlowError> {
        if !items.is_empty() {
            self.unbooked.begin();
        }
        self.room = self.room.saturating_sub(items.len() as u64);
        let tickets = self.books.receive(items.len());
        let mut outcomes = Vec::with_capacity(items.len());
        let (mut published, mut records) = (Vec::new(), Vec::new());
        let mut position = self.position;
        let kinds: Vec<_> = items.iter().map(|item| kind_of(&item.content)).collect();
        let judgements = self.judge(&mut items).await?;
        for (item, judgement) in items.into_iter().zip(judgements) {
            position = position.max(item.position);
            let (outcome, record) = self.prepare(item, judgement)?;
            if let Some(record) = record {
                published.push(outcomes.len());
                records.push(record);
            }
            outcomes.push(outcome);
        }
        let answers = publish(&*self.log, records.clone()).await?;
        let mut letters = (Vec::new(), Vec::new());
        for ((place, record), answer) in published.into_iter().zip(records).zip(answers) {
            match answer {
                Ok(ack) if ack.is_duplicate && !self.is_same(&record, &ack).await? => {
                    outcomes[place] = Outcome::Filtered(Reason::new("duplicate"));
                }
                Ok(_) => {}
                Err(error) => {
                    let kind = Reason::new("refused");
                    let cause = DeadCause::new("log", kind, error.to_string());
                    let position = record.headers.get(name::POSITION).unwrap_or_default();
                    letters.1.push(self.letter(record.clone(), position, &cause)?);
                    letters.0.push(place);
                    outcomes[place] = Outcome::Dead(cause);
                }
            }
        }
        for answer in publish(&*self.log, letters.1).await? {
            answer?;
        }
        // Only now: what could not be published must be read again.
        self.position = position;
        self.places = places;
        self.unsaved_items += outcomes.len() as u64;
        self.note(&kinds, &outcomes);
        self.book(tickets, &outcomes);
        if kinds.contains(&Some(GAP)) {
            // What lies in the gap does not come again.
            self.book_rest().await?;
        }
        Ok(())
    }

    /// Books what an earlier run has published and not booked.
    async fn book_rest(&mut self) -> Result<(), FlowError> {
        let outcomes = self.unbooked.claim_rest(&*self.log).await?;
        let tickets = self.books.receive(outcomes.len());
        self.book(tickets, &outcomes);
        Ok(())
    }

    fn note(&self, kinds: &[Option<&'static str>], outcomes: &[Outcome]) {
        self.status.send_modify(|status| {
            status.places.clone_from(&self.places);
            status.settled_at = Some(Time::now());
            let emitted = kinds.iter().zip(outcomes).filter(|(_, o)| **o == Outcome::Emitted);
            for (kind, _) in emitted {
                match kind {
                    Some(POST) => status.posts += 1,
                    Some(kind) => {
                        status.events += 1;
                        status.gaps += u64::from(GAP_KINDS.contains(kind));
                    }
                    None => {}
                }
            }
        });
    }

    fn book(&mut self, tickets: Vec<Ticket>, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.counts.count_settled(outcome, 1);
        }
        self.books.settle(tickets.into_iter().zip(outcomes));
    }

    /// Sends the posts among the items through the stages.
    async fn judge(&self, items: &mut [Item]) -> Result<Vec<Option<Judgement>>, FlowError> {
        let is_post = |item: &Item| matches!(item.content, Content::Post(_));
        // Without a post there is no reason to wake a thread.
        if self.stages.pipeline.is_empty() || !items.iter().any(is_post) {
            return Ok(items.iter().map(|_| None).collect());
        }
        let subject = Subject::new(NAME)?;
        let mut posts: Vec<Option<wingbeat_stage::Item>> = items
            .iter_mut()
            .map(|item| match &mut item.content {
                Content::Post(post) => Some(stage_item(&subject, post)),
                _ => None,
            })
            .collect();
        let pipeline = Arc::clone(&self.stages.pipeline);
        let judged = self.stages.pool.run(move || {
            pipeline.run(&mut posts.iter_mut().flatten().collect::<Vec<_>>());
            let judgement = |post: wingbeat_stage::Item| Judgement {
                verdict: post.verdict().cloned(),
                tags: post.tags(),
            };
            posts.into_iter().map(|post| post.map(judgement)).collect()
        });
        judged.await.map_err(|_| FlowError::Pool("a thread that runs stages died".to_owned()))
    }

    /// How an item ends if the log takes it, and what is published for it.
    fn prepare(
        &self,
        item: Item,
        judgement: Option<Judgement>,
    ) -> Result<(Outcome, Option<Record>), FlowError> {
        let position = item.position.to_string();
        match item.content {
            Content::Post(post) => {
                let subject = self.spec.to.fill(|_| None)?;
                let mut record = self.label(Record::new(subject, post.payload), post.id, &position);
                let Some(Judgement { verdict, tags }) = judgement else {
                    return Ok((Outcome::Emitted, Some(record)));
                };
                match verdict {
                    Some(Verdict::Filtered(reason)) => Ok((Outcome::Filtered(reason), None)),
                    // There is no later here: what can't be done now can't be done.
                    Some(Verdict::Dead(cause) | Verdict::Retry(cause)) => {
                        let letter = self.letter(record, &position, &cause)?;
                        Ok((Outcome::Dead(cause), Some(letter)))
                    }
                    None => {
                        if let Some(tags) = tags {
                            record.headers.set(name::TAGS, tags);
                        }
                        Ok((Outcome::Emitted, Some(record)))
                    }
                }
            }
            Content::Event(event) => {
                let kind = event.kind;
                let subject = self.spec.events.fill(|place| (place == "kind").then_some(kind))?;
                let record = self.label(Record::new(subject, event.payload), event.id, &position);
                Ok((Outcome::Emitted, Some(record)))
            }
            Content::Filtered(reason) => Ok((Outcome::Filtered(reason), None)),
            Content::Dead { original, cut_from, cause, id } => {
                let subject = Subject::new("source.unread")?;
                let mut record = Record::new(subject, original);
                record.headers.set(name::SOURCE, self.cursor.saved.source.as_str());
                record.headers.set(name::POSITION, position.as_str());
                let origin = self.origin(&position);
                let death =
                    Death { flow: NAME, origin, deliveries: 1, cause: &cause, id, cut_from };
                let bytes_max = self.log.record_bytes_max();
                let letter = dead::write(&self.spec.dead, record, &death, bytes_max)?;
                Ok((Outcome::Dead(cause), Some(letter)))
            }
        }
    }

    fn label(&self, mut record: Record, id: MessageId, position: &str) -> Record {
        let correlation = MessageId::from_content(id.as_str().as_bytes());
        let correlation = correlation.as_str().trim_start_matches("sha256:");
        record.headers.set(name::MESSAGE_ID, id);
        record.headers.set(name::CORRELATION_ID, &correlation[..16]);
        record.headers.set(name::SOURCE, self.cursor.saved.source.as_str());
        record.headers.set(name::POSITION, position);
        record
    }

    fn letter(
        &self,
        original: Record,
        position: &str,
        cause: &DeadCause,
    ) -> Result<Record, FlowError> {
        let origin = self.origin(position);
        let death = Death { flow: NAME, origin, deliveries: 1, cause, id: None, cut_from: None };
        Ok(dead::write(&self.spec.dead, original, &death, self.log.record_bytes_max())?)
    }

    fn origin(&self, position: &str) -> String {
        format!("{}/{position}", self.cursor.saved.source)
    }

    /// Whether the record that is there already is this very item: published in vain a moment
    /// ago, or by a run that ended before it booked it.
    async fn is_same(&mut self, record: &Record, ack: &PubAck) -> Result<bool, FlowError> {
        let there = patiently(|| self.log.get(&ack.stream, ack.sequence)).await?;
        let Some(there) = there else {
            return Ok(true);
        };
        let there = &there.record.headers;
        if there.get(name::SOURCE) != record.headers.get(name::SOURCE) {
            return Ok(false);
        }
        let is_in_place = there.get(name::POSITION) == record.headers.get(name::POSITION);
        // A host sends an event again after a restart, and then it has another position. The
        // first that comes is the one that was not booked; more are duplicates.
        let is_claimed = self.unbooked.claim(there, ack);
        Ok(is_in_place || is_claimed)
    }
}
