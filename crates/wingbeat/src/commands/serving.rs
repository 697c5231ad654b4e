//! What a process that serves HTTP has beside its work: it answers from the first moment on, watches
//! the log, and stops in good order.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Interval, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use wingbeat_log::{Access, Log, LogError};
use wingbeat_ops::config::Span;
use wingbeat_web::{AnalystCell, Hub, Readiness, Server, ServiceReport, ServiceServer, WebError};

use crate::{
    config::{Config, LogSettings, ServiceSettings},
    failure::Failure,
};

/// How often it is looked whether the log answers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A log that takes longer does not answer.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Clients that keep their connections open do not keep the program for longer.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// The HTTP server and what else goes on as long as the process does its work. What is left of it
/// ends when it is dropped.
pub(crate) struct Serving {
    server: JoinHandle<Result<(), WebError>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Serving {
    /// Begins to answer. `serve` makes the server's work, which ends when its token is cancelled.
    fn start<F>(serve: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<(), WebError>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self { server: tokio::spawn(serve(stop.clone())), stop, tasks: JoinSet::new() }
    }

    /// Takes a service's address, says it, and begins to answer there. A service that runs models
    /// has a place for whoever answers about texts.
    pub(crate) async fn service(
        settings: &ServiceSettings,
        report: Arc<dyn ServiceReport>,
        analyst: Option<AnalystCell>,
    ) -> Result<Self, Failure> {
        let mut server = ServiceServer::bind(settings.host, settings.port).await?;
        if let Some(analyst) = analyst {
            server = server.with_analyst(analyst);
        }
        println!("Health: http://{}/health", server.address());
        Ok(Self::start(|stop| server.serve(report, stop)))
    }

    /// Something that goes on until the end.
    pub(crate) fn add(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Cancels `stop` after a while, where one is given.
    pub(crate) fn stop_after(&mut self, duration: Option<Span>, stop: CancellationToken) {
        if let Some(duration) = duration {
            self.add(async move {
                tokio::time::sleep(duration.0).await;
                stop.cancel();
            });
        }
    }

    /// Ends all of it.
    pub(crate) async fn finish(mut self) {
        self.tasks.shutdown().await;
        self.stop.cancel();
        let _ = tokio::time::timeout(CLOSE_WAIT, self.server).await;
    }
}

/// The dashboard, which answers before there is anything to show.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) watch: LogWatch,
    pub(crate) serving: Serving,
    hub: Arc<OnceLock<Arc<Hub>>>,
}

impl Front {
    /// Takes the dashboard's address, says it, and begins to answer there. A process that runs
    /// models has a place for whoever answers about texts.
    pub(crate) async fn open(
        config: &Config,
        analyst: Option<AnalystCell>,
    ) -> Result<Self, Failure> {
        let mut server = Server::bind(&config.web).await?;
        if let Some(analyst) = analyst {
            server = server.with_analyst(analyst);
        }
        let address = server.address();
        println!("Dashboard: http://{address}/");
        let watch = LogWatch::new(&config.log);
        let hub: Arc<OnceLock<Arc<Hub>>> = Arc::default();
        let (cell, readiness) = (Arc::clone(&hub), Arc::clone(&watch.readiness));
        let url = config.log.url.to_string();
        let serving = Serving::start(|stop| server.serve(cell, url, readiness, stop));
        Ok(Self { address, watch, serving, hub })
    }

    /// There is something to show now: what the hub has read. The log that it reads is watched
    /// from now on, by that stream.
    pub(crate) fn show(&mut self, hub: &Arc<Hub>, log: &Arc<dyn Log>, stream: String) {
        // Nobody else sets it.
        self.hub.get_or_init(|| Arc::clone(hub));
        self.serving.add(self.watch.clone().run(Arc::clone(log), stream));
    }
}

/// When it is time to look. What was missed while the log did not answer is not made up for.
pub(crate) fn look_ticks() -> Interval {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Whether the log answers, for `/ready` and the gauges.
#[derive(Clone)]
pub(crate) struct LogWatch {
    pub(crate) log: LogSettings,
    pub(crate) readiness: Arc<Readiness>,
}

impl LogWatch {
    /// Of a process that waits for the log from now on.
    pub(crate) fn new(log: &LogSettings) -> Self {
        let readiness = Arc::new(Readiness::waiting_for("log", log.url.to_string()));
        Self { log: log.clone(), readiness }
    }

    /// Opens the log; notes why that failed.
    pub(crate) async fn open(&self, access: Access) -> Result<Arc<dyn Log>, LogError> {
        let opened = self.log.open(access).await;
        if let Err(error) = &opened {
            self.note_problem(error);
        }
        opened
    }

    /// The log does not answer.
    pub(crate) fn note_problem(&self, problem: &impl ToString) {
        self.readiness.wait_for("log", &self.log.url.to_string(), Some(problem.to_string()));
    }

    /// Waits a short while for the log's answer, and notes whether it came.
    pub(crate) async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, LogError>>,
    ) -> Option<T> {
        match tokio::time::timeout(ANSWER_WAIT, call).await {
            Ok(Ok(answer)) => {
                self.readiness.go_on();
                Some(answer)
            }
            Ok(Err(error)) => {
                self.note_problem(&error);
                None
            }
            Err(_) => {
                self.note_problem(&format!("no answer within {} s", ANSWER_WAIT.as_secs()));
                None
            }
        }
    }

    /// Asks the log for a stream again and again.
    pub(crate) async fn run(self, log: Arc<dyn Log>, stream: String) {
        let mut ticks = look_ticks();
        loop {
            ticks.tick().await;
            self.ask(log.stream(&stream)).await;
        }
    }
}
