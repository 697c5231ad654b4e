//! The files of an encoder: part of the program, or in a folder.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::ModelError;

/// The model.
const MODEL: &str = "encoder.onnx";
/// Its tokenizer, in the form of Hugging Face's library.
const TOKENIZER: &str = "tokenizer.json";
/// What it says about itself.
const CARD: &str = "encoder.json";

/// The largest model that is read: it has to fit into memory twice.
pub(crate) const MODEL_BYTES_MAX: u64 = 2 << 30;
/// The largest of the other files. Tokenizers for a hundred languages have 20 MB.
pub(crate) const OTHER_BYTES_MAX: u64 = 64 << 20;

/// The file of a model.
#[derive(Debug, Clone)]
pub enum ModelFile {
    /// Part of the program: it is not copied.
    Embedded(&'static [u8]),
    /// Read from somewhere. A clone of it is no copy.
    Read(Arc<Vec<u8>>),
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

/// A model's file, and what has to be known to read it.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// Its name, for errors; by its end it is an ONNX file or one of `safetensors`.
    pub name: String,
    /// What is in it.
    pub model: ModelFile,
    /// `config.json`, where there is one.
    pub config: Option<Vec<u8>>,
}

impl ModelFiles {
    /// Whether it has nothing but weights, in the format of `safetensors`. Otherwise it is an ONNX
    /// file.
    pub(crate) fn is_safetensors(&self) -> bool {
        Path::new(&self.name).extension().is_some_and(|extension| extension == "safetensors")
    }
}

/// Where an encoder comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EncoderSource {
    /// It is part of the program.
    Embedded,
    /// The files in this folder.
    Folder(PathBuf),
}

/// A file's name, for errors, and what is in it.
pub(super) struct Named<T> {
    pub(super) name: String,
    pub(super) content: T,
}

/// The files of an encoder.
pub(super) struct Files {
    pub(super) model: Named<ModelFile>,
    pub(super) tokenizer: Named<Vec<u8>>,
    pub(super) card: Named<Vec<u8>>,
}

impl Files {
    pub(super) fn open(source: &EncoderSource) -> Result<Self, ModelError> {
        match source {
            EncoderSource::Embedded => Self::embedded(),
            EncoderSource::Folder(folder) => Self::read(folder),
        }
    }

    #[cfg(encoder_embedded)]
    fn embedded() -> Result<Self, ModelError> {
        macro_rules! file {
            ($name:literal) => {
                include_bytes!(concat!("../../../../models/encoder/", $name))
            };
        }
        let name = |name: &str| format!("models/encoder/{name}, embedded");
        let model = ModelFile::Embedded(file!("encoder.onnx"));
        Ok(Self {
            model: Named { name: name(MODEL), content: model },
            tokenizer: Named { name: name(TOKENIZER), content: file!("tokenizer.json").to_vec() },
            card: Named { name: name(CARD), content: file!("encoder.json").to_vec() },
        })
    }

    #[cfg(not(encoder_embedded))]
    fn embedded() -> Result<Self, ModelError> {
        let problem = "this program was built without an encoder in `models/encoder`: name a folder \
                       that has one, or use the linear models";
        Err(ModelError::new("encoder", problem))
    }

    fn read(folder: &Path) -> Result<Self, ModelError> {
        let file = |name: &str, bytes_max| {
            let path = folder.join(name);
            let advice = format!("an encoder is a folder with {MODEL}, {TOKENIZER} and {CARD}");
            let content = read(&path, bytes_max, &advice)?;
            Ok(Named { name: path.display().to_string(), content })
        };
        let Named { name, content } = file(MODEL, MODEL_BYTES_MAX)?;
        Ok(Self {
            model: Named { name, content: ModelFile::Read(Arc::new(content)) },
            tokenizer: file(TOKENIZER, OTHER_BYTES_MAX)?,
            card: file(CARD, OTHER_BYTES_MAX)?,
        })
    }
}

/// Whether this program has an encoder in it.
pub const fn is_embedded() -> bool {
    cfg!(encoder_embedded)
}

/// Reads a file. `advice` is what to do where it can't be read.
pub(crate) fn read(path: &Path, bytes_max: u64, advice: &str) -> Result<Vec<u8>, ModelError> {
    let failed = |problem: String| ModelError::new(path.display().to_string(), problem);
    let unread = |error: std::io::Error| failed(format!("can't be read: {error}; {advice}"));
    let mut content = Vec::new();
    let file = File::open(path).map_err(unread)?;
    file.take(bytes_max + 1).read_to_end(&mut content).map_err(unread)?;
    if content.len() as u64 > bytes_max {
        return Err(failed(format!("it is larger than {bytes_max} bytes: it is something else")));
    }
    Ok(content)
}
