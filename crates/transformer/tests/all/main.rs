//! Whole models, beside plain arithmetic in 32-bit floats.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

mod families;
mod made;
mod minilm;
mod onnx;
mod plain;
mod refusals;
