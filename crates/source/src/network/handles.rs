//! The handles of accounts, for people to read. Nothing waits for one: a post has it if it is
//! known, and if not, one of the next posts has it.
//!
//! An account claims a handle in its DID document. It is its own only if the handle says the same:
//! its domain, or a server that looks handles up. <https://atproto.com/specs/handle>

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use wingbeat_atproto::Did;

use super::{
    generations::Generations,
    http::{HttpClient, HttpError},
    resolve::{Identities, ResolveError, is_domain},
};

/// How many accounts are remembered at least: some 20 MB when twice as many are.
const ACCOUNTS_MIN: usize = 100_000;

/// How many handles may wait to be asked for. The account's next post asks again.
const WAITING_MAX: usize = 256;

/// How many are asked for at the same time: the directory has others to serve.
const REQUESTS: usize = 4;

/// How long an answer is good for. Changes are told by `#identity` events.
const GOOD_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long it is remembered that there was none, or not now.
const NONE_FOR: Duration = Duration::from_secs(15 * 60);

/// How long nothing is asked for after something could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest answer, in bytes: a DID, and what is around it.
const ANSWER_BYTES_MAX: usize = 4096;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What is known of an account's handle.
#[derive(Debug, Clone)]
struct Known {
    handle: Option<Arc<str>>,
    good_until: Instant,
}

type Cache = Arc<Mutex<Generations<Known>>>;

/// The handles of accounts.
pub(crate) struct Handles {
    cache: Cache,
    identities: Arc<Identities>,
    wanted: mpsc::Sender<String>,
}

/// What asks for handles. It runs until the handles are dropped.
pub(crate) struct HandleLookup {
    cache: Cache,
    wanted: mpsc::Receiver<String>,
    source: Arc<HandleSource>,
}

/// Where handles come from.
pub(crate) struct HandleSource {
    /// What accounts claim.
    pub(crate) identities: Arc<Identities>,
    pub(crate) client: HttpClient,
    /// The server that looks handles up: `https://HOST`. None: the handle's own domain says it.
    pub(crate) resolver: Option<String>,
}

impl Handles {
    /// No handle is known yet.
    pub(crate) fn new(source: HandleSource) -> (Self, HandleLookup) {
        let cache: Cache = Arc::new(Mutex::new(Generations::new(ACCOUNTS_MIN)));
        let (sender, wanted) = mpsc::channel(WAITING_MAX);
        let identities = Arc::clone(&source.identities);
        let lookup = HandleLookup { cache: Arc::clone(&cache), wanted, source: Arc::new(source) };
        (Self { cache, identities, wanted: sender }, lookup)
    }

    /// The handle of an account, if it is known. If not, it is asked for.
    pub(crate) fn get(&self, did: &str) -> Option<Arc<str>> {
        match lock(&self.cache).get(did) {
            Some(known) if known.good_until > Instant::now() => known.handle,
            known => {
                // Full: it will be asked for with the next post.
                let _ = self.wanted.try_send(did.to_owned());
                known.and_then(|known| known.handle)
            }
        }
    }

    /// Forgets an account's handle, for it may have changed.
    pub(crate) fn forget(&self, did: &str) {
        self.identities.purge(did);
        lock(&self.cache).remove(did);
    }
}

impl HandleLookup {
    /// Asks for what is wanted.
    pub(crate) async fn run(mut self) {
        let mut asking: JoinSet<bool> = JoinSet::new();
        loop {
            tokio::select! {
                Some(asked) = asking.join_next() => {
                    if !matches!(asked, Ok(true)) {
                        sleep(PAUSE).await;
                    }
                }
                did = self.wanted.recv(), if asking.len() < REQUESTS => {
                    let Some(did) = did else { return };
                    let known = lock(&self.cache).get(&did);
                    if known.as_ref().is_some_and(|known| known.good_until > Instant::now()) {
                        continue;
                    }
                    // While it is asked for, nobody else asks.
                    remember(&self.cache, &did, known.and_then(|known| known.handle), NONE_FOR);
                    let (source, cache) = (Arc::clone(&self.source), Arc::clone(&self.cache));
                    asking.spawn(async move { source.look_up(&did, &cache).await });
                }
            }
        }
    }
}

impl HandleSource {
    /// Asks for an account's handle and remembers it. `false`: something could not be reached.
    async fn look_up(&self, did: &str, cache: &Cache) -> bool {
        let Ok(parsed) = Did::parse(did) else { return true };
        let document = match self.identities.resolve(&parsed).await {
            Ok(document) => document,
            Err(ResolveError::Failed(_)) => {
                lock(cache).remove(did);
                return false;
            }
            Err(_) => return true,
        };
        let Some(handle) = &document.handle else { return true };
        match timeout(ANSWER_MAX, self.is_of(handle, did)).await {
            Ok(Ok(true)) => remember(cache, did, Some(handle.as_str().into()), GOOD_FOR),
            // A domain that does not answer is the account's own trouble.
            Ok(Ok(false) | Err(_)) | Err(_) => remember(cache, did, None, NONE_FOR),
        }
        true
    }

    /// Whether the handle says that it is this account's.
    async fn is_of(&self, handle: &str, did: &str) -> Result<bool, HttpError> {
        let Some(resolver) = &self.resolver else {
            // Anybody can claim a handle: it must not lead into the network that this runs in.
            if !is_domain(handle) {
                return Ok(false);
            }
            let url = format!("https://{handle}/.well-known/atproto-did");
            let answer = self.client.get(&url, ANSWER_BYTES_MAX).await?;
            return Ok(answer.trim_ascii() == did.as_bytes());
        };
        let url = format!("{resolver}/xrpc/com.atproto.identity.resolveHandle?handle={handle}");
        let answer = self.client.get(&url, ANSWER_BYTES_MAX).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        Ok(answer["did"] == did)
    }
}

fn remember(cache: &Cache, did: &str, handle: Option<Arc<str>>, good_for: Duration) {
    let known = Known { handle, good_until: Instant::now() + good_for };
    lock(cache).insert(did, known);
}

fn lock(cache: &Cache) -> std::sync::MutexGuard<'_, Generations<Known>> {
    // Nothing that holds it can leave it half done.
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}
