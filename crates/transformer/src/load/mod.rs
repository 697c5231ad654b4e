//! Models from files.

mod families;
mod floats;
mod quantise;

use families::parts;

use crate::{Error, Level, Model, config::Config};

impl Model {
    /// Loads a model from `config.json` and `model.safetensors`, as Hugging Face's libraries write
    /// them; its weights become bytes, with a scale for each output of a matrix.
    ///
    /// A model that classifies whole texts has the output `logits`. Any other has `embedding`: the
    /// mean of the last states, brought to length 1.
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
}
