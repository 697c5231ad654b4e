//! Which model a stage uses, as it is written in the configuration.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};
use wingbeat_hub::ModelName;

/// Who publishes the encoders that are known by a short name, such as `all-MiniLM-L6-v2`.
const SHORT_NAMES_OF: &str = "sentence-transformers";

/// Which model a stage uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ModelChoice {
    /// `linear`: the embedded linear model, the fastest.
    Linear,
    /// `encoder`: the encoder, together with the linear model: the better one.
    Encoder,
    /// `OWNER/NAME` or `OWNER/NAME@REVISION`: a model from the hub.
    Hub(ModelName),
    /// A folder that has a model in it, as Hugging Face's libraries save it; begins with `.` or `/`.
    Folder(PathBuf),
}

impl FromStr for ModelChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "linear" => Ok(Self::Linear),
            "encoder" => Ok(Self::Encoder),
            _ => named(text, "linear, encoder"),
        }
    }
}

/// A model by name; `words` are what else there is.
fn named(text: &str, words: &str) -> Result<ModelChoice, String> {
    let path = PathBuf::from(text);
    if text.starts_with('.') || path.is_absolute() {
        return Ok(ModelChoice::Folder(path));
    }
    if !text.contains('/') {
        let text = text.escape_debug();
        return Err(format!(
            "there is no model `{text}`: write {words}, OWNER/NAME[@REVISION] for one from the hub, or \
             a folder that begins with ./ or /"
        ));
    }
    text.parse().map(ModelChoice::Hub).map_err(|error: wingbeat_hub::HubError| error.to_string())
}

impl fmt::Display for ModelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linear => f.write_str("linear"),
            Self::Encoder => f.write_str("encoder"),
            Self::Hub(name) => name.fmt(f),
            Self::Folder(path) => path.display().fmt(f),
        }
    }
}

/// Which model gives embeddings: `encoder`, or one by name. A name without an owner is one of
/// sentence-transformers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmbeddingChoice(ModelChoice);

impl EmbeddingChoice {
    /// The encoder.
    pub const ENCODER: Self = Self(ModelChoice::Encoder);

    /// The model: never the linear one.
    pub fn model(&self) -> &ModelChoice {
        &self.0
    }
}

impl FromStr for EmbeddingChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "encoder" => Ok(Self::ENCODER),
            "linear" => {
                Err("the linear models give no embeddings: write encoder, or a name".to_owned())
            }
            short if !short.contains(['/', '.']) && !short.is_empty() => {
                named(&format!("{SHORT_NAMES_OF}/{short}"), "encoder").map(Self)
            }
            _ => named(text, "encoder").map(Self),
        }
    }
}

impl fmt::Display for EmbeddingChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for ModelChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ModelChoice> for String {
    fn from(choice: ModelChoice) -> Self {
        choice.to_string()
    }
}

impl TryFrom<String> for EmbeddingChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<EmbeddingChoice> for String {
    fn from(choice: EmbeddingChoice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_written() {
        for (text, is_hub) in [
            ("linear", false),
            ("encoder", false),
            ("acme/tiny", true),
            ("acme/tiny@v1", true),
            ("./model", false),
            ("../x", false),
            ("/var/models/a", false),
        ] {
            let choice: ModelChoice = text.parse().unwrap();
            assert_eq!(
                (choice.to_string().as_str(), matches!(choice, ModelChoice::Hub(_))),
                (text, is_hub)
            );
        }
        for text in ["", "linaer", "gpt2", "a/b/c", "a b/c"] {
            assert!(text.parse::<ModelChoice>().is_err(), "{text}");
        }
        let problem = "linaer".parse::<ModelChoice>().unwrap_err();
        assert!(problem.contains("write linear, encoder, OWNER/NAME"), "{problem}");
    }

    #[test]
    fn short_names_of_embeddings_are_those_of_sentence_transformers() {
        let read = |text: &str| text.parse::<EmbeddingChoice>().map(|choice| choice.to_string());
        assert_eq!(read("all-MiniLM-L6-v2").unwrap(), "sentence-transformers/all-MiniLM-L6-v2");
        assert_eq!(read("acme/tiny").unwrap(), "acme/tiny");
        assert_eq!(read("./x").unwrap(), "./x");
        assert!(read("linear").is_err() && read("").is_err() && read("a b").is_err());
    }
}
