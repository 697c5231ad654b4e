//! Settling records: outputs, dead letters, ledger, acknowledgement, books, in this order.

use std::{sync::Arc, time::Duration};

use wingbeat_log::{AckToken, Consumer, Hint, Log, LogError, PubAck, Settle, patiently};
use wingbeat_record::{DeadCause, MessageId, Outcome, Reason, Record, Subject, name};
use wingbeat_stage::{Item, Verdict};

use crate::{
    FlowError,
    books::{Books, Ticket},
    dead::{self, Death},
    deferral::Waiting,
    history::History,
    ledger::Voucher,
    pack::FlowSpec,
};

/// The first pause when the log refuses for now; it doubles up to [`REFUSED_WAIT_MAX`].
const REFUSED_WAIT: Duration = Duration::from_millis(50);
const REFUSED_WAIT_MAX: Duration = Duration::from_secs(5);

/// A record between its delivery and its acknowledgement.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) token: AckToken,
    pub(crate) sequence: u64,
    /// Deliveries by the log and tries since.
    pub(crate) tries: u32,
    /// After this many the record is given up.
    pub(crate) tries_max: u32,
    pub(crate) item: Item,
    pub(crate) ticket: Ticket,
}

impl Waiting for Work {
    fn key(&self) -> String {
        // Without an author nothing has to wait for it.
        self.item.key().unwrap_or_else(|| format!("#{}", self.sequence))
    }

    fn needs_retry(&self) -> bool {
        self.tries < self.tries_max && matches!(self.item.verdict(), Some(Verdict::Retry(_)))
    }
}

/// Settles the records of one flow.
pub(crate) struct Committer {
    pub(crate) flow: Arc<str>,
    pub(crate) spec: FlowSpec,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) consumer: Arc<dyn Consumer>,
    pub(crate) books: Books,
    pub(crate) history: History,
    pub(crate) ledger: Subject,
}

/// A record and how it ends.
struct Ending {
    work: Work,
    outcome: Outcome,
    /// What is to be published for it.
    record: Option<Record>,
}

impl Committer {
    /// Settles records, in order. When it returns they are acknowledged. None of them needs a
    /// retry any more.
    pub(crate) async fn commit(&mut self, works: Vec<Work>) -> Result<(), FlowError> {
        if works.is_empty() {
            return Ok(());
        }
        let mut endings = Vec::with_capacity(works.len());
        for work in works {
            endings.push(self.end(work)?);
        }
        let mut voucher = Voucher { input: self.spec.from.clone(), ..Voucher::default() };
        self.publish_endings(&mut endings, &mut voucher).await?;
        for ending in &endings {
            voucher.add(ending.work.sequence, &ending.outcome);
        }
        self.publish_voucher(&voucher).await?;
        let acks: Vec<_> = endings.iter().map(|e| (e.work.token, Settle::Ack)).collect();
        patiently(|| self.consumer.settle(&acks)).await?;
        let (tickets, outcomes): (Vec<_>, Vec<_>) =
            endings.into_iter().map(|ending| (ending.work.ticket, ending.outcome)).unzip();
        self.books.settle(tickets.into_iter().zip(&outcomes));
        self.history.advance().await
    }

    fn end(&self, work: Work) -> Result<Ending, FlowError> {
        match work.item.verdict() {
            None => match self.output(&work) {
                Ok(record) => Ok(Ending { work, outcome: Outcome::Emitted, record: Some(record) }),
                Err(error) => {
                    let kind = Reason::new("output_subject");
                    self.bury(work, DeadCause::new("output", kind, error.to_string()))
                }
            },
            Some(Verdict::Filtered(reason)) => {
                let outcome = Outcome::Filtered(reason.clone());
                Ok(Ending { work, outcome, record: None })
            }
            Some(Verdict::Dead(cause) | Verdict::Retry(cause)) => {
                let cause = cause.clone();
                self.bury(work, cause)
            }
        }
    }

    fn output(&self, work: &Work) -> Result<Record, wingbeat_record::SubjectError> {
        let item = &work.item;
        let subject = self.spec.to.fill(|place| item.token(place))?;
        let mut record = Record::new(subject, item.output());
        for passed in [name::CORRELATION_ID, name::TRACEPARENT, name::TAGS] {
            if let Some(value) = item.record().headers.get(passed) {
                record.headers.set(passed, value);
            }
        }
        if let Some(tags) = item.tags() {
            record.headers.set(name::TAGS, tags);
        }
        record.headers.set(name::MESSAGE_ID, item.message_id());
        record.headers.set(name::INPUT, self.origin(work));
        record.headers.set(name::FLOW, &*self.flow);
        Ok(record)
    }

    fn origin(&self, work: &Work) -> String {
        format!("{}/{}", self.spec.from, work.sequence)
    }

    fn bury(&self, work: Work, cause: DeadCause) -> Result<Ending, FlowError> {
        let death = Death {
            flow: &self.flow,
            origin: self.origin(&work),
            deliveries: work.tries,
            cause: &cause,
            id: None,
            cut_from: None,
        };
        let letter = dead::write(
            &self.spec.dead,
            work.item.record().clone(),
            &death,
            self.log.record_bytes_max(),
        )?;
        Ok(Ending { work, outcome: Outcome::Dead(cause), record: Some(letter) })
    }

    /// Publishes outputs and dead letters. An output that no log takes becomes a dead letter.
    async fn publish_endings(
        &self,
        endings: &mut [Ending],
        voucher: &mut Voucher,
    ) -> Result<(), FlowError> {
        let has_record = |(at, ending): (usize, &mut Ending)| Some((at, ending.record.take()?));
        let (mut places, mut records): (Vec<usize>, Vec<Record>) =
            endings.iter_mut().enumerate().filter_map(has_record).unzip();
        // The second round publishes the dead letters of outputs that were refused in the first.
        for _ in 0..2 {
            let answers = publish(&*self.log, std::mem::take(&mut records)).await?;
            let mut refused = Vec::new();
            for (place, answer) in std::mem::take(&mut places).into_iter().zip(answers) {
                match answer {
                    Ok(ack) => {
                        voucher.add_output(&ack.stream, ack.sequence);
                        if ack.is_duplicate && !self.is_own(&endings[place], &ack).await? {
                            endings[place].outcome = Outcome::Filtered(Reason::new("duplicate"));
                        }
                    }
                    Err(error) => refused.push((place, error)),
                }
            }
            for (place, error) in refused {
                let ending = &mut endings[place];
                let cause =
                    DeadCause::new("output", Reason::new("output_refused"), error.to_string());
                let death = Death {
                    flow: &self.flow,
                    origin: self.origin(&ending.work),
                    deliveries: ending.work.tries,
                    cause: &cause,
                    id: None,
                    cut_from: None,
                };
                let original = ending.work.item.record().clone();
                records.push(dead::write(
                    &self.spec.dead,
                    original,
                    &death,
                    self.log.record_bytes_max(),
                )?);
                ending.outcome = Outcome::Dead(cause);
                places.push(place);
            }
            if records.is_empty() {
                return Ok(());
            }
        }
        Err(FlowError::Pack(format!(
            "the log refuses the dead letters of flow `{}`; give `flows.{}.dead` a subject that a stream captures",
            self.flow, self.flow
        )))
    }

    /// Whether the record that is there already was made from the same input: then a crash has
    /// come between publishing and acknowledging, and nothing is doubled. Otherwise another input
    /// with the same identity was there first.
    async fn is_own(&self, ending: &Ending, ack: &PubAck) -> Result<bool, FlowError> {
        if matches!(ending.outcome, Outcome::Dead(_)) {
            return Ok(true);
        }
        let there = patiently(|| self.log.get(&ack.stream, ack.sequence)).await?;
        let input = self.origin(&ending.work);
        // What has expired or was deleted since can't be compared; a replay is the likelier case.
        Ok(there.is_none_or(|stored| stored.record.headers.get(name::INPUT) == Some(&input)))
    }

    async fn publish_voucher(&self, voucher: &Voucher) -> Result<(), FlowError> {
        if voucher.is_empty() {
            return Ok(());
        }
        let json = serde_json::to_vec(voucher).map_err(|error| FlowError::Stored {
            what: "a record of the ledger".to_owned(),
            problem: error.to_string(),
        })?;
        // Where the answer is lost it is published again; the id keeps it from counting twice.
        let id = MessageId::from_content(&[self.flow.as_bytes(), &json].concat());
        let record = Record::new(self.ledger.clone(), json).with_id(id);
        let answer = publish(&*self.log, vec![record]).await?.pop();
        answer.unwrap_or(Err(LogError::Closed))?;
        Ok(())
    }
}

/// Publishes records and waits as long as the log refuses for now: the flow stands still
/// meanwhile, and with it whoever feeds it. Refusals that only concern one record are returned.
pub(crate) async fn publish(
    log: &dyn Log,
    mut records: Vec<Record>,
) -> Result<Vec<Result<PubAck, LogError>>, FlowError> {
    let mut answers = vec![Err(LogError::Closed); records.len()];
    let mut places: Vec<usize> = (0..records.len()).collect();
    let mut wait = REFUSED_WAIT;
    while !records.is_empty() {
        let results = log.publish(records.clone()).await;
        let mut refused = (Vec::new(), Vec::new());
        for ((place, record), result) in places.into_iter().zip(records).zip(results) {
            match result {
                Err(error) if error.hint() == Hint::Transient => {
                    if refused.0.is_empty() {
                        tracing::warn!(%error, wait_ms = wait.as_millis(), "publishing has to wait");
                    }
                    refused.0.push(place);
                    refused.1.push(record);
                }
                // These concern every record: none of them is at fault.
                Err(error @ (LogError::NoStream { .. } | LogError::Denied { .. })) => {
                    return Err(error.into());
                }
                Err(error) if error.hint() == Hint::Fatal => return Err(error.into()),
                answer => answers[place] = answer,
            }
        }
        (places, records) = refused;
        if !records.is_empty() {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(REFUSED_WAIT_MAX);
        }
    }
    Ok(answers)
}
