//! Models by name: classifiers and encoders of texts as Hugging Face's libraries save them, in a
//! folder.
//!
//! ```text
//! config.json             what kind of model it is, and its labels
//! tokenizer.json          its tokenizer
//! tokenizer_config.json   how long a text may be (may be missing)
//! onnx/model.onnx         the model, or another of the names that `choose_files` knows
//! 1_Pooling/config.json, sentence_bert_config.json: of embeddings (may be missing)
//! ```
//!
//! What such a folder does not say is in the table of [`presets`](self).

mod classifier;
mod config;
mod embedder;
mod folder;
mod labels;
mod presets;

pub use classifier::{Classifier, Said, Task};
pub use embedder::Embedder;
pub use folder::{ModelFolder, choose_files};
