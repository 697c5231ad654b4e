//! The engine.
//!
//! Floor 3. A [`Flow`] reads a stream through a durable consumer, sends batches through its
//! stages, and settles every record as emitted, filtered or dead. An [`Ingest`] brings what a
//! source reads into the log by the same rules. [`Books`] count, the [`ledger`] proves, the
//! [`audit`] compares both with the streams. A [`Pack`] declares all of it.

pub mod audit;
mod books;
mod commit;
mod dead;
mod deferral;
mod engine;
mod error;
mod follow;
mod history;
mod ingest;
pub mod ledger;
mod pack;
mod pipeline;
mod pool;
mod suffix;
mod template;

pub use books::{Books, Counts, Ticket};
pub use dead::DeadLetter;
pub use engine::Flow;
pub use error::FlowError;
pub use follow::{FollowedBooks, follow_ingest, ingest_books};
pub use ingest::{Cursor, GAP_KINDS, Ingest, IngestStatus, LegacyCursor, SavedPlace, Stages};
pub use pack::{FlowSpec, IngestSpec, Pack, PackInfo, StreamSpec};
pub use pipeline::{Meter, Pipeline, stage_item};
pub use pool::Pool;
pub use suffix::{suffixed_name, suffixed_prefix};
pub use template::SubjectTemplate;
