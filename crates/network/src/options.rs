//! What can be set about the network, and what can be wrong with it.

use std::{path::PathBuf, time::Duration};

use wingbeat_atproto::POST_COLLECTION;

use crate::{fault::PlannedFault, records};

/// 2026-01-01T00:00:00Z, in microseconds since 1970.
const START_MICROS: u64 = 1_767_225_600_000_000;

/// The most accounts: each has a repository in memory.
const ACCOUNTS_MAX: usize = 100_000;

/// The most events that are kept or made ahead: they are in memory.
const EVENTS_MAX: usize = 2_000_000;

/// The most hosts.
const HOSTS_MAX: usize = 64;

/// The highest rate: far more than can be made, so that a slip of the keyboard is refused.
const RATE_MAX: f64 = 1_000_000.0;

/// What network to simulate. What happens in it follows from `seed`, `rate`, `start_micros`,
/// `accounts`, `mix`, `collections` and the faults of events in `plan`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Another seed, other events.
    pub seed: u64,
    /// One host for each port of 127.0.0.1; 0 picks a free one. All hosts show the same events,
    /// each with sequence numbers of its own.
    pub ports: Vec<u16>,
    /// Events per second. 0: as fast as the fastest consumer reads.
    pub rate: f64,
    /// When the first event happens, in microseconds since 1970. The clock of the events is the
    /// rate's (at rate 0, 500 per second), not the machine's.
    pub start_micros: u64,
    /// How many accounts there are.
    pub accounts: usize,
    /// What kinds of events there are.
    pub mix: Mix,
    /// The collections in which records are created, each with its weight. One that is not known
    /// gets records with a number in them. The default is an estimate of the real network.
    pub collections: Vec<(String, f64)>,
    /// How many past events are kept for cursors.
    pub window: usize,
    /// Make events ahead.
    pub prepared: Option<Prepared>,
    /// The faults that are planned. More can be had at run time.
    pub plan: Vec<PlannedFault>,
    /// What a host does about a cursor that it does not have.
    pub bad_cursors: BadCursors,
    /// The file of the dictionary for compressed streams of Jetstream v1. Without it they are
    /// refused: clients of v1 have a dictionary of their own and do not ask for it.
    pub v1_dictionary: Option<PathBuf>,
    /// A consumer that takes nothing for so long is too slow, and is dropped.
    pub slow_after: Duration,
}

/// The share of events of each kind, and of each action. What is left over creates records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// An account changes its handle.
    pub identities: f64,
    /// An account is deactivated, activated again, or deleted.
    pub accounts: f64,
    /// A repository is at a state that no commit led to.
    pub syncs: f64,
    /// A record is deleted.
    pub deletes: f64,
    /// A record is written anew.
    pub updates: f64,
    /// Several records are created in one commit.
    pub batches: f64,
}

/// Events that are made when the network starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared {
    /// How many.
    pub events: usize,
    /// What comes after them.
    pub then: Afterwards,
}

/// What comes after events that were made ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// Nothing: the stream stays open and is silent.
    End,
    /// The same events, with new sequence numbers and Jetstream times. Only for measuring speed:
    /// their revisions, which the commits' authors signed, are the old ones.
    Repeat,
}

/// What a host does about a cursor that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadCursors {
    /// It says so, as the specification has it: `OutdatedCursor`, `FutureCursor`.
    Told,
    /// It takes the nearest one that it has, and says nothing. The relay of the real network does.
    Clamped,
}

/// Why a network could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting has a value that it can't have.
    #[error("`{setting}` {problem}")]
    Setting {
        /// Its name in [`Options`].
        setting: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A port can't be had.
    #[error("port {port} of 127.0.0.1 can't be had: {error}. 0 picks a free one")]
    Bind {
        /// The port.
        port: u16,
        /// Why.
        error: std::io::Error,
    },
    /// The dictionary can't be read.
    #[error("the dictionary {path} can't be used: {problem}")]
    Dictionary {
        /// Its file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The thread that makes events can't be started.
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
    /// A number that was picked for a key is none. Another seed helps.
    #[error("a number that was picked is no key: {0}. Take another seed")]
    Key(String),
    /// An account's repository can't be written.
    #[error("a repository can't be written: {0}")]
    Repository(wingbeat_atproto::write::WriteError),
    /// The simulator of texts can't be had.
    #[error("no texts can be made: {0}")]
    Texts(String),
}

impl Default for Options {
    fn default() -> Self {
        let collections = [
            (records::LIKE, 0.52),
            (records::FOLLOW, 0.15),
            (POST_COLLECTION, 0.13),
            (records::REPOST, 0.12),
            (records::BLOCK, 0.05),
            ("org.example.note", 0.03),
        ];
        Self {
            seed: 1,
            ports: vec![0],
            rate: 50.0,
            start_micros: START_MICROS,
            accounts: 200,
            mix: Mix::default(),
            collections: collections.map(|(name, weight)| (name.to_owned(), weight)).to_vec(),
            window: 100_000,
            prepared: None,
            plan: Vec::new(),
            bad_cursors: BadCursors::Told,
            v1_dictionary: None,
            slow_after: Duration::from_secs(10),
        }
    }
}

impl Default for Mix {
    /// An estimate of the real network, with more of what is rare: tests need it.
    fn default() -> Self {
        Self {
            identities: 0.005,
            accounts: 0.005,
            syncs: 0.002,
            deletes: 0.04,
            updates: 0.02,
            batches: 0.02,
        }
    }
}

impl Options {
    /// Checks what each setting may be.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let refuse = |setting, problem: String| Err(StartError::Setting { setting, problem });
        if !(1..=HOSTS_MAX).contains(&self.ports.len()) {
            return refuse("ports", format!("must name 1 to {HOSTS_MAX} ports"));
        }
        if !(0.0..=RATE_MAX).contains(&self.rate) {
            return refuse("rate", format!("must be from 0 to {RATE_MAX} events per second"));
        }
        if !(1..=ACCOUNTS_MAX).contains(&self.accounts) {
            return refuse("accounts", format!("must be from 1 to {ACCOUNTS_MAX}"));
        }
        if !(1..=EVENTS_MAX).contains(&self.window) {
            return refuse("window", format!("must be from 1 to {EVENTS_MAX} events"));
        }
        if !self.prepared.is_none_or(|prepared| (1..=EVENTS_MAX).contains(&prepared.events)) {
            return refuse("prepared", format!("must be from 1 to {EVENTS_MAX} events"));
        }
        let Mix { identities, accounts, syncs, deletes, updates, batches } = self.mix;
        let shares = [identities, accounts, syncs, deletes, updates, batches];
        if !shares.iter().all(|share| *share >= 0.0) || shares.iter().sum::<f64>() > 1.0 {
            return refuse("mix", "must be shares that come to at most 1".to_owned());
        }
        let weights = || self.collections.iter().map(|(_, weight)| *weight);
        if !weights().all(|weight| weight >= 0.0 && weight.is_finite())
            || weights().sum::<f64>() <= 0.0
        {
            return refuse("collections", "must have weights above 0".to_owned());
        }
        for (name, _) in &self.collections {
            if let Err(error) = wingbeat_atproto::Nsid::parse(name) {
                return refuse("collections", format!("has `{name}`: {error}"));
            }
        }
        if self.plan.iter().any(|planned| planned.every == Some(0)) {
            return refuse("plan", "has a fault that comes every 0 events: take 1".to_owned());
        }
        Ok(())
    }
}
