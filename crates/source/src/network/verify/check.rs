//! Verifying one event: work for a processor, away from the runtime's threads.

use std::sync::Arc;

use bytes::Bytes;
use wingbeat_atproto::{
    DidDocument, Frame, RepoState, VerifyError, frame::Sync, verify_commit, verify_sync,
};

/// An event of an account, with what is known about the account.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) did: Arc<str>,
    /// The frame of a commit or a `#sync`.
    pub(super) frame: Bytes,
    pub(super) document: Arc<DidDocument>,
    pub(super) last: Option<RepoState>,
}

/// What has come out.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) did: Arc<str>,
    pub(super) document: Arc<DidDocument>,
    pub(super) result: Result<Proven, VerifyError>,
}

/// An event that is what its account has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proven {
    /// The state that it leads to.
    pub(super) state: RepoState,
    /// The state before it, where one is known.
    pub(super) last: Option<RepoState>,
    /// Why it does not go on from there, if it does not.
    pub(super) jump: Option<&'static str>,
}

impl Job {
    /// Verifies the event. `now` is the time in microseconds since 1970.
    pub(super) fn run(self, now: u64) -> Checked {
        let Self { did, frame, document, last } = self;
        let key = &document.signing_key;
        let result = match Frame::decode(&frame) {
            Ok(Frame::Commit(commit)) => match verify_commit(&commit, key, last, now) {
                // It is sound by itself; what it does not prove is that it is the next one.
                Err(VerifyError::Desynchronized(jump)) => {
                    let state = verify_commit(&commit, key, None, now);
                    state.map(|state| Proven { state, last, jump: Some(jump) })
                }
                result => result.map(|state| Proven { state, last, jump: None }),
            },
            Ok(Frame::Sync(sync)) => check_sync(&sync, &document, last, now),
            // It was one a moment ago.
            _ => Err(VerifyError::Root),
        };
        Checked { did, document, result }
    }
}

fn check_sync(
    sync: &Sync<'_>,
    document: &DidDocument,
    last: Option<RepoState>,
    now: u64,
) -> Result<Proven, VerifyError> {
    let key = &document.signing_key;
    let state = match verify_sync(sync, key, last, now) {
        // A server may say again what the state is.
        Err(error @ VerifyError::RevNotLater { .. }) => {
            let state = verify_sync(sync, key, None, now)?;
            if Some(state) != last {
                return Err(error);
            }
            state
        }
        result => result?,
    };
    let is_jump = last.is_some_and(|last| last.data != state.data);
    Ok(Proven { state, last, jump: is_jump.then_some("sync") })
}

/// What dead letters call an error.
pub(super) fn kind_of(error: &VerifyError) -> &'static str {
    match error {
        VerifyError::Signature(_) => "bad_signature",
        VerifyError::RevInFuture(_) => "rev_in_future",
        VerifyError::RevNotLater { .. } => "rev_not_later",
        VerifyError::Unprovable(_) => "unprovable",
        VerifyError::Tree(_) | VerifyError::Inversion { .. } => "bad_tree",
        VerifyError::Blocks(_) => "bad_blocks",
        VerifyError::Frame(_)
        | VerifyError::Root
        | VerifyError::CommitObject(_)
        | VerifyError::OtherField(_)
        | VerifyError::Desynchronized(_) => "bad_commit",
    }
}
