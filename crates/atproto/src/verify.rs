//! Whether a commit is what its account signed, and leads from the state that is known to the
//! state that it claims. <https://atproto.com/specs/sync#validation>

use crate::{
    car::{BlockError, Blocks, Car},
    cid::Cid,
    commit::{Action, Commit, RECORD_BYTES_MAX},
    commit_object::CommitObject,
    decode::DecodeError,
    frame::Sync,
    mst::{self, Change, MstError, Tree},
    signature::{PublicKey, SignatureError},
    syntax::Did,
    tid::Tid,
};

/// How far ahead of the clock a revision may be, in microseconds: the five minutes of the sync
/// specification.
pub const REV_AHEAD_MAX: u64 = 5 * 60 * 1_000_000;

/// What is known of a repository: where the next commit must start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepoState {
    /// The last revision.
    pub rev: Tid,
    /// The root of its tree.
    pub data: Cid,
}

/// Why a commit is not accepted. Each kind asks for something else of whoever gets it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A field of the frame is malformed.
    #[error("the frame: {0}")]
    Frame(DecodeError),
    /// The blocks are no CAR, one has another hash than it claims, or a record is missing.
    #[error(transparent)]
    Blocks(#[from] BlockError),
    /// The root of the blocks is not the commit that the frame names.
    #[error("the root of the blocks is not the commit object")]
    Root,
    /// The commit object is malformed.
    #[error("the commit object: {0}")]
    CommitObject(DecodeError),
    /// The frame and the signed commit object don't say the same.
    #[error("`{0}` is another in the frame than in the signed commit object")]
    OtherField(&'static str),
    /// The signature is not that of the key. The key may be outdated: it is worth to ask for the
    /// DID document once more.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The revision is more than [`REV_AHEAD_MAX`] ahead of the clock.
    #[error("the revision {0} lies in the future")]
    RevInFuture(Tid),
    /// The revision is not later than the last one: a repetition, or a commit of the past.
    #[error("the revision {rev} is not later than the last one, {last}")]
    RevNotLater {
        /// That of the commit.
        rev: Tid,
        /// That which is known.
        last: Tid,
    },
    /// The frame lacks what is needed to undo its operations: it is from an older server.
    #[error("`{0}` is missing, without which the operations can't be undone")]
    Unprovable(&'static str),
    /// The operations can't be undone in the tree.
    #[error(transparent)]
    Tree(#[from] MstError),
    /// The tree without the operations is another than the frame says.
    #[error("the operations don't lead from {told} to the tree: undone, they give {found}")]
    Inversion {
        /// The root before the commit, as the frame tells it.
        told: Cid,
        /// The root that comes out.
        found: Cid,
    },
    /// The commit is right, but does not start from the state that is known: something between is
    /// missing. The repository has to be fetched anew.
    #[error("`{0}` is not the last state that is known of the repository: commits are missing")]
    Desynchronized(&'static str),
}

/// Checks that the blocks are what their names say, and that the commit object is among them as
/// their root. This takes no key; it proves that nothing was damaged, not who wrote it.
pub fn verify_hashes(commit: &Commit<'_>) -> Result<(), VerifyError> {
    let blocks = verified_blocks(commit.blocks, Some(commit.commit()))?.1;
    blocks.get(&commit.commit())?;
    Ok(())
}

/// Checks a commit in full: every hash, the commit object against the frame, the signature, and
/// that the operations lead to the tree from the one before. `now` is the time in microseconds
/// since 1970.
///
/// With the last known state it also checks that the commit follows it; without one, the commit
/// is taken as the first. The result is the state that it leads to. What is proven covers `repo`,
/// `rev`, `commit`, `blocks`, `ops` and `prevData`, and `since` where there is a last state; `seq`
/// and `time` are the server's own words.
pub fn verify_commit(
    commit: &Commit<'_>,
    key: &PublicKey,
    last: Option<RepoState>,
    now: u64,
) -> Result<RepoState, VerifyError> {
    let rev = commit.rev().map_err(VerifyError::Frame)?;
    let did = commit.repo().map_err(VerifyError::Frame)?;
    let since = commit.since().map_err(VerifyError::Frame)?;
    check_rev(rev, last, now)?;
    let blocks = verified_blocks(commit.blocks, Some(commit.commit()))?.1;
    let state = verify_object(blocks.get(&commit.commit())?, &did, rev, key)?;
    let prev_data = match (commit.prev_data(), since) {
        (Some(prev_data), _) => prev_data,
        (None, None) => Tree::new().root(),
        (None, Some(_)) => return Err(VerifyError::Unprovable("prevData")),
    };
    verify_ops(commit, &blocks, state.data, prev_data)?;
    // Last: only what is proven may say that something is missing.
    if let Some(last) = last {
        if since != Some(last.rev) {
            return Err(VerifyError::Desynchronized("since"));
        }
        if prev_data != last.data {
            return Err(VerifyError::Desynchronized("prevData"));
        }
    }
    Ok(state)
}

/// Checks a `#sync`: the hashes, the commit object against the frame, and the signature. The
/// result is the state that the repository has now; what is in it has to be fetched.
pub fn verify_sync(
    sync: &Sync<'_>,
    key: &PublicKey,
    last: Option<RepoState>,
    now: u64,
) -> Result<RepoState, VerifyError> {
    check_rev(sync.rev, last, now)?;
    let (root, blocks) = verified_blocks(sync.blocks, None)?;
    verify_object(blocks.get(&root)?, &sync.did, sync.rev, key)
}

fn check_rev(rev: Tid, last: Option<RepoState>, now: u64) -> Result<(), VerifyError> {
    if rev.micros() > now.saturating_add(REV_AHEAD_MAX) {
        return Err(VerifyError::RevInFuture(rev));
    }
    match last {
        Some(last) if rev <= last.rev => Err(VerifyError::RevNotLater { rev, last: last.rev }),
        _ => Ok(()),
    }
}

/// The root and all blocks, their hashes checked.
pub(crate) fn verified_blocks(
    car: &[u8],
    commit: Option<Cid>,
) -> Result<(Cid, Blocks<'_>), VerifyError> {
    let car = Car::parse(car).map_err(BlockError::Car)?;
    let root = car.root().ok_or(VerifyError::Root)?;
    if commit.is_some_and(|commit| commit != root) {
        return Err(VerifyError::Root);
    }
    Ok((root, car.verified()?))
}

pub(crate) fn verify_object(
    block: &[u8],
    did: &Did<'_>,
    rev: Tid,
    key: &PublicKey,
) -> Result<RepoState, VerifyError> {
    let object = CommitObject::parse(block).map_err(VerifyError::CommitObject)?;
    if object.did != *did {
        return Err(VerifyError::OtherField("did"));
    }
    if object.rev != rev {
        return Err(VerifyError::OtherField("rev"));
    }
    object.verify_signature(key)?;
    Ok(RepoState { rev, data: object.data })
}

/// Checks that the records are there and that the operations lead from one tree to the other.
fn verify_ops(
    commit: &Commit<'_>,
    blocks: &Blocks<'_>,
    data: Cid,
    prev_data: Cid,
) -> Result<(), VerifyError> {
    let mut changes = Vec::with_capacity(commit.ops().len());
    for op in commit.ops() {
        let op = op.map_err(VerifyError::Frame)?;
        let key = op.path_text().map_err(VerifyError::Frame)?;
        if let Some(cid) = op.cid() {
            let size = blocks.get(&cid)?.len();
            if size > RECORD_BYTES_MAX {
                return Err(BlockError::TooLarge { size, max: RECORD_BYTES_MAX }.into());
            }
        }
        let old = match (op.action, op.prev()) {
            (Action::Create, None) => None,
            (Action::Create, Some(_)) => {
                let problem = "a record that is created has none";
                return Err(VerifyError::Frame(DecodeError::Value { field: "prev", problem }));
            }
            (Action::Update | Action::Delete, None) => {
                return Err(VerifyError::Unprovable("ops.prev"));
            }
            (Action::Update | Action::Delete, prev) => prev,
        };
        changes.push(Change { key, old, new: op.cid() });
    }
    let found = mst::invert(blocks, data, &changes)?;
    if found == prev_data {
        return Ok(());
    }
    Err(VerifyError::Inversion { told: prev_data, found })
}
