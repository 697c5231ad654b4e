//! The nodes that a commit carries: for writers.

use std::collections::BTreeMap;

use super::{
    MstError, Tree,
    node::{Link, Node, Place},
};
use crate::{car::Blocks, cid::Cid};

/// Which way to go down.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

impl Tree<'_> {
    /// The nodes that prove operations at these keys, after the operations: the paths to the keys,
    /// and to the neighbours of those that are there. What is there is enough for
    /// [`invert`](super::invert), and what the reference implementation sends too.
    pub fn proof<'k>(
        &mut self,
        keys: impl IntoIterator<Item = &'k str>,
    ) -> Result<BTreeMap<Cid, Vec<u8>>, MstError> {
        let mut nodes = BTreeMap::new();
        if self.root.is_none() {
            add(&mut Node::new(0, Link::None), &mut nodes);
        }
        for key in keys {
            path(&mut self.root, self.blocks, Place::default(), key.as_bytes(), &mut nodes)?;
        }
        Ok(nodes)
    }

    /// All nodes that were loaded or made: of a tree that was built here, all that there are.
    pub fn nodes(&mut self) -> BTreeMap<Cid, Vec<u8>> {
        let mut nodes = BTreeMap::new();
        match &mut self.root {
            Link::Loaded(root) => all(root, &mut nodes),
            link => {
                if link.is_none() {
                    add(&mut Node::new(0, Link::None), &mut nodes);
                }
            }
        }
        nodes
    }
}

fn all(node: &mut Node, nodes: &mut BTreeMap<Cid, Vec<u8>>) {
    add(node, nodes);
    let rights = node.entries.iter_mut().map(|entry| &mut entry.right);
    for link in std::iter::once(&mut node.left).chain(rights) {
        if let Link::Loaded(node) = link {
            all(node, nodes);
        }
    }
}

fn add(node: &mut Node, nodes: &mut BTreeMap<Cid, Vec<u8>>) {
    let name = node.name();
    nodes.entry(name).or_insert_with(|| node.encode());
}

fn path(
    link: &mut Link,
    blocks: &Blocks<'_>,
    place: Place<'_>,
    key: &[u8],
    nodes: &mut BTreeMap<Cid, Vec<u8>>,
) -> Result<(), MstError> {
    let Some(node) = link.load(blocks, place)? else { return Ok(()) };
    add(node, nodes);
    match node.find(key) {
        Err(index) => {
            let (child, place) = node.child(index, place);
            path(child, blocks, place, key, nodes)
        }
        Ok(index) => {
            let (before, place_before) = node.child(index, place);
            spine(before, blocks, place_before, Side::Right, nodes)?;
            let (behind, place_behind) = node.child(index + 1, place);
            spine(behind, blocks, place_behind, Side::Left, nodes)
        }
    }
}

fn spine(
    link: &mut Link,
    blocks: &Blocks<'_>,
    place: Place<'_>,
    side: Side,
    nodes: &mut BTreeMap<Cid, Vec<u8>>,
) -> Result<(), MstError> {
    let Some(node) = link.load(blocks, place)? else { return Ok(()) };
    add(node, nodes);
    let index = match side {
        Side::Left => 0,
        Side::Right => node.entries.len(),
    };
    let (child, place) = node.child(index, place);
    spine(child, blocks, place, side, nodes)
}
