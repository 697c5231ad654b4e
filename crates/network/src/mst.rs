//! The Merkle search tree of a repository, written. <https://atproto.com/specs/repository>
//!
//! Nodes are immutable and shared: a write makes new nodes from the root down to where it is, and
//! the tree before it is still whole. So the nodes that a commit has to show are at hand.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use wingbeat_atproto::{Cid, Codec, cbor::Value};

/// A tree.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    root: Arc<Node>,
}

/// A node. Between and around its keys hang `keys.len() + 1` children, one layer below it.
#[derive(Debug)]
struct Node {
    layer: u32,
    keys: Vec<(Arc<str>, Cid)>,
    children: Vec<Child>,
    cid: Cid,
    block: Bytes,
}

type Child = Option<Arc<Node>>;

/// Blocks for a CAR, each once, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    known: HashSet<Cid>,
    list: Vec<(Cid, Bytes)>,
}

impl Blocks {
    /// Adds a block.
    pub(crate) fn add(&mut self, cid: Cid, block: &Bytes) {
        if self.known.insert(cid) {
            self.list.push((cid, block.clone()));
        }
    }

    /// The CAR of all of them. The first is its root.
    pub(crate) fn car(&self) -> Vec<u8> {
        let blocks: Vec<(Cid, &[u8])> =
            self.list.iter().map(|(cid, block)| (*cid, block.as_ref())).collect();
        // A CAR's header can always be written.
        let root = self.list.first().map(|(root, _)| *root);
        root.and_then(|root| wingbeat_atproto::car::encode(root, &blocks).ok()).unwrap_or_default()
    }
}

/// How far above the bottom a key stands: half the leading zero bits of its SHA-256.
fn layer_of(key: &str) -> u32 {
    let mut zeros = 0;
    for byte in Sha256::digest(key) {
        zeros += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    zeros / 2
}

impl Tree {
    /// A tree without keys.
    pub(crate) fn empty() -> Self {
        Self { root: Node::new(0, Vec::new(), vec![None]) }
    }

    /// The name of the root: the `data` of a commit.
    pub(crate) fn root(&self) -> Cid {
        self.root.cid
    }

    /// Puts a key in, or gives it another value.
    pub(crate) fn insert(&mut self, key: &Arc<str>, value: Cid) {
        let layer = layer_of(key);
        let mut root = Arc::clone(&self.root);
        while root.layer < layer {
            let child = (!root.is_empty()).then(|| Arc::clone(&root));
            root = Node::new(root.layer + 1, Vec::new(), vec![child]);
        }
        self.root = root.insert(key, layer, value);
    }

    /// Takes a key out. Nothing happens where it is not in the tree.
    pub(crate) fn remove(&mut self, key: &str) {
        let mut root = self.root.remove(key, layer_of(key));
        while let (true, [Some(child)]) = (root.keys.is_empty(), root.children.as_slice()) {
            root = Arc::clone(child);
        }
        // A tree without keys has its root at the bottom.
        self.root = if root.is_empty() { Self::empty().root } else { root };
    }

    /// Adds what proves that a key is in the tree or not, and what it takes to undo a write to it:
    /// the nodes on the way to its place, and those along the gap that its removal would close.
    pub(crate) fn add_proof(&self, key: &str, blocks: &mut Blocks) {
        let mut node = Some(&self.root);
        while let Some(here) = node {
            blocks.add(here.cid, &here.block);
            let (place, found) = here.place(key);
            if found {
                here.child(place).inspect(|left| left.add_edge(blocks, Side::Right));
                here.child(place + 1).inspect(|right| right.add_edge(blocks, Side::Left));
                return;
            }
            node = here.child(place);
        }
    }

    /// Adds every node.
    pub(crate) fn add_all(&self, blocks: &mut Blocks) {
        self.root.add_all(blocks);
    }
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Left,
    Right,
}

impl Node {
    fn new(layer: u32, keys: Vec<(Arc<str>, Cid)>, children: Vec<Child>) -> Arc<Self> {
        let link = |child: Option<&Child>| match child {
            Some(Some(node)) => Value::Link(node.cid),
            _ => Value::Null,
        };
        let mut previous: &[u8] = &[];
        let mut entries = Vec::with_capacity(keys.len());
        for (index, (key, value)) in keys.iter().enumerate() {
            let key = key.as_bytes();
            let shared = key.iter().zip(previous).take_while(|(a, b)| a == b).count();
            entries.push(Value::Map(vec![
                ("k", Value::Bytes(key.get(shared..).unwrap_or_default())),
                ("p", Value::Integer(i64::try_from(shared).unwrap_or(0))),
                ("t", link(children.get(index + 1))),
                ("v", Value::Link(*value)),
            ]));
            previous = key;
        }
        let block =
            Value::Map(vec![("e", Value::Array(entries)), ("l", link(children.first()))]).encode();
        // Maps of different keys, three levels deep, can always be written.
        let block = Bytes::from(block.unwrap_or_default());
        let cid = Cid::of(Codec::Drisl, &block);
        Arc::new(Self { layer, keys, children, cid, block })
    }

    /// Neither keys nor children.
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.children.iter().all(Option::is_none)
    }

    /// Where a key is or would be among the keys, and whether it is.
    fn place(&self, key: &str) -> (usize, bool) {
        let place = self.keys.partition_point(|(other, _)| other.as_ref() < key);
        (place, self.keys.get(place).is_some_and(|(other, _)| other.as_ref() == key))
    }

    fn child(&self, place: usize) -> Option<&Arc<Self>> {
        self.children.get(place).and_then(Option::as_ref)
    }

    /// This node with another child at a place.
    fn with_child(&self, place: usize, child: Child) -> Arc<Self> {
        let mut children = self.children.clone();
        if let Some(slot) = children.get_mut(place) {
            *slot = child;
        }
        Self::new(self.layer, self.keys.clone(), children)
    }

    fn insert(&self, key: &Arc<str>, layer: u32, value: Cid) -> Arc<Self> {
        let (place, found) = self.place(key);
        if layer < self.layer {
            let below = match self.child(place) {
                Some(child) => child.insert(key, layer, value),
                None => Self::new(self.layer - 1, Vec::new(), vec![None]).insert(key, layer, value),
            };
            return self.with_child(place, Some(below));
        }
        let (mut keys, mut children) = (self.keys.clone(), self.children.clone());
        if found {
            keys.splice(place..=place, [(Arc::clone(key), value)]);
        } else {
            let (left, right) = self.child(place).map_or((None, None), |child| child.split(key));
            keys.insert(place, (Arc::clone(key), value));
            children.splice(place..=place, [left, right]);
        }
        Self::new(self.layer, keys, children)
    }

    /// What of this node stands before a key, and what behind it.
    fn split(&self, key: &str) -> (Child, Child) {
        let (place, _) = self.place(key);
        let (middle_left, middle_right) =
            self.child(place).map_or((None, None), |child| child.split(key));
        let (left_keys, right_keys) = self.keys.split_at(place);
        let (left_children, right_children) = self.children.split_at(place);
        let mut left = left_children.to_vec();
        left.push(middle_left);
        let mut right = right_children.to_vec();
        right.splice(..1, [middle_right]);
        (self.part(left_keys, left), self.part(right_keys, right))
    }

    fn part(&self, keys: &[(Arc<str>, Cid)], children: Vec<Child>) -> Child {
        let is_empty = keys.is_empty() && children.iter().all(Option::is_none);
        (!is_empty).then(|| Self::new(self.layer, keys.to_vec(), children))
    }

    fn remove(self: &Arc<Self>, key: &str, layer: u32) -> Arc<Self> {
        let (place, found) = self.place(key);
        if layer < self.layer {
            let Some(child) = self.child(place) else { return Arc::clone(self) };
            let below = child.remove(key, layer);
            return self.with_child(place, (!below.is_empty()).then_some(below));
        }
        if !found {
            return Arc::clone(self);
        }
        let merged = Self::merge(self.child(place), self.child(place + 1));
        let (mut keys, mut children) = (self.keys.clone(), self.children.clone());
        keys.remove(place);
        children.splice(place..=place + 1, [merged]);
        Self::new(self.layer, keys, children)
    }

    /// Two nodes of one layer, as one.
    fn merge(left: Option<&Arc<Self>>, right: Option<&Arc<Self>>) -> Child {
        let (Some(left), Some(right)) = (left, right) else {
            return left.or(right).map(Arc::clone);
        };
        let middle = Self::merge(left.child(left.keys.len()), right.child(0));
        let keys = [left.keys.as_slice(), right.keys.as_slice()].concat();
        let mut children = left.children.clone();
        children.pop();
        children.push(middle);
        children.extend(right.children.iter().skip(1).cloned());
        Some(Self::new(left.layer, keys, children))
    }

    fn add_edge(&self, blocks: &mut Blocks, side: Side) {
        blocks.add(self.cid, &self.block);
        let place = match side {
            Side::Left => 0,
            Side::Right => self.keys.len(),
        };
        self.child(place).inspect(|child| child.add_edge(blocks, side));
    }

    fn add_all(&self, blocks: &mut Blocks) {
        blocks.add(self.cid, &self.block);
        for child in self.children.iter().flatten() {
            child.add_all(blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Cid {
        Cid::of(Codec::Drisl, text.as_bytes())
    }

    fn tree_of<'a>(keys: impl IntoIterator<Item = &'a str>) -> Tree {
        let mut tree = Tree::empty();
        for key in keys {
            tree.insert(&key.into(), value("v"));
        }
        tree
    }

    /// The roots that the specification's implementations agree on: those of the interoperability
    /// tests of the protocol, for this one value.
    #[test]
    fn roots_are_those_of_the_interoperability_tests() {
        let leaf: Cid =
            "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454".parse().unwrap();
        let root_of = |keys: &[&str]| {
            let mut tree = Tree::empty();
            for key in keys {
                tree.insert(&(*key).into(), leaf);
            }
            tree.root().to_string()
        };
        assert_eq!(root_of(&[]), "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm");
        assert_eq!(
            root_of(&["com.example.record/3jqfcqzm3fo2j"]),
            "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu"
        );
        assert_eq!(
            root_of(&["com.example.record/3jqfcqzm3fx2j"]),
            "bafyreih7wfei65pxzhauoibu3ls7jgmkju4bspy4t2ha2qdjnzqvoy33ai"
        );
    }

    proptest! {
        /// The tree follows from its keys alone, whatever the way to them was.
        #[test]
        fn the_root_does_not_depend_on_the_order_of_writes(
            keys in proptest::collection::btree_set("[a-d]{1,6}", 0..60),
            others in proptest::collection::btree_set("[e-h]{1,6}", 0..40),
            turned in any::<bool>(),
        ) {
            let straight = tree_of(keys.iter().map(String::as_str));
            let mut all: Vec<&str> = keys.iter().chain(&others).map(String::as_str).collect();
            if turned {
                all.reverse();
            }
            let mut detour = tree_of(all);
            for other in &others {
                detour.remove(other);
            }
            prop_assert_eq!(straight.root(), detour.root());
        }
    }
}
