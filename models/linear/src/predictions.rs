//! What the models say of single texts, for another model that is blended with them.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::json;

use crate::data::Failure;

/// How a text was met.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Set {
    /// By a model of a fold that did not learn from it.
    Fold,
    /// By the model as shipped, which did not learn from it.
    HeldOut,
}

/// The logits of a text.
pub(crate) struct Prediction {
    pub(crate) set: Set,
    pub(crate) text: String,
    pub(crate) logits: Vec<f32>,
}

/// Writes one JSON object per line.
pub(crate) fn write(folder: &Path, name: &str, predictions: &[Prediction]) -> Result<(), Failure> {
    let path = folder.join(name);
    let mut lines = String::new();
    for Prediction { set, text, logits } in predictions {
        let set = match set {
            Set::Fold => "fold",
            Set::HeldOut => "held out",
        };
        let line = json!({ "set": set, "text": text, "logits": logits });
        writeln!(lines, "{line}").map_err(|error| error.to_string())?;
    }
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, lines))
        .map_err(|error| format!("{}: {error}", path.display()))
}
