//! Tests of the whole crate through its public interface.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking, and say what they skip"
)]

mod common;
mod conformance;
mod frames;
mod hostile;
mod mst;
mod recording;
mod signatures;
mod vectors;
mod verify;
