//! Verifying what a relay sends: that every event is what its account has signed, and follows the
//! one before it.
//!
//! It stands between what reads the network and whoever asks for items. The events of one account
//! are verified one after the other; accounts overtake one another, so that one whose key is
//! still asked for holds nobody up. What is refused becomes a dead letter with the whole frame.
//! Nothing waits without bounds: when the [`window`] is full, nothing more is read.
//!
//! | file | what |
//! |---|---|
//! | `window` | what is being verified, and how far all of it is |
//! | `keys` | the keys of accounts |
//! | `check` | the verification itself |
//! | `resync` | what becomes of what was missed |

mod check;
mod keys;
mod resync;
mod window;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    num::NonZero,
    sync::Arc,
    thread::available_parallelism,
};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet, coop::consume_budget},
};
use wingbeat_atproto::{Cid, DidDocument, RepoState, Tid, VerifyError};
use wingbeat_record::MessageId;

pub(crate) use self::keys::Keys;
use self::{
    check::{Checked, Job, Proven, kind_of},
    resync::{Found, Missed, Resyncs, desync_event},
    window::{Mark, Window},
};
use super::{
    counters::{NetworkCounters, count},
    generations::Generations,
    host::Host,
    http::HttpClient,
    outbox::{Entry, Outbox, now_us},
    recent::Recent,
    relay::EventName,
    release::Release,
    resolve::ResolveError,
};
use crate::{Content, dead::dead};

/// How many events are verified in one go on a thread: one takes some 50 us, and handing over some
/// 10.
const CHECKS_AT_ONCE: usize = 16;

/// Of how many accounts the last state is remembered at least. A table of 2^19 places is full with
/// so many; there are two, and both take 60 MiB when twice as many are remembered: some 65 bytes
/// for each account. The first commit of an account that was forgotten is not checked against the
/// one before it, and counted as `unchained`.
const STATES_MIN: usize = (1 << 19) / 8 * 7;

/// What has to be proven of an event.
#[derive(Debug)]
pub(crate) struct Proof {
    /// Whose event it is.
    pub(crate) did: Arc<str>,
    /// The whole frame.
    pub(crate) frame: Bytes,
    /// What it claims to be.
    pub(crate) claim: Claim,
}

/// What an event claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The commit of this name.
    Commit(Cid),
    /// A `#sync`.
    Sync,
    /// An account's identity has changed: the key may be another one.
    Identity,
    /// Something else about the account.
    Account,
}

/// An event that has to be proven.
#[derive(Debug)]
pub(crate) struct Unproven {
    pub(crate) proof: Proof,
    /// The index of its host.
    pub(crate) host: usize,
    pub(crate) cursor: u64,
    pub(crate) rev: String,
    /// What it becomes, if it is true.
    pub(crate) contents: Vec<Content>,
}

/// A host, as far as verifying needs it.
#[derive(Debug)]
pub(crate) struct ProofHost {
    /// The address of its stream.
    pub(crate) url: String,
    /// Where it serves repositories: `https://HOST`.
    pub(crate) http: String,
}

impl ProofHost {
    /// What verifying needs of a host.
    pub(crate) fn of(host: &Host) -> Self {
        Self { url: host.url.clone(), http: host.endpoint.http_url("") }
    }
}

/// An account of which events are being verified.
#[derive(Debug, Default)]
struct Account {
    /// The events in order, with their numbers in the window. The first one is under way.
    events: VecDeque<(u64, Unproven)>,
    /// With what the first event was verified in vain, while it is asked for again.
    in_vain: Option<(Arc<DidDocument>, VerifyError)>,
}

type Lookup = (Arc<str>, Result<Arc<DidDocument>, ResolveError>);

/// Verifies events.
pub(crate) struct Verifier {
    incoming: mpsc::Receiver<Vec<Entry>>,
    out: Outbox,
    hosts: Vec<ProofHost>,
    keys: Arc<Keys>,
    release: Release,
    counters: Arc<NetworkCounters>,
    accounts: HashMap<Arc<str>, Account>,
    window: Window,
    /// Where the next commit of each account must start from.
    states: Generations<RepoState>,
    /// Commits that were verified, to know what a rewind brings again from what goes back.
    commits: Recent,
    ready: VecDeque<Job>,
    checks: JoinSet<Vec<Checked>>,
    checks_max: usize,
    lookups: JoinSet<Lookup>,
    resyncs: Resyncs,
}

impl Verifier {
    /// Verifies what comes in, and sends on what is true.
    pub(crate) fn new(
        incoming: mpsc::Receiver<Vec<Entry>>,
        out: Outbox,
        hosts: Vec<ProofHost>,
        keys: Keys,
        release: Release,
        client: HttpClient,
    ) -> Self {
        Self {
            incoming,
            out,
            hosts,
            keys: Arc::new(keys),
            counters: Arc::clone(&release.counters),
            release,
            accounts: HashMap::new(),
            window: Window::default(),
            states: Generations::new(STATES_MIN),
            commits: Recent::default(),
            ready: VecDeque::new(),
            checks: JoinSet::new(),
            checks_max: available_parallelism().map_or(1, NonZero::get),
            lookups: JoinSet::new(),
            resyncs: Resyncs::new(client),
        }
    }

    /// Runs until nobody asks for items any more.
    pub(crate) async fn run(mut self) {
        let stopped = self.out.stopped();
        tokio::pin!(stopped);
        loop {
            consume_budget().await;
            self.start_checks();
            let has_room = self.window.has_room() && !self.out.is_full();
            tokio::select! {
                biased;
                () = &mut stopped => return,
                sent = self.out.send(), if !self.out.is_empty() => if sent.is_err() { return },
                Some(checked) = self.checks.join_next() => {
                    for checked in joined(checked) {
                        self.take_checked(checked);
                    }
                }
                Some(found) = self.lookups.join_next() => {
                    let (did, found) = joined(found);
                    self.take_lookup(&did, found);
                }
                Some(found) = self.resyncs.next() => self.take_found(found),
                batch = self.incoming.recv(), if has_room => match batch {
                    Some(batch) => batch.into_iter().for_each(|entry| self.take(entry)),
                    None => return,
                }
            }
        }
    }

    /// Hands what is ready to threads.
    fn start_checks(&mut self) {
        while self.checks.len() < self.checks_max && !self.ready.is_empty() {
            let share = self.ready.len().div_ceil(self.checks_max).min(CHECKS_AT_ONCE);
            let jobs: Vec<Job> = self.ready.drain(..share).collect();
            let run = move || jobs.into_iter().map(|job| job.run(now_us())).collect();
            self.checks.spawn_blocking(run);
        }
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Item(content) => self.out.item(content),
            Entry::Place { host, cursor, time_us } => {
                self.window.mark(Mark { host, cursor, time_us });
                self.tell_places();
            }
            Entry::Unproven(event) => {
                let number = self.window.open(event.proof.frame.len());
                let did = Arc::clone(&event.proof.did);
                let account = self.accounts.entry(Arc::clone(&did)).or_default();
                account.events.push_back((number, *event));
                if account.events.len() == 1 {
                    self.go_on(&did);
                }
            }
        }
    }

    /// Begins with the first event of an account, and with the next ones while nothing has to be
    /// waited for.
    fn go_on(&mut self, did: &Arc<str>) {
        loop {
            let Some(account) = self.accounts.get(did) else { return };
            let Some((_, event)) = account.events.front() else {
                self.accounts.remove(did);
                return;
            };
            match event.proof.claim {
                Claim::Identity => {
                    self.keys.purge(did);
                    self.accept(did);
                }
                Claim::Account => self.accept(did),
                Claim::Commit(cid) if self.commits.contains((did, cid)) => {
                    count(&self.counters.repeats);
                    self.settle(did);
                    self.tell_places();
                }
                Claim::Commit(_) | Claim::Sync => match self.keys.known(did) {
                    Some(Ok(document)) => return self.check(did, document),
                    Some(Err(error)) => self.refuse(did, "no_identity", &error),
                    None => return self.look_up(did, false),
                },
            }
        }
    }

    /// Has the first event of an account verified.
    fn check(&mut self, did: &Arc<str>, document: Arc<DidDocument>) {
        let Some(account) = self.accounts.get(did) else { return };
        let Some((_, event)) = account.events.front() else { return };
        let frame = event.proof.frame.clone();
        let last = self.states.get(did);
        self.ready.push_back(Job { did: Arc::clone(did), frame, document, last });
    }

    fn look_up(&mut self, did: &Arc<str>, is_refresh: bool) {
        let (keys, did) = (Arc::clone(&self.keys), Arc::clone(did));
        self.lookups.spawn(async move {
            let found = keys.find(&did, is_refresh).await;
            (did, found)
        });
    }

    fn take_lookup(&mut self, did: &Arc<str>, found: Result<Arc<DidDocument>, ResolveError>) {
        let in_vain = self.accounts.get(did).and_then(|account| account.in_vain.clone());
        match (found, in_vain) {
            (Ok(document), Some((earlier, error)))
                if document.signing_key == earlier.signing_key =>
            {
                self.refuse(did, kind_of(&error), &error);
            }
            (Ok(document), _) => return self.check(did, document),
            (Err(error), _) => self.refuse(did, "no_identity", &error),
        }
        self.go_on(did);
    }

    fn take_checked(&mut self, Checked { did, document, result }: Checked) {
        let Some(account) = self.accounts.get_mut(&did) else { return };
        match result {
            Err(error @ VerifyError::Signature(_)) if account.in_vain.is_none() => {
                // The key may have changed without a word.
                account.in_vain = Some((document, error));
                return self.look_up(&did, true);
            }
            Err(error) => self.refuse(&did, kind_of(&error), &error),
            Ok(proven) => self.take_proven(&did, &document, proven),
        }
        self.go_on(&did);
    }

    fn take_proven(&mut self, did: &Arc<str>, document: &Arc<DidDocument>, proven: Proven) {
        count(&self.counters.verified);
        let Proven { state, last, jump } = proven;
        self.states.insert(did, state);
        match (last, jump) {
            (None, _) => count(&self.counters.unchained),
            (Some(_), None) => {}
            (Some(last), Some(reason)) => {
                count(&self.counters.desyncs);
                self.report_missed(did, document, (last.rev, state.rev), reason);
            }
        }
        if let Some(Claim::Commit(cid)) = self.first(did).map(|event| event.proof.claim) {
            self.commits.insert((did, cid));
        }
        self.accept(did);
    }

    /// Says that something is missing before the first event of an account, and looks for it.
    fn report_missed(
        &mut self,
        did: &Arc<str>,
        document: &Arc<DidDocument>,
        (from, to): (Tid, Tid),
        reason: &'static str,
    ) {
        let Some(event) = self.first(did) else { return };
        let Some(host) = self.hosts.get(event.host) else { return };
        let posts = event.contents.iter().filter_map(|content| match content {
            Content::Post(post) => Some(post.id.clone()),
            _ => None,
        });
        let missed = Missed {
            did: Arc::clone(did),
            document: Arc::clone(document),
            host: host.http.clone(),
            from,
            to,
            told: posts.collect::<HashSet<_>>(),
        };
        let notice = desync_event(&missed, reason, &host.url, event.cursor);
        self.out.item(notice);
        if let Some(found) = self.resyncs.begin(missed) {
            self.take_found(found);
        }
    }

    fn take_found(&mut self, found: Found) {
        if !found.is_whole {
            count(&self.counters.resyncs_failed);
        }
        for content in found.contents {
            self.out.item(content);
        }
    }

    fn first(&self, did: &Arc<str>) -> Option<&Unproven> {
        Some(&self.accounts.get(did)?.events.front()?.1)
    }

    /// The first event of an account is true.
    fn accept(&mut self, did: &Arc<str>) {
        if let Some(event) = self.settle(did) {
            self.release.event(event.contents, &event.rev, false, &mut self.out);
        }
        self.tell_places();
    }

    /// The first event of an account is refused.
    fn refuse(&mut self, did: &Arc<str>, kind: &'static str, error: &dyn std::error::Error) {
        count(&self.counters.refused);
        if let Some(event) = self.settle(did) {
            let url = self.hosts.get(event.host).map_or("", |host| &host.url);
            let name = EventName { url, cursor: event.cursor };
            let frame = &event.proof.frame;
            let mut letter = dead(frame, kind, format!("{name} of {did}: {error}"));
            if let Content::Dead { id, .. } = &mut letter {
                // The error may be told in other words when the event comes again.
                *id = Some(MessageId::from_content(frame));
            }
            self.out.item(letter);
        }
        self.tell_places();
    }

    /// It is known what becomes of the first event of an account. It must be sent before places
    /// are told.
    fn settle(&mut self, did: &Arc<str>) -> Option<Unproven> {
        let account = self.accounts.get_mut(did)?;
        account.in_vain = None;
        let (number, event) = account.events.pop_front()?;
        self.window.settle(number);
        Some(event)
    }

    fn tell_places(&mut self) {
        while let Some(Mark { host, cursor, time_us }) = self.window.next_mark() {
            self.out.place(host, cursor, time_us);
        }
    }
}

/// What a task has brought. One that has panicked takes this one with it: the source says then that
/// it can't go on.
fn joined<T>(result: Result<T, JoinError>) -> T {
    match result {
        Ok(brought) => brought,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_takes_as_much_as_is_said() {
        // And a byte of the table; it is at most seven eighths full.
        assert_eq!(size_of::<(u64, RepoState)>(), 56);
    }
}
