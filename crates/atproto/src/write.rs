//! Repositories that are written and signed here: for the simulated network and tests.

use std::collections::{BTreeMap, HashSet};

use crate::{
    car,
    cbor::{EncodeError, Value},
    cid::{Cid, Codec},
    commit_object::CommitObject,
    frame,
    mst::{self, MstError, Tree},
    signature::SigningKey,
    syntax::{Did, SyntaxError},
    tid::Tid,
    verify::RepoState,
};

/// A repository that is written commit by commit. It keeps the tree, not the records.
#[derive(Debug)]
pub struct RepositoryWriter {
    did: String,
    key: SigningKey,
    tree: Tree<'static>,
    state: Option<RepoState>,
    commit_block: Vec<u8>,
}

/// What is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    /// The record's path, `collection/rkey`. No two writes of one commit may have the same.
    pub path: &'a str,
    /// The record's new content, or `None` to delete it.
    pub record: Option<&'a [u8]>,
}

/// A commit that was written and signed.
#[derive(Debug, Clone)]
pub struct WrittenCommit {
    did: String,
    rev: Tid,
    since: Option<RepoState>,
    commit: Cid,
    blocks: Vec<u8>,
    ops: Vec<WrittenOp>,
}

#[derive(Debug, Clone)]
struct WrittenOp {
    path: String,
    old: Option<Cid>,
    new: Option<Cid>,
}

/// Why a commit can't be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The account's DID is none.
    #[error(transparent)]
    Did(#[from] SyntaxError),
    /// The record to delete is not there, or the path is none.
    #[error(transparent)]
    Tree(#[from] MstError),
    /// It has no form as CBOR.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl RepositoryWriter {
    /// An empty repository, of which nothing was said yet.
    pub fn new(did: &Did<'_>, key: SigningKey) -> Self {
        let did = did.as_str().to_owned();
        Self { did, key, tree: Tree::new(), state: None, commit_block: Vec::new() }
    }

    /// Signs what comes with another key.
    pub fn change_key(&mut self, key: SigningKey) {
        self.key = key;
    }

    /// The state after the last commit.
    pub fn state(&self) -> Option<RepoState> {
        self.state
    }

    /// Writes records and signs the commit. After an error nothing was written. More than
    /// [`OPS_MAX`](crate::OPS_MAX) writes make a commit that nobody accepts.
    pub fn commit(&mut self, rev: Tid, writes: &[Write<'_>]) -> Result<WrittenCommit, WriteError> {
        self.check(writes)?;
        let tree = &mut self.tree;
        let mut ops = Vec::with_capacity(writes.len());
        let mut records = Vec::new();
        for Write { path, record } in writes {
            let new = record.map(|record| Cid::of(Codec::Drisl, record));
            records.extend(new.zip(*record));
            let old = match (new, tree.get(path)?) {
                (Some(new), Some(_)) => Some(tree.replace(path, new)?),
                (Some(new), None) => {
                    tree.insert(path, new)?;
                    None
                }
                (None, _) => Some(tree.remove(path)?),
            };
            ops.push(WrittenOp { path: (*path).to_owned(), old, new });
        }
        let data = tree.root();
        let did = Did::parse(&self.did)?;
        let commit_block = CommitObject::sign(&did, rev, data, &self.key)?;
        let commit = Cid::of(Codec::Drisl, &commit_block);
        let nodes = tree.proof(writes.iter().map(|write| write.path))?;
        let blocks = encode_car(&commit_block, &nodes, records)?;
        self.commit_block = commit_block;
        let since = self.state.replace(RepoState { rev, data });
        Ok(WrittenCommit { did: self.did.clone(), rev, since, commit, blocks, ops })
    }

    /// Checks that nothing in the writes can fail.
    fn check(&mut self, writes: &[Write<'_>]) -> Result<(), MstError> {
        let mut paths = HashSet::new();
        for Write { path, record } in writes {
            mst::check_key(path.as_bytes()).map_err(MstError::Key)?;
            if !paths.insert(path) {
                return Err(MstError::KeyTwice);
            }
            if record.is_none() && self.tree.get(path)?.is_none() {
                return Err(MstError::KeyAbsent);
            }
        }
        Ok(())
    }

    /// The whole repository as a CAR, as of the last commit. The records are the caller's.
    pub fn export<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<u8>, WriteError> {
        let nodes = self.tree.nodes();
        let named = records.into_iter().map(|record| (Cid::of(Codec::Drisl, record), record));
        Ok(encode_car(&self.commit_block, &nodes, named.collect())?)
    }

    /// A `#sync` frame that says the state after the last commit.
    pub fn sync_frame(&self, seq: u64, time: &str) -> Result<Vec<u8>, WriteError> {
        let blocks = encode_car(&self.commit_block, &BTreeMap::new(), Vec::new())?;
        let rev = self.state.map(|state| state.rev.to_string()).unwrap_or_default();
        let payload = Value::Map(vec![
            ("did", Value::Text(&self.did)),
            ("rev", Value::Text(&rev)),
            ("seq", Value::Integer(seq.cast_signed())),
            ("time", Value::Text(time)),
            ("blocks", Value::Bytes(&blocks)),
        ]);
        Ok(frame::encode("#sync", &payload)?)
    }
}

fn encode_car(
    commit_block: &[u8],
    nodes: &BTreeMap<Cid, Vec<u8>>,
    records: Vec<(Cid, &[u8])>,
) -> Result<Vec<u8>, EncodeError> {
    let commit = Cid::of(Codec::Drisl, commit_block);
    let mut blocks = vec![(commit, commit_block)];
    blocks.extend(nodes.iter().map(|(cid, node)| (*cid, node.as_slice())));
    blocks.extend(records);
    car::encode(commit, &blocks)
}

impl WrittenCommit {
    /// The `#commit` frame.
    pub fn frame(&self, seq: u64, time: &str) -> Result<Vec<u8>, EncodeError> {
        let rev = self.rev.to_string();
        let since = self.since.map(|state| state.rev.to_string());
        let link = |cid: Option<Cid>| cid.map_or(Value::Null, Value::Link);
        let ops = self.ops.iter().map(|op| {
            let action = match (op.old, op.new) {
                (_, None) => "delete",
                (None, Some(_)) => "create",
                (Some(_), Some(_)) => "update",
            };
            let mut fields = vec![
                ("action", Value::Text(action)),
                ("path", Value::Text(&op.path)),
                ("cid", link(op.new)),
            ];
            if op.old.is_some() {
                fields.push(("prev", link(op.old)));
            }
            Value::Map(fields)
        });
        let payload = Value::Map(vec![
            ("ops", Value::Array(ops.collect())),
            ("rev", Value::Text(&rev)),
            ("seq", Value::Integer(seq.cast_signed())),
            ("repo", Value::Text(&self.did)),
            ("time", Value::Text(time)),
            ("blobs", Value::Array(Vec::new())),
            ("since", since.as_deref().map_or(Value::Null, Value::Text)),
            ("blocks", Value::Bytes(&self.blocks)),
            ("commit", Value::Link(self.commit)),
            ("rebase", Value::Bool(false)),
            ("tooBig", Value::Bool(false)),
            ("prevData", link(self.since.map(|state| state.data))),
        ]);
        frame::encode("#commit", &payload)
    }
}
