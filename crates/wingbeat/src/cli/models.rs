//! What `models` takes.

use clap::{Args, Subcommand};
use wingbeat_hub::ModelName;
use wingbeat_ops::config::Span;

use super::Format;

/// `models`.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Where they come from and where they are kept is told by HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE
and HF_HUB_OFFLINE, as in the hub's own libraries, which share the folder.

A model that the settings name is kept where they say that it is looked for.

Examples:
  wingbeat models pull                                what the settings name
  wingbeat models pull sentence-transformers/all-MiniLM-L6-v2
  wingbeat models pull ORGANISATION/NAME@COMMIT       a commit never changes
  wingbeat models pull ORGANISATION/NAME --file onnx/model_int8.onnx --file tokenizer.json
  wingbeat models verify --remove                     damaged files go, and can be pulled anew
  wingbeat models bench --set stages.models.sentiment=ORGANISATION/NAME")]
pub(crate) enum Models {
    /// List what was downloaded
    Ls {
        /// How the list is printed
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Download models from the Hugging Face hub; goes on where it was cut off
    Pull(Pull),
    /// Read what was downloaded again, and compare it with its checksums
    Verify(Verify),
    /// Measure how fast this machine is with the models of the settings, over made-up posts
    Bench(Bench),
}

/// `models bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// How long each measurement takes
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    pub(crate) time: Span,
    /// How the figures are printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// `models pull`.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// ORGANISATION/NAME, or ORGANISATION/NAME@REVISION [default: those that the settings name]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<ModelName>,
    /// A file of it [default: the best ONNX file, its tokenizer and configuration]
    #[arg(long = "file", value_name = "FILE", requires = "names")]
    pub(crate) files: Vec<String>,
}

/// `models verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Only these [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<ModelName>,
    /// Remove damaged files
    #[arg(long)]
    pub(crate) remove: bool,
}
