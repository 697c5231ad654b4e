//! AT Protocol bytes: what the firehose sends, taken apart and checked.
//!
//! Floor 1: no I/O, no clock, and no other crate of the workspace. Whatever comes in is hostile;
//! nothing here panics on it, and nothing takes more memory than a few times its size ([`mst`] says
//! what its nodes take).
//!
//! - [`cbor`]: DRISL-CBOR, read in place and written
//! - [`Cid`], [`Tid`], [`Did`], [`Nsid`], [`RecordKey`], [`RecordUri`]: the names of things
//! - [`car`]: blocks behind their CIDs
//! - [`frame`]: one message of the firehose; [`Commit`] is the one that carries records
//! - [`verify_commit`], [`verify_hashes`], [`verify_sync`]: whether it is as the account signed it;
//!   [`PublicKey`] and [`DidDocument`] are what that takes, [`mst`] is the tree that it is about
//! - [`repository`]: all records of a repository
//! - [`Post`], [`to_json`]: what is in a record

pub mod car;
pub mod cbor;
mod cid;
mod commit;
mod commit_object;
mod decode;
mod did;
pub mod frame;
mod json;
pub mod mst;
mod post;
pub mod repository;
mod signature;
mod syntax;
mod tid;
mod verify;
#[cfg(feature = "sign")]
pub mod write;

pub use car::{BlockError, Blocks, Car, CarError};
pub use cid::{CID_BYTES, CID_TEXT_BYTES, Cid, CidError, CidText, Codec};
pub use commit::{Action, BLOCKS_BYTES_MAX, Commit, OPS_MAX, Op, Ops, RECORD_BYTES_MAX};
pub use commit_object::{CommitObject, REPOSITORY_VERSION};
pub use decode::DecodeError;
pub use did::{DID_DOCUMENT_BYTES_MAX, DidDocument, DidDocumentError};
pub use frame::{FRAME_BYTES_MAX, Frame, FrameError};
pub use json::to_json;
pub use post::{POST_COLLECTION, Post, Reply, SELF_LABELS};
#[cfg(feature = "sign")]
pub use signature::SigningKey;
pub use signature::{Curve, KeyError, PublicKey, SIGNATURE_BYTES, SignatureError};
pub use syntax::{
    DID_BYTES_MAX, Did, HANDLE_BYTES_MAX, Handle, NSID_BYTES_MAX, Nsid, RECORD_KEY_BYTES_MAX,
    RecordKey, RecordPath, RecordUri, SyntaxError,
};
pub use tid::{TID_TEXT_BYTES, Tid, TidError};
pub use verify::{
    REV_AHEAD_MAX, RepoState, VerifyError, verify_commit, verify_hashes, verify_sync,
};
