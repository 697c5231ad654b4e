//! Undoing the operations of a commit.

use super::{MstError, Tree};
use crate::{car::Blocks, cid::Cid};

/// What one operation did to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// The key.
    pub key: &'a str,
    /// The value before; `None` where the key was created.
    pub old: Option<Cid>,
    /// The value after; `None` where the key was removed.
    pub new: Option<Cid>,
}

/// The root of the tree before these changes, out of a part of the tree after them. Each change
/// must be found in the tree as it is told. No two may have the same key, so their order does not
/// matter: they are undone in the one that needs the fewest nodes, removals first.
pub fn invert(blocks: &Blocks<'_>, root: Cid, changes: &[Change<'_>]) -> Result<Cid, MstError> {
    let mut ordered: Vec<_> = changes.iter().collect();
    ordered.sort_unstable_by_key(|change| change.key);
    if ordered.windows(2).any(|pair| pair[0].key == pair[1].key) {
        return Err(MstError::KeyTwice);
    }
    ordered.sort_by_key(|change| (change.new.is_some(), change.old.is_none()));
    let mut tree = Tree::load(blocks, root);
    for change in ordered {
        let (found, told) = match (change.old, change.new) {
            (None, None) => return Err(MstError::NoChange),
            (Some(old), None) => {
                tree.insert(change.key, old)?;
                continue;
            }
            (Some(old), Some(new)) => (tree.replace(change.key, old)?, new),
            (None, Some(new)) => (tree.remove(change.key)?, new),
        };
        if found != told {
            return Err(MstError::OtherValue(found));
        }
    }
    Ok(tree.root())
}
