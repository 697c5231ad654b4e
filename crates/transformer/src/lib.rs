//! The fastest way here to run a transformer encoder on a processor: products in 8-bit integers,
//! with all that is between them fused to them.
//!
//! ```text
//! token ids ──> embed ──> layers: qkv ──> attention ──> product, residual, norm ──┐
//!               norm                                                              │
//!               codes     ┌───────────────────────────────────────────────────────┘
//!                         └─> product, GELU ──> product, residual, norm ──> pools ──> heads
//! ```
//!
//! - Texts are packed end to end: nothing is padded. Products run over all tokens, attention over
//!   each text.
//! - Weights are signed bytes with a scale for each output; states are bytes with a scale for each
//!   token; sums are 32-bit integers, exact and the same on every machine. What is between products
//!   is in floats, and ends in the bytes that the next product reads.
//! - Kernels are chosen when a model is loaded, by what the machine has ([`Level`]), and weights
//!   are packed for them.
//!
//! It knows BERT, RoBERTa and XLM-RoBERTa. What it does not know it says
//! ([`Error::is_unsupported`]), so that a general runtime can take over.

mod config;
mod error;
mod head;
#[expect(unsafe_code, reason = "instructions of processors; kernels/mod.rs says what for")]
mod kernels;
mod load;
mod model;
mod profile;
pub mod protobuf;

pub use error::Error;
pub use kernels::Level;
pub use model::{Model, Workspace};
pub use profile::{Part, Profile};
