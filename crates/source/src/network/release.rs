//! What of an event goes out: what is not known yet, and with the handle where it is known.

use std::sync::Arc;

use serde::Deserialize;

use super::{
    counters::{NetworkCounters, count},
    handles::Handles,
    outbox::Outbox,
    recent::Recent,
};
use crate::{Content, Event, Post, payload::with_handle};

/// Lets out what is not known yet.
pub(crate) struct Release {
    recent: Recent,
    pub(crate) counters: Arc<NetworkCounters>,
    /// Where posts are to have handles.
    handles: Option<Handles>,
}

/// Of an `#identity` event: whose handle may have changed.
#[derive(Deserialize)]
struct Changed<'a> {
    #[serde(borrow)]
    did: std::borrow::Cow<'a, str>,
}

impl Release {
    pub(crate) fn new(counters: Arc<NetworkCounters>, handles: Option<Handles>) -> Self {
        Self { recent: Recent::default(), counters, handles }
    }

    /// Sends what an event has become, as far as it is new. `is_known`: all of it is known.
    pub(crate) fn event(
        &mut self,
        contents: Vec<Content>,
        rev: &str,
        is_known: bool,
        outbox: &mut Outbox,
    ) {
        for mut content in contents {
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
                self.add_handle(&mut content);
                outbox.item(content);
            } else {
                count(&self.counters.repeats);
            }
        }
    }

    fn add_handle(&self, content: &mut Content) {
        let Some(handles) = &self.handles else { return };
        match content {
            Content::Post(post) => {
                let author = post.document.as_ref().and_then(|document| document.get("author"));
                let author = author.and_then(|author| author.as_str());
                if let Some(handle) = author.and_then(|did| handles.get(&did)) {
                    *post = Post::of_bytes(with_handle(&post.payload, &handle), post.id.clone());
                }
            }
            Content::Event(Event { kind: "identity", payload, .. }) => {
                if let Ok(Changed { did }) = serde_json::from_slice(payload) {
                    handles.forget(&did);
                }
            }
            Content::Event(_) | Content::Filtered(_) | Content::Dead { .. } => {}
        }
    }
}
