//! Inference.
//!
//! Floor 1. [`linear`] holds the models that ship inside the program and need no download: the
//! fastest tier. The code that trains them lives in `models/linear`, and uses the featuriser of
//! this crate, so that training and inference see the same thing.
//!
//! [`encoder`] runs an encoder: slower, and better. [`hugging_face`] runs other models by name.
//! What they say of a text, a [`Judge`] puts together. [`occlusion`] finds what each word of a text
//! adds to that.

pub mod encoder;
mod error;
pub mod hugging_face;
mod judge;
mod labels;
pub mod linear;
pub mod measure;
pub mod occlusion;

pub use error::ModelError;
pub use judge::{Judge, Reader, Reading};
pub use labels::{Language, Sentiment, TOPIC_LABELS, Topics, index_of_max};
