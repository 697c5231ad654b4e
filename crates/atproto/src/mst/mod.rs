//! The tree of a repository: a Merkle search tree from record paths to the names of records.
//! <https://atproto.com/specs/repository#mst-structure>
//!
//! A key's layer is told by its hash alone, so a set of records has one tree, whatever the order
//! in which they came. That is what verification lives on: a commit carries the part of its tree
//! that changed, [`invert`] undoes the operations in that part, and what is left must be the root
//! of the tree before.
//!
//! Nodes are loaded one by one where an operation needs them, and read strictly: what is accepted
//! is what a correct writer would have written, byte for byte. The cost for a hostile tree is
//! bounded: a child lies one layer deeper and between its parent's keys, so no path is longer than
//! [`LAYER_MAX`] and no node is reached twice; and a node has at most [`NODE_ENTRIES_MAX`] entries. Loaded nodes
//! hold their keys whole, so they take up to some twenty times the bytes of their blocks.

mod invert;
mod node;
#[cfg(feature = "sign")]
mod proof;
mod tree;

pub(crate) use node::{Link, Node, Place};

pub use invert::{Change, invert};
pub use tree::Tree;

use sha2::{Digest as _, Sha256};

use crate::{cbor::CborError, cid::Cid, syntax::letters_digits_and};

/// The longest key, in bytes (the repository specification).
pub const KEY_BYTES_MAX: usize = 1_024;

/// The highest layer: half the bits of a hash.
pub const LAYER_MAX: u8 = 128;

/// The most entries of a node. The specification wants a statistically unlikely limit, against
/// keys that were sought to make large nodes: each further entry has a chance of 3/4, so an honest
/// node with a hundred is one in three trillion.
pub const NODE_ENTRIES_MAX: usize = 4_096;

/// Why a tree can't be read or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MstError {
    /// A node that is needed is not among the blocks.
    #[error("the tree's node {0} is missing")]
    Missing(Cid),
    /// A node is not what a node must be.
    #[error("the tree's node {cid}: {problem}")]
    Node {
        /// Its name.
        cid: Cid,
        /// What is wrong with it.
        problem: NodeProblem,
    },
    /// A key can't be a record's path.
    #[error("a key of the tree: {0}")]
    Key(&'static str),
    /// The keys of a whole tree don't ascend.
    #[error("the keys of the tree are out of order")]
    KeyOrder,
    /// What is to be created is there.
    #[error("the key is in the tree, where it should not be")]
    KeyPresent,
    /// What is to be changed or removed is not there.
    #[error("the key is not in the tree, where it should be")]
    KeyAbsent,
    /// What is to be undone has led to another value.
    #[error("the key has the value {0} in the tree, which is another than it should be")]
    OtherValue(Cid),
    /// Two operations of one commit are about the same key.
    #[error("two operations have the same key")]
    KeyTwice,
    /// An operation has neither an old nor a new value.
    #[error("an operation without an old and a new value")]
    NoChange,
}

/// What is wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NodeProblem {
    /// It is not DRISL, or a field has another type.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// It is DRISL, but no node, or none that can stand where it does.
    #[error("{0}")]
    Shape(&'static str),
}

/// The layer of a key: the zero bits that its hash starts with, in pairs.
pub fn layer(key: &[u8]) -> u8 {
    let mut pairs = 0;
    for byte in Sha256::digest(key) {
        pairs += byte.leading_zeros() / 2;
        if byte != 0 {
            break;
        }
    }
    // At most half of 256.
    u8::try_from(pairs).unwrap_or(LAYER_MAX)
}

/// Checks that a key can be a record's path, as far as the tree is concerned: two parts of
/// characters that record keys may have. Which of these are names of collections is not its
/// business.
pub fn check_key(key: &[u8]) -> Result<(), &'static str> {
    if key.len() > KEY_BYTES_MAX {
        return Err("longer than 1,024 bytes");
    }
    if !key.iter().all(|&byte| IS_IN_KEYS[usize::from(byte)]) {
        return Err("other characters than A-Z a-z 0-9 . _ : ~ - and /");
    }
    let Some(slash) = key.iter().position(|&byte| byte == b'/') else { return Err("no `/`") };
    match (&key[..slash], &key[slash + 1..]) {
        (_, rkey) if rkey.contains(&b'/') => Err("more than one `/`"),
        ([], _) => Err("nothing before its `/`"),
        (_, []) => Err("nothing behind its `/`"),
        _ => Ok(()),
    }
}

/// The bytes that keys are made of. A table, as every key of every node is checked.
static IS_IN_KEYS: [bool; 256] = letters_digits_and(b"._:~-/");

/// The length of what two keys start with in common: what the second one leaves away in its node.
pub fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_can_be_no_paths_are_refused() {
        for key in ["a/b", "app.bsky.feed.post/3jzfcijpj2z2a", "A/~:_-."] {
            assert_eq!(check_key(key.as_bytes()), Ok(()), "{key:?}");
        }
        for key in ["", "a", "/", "a/", "/b", "a/b/c", "a/b c", "a/\u{e4}", "a/b\0", "a//b"] {
            assert!(check_key(key.as_bytes()).is_err(), "{key:?}");
        }
        let long = format!("a/{}", "b".repeat(KEY_BYTES_MAX - 2));
        assert_eq!(check_key(long.as_bytes()), Ok(()));
        assert!(check_key(format!("{long}b").as_bytes()).is_err());
    }
}
