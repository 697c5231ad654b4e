//! The second runtime: ONNX Runtime, by the crate `ort`. Its library is not part of the program: it
//! is loaded where it is installed, <https://onnxruntime.ai>.

use std::{
    borrow::Cow,
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use ort::{
    environment::Environment,
    session::{
        Session,
        builder::{GraphOptimizationLevel, PrepackedWeights},
    },
    value::Tensor,
};

use super::{Batch, ModelFile, ModelSpec, OutputSpec, Rows, Runtime, onnx::Outline};
use crate::ModelError;

/// The variable that says where the library is, as `ort` itself reads it.
const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";
/// Where it usually is, besides beside the program.
const FOLDERS: [&str; 7] = [
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/lib",
    "/opt/onnxruntime/lib",
    "/opt/homebrew/lib",
];

/// A model in ONNX Runtime.
pub struct OnnxRuntime {
    name: String,
    session: Session,
    /// Those inputs that the model has, in the order in which they are given.
    inputs: Vec<&'static str>,
    outputs: Vec<OutputSpec>,
    padding: i64,
    /// The model, as long as more sessions may be made of it.
    file: Option<ModelFile>,
    /// The weights as the operators want them, which all sessions share.
    weights: PrepackedWeights,
}

/// The library; an error says why there is none. It is looked for once.
fn library() -> Result<&'static Environment, String> {
    static LIBRARY: OnceLock<Result<Environment, String>> = OnceLock::new();
    LIBRARY.get_or_init(load_library).as_ref().map_err(Clone::clone)
}

fn load_library() -> Result<Environment, String> {
    if let Some(path) = std::env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()) {
        return load_from(Path::new(&path));
    }
    let name = format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}");
    let beside = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    let folders = beside.into_iter().chain(FOLDERS.map(PathBuf::from));
    let found = folders.map(|folder| folder.join(&name)).find(|path| path.exists());
    found.map_or_else(
        || Err(format!("{name} is in none of the usual folders")),
        |path| load_from(&path),
    )
}

fn load_from(path: &Path) -> Result<Environment, String> {
    let loaded = ort::init_from(path).map_err(|error| error.to_string())?;
    loaded.with_name("wingbeat").with_telemetry(false).build().map_err(|error| error.to_string())
}

/// Whether the library is there and can be used.
pub fn is_installed() -> bool {
    library().is_ok()
}

fn session(file: &ModelFile, weights: &PrepackedWeights) -> Result<Session, String> {
    // Every core has a worker; a session that had threads of its own would be in their way.
    let make = || -> ort::Result<Session> {
        // `load` has seen that it is there.
        let environment = library().map_err(ort::Error::new)?;
        Session::builder(environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_prepacked_weights(weights)?
            .commit_from_memory(file.bytes())
    };
    make().map_err(|error| format!("ONNX Runtime can't load it: {error}"))
}

impl OnnxRuntime {
    /// Loads a model. `name` is that of its file, for errors.
    ///
    /// # Errors
    ///
    /// When the library is not there; when the model is no sound ONNX file, needs what the runtime
    /// does not have, or lacks an input or an output.
    pub fn load(name: &str, file: ModelFile, spec: &ModelSpec) -> Result<Self, ModelError> {
        let failed = |problem: String| ModelError::new(name, problem);
        library().map_err(|problem| {
            failed(format!(
                "ONNX Runtime can't be used: {problem}; set {PATH_VARIABLE} to its library (1.17 or \
                 newer), or `stages.models.runtime` to `rten`"
            ))
        })?;
        let outline = Outline::read(name, file.bytes())?;
        outline.check(name, spec)?;
        let weights = PrepackedWeights::new();
        Ok(Self {
            name: name.to_owned(),
            session: session(&file, &weights).map_err(failed)?,
            inputs: outline.inputs().collect(),
            outputs: spec.outputs.clone(),
            padding: spec.padding.into(),
            file: Some(file),
            weights,
        })
    }

    fn another(&self, file: &ModelFile) -> Result<Self, ModelError> {
        let session = session(file, &self.weights);
        Ok(Self {
            name: self.name.clone(),
            session: session.map_err(|problem| ModelError::new(&self.name, problem))?,
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            padding: self.padding,
            file: None,
            weights: self.weights.clone(),
        })
    }

    fn run(&mut self, batch: &Batch) -> Result<Vec<Rows>, String> {
        let told = |error: ort::Error| format!("it can't be run: {error}");
        let (texts, longest) = (batch.len(), batch.longest());
        let mut ids = vec![self.padding; texts * longest];
        let mut mask = vec![0; texts * longest];
        for (text, tokens) in batch.texts().enumerate() {
            let from = text * longest;
            let places = ids.iter_mut().zip(&mut mask).skip(from);
            for ((id, seen), token) in places.zip(tokens) {
                (*id, *seen) = (i64::from(*token), 1);
            }
        }
        let types = vec![0_i64; texts * longest];
        let tensors =
            [ids, mask, types].map(|values| Tensor::from_array(([texts, longest], values)));
        let inputs = self.inputs.iter().zip(tensors);
        let inputs =
            inputs.map(|(name, tensor)| Ok((*name, tensor?))).collect::<ort::Result<Vec<_>>>();
        let found = self.session.run(inputs.map_err(told)?).map_err(told)?;
        let rows = |spec: &OutputSpec| {
            let value =
                found.get(&spec.name).ok_or_else(|| format!("it gave no `{}`", spec.name))?;
            let (shape, values) = value.try_extract_tensor::<f32>().map_err(told)?;
            let shape: Option<Vec<usize>> =
                shape.iter().map(|size| (*size).try_into().ok()).collect();
            Rows::of_tensor(spec, batch, &shape.unwrap_or_default(), Cow::Borrowed(values))
        };
        self.outputs.iter().map(rows).collect()
    }
}

impl Runtime for OnnxRuntime {
    fn name(&self) -> &'static str {
        "ort"
    }

    fn times(mut self: Box<Self>, count: usize) -> Result<Vec<Box<dyn Runtime>>, ModelError> {
        let mut all: Vec<Box<dyn Runtime>> = Vec::new();
        // Once there are enough the file is not needed any more.
        if let Some(file) = self.file.take() {
            for _ in 1..count {
                all.push(Box::new(self.another(&file)?));
            }
        }
        all.push(self);
        Ok(all)
    }

    fn infer(&mut self, batch: &Batch) -> Result<Vec<Rows>, ModelError> {
        self.run(batch).map_err(|problem| ModelError::new(&self.name, problem))
    }
}
