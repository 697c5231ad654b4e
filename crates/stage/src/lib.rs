//! The steps that look at records.
//!
//! Floor 2. A stage sees a batch and settles or annotates each record; one file each, and one
//! line each in [`catalogue`]. Which stages a flow has, and in which order, its pack says.

pub mod catalogue;
mod contract;
mod post;
mod stamp;

pub use catalogue::{Settings, StageError};
pub use contract::{Item, Stage, Verdict};
pub use post::PostSettings;
pub use stamp::StampSettings;
