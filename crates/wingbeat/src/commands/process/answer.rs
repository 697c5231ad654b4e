//! Answering requests over NATS: what do the models say of a text?
//!
//! One loop takes requests and sends answers; the threads of the stages compute. What waits goes to
//! them together, so that many short texts cost little more than one. There is a limit to what
//! waits: whoever comes beyond it is refused at once and can ask somebody else.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use wingbeat_flow::{FlowError, Pool};
use wingbeat_log::{
    LogError, LogUrl, NatsRequests, NatsService, NatsUrl, Query, Refusal, ServiceSpec, patiently,
};
use wingbeat_record::Subject;

use crate::{
    analysis::{self, Analysis},
    config::{Answering, Config},
    failure::Failure,
};

/// Where requests come in.
pub(crate) const SUBJECT: &str = "sentiment.analyze";
/// At most so many requests wait, and so many times [`analysis::REQUEST_BYTES_MAX`]: 32 MiB.
const WAITING_MAX: usize = 512;
/// At most so many are computed together: some milliseconds for texts like posts.
const BATCH_MAX: usize = 64;
/// How long answers that are under way may take when it stops.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// What answers requests beside a flow.
pub(super) struct AnswerDesk {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl AnswerDesk {
    /// Starts it where the configuration wants it. It never ends the flow: where it can't do its
    /// work it says so.
    pub(super) fn open(config: &Config, pool: &Pool) -> Result<Self, Failure> {
        let stop = CancellationToken::new();
        let url = match (&config.log.url, config.processor.answer) {
            (_, Answering::Off) | (LogUrl::Embedded(_), Answering::Auto) => {
                return Ok(Self { stop, task: None });
            }
            (LogUrl::Embedded(_), Answering::On) => {
                return Err(Failure::Config(format!(
                    "`processor.answer`: requests come over NATS, and the log is {}; give it a nats:// URL, or set `auto`",
                    config.log.url
                )));
            }
            (LogUrl::Nats(url), Answering::Auto | Answering::On) => url.clone(),
        };
        let analysis = Arc::new(Analysis::new(&config.stages)?);
        let desk = Desk {
            analysis,
            pool: pool.clone(),
            jobs_max: config.threads(),
            waiting: VecDeque::new(),
            jobs: FuturesUnordered::new(),
        };
        let subject = Subject::new(SUBJECT).map_err(FlowError::from)?;
        let task = tokio::spawn(serve(url, subject, desk, stop.clone()));
        Ok(Self { stop, task: Some(task) })
    }

    /// The stages that it runs texts through, where it answers at all.
    pub(super) fn stages(config: &Config) -> Vec<String> {
        match (&config.log.url, config.processor.answer) {
            (_, Answering::Off) | (LogUrl::Embedded(_), _) => Vec::new(),
            (LogUrl::Nats(_), _) => analysis::STAGES.map(str::to_owned).to_vec(),
        }
    }

    /// Answers what has come, and ends.
    pub(super) async fn close(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            let _ = tokio::time::timeout(CLOSE_WAIT, task).await;
        }
    }
}

async fn serve(url: NatsUrl, subject: Subject, mut desk: Desk, stop: CancellationToken) {
    let spec = ServiceSpec {
        name: "sentiment",
        version: env!("CARGO_PKG_VERSION"),
        description: "Sentiment, topics and language of a text",
        endpoint: "analyze",
        subject,
    };
    let open = async {
        let requests = patiently(|| Box::pin(NatsRequests::open(&url))).await?;
        let service = patiently(|| Box::pin(requests.serve(&spec))).await?;
        Ok::<_, LogError>((requests, service))
    };
    let opened = tokio::select! {
        () = stop.cancelled() => return,
        opened = open => opened,
    };
    match opened {
        Ok((requests, service)) => {
            tracing::info!(subject = SUBJECT, "requests are answered");
            desk.run(service, &stop).await;
            requests.close().await;
            if !stop.is_cancelled() {
                tracing::warn!("requests are not answered any more: the connection is gone");
            }
        }
        Err(error) => tracing::warn!(%error, "requests are not answered"),
    }
}

/// Requests on their way.
struct Desk {
    analysis: Arc<Analysis>,
    pool: Pool,
    /// So many batches are computed at once.
    jobs_max: usize,
    waiting: VecDeque<Query>,
    jobs: FuturesUnordered<JoinHandle<()>>,
}

impl Desk {
    /// Runs until it is stopped and the last request is answered.
    async fn run(&mut self, mut service: NatsService, stop: &CancellationToken) {
        let (mut is_stopped, mut is_over) = (false, false);
        while !(is_over && self.waiting.is_empty() && self.jobs.is_empty()) {
            tokio::select! {
                () = stop.cancelled(), if !is_stopped => {
                    is_stopped = true;
                    service.stop().await;
                }
                query = service.next(), if !is_over => match query {
                    Some(query) => self.take_in(query).await,
                    None => is_over = true,
                },
                Some(_) = self.jobs.next(), if !self.jobs.is_empty() => {}
            }
            while self.jobs.len() < self.jobs_max && !self.waiting.is_empty() {
                self.start_job();
            }
        }
    }

    async fn take_in(&mut self, query: Query) {
        if !query.is_awaited() {
            return;
        }
        if let Err(refusal) = analysis::check_size(query.payload()) {
            return send(query, Err(refusal)).await;
        }
        if self.waiting.len() >= WAITING_MAX {
            let message = format!("busy: {WAITING_MAX} requests are waiting");
            return send(query, Err(Refusal { code: 503, message })).await;
        }
        self.waiting.push_back(query);
    }

    fn start_job(&mut self) {
        let count = self.waiting.len().min(BATCH_MAX);
        let queries: Vec<Query> = self.waiting.drain(..count).collect();
        let requests = queries.iter().map(|query| query.payload().clone()).collect();
        let analysis = Arc::clone(&self.analysis);
        let answers = self.pool.run(move || analysis.answer(requests));
        self.jobs.push(tokio::spawn(send_all(queries, answers)));
    }
}

async fn send_all(queries: Vec<Query>, answers: oneshot::Receiver<Vec<Result<Bytes, Refusal>>>) {
    // A job that panics sends nothing.
    let mut answers = answers.await.unwrap_or_default().into_iter();
    for query in queries {
        let failed = || Err(Refusal { code: 500, message: "the analysis failed".to_owned() });
        send(query, answers.next().unwrap_or_else(failed)).await;
    }
}

async fn send(query: Query, answer: Result<Bytes, Refusal>) {
    if let Err(error) = query.answer(answer).await {
        tracing::debug!(%error, "an answer could not be sent");
    }
}
