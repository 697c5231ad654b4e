//! Any bytes as a frame: nothing panics, and a record that comes out has the hash of its name.
//!
//! `cargo +nightly fuzz run frame` in `crates/atproto`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wingbeat_atproto::{Car, Frame, Post, to_json};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Frame::Commit(commit)) = Frame::decode(bytes) else { return };
    let _ = (commit.repo(), commit.rev(), commit.since(), commit.time());
    let _ = Car::parse(commit.blocks).map(|car| car.blocks().count());
    for op in commit.ops().flatten() {
        let _ = op.path();
        let Some(cid) = op.cid else { continue };
        let Ok(record) = commit.record(&cid) else { continue };
        assert!(cid.names(record));
        let _ = Post::decode(record);
        let _ = to_json(record);
    }
});
