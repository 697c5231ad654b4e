//! Our own runtime: `wingbeat-transformer`, for the encoders that it knows. Texts are packed, not
//! padded.

use std::sync::Arc;

use wingbeat_transformer::{Error, Level, Model, Workspace};

use super::{Batch, OutputSpec, Rows, Runtime, onnx};
use crate::ModelError;

/// What all workers share.
struct Shared {
    name: String,
    model: Model,
    /// The outputs that it was loaded for: their places among those of the model, and their widths.
    outputs: Vec<(usize, usize)>,
}

/// A model in `wingbeat-transformer`.
pub struct Fused {
    shared: Arc<Shared>,
    work: Workspace,
}

impl Fused {
    /// Loads a model out of its ONNX file. `name` is that of the file, for errors; it must have
    /// these outputs. `None`: it is a model of another kind, which a general runtime may run.
    ///
    /// # Errors
    ///
    /// When the file is damaged, lacks an output, or `WINGBEAT_CPU` asks for instructions that the
    /// machine does not have.
    pub fn load(name: &str, file: &[u8], outputs: &[OutputSpec]) -> Result<Option<Self>, ModelError> {
        onnx::check(name, file)?;
        let failed = |error: &Error| ModelError::new(name, error.to_string());
        let level = Level::chosen().map_err(|error| failed(&error))?;
        let model = match Model::from_onnx(file, None, level) {
            Ok(model) => model,
            Err(error) if error.is_unsupported() => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let find = |output: &OutputSpec| {
            let wanted = (output.name.as_str(), output.width);
            let at = model.outputs().position(|output| output == wanted);
            at.map(|at| (at, output.width)).ok_or_else(|| {
                let has: Vec<_> =
                    model.outputs().map(|(name, width)| format!("`{name}` of {width}")).collect();
                let OutputSpec { name: wanted, width } = output;
                let has = has.join(", ");
                ModelError::new(name, format!("it has no output `{wanted}` of {width}, but {has}"))
            })
        };
        let outputs = outputs.iter().map(find).collect::<Result<_, _>>()?;
        let shared = Shared { name: name.to_owned(), outputs, model };
        Ok(Some(Self { shared: Arc::new(shared), work: Workspace::default() }))
    }
}

impl Runtime for Fused {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn another(&self) -> Box<dyn Runtime> {
        Box::new(Self { shared: Arc::clone(&self.shared), work: Workspace::default() })
    }

    fn infer(&mut self, batch: &Batch) -> Result<Vec<Rows>, ModelError> {
        let Shared { name, model, outputs } = &*self.shared;
        let run = model.run(&mut self.work, batch.texts());
        run.map_err(|error| ModelError::new(name, error.to_string()))?;
        let rows = |(at, width): &(usize, usize)| Rows {
            width: *width,
            values: self.work.rows(*at).to_vec(),
        };
        Ok(outputs.iter().map(rows).collect())
    }
}
