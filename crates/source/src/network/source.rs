//! The source that the network is.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use wingbeat_record::MessageId;

use super::{
    counters::NetworkCounters,
    dictionary::Dictionary,
    endpoint::Endpoint,
    handles::{HandleLookup, HandleSource, Handles},
    host::Host,
    http::HttpClient,
    options::{NetworkOptions, Verify},
    outbox::{Entry, Outbox, now_us},
    reader::Reader,
    release::Release,
    resolve::{Identities, NetworkDocuments, ResolveError},
    retry::Retry,
    verify::{Keys, ProofHost, Verifier},
};
use crate::{Connection, Content, Description, Item, Pace, Place, Resume, Source, SourceError};

/// How long an answer may take that is asked of accounts' servers: as long as it takes to fetch a
/// repository.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// How often the places are told where nothing happens that is wanted.
const PLACES_EVERY: Duration = Duration::from_secs(1);

/// Posts and events from the network: from one host, or from the best of several.
///
/// It connects when the first items are asked for, and never ends by itself. Positions are
/// microseconds since 1970: when an item was handed out, or a little more, so that they grow.
pub struct NetworkSource {
    description: Description,
    counters: Arc<NetworkCounters>,
    connection: watch::Receiver<Connection>,
    batches: mpsc::Receiver<Vec<Entry>>,
    /// What reads, verifies and asks, before it was started.
    tasks: Vec<BoxFuture<'static, ()>>,
    /// The position of the last item.
    position: u64,
    waiting: VecDeque<Entry>,
    /// The addresses of the hosts, in the order of the reader.
    urls: Vec<String>,
    places: Vec<Place>,
    /// Whether they have changed since somebody was told, which was then.
    has_untold: bool,
    told_at: Instant,
    /// Whether it has said where it begins.
    has_begun: bool,
    pace: Option<Pace>,
}

impl NetworkSource {
    /// Prepares reading these hosts, the best first. `kind` and `spec` are for the description.
    pub fn open(
        kind: &'static str,
        spec: String,
        endpoints: Vec<Endpoint>,
        options: NetworkOptions,
        resume: Option<Resume>,
        pace: Option<Pace>,
    ) -> Result<Self, SourceError> {
        options.check(&endpoints)?;
        let Some(first) = endpoints.first() else {
            return Err(SourceError::Spec("no host is named".to_owned()));
        };
        let v1_dictionary = match &options.jetstream_v1_dictionary {
            Some(path) => Some(Dictionary::read(path).map_err(|error| SourceError::Io {
                what: format!("the dictionary {}", path.display()),
                error,
            })?),
            None => None,
        };
        let Resume { position, places } = resume.unwrap_or_default();
        let (sender, connection) = watch::channel(Connection::Connecting { host: first.url() });
        let (outbox, batches) = Outbox::new();
        let counters = Arc::new(NetworkCounters::default());
        let hosts: Vec<_> =
            endpoints.into_iter().map(|endpoint| Host::new(endpoint, &places)).collect();
        let urls = hosts.iter().map(|host| host.url.clone()).collect();
        let mut tasks: Vec<BoxFuture<'static, ()>> = Vec::new();
        let accounts = Accounts::of(&options).map_err(cannot_ask)?;
        let handles = accounts.as_ref().filter(|_| options.handles).map(|accounts| {
            let (handles, lookup) = accounts.handles(&options);
            tasks.push(Box::pin(lookup.run()));
            handles
        });
        let release = Release::new(Arc::clone(&counters), handles);
        let (release, batches) = match accounts.filter(|_| options.verify == Verify::Full) {
            Some(Accounts { identities, client }) => {
                let (out, proven) = Outbox::new();
                let timings = options.timings;
                let keys = Keys::new(identities, sender.clone(), Arc::clone(&counters), timings);
                let proof_hosts = hosts.iter().map(ProofHost::of).collect();
                let verifier = Verifier::new(batches, out, proof_hosts, keys, release, client);
                tasks.push(Box::pin(verifier.run()));
                // What needs no proof is no post.
                (Release::new(Arc::clone(&counters), None), proven)
            }
            None => (release, batches),
        };
        let reader = Reader {
            hosts,
            options,
            v1_dictionary,
            outbox,
            connection: sender,
            counters: Arc::clone(&counters),
            release,
            last_us: places.iter().map(|place| place.time_us).max(),
            retry: Retry::default(),
            losses: 0,
            hosts_tried: 0,
        };
        tasks.push(Box::pin(reader.run()));
        // Every host of the network tells the same story, and places say which host they are of.
        let fingerprint = Some("network".to_owned());
        Ok(Self {
            description: Description { kind, spec, is_simulated: false, fingerprint },
            counters,
            connection,
            batches,
            tasks,
            position,
            waiting: VecDeque::new(),
            has_untold: false,
            told_at: Instant::now(),
            urls,
            has_begun: !places.is_empty(),
            places,
            pace,
        })
    }

    /// Whoever asks is told the places now.
    fn told(&mut self) {
        self.has_untold = false;
        self.told_at = Instant::now();
    }

    /// Takes places up to the next item.
    fn take_places(&mut self) {
        while let Some(&Entry::Place { host, cursor, time_us }) = self.waiting.front() {
            self.waiting.pop_front();
            self.has_untold = true;
            let Some(url) = self.urls.get(host) else { continue };
            let place = Place { host: url.clone(), cursor, time_us };
            match self.places.iter_mut().find(|place| place.host == *url) {
                Some(known) => *known = place,
                None => self.places.push(place),
            }
        }
    }
}

/// Gives a dead letter an identity: when it is read again after a kill, it has another position.
/// The message names the event and the operation.
fn identify(content: &mut Content) {
    if let Content::Dead { original, cause, id: id @ None, .. } = content {
        let whole = [original.as_ref(), cause.message.as_bytes()].concat();
        *id = Some(MessageId::from_content(&whole));
    }
}

/// How to ask who accounts are, and what they have.
struct Accounts {
    identities: Arc<Identities>,
    client: HttpClient,
}

impl Accounts {
    /// `None` where nobody wants to know.
    fn of(options: &NetworkOptions) -> Result<Option<Self>, ResolveError> {
        if !options.handles && options.verify != Verify::Full {
            return Ok(None);
        }
        let documents = NetworkDocuments::new(&options.plc_directory)?;
        let identities = Arc::new(Identities::new(Box::new(documents)));
        let client =
            HttpClient::new(ANSWER_MAX).map_err(|error| ResolveError::Failed(error.to_string()))?;
        Ok(Some(Self { identities, client }))
    }

    /// The handles of accounts, and what asks for them.
    fn handles(&self, options: &NetworkOptions) -> (Handles, HandleLookup) {
        let resolver = options.handle_resolver.as_deref();
        Handles::new(HandleSource {
            identities: Arc::clone(&self.identities),
            client: self.client.clone(),
            resolver: resolver.map(|resolver| resolver.trim_end_matches('/').to_owned()),
        })
    }
}

/// There is no way to ask for keys, repositories or handles.
fn cannot_ask(error: impl std::fmt::Display) -> SourceError {
    let what = "the accounts of the network".to_owned();
    SourceError::Io { what, error: io::Error::other(error.to_string()) }
}

#[async_trait]
impl Source for NetworkSource {
    fn description(&self) -> &Description {
        &self.description
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters.read()
    }

    fn places(&self) -> Vec<Place> {
        self.places.clone()
    }

    fn connection(&self) -> Option<watch::Receiver<Connection>> {
        Some(self.connection.clone())
    }

    async fn next(&mut self, max: usize) -> Result<Option<Vec<Item>>, SourceError> {
        for task in self.tasks.drain(..) {
            tokio::spawn(task);
        }
        self.take_places();
        while self.waiting.is_empty() {
            let batch = tokio::select! {
                batch = self.batches.recv() => batch,
                // Nothing that is wanted happens, but time goes on.
                () = sleep_until(self.told_at + PLACES_EVERY), if self.has_untold => {
                    self.told();
                    return Ok(Some(Vec::new()));
                }
            };
            let Some(batch) = batch else {
                return Err(SourceError::Io {
                    what: self.description.spec.clone(),
                    error: io::Error::other("the task that reads it is gone"),
                });
            };
            self.waiting.extend(batch);
            self.take_places();
        }
        self.told();
        if !std::mem::replace(&mut self.has_begun, true) {
            return Ok(Some(Vec::new()));
        }
        let items = self.waiting.iter().filter(|entry| matches!(entry, Entry::Item(_))).count();
        let mut left = items.min(max.max(1));
        if let Some(pace) = &mut self.pace {
            left = pace.take(left).await;
        }
        let mut taken = Vec::with_capacity(left);
        while taken.len() < left {
            self.take_places();
            match self.waiting.pop_front() {
                Some(Entry::Item(mut content)) => {
                    identify(&mut content);
                    self.position = now_us().max(self.position + 1);
                    taken.push(Item { position: self.position, content });
                }
                // Nothing unproven comes out of the verifier, and without one there is none.
                Some(Entry::Unproven(_) | Entry::Place { .. }) | None => break,
            }
        }
        self.take_places();
        Ok(Some(taken))
    }
}
