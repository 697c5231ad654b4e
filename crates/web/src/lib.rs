//! The dashboard's server.
//!
//! Floor 4. A [`Hub`] reads the enriched stream once, however many browsers watch, and keeps the
//! last posts and the moods of the last hour. [`serve`] answers: the page, the events, the API
//! (docs/reference/http-api.md). Everything that comes from a post is untrusted text; nothing here
//! looks into it further than it must.

mod analyze;
mod assets;
mod events;
mod hub;
mod metrics;
mod moods;
mod readiness;
mod server;
mod service;
mod wanted;

pub use analyze::{Analyst, AnalystCell};
pub use hub::{Hub, Sources, Streams};
pub use metrics::{write_flows as flow_metrics, write_own as books_metrics};
pub use readiness::{Readiness, Waiting};
pub use server::{Server, WebError, WebSettings};
pub use service::{ServiceReport, ServiceServer};

use serde::Serialize;

/// What the source is doing, for the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// `file`, `frames`, `simulator`.
    pub kind: String,
    /// The source as it was asked for.
    pub spec: String,
    /// Whether its posts are made up.
    pub simulated: bool,
    /// What it is doing.
    pub state: SourceState,
    /// Why, where that helps.
    pub message: Option<String>,
    /// The host that the posts come from, for sources that have one.
    pub host: Option<String>,
    /// How many intervals were reported of which the source can't prove that it saw everything.
    pub gaps: u64,
}

/// What a source is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// It reads.
    Running,
    /// It tries to reach a host.
    Connecting,
    /// It has lost its host, and tries again.
    Broken,
    /// It has come to its end.
    Ended,
    /// It was stopped.
    Stopped,
    /// It failed.
    Failed,
}
