//! Models from files.

mod embedded;
mod exported;
mod families;
mod floats;
mod onnx;
mod quantise;

use families::parts;

use crate::{Error, Level, Model, config::Config};

impl Model {
    /// Loads a model from `config.json` and `model.safetensors`, as Hugging Face's libraries write
    /// them; its weights become bytes, with a scale for each output of a matrix.
    ///
    /// A model that classifies whole texts has the output `logits`. Any other has `mean` and `first`:
    /// the mean of the last states and the first of them, brought to length 1.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] when it is of a kind that is not run here; [`Error::Model`] when the
    /// files are damaged or do not fit one another; [`Error::Cpu`] when the machine does not have
    /// the level.
    pub fn from_safetensors(config: &[u8], weights: &[u8], level: Level) -> Result<Self, Error> {
        let config = Config::parse(config)?;
        let weights = floats::Safetensors::open(weights)?;
        Self::new(parts(config, &weights)?, level)
    }

    /// Loads a model from an ONNX file: the embedded encoder, which has all in one file, or one that
    /// was exported from Hugging Face's libraries, in floats or quantised, with its `config.json`.
    /// Weights that are signed bytes around zero are taken as they are; others become such bytes.
    ///
    /// Of the graph nothing is followed but which matrix belongs to which bias: it is taken to be what
    /// the configuration says. Outputs are those of [`Self::from_safetensors`], or the three of the
    /// embedded encoder: `sentiment`, `topics`, `embedding`.
    ///
    /// # Errors
    ///
    /// As for [`Self::from_safetensors`].
    pub fn from_onnx(file: &[u8], config: Option<&[u8]>, level: Level) -> Result<Self, Error> {
        let graph = onnx::Graph::open(file)?;
        if embedded::is_embedded(&graph) {
            return Self::new(embedded::parts(&graph)?, level);
        }
        let Some(config) = config else {
            return Err(Error::unsupported("an ONNX file without a config.json"));
        };
        Self::new(parts(Config::parse(config)?, &exported::Exported::new(graph))?, level)
    }
}
