//! Trains the embedded linear models, measures them, and writes their card.

mod card;
mod data;
mod export;
mod language;
mod matrix;
mod predictions;
mod progress;
mod regression;
mod sections;
mod sentiment;
mod topics;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Parser;

/// Trains the embedded linear models for language, sentiment and topics.
///
/// The same data give the same weights on the same kind of machine.
#[derive(Parser)]
struct Arguments {
    /// The folder with the training data: `sentiment/`, `topics/`, `language/`, `posts/`
    #[arg(long)]
    data: PathBuf,
    /// The folder of the weights and of their card
    #[arg(long, default_value = "models/linear")]
    out: PathBuf,
    /// A folder for what the models say of every labelled text that they did not learn from:
    /// `sentiment.jsonl`, `topics.jsonl`. It holds the texts: keep it outside the repository
    #[arg(long)]
    predictions: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            #[expect(clippy::print_stderr, reason = "a command-line program")]
            {
                eprintln!("error: {failure}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), data::Failure> {
    let Arguments { data, out, predictions } = arguments;
    let write = |name: &str, file: &[u8]| {
        let path = out.join(name);
        fs::write(&path, file).map_err(|error| format!("{}: {error}", path.display()))
    };
    let language = language::train(data)?;
    write("language.safetensors", &language)?;
    let languages = language::measure(data, &language)?;
    let (file, sentiment, of_sentiment) = sentiment::train(data)?;
    write("sentiment.safetensors", &file)?;
    let (file, topics, of_topics) = topics::train(data)?;
    write("topics.safetensors", &file)?;
    if let Some(folder) = predictions {
        predictions::write(folder, "sentiment.jsonl", &of_sentiment)?;
        predictions::write(folder, "topics.jsonl", &of_topics)?;
    }
    let tables = card::tables(&sentiment, &topics, &languages);
    #[expect(clippy::print_stdout, reason = "a command-line program")]
    {
        println!("{tables}");
    }
    card::update(&out.join("README.md"), &tables)
}
