//! Who is behind a DID: DID documents, fetched and remembered.
//! <https://atproto.com/specs/did>

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use wingbeat_atproto::{DID_DOCUMENT_BYTES_MAX, Did, DidDocument, DidDocumentError};

use super::http::{HttpClient, HttpError};

/// The public directory of `did:plc`.
pub const PLC_DIRECTORY: &str = "https://plc.directory";

/// How much is remembered, in bytes: some 150,000 accounts.
const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What an account takes in memory beside its handle and its server's address, in bytes, roughly.
const ENTRY_BYTES: usize = 384;

/// How long a document is good for. Changes are told by `#identity` events.
const FRESH_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long it is remembered that there is no document.
const ABSENT_FOR: Duration = Duration::from_secs(300);

/// How long it is remembered that a document could not be had, by whoever has given up.
const FAILED_FOR: Duration = Duration::from_secs(60);

/// How long a document is not asked for again, however often it seems to be outdated.
const REFRESHED_FOR: Duration = Duration::from_secs(60);

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Why it is not known who is behind a DID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no document for it.
    #[error("{0} has no DID document")]
    Absent(String),
    /// It is of a method that atproto does not use, or of a host that must not be asked.
    #[error("{did} can't be resolved: {problem}")]
    Unsupported {
        /// The DID.
        did: String,
        /// Why not.
        problem: &'static str,
    },
    /// The document is none, or that of another account.
    #[error("{did}: {problem}")]
    Malformed {
        /// The DID.
        did: String,
        /// What is wrong.
        problem: String,
    },
    /// It could not be fetched; that may be better another time.
    #[error("{0}")]
    Failed(String),
}

/// Where DID documents come from.
#[async_trait]
pub trait Documents: Send + Sync {
    /// The document of an account.
    async fn fetch(&self, did: &Did<'_>) -> Result<Bytes, ResolveError>;
}

/// The documents of the network: those of `did:plc` from its directory, those of `did:web` from
/// the host that each names.
pub struct NetworkDocuments {
    client: HttpClient,
    plc_directory: String,
}

impl NetworkDocuments {
    /// Asks this directory of `did:plc`, such as [`PLC_DIRECTORY`].
    pub fn new(plc_directory: &str) -> Result<Self, ResolveError> {
        let client =
            HttpClient::new(ANSWER_MAX).map_err(|error| ResolveError::Failed(error.to_string()))?;
        let plc_directory = plc_directory.trim_end_matches('/').to_owned();
        Ok(Self { client, plc_directory })
    }
}

#[async_trait]
impl Documents for NetworkDocuments {
    async fn fetch(&self, did: &Did<'_>) -> Result<Bytes, ResolveError> {
        let did = did.as_str();
        let url = document_url(did, &self.plc_directory)
            .map_err(|problem| ResolveError::Unsupported { did: did.to_owned(), problem })?;
        self.client.get(&url, DID_DOCUMENT_BYTES_MAX).await.map_err(|error| match error {
            HttpError::NotThere(_) => ResolveError::Absent(did.to_owned()),
            HttpError::Failed(problem) => ResolveError::Failed(problem),
        })
    }
}

/// Where the document of an account is.
fn document_url(did: &str, plc_directory: &str) -> Result<String, &'static str> {
    if let Some(key) = did.strip_prefix("did:plc:") {
        let is_key = key.len() == 24 && key.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
        let url = format!("{plc_directory}/{did}");
        return is_key.then_some(url).ok_or("it is no did:plc");
    }
    let host = did.strip_prefix("did:web:").ok_or("atproto has did:plc and did:web only")?;
    // Anybody can write a DID. It must not lead to a port or a machine inside of the network that
    // this runs in: domains only, and TLS makes sure that the answer is theirs.
    if !is_domain(host) {
        return Err("it does not name a domain on the public network");
    }
    Ok(format!("https://{host}/.well-known/did.json"))
}

/// Whether a text is a domain with a top level that is in use: not an address, not `localhost`.
/// <https://atproto.com/specs/handle>
pub(crate) fn is_domain(text: &str) -> bool {
    const NOT_IN_USE: [&str; 8] =
        ["alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion"];
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let Some((_, top)) = text.rsplit_once('.') else { return false };
    text.len() <= 253
        && text.split('.').all(is_label)
        && top.starts_with(|c: char| c.is_ascii_alphabetic())
        && !NOT_IN_USE.contains(&top.to_ascii_lowercase().as_str())
}

/// Documents that are at hand, for tests and for work without a network.
#[derive(Debug, Clone, Default)]
pub struct FixedDocuments(pub HashMap<String, Bytes>);

#[async_trait]
impl Documents for FixedDocuments {
    async fn fetch(&self, did: &Did<'_>) -> Result<Bytes, ResolveError> {
        let document = self.0.get(did.as_str());
        document.cloned().ok_or_else(|| ResolveError::Absent(did.as_str().to_owned()))
    }
}

/// Who is behind DIDs, remembered.
pub struct Identities {
    documents: Box<dyn Documents>,
    cache: Mutex<Cache>,
}

impl Identities {
    /// Remembers what these documents say.
    pub fn new(documents: Box<dyn Documents>) -> Self {
        Self { documents, cache: Mutex::default() }
    }

    /// Who is behind a DID.
    pub async fn resolve(&self, did: &Did<'_>) -> Result<Arc<DidDocument>, ResolveError> {
        let known = self.cache().get(did.as_str(), None);
        match known {
            Some(known) => known,
            None => self.fetch(did).await,
        }
    }

    /// Who is behind a DID, when what is remembered does not seem to be true any more, such as for
    /// a signature that does not fit. It is fetched again, but not more than once in a minute.
    pub async fn refresh(&self, did: &Did<'_>) -> Result<Arc<DidDocument>, ResolveError> {
        let known = self.cache().get(did.as_str(), Some(REFRESHED_FOR));
        match known {
            Some(known) => known,
            None => self.fetch(did).await,
        }
    }

    /// Who is behind a DID, if that is known. Nothing is fetched.
    pub fn known(&self, did: &str) -> Option<Result<Arc<DidDocument>, ResolveError>> {
        self.cache().get(did, None)
    }

    /// Remembers for a minute that an account's document could not be had.
    pub fn give_up(&self, did: &str, error: ResolveError) {
        self.cache().insert(did, Err(error));
    }

    /// Forgets an account, for an `#identity` event says that it may have changed.
    pub fn purge(&self, did: &str) {
        self.cache().remove(did);
    }

    async fn fetch(&self, did: &Did<'_>) -> Result<Arc<DidDocument>, ResolveError> {
        let fetched = self.documents.fetch(did).await;
        let parse = |document: Bytes| DidDocument::parse(&document, did);
        let malformed = |error: DidDocumentError| ResolveError::Malformed {
            did: did.as_str().to_owned(),
            problem: error.to_string(),
        };
        let known = fetched.and_then(|document| parse(document).map_err(malformed)).map(Arc::new);
        // That a server could not be reached says nothing about the account: whoever asks decides
        // how often.
        if !matches!(known, Err(ResolveError::Failed(_))) {
            self.cache().insert(did.as_str(), known.clone());
        }
        known
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // Nothing that holds it can leave it half done.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is remembered: the oldest goes first.
#[derive(Default)]
struct Cache {
    entries: HashMap<String, Entry>,
    /// The accounts in the order in which they were fetched, each with its number.
    order: VecDeque<(u64, String)>,
    fetched: u64,
    bytes: usize,
}

struct Entry {
    number: u64,
    at: Instant,
    known: Result<Arc<DidDocument>, ResolveError>,
}

impl Entry {
    fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        ENTRY_BYTES + self.known.as_ref().map_or(0, |known| text(&known.handle) + text(&known.pds))
    }
}

impl Cache {
    /// What is known, unless it is too old, or older than `at_most`.
    fn get(
        &self,
        did: &str,
        at_most: Option<Duration>,
    ) -> Option<Result<Arc<DidDocument>, ResolveError>> {
        let entry = self.entries.get(did)?;
        let fresh_for = match &entry.known {
            Ok(_) => FRESH_FOR,
            Err(ResolveError::Failed(_)) => FAILED_FOR,
            Err(_) => ABSENT_FOR,
        };
        let limit = at_most.map_or(fresh_for, |at_most| at_most.min(fresh_for));
        (entry.at.elapsed() < limit).then(|| entry.known.clone())
    }

    fn insert(&mut self, did: &str, known: Result<Arc<DidDocument>, ResolveError>) {
        self.remove(did);
        self.fetched += 1;
        let entry = Entry { number: self.fetched, at: Instant::now(), known };
        self.bytes += entry.bytes();
        self.order.push_back((entry.number, did.to_owned()));
        self.entries.insert(did.to_owned(), entry);
        // Accounts that were forgotten or fetched again leave a number behind, which takes room
        // too.
        while self.bytes > CACHE_BYTES_MAX || self.order.len() > CACHE_BYTES_MAX / ENTRY_BYTES {
            let Some((number, oldest)) = self.order.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|entry| entry.number == number) {
                self.remove(&oldest);
            }
        }
    }

    fn remove(&mut self, did: &str) {
        if let Some(entry) = self.entries.remove(did) {
            self.bytes -= entry.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    const DID: &str = "did:plc:44ybard66vv44zksje25o7dz";

    /// Documents that count how often they were asked for.
    #[derive(Clone, Default)]
    struct Counted {
        fetches: Arc<AtomicUsize>,
        document: Arc<Mutex<Option<serde_json::Value>>>,
    }

    #[async_trait]
    impl Documents for Counted {
        async fn fetch(&self, did: &Did<'_>) -> Result<Bytes, ResolveError> {
            self.fetches.fetch_add(1, Ordering::Relaxed);
            let document = self.document.lock().unwrap().clone();
            let absent = || ResolveError::Absent(did.as_str().to_owned());
            document.map(|document| document.to_string().into()).ok_or_else(absent)
        }
    }

    fn document(handle: &str) -> serde_json::Value {
        json!({
            "id": DID,
            "alsoKnownAs": [format!("at://{handle}")],
            "verificationMethod": [{
                "id": "#atproto",
                "type": "Multikey",
                "publicKeyMultibase": "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
            }],
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_not_asked_for_again_until_it_may_have_changed() {
        let counted = Counted::default();
        let identities = Identities::new(Box::new(counted.clone()));
        let did = Did::parse(DID).unwrap();
        let fetches = || counted.fetches.load(Ordering::Relaxed);
        for _ in 0..2 {
            let error = identities.resolve(&did).await.unwrap_err();
            assert_eq!((error, fetches()), (ResolveError::Absent(DID.to_owned()), 1));
        }
        *counted.document.lock().unwrap() = Some(document("A.Bsky.social"));
        tokio::time::advance(ABSENT_FOR).await;
        for _ in 0..2 {
            let identity = identities.resolve(&did).await.unwrap();
            assert_eq!((identity.handle.as_deref(), fetches()), (Some("a.bsky.social"), 2));
        }
        // It does not fit: it is fetched again, but not all the time.
        *counted.document.lock().unwrap() = Some(document("b.bsky.social"));
        assert_eq!(
            identities.refresh(&did).await.unwrap().handle.as_deref(),
            Some("a.bsky.social")
        );
        tokio::time::advance(REFRESHED_FOR).await;
        for _ in 0..2 {
            let identity = identities.refresh(&did).await.unwrap();
            assert_eq!((identity.handle.as_deref(), fetches()), (Some("b.bsky.social"), 3));
        }
        identities.purge(DID);
        identities.resolve(&did).await.unwrap();
        assert_eq!(fetches(), 4);
        tokio::time::advance(FRESH_FOR).await;
        identities.resolve(&did).await.unwrap();
        assert_eq!(fetches(), 5);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut cache = Cache::default();
        let size = 1024 * 1024;
        let parsed = {
            let did = Did::parse(DID).unwrap();
            DidDocument::parse(document("a.com").to_string().as_bytes(), &did).unwrap()
        };
        let identity = |did: &str| {
            let pds = Some("x".repeat(size));
            Ok(Arc::new(DidDocument { did: did.to_owned(), handle: None, pds, ..parsed.clone() }))
        };
        for number in 0..100 {
            let did = format!("did:{number}");
            cache.insert(&did, identity(&did));
            cache.insert(&did, identity(&did));
            assert!(cache.bytes <= CACHE_BYTES_MAX);
        }
        assert_eq!(cache.entries.len(), CACHE_BYTES_MAX / (size + ENTRY_BYTES));
        assert!(cache.get("did:99", None).is_some() && cache.get("did:0", None).is_none());
        let bytes: usize = cache.entries.values().map(Entry::bytes).sum();
        assert_eq!(cache.bytes, bytes);
    }

    #[test]
    fn documents_are_looked_for_on_the_public_network_only() {
        let url = |did| document_url(did, "https://plc");
        assert_eq!(url(DID).unwrap(), format!("https://plc/{DID}"));
        assert_eq!(url("did:web:a.com").unwrap(), "https://a.com/.well-known/did.json");
        for did in [
            "did:plc:short",
            "did:plc:../../../../../../../../",
            "did:key:zabc",
            "did:web:localhost",
            "did:web:localhost%3A80",
            "did:web:127.0.0.1",
            "did:web:a.internal",
            "did:web:a.com:user",
            "did:web:a..com",
            "did:web:-a.com",
        ] {
            assert!(url(did).is_err(), "{did}");
        }
    }

    #[tokio::test]
    async fn a_document_must_be_that_of_the_account() {
        let other = json!({"id": "did:plc:other"}).to_string();
        let documents = FixedDocuments(HashMap::from([(DID.to_owned(), Bytes::from(other))]));
        let identities = Identities::new(Box::new(documents));
        let error = identities.resolve(&Did::parse(DID).unwrap()).await.unwrap_err();
        assert!(error.to_string().ends_with("is that of another DID"), "{error}");
    }
}
