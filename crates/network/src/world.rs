//! Who there is and what they do next.

use std::sync::Arc;

use wingbeat_atproto::{POST_COLLECTION, SigningKey, Tid, write::WriteError};
use wingbeat_record::Time;

use crate::{
    chance::Chance,
    event::{Event, Happening},
    fault::Fault,
    keys::{key_of_account, strangers_key},
    options::{Options, StartError},
    records::{PROFILE, Writer},
    repo::{CommitFlaw, Repo, Write},
};

/// The time between two events at rate 0, in microseconds: about as on the real network.
const GAP_AT_RATE_0: u64 = 2_000;

/// The least time between two events, in microseconds: the operations of a commit have times of
/// their own, which must not run into the next event.
const GAP_MIN: u64 = 16;

/// The most records in a repository; where there are so many, one is deleted instead.
const RECORDS_MAX: usize = 2_000;

/// The most records that are created in one commit.
const BATCH_MAX: usize = 5;

/// How often an active account is looked for before any other is taken.
const PICKS_MAX: usize = 64;

/// All accounts, and what happens to them.
#[derive(Debug)]
pub(crate) struct World {
    options: Options,
    gap_us: u64,
    accounts: Vec<Account>,
    writer: Writer,
    stranger: SigningKey,
    /// The number of the next event.
    next: u64,
}

#[derive(Debug)]
struct Account {
    repo: Repo,
    status: Status,
    handle: String,
    handle_changes: u32,
}

/// Whether a repository is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Deactivated,
    Deleted,
}

/// What others can ask about an account.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) handle: String,
    pub(crate) key_multibase: String,
    pub(crate) status: Status,
}

/// When something happens.
#[derive(Debug, Clone, Copy)]
struct Moment {
    n: u64,
    micros: u64,
    rev: Tid,
}

impl Moment {
    fn time(self) -> Time {
        Time::from_micros(i64::try_from(self.micros).unwrap_or(i64::MAX))
    }
}

impl World {
    pub(crate) fn new(options: &Options) -> Result<Self, StartError> {
        let mut world = Self {
            options: options.clone(),
            gap_us: gap_us(options.rate),
            accounts: Vec::with_capacity(options.accounts),
            writer: Writer::new(options.seed)?,
            stranger: strangers_key(options.seed)?,
            next: 0,
        };
        for index in 0..options.accounts as u64 {
            let did: Arc<str> = did_of(options.seed, index).into();
            let key = key_of_account(options.seed, index)?;
            let rev = Tid::new(options.start_micros.saturating_sub(1_000_000), clock_of(index));
            let handle = handle_of(index, 0);
            let repo = Repo::new(did, key, rev).map_err(StartError::Repository)?;
            world.accounts.push(Account {
                repo,
                status: Status::Active,
                handle,
                handle_changes: 0,
            });
        }
        Ok(world)
    }

    /// The time between two events, in microseconds.
    pub(crate) fn gap_us(&self) -> u64 {
        self.gap_us
    }

    /// The number of the next event.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The next event, with this fault in it.
    pub(crate) fn make(&mut self, fault: Option<Fault>) -> Result<Event, WriteError> {
        let n = self.next;
        self.next += 1;
        let chance = &mut Chance::new(self.options.seed, "event", n);
        let micros = self.options.start_micros + n * self.gap_us;
        let index = self.pick_active(chance);
        let now = Moment { n, micros, rev: Tid::new(micros, clock_of(index as u64)) };
        let mix = self.options.mix;
        let (index, happening) = if let Some(fault) = fault {
            (index, self.flawed_commit(index, now, fault, chance)?)
        } else if chance.happens(mix.identities) {
            (index, self.change_handle(index))
        } else if chance.happens(mix.accounts) {
            self.change_status(index, chance)
        } else if chance.happens(mix.syncs) {
            (index, self.jump(index, now, chance)?)
        } else {
            (index, self.commit(index, now, chance)?)
        };
        Ok(Event::new(n, self.accounts[index].repo.did(), micros, &happening, fault))
    }

    /// What is known about an account.
    pub(crate) fn profile(&self, did: &str) -> Option<Profile> {
        let account = self.accounts.iter().find(|account| **account.repo.did() == *did)?;
        Some(Profile {
            handle: account.handle.clone(),
            key_multibase: account.repo.key_multibase(),
            status: account.status,
        })
    }

    /// Whose handle this is.
    pub(crate) fn resolve_handle(&self, handle: &str) -> Option<Arc<str>> {
        let account = self.accounts.iter().find(|account| account.handle == handle)?;
        (account.status == Status::Active).then(|| Arc::clone(account.repo.did()))
    }

    /// A repository as a CAR.
    pub(crate) fn repo_car(&mut self, did: &str) -> Option<Vec<u8>> {
        let account = self.accounts.iter_mut().find(|account| **account.repo.did() == *did)?;
        account.repo.car().ok()
    }

    /// An active account; some are much busier than others.
    fn pick_active(&self, chance: &mut Chance) -> usize {
        for _ in 0..PICKS_MAX {
            let bound = chance.below(self.accounts.len()) + 1;
            let index = chance.below(bound);
            if self.accounts[index].status == Status::Active {
                return index;
            }
        }
        let active = self.accounts.iter().position(|account| account.status == Status::Active);
        active.unwrap_or(0)
    }

    fn change_handle(&mut self, index: usize) -> Happening {
        let account = &mut self.accounts[index];
        account.handle_changes += 1;
        account.handle = handle_of(index as u64, account.handle_changes);
        Happening::Identity { handle: account.handle.clone() }
    }

    /// Brings a deactivated account back, or takes an active one away. Half of them always stay.
    fn change_status(&mut self, index: usize, chance: &mut Chance) -> (usize, Happening) {
        let is = |wanted| move |account: &Account| account.status == wanted;
        let active = self.accounts.iter().filter(|account| is(Status::Active)(account)).count();
        let back = self.accounts.iter().position(is(Status::Deactivated));
        let (index, status) = match back {
            Some(back) if chance.happens(0.5) => (back, Status::Active),
            _ if active * 2 <= self.accounts.len() + 1 => {
                return (index, self.change_handle(index));
            }
            _ if chance.happens(0.3) => (index, Status::Deleted),
            _ => (index, Status::Deactivated),
        };
        self.accounts[index].status = status;
        let (active, status) = match status {
            Status::Active => (true, None),
            Status::Deactivated => (false, Some("deactivated")),
            Status::Deleted => (false, Some("deleted")),
        };
        (index, Happening::Account { active, status })
    }

    /// A commit that no one hears of, and a `#sync` behind it.
    fn jump(
        &mut self,
        index: usize,
        now: Moment,
        chance: &mut Chance,
    ) -> Result<Happening, WriteError> {
        let writes = self.creations(index, now, 2, chance);
        let car = self.accounts[index].repo.commit_unseen(writes, now.rev)?;
        Ok(Happening::Sync { rev: now.rev.to_string(), car })
    }

    fn commit(
        &mut self,
        index: usize,
        now: Moment,
        chance: &mut Chance,
    ) -> Result<Happening, WriteError> {
        let mix = self.options.mix;
        let records = self.accounts[index].repo.len();
        let writes = if records >= RECORDS_MAX || records > 0 && chance.happens(mix.deletes) {
            self.deletion(index, chance)
        } else if chance.happens(mix.updates) {
            vec![self.write(index, now, PROFILE, "self", chance)]
        } else if chance.happens(mix.batches) {
            let count = 2 + chance.below(BATCH_MAX - 1);
            self.creations(index, now, count, chance)
        } else {
            self.creations(index, now, 1, chance)
        };
        self.write_commit(index, now, writes, None)
    }

    fn flawed_commit(
        &mut self,
        index: usize,
        now: Moment,
        fault: Fault,
        chance: &mut Chance,
    ) -> Result<Happening, WriteError> {
        let mut writes = Vec::with_capacity(3);
        for number in 0..3 {
            let rkey = Tid::new(now.micros + number, now.rev.clock()).to_string();
            writes.push(self.write(index, now, POST_COLLECTION, &rkey, chance));
        }
        let bad_record = match fault {
            Fault::BadCbor => Some(Writer::post_that_is_no_cbor()),
            Fault::BadLexicon => Some(Writer::post_against_its_lexicon(now.time())),
            _ => None,
        };
        if bad_record.is_some() {
            writes[1].content = bad_record;
        }
        self.write_commit(index, now, writes, Some(fault))
    }

    fn write_commit(
        &mut self,
        index: usize,
        now: Moment,
        writes: Vec<Write>,
        fault: Option<Fault>,
    ) -> Result<Happening, WriteError> {
        let flaw = match fault {
            Some(Fault::BadSignature) => Some(CommitFlaw::SignedBy(&self.stranger)),
            Some(Fault::Fork) => Some(CommitFlaw::Fork),
            _ => None,
        };
        let repo = &mut self.accounts[index].repo;
        let commit = repo.commit(writes, now.rev, flaw)?;
        for op in commit.ops.iter().filter(|op| is_post(&op.path)) {
            // Only what is there can be referred to: a flawed commit leaves nothing behind.
            if let Some((cid, _)) = repo.record(&op.path) {
                self.writer.remember(repo.did(), &op.path, cid.to_string());
            }
        }
        Ok(Happening::Commit(commit))
    }

    fn creations(
        &self,
        index: usize,
        now: Moment,
        count: usize,
        chance: &mut Chance,
    ) -> Vec<Write> {
        let mut writes = Vec::with_capacity(count);
        for number in 0..count as u64 {
            let Some(collection) = chance.weighted(&self.options.collections) else { continue };
            let rkey = Tid::new(now.micros + number, now.rev.clock()).to_string();
            let rkey = if collection == PROFILE { "self" } else { &rkey };
            let write = self.write(index, now, collection, rkey, chance);
            // A record can stand once in a commit.
            if writes.iter().all(|other: &Write| other.path != write.path) {
                writes.push(write);
            }
        }
        writes
    }

    fn deletion(&self, index: usize, chance: &mut Chance) -> Vec<Write> {
        let repo = &self.accounts[index].repo;
        let path = repo.path_at(chance.below(repo.len())).map(Arc::clone);
        path.map(|path| Write { path, content: None }).into_iter().collect()
    }

    fn write(
        &self,
        index: usize,
        now: Moment,
        collection: &str,
        rkey: &str,
        chance: &mut Chance,
    ) -> Write {
        let other = (index + 1 + chance.below(self.accounts.len())) % self.accounts.len();
        let subject = self.accounts[other].repo.did();
        let text_number = now.n * BATCH_MAX as u64 + chance.below(BATCH_MAX) as u64;
        let record = self.writer.record(collection, text_number, now.time(), subject, chance);
        Write { path: format!("{collection}/{rkey}").into(), content: Some(record) }
    }
}

fn is_post(path: &str) -> bool {
    path.split_once('/').is_some_and(|(collection, _)| collection == POST_COLLECTION)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number far below 2^64; a rate near 0 saturates"
)]
fn gap_us(rate: f64) -> u64 {
    if rate > 0.0 { ((1e6 / rate) as u64).clamp(GAP_MIN, 3_600_000_000) } else { GAP_AT_RATE_0 }
}

/// The number of an account's clock, for TIDs.
fn clock_of(account: u64) -> u16 {
    u16::try_from(account % 1024).unwrap_or(0)
}

fn did_of(seed: u64, account: u64) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut chance = Chance::new(seed, "did", account);
    let name: String = (0..24).map(|_| char::from(ALPHABET[chance.below(32)])).collect();
    format!("did:plc:{name}")
}

fn handle_of(account: u64, changes: u32) -> String {
    match changes {
        0 => format!("account-{account}.simulated.test"),
        changes => format!("account-{account}-{changes}.simulated.test"),
    }
}
