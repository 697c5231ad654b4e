//! The network as a whole: started, asked where it is, stopped.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock, atomic::AtomicU64},
    thread,
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    dictionary::Dictionary,
    fault::{DoneFault, Fault, Faults, Level},
    history::History,
    maker::Maker,
    options::{Options, StartError},
    server,
};

/// How long requests that are under way have to end when the network stops.
const STOP_MAX: Duration = Duration::from_secs(5);

/// A network that runs.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    servers: JoinSet<()>,
    maker: Option<thread::JoinHandle<()>>,
}

/// What all hosts share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) history: Arc<History>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) maker: Arc<Maker>,
    pub(crate) v1_dictionary: Option<Arc<Dictionary>>,
    /// Trained when it is first asked for.
    v2_dictionary: OnceLock<Result<Arc<Dictionary>, String>>,
    /// How many connections each host had.
    pub(crate) connections: Vec<AtomicU64>,
    pub(crate) stop: CancellationToken,
}

impl Network {
    /// Starts a network. Events that are to be made ahead are made now.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        options.check()?;
        let mut listeners = Vec::with_capacity(options.ports.len());
        let mut addresses = Vec::with_capacity(options.ports.len());
        for &port in &options.ports {
            let bind = |error| StartError::Bind { port, error };
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(bind)?;
            addresses.push(listener.local_addr().map_err(bind)?);
            listeners.push(listener);
        }
        let making = tokio::task::spawn_blocking(move || Shared::new(options, addresses));
        let (shared, maker) = match making.await {
            Ok(made) => made?,
            Err(error) => return Err(StartError::Thread(std::io::Error::other(error))),
        };
        let mut servers = JoinSet::new();
        for (host, listener) in listeners.into_iter().enumerate() {
            servers.spawn(server::serve(Arc::clone(&shared), host, listener));
        }
        Ok(Self { shared, servers, maker: Some(maker) })
    }

    /// Where each host listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.shared.addresses
    }

    /// The address of a host, as the beginning of a URL such as `http://127.0.0.1:2470`.
    pub fn http_url(&self, host: usize) -> Option<String> {
        self.shared.addresses.get(host).map(|address| format!("http://{address}"))
    }

    /// How many events have happened.
    pub fn events(&self) -> u64 {
        self.shared.history.bounds().end
    }

    /// Has a fault done on a host as soon as it can be. `false`: too many wait already, or the
    /// fault is one of events and all events were made ahead.
    pub fn inject(&self, host: usize, fault: Fault) -> bool {
        self.shared.inject(host, fault, 1).is_ok()
    }

    /// The faults that were done, in order.
    pub fn faults_done(&self) -> Vec<DoneFault> {
        self.shared.faults.all_done()
    }

    /// Ends all connections and waits for what runs.
    pub async fn stop(mut self) {
        self.shared.stop.cancel();
        self.shared.maker.stop();
        let all = async { while self.servers.join_next().await.is_some() {} };
        if timeout(STOP_MAX, all).await.is_err() {
            // Someone holds a request open.
            self.servers.shutdown().await;
        }
        if let Some(maker) = self.maker.take() {
            let joined = tokio::task::spawn_blocking(move || maker.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the thread that makes events panicked");
            }
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.maker.stop();
    }
}

impl Shared {
    fn new(
        options: Options,
        addresses: Vec<SocketAddr>,
    ) -> Result<(Arc<Self>, thread::JoinHandle<()>), StartError> {
        let history = Arc::new(History::new(options.window));
        let faults = Arc::new(Faults::new(options.plan.clone(), addresses.len()));
        let maker = Maker::new(&options, Arc::clone(&history), Arc::clone(&faults))?;
        let maker = Arc::new(maker);
        let v1_dictionary = match &options.v1_dictionary {
            Some(path) => Some(Arc::new(Dictionary::read(path)?)),
            None => None,
        };
        let thread = maker.start()?;
        let shared = Self {
            connections: addresses.iter().map(|_| AtomicU64::new(0)).collect(),
            options,
            addresses,
            history,
            faults,
            maker,
            v1_dictionary,
            v2_dictionary: OnceLock::new(),
            stop: CancellationToken::new(),
        };
        Ok((Arc::new(shared), thread))
    }

    /// The dictionary of v2. The first call trains it: that is work for a processor.
    pub(crate) fn v2_dictionary(&self) -> Result<Arc<Dictionary>, String> {
        let train = || Dictionary::train(&self.options).map(Arc::new);
        self.v2_dictionary.get_or_init(train).clone()
    }

    /// Has a fault done `count` times. The error says why it can't be.
    pub(crate) fn inject(&self, host: usize, fault: Fault, count: usize) -> Result<(), String> {
        if fault.level() == Level::Event && !self.maker.takes_faults() {
            return Err(format!("all events were made ahead: put `{fault}` into the plan"));
        }
        self.faults.add(host, fault, count).map_err(|error| error.to_string())
    }
}
