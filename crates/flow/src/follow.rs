//! The books of flows that this process does not run, or does not run alone: as the log tells them.
//!
//! A flow's books are the sum of its ledger, whoever wrote it; the ingest's are kept with the
//! places of its sources. Nothing is written here.

use std::{sync::Arc, time::Duration};

use wingbeat_log::{Hint, Log, Reader, Start, patiently};
use wingbeat_record::{Sequences, Subject};

use crate::{
    FlowError,
    books::{Books, Counts},
    history::{self, SETTLED_RUNS_MAX, read_checkpoint, take_voucher},
    ingest::{self, saved_places},
    ledger::Voucher,
    pack::FlowSpec,
};

/// Vouchers that are read at once, and how long is waited for one.
const READ_MAX: usize = 1000;
const READ_WAIT: Duration = Duration::from_secs(5);
/// The pause before a log that can't be reached is tried again.
const LOG_PAUSE: Duration = Duration::from_secs(1);
/// How often the ingest's books are looked up. They are saved every second, as a rule.
const INGEST_EVERY: Duration = Duration::from_secs(2);

/// The books of a flow, read from its ledger as it grows. What is in flight stands in no ledger,
/// so they tell what was settled.
pub struct FollowedBooks {
    log: Arc<dyn Log>,
    stream: String,
    subject: Subject,
    reader: Option<Box<dyn Reader>>,
    /// The last sequence of the ledger's stream that is counted.
    place: u64,
    counts: Counts,
    /// Input sequences that are counted, so that none counts twice.
    counted: Sequences,
    books: Books,
}

impl FollowedBooks {
    /// Begins where the flow's last checkpoint stands. `stream` is the stream that captures the
    /// flow's ledger subject.
    pub async fn open(
        name: &str,
        spec: &FlowSpec,
        stream: &str,
        log: Arc<dyn Log>,
    ) -> Result<Self, FlowError> {
        let subject = spec.ledger.fill(|place| (place == "flow").then_some(name))?;
        let bucket = patiently(|| log.bucket(history::BUCKET)).await?;
        let (checkpoint, _) = read_checkpoint(&*bucket, name).await?;
        let (place, counts) = (checkpoint.ledger, checkpoint.counts);
        let counted = Sequences::from_runs(checkpoint.counted);
        let books = Books::restore(name, Counts::default());
        books.show(counts.clone());
        let (reader, stream) = (None, stream.to_owned());
        Ok(Self { log, stream, subject, reader, place, counts, counted, books })
    }

    /// The books; they grow while [`FollowedBooks::run`] runs.
    pub fn books(&self) -> Books {
        self.books.clone()
    }

    /// Reads on until it is dropped. Waits for a log that can't be reached; gives what it can't go
    /// on after.
    pub async fn run(mut self) -> FlowError {
        loop {
            match self.read_on().await {
                Err(FlowError::Log(error)) if error.hint() == Hint::Transient => {
                    tracing::debug!(%error, flow = self.books.name(), "the books wait for the log");
                    tokio::time::sleep(LOG_PAUSE).await;
                }
                Err(error) => return error,
                Ok(()) => {}
            }
        }
    }

    async fn read_on(&mut self) -> Result<(), FlowError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let filter = [self.subject.clone().into()];
                let start = Start::Sequence(self.place + 1);
                self.reader.insert(self.log.read(&self.stream, start, &filter).await?)
            }
        };
        for stored in reader.next(READ_MAX, READ_WAIT).await? {
            let (counts, counted) = (&mut self.counts, &mut self.counted);
            let mut take = |voucher: &Voucher| voucher.book(counts, counted);
            take_voucher(self.books.name(), &stored, &mut take);
            self.place = stored.sequence;
        }
        self.counted.keep_newest(SETTLED_RUNS_MAX);
        self.books.show(self.counts.clone());
        Ok(())
    }
}

/// The books of the ingest, whichever process it runs in.
pub fn ingest_books() -> Books {
    Books::restore(ingest::NAME, Counts::default())
}

/// Looks up the ingest's books again and again, until it is dropped; gives what it can't go on
/// after.
pub async fn follow_ingest(log: Arc<dyn Log>, books: Books) -> FlowError {
    loop {
        // It waits by itself for a log that can't be reached.
        let places = match saved_places(&*log).await {
            Ok(places) => places,
            Err(error) => return error,
        };
        let mut total = Counts::default();
        places.iter().for_each(|place| total.add(&place.counts));
        books.show(total);
        tokio::time::sleep(INGEST_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use wingbeat_log::{EmbeddedLog, StreamConfig};
    use wingbeat_record::{Outcome, Reason, Record, SubjectFilter};

    use super::*;

    async fn vouch(log: &dyn Log, sequences: std::ops::RangeInclusive<u64>, outcome: &Outcome) {
        let mut voucher = Voucher { input: "in".to_owned(), ..Voucher::default() };
        sequences.for_each(|sequence| voucher.add(sequence, outcome));
        let json = serde_json::to_vec(&voucher).unwrap();
        let record = Record::new(Subject::new("books.f").unwrap(), json);
        log.publish(vec![record]).await.pop().unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn i1_books_that_are_followed_count_each_record_once_as_it_is_settled() {
        let directory = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(directory.path()).unwrap());
        let subjects = vec![SubjectFilter::new("books.>").unwrap()];
        log.ensure_stream(&StreamConfig::new("books", subjects)).await.unwrap();
        let spec = serde_json::json!({
            "from": "in", "consumer": "c", "stages": [], "to": "out.x", "dead": "dead.x",
            "ledger": "books.{flow}",
        });
        let spec: FlowSpec = serde_json::from_value(spec).unwrap();
        vouch(&*log, 1..=10, &Outcome::Emitted).await;
        let mut followed =
            FollowedBooks::open("f", &spec, "books", Arc::clone(&log)).await.unwrap();
        let books = followed.books();
        followed.read_on().await.unwrap();
        assert_eq!(books.counts().emitted, 10);
        // One who died before it was acknowledged has vouched for some of it, too.
        vouch(&*log, 9..=12, &Outcome::Emitted).await;
        let filtered = Outcome::Filtered(Reason::new("low_confidence"));
        vouch(&*log, 13..=13, &filtered).await;
        while books.counts().received < 13 {
            followed.read_on().await.unwrap();
        }
        let counts = books.counts();
        assert_eq!((counts.emitted, counts.filtered["low_confidence"]), (12, 1));
        assert_eq!((counts.received, counts.imbalance()), (13, 0));
    }
}
