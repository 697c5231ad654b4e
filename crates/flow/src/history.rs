//! What earlier runs of a flow have settled, read back from the ledger.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use wingbeat_log::{Bucket, Log, Start, patiently};
use wingbeat_record::Subject;

use crate::{FlowError, books::Counts, ledger::Voucher};

/// The bucket of the checkpoints: how the books stood at a place in the ledger.
pub(crate) const BUCKET: &str = "wingbeat-books";
/// How often a checkpoint is written, so that a start has little to read.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// Vouchers that are read at once.
const READ_MAX: usize = 1000;

/// How the books stood at a place in the ledger.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Checkpoint {
    /// The last sequence of the ledger's stream that is counted. Everything that it says was
    /// acknowledged before this was written.
    ledger: u64,
    counts: Counts,
}

/// The flow's place in its ledger.
pub(crate) struct History {
    bucket: Arc<dyn Bucket>,
    key: String,
    ledger: u64,
    written: Instant,
}

/// What earlier runs left behind.
pub(crate) struct Recalled {
    pub(crate) history: History,
    pub(crate) counts: Counts,
    /// Sequences that were settled, but whose acknowledgement may have been forgotten in a crash:
    /// if they come again, they are not counted again.
    pub(crate) settled: BTreeSet<u64>,
}

/// Reads back what earlier runs of a flow have settled.
pub(crate) async fn recall(
    log: &dyn Log,
    flow: &str,
    stream: &str,
    subject: &Subject,
) -> Result<Recalled, FlowError> {
    let bucket = log.bucket(BUCKET).await?;
    let key = flow.to_owned();
    let checkpoint = match bucket.get(&key).await? {
        None => Checkpoint::default(),
        Some(entry) => serde_json::from_slice(&entry.value).map_err(|error| FlowError::Stored {
            what: format!("the books of flow `{flow}`"),
            problem: format!("{error}; a newer version of wingbeat wrote them, or remove the key `{key}` of bucket `{BUCKET}` to count anew"),
        })?,
    };
    let first = log.stream(stream).await?.first;
    if checkpoint.ledger + 1 < first {
        tracing::warn!(
            flow,
            "part of the ledger has expired since the books were last written; the totals count from what is left"
        );
    }
    let mut counts = checkpoint.counts;
    let mut settled = BTreeSet::new();
    let mut ledger = checkpoint.ledger;
    let mut reader =
        log.read(stream, Start::Sequence(ledger + 1), &[subject.clone().into()]).await?;
    loop {
        let records = reader.next(READ_MAX, Duration::ZERO).await?;
        if records.is_empty() {
            break;
        }
        for stored in records {
            ledger = stored.sequence;
            match serde_json::from_slice::<Voucher>(&stored.record.payload) {
                Ok(voucher) => voucher.book(&mut counts, &mut settled),
                Err(error) => {
                    tracing::error!(flow, ledger, %error, "a record of the ledger can't be read");
                }
            }
        }
    }
    let history = History { bucket, key, ledger, written: Instant::now() };
    Ok(Recalled { history, counts, settled })
}

impl History {
    /// Notes that the ledger has been written up to here and everything in it is acknowledged;
    /// writes a checkpoint now and then.
    pub(crate) async fn advance(&mut self, ledger: u64, counts: &Counts) -> Result<(), FlowError> {
        self.ledger = self.ledger.max(ledger);
        if self.written.elapsed() < CHECKPOINT_EVERY {
            return Ok(());
        }
        self.write(counts).await
    }

    /// Writes a checkpoint. What is in flight is left out: it is not settled.
    pub(crate) async fn write(&mut self, counts: &Counts) -> Result<(), FlowError> {
        let mut counts = counts.clone();
        counts.received -= counts.in_flight.min(counts.received);
        counts.in_flight = 0;
        let checkpoint = Checkpoint { ledger: self.ledger, counts };
        let json = serde_json::to_vec(&checkpoint).map_err(|error| FlowError::Stored {
            what: "a checkpoint of the books".to_owned(),
            problem: error.to_string(),
        })?;
        let json = bytes::Bytes::from(json);
        patiently(|| self.bucket.put(&self.key, json.clone())).await?;
        self.written = Instant::now();
        Ok(())
    }
}
