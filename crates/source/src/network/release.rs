//! What of an event goes out: what is not known yet.

use std::sync::Arc;

use super::{
    counters::{NetworkCounters, count},
    outbox::Outbox,
    recent::Recent,
};
use crate::Content;

/// Lets out what is not known yet.
pub(crate) struct Release {
    recent: Recent,
    pub(crate) counters: Arc<NetworkCounters>,
}

impl Release {
    pub(crate) fn new(counters: Arc<NetworkCounters>) -> Self {
        Self { recent: Recent::default(), counters }
    }

    /// Sends what an event has become, as far as it is new. `is_known`: all of it is known.
    pub(crate) fn event(
        &mut self,
        contents: Vec<Content>,
        rev: &str,
        is_known: bool,
        outbox: &mut Outbox,
    ) {
        for content in contents {
            let is_new = match &content {
                _ if is_known => false,
                // The revision belongs to it: a post that was deleted and made again is another.
                Content::Post(post) => self.recent.insert((&post.id, rev)),
                Content::Event(known) => self.recent.insert((&known.id, rev)),
                // The message names the operation: several may have the same original.
                Content::Dead { original, cause, .. } => {
                    self.recent.insert((original, &cause.message))
                }
                Content::Filtered(_) => true,
            };
            if is_new {
                outbox.item(content);
            } else {
                count(&self.counters.repeats);
            }
        }
    }
}
