//! What the network sources count, beside the items.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::contents::ReadCounters;

/// What the network sources count.
#[derive(Debug, Default)]
pub(crate) struct NetworkCounters {
    /// Messages and operations.
    pub(crate) read: ReadCounters,
    /// Connections that were made.
    pub(crate) connections: AtomicU64,
    /// Connections that were lost, given up, or could not be made.
    pub(crate) connection_failures: AtomicU64,
    /// Messages that could not be understood at all.
    pub(crate) bad_messages: AtomicU64,
    /// Sequence numbers that came twice, or out of order.
    pub(crate) order_errors: AtomicU64,
    /// Events that were known already, from before a reconnect or from another host.
    pub(crate) repeats: AtomicU64,
    /// Events of accounts that were not asked for.
    pub(crate) unwanted: AtomicU64,
    /// Intervals of which it can't be proved that everything was seen.
    pub(crate) gaps: AtomicU64,
    /// Changes from one host to another.
    pub(crate) host_switches: AtomicU64,
    /// Commits and `#sync`s that were verified in full.
    pub(crate) verified: AtomicU64,
    /// Of them, those before which nothing was known of the repository: that they are the next
    /// ones was not checked.
    pub(crate) unchained: AtomicU64,
    /// Those before which something of the account is missing.
    pub(crate) desyncs: AtomicU64,
    /// Times that what is missing could not be looked for, or not all of it.
    pub(crate) resyncs_failed: AtomicU64,
    /// Commits and `#sync`s that were refused.
    pub(crate) refused: AtomicU64,
    /// Tries to get a DID document that failed.
    pub(crate) identity_failures: AtomicU64,
}

impl NetworkCounters {
    /// As [`crate::Source::counters`].
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.read.read();
        let own = [
            ("connections", &self.connections),
            ("connection_failures", &self.connection_failures),
            ("bad_messages", &self.bad_messages),
            ("order_errors", &self.order_errors),
            ("repeats", &self.repeats),
            ("unwanted", &self.unwanted),
            ("gaps", &self.gaps),
            ("host_switches", &self.host_switches),
            ("verified", &self.verified),
            ("unchained", &self.unchained),
            ("desyncs", &self.desyncs),
            ("resyncs_failed", &self.resyncs_failed),
            ("refused", &self.refused),
            ("identity_failures", &self.identity_failures),
        ];
        counters.extend(own.map(|(name, counter)| (name, counter.load(Ordering::Relaxed))));
        counters
    }
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
