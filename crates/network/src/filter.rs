//! What a consumer of Jetstream wants to have.

use std::collections::HashSet;

use crate::event::{Event, Kind, View};

/// The most collections that may be named.
pub(crate) const COLLECTIONS_MAX: usize = 100;

/// The most DIDs that may be named.
pub(crate) const DIDS_MAX: usize = 10_000;

/// What passes. What is empty lets everything pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// NSIDs, or beginnings of some as `app.bsky.*`. Only commits are held against them.
    pub(crate) collections: Vec<String>,
    pub(crate) dids: HashSet<String>,
    pub(crate) kinds: Vec<Kind>,
    /// Longer messages do not pass; 0: all do.
    pub(crate) message_bytes_max: usize,
}

/// A filter that can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    #[error("{0} collections: at most {COLLECTIONS_MAX} may be named")]
    Collections(usize),
    #[error("{0} DIDs: at most {DIDS_MAX} may be named")]
    Dids(usize),
    #[error("`{0}` is no kind: there are commit, identity, account, sync")]
    Kind(String),
    #[error("collections are named, but `kinds` leaves no commits")]
    NoCommits,
}

impl Filter {
    pub(crate) fn new(
        collections: Vec<String>,
        dids: Vec<String>,
        kinds: &[String],
        message_bytes_max: usize,
    ) -> Result<Self, FilterError> {
        if collections.len() > COLLECTIONS_MAX {
            return Err(FilterError::Collections(collections.len()));
        }
        if dids.len() > DIDS_MAX {
            return Err(FilterError::Dids(dids.len()));
        }
        let known = [Kind::Commit, Kind::Identity, Kind::Account, Kind::Sync];
        let find = |name: &String| {
            let found = known.into_iter().find(|kind| kind.name() == name);
            found.ok_or_else(|| FilterError::Kind(name.clone()))
        };
        let kinds = kinds.iter().map(find).collect::<Result<Vec<Kind>, FilterError>>()?;
        if !collections.is_empty() && !kinds.is_empty() && !kinds.contains(&Kind::Commit) {
            return Err(FilterError::NoCommits);
        }
        Ok(Self { collections, dids: dids.into_iter().collect(), kinds, message_bytes_max })
    }

    pub(crate) fn passes_event(&self, event: &Event) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.dids.is_empty() || self.dids.contains(&*event.did))
    }

    pub(crate) fn passes_view(&self, view: &View) -> bool {
        let Some(collection) = &view.collection else { return true };
        self.collections.is_empty()
            || self.collections.iter().any(|wanted| match wanted.strip_suffix('*') {
                Some(prefix) => collection.starts_with(prefix),
                None => wanted == collection,
            })
    }

    pub(crate) fn passes_length(&self, bytes: usize) -> bool {
        self.message_bytes_max == 0 || bytes <= self.message_bytes_max
    }
}
