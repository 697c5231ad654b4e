//! Sources: what brings records in from outside. One file each.
//!
//! Floor 2. A source reads, and says where it is; it does not publish. The flow engine's ingest
//! publishes what a source yields, keeps the books over it, and saves the cursor.

mod contract;

pub use contract::{Content, Description, Event, Item, Post, Source, SourceError};
