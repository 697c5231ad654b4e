//! What `config.json` says about a model, in the form of Hugging Face's libraries.

use serde::Deserialize;

use crate::Error;

/// Layers at most; the largest encoders have 48.
const LAYERS_MAX: usize = 256;
/// The widest states; the widest encoders have 4,096.
const HIDDEN_MAX: usize = 8_192;
/// The widest inner layer: wider, and the sums of a product would not fit 32 bits.
const INTERMEDIATE_MAX: usize = 65_536;
/// The longest text; sums over it stay exact enough in 32-bit floats.
const POSITIONS_MAX: usize = 1 << 16;
/// The largest table of tokens.
const VOCABULARY_MAX: usize = 1 << 22;
/// Widths are a multiple of this: the bytes of a cache line, and of a tile's row.
const WIDTH_STEP: usize = 64;
/// The numbers of a head are a multiple of this: the floats of the longest vector.
const HEAD_STEP: usize = 16;

/// How positions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// From 0, and there are token types.
    Bert,
    /// From behind the padding's own position.
    Roberta,
}

/// The sizes of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) family: Family,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) layers: usize,
    pub(crate) intermediate: usize,
    pub(crate) epsilon: f32,
    pub(crate) vocabulary: usize,
    /// Rows of the table of positions.
    pub(crate) positions: usize,
    /// Rows of that table that come before the first token's.
    pub(crate) offset: usize,
    /// Rows of the table of token types.
    pub(crate) types: usize,
    /// The model has a head that classifies the whole text.
    pub(crate) classifies: bool,
}

/// The fields of `config.json` that matter.
#[derive(Deserialize)]
struct File {
    model_type: String,
    #[serde(default)]
    architectures: Vec<String>,
    hidden_size: usize,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    intermediate_size: usize,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default = "epsilon")]
    layer_norm_eps: f32,
    vocab_size: usize,
    max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: usize,
    pad_token_id: Option<usize>,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
}

fn gelu() -> String {
    "gelu".to_owned()
}

fn epsilon() -> f32 {
    1e-12
}

impl Config {
    /// Reads the file.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, Error> {
        let general: serde_json::Value = serde_json::from_slice(file)
            .map_err(|error| Error::model(format!("config.json is no JSON: {error}")))?;
        let family = match general.get("model_type").and_then(serde_json::Value::as_str) {
            Some("bert") => Family::Bert,
            Some("roberta" | "xlm-roberta") => Family::Roberta,
            Some(other) => return Err(Error::unsupported(format!("family `{other}`"))),
            None => return Err(Error::model("config.json has no `model_type`")),
        };
        let file: File = serde_json::from_value(general)
            .map_err(|error| Error::model(format!("config.json: {error}")))?;
        let offset = match family {
            Family::Bert => 0,
            Family::Roberta => file.pad_token_id.unwrap_or(1).saturating_add(1),
        };
        let absolute = file.position_embedding_type.as_deref().unwrap_or("absolute") == "absolute";
        if file.hidden_act != "gelu" || !absolute || file.is_decoder {
            return Err(Error::unsupported(format!(
                "`{}` with the activation `{}`, absolute positions: {absolute}, decoder: {}",
                file.model_type, file.hidden_act, file.is_decoder
            )));
        }
        let classifies =
            file.architectures.iter().any(|name| name.ends_with("ForSequenceClassification"));
        let config = Self {
            family,
            hidden: file.hidden_size,
            heads: file.num_attention_heads,
            layers: file.num_hidden_layers,
            intermediate: file.intermediate_size,
            epsilon: file.layer_norm_eps,
            vocabulary: file.vocab_size,
            positions: file.max_position_embeddings,
            offset,
            types: file.type_vocab_size,
            classifies,
        };
        config.check()?;
        Ok(config)
    }

    /// Refuses sizes that there are no kernels for.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |problem: String| Err(Error::Unsupported(problem));
        for (name, width, max) in
            [("hidden", self.hidden, HIDDEN_MAX), ("inner", self.intermediate, INTERMEDIATE_MAX)]
        {
            if width == 0 || !width.is_multiple_of(WIDTH_STEP) || width > max {
                return refuse(format!(
                    "{name} width {width}: it must be a multiple of {WIDTH_STEP}, up to {max}"
                ));
            }
        }
        let heads = self.heads;
        if heads == 0
            || !self.hidden.is_multiple_of(heads)
            || !(self.hidden / heads).is_multiple_of(HEAD_STEP)
        {
            return refuse(format!(
                "{heads} heads of the width {}: each must have a multiple of {HEAD_STEP}",
                self.hidden
            ));
        }
        for (name, count, max) in [
            ("layers", self.layers, LAYERS_MAX),
            ("tokens", self.vocabulary, VOCABULARY_MAX),
            ("positions", self.positions, POSITIONS_MAX),
        ] {
            if count == 0 || count > max {
                return refuse(format!("{count} {name}: 1 to {max} can be run"));
            }
        }
        if self.offset >= self.positions {
            return Err(Error::model(format!(
                "config.json: no text fits {} positions that begin behind {}",
                self.positions, self.offset
            )));
        }
        if !(self.epsilon.is_finite() && self.epsilon >= 0.0) {
            return Err(Error::model(format!("config.json: layer_norm_eps is {}", self.epsilon)));
        }
        Ok(())
    }

    /// The tokens of a text at most.
    pub(crate) fn length_max(&self) -> usize {
        self.positions - self.offset
    }
}
