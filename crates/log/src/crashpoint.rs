//! Named points at which a test can kill the process, as `kill -9` would.
//!
//! Each name's comment says what recovery must do when the process dies there. Without the
//! feature `crashpoints` the calls compile to nothing.

/// The names.
pub(crate) mod name {
    /// A group of records is half written. Nothing of the group was acknowledged: opening cuts
    /// the torn tail off.
    pub(crate) const APPEND_HALF_WRITTEN: &str = "append-half-written";
    /// A group is written but not synced, and nobody was answered. Its records may be there after
    /// opening, whole; the publisher repeats them and the duplicate window drops the copies.
    pub(crate) const APPEND_WRITTEN: &str = "append-written";
    /// A group is synced but nobody was answered. As above.
    pub(crate) const APPEND_SYNCED: &str = "append-synced";
    /// A new segment file exists, but holds no complete header. Opening removes it.
    pub(crate) const SEGMENT_CREATED: &str = "segment-created";
    /// The intent to delete a record is durable, its bytes are still there. Opening finishes it.
    pub(crate) const DELETE_INTENDED: &str = "delete-intended";
    /// The record's bytes are half overwritten. Opening finishes it.
    pub(crate) const DELETE_HALF_DONE: &str = "delete-half-done";
    /// The intent to remove a stream is durable, its files are still there. Opening finishes it.
    pub(crate) const STREAM_REMOVING: &str = "stream-removing";
    /// That a stream is purged is durable, its files are still there. Opening removes them.
    pub(crate) const PURGE_INTENDED: &str = "purge-intended";
    /// A new state file holds half of its snapshot. Opening goes by the one before it.
    pub(crate) const SNAPSHOT_HALF_WRITTEN: &str = "snapshot-half-written";
    /// A new state file is complete, the old ones are still there. Opening goes by the newest.
    pub(crate) const SNAPSHOT_WRITTEN: &str = "snapshot-written";

    /// All of them, for the test that dies at each.
    #[cfg(feature = "crashpoints")]
    pub(crate) const ALL: [&str; 10] = [
        APPEND_HALF_WRITTEN,
        APPEND_WRITTEN,
        APPEND_SYNCED,
        SEGMENT_CREATED,
        DELETE_INTENDED,
        DELETE_HALF_DONE,
        STREAM_REMOVING,
        PURGE_INTENDED,
        SNAPSHOT_HALF_WRITTEN,
        SNAPSHOT_WRITTEN,
    ];
}

/// The variable that names the point to die at, as `NAME` or `NAME:N` for its N-th visit.
#[cfg(feature = "crashpoints")]
pub const VARIABLE: &str = "WINGBEAT_CRASHPOINT";

/// The names of all crash points.
#[cfg(feature = "crashpoints")]
pub fn names() -> &'static [&'static str] {
    &name::ALL
}

/// Dies here if the environment says so.
pub(crate) fn hit(point: &str) {
    if reached(point) {
        die();
    }
}

/// Dies as `kill -9` would: no destructors, no flushing.
pub(crate) fn die() {
    #[cfg(feature = "crashpoints")]
    std::process::abort();
}

/// Whether this visit of a point is the one to die at. For points that leave something half done
/// first and then call [`die`].
#[cfg(feature = "crashpoints")]
pub(crate) fn reached(point: &str) -> bool {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static VISITS: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, visit) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), visit.parse().unwrap_or(1)))
    });
    match wanted {
        Some((name, visit)) if name == point => VISITS.fetch_add(1, Ordering::SeqCst) + 1 == *visit,
        _ => false,
    }
}

/// Never, without the feature.
#[cfg(not(feature = "crashpoints"))]
pub(crate) fn reached(_point: &str) -> bool {
    false
}
