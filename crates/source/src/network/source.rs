//! The source that the network is.

use std::{collections::VecDeque, io, sync::Arc};

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use super::{
    counters::NetworkCounters,
    dictionary::Dictionary,
    endpoint::Endpoint,
    host::Host,
    http::HttpClient,
    options::NetworkOptions,
    options::Verify,
    outbox::{Entry, Outbox, now_us},
    reader::Reader,
    release::Release,
    resolve::{Identities, NetworkDocuments},
    retry::Retry,
    verify::{Keys, ProofHost, Verifier},
};
use crate::{Connection, Description, Item, Pace, Place, Resume, Source, SourceError};

/// Posts and events from the network: from one host, or from the best of several.
///
/// It connects when the first items are asked for, and never ends by itself. Positions are
/// microseconds since 1970: when an item was handed out, or a little more, so that they grow.
pub struct NetworkSource {
    description: Description,
    counters: Arc<NetworkCounters>,
    connection: watch::Receiver<Connection>,
    batches: mpsc::Receiver<Vec<Entry>>,
    /// What reads, before it was started.
    reader: Option<Reader>,
    /// What verifies, before it was started.
    verifier: Option<Verifier>,
    /// The position of the last item.
    position: u64,
    waiting: VecDeque<Entry>,
    /// The addresses of the hosts, in the order of the reader.
    urls: Vec<String>,
    places: Vec<Place>,
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
        let (verifier, batches) = if options.verify == Verify::Full {
            let (out, proven) = Outbox::new();
            let verifier =
                verifier((batches, out), &hosts, &options, sender.clone(), Arc::clone(&counters));
            (Some(verifier.map_err(|problem| cannot_ask(&problem))?), proven)
        } else {
            (None, batches)
        };
        let reader = Reader {
            hosts,
            options,
            v1_dictionary,
            outbox,
            connection: sender,
            counters: Arc::clone(&counters),
            release: Release::new(Arc::clone(&counters)),
            last_us: places.iter().map(|place| place.time_us).max(),
            retry: Retry::default(),
            losses: 0,
            hosts_tried: 0,
        };
        // Every host of the network tells the same story, and places say which host they are of.
        let fingerprint = Some("network".to_owned());
        Ok(Self {
            description: Description { kind, spec, is_simulated: false, fingerprint },
            counters,
            connection,
            batches,
            reader: Some(reader),
            verifier,
            position,
            waiting: VecDeque::new(),
            urls,
            has_begun: !places.is_empty(),
            places,
            pace,
        })
    }

    /// Takes places up to the next item.
    fn take_places(&mut self) {
        while let Some(&Entry::Place { host, cursor, time_us }) = self.waiting.front() {
            self.waiting.pop_front();
            let Some(url) = self.urls.get(host) else { continue };
            let place = Place { host: url.clone(), cursor, time_us };
            match self.places.iter_mut().find(|place| place.host == *url) {
                Some(known) => *known = place,
                None => self.places.push(place),
            }
        }
    }
}

/// What verifies what comes in, and sends it out.
fn verifier(
    (incoming, out): (mpsc::Receiver<Vec<Entry>>, Outbox),
    hosts: &[Host],
    options: &NetworkOptions,
    connection: watch::Sender<Connection>,
    counters: Arc<NetworkCounters>,
) -> Result<Verifier, String> {
    let documents =
        NetworkDocuments::new(&options.plc_directory).map_err(|error| error.to_string())?;
    let identities = Arc::new(Identities::new(Box::new(documents)));
    let keys = Keys::new(identities, connection, Arc::clone(&counters), options.timings);
    let client = HttpClient::new(Verifier::time_limit()).map_err(|error| error.to_string())?;
    let hosts = hosts
        .iter()
        .map(|host| ProofHost { url: host.url.clone(), http: host.endpoint.http_url("") });
    let release = Release::new(counters);
    Ok(Verifier::new(incoming, out, hosts.collect(), keys, release, client))
}

/// There is no way to ask for keys.
fn cannot_ask(problem: &str) -> SourceError {
    SourceError::Io {
        what: "the keys of accounts".to_owned(),
        error: io::Error::other(problem.to_owned()),
    }
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
        if let Some(reader) = self.reader.take() {
            tokio::spawn(reader.run());
        }
        if let Some(verifier) = self.verifier.take() {
            tokio::spawn(verifier.run());
        }
        self.take_places();
        while self.waiting.is_empty() {
            let Some(batch) = self.batches.recv().await else {
                return Err(SourceError::Io {
                    what: self.description.spec.clone(),
                    error: io::Error::other("the task that reads it is gone"),
                });
            };
            self.waiting.extend(batch);
            self.take_places();
        }
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
                Some(Entry::Item(content)) => {
                    self.position = now_us().max(self.position + 1);
                    taken.push(Item { position: self.position, content });
                }
                Some(Entry::Unproven(_) | Entry::Place { .. }) | None => break,
            }
        }
        self.take_places();
        Ok(Some(taken))
    }
}
