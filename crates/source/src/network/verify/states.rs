//! What is known of repositories: where the next commit of each must start from.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use wingbeat_atproto::RepoState;

/// How many accounts are remembered at least. A table of 2^19 places is full with so many; the
/// two of them take 60 MiB when all are, some 65 bytes for each account.
const ACCOUNTS_MIN: usize = (1 << 19) / 8 * 7;

/// The last state of the repositories that were heard of last: of [`ACCOUNTS_MIN`] at least, and
/// of twice as many at most.
///
/// There is a young and an old generation. Whoever is heard of is young; when the young ones are
/// too many, the old ones are forgotten and the young become the old. So no list has to be kept
/// of who was heard of when. An account is known by a hash of 64 bits under a secret key: two that
/// are taken for one another are not to be expected, and can't be made; they would cost a resync.
#[derive(Debug)]
pub(super) struct States {
    hasher: RandomState,
    young: HashMap<u64, RepoState>,
    old: HashMap<u64, RepoState>,
    generation: usize,
}

impl Default for States {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            young: HashMap::new(),
            old: HashMap::new(),
            generation: ACCOUNTS_MIN,
        }
    }
}

impl States {
    /// The last state of an account's repository, if it is known.
    pub(super) fn get(&self, did: &str) -> Option<RepoState> {
        let account = self.hasher.hash_one(did);
        self.young.get(&account).or_else(|| self.old.get(&account)).copied()
    }

    /// Remembers the last state of an account's repository.
    pub(super) fn insert(&mut self, did: &str, state: RepoState) {
        let account = self.hasher.hash_one(did);
        if self.young.len() >= self.generation && !self.young.contains_key(&account) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&account);
        self.young.insert(account, state);
    }
}

#[cfg(test)]
mod tests {
    use wingbeat_atproto::{Cid, Codec, Tid};

    use super::*;

    fn state(number: u64) -> RepoState {
        RepoState { rev: Tid::new(number, 0), data: Cid::of(Codec::Drisl, b"") }
    }

    #[test]
    fn the_accounts_that_were_heard_of_last_are_known() {
        let mut states = States { generation: 10, ..States::default() };
        for number in 0..100 {
            states.insert(&number.to_string(), state(number));
            states.insert("busy", state(number));
            assert_eq!(states.get("busy"), Some(state(number)));
            assert!(states.young.len() + states.old.len() <= 20);
        }
        for number in 91..100 {
            assert_eq!(states.get(&number.to_string()), Some(state(number)));
        }
        assert_eq!(states.get("1"), None);
    }

    #[test]
    fn an_account_takes_as_much_as_is_said() {
        assert_eq!(size_of::<(u64, RepoState)>(), 56);
    }
}
