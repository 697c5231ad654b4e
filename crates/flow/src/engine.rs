//! Running a flow: fetch, stages, commit.
//!
//! Three loops in one task. *Fetch* takes batches from the consumer and hands them to the threads
//! for computing, up to `in_flight` batches at a time. *Commit* takes the batches in the order in
//! which they were fetched, however fast the threads were, and settles them: so the order of the
//! input is the order of the output. While it waits for the disk further batches finish, and the
//! next commit takes them together. *Progress* tells the log that records are still being worked
//! on. When the log is slow, commit is slow, the slots stay taken, and fetch waits: back-pressure.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use wingbeat_log::{
    AckToken, Consumer, ConsumerConfig, Delivery, Hint, Log, Settle, Start, patiently,
};
use wingbeat_record::{DeadCause, Reason};
use wingbeat_stage::Item;

use crate::{
    FlowError,
    books::Books,
    commit::{Committer, Work},
    deferral::Deferral,
    history::{self, History, Ledger, Settled},
    pack::FlowSpec,
    pipeline::Pipeline,
    pool::Pool,
};

/// A commit takes at most about this many records at once.
const COMMIT_RECORDS_MAX: usize = 4096;
/// The longest pause between two tries.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a fetch waits for a record before it looks around again.
const FETCH_WAIT: Duration = Duration::from_secs(5);

/// A flow that is ready to run.
pub struct Flow {
    spec: FlowSpec,
    consumer: Arc<dyn Consumer>,
    pipeline: Arc<Pipeline>,
    pool: Pool,
    books: Books,
    committer: Committer,
    vouchers: Ledger,
    /// What was settled before this run, or by others since.
    settled: tokio::sync::Mutex<Settled>,
    /// What is being worked on.
    held: Mutex<BTreeSet<AckToken>>,
}

/// A batch on its way through the stages.
struct Batch {
    works: oneshot::Receiver<Vec<Work>>,
    slot: OwnedSemaphorePermit,
}

impl Flow {
    /// Opens the flow's consumer and restores its books. `ledger_stream` is the stream that
    /// captures the flow's ledger subject.
    pub async fn open(
        name: &str,
        spec: &FlowSpec,
        ledger_stream: &str,
        log: Arc<dyn Log>,
        pipeline: Pipeline,
        pool: Pool,
    ) -> Result<Self, FlowError> {
        let ledger = spec.ledger.fill(|place| (place == "flow").then_some(name))?;
        let recalled = history::recall(&*log, name, ledger_stream, &ledger, &spec.from).await?;
        let pending = spec.batch.saturating_mul(spec.in_flight).saturating_mul(2);
        let pending = u32::try_from(pending).unwrap_or(u32::MAX).max(1000);
        let config = ConsumerConfig {
            filters: spec.subjects.clone(),
            start: Start::First,
            ack_wait: spec.ack_wait.0,
            // The flow counts deliveries itself: one too many becomes a dead letter, not silence.
            deliver_max: None,
            ack_pending_max: match spec.ack_pending_max {
                0 => pending,
                chosen => chosen,
            },
            ..ConsumerConfig::new(&spec.consumer)
        };
        let consumer = patiently(|| log.consumer(&spec.from, &config)).await?;
        let books = Books::restore(name, recalled.counts.clone());
        let vouchers = Ledger::new(Arc::clone(&log), name, ledger_stream, ledger.clone());
        let committer = Committer {
            flow: Arc::from(name),
            spec: spec.clone(),
            log,
            consumer: Arc::clone(&consumer),
            books: books.clone(),
            history: History::open(vouchers.clone(), &recalled).await?,
            ledger,
        };
        Ok(Self {
            spec: spec.clone(),
            consumer,
            pipeline: Arc::new(pipeline),
            pool,
            books,
            committer,
            vouchers,
            settled: tokio::sync::Mutex::new(recalled.settled),
            held: Mutex::default(),
        })
    }

    /// The flow's books.
    pub fn books(&self) -> Books {
        self.books.clone()
    }

    /// The flow's consumer.
    pub fn consumer(&self) -> Arc<dyn Consumer> {
        Arc::clone(&self.consumer)
    }

    /// Runs until `stop` is cancelled: then settles what is under way and returns. An error means
    /// that the flow can't go on; what was not settled comes again with the next run.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), FlowError> {
        let (batches, queue) = mpsc::channel(self.spec.in_flight);
        // The committer is lent to the commit loop, and the rest to all three.
        let committer = &mut self.committer;
        let shared = Shared {
            spec: &self.spec,
            consumer: &*self.consumer,
            pipeline: &self.pipeline,
            pool: &self.pool,
            books: &self.books,
            vouchers: &self.vouchers,
            settled: &self.settled,
            held: &self.held,
        };
        let failed = CancellationToken::new();
        let fetch = shared.fetch(batches, &stop, &failed);
        let commit = shared.commit(queue, committer);
        let work = async {
            let (fetched, committed) = tokio::join!(fetch, async {
                let result = commit.await;
                if result.is_err() {
                    failed.cancel();
                }
                result
            });
            committed.and(fetched)
        };
        let result = tokio::select! {
            result = work => result,
            result = shared.progress() => result,
        };
        result
    }
}

/// What the loops of a flow share.
struct Shared<'a> {
    spec: &'a FlowSpec,
    consumer: &'a dyn Consumer,
    pipeline: &'a Arc<Pipeline>,
    pool: &'a Pool,
    books: &'a Books,
    vouchers: &'a Ledger,
    settled: &'a tokio::sync::Mutex<Settled>,
    held: &'a Mutex<BTreeSet<AckToken>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared<'_> {
    async fn fetch(
        &self,
        batches: mpsc::Sender<Batch>,
        stop: &CancellationToken,
        failed: &CancellationToken,
    ) -> Result<(), FlowError> {
        let slots = Arc::new(Semaphore::new(self.spec.in_flight));
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                Ok::<_, FlowError>((slot, self.gather().await?))
            };
            let (slot, deliveries) = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = failed.cancelled() => return Ok(()),
                next = next => next?,
            };
            // The semaphore is never closed.
            let Ok(slot) = slot else { return Ok(()) };
            let works = self.take_in(deliveries);
            if works.is_empty() {
                continue;
            }
            let batch = Batch { works: self.compute(works), slot };
            if batches.send(batch).await.is_err() {
                return Ok(());
            }
        }
    }

    /// A batch: waits for a first record, then a little for more. Dropping it loses nothing: what
    /// was fetched is not held yet and comes again.
    async fn gather(&self) -> Result<Vec<Delivery>, FlowError> {
        let fetch = |max, wait| patiently(move || self.consumer.fetch(max, wait));
        let mut deliveries = fetch(self.spec.batch, FETCH_WAIT).await?;
        let deadline = Instant::now() + self.spec.batch_wait.0;
        while !deliveries.is_empty() && deliveries.len() < self.spec.batch {
            let wait = deadline.saturating_duration_since(Instant::now());
            let more = fetch(self.spec.batch - deliveries.len(), wait).await?;
            if more.is_empty() {
                break;
            }
            deliveries.extend(more);
        }
        self.sift(deliveries).await
    }

    /// Sifts out what has an outcome already and keeps it: only its acknowledgement was lost. What
    /// was delivered before may have been settled by another process on the same consumer.
    async fn sift(&self, deliveries: Vec<Delivery>) -> Result<Vec<Delivery>, FlowError> {
        let mut settled = self.settled.lock().await;
        if deliveries.iter().any(|delivery| delivery.deliveries > 1) {
            self.vouchers.follow(&mut settled).await?;
        }
        let is_settled = |delivery: &Delivery| settled.contains(delivery.stored.sequence);
        let (known, fresh): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(is_settled);
        if let (Some(first), Some(last)) = (known.first(), known.last()) {
            let (from, to) = (first.stored.sequence, last.stored.sequence);
            let count = known.len();
            tracing::info!(count, from, to, "records that have an outcome are acknowledged again");
            let acks: Vec<_> = known.iter().map(|known| (known.token, Settle::Ack)).collect();
            patiently(|| self.consumer.settle(&acks)).await?;
        }
        Ok(fresh)
    }

    fn take_in(&self, deliveries: Vec<Delivery>) -> Vec<Work> {
        let mut held = lock(self.held);
        // What is being worked on already needs no second worker.
        let fresh: Vec<Delivery> =
            deliveries.into_iter().filter(|delivery| held.insert(delivery.token)).collect();
        let tickets = self.books.receive(fresh.len());
        let mut works = Vec::with_capacity(fresh.len());
        for (delivery, ticket) in fresh.into_iter().zip(tickets) {
            let mut item = Item::new(delivery.stored.record);
            if delivery.deliveries > self.spec.lost_max {
                let tries = delivery.deliveries - 1;
                let message = format!(
                    "delivered {tries} times and never settled: whoever worked on it died or hung"
                );
                item.die(DeadCause::new("flow", Reason::new("delivered_too_often"), message));
            }
            works.push(Work {
                token: delivery.token,
                sequence: delivery.stored.sequence,
                tries: delivery.deliveries,
                tries_max: self.spec.deliver_max,
                item,
                ticket,
            });
        }
        works
    }

    /// Sends records through the stages.
    fn compute(&self, mut works: Vec<Work>) -> oneshot::Receiver<Vec<Work>> {
        let pipeline = Arc::clone(self.pipeline);
        self.pool.run(move || {
            let mut items: Vec<&mut Item> = works.iter_mut().map(|work| &mut work.item).collect();
            pipeline.run(&mut items);
            works
        })
    }

    async fn commit(
        &self,
        mut queue: mpsc::Receiver<Batch>,
        committer: &mut Committer,
    ) -> Result<(), FlowError> {
        let mut deferral = Deferral::new();
        let mut waiting = VecDeque::new();
        let mut again: Option<oneshot::Receiver<Vec<Work>>> = None;
        loop {
            let due = deferral.next_due().filter(|_| again.is_none());
            let (free, slots) = tokio::select! {
                group = next_group(&mut waiting, &mut queue) => match group? {
                    None => break,
                    Some((works, slots)) => (deferral.sift(works, |w| self.retry_at(w)), slots),
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    again = Some(self.compute(renew(deferral.take_due(Instant::now()))));
                    continue;
                }
                works = finished(&mut again) => {
                    again = None;
                    let give_back = |work| deferral.give_back(work, |w| self.retry_at(w));
                    (works?.into_iter().flat_map(give_back).collect(), Vec::new())
                }
            };
            let tokens: Vec<AckToken> = free.iter().map(|work| work.token).collect();
            committer.commit(free).await?;
            drop(slots);
            let mut held = lock(self.held);
            for token in tokens {
                held.remove(&token);
            }
        }
        // Stopping: what waits for another try goes back to the log.
        let waiting = deferral.drain();
        let back: Vec<_> =
            waiting.iter().map(|work| (work.token, Settle::Nak(Duration::ZERO))).collect();
        match self.consumer.settle(&back).await {
            // It comes again after the ack wait.
            Err(error) if error.hint() == Hint::Transient => {
                tracing::warn!(%error, "records that wait for another try are not given back");
                Ok(())
            }
            settled => Ok(settled?),
        }
    }

    /// When a record is tried again: the pauses double, and differ a little from record to record
    /// so that not all come back at once.
    fn retry_at(&self, work: &Work) -> Instant {
        let doublings = work.tries.saturating_sub(1).min(16);
        let pause = self.spec.retry_wait.0.saturating_mul(1 << doublings).min(RETRY_WAIT_MAX);
        let jitter = u32::try_from(work.sequence % 41).unwrap_or(0);
        Instant::now() + pause * (80 + jitter) / 100
    }

    /// Tells the log now and then that work goes on.
    async fn progress(&self) -> Result<(), FlowError> {
        let every = (self.spec.ack_wait.0 / 3).max(Duration::from_millis(10));
        loop {
            tokio::time::sleep(every).await;
            let tokens: Vec<_> =
                lock(self.held).iter().map(|token| (*token, Settle::Progress)).collect();
            patiently(|| self.consumer.settle(&tokens)).await?;
        }
    }
}

/// The next batches whose stages are done, in the order in which they were fetched. `None` when
/// no more will come. May be dropped at any await.
async fn next_group(
    waiting: &mut VecDeque<Batch>,
    queue: &mut mpsc::Receiver<Batch>,
) -> Result<Option<(Vec<Work>, Vec<OwnedSemaphorePermit>)>, FlowError> {
    let died = |_| FlowError::Pool("a thread that runs stages died".to_owned());
    if waiting.is_empty() {
        let Some(batch) = queue.recv().await else { return Ok(None) };
        waiting.push_back(batch);
    }
    let Some(first) = waiting.front_mut() else { return Ok(None) };
    let mut works = (&mut first.works).await.map_err(died)?;
    let mut slots: Vec<_> = waiting.pop_front().map(|batch| batch.slot).into_iter().collect();
    while let Ok(batch) = queue.try_recv() {
        waiting.push_back(batch);
    }
    while works.len() < COMMIT_RECORDS_MAX {
        let Some(next) = waiting.front_mut() else { break };
        let Ok(more) = next.works.try_recv() else { break };
        works.extend(more);
        slots.extend(waiting.pop_front().map(|batch| batch.slot));
    }
    Ok(Some((works, slots)))
}

/// The same records for another try.
fn renew(works: Vec<Work>) -> Vec<Work> {
    let renew = |work: Work| {
        let Work { token, sequence, tries, tries_max, item, ticket } = work;
        let item = Item::new(item.into_record());
        Work { token, sequence, tries: tries + 1, tries_max, item, ticket }
    };
    works.into_iter().map(renew).collect()
}

/// The records of another try, when they are done; never, where there is no other try.
async fn finished(
    again: &mut Option<oneshot::Receiver<Vec<Work>>>,
) -> Result<Vec<Work>, FlowError> {
    match again {
        Some(works) => {
            works.await.map_err(|_| FlowError::Pool("a thread that runs stages died".to_owned()))
        }
        None => std::future::pending().await,
    }
}
