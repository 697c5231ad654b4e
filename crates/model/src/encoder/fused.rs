//! Our own runtime: `wingbeat-transformer`, for the encoders that it knows. Texts are packed, not
//! padded.

use std::sync::Arc;

use wingbeat_transformer::{Error, Level, Model, Workspace};

use super::{Batch, Layout, ModelFiles, ModelSpec, Outline, OutputSpec, Pooling, Rows, Runtime};
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
    /// Whether it has kernels for this machine. Elsewhere it runs too, in plain Rust, which is far
    /// slower than a general runtime.
    pub fn is_fast() -> bool {
        Level::best() > Level::Portable
    }

    /// Which instructions it uses here, and why, for people.
    ///
    /// # Errors
    ///
    /// When `WINGBEAT_CPU` asks for instructions that the machine does not have.
    pub fn instructions() -> Result<String, ModelError> {
        let chosen =
            Level::chosen().map_err(|error| ModelError::new("fused", error.to_string()))?;
        let named = |is: fn(&Level) -> bool| {
            Level::available().filter(is).map(Level::name).collect::<Vec<_>>().join(", ")
        };
        let why = match chosen == Level::best() {
            true => "the fastest",
            false => "as WINGBEAT_CPU says",
        };
        let has = named(|_| true);
        let wrong = named(|level| !level.is_right());
        let wrong = match wrong.as_str() {
            "" => String::new(),
            wrong => format!(", but computes wrongly with {wrong}"),
        };
        Ok(format!("{}, {why}; this machine has {has}{wrong}", chosen.name()))
    }

    /// Loads a model. It must have these outputs. `Err` inside `Ok`: it is a model of another kind,
    /// which a general runtime may run; it says which.
    ///
    /// # Errors
    ///
    /// When the file is damaged, lacks an output, or `WINGBEAT_CPU` asks for instructions that the
    /// machine does not have.
    pub fn load(files: &ModelFiles, spec: &ModelSpec) -> Result<Result<Self, String>, ModelError> {
        let ModelFiles { name, model: file, config } = files;
        let failed = |error: &Error| ModelError::new(name, error.to_string());
        let level = Level::chosen().map_err(|error| failed(&error))?;
        let model = match (files.is_safetensors(), config) {
            (true, Some(config)) => Model::from_safetensors(config, file.bytes(), level),
            (true, None) => return Err(ModelError::new(name, "it has no `config.json`")),
            (false, config) => {
                Outline::read(name, file.bytes())?.check(name, spec)?;
                Model::from_onnx(file.bytes(), config.as_deref(), level)
            }
        };
        // An export that is not what its configuration says may still be run by who follows its
        // graph.
        let is_export = config.is_some() && !files.is_safetensors();
        let model = match model {
            Ok(model) => model,
            Err(error) if error.is_unsupported() || is_export => return Ok(Err(error.to_string())),
            Err(error) => return Err(failed(&error)),
        };
        let find = |wanted: &OutputSpec| {
            let name = match wanted.pooling {
                None => wanted.name.as_str(),
                Some(Pooling::Mean) => "mean",
                Some(Pooling::First) => "first",
            };
            let fits = |found: usize| wanted.width.is_none_or(|width| width == found);
            let is_it = |(_, (has, width)): &(usize, (&str, usize))| *has == name && fits(*width);
            let found = model.outputs().enumerate().find(is_it);
            found.map(|(at, (_, width))| (at, width)).ok_or_else(|| {
                format!("not a model for this encoder: it has no output like `{}`", wanted.name)
            })
        };
        let outputs = match spec.outputs.iter().map(find).collect() {
            Ok(outputs) => outputs,
            Err(problem) => return Ok(Err(problem)),
        };
        let shared = Shared { name: name.clone(), outputs, model };
        Ok(Ok(Self { shared: Arc::new(shared), work: Workspace::default() }))
    }
}

impl Runtime for Fused {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn layout(&self) -> Layout {
        Layout::Packed
    }

    fn times(self: Box<Self>, count: usize) -> Result<Vec<Box<dyn Runtime>>, ModelError> {
        let one = || Self { shared: Arc::clone(&self.shared), work: Workspace::default() };
        Ok((0..count).map(|_| Box::new(one()) as _).collect())
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
