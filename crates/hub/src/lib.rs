//! Models from the Hugging Face hub, or from a mirror of it.
//!
//! Floor 1. [`Hub::get`] finds a model by its name, downloads what is wanted of it, checks it, and
//! keeps it in a folder that the hub's own libraries read too. A download that was cut off goes on
//! where it stopped. Nothing here knows what a model is for.

mod cache;
mod client;
mod error;
mod name;
mod settings;

pub use cache::{Cache, Cached, CachedFile, Checksum};
pub use client::{Choose, Hub, Progress, Remote, RemoteFile};
pub use error::HubError;
pub use name::ModelName;
pub use settings::{HubSettings, Token};
