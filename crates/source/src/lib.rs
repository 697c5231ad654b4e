//! Sources: what brings records in from outside. One file each.
//!
//! Floor 2. A source reads, and says where it is; it does not publish. The flow engine's ingest
//! publishes what a source yields, keeps the books over it, and saves the cursor.
//!
//! | spec | source |
//! |---|---|
//! | `file:PATH`, `file:-` | JSON lines of a file or of standard input, plain, gzip or zstd |
//! | `frames:PATH` | a recording of firehose frames |
//! | `auto`, `auto:v2=wss://HOST,relay=wss://HOST` | the best host of the network that can be read |
//! | `relay`, `relay:wss://HOST` | the firehose of a relay |
//! | `jetstream`, `jetstream:wss://HOST`, `jetstream1:wss://HOST` | Jetstream, version 2 and 1 |
//! | `simulator`, `simulator:seed=7,rate=500` | made-up posts |
//!
//! A new source is one file and one line in `spec.rs`.

mod contents;
mod contract;
mod dead;
mod feed;
mod file;
mod frame_contents;
mod frames;
mod input;
pub mod network;
mod pace;
mod payload;
pub mod simulator;
mod spec;

pub use contract::{
    Connection, Content, Description, Event, Item, Place, Post, Resume, Source, SourceError,
};
pub use dead::{ORIGINAL_BYTES_MAX, ORIGINAL_CUT_BYTES};
pub use file::{FileSource, LINE_BYTES_MAX};
pub use frame_contents::contents_of_frame;
pub use frames::FramesSource;
pub use input::InputPath;
pub use pace::{Pace, RATE_MAX};
pub use spec::{OpenOptions, SourceSpec, open};

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
