//! The simulated network: what a consumer of the AT Protocol talks to, on this machine.
//!
//! Floor 2. Repositories with real keys, trees and signed commits; the same events as the relay's
//! stream, as Jetstream v1 and as Jetstream v2; the endpoints that consumers need beside them; and
//! misbehaviour on command, planned or at run time. It is the load of benchmarks and the source of
//! faults in tests. What happens follows from the seed.
//!
//! | path | what |
//! |---|---|
//! | `/xrpc/com.atproto.sync.subscribeRepos` | the relay's stream |
//! | `/subscribe` | Jetstream v1 |
//! | `/xrpc/network.bsky.jetstream.subscribeEvents` | Jetstream v2 |
//! | `/xrpc/network.bsky.jetstream.getZstdDictionary` | the dictionary of v2 |
//! | `/xrpc/com.atproto.sync.getRepo` | a repository as a CAR |
//! | `/xrpc/com.atproto.identity.resolveHandle` | whose a handle is |
//! | `/did:plc:...` | a DID document, as the PLC directory gives it |
//! | `POST /simulate/FAULT?count=N` | has a fault done on this host |
//! | `/simulate/faults` | the faults that were done, as JSON lines |
//! | `/simulate/events?from=N` | the truth about up to 100,000 events from N on, as JSON lines |
//!
//! ```text
//! world ── makes, signs ──> history ──> connection (relay, v1, v2) ──> consumer
//!   └── repo, records, keys      └──> oracle          └── faults
//! ```

mod chance;
mod connection;
mod dictionary;
mod event;
mod fault;
mod filter;
mod history;
mod keys;
mod maker;
mod network;
mod options;
mod oracle;
mod records;
mod repo;
mod server;
mod subscription;
mod world;

pub use fault::{DoneFault, FAULTS, Fault, PlannedFault, UnknownFault};
pub use network::Network;
pub use options::{Afterwards, BadCursors, Mix, Options, Prepared, StartError};
