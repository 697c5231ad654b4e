//! A tree that is changed key by key, and loaded as far as that takes.

use super::{
    MstError, check_key, layer,
    node::{Entry, Link, Node, Place},
};
use crate::{
    car::Blocks,
    cid::{Cid, Codec},
};

/// A tree, loaded as far as it was looked at.
///
/// An operation that fails leaves the tree as it was: what it needs is loaded before it changes
/// anything.
#[derive(Debug, Clone)]
pub struct Tree<'b> {
    pub(super) blocks: &'b Blocks<'b>,
    pub(super) root: Link,
}

static NO_BLOCKS: Blocks<'static> = Blocks::new();

impl Tree<'static> {
    /// The empty tree.
    pub fn new() -> Self {
        Self { blocks: &NO_BLOCKS, root: Link::None }
    }
}

impl Default for Tree<'static> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'b> Tree<'b> {
    /// The tree with this root, of which at least the nodes that are going to be needed are among
    /// the blocks.
    pub fn load(blocks: &'b Blocks<'b>, root: Cid) -> Self {
        Self { blocks, root: Link::Named(root) }
    }

    /// The name of the root.
    pub fn root(&mut self) -> Cid {
        let empty = || Cid::of(Codec::Drisl, &Node::new(0, Link::None).encode());
        self.root.name().unwrap_or_else(empty)
    }

    /// The value of a key.
    pub fn get(&mut self, key: &str) -> Result<Option<Cid>, MstError> {
        find(&mut self.root, self.blocks, Place::default(), key.as_bytes())
    }

    /// Adds a key, which must not be there.
    pub fn insert(&mut self, key: &str, value: Cid) -> Result<(), MstError> {
        check_key(key.as_bytes()).map_err(MstError::Key)?;
        // This loads all that is going to be split.
        if self.get(key)?.is_some() {
            return Err(MstError::KeyPresent);
        }
        let key_layer = layer(key.as_bytes());
        let root_layer = match &self.root {
            Link::Loaded(root) => root.layer,
            Link::None | Link::Named(_) => key_layer,
        };
        for layer in root_layer..key_layer {
            let below = std::mem::take(&mut self.root);
            self.root = Link::Loaded(Box::new(Node::new(layer + 1, below)));
        }
        let entry = Entry { key: key.as_bytes().into(), value, right: Link::None };
        insert(&mut self.root, root_layer.max(key_layer), entry, key_layer)
    }

    /// Gives a key that is there another value, and returns the old one.
    pub fn replace(&mut self, key: &str, value: Cid) -> Result<Cid, MstError> {
        let old = self.get(key)?.ok_or(MstError::KeyAbsent)?;
        replace(&mut self.root, key.as_bytes(), value);
        Ok(old)
    }

    /// Removes a key that is there, and returns its value.
    pub fn remove(&mut self, key: &str) -> Result<Cid, MstError> {
        let old = self.get(key)?.ok_or(MstError::KeyAbsent)?;
        load_seam(&mut self.root, self.blocks, key.as_bytes())?;
        remove(&mut self.root, key.as_bytes())?;
        self.trim();
        Ok(old)
    }

    /// Takes away the nodes at the top that have no key any more. One that can't be loaded stays:
    /// whether it has keys, its name tells whoever compares it.
    fn trim(&mut self) {
        while let Link::Loaded(root) = &mut self.root
            && root.entries.is_empty()
        {
            let (below, place) = root.child(0, Place::default());
            let _ = below.load(self.blocks, place);
            self.root = std::mem::take(below);
        }
    }
}

/// Loads the path to a key, to the end where it is not there.
fn find(
    link: &mut Link,
    blocks: &Blocks<'_>,
    place: Place<'_>,
    key: &[u8],
) -> Result<Option<Cid>, MstError> {
    let Some(node) = link.load(blocks, place)? else { return Ok(None) };
    match node.find(key) {
        Ok(index) => Ok(node.entries.get(index).map(|entry| entry.value)),
        Err(index) => {
            let (child, place) = node.child(index, place);
            find(child, blocks, place, key)
        }
    }
}

/// Loads what has to be joined where a key goes that is there and was found.
fn load_seam(link: &mut Link, blocks: &Blocks<'_>, key: &[u8]) -> Result<(), MstError> {
    let Link::Loaded(node) = link else { return Ok(()) };
    let index = match node.find(key) {
        Ok(index) => index,
        Err(index) => return load_seam(node.child(index, Place::default()).0, blocks, key),
    };
    let layer = Some(node.layer.saturating_sub(1));
    let (head, tail) = node.entries.split_at_mut(index);
    let Some(entry) = tail.first_mut() else { return Ok(()) };
    let left = head.last_mut().map_or(&mut node.left, |before| &mut before.right);
    // Both sides end at the key. That they stay within their other ends was checked where the
    // nodes above were loaded, or is by the root's name that comes out in the end.
    let place_left = Place { layer, after: None, before: Some(&entry.key) };
    let place_right = Place { layer, after: Some(&entry.key), before: None };
    load_both(left, place_left, &mut entry.right, place_right, blocks)
}

fn load_both(
    left: &mut Link,
    place_left: Place<'_>,
    right: &mut Link,
    place_right: Place<'_>,
    blocks: &Blocks<'_>,
) -> Result<(), MstError> {
    if left.is_none() || right.is_none() {
        return Ok(());
    }
    let (Some(left), Some(right)) =
        (left.load(blocks, place_left)?, right.load(blocks, place_right)?)
    else {
        return Ok(());
    };
    let (left, place_left) = left.child(left.entries.len(), place_left);
    let (right, place_right) = right.child(0, place_right);
    load_both(left, place_left, right, place_right, blocks)
}

/// Adds an entry below a node of this layer, which need not be there yet. The path to the key is
/// loaded.
fn insert(link: &mut Link, layer: u8, mut entry: Entry, entry_layer: u8) -> Result<(), MstError> {
    if link.is_none() {
        *link = Link::Loaded(Box::new(Node::new(layer, Link::None)));
    }
    let Link::Loaded(node) = link else { return Err(not_loaded(link)) };
    let (Ok(index) | Err(index)) = node.find(&entry.key);
    let child = node.child_to_change(index);
    if layer > entry_layer {
        return insert(child, layer - 1, entry, entry_layer);
    }
    let (left, right) = split(std::mem::take(child), &entry.key)?;
    *child = left;
    entry.right = right;
    node.entries.insert(index, entry);
    Ok(())
}

/// What lies before a key, and what lies behind it. The path to the key is loaded, and the key is
/// not there.
fn split(link: Link, key: &[u8]) -> Result<(Link, Link), MstError> {
    let mut node = match link {
        Link::None => return Ok((Link::None, Link::None)),
        Link::Loaded(node) => node,
        Link::Named(_) => return Err(not_loaded(&link)),
    };
    let (Ok(index) | Err(index)) = node.find(key);
    let child = node.child(index, Place::default()).0;
    let (left, right) = split(std::mem::take(child), key)?;
    // A side that has nothing leaves the node as it was, with its name.
    if index == node.entries.len() && right.is_none() {
        *node.child(index, Place::default()).0 = left;
        return Ok((Link::Loaded(node), Link::None));
    }
    if index == 0 && left.is_none() {
        node.left = right;
        return Ok((Link::None, Link::Loaded(node)));
    }
    let mut behind = Box::new(Node::new(node.layer, right));
    behind.entries = node.entries.split_off(index);
    *node.child_to_change(index) = left;
    Ok((Link::to(node), Link::to(behind)))
}

/// Gives a key that is there and was found another value.
fn replace(link: &mut Link, key: &[u8], value: Cid) {
    let Link::Loaded(node) = link else { return };
    match node.find(key) {
        Ok(index) => {
            node.cid = None;
            if let Some(entry) = node.entries.get_mut(index) {
                entry.value = value;
            }
        }
        Err(index) => replace(node.child_to_change(index), key, value),
    }
}

/// Removes a key that is there and was found; what has to be joined is loaded.
fn remove(link: &mut Link, key: &[u8]) -> Result<(), MstError> {
    let Link::Loaded(node) = link else { return Ok(()) };
    match node.find(key) {
        Ok(index) => {
            let right = node.entries.remove(index).right;
            let child = node.child_to_change(index);
            *child = join(std::mem::take(child), right)?;
        }
        Err(index) => remove(node.child_to_change(index), key)?,
    }
    if node.is_empty() {
        *link = Link::None;
    }
    Ok(())
}

/// One part of the tree out of two that lie side by side.
fn join(left: Link, right: Link) -> Result<Link, MstError> {
    let (mut left, mut right) = match (left, right) {
        (Link::None, only) | (only, Link::None) => return Ok(only),
        (Link::Loaded(left), Link::Loaded(right)) => (left, right),
        (Link::Loaded(_), link) | (link, _) => return Err(not_loaded(&link)),
    };
    let seam = left.child_to_change(left.entries.len());
    *seam = join(std::mem::take(seam), std::mem::take(&mut right.left))?;
    left.entries.append(&mut right.entries);
    Ok(Link::Loaded(left))
}

/// The error for a node that should have been loaded before the change began.
fn not_loaded(link: &Link) -> MstError {
    match link {
        Link::Named(cid) => MstError::Missing(*cid),
        Link::None | Link::Loaded(_) => MstError::KeyAbsent,
    }
}
