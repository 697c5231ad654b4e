//! What every part needs to be operated.
//!
//! Floor 0: imports no other crate of the workspace. [`config`] makes one configuration out of
//! files, environment and flags; [`logging`] sets up the program's own log lines; [`shutdown`]
//! turns signals into a clean stop; [`tls`] says whom encrypted connections trust.

pub mod config;
pub mod logging;
pub mod shutdown;
pub mod tls;
