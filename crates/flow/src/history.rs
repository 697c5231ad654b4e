//! What a flow has settled, in earlier runs and in other processes, read back from the ledger.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use wingbeat_log::{Bucket, Log, LogError, Start, Stored, patiently, read_patiently};
use wingbeat_record::{Sequences, Subject, Time};

use crate::{
    FlowError,
    books::Counts,
    ledger::{Run, Voucher},
};

/// The bucket of the checkpoints: how the books stood at a place in the ledger.
pub(crate) const BUCKET: &str = "wingbeat-books";
/// How often a checkpoint is written, so that a start has little to read.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// Vouchers that are read at once.
const READ_MAX: usize = 1000;
/// Of what is counted at most this many runs are remembered, so that a checkpoint stays small.
const COUNTED_RUNS_MAX: usize = 2_000;
/// The same of what is kept in memory.
pub(crate) const SETTLED_RUNS_MAX: usize = 100_000;

/// How the books stood at a place in the ledger.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The last sequence of the ledger's stream that is counted.
    pub(crate) ledger: u64,
    pub(crate) counts: Counts,
    /// The input sequences that are counted: a process that was held up may vouch again for what
    /// another has settled meanwhile. Where there are many runs, the last ones.
    #[serde(default)]
    pub(crate) counted: Vec<Run>,
    /// The newest of them, and when the input stream had stored it: by that an input stream that
    /// was made anew under the old name is told from the old one.
    #[serde(default)]
    newest: Option<(u64, Time)>,
}

/// A flow's ledger, and its checkpoint. Several processes may write to it, each for itself.
pub(crate) struct History {
    ledger: Ledger,
    bucket: Arc<dyn Bucket>,
    checkpoint: Checkpoint,
    revision: u64,
    written: Instant,
}

/// Where a flow's vouchers are.
#[derive(Clone)]
pub(crate) struct Ledger {
    log: Arc<dyn Log>,
    flow: Arc<str>,
    stream: String,
    subject: Subject,
}

/// What was settled so far.
pub(crate) struct Recalled {
    checkpoint: Checkpoint,
    revision: u64,
    pub(crate) counts: Counts,
    pub(crate) settled: Settled,
}

/// What the ledger says is settled.
#[derive(Debug)]
pub(crate) struct Settled {
    /// How far it was read.
    read: u64,
    /// Input sequences. The acknowledgement of some may have been forgotten in a crash: if they
    /// come again, they keep the outcome that they have.
    sequences: Sequences,
}

impl Settled {
    pub(crate) fn contains(&self, sequence: u64) -> bool {
        self.sequences.contains(sequence)
    }
}

/// Reads back what a flow has settled of its stream `input`.
pub(crate) async fn recall(
    log: &dyn Log,
    flow: &str,
    stream: &str,
    subject: &Subject,
    input: &str,
) -> Result<Recalled, FlowError> {
    let bucket = patiently(|| log.bucket(BUCKET)).await?;
    let (mut checkpoint, revision) = read_checkpoint(&*bucket, flow).await?;
    let first = patiently(|| log.stream(stream)).await?.first;
    if checkpoint.ledger + 1 < first {
        tracing::warn!(
            flow,
            "part of the ledger has expired since the books were last written; the totals count from what is left"
        );
    }
    let mut counts = checkpoint.counts.clone();
    let mut sequences = Sequences::from_runs(checkpoint.counted.iter().copied());
    let take = |voucher: &Voucher| voucher.book(&mut counts, &mut sequences);
    let read = read_on(log, (flow, stream, subject), checkpoint.ledger, take).await?;
    if is_anew(log, input, &checkpoint).await? {
        tracing::warn!(
            flow,
            input,
            "the input stream was made anew: its records have no outcome yet, whatever the ledger says of their sequences"
        );
        sequences = Sequences::default();
        (checkpoint.counted, checkpoint.newest) = (Vec::new(), None);
    }
    Ok(Recalled { checkpoint, revision, counts, settled: Settled { read, sequences } })
}

/// Whether the stream is not the one that the checkpoint speaks of.
async fn is_anew(log: &dyn Log, input: &str, checkpoint: &Checkpoint) -> Result<bool, FlowError> {
    let Some((sequence, time)) = checkpoint.newest else { return Ok(false) };
    let last = match patiently(|| log.stream(input)).await {
        Ok(info) => info.last,
        Err(LogError::UnknownStream { .. }) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let stored_at = stored_at(log, input, sequence).await?;
    Ok(sequence > last || stored_at.is_some_and(|stored_at| stored_at != time))
}

/// When a record was stored. `None`: it has expired or was deleted, and can't be compared.
async fn stored_at(log: &dyn Log, stream: &str, sequence: u64) -> Result<Option<Time>, FlowError> {
    match patiently(|| log.get(stream, sequence)).await {
        Ok(stored) => Ok(stored.map(|stored| stored.time)),
        Err(LogError::UnknownStream { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn read_checkpoint(
    bucket: &dyn Bucket,
    flow: &str,
) -> Result<(Checkpoint, u64), FlowError> {
    let Some(entry) = patiently(|| bucket.get(flow)).await? else {
        return Ok((Checkpoint::default(), 0));
    };
    let checkpoint = serde_json::from_slice(&entry.value).map_err(|error| FlowError::Stored {
        what: format!("the books of flow `{flow}`"),
        problem: format!(
            "{error}; a newer version of wingbeat wrote them, or remove the key `{flow}` of bucket \
             `{BUCKET}` to count anew"
        ),
    })?;
    Ok((checkpoint, entry.revision))
}

/// Shows `take` the vouchers behind a place of the ledger. Returns the place of the last one.
async fn read_on(
    log: &dyn Log,
    (flow, stream, subject): (&str, &str, &Subject),
    mut place: u64,
    mut take: impl FnMut(&Voucher),
) -> Result<u64, FlowError> {
    let filter = [subject.clone().into()];
    let mut reader = patiently(|| log.read(stream, Start::Sequence(place + 1), &filter)).await?;
    loop {
        let records = read_patiently(&mut *reader, READ_MAX).await?;
        if records.is_empty() {
            return Ok(place);
        }
        for stored in records {
            place = stored.sequence;
            take_voucher(flow, &stored, &mut take);
        }
    }
}

/// Shows `take` the voucher in a record of the ledger.
pub(crate) fn take_voucher(flow: &str, stored: &Stored, take: &mut impl FnMut(&Voucher)) {
    match serde_json::from_slice::<Voucher>(&stored.record.payload) {
        Ok(voucher) => take(&voucher),
        Err(error) => {
            let place = stored.sequence;
            tracing::error!(flow, place, %error, "a record of the ledger can't be read");
        }
    }
}

impl Ledger {
    pub(crate) fn new(log: Arc<dyn Log>, flow: &str, stream: &str, subject: Subject) -> Self {
        Self { log, flow: Arc::from(flow), stream: stream.to_owned(), subject }
    }

    /// Reads on in the ledger.
    pub(crate) async fn follow(&self, settled: &mut Settled) -> Result<(), FlowError> {
        let sequences = &mut settled.sequences;
        let take = |voucher: &Voucher| {
            for ((first, last), _) in voucher.runs() {
                sequences.insert_run(first, last);
            }
        };
        let at = (&*self.flow, &*self.stream, &self.subject);
        settled.read = read_on(&*self.log, at, settled.read, take).await?;
        settled.sequences.keep_newest(SETTLED_RUNS_MAX);
        Ok(())
    }
}

impl History {
    pub(crate) async fn open(ledger: Ledger, recalled: &Recalled) -> Result<Self, FlowError> {
        let bucket = patiently(|| ledger.log.bucket(BUCKET)).await?;
        let (checkpoint, revision) = (recalled.checkpoint.clone(), recalled.revision);
        Ok(Self { ledger, bucket, checkpoint, revision, written: Instant::now() })
    }

    /// Writes a checkpoint now and then, so that a start has little to read.
    pub(crate) async fn advance(&mut self) -> Result<(), FlowError> {
        if self.written.elapsed() < CHECKPOINT_EVERY {
            return Ok(());
        }
        self.written = Instant::now();
        self.count_on().await
    }

    /// Counts what has come to the ledger, and writes a checkpoint.
    async fn count_on(&mut self) -> Result<(), FlowError> {
        // The ledger alone says what was settled: others may have written to it too.
        let Ledger { log, flow, stream, subject } = &self.ledger;
        let at = (&**flow, &**stream, subject);
        let Checkpoint { ledger, counts, counted, newest } = &mut self.checkpoint;
        let mut sequences = Sequences::from_runs(counted.iter().copied());
        let mut input = None;
        let take = |voucher: &Voucher| {
            voucher.book(counts, &mut sequences);
            input = Some(voucher.input.clone());
        };
        let place = read_on(&**log, at, *ledger, take).await?;
        let Some(input) = input else { return Ok(()) };
        *ledger = place;
        sequences.keep_newest(COUNTED_RUNS_MAX);
        *counted = sequences.runs().collect();
        if let Some((_, last)) = counted.last().copied() {
            *newest = stored_at(&**log, &input, last).await?.map(|time| (last, time));
        }
        self.write().await
    }

    async fn write(&mut self) -> Result<(), FlowError> {
        let json = serde_json::to_vec(&self.checkpoint).map_err(|error| FlowError::Stored {
            what: "a checkpoint of the books".to_owned(),
            problem: error.to_string(),
        })?;
        let (json, flow) = (Bytes::from(json), &*self.ledger.flow);
        let update = || self.bucket.update(flow, json.clone(), self.revision);
        match patiently(update).await {
            Ok(revision) => self.revision = revision,
            // Another process has come first: what it has counted is counted.
            Err(LogError::WrongRevision { .. }) => {
                let (checkpoint, revision) = read_checkpoint(&*self.bucket, flow).await?;
                (self.checkpoint, self.revision) = (checkpoint, revision);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wingbeat_log::{EmbeddedLog, StreamConfig};
    use wingbeat_record::{Outcome, Record, SubjectFilter};

    use super::*;

    async fn vouch(log: &dyn Log, sequences: std::ops::RangeInclusive<u64>) {
        let mut voucher = Voucher { input: "in".to_owned(), ..Voucher::default() };
        sequences.for_each(|sequence| voucher.add(sequence, &Outcome::Emitted));
        let json = serde_json::to_vec(&voucher).unwrap();
        let record = Record::new(Subject::new("books.f").unwrap(), json);
        log.publish(vec![record]).await.pop().unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn i1_processes_that_share_a_flow_keep_one_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(directory.path()).unwrap());
        let subjects = vec![SubjectFilter::new("books.>").unwrap()];
        log.ensure_stream(&StreamConfig::new("books", subjects)).await.unwrap();
        let subject = Subject::new("books.f").unwrap();
        let ledger = Ledger::new(Arc::clone(&log), "f", "books", subject.clone());
        let recall = || recall(&*log, "f", "books", &subject, "in");
        let recalled = recall().await.unwrap();
        let open = || History::open(ledger.clone(), &recalled);
        let (mut left, mut right) = (open().await.unwrap(), open().await.unwrap());
        for round in 0..6_u64 {
            vouch(&*log, round * 10 + 1..=round * 10 + 10).await;
            // One who died before it was acknowledged has vouched for some of it, too.
            vouch(&*log, round * 10 + 4..=round * 10 + 5).await;
            let both = [&mut left, &mut right];
            both[usize::try_from(round % 2).unwrap()].count_on().await.unwrap();
            assert_eq!(recall().await.unwrap().counts.emitted, (round + 1) * 10);
        }
        assert!(right.checkpoint.ledger > 6, "{:?}", right.checkpoint);
        // What was counted in vain, because the other came first, is counted again.
        for is_left in [false, true, true] {
            let history = if is_left { &mut left } else { &mut right };
            history.count_on().await.unwrap();
            vouch(&*log, 61..=70).await;
        }
        assert_eq!(recall().await.unwrap().counts.emitted, 70);
        assert_eq!(left.checkpoint.counts.emitted, 70, "{:?}", left.checkpoint);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn i4_records_of_an_input_that_was_made_anew_are_not_taken_for_settled_ones() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = async |directory: &tempfile::TempDir| {
            let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(directory.path()).unwrap());
            for name in ["books", "in"] {
                let subjects = vec![SubjectFilter::new(format!("{name}.>")).unwrap()];
                log.ensure_stream(&StreamConfig::new(name, subjects)).await.unwrap();
            }
            for _ in 0..3 {
                let record = Record::new(Subject::new("in.x").unwrap(), b"{}".to_vec());
                log.publish(vec![record]).await.pop().unwrap().unwrap();
            }
            log
        };
        let subject = Subject::new("books.f").unwrap();
        let (old, new) = (open(&first).await, open(&second).await);
        vouch(&*old, 1..=3).await;
        let recalled = recall(&*old, "f", "books", &subject, "in").await.unwrap();
        let ledger = Ledger::new(Arc::clone(&old), "f", "books", subject.clone());
        History::open(ledger, &recalled).await.unwrap().count_on().await.unwrap();
        let recalled = recall(&*old, "f", "books", &subject, "in").await.unwrap();
        assert!(recalled.settled.contains(3));
        // The same books beside another stream of that name.
        let books = old.bucket(BUCKET).await.unwrap().get("f").await.unwrap().unwrap();
        new.bucket(BUCKET).await.unwrap().put("f", books.value).await.unwrap();
        let recalled = recall(&*new, "f", "books", &subject, "in").await.unwrap();
        assert!(!recalled.settled.contains(3));
        assert_eq!(recalled.counts.emitted, 3);
    }
}
