//! One configuration out of layers: defaults < pack < `wingbeat.toml` < environment < flags.
//!
//! A configuration is a struct with serde and [`schemars`] derives. Its schema is the only source
//! of truth: it says which keys exist, what they mean and what they default to, and (in the
//! extension `x-env`) which environment variables set them. From it come the refusal of unknown
//! keys with the nearest right name, the reference page, and the JSON Schema for editors.

mod layers;
mod schema;
mod span;

pub use layers::{ConfigError, Layers, Loaded, Origin};
pub use schema::{Setting, settings};
pub use span::Span;
