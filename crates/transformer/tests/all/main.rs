//! Whole models, beside plain arithmetic in 32-bit floats.

mod families;
mod made;
mod minilm;
mod onnx;
mod plain;
mod refusals;
