//! A repository with signed commits. <https://atproto.com/specs/repository>,
//! <https://atproto.com/specs/sync>

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use wingbeat_atproto::{Action, Cid, Codec, Tid, cbor::Value};

use crate::{
    keys::SigningKey,
    mst::{Blocks, Tree},
};

/// The version of the repository format.
const VERSION: i64 = 3;

/// A repository.
#[derive(Debug, Clone)]
pub(crate) struct Repo {
    did: Arc<str>,
    key: SigningKey,
    state: State,
}

/// All that a commit changes.
#[derive(Debug, Clone)]
struct State {
    tree: Tree,
    records: BTreeMap<Arc<str>, (Cid, Bytes)>,
    rev: Tid,
    commit: Cid,
    commit_block: Bytes,
}

/// A record that is to be written. No content: it is to be deleted.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    /// Collection and record key, as `app.bsky.feed.post/3jzfcijpj2z2a`.
    pub(crate) path: Arc<str>,
    pub(crate) content: Option<Bytes>,
}

/// What a commit did to a record.
#[derive(Debug, Clone)]
pub(crate) struct WrittenOp {
    pub(crate) action: Action,
    pub(crate) path: Arc<str>,
    /// The record's new content, and its name.
    pub(crate) record: Option<(Cid, Bytes)>,
    /// The name of its content before.
    pub(crate) prev: Option<Cid>,
}

/// A commit, with all that its frame says.
#[derive(Debug, Clone)]
pub(crate) struct SignedCommit {
    pub(crate) rev: Tid,
    pub(crate) since: Tid,
    pub(crate) commit: Cid,
    pub(crate) prev_data: Cid,
    pub(crate) ops: Vec<WrittenOp>,
    /// The CAR of the commit object, the tree's nodes that prove the operations, the new records.
    pub(crate) car: Vec<u8>,
}

/// What is wrong with a commit, on purpose. The repository stays as it was before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFlaw {
    /// A bit of the signature is another one.
    Signature,
    /// It is made as if the last commit had not been: its revision goes back, and what it says
    /// was before is not what was.
    Fork,
}

/// How far the revision of a forked commit goes back, in microseconds.
const FORK_BACK_MICROS: u64 = 1_000_000;

impl Repo {
    /// A repository without records, with its first commit.
    pub(crate) fn new(did: Arc<str>, key: SigningKey, rev: Tid) -> Self {
        let tree = Tree::empty();
        let (commit, commit_block) = sign(&did, &key, tree.root(), rev, None);
        let state = State { tree, records: BTreeMap::new(), rev, commit, commit_block };
        Self { did, key, state }
    }

    pub(crate) fn did(&self) -> &Arc<str> {
        &self.did
    }

    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    pub(crate) fn rev(&self) -> Tid {
        self.state.rev
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.state.records.len()
    }

    /// The path of the record at an index, in the order of paths.
    pub(crate) fn path_at(&self, index: usize) -> Option<&Arc<str>> {
        self.state.records.keys().nth(index)
    }

    pub(crate) fn record(&self, path: &str) -> Option<&(Cid, Bytes)> {
        self.state.records.get(path)
    }

    /// Writes records in one commit.
    pub(crate) fn commit(
        &mut self,
        writes: Vec<Write>,
        rev: Tid,
        flaw: Option<CommitFlaw>,
    ) -> SignedCommit {
        let before = flaw.map(|_| self.state.clone());
        let (mut since, mut prev_data) = (self.state.rev, self.state.tree.root());
        let mut rev = rev;
        if flaw == Some(CommitFlaw::Fork) {
            rev = Tid::new(self.state.rev.micros().saturating_sub(FORK_BACK_MICROS), rev.clock());
            since = Tid::new(rev.micros().saturating_sub(1), rev.clock());
            prev_data = Cid::of(Codec::Drisl, b"a tree that never was");
        }
        let ops: Vec<WrittenOp> = writes.into_iter().map(|write| self.write(write)).collect();
        let data = self.state.tree.root();
        let (commit, block) = sign(&self.did, &self.key, data, rev, flaw);
        let mut blocks = Blocks::default();
        blocks.add(commit, &block);
        for op in &ops {
            self.state.tree.add_proof(&op.path, &mut blocks);
        }
        for (cid, record) in ops.iter().filter_map(|op| op.record.as_ref()) {
            blocks.add(*cid, record);
        }
        (self.state.rev, self.state.commit, self.state.commit_block) = (rev, commit, block);
        if let Some(before) = before {
            self.state = before;
        }
        SignedCommit { rev, since, commit, prev_data, ops, car: blocks.car() }
    }

    /// A new commit that no one was told of, and the CAR of its object alone: what a `#sync` says.
    pub(crate) fn commit_unseen(&mut self, writes: Vec<Write>, rev: Tid) -> Vec<u8> {
        self.commit(writes, rev, None);
        let mut blocks = Blocks::default();
        blocks.add(self.state.commit, &self.state.commit_block);
        blocks.car()
    }

    /// The whole repository as a CAR: the commit object, the tree, the records.
    pub(crate) fn car(&self) -> Vec<u8> {
        let mut blocks = Blocks::default();
        blocks.add(self.state.commit, &self.state.commit_block);
        self.state.tree.add_all(&mut blocks);
        for (cid, record) in self.state.records.values() {
            blocks.add(*cid, record);
        }
        blocks.car()
    }

    fn write(&mut self, Write { path, content }: Write) -> WrittenOp {
        let record = content.map(|content| (Cid::of(Codec::Drisl, &content), content));
        let before = match &record {
            Some((cid, content)) => {
                self.state.tree.insert(&path, *cid);
                self.state.records.insert(Arc::clone(&path), (*cid, content.clone()))
            }
            None => {
                self.state.tree.remove(&path);
                self.state.records.remove(&path)
            }
        };
        let prev = before.map(|(cid, _)| cid);
        let action = match (&record, prev) {
            (None, _) => Action::Delete,
            (Some(_), None) => Action::Create,
            (Some(_), Some(_)) => Action::Update,
        };
        WrittenOp { action, path, record, prev }
    }
}

/// Writes and signs a commit object.
fn sign(
    did: &str,
    key: &SigningKey,
    data: Cid,
    rev: Tid,
    flaw: Option<CommitFlaw>,
) -> (Cid, Bytes) {
    let rev = rev.to_string();
    let mut fields = vec![
        ("did", Value::Text(did)),
        ("rev", Value::Text(&rev)),
        ("data", Value::Link(data)),
        ("prev", Value::Null),
        ("version", Value::Integer(VERSION)),
    ];
    // Maps of different keys can always be written.
    let mut signature = key.sign(&Value::Map(fields.clone()).encode().unwrap_or_default());
    if flaw == Some(CommitFlaw::Signature) {
        signature[40] ^= 1;
    }
    fields.push(("sig", Value::Bytes(&signature)));
    let block = Bytes::from(Value::Map(fields).encode().unwrap_or_default());
    (Cid::of(Codec::Drisl, &block), block)
}
