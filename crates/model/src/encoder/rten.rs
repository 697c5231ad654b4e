//! The first runtime: the crate `rten`, in Rust alone. It reads ONNX files as they are.

use std::sync::Arc;

use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value};
use rten_tensor::{NdTensor, prelude::*};

use super::{Batch, OutputSpec, Rows, Runtime, onnx};
use crate::ModelError;

/// The inputs of a model: token ids, and 1 where there is one, 0 where there is padding.
const INPUTS: [&str; 2] = ["input_ids", "attention_mask"];

/// The file of a model.
#[derive(Debug, Clone)]
pub enum ModelFile {
    /// Part of the program: it is not copied.
    Embedded(&'static [u8]),
    /// Read from somewhere.
    Read(Vec<u8>),
}

impl ModelFile {
    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Embedded(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

/// What all workers share.
struct Shared {
    name: String,
    model: Model,
    inputs: [NodeId; 2],
    outputs: Vec<(NodeId, OutputSpec)>,
}

/// A model in `rten`.
pub struct Rten {
    shared: Arc<Shared>,
    /// The thread that computes for this worker; with a pool of several, `rten` would divide each
    /// operator among them, which gains less than a batch on every core does.
    thread: Arc<ThreadPool>,
}

impl Rten {
    /// Loads a model. `name` is that of its file, for errors; it must have these outputs.
    ///
    /// # Errors
    ///
    /// When it is no sound ONNX file, needs what the runtime does not have, or lacks an input or an
    /// output.
    pub fn load(name: &str, file: ModelFile, outputs: &[OutputSpec]) -> Result<Self, ModelError> {
        onnx::check(name, file.bytes())?;
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let model = match file {
            ModelFile::Embedded(bytes) => options.load_static_slice(bytes),
            ModelFile::Read(bytes) => options.load(bytes),
        };
        let model = model.map_err(|error| {
            ModelError::new(name, format!("it can't be loaded: {error}; export it again"))
        })?;
        let lacks = |kind: &str, wanted: &str, has: &[NodeId]| {
            let name_of = |node: &NodeId| model.node_info(*node)?.name();
            let has: Vec<&str> = has.iter().filter_map(name_of).collect();
            let problem = format!(
                "it has no {kind} `{wanted}`, but `{}`: it is another kind of model, or was \
                 exported otherwise",
                has.join("`, `")
            );
            ModelError::new(name, problem)
        };
        let find = |kind: &str, wanted: &str, has: &[NodeId]| {
            let found = model.find_node(wanted).filter(|node| has.contains(node));
            found.ok_or_else(|| lacks(kind, wanted, has))
        };
        let [ids, mask] = INPUTS.map(|input| find("input", input, model.input_ids()));
        let inputs = [ids?, mask?];
        if model.input_ids().len() > inputs.len() {
            return Err(ModelError::new(
                name,
                format!(
                    "it asks for more inputs than `{}`: export it without",
                    INPUTS.join("`, `")
                ),
            ));
        }
        let outputs = outputs
            .iter()
            .map(|output| Ok((find("output", &output.name, model.output_ids())?, output.clone())));
        let outputs = outputs.collect::<Result<Vec<_>, ModelError>>()?;
        let shared = Shared { name: name.to_owned(), inputs, outputs, model };
        Ok(Self { shared: Arc::new(shared), thread: one_thread() })
    }

    fn failed(&self, problem: impl Into<String>) -> ModelError {
        ModelError::new(&self.shared.name, problem)
    }

    fn rows(&self, spec: &OutputSpec, value: Value, texts: usize) -> Result<Rows, ModelError> {
        let OutputSpec { name, width } = spec;
        let tensor: NdTensor<f32, 2> = value.try_into().map_err(|error| {
            self.failed(format!("output `{name}` is not a table of numbers: {error}"))
        })?;
        if tensor.shape() != [texts, *width] {
            let shape = tensor.shape();
            return Err(self.failed(format!(
                "output `{name}` has the shape {shape:?}, not [{texts}, {width}]"
            )));
        }
        Ok(Rows { width: *width, values: tensor.into_data() })
    }
}

fn one_thread() -> Arc<ThreadPool> {
    Arc::new(ThreadPool::with_num_threads(1))
}

impl Runtime for Rten {
    fn name(&self) -> &'static str {
        "rten"
    }

    fn another(&self) -> Box<dyn Runtime> {
        Box::new(Self { shared: Arc::clone(&self.shared), thread: one_thread() })
    }

    fn infer(&mut self, batch: &Batch) -> Result<Vec<Rows>, ModelError> {
        let shape = [batch.len(), batch.longest()];
        let mut ids = NdTensor::<i32, 2>::zeros(shape);
        let mut mask = NdTensor::<i32, 2>::zeros(shape);
        for (text, tokens) in batch.texts().enumerate() {
            for (at, id) in tokens.iter().enumerate() {
                ids[[text, at]] = i32::try_from(*id)
                    .map_err(|_| self.failed(format!("there is no token {id}")))?;
                mask[[text, at]] = 1;
            }
        }
        let Shared { model, inputs, outputs, .. } = &*self.shared;
        let nodes: Vec<NodeId> = outputs.iter().map(|(node, _)| *node).collect();
        let inputs = vec![(inputs[0], ids.into()), (inputs[1], mask.into())];
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.thread)));
        let values = model
            .run(inputs, &nodes, Some(options))
            .map_err(|error| self.failed(format!("it can't be run: {error}")))?;
        let specs = outputs.iter().map(|(_, spec)| spec);
        specs.zip(values).map(|(spec, value)| self.rows(spec, value, batch.len())).collect()
    }
}
