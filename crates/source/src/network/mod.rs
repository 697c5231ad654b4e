//! Sources that read from the network: a relay, Jetstream, or the best of several hosts.
//!
//! One reader serves them all. It makes the connection, turns messages into items, keeps the
//! place on every host, and comes back after whatever happens: a source of the network never ends
//! by itself. What it can't prove to have seen whole it reports as a gap.
//!
//! | file | what |
//! |---|---|
//! | `endpoint`, `options` | what can be asked for |
//! | `socket`, `tls`, `http` | connections |
//! | `relay`, `jetstream`, `dictionary` | what hosts send |
//! | `start`, `gap`, `recent` | where to begin on a host, what may be missing, what comes again |
//! | `reader`, `silence`, `retry` | when to go on, to give up, to change to another host |
//! | `resolve`, `handles`, `generations` | who is behind a DID |
//! | `verify` | whether it is true |
//! | `release`, `outbox`, `source` | items on their way out |

mod counters;
mod dictionary;
mod endpoint;
mod gap;
mod generations;
mod handles;
mod host;
mod http;
mod jetstream;
mod message;
mod messages;
mod options;
mod outbox;
mod reader;
mod recent;
mod relay;
mod release;
pub mod resolve;
mod retry;
mod silence;
mod socket;
mod source;
mod start;
mod verify;

pub use endpoint::{Endpoint, Protocol};
pub(crate) use endpoint::{parse_endpoints, public_endpoints};
pub use messages::JetstreamMessages;
pub use options::{NetworkOptions, Timings, Verify};
pub use source::NetworkSource;
