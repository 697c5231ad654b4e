//! A repository with signed commits. <https://atproto.com/specs/repository>,
//! <https://atproto.com/specs/sync>

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use wingbeat_atproto::{
    Action, Cid, Codec, CommitObject, Did, RepoState, SigningKey, Tid, car, mst::Tree,
    write::WriteError,
};

/// A repository.
#[derive(Debug)]
pub(crate) struct Repo {
    did: Arc<str>,
    key: SigningKey,
    state: State,
}

/// All that a commit changes.
#[derive(Debug, Clone)]
struct State {
    tree: Tree<'static>,
    records: BTreeMap<Arc<str>, (Cid, Bytes)>,
    last: RepoState,
    commit_block: Vec<u8>,
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
#[derive(Debug, Clone, Copy)]
pub(crate) enum CommitFlaw<'a> {
    /// This key signs it, which is not the account's.
    SignedBy(&'a SigningKey),
    /// It is made as if the last commit had not been: its revision goes back, and what it says
    /// was before is not what was.
    Fork,
}

/// How far the revision of a forked commit goes back, in microseconds.
const FORK_BACK_MICROS: u64 = 1_000_000;

impl Repo {
    /// A repository without records, with its first commit.
    pub(crate) fn new(did: Arc<str>, key: SigningKey, rev: Tid) -> Result<Self, WriteError> {
        let mut tree = Tree::new();
        let data = tree.root();
        let commit_block = CommitObject::sign(&Did::parse(&did)?, rev, data, &key)?;
        let last = RepoState { rev, data };
        let state = State { tree, records: BTreeMap::new(), last, commit_block };
        Ok(Self { did, key, state })
    }

    pub(crate) fn did(&self) -> &Arc<str> {
        &self.did
    }

    /// The public key as DID documents have it: `publicKeyMultibase`.
    pub(crate) fn key_multibase(&self) -> String {
        self.key.public().to_multikey()
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

    /// Writes records in one commit. No two may have the same path, and what is deleted must be
    /// there.
    pub(crate) fn commit(
        &mut self,
        writes: Vec<Write>,
        rev: Tid,
        flaw: Option<CommitFlaw<'_>>,
    ) -> Result<SignedCommit, WriteError> {
        let before = flaw.map(|_| self.state.clone());
        let committed = self.try_commit(writes, rev, flaw);
        if let Some(before) = before {
            self.state = before;
        }
        committed
    }

    fn try_commit(
        &mut self,
        writes: Vec<Write>,
        rev: Tid,
        flaw: Option<CommitFlaw<'_>>,
    ) -> Result<SignedCommit, WriteError> {
        let RepoState { rev: mut since, data: mut prev_data } = self.state.last;
        let mut rev = rev;
        if let Some(CommitFlaw::Fork) = flaw {
            rev = Tid::new(since.micros().saturating_sub(FORK_BACK_MICROS), rev.clock());
            since = Tid::new(rev.micros().saturating_sub(1), rev.clock());
            prev_data = Cid::of(Codec::Drisl, b"a tree that never was");
        }
        let ops = writes.into_iter().map(|write| self.write(write));
        let ops = ops.collect::<Result<Vec<WrittenOp>, WriteError>>()?;
        let data = self.state.tree.root();
        let key = match flaw {
            Some(CommitFlaw::SignedBy(stranger)) => stranger,
            _ => &self.key,
        };
        let commit_block = CommitObject::sign(&Did::parse(&self.did)?, rev, data, key)?;
        let nodes = self.state.tree.proof(ops.iter().map(|op| op.path.as_ref()))?;
        let records = ops.iter().filter_map(|op| op.record.as_ref());
        let (commit, car) = encode_car(&commit_block, &nodes, records)?;
        self.state.last = RepoState { rev, data };
        self.state.commit_block = commit_block;
        Ok(SignedCommit { rev, since, commit, prev_data, ops, car })
    }

    /// A new commit that no one was told of, and the CAR of its object alone: what a `#sync` says.
    pub(crate) fn commit_unseen(
        &mut self,
        writes: Vec<Write>,
        rev: Tid,
    ) -> Result<Vec<u8>, WriteError> {
        self.commit(writes, rev, None)?;
        Ok(encode_car(&self.state.commit_block, &BTreeMap::new(), [])?.1)
    }

    /// The whole repository as a CAR: the commit object, the tree, the records.
    pub(crate) fn car(&mut self) -> Result<Vec<u8>, WriteError> {
        let nodes = self.state.tree.nodes();
        Ok(encode_car(&self.state.commit_block, &nodes, self.state.records.values())?.1)
    }

    fn write(&mut self, Write { path, content }: Write) -> Result<WrittenOp, WriteError> {
        let tree = &mut self.state.tree;
        let record = content.map(|content| (Cid::of(Codec::Drisl, &content), content));
        let (action, prev) = match &record {
            None => (Action::Delete, Some(tree.remove(&path)?)),
            Some((cid, _)) if self.state.records.contains_key(&path) => {
                (Action::Update, Some(tree.replace(&path, *cid)?))
            }
            Some((cid, _)) => {
                tree.insert(&path, *cid)?;
                (Action::Create, None)
            }
        };
        match &record {
            None => self.state.records.remove(&path),
            Some(record) => self.state.records.insert(Arc::clone(&path), record.clone()),
        };
        Ok(WrittenOp { action, path, record, prev })
    }
}

/// The name of a commit object, and the CAR that it is the root of. Each block is in it once.
fn encode_car<'a>(
    commit_block: &[u8],
    nodes: &BTreeMap<Cid, Vec<u8>>,
    records: impl IntoIterator<Item = &'a (Cid, Bytes)>,
) -> Result<(Cid, Vec<u8>), WriteError> {
    let commit = Cid::of(Codec::Drisl, commit_block);
    let mut blocks = vec![(commit, commit_block)];
    blocks.extend(nodes.iter().map(|(cid, node)| (*cid, node.as_slice())));
    let mut known: HashSet<Cid> = nodes.keys().copied().collect();
    for (cid, record) in records {
        if known.insert(*cid) {
            blocks.push((*cid, record.as_ref()));
        }
    }
    Ok((commit, car::encode(commit, &blocks)?))
}
