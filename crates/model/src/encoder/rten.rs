//! The first runtime: the crate `rten`, in Rust alone. It reads ONNX files as they are.

use std::sync::Arc;

use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value};
use rten_tensor::{NdTensor, Tensor, prelude::*};

use super::{
    Batch, ModelFile, ModelSpec, OutputSpec, Rows, Runtime,
    onnx::{INPUTS, Outline},
};
use crate::ModelError;

/// What all workers share.
struct Shared {
    name: String,
    model: Model,
    /// Those of [`INPUTS`] that the model has.
    inputs: Vec<NodeId>,
    outputs: Vec<(NodeId, OutputSpec)>,
    padding: i32,
}

/// A model in `rten`.
pub struct Rten {
    shared: Arc<Shared>,
    /// The thread that computes for this worker; with a pool of several, `rten` would divide each
    /// operator among them, which gains less than a batch on every core does.
    thread: Arc<ThreadPool>,
}

impl Rten {
    /// Loads a model. `name` is that of its file, for errors.
    ///
    /// # Errors
    ///
    /// When it is no sound ONNX file, needs what the runtime does not have, or lacks an input or an
    /// output.
    pub fn load(name: &str, file: ModelFile, spec: &ModelSpec) -> Result<Self, ModelError> {
        let outline = Outline::read(name, file.bytes())?;
        outline.check(name, spec)?;
        let failed = |problem: String| ModelError::new(name, problem);
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let model = match file {
            ModelFile::Embedded(bytes) => options.load_static_slice(bytes),
            ModelFile::Read(bytes) => options.load(Arc::unwrap_or_clone(bytes)),
        };
        let model = model
            .map_err(|error| failed(format!("it can't be loaded: {error}; export it again")))?;
        let find = |wanted: &str| {
            model.find_node(wanted).ok_or_else(|| failed(format!("its graph has no `{wanted}`")))
        };
        let inputs = outline.inputs().map(find).collect::<Result<_, _>>()?;
        let outputs = spec.outputs.iter().map(|output| Ok((find(&output.name)?, output.clone())));
        let outputs = outputs.collect::<Result<_, ModelError>>()?;
        let padding = id(spec.padding).map_err(failed)?;
        let shared = Shared { name: name.to_owned(), inputs, outputs, padding, model };
        Ok(Self { shared: Arc::new(shared), thread: one_thread() })
    }

    fn failed(&self, problem: impl Into<String>) -> ModelError {
        ModelError::new(&self.shared.name, problem)
    }

    fn rows(&self, spec: &OutputSpec, value: Value, batch: &Batch) -> Result<Rows, ModelError> {
        let name = &spec.name;
        let tensor: Tensor<f32> = value.try_into().map_err(|error| {
            self.failed(format!("output `{name}` is not a table of numbers: {error}"))
        })?;
        let shape = tensor.shape().to_vec();
        Rows::of_tensor(spec, batch, &shape, tensor.into_data().into())
            .map_err(|problem| self.failed(problem))
    }
}

fn one_thread() -> Arc<ThreadPool> {
    Arc::new(ThreadPool::with_num_threads(1))
}

fn id(id: u32) -> Result<i32, String> {
    i32::try_from(id).map_err(|_| format!("there is no token {id}"))
}

impl Runtime for Rten {
    fn name(&self) -> &'static str {
        "rten"
    }

    fn times(self: Box<Self>, count: usize) -> Result<Vec<Box<dyn Runtime>>, ModelError> {
        let shared = Arc::clone(&self.shared);
        let more = (1..count)
            .map(|_| Box::new(Self { shared: Arc::clone(&shared), thread: one_thread() }) as _);
        let mut all: Vec<Box<dyn Runtime>> = more.collect();
        all.push(self);
        Ok(all)
    }

    fn infer(&mut self, batch: &Batch) -> Result<Vec<Rows>, ModelError> {
        let Shared { model, inputs, outputs, padding, .. } = &*self.shared;
        let shape = [batch.len(), batch.longest()];
        let mut ids = NdTensor::<i32, 2>::full(shape, *padding);
        let mut mask = NdTensor::<i32, 2>::zeros(shape);
        for (text, tokens) in batch.texts().enumerate() {
            for (at, token) in tokens.iter().enumerate() {
                ids[[text, at]] = id(*token).map_err(|problem| self.failed(problem))?;
                mask[[text, at]] = 1;
            }
        }
        let types = NdTensor::<i32, 2>::zeros(shape);
        let values: [_; INPUTS.len()] = [ids, mask, types];
        let inputs = inputs.iter().zip(values).map(|(node, value)| (*node, value.into()));
        let nodes: Vec<NodeId> = outputs.iter().map(|(node, _)| *node).collect();
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.thread)));
        let values = model
            .run(inputs.collect(), &nodes, Some(options))
            .map_err(|error| self.failed(format!("it can't be run: {error}")))?;
        let specs = outputs.iter().map(|(_, spec)| spec);
        specs.zip(values).map(|(spec, value)| self.rows(spec, value, batch)).collect()
    }
}
