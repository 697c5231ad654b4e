//! What a flow has settled, in earlier runs and in other processes, read back from the ledger.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use wingbeat_log::{Bucket, Log, LogError, Start, Stored, patiently};
use wingbeat_record::{Subject, Time};

use crate::{FlowError, books::Counts, ledger::Voucher};

/// The bucket of the checkpoints: how the books stood at a place in the ledger.
pub(crate) const BUCKET: &str = "wingbeat-books";
/// How often a checkpoint is written, so that a start has little to read.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// Vouchers that are read at once.
const READ_MAX: usize = 1000;
/// Of how many input records it is remembered that they are counted.
const COUNTED_MAX: usize = 200_000;

/// How the books stood at a place in the ledger.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The last sequence of the ledger's stream that is counted.
    pub(crate) ledger: u64,
    pub(crate) counts: Counts,
}

/// A flow's ledger, and its checkpoint. Several processes may write to it, each for itself.
pub(crate) struct History {
    ledger: Ledger,
    bucket: Arc<dyn Bucket>,
    checkpoint: Checkpoint,
    revision: u64,
    /// Input sequences that the checkpoint counts: the last ones, so that none counts twice.
    counted: BTreeSet<u64>,
    /// Vouchers younger than this are left to be read again: their records may not be acknowledged.
    hold: Duration,
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
    /// Sequences that were settled, but whose acknowledgement may have been forgotten in a crash:
    /// if they come again, they are not counted again.
    pub(crate) settled: BTreeSet<u64>,
    /// The last sequence of the ledger's stream that was read.
    pub(crate) read: u64,
}

/// Reads back what a flow has settled.
pub(crate) async fn recall(
    log: &dyn Log,
    flow: &str,
    stream: &str,
    subject: &Subject,
) -> Result<Recalled, FlowError> {
    let bucket = log.bucket(BUCKET).await?;
    let (checkpoint, revision) = read_checkpoint(&*bucket, flow).await?;
    let first = log.stream(stream).await?.first;
    if checkpoint.ledger + 1 < first {
        tracing::warn!(
            flow,
            "part of the ledger has expired since the books were last written; the totals count from what is left"
        );
    }
    let mut counts = checkpoint.counts.clone();
    let mut settled = BTreeSet::new();
    let take = |voucher: &Voucher| voucher.book(&mut counts, &mut settled);
    let read = read_on(log, (flow, stream, subject), checkpoint.ledger, None, take).await?;
    Ok(Recalled { checkpoint, revision, counts, settled, read })
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

/// Shows `take` the vouchers behind a place of the ledger, up to those that were stored after
/// `until`. Returns the place of the last one.
async fn read_on(
    log: &dyn Log,
    (flow, stream, subject): (&str, &str, &Subject),
    mut place: u64,
    until: Option<Time>,
    mut take: impl FnMut(&Voucher),
) -> Result<u64, FlowError> {
    let filter = [subject.clone().into()];
    let mut reader = patiently(|| log.read(stream, Start::Sequence(place + 1), &filter)).await?;
    loop {
        let records = reader.next(READ_MAX, Duration::ZERO).await?;
        if records.is_empty() {
            return Ok(place);
        }
        for stored in records {
            if until.is_some_and(|until| stored.time > until) {
                return Ok(place);
            }
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
                sequences.extend(first..=last);
            }
        };
        let at = (&*self.flow, &*self.stream, &self.subject);
        settled.read = read_on(&*self.log, at, settled.read, None, take).await?;
        keep_newest(&mut settled.sequences);
        Ok(())
    }
}

/// What the ledger says is settled.
#[derive(Default)]
pub(crate) struct Settled {
    /// How far it was read.
    pub(crate) read: u64,
    /// Input sequences; where there are many, the last ones.
    pub(crate) sequences: BTreeSet<u64>,
}

pub(crate) fn keep_newest(sequences: &mut BTreeSet<u64>) {
    while sequences.len() > COUNTED_MAX {
        sequences.pop_first();
    }
}

impl History {
    /// `hold` is how long it may take until what a voucher says is acknowledged.
    pub(crate) async fn open(
        ledger: Ledger,
        recalled: &Recalled,
        hold: Duration,
    ) -> Result<Self, FlowError> {
        let bucket = ledger.log.bucket(BUCKET).await?;
        let (checkpoint, revision) = (recalled.checkpoint.clone(), recalled.revision);
        let (counted, written) = (BTreeSet::new(), Instant::now());
        Ok(Self { ledger, bucket, checkpoint, revision, counted, hold, written })
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
        let until = Time::now().minus(self.hold);
        let Checkpoint { ledger, counts } = &mut self.checkpoint;
        let counted = &mut self.counted;
        let take = |voucher: &Voucher| voucher.book(counts, counted);
        let place = read_on(&**log, at, *ledger, Some(until), take).await?;
        if place == *ledger {
            return Ok(());
        }
        *ledger = place;
        keep_newest(&mut self.counted);
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
        let recall = || recall(&*log, "f", "books", &subject);
        let recalled = recall().await.unwrap();
        let open = || History::open(ledger.clone(), &recalled, Duration::ZERO);
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
    }
}
