//! What is known of accounts, in bounded memory.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

/// What is known of the accounts that were heard of last.
///
/// There is a young and an old generation. Whoever is heard of is young; when the young ones are
/// too many, the old ones are forgotten and the young become the old. So no list has to be kept
/// of who was heard of when. An account is known by a hash of 64 bits under a secret key: two that
/// are taken for one another are not to be expected, and can't be made.
#[derive(Debug)]
pub(crate) struct Generations<V> {
    hasher: RandomState,
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
    accounts_min: usize,
}

impl<V: Clone> Generations<V> {
    /// Remembers so many accounts at least, and twice as many at most.
    pub(crate) fn new(accounts_min: usize) -> Self {
        let (hasher, young, old) = (RandomState::new(), HashMap::new(), HashMap::new());
        Self { hasher, young, old, accounts_min }
    }

    /// What is known of an account.
    pub(crate) fn get(&self, did: &str) -> Option<V> {
        let account = self.hasher.hash_one(did);
        self.young.get(&account).or_else(|| self.old.get(&account)).cloned()
    }

    /// Remembers what is known of an account.
    pub(crate) fn insert(&mut self, did: &str, value: V) {
        let account = self.hasher.hash_one(did);
        if self.young.len() >= self.accounts_min && !self.young.contains_key(&account) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&account);
        self.young.insert(account, value);
    }

    /// Forgets an account.
    pub(crate) fn remove(&mut self, did: &str) {
        let account = self.hasher.hash_one(did);
        self.young.remove(&account);
        self.old.remove(&account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_that_were_heard_of_last_are_known() {
        let mut known = Generations::new(10);
        for number in 0..100 {
            known.insert(&number.to_string(), number);
            known.insert("busy", number);
            assert_eq!(known.get("busy"), Some(number));
            assert!(known.young.len() + known.old.len() <= 20);
        }
        for number in 91..100 {
            assert_eq!(known.get(&number.to_string()), Some(number));
        }
        assert_eq!(known.get("1"), None);
        known.remove("busy");
        assert_eq!(known.get("busy"), None);
    }
}
