//! The keys of accounts, asked for with patience.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    sync::{Semaphore, watch},
    time::sleep,
};
use wingbeat_atproto::{Did, DidDocument};

use super::super::{
    counters::{NetworkCounters, count},
    options::Timings,
    resolve::{Identities, ResolveError},
    retry::Retry,
};
use crate::Connection;

/// How many documents are asked of the directory at the same time.
const DIRECTORY_REQUESTS: usize = 64;

/// How many documents are asked of other hosts at the same time. They have room of their own:
/// anybody can name a host that does not answer.
const HOST_REQUESTS: usize = 32;

/// How often a document that can't be had is asked for, while the directory answers for others.
const DIRECTORY_TRIES: u32 = 8;

/// The same of a host that an account names.
const HOST_TRIES: u32 = 3;

/// The keys of accounts.
pub(crate) struct Keys {
    identities: Arc<Identities>,
    directory: Semaphore,
    hosts: Semaphore,
    /// How often the directory has answered.
    answers: AtomicU64,
    connection: watch::Sender<Connection>,
    counters: Arc<NetworkCounters>,
    timings: Timings,
}

impl Keys {
    pub(crate) fn new(
        identities: Arc<Identities>,
        connection: watch::Sender<Connection>,
        counters: Arc<NetworkCounters>,
        timings: Timings,
    ) -> Self {
        Self {
            identities,
            directory: Semaphore::new(DIRECTORY_REQUESTS),
            hosts: Semaphore::new(HOST_REQUESTS),
            answers: AtomicU64::new(0),
            connection,
            counters,
            timings,
        }
    }

    /// The document of an account, if it is known whether there is one.
    pub(super) fn known(&self, did: &str) -> Option<Result<Arc<DidDocument>, ResolveError>> {
        self.identities.known(did)
    }

    /// Forgets an account's document.
    pub(super) fn purge(&self, did: &str) {
        self.identities.purge(did);
    }

    /// Asks for the document of an account, again if `is_refresh`.
    ///
    /// It tries for as long as the directory answers nobody: that is no fault of the account's,
    /// and what waits for it comes later, not never.
    pub(super) async fn find(
        &self,
        did: &str,
        is_refresh: bool,
    ) -> Result<Arc<DidDocument>, ResolveError> {
        let problem = "it is no DID";
        let parsed = Did::parse(did)
            .map_err(|_| ResolveError::Unsupported { did: did.to_owned(), problem })?;
        let is_of_host = did.starts_with("did:web:");
        let requests = if is_of_host { &self.hosts } else { &self.directory };
        // It is kept over the pauses: while nothing can be had, few ask.
        let _permit = requests.acquire().await;
        let answers_before = self.answers.load(Ordering::Relaxed);
        let mut retry = Retry::default();
        let mut tries = 0;
        loop {
            let found = if is_refresh {
                self.identities.refresh(&parsed).await
            } else {
                self.identities.resolve(&parsed).await
            };
            let problem = match &found {
                Err(ResolveError::Failed(problem)) => problem,
                // It is not even asked for.
                Err(ResolveError::Unsupported { .. }) => return found,
                Ok(_) | Err(ResolveError::Absent(_) | ResolveError::Malformed { .. }) => {
                    if !is_of_host {
                        self.answered(is_refresh);
                    }
                    return found;
                }
            };
            count(&self.counters.identity_failures);
            tries += 1;
            let is_answering = self.answers.load(Ordering::Relaxed) != answers_before;
            let is_over = if is_of_host {
                tries >= HOST_TRIES
            } else {
                tries >= DIRECTORY_TRIES && is_answering
            };
            if is_over {
                return found;
            }
            if !is_of_host && !is_answering {
                self.say_waiting(problem);
            }
            sleep(retry.wait(&self.timings)).await;
        }
    }

    fn answered(&self, is_refresh: bool) {
        // What is asked for again may come from the cache.
        if !is_refresh {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        self.connection.send_if_modified(|connection| match connection {
            Connection::Waiting { host, .. } => {
                let host = std::mem::take(host);
                *connection = Connection::Live { host };
                true
            }
            _ => false,
        });
    }

    fn say_waiting(&self, problem: &str) {
        let words = format!("events wait for the keys of their accounts: {problem}");
        self.connection.send_if_modified(|connection| match connection {
            Connection::Live { host } => {
                let host = std::mem::take(host);
                *connection = Connection::Waiting { host, problem: words };
                true
            }
            _ => false,
        });
    }
}
