//! The keys of accounts, asked for with patience.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::{sleep, timeout},
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

/// How long such a host is waited for in all. It is less than the time for which an event may be
/// overtaken: nobody can hold up others by a host that does not answer.
const HOST_WAIT_MAX: Duration = Duration::from_secs(20);

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
        let found = if did.starts_with("did:web:") {
            let too_late = |_| Err(ResolveError::Failed(format!("the host of {did} is too slow")));
            let finding = self.ask(did, true, is_refresh);
            timeout(HOST_WAIT_MAX, finding).await.unwrap_or_else(too_late)
        } else {
            self.ask(did, false, is_refresh).await
        };
        if let Err(error @ ResolveError::Failed(_)) = &found {
            self.identities.give_up(did, error.clone());
        }
        found
    }

    async fn ask(
        &self,
        did: &str,
        is_of_host: bool,
        is_refresh: bool,
    ) -> Result<Arc<DidDocument>, ResolveError> {
        let problem = "it is no DID";
        let parsed = Did::parse(did)
            .map_err(|_| ResolveError::Unsupported { did: did.to_owned(), problem })?;
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;

    use super::{super::super::resolve::Documents, *};

    /// Servers that are down, but for one account.
    struct Down;

    const KNOWN: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";

    #[async_trait]
    impl Documents for Down {
        async fn fetch(&self, did: &Did<'_>) -> Result<Bytes, ResolveError> {
            match did.as_str() {
                "did:web:slow.com" => std::future::pending().await,
                KNOWN => Err(ResolveError::Absent(KNOWN.to_owned())),
                _ => Err(ResolveError::Failed("down".to_owned())),
            }
        }
    }

    fn keys() -> Keys {
        let host = "h".to_owned();
        let connection = watch::channel(Connection::Live { host }).0;
        let counters = Arc::new(NetworkCounters::default());
        let identities = Arc::new(Identities::new(Box::new(Down)));
        Keys::new(identities, connection, counters, Timings::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_waited_for_so_long_and_no_longer() {
        let keys = keys();
        let tries = || keys.counters.identity_failures.load(Ordering::Relaxed);
        let start = tokio::time::Instant::now();
        assert!(keys.find("did:web:a.com", false).await.is_err());
        assert_eq!(tries(), u64::from(HOST_TRIES));
        assert!(matches!(keys.known("did:web:a.com"), Some(Err(ResolveError::Failed(_)))));
        let slow: Vec<String> = (0..100).map(|_| "did:web:slow.com".to_owned()).collect();
        let finding = slow.iter().map(|did| keys.find(did, true));
        futures_util::future::join_all(finding).await;
        assert!(start.elapsed() < 2 * HOST_WAIT_MAX, "they wait beside one another");
    }

    #[tokio::test(start_paused = true)]
    async fn the_directory_is_waited_for_while_it_answers_nobody() {
        let keys = Arc::new(keys());
        let lost = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";
        let asking = Arc::clone(&keys);
        let finding = tokio::spawn(async move { asking.find(lost, false).await });
        sleep(Duration::from_secs(3600)).await;
        assert!(!finding.is_finished());
        assert!(matches!(*keys.connection.borrow(), Connection::Waiting { .. }));
        // It answers for another: so this one is lost.
        assert_eq!(keys.find(KNOWN, false).await, Err(ResolveError::Absent(KNOWN.to_owned())));
        assert!(matches!(*keys.connection.borrow(), Connection::Live { .. }));
        assert_eq!(finding.await.unwrap(), Err(ResolveError::Failed("down".to_owned())));
    }
}
