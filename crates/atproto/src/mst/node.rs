//! One node of the tree, read strictly and written.

use super::{MstError, NODE_ENTRIES_MAX, NodeProblem, check_key, common_prefix, layer};
use crate::{
    car::Blocks,
    cbor::{self, CborError, Entries, Reader, major},
    cid::{Cid, Codec},
};

/// One node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its name, as long as it is as it was read.
    pub(super) cid: Option<Cid>,
    /// The layer of all its keys.
    pub(super) layer: u8,
    /// What lies before its first key.
    pub(crate) left: Link,
    /// Its keys, in order.
    pub(crate) entries: Vec<Entry>,
}

/// A key of a node.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The record's path.
    pub(crate) key: Box<[u8]>,
    /// The record's name.
    pub(crate) value: Cid,
    /// What lies between this key and the next one.
    pub(crate) right: Link,
}

/// A part of the tree: nothing, a node by its name, or a node.
#[derive(Debug, Clone, Default)]
pub(crate) enum Link {
    /// Nothing.
    #[default]
    None,
    /// A node that was not looked at yet.
    Named(Cid),
    /// A node.
    Loaded(Box<Node>),
}

/// What the place of a node in the tree demands of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place<'k> {
    /// Its layer. `None` for the root: it has that of its keys.
    pub(super) layer: Option<u8>,
    /// The key that all of its keys lie behind.
    pub(super) after: Option<&'k [u8]>,
    /// The key that all of its keys lie before.
    pub(super) before: Option<&'k [u8]>,
}

impl Place<'_> {
    /// What it demands of the layer alone.
    pub(crate) fn layer_only(self) -> Place<'static> {
        Place { layer: self.layer, after: None, before: None }
    }
}

impl Link {
    /// The node, loaded where it was not yet; `None` where there is none.
    pub(super) fn load(
        &mut self,
        blocks: &Blocks<'_>,
        place: Place<'_>,
    ) -> Result<Option<&mut Node>, MstError> {
        if let Self::Named(cid) = *self {
            let block = blocks.get(&cid).map_err(|_| MstError::Missing(cid))?;
            let node = Node::parse(cid, block, place)?;
            // An empty tree is a node that is empty, which stands nowhere else.
            *self = if node.is_empty() { Self::None } else { Self::Loaded(Box::new(node)) };
        }
        Ok(match self {
            Self::Loaded(node) => Some(node),
            Self::None | Self::Named(_) => None,
        })
    }

    /// The name of the node, made anew where the node was changed.
    pub(super) fn name(&mut self) -> Option<Cid> {
        match self {
            Self::None => None,
            Self::Named(cid) => Some(*cid),
            Self::Loaded(node) => Some(node.name()),
        }
    }

    /// A node, or nothing where the node is empty.
    pub(super) fn to(node: Box<Node>) -> Self {
        if node.is_empty() { Self::None } else { Self::Loaded(node) }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl Node {
    /// A node without keys.
    pub(super) fn new(layer: u8, left: Link) -> Self {
        Self { cid: None, layer, left, entries: Vec::new() }
    }

    /// Whether there is nothing in it and below it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.left.is_none()
    }

    /// Where the key is (`Ok`), or before which entry it would be (`Err`).
    pub(super) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.key.as_ref().cmp(key))
    }

    /// What lies before the entry at this index, and what its place demands. The index is not
    /// larger than the number of entries.
    pub(crate) fn child<'n>(
        &'n mut self,
        index: usize,
        place: Place<'n>,
    ) -> (&'n mut Link, Place<'n>) {
        let layer = Some(self.layer.saturating_sub(1));
        let (head, tail) = self.entries.split_at_mut(index);
        let before = tail.first().map(|entry| entry.key.as_ref()).or(place.before);
        match head.last_mut() {
            None => (&mut self.left, Place { layer, after: place.after, before }),
            Some(entry) => (&mut entry.right, Place { layer, after: Some(&entry.key), before }),
        }
    }

    /// What lies before the entry at this index, to be changed: with it the node changes.
    pub(super) fn child_to_change(&mut self, index: usize) -> &mut Link {
        self.cid = None;
        self.child(index, Place::default()).0
    }

    /// Reads a node that has this name.
    pub(crate) fn parse(cid: Cid, block: &[u8], place: Place<'_>) -> Result<Self, MstError> {
        let fail = |problem| MstError::Node { cid, problem };
        let mut node = Self::read(block).map_err(fail)?;
        node.cid = Some(cid);
        node.check(place).map_err(|problem| fail(NodeProblem::Shape(problem)))?;
        Ok(node)
    }

    fn read(block: &[u8]) -> Result<Self, NodeProblem> {
        let mut reader = Reader::new(block);
        let mut fields = reader.map()?;
        expect_key(&mut fields, &mut reader, b"e")?;
        let count = reader.array()?;
        if count > NODE_ENTRIES_MAX {
            return Err(NodeProblem::Shape("it has more than 4,096 entries"));
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        for _ in 0..count {
            let previous = entries.last().map_or(&[][..], |entry| &entry.key);
            let entry = Entry::read(&mut reader, previous)?;
            entries.push(entry);
        }
        expect_key(&mut fields, &mut reader, b"l")?;
        let left = read_link(&mut reader)?;
        expect_end(&mut fields, &mut reader)?;
        reader.end()?;
        Ok(Self { cid: None, layer: 0, left, entries })
    }

    /// Checks keys and layers, and takes note of the layer.
    fn check(&mut self, place: Place<'_>) -> Result<(), &'static str> {
        let mut previous = place.after;
        for entry in &self.entries {
            check_key(&entry.key)?;
            if previous.is_some_and(|previous| previous >= entry.key.as_ref()) {
                return Err("its keys are out of order");
            }
            previous = Some(&entry.key);
        }
        if previous.zip(place.before).is_some_and(|(last, before)| last >= before) {
            return Err("its keys are out of order");
        }
        self.layer = match (place.layer, self.entries.first()) {
            (Some(layer), None) if !self.left.is_none() => layer,
            (None, None) if self.left.is_none() => 0,
            (Some(_), None) => return Err("it is empty, and not the root"),
            (None, None) => return Err("it is the root, and has no key"),
            (expected, Some(first)) => expected.unwrap_or_else(|| layer(&first.key)),
        };
        if self.entries.iter().any(|entry| layer(&entry.key) != self.layer) {
            return Err("a key stands in another layer than its hash tells");
        }
        let has_child = !self.left.is_none() || self.entries.iter().any(|e| !e.right.is_none());
        if self.layer == 0 && has_child {
            return Err("it has a node below the lowest layer");
        }
        Ok(())
    }

    pub(super) fn name(&mut self) -> Cid {
        if let Some(cid) = self.cid {
            return cid;
        }
        let cid = Cid::of(Codec::Drisl, &self.encode());
        self.cid = Some(cid);
        cid
    }

    /// The block of the node.
    pub(super) fn encode(&mut self) -> Vec<u8> {
        // Heads, two links and most of a key.
        const ENTRY_BYTES: usize = 128;
        let mut out = Vec::with_capacity(64 + self.entries.len() * ENTRY_BYTES);
        cbor::write_head(&mut out, major::MAP, 2);
        out.extend_from_slice(b"\x61e");
        cbor::write_head(&mut out, major::ARRAY, self.entries.len() as u64);
        let mut previous: &[u8] = &[];
        for entry in &mut self.entries {
            let prefix = common_prefix(previous, &entry.key);
            cbor::write_head(&mut out, major::MAP, 4);
            out.extend_from_slice(b"\x61k");
            cbor::write_string(&mut out, major::BYTES, &entry.key[prefix..]);
            out.extend_from_slice(b"\x61p");
            cbor::write_head(&mut out, major::UNSIGNED, prefix as u64);
            out.extend_from_slice(b"\x61t");
            write_link(&mut out, entry.right.name());
            out.extend_from_slice(b"\x61v");
            cbor::write_link(&mut out, &entry.value);
            previous = &entry.key;
        }
        out.extend_from_slice(b"\x61l");
        write_link(&mut out, self.left.name());
        out
    }
}

impl Entry {
    fn read(reader: &mut Reader<'_>, previous: &[u8]) -> Result<Self, NodeProblem> {
        let mut fields = reader.map()?;
        expect_key(&mut fields, reader, b"k")?;
        let rest = reader.bytes()?;
        expect_key(&mut fields, reader, b"p")?;
        let prefix = usize::try_from(reader.unsigned()?).ok().and_then(|p| previous.get(..p));
        let prefix = prefix.ok_or(NodeProblem::Shape("a key shares more than there is"))?;
        if rest.first().is_some_and(|byte| previous.get(prefix.len()) == Some(byte)) {
            return Err(NodeProblem::Shape("a key shares less than it could"));
        }
        expect_key(&mut fields, reader, b"t")?;
        let right = read_link(reader)?;
        expect_key(&mut fields, reader, b"v")?;
        let value = reader.link()?;
        expect_end(&mut fields, reader)?;
        Ok(Self { key: [prefix, rest].concat().into(), value, right })
    }
}

fn read_link(reader: &mut Reader<'_>) -> Result<Link, CborError> {
    Ok(reader.link_or_null()?.map_or(Link::None, Link::Named))
}

fn write_link(out: &mut Vec<u8>, name: Option<Cid>) {
    match name {
        None => out.push(cbor::NULL),
        Some(cid) => cbor::write_link(out, &cid),
    }
}

fn expect_key<'a>(
    fields: &mut Entries<'a>,
    reader: &mut Reader<'a>,
    key: &[u8],
) -> Result<(), NodeProblem> {
    if fields.next_key(reader)? == Some(key) {
        return Ok(());
    }
    Err(NodeProblem::Shape("it has other fields than a node"))
}

fn expect_end<'a>(fields: &mut Entries<'a>, reader: &mut Reader<'a>) -> Result<(), NodeProblem> {
    if fields.next_key(reader)?.is_none() {
        return Ok(());
    }
    Err(NodeProblem::Shape("it has other fields than a node"))
}
