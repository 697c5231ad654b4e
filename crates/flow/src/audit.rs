//! Comparing the books with the streams themselves.
//!
//! The audit believes no counter. It reads the ledger, the inputs, the outputs and the dead
//! letters, and checks that every input record that was acknowledged has exactly one outcome,
//! that every emitted one has exactly one output, every dead one its letter, and that nothing
//! else is there. It may run beside a flow: it reads what was written later first, so that what
//! it finds is never ahead of what it compares with.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use wingbeat_log::{Log, LogError, Start, Stored};
use wingbeat_record::{Outcome, Sequences, SubjectFilter, name};

use crate::{
    FlowError, FlowSpec, Pack,
    books::Counts,
    history,
    ingest::{self, SavedPlace},
    ledger::Voucher,
};

/// Records that are read at once.
const READ_MAX: usize = 2000;
/// Problems of one kind are told one by one up to this many.
const EXAMPLES_MAX: usize = 5;

/// What the audit found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Flow by flow, the ingest first.
    pub flows: Vec<FlowReport>,
    /// What is wrong with the log itself.
    pub problems: Vec<String>,
}

/// What the audit found about one flow.
#[derive(Debug, Clone, Serialize)]
pub struct FlowReport {
    /// Its name.
    pub flow: String,
    /// The counts that follow from the ledger. `in_flight` are records that wait or are being
    /// worked on.
    #[serde(flatten)]
    pub counts: Counts,
    /// What is wrong. Empty: the books balance.
    pub problems: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_balanced(&self) -> bool {
        let is_fine = |f: &FlowReport| f.problems.is_empty() && f.counts.imbalance() == 0;
        self.problems.is_empty() && self.flows.iter().all(is_fine)
    }
}

/// Audits all flows of a pack. `progress` hears how many records were read, and of how many.
pub async fn audit(
    log: &dyn Log,
    pack: &Pack,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Report, FlowError> {
    let mut reader = StreamReader { log, read: 0, total: 0, progress };
    let mut report = Report { problems: log.problems().await?, ..Report::default() };
    reader.total = reader.estimate(pack).await?;
    report.flows.push(audit_ingest(&mut reader, pack).await?);
    for (name, flow) in &pack.flows {
        report.flows.push(audit_flow(&mut reader, pack, name, flow).await?);
    }
    Ok(report)
}

/// Reads whole streams and tells how far it is.
struct StreamReader<'a> {
    log: &'a dyn Log,
    read: u64,
    total: u64,
    progress: &'a mut (dyn FnMut(u64, u64) + Send),
}

impl StreamReader<'_> {
    async fn estimate(&self, pack: &Pack) -> Result<u64, FlowError> {
        let mut total = 0;
        let mut add = async |key: &str, filter: &SubjectFilter| {
            let stream = pack.stream_of(key, filter)?;
            total += self.records_of(&stream).await?;
            Ok::<_, FlowError>(())
        };
        let ingest = &pack.ingest;
        for subject in [&ingest.to, &ingest.events, &ingest.dead] {
            add("ingest", subject.filter()).await?;
        }
        for flow in pack.flows.values() {
            for subject in [&flow.ledger, &flow.to, &flow.dead] {
                add("flows", subject.filter()).await?;
            }
        }
        for flow in pack.flows.values() {
            total += self.records_of(&flow.from).await?;
        }
        Ok(total)
    }

    async fn records_of(&self, stream: &str) -> Result<u64, FlowError> {
        match self.log.stream(stream).await {
            Ok(info) => Ok(info.records),
            // A stream that was never made holds nothing.
            Err(LogError::UnknownStream { .. }) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Shows every record of a stream that matches. Returns the stream's first sequence, taken
    /// after the reading: what lies before it may have expired meanwhile.
    async fn each(
        &mut self,
        stream: &str,
        filters: &[SubjectFilter],
        mut visit: impl FnMut(&Stored),
    ) -> Result<Range, FlowError> {
        let last = match self.log.stream(stream).await {
            Ok(info) => info.last,
            Err(LogError::UnknownStream { .. }) => return Ok(Range::default()),
            Err(error) => return Err(error.into()),
        };
        let mut reader = self.log.read(stream, Start::First, filters).await?;
        'reading: loop {
            let records = reader.next(READ_MAX, std::time::Duration::ZERO).await?;
            if records.is_empty() {
                break;
            }
            self.read += records.len() as u64;
            (self.progress)(self.read, self.total.max(self.read));
            for stored in &records {
                // What came after the beginning is left for the next audit.
                if stored.sequence > last {
                    break 'reading;
                }
                visit(stored);
            }
        }
        let info = self.log.stream(stream).await?;
        Ok(Range { first: info.first, deleted: info.deleted })
    }
}

/// What was there to be read of a stream.
#[derive(Debug, Clone, Copy, Default)]
struct Range {
    /// The first sequence that had not expired when the reading ended.
    first: u64,
    /// How many records were deleted one by one.
    deleted: u64,
}

/// Problems, counted, with a few examples of each kind.
#[derive(Default)]
struct Problems {
    by_kind: BTreeMap<&'static str, (u64, Vec<String>)>,
}

impl Problems {
    fn add(&mut self, kind: &'static str, example: impl FnOnce() -> String) {
        let (count, examples) = self.by_kind.entry(kind).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(example());
        }
    }

    fn into_lines(self) -> Vec<String> {
        let line = |(kind, (count, examples)): (&str, (u64, Vec<String>))| {
            let more = if count > EXAMPLES_MAX as u64 { ", ..." } else { "" };
            format!("{count} {kind}: {}{more}", examples.join(", "))
        };
        self.by_kind.into_iter().map(line).collect()
    }
}

async fn audit_flow(
    reader: &mut StreamReader<'_>,
    pack: &Pack,
    name: &str,
    flow: &FlowSpec,
) -> Result<FlowReport, FlowError> {
    let mut problems = Problems::default();
    let consumers = match reader.log.consumers(&flow.from).await {
        Ok(consumers) => consumers,
        Err(LogError::UnknownStream { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let consumer = consumers.into_iter().find(|info| info.config.name == flow.consumer);
    for missed in consumer.iter().flat_map(|info| &info.missed) {
        let range = missed.to_string();
        problems.add("ranges of the input were never processed", || range);
    }
    let (ack_floor, delivered, unsettled) =
        consumer.map(|info| (info.ack_floor, info.delivered, info.unsettled)).unwrap_or_default();
    let unsettled: BTreeSet<u64> = unsettled.into_iter().collect();

    let ledger = Ledger::read(reader, pack, name, flow, &mut problems).await?;
    let mut counts = ledger.counts();

    let outputs = find_outputs(reader, pack, name, flow, "to").await?;
    let letters = find_outputs(reader, pack, name, flow, "dead").await?;
    ledger.compare(&outputs, &letters, &mut problems);

    let is_acked = |sequence| sequence <= delivered && !unsettled.contains(&sequence);
    let mut waiting = 0;
    reader
        .each(&flow.from, &flow.subjects, |stored| {
            let sequence = stored.sequence;
            if ledger.outcomes.contains_key(sequence) {
                return;
            }
            if sequence <= ack_floor || is_acked(sequence) {
                if sequence >= ledger.first_input {
                    problems.add("input records were acknowledged without an outcome", || {
                        sequence.to_string()
                    });
                }
            } else {
                waiting += 1;
            }
        })
        .await?;
    counts.received += waiting;
    counts.in_flight = waiting;
    ledger.compare_books(reader.log, pack, name, flow, &mut problems).await?;
    Ok(FlowReport { flow: name.to_owned(), counts, problems: problems.into_lines() })
}

/// How input sequences ended, one byte each.
#[derive(Default)]
struct Outcomes {
    base: u64,
    codes: Vec<u8>,
}

const EMITTED: u8 = 1;
const FILTERED: u8 = 2;
const DEAD: u8 = 3;

impl Outcomes {
    /// Sets an outcome; returns what was there before, or 0.
    fn set(&mut self, sequence: u64, code: u8) -> u8 {
        if self.codes.is_empty() {
            self.base = sequence;
        }
        if sequence < self.base {
            let missing = usize::try_from(self.base - sequence).unwrap_or(0);
            self.codes.splice(0..0, std::iter::repeat_n(0, missing));
            self.base = sequence;
        }
        let at = usize::try_from(sequence - self.base).unwrap_or(usize::MAX);
        if at >= self.codes.len() {
            self.codes.resize(at + 1, 0);
        }
        std::mem::replace(&mut self.codes[at], code)
    }

    fn get(&self, sequence: u64) -> u8 {
        let at = sequence.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.codes.get(at)).copied().unwrap_or(0)
    }

    fn contains_key(&self, sequence: u64) -> bool {
        self.get(sequence) != 0
    }
}

/// The vouchers of a flow.
struct Ledger {
    vouchers: Vec<Voucher>,
    outcomes: Outcomes,
    /// Before this the ledger may have expired.
    first_input: u64,
    is_complete: bool,
    to: String,
    dead: String,
}

impl Ledger {
    async fn read(
        reader: &mut StreamReader<'_>,
        pack: &Pack,
        name: &str,
        flow: &FlowSpec,
        problems: &mut Problems,
    ) -> Result<Self, FlowError> {
        let stream = pack.stream_of("ledger", flow.ledger.filter())?;
        let subject = flow.ledger.fill(|place| (place == "flow").then_some(name))?;
        let mut vouchers: Vec<Voucher> = Vec::new();
        let mut outcomes = Outcomes::default();
        let range = reader
            .each(&stream, &[subject.into()], |stored| {
                let voucher = match serde_json::from_slice::<Voucher>(&stored.record.payload) {
                    Ok(voucher) if voucher.input == flow.from => voucher,
                    Ok(_) => return,
                    Err(error) => {
                        let sequence = stored.sequence;
                        problems.add("records of the ledger can't be read", || {
                            format!("{sequence} ({error})")
                        });
                        return;
                    }
                };
                let mut new = Voucher { outputs: voucher.outputs.clone(), ..Voucher::default() };
                for ((first, last), outcome) in voucher.runs() {
                    for sequence in first..=last {
                        let code = code_of(&outcome);
                        match outcomes.set(sequence, code) {
                            0 => new.add(sequence, &outcome),
                            // A process that was held up vouches for what another has settled
                            // meanwhile: that is how it ended, once.
                            before if before == code => {}
                            _ => problems
                                .add("input records ended in two ways", || sequence.to_string()),
                        }
                    }
                }
                vouchers.push(new);
            })
            .await?;
        let is_complete = range.first <= 1;
        let first_input = if is_complete { 0 } else { outcomes.base };
        let to = pack.stream_of("to", flow.to.filter())?;
        let dead = pack.stream_of("dead", flow.dead.filter())?;
        Ok(Self { vouchers, outcomes, first_input, is_complete, to, dead })
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for voucher in &self.vouchers {
            voucher.book(&mut counts, &mut Sequences::default());
        }
        counts
    }

    /// Every emitted record has one output, every dead one a letter, and nothing else is there.
    fn compare(&self, outputs: &Found, letters: &Found, problems: &mut Problems) {
        for voucher in &self.vouchers {
            for ((first, last), outcome) in voucher.runs() {
                let (found, stream, kind) = match outcome {
                    Outcome::Emitted => {
                        (outputs, &self.to, "emitted records have no output in the log")
                    }
                    Outcome::Dead(_) => {
                        (letters, &self.dead, "dead records have no dead letter in the log")
                    }
                    Outcome::Filtered(_) => continue,
                };
                let lowest = voucher.outputs.get(stream).map_or(0, |(low, _)| *low);
                // Outputs older than the stream reaches back can't be looked for.
                if lowest < found.range.first {
                    continue;
                }
                for sequence in (first..=last).filter(|s| found.inputs.get(*s) == 0) {
                    problems.add(kind, || format!("input {sequence}"));
                }
            }
        }
        for (found, code, kind) in [
            (outputs, EMITTED, "outputs belong to input that did not end as emitted"),
            (letters, DEAD, "dead letters belong to input that did not end as dead"),
        ] {
            for (at, _) in found.inputs.codes.iter().enumerate().filter(|(_, count)| **count > 0) {
                let sequence = found.inputs.base + at as u64;
                let ended = self.outcomes.get(sequence);
                // No outcome yet: the flow is about to settle it.
                if ended != 0 && ended != code {
                    problems.add(kind, || format!("input {sequence}"));
                }
            }
            for sequence in &found.doubled {
                problems.add("input records have more than one output", || sequence.to_string());
            }
        }
    }

    /// The books that the flow itself keeps say the same as its ledger.
    async fn compare_books(
        &self,
        log: &dyn Log,
        pack: &Pack,
        name: &str,
        flow: &FlowSpec,
        problems: &mut Problems,
    ) -> Result<(), FlowError> {
        if !self.is_complete || self.vouchers.is_empty() {
            return Ok(());
        }
        let stream = pack.stream_of("ledger", flow.ledger.filter())?;
        let subject = flow.ledger.fill(|place| (place == "flow").then_some(name))?;
        let books = history::recall(log, name, &stream, &subject, &flow.from).await?.counts;
        let ledger = self.counts();
        // Vouchers that came since the audit began are in the books alone.
        let is_behind = books.emitted < ledger.emitted
            || books.filtered_total() < ledger.filtered_total()
            || books.dead_total() < ledger.dead_total();
        if is_behind {
            problems.add("differences between the books and the ledger", || {
                format!(
                    "emitted {} in the books and {} in the ledger, filtered {} and {}, dead {} and {}",
                    books.emitted,
                    ledger.emitted,
                    books.filtered_total(),
                    ledger.filtered_total(),
                    books.dead_total(),
                    ledger.dead_total()
                )
            });
        }
        Ok(())
    }
}

fn code_of(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Emitted => EMITTED,
        Outcome::Filtered(_) => FILTERED,
        Outcome::Dead(_) => DEAD,
    }
}

/// The outputs or dead letters of a flow, by input sequence.
struct Found {
    range: Range,
    inputs: Outcomes,
    doubled: Vec<u64>,
}

async fn find_outputs(
    reader: &mut StreamReader<'_>,
    pack: &Pack,
    name: &str,
    flow: &FlowSpec,
    key: &str,
) -> Result<Found, FlowError> {
    let template = if key == "to" { &flow.to } else { &flow.dead };
    let stream = pack.stream_of(key, template.filter())?;
    let mut inputs = Outcomes::default();
    let mut doubled = Vec::new();
    let range = reader
        .each(&stream, &[template.filter().clone()], |stored| {
            let headers = &stored.record.headers;
            if headers.get(name::FLOW) != Some(name) {
                return;
            }
            let input = headers.get(name::INPUT).and_then(|input| input.rsplit_once('/'));
            let Some((from, Ok(sequence))) = input.map(|(from, s)| (from, s.parse::<u64>())) else {
                return;
            };
            if from == flow.from && inputs.set(sequence, 1) != 0 {
                doubled.push(sequence);
            }
        })
        .await?;
    Ok(Found { range, inputs, doubled })
}

/// The ingest: what each source's saved counts say, against what carries its name in the log.
async fn audit_ingest(reader: &mut StreamReader<'_>, pack: &Pack) -> Result<FlowReport, FlowError> {
    let places = ingest::saved_places(reader.log).await?;
    let mut problems = Problems::default();
    let mut counts = Counts::default();
    let mut found: BTreeMap<&str, Seen> = BTreeMap::new();
    for place in &places {
        counts.add(&place.counts);
        found.insert(&place.source, Seen { position: place.position, ..Seen::default() });
    }
    let ingest = &pack.ingest;
    let mut is_whole = true;
    for (template, is_dead) in [(&ingest.to, false), (&ingest.events, false), (&ingest.dead, true)]
    {
        let stream = pack.stream_of("ingest", template.filter())?;
        found.values_mut().for_each(|seen| seen.newest = None);
        let range = reader
            .each(&stream, &[template.filter().clone()], |stored| {
                let headers = &stored.record.headers;
                if is_dead && headers.get(name::FLOW) != Some(ingest::NAME) {
                    return;
                }
                let position = headers.get(name::POSITION).and_then(|p| p.parse::<u64>().ok());
                let seen = headers.get(name::SOURCE).and_then(|source| found.get_mut(source));
                if let (Some(seen), Some(position)) = (seen, position) {
                    seen.take(position, is_dead, stored.sequence, &mut problems);
                }
            })
            .await?;
        is_whole &= range.first <= 1 && range.deleted == 0;
    }
    for place in &places {
        let Some(seen) = found.get(place.source.as_str()) else { continue };
        seen.compare(place, is_whole, &mut problems);
    }
    Ok(FlowReport { flow: ingest::NAME.to_owned(), counts, problems: problems.into_lines() })
}

/// What a source has brought into the log.
#[derive(Default)]
struct Seen {
    /// The source's saved place: what lies behind it is not counted yet.
    position: u64,
    emitted: u64,
    dead: u64,
    /// In the stream that is being read.
    newest: Option<u64>,
}

impl Seen {
    fn take(&mut self, position: u64, is_dead: bool, sequence: u64, problems: &mut Problems) {
        if self.newest.is_some_and(|newest| newest >= position) {
            problems.add("records of a source stand twice or out of order in the log", || {
                format!("sequence {sequence}")
            });
        }
        self.newest = Some(position);
        if position <= self.position {
            if is_dead {
                self.dead += 1;
            } else {
                self.emitted += 1;
            }
        }
    }

    fn compare(&self, place: &SavedPlace, is_whole: bool, problems: &mut Problems) {
        let dead = place.counts.dead_total();
        let is_too_many = self.emitted > place.counts.emitted || self.dead > dead;
        let is_too_few = self.emitted < place.counts.emitted || self.dead < dead;
        if is_too_many || (is_too_few && is_whole) {
            problems.add("differences between a source's books and the log", || {
                format!(
                    "{}: emitted {} in the books and {} in the log, dead {} and {}",
                    place.source, place.counts.emitted, self.emitted, dead, self.dead
                )
            });
        }
    }
}
