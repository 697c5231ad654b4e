//! Tests of the sources through their public interface.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking, and say what they skip"
)]

mod common;
mod directory;
mod file;
mod frames;
mod network;
mod network_auto;
mod network_handles;
mod network_host;
mod network_jetstream;
mod network_resolve;
mod network_verify;
mod simulator;
