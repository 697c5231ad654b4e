//! `wingbeat models`: models from the Hugging Face hub.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use wingbeat_hub::{Cached, Hub, HubSettings, ModelName, Progress, RemoteFile};
use wingbeat_ops::logging;

use super::{print_json, print_line};
use crate::{
    cli::{Format, Global, Models, Pull, Verify},
    config,
    failure::Failure,
    table::{self, bytes, number},
};

/// Model files that can be used, the best first: eight bits are a fourth of the size, and faster.
const MODEL_FILES: [&str; 6] = [
    "onnx/model_int8.onnx",
    "onnx/model_quantized.onnx",
    "model_int8.onnx",
    "model_quantized.onnx",
    "onnx/model.onnx",
    "model.onnx",
];
/// What a model can't be used without.
const NEEDED_FILES: [&str; 2] = ["config.json", "tokenizer.json"];
/// What is taken where it is there.
const FURTHER_FILES: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

pub(crate) async fn run(global: &Global, command: &Models) -> Result<(), Failure> {
    let config = config::load(global, None, Vec::new())?.config;
    logging::start(config.logging.level, config.logging.format);
    let hub = Hub::new(HubSettings::from_environment(|name| std::env::var(name).ok()))?;
    match command {
        Models::Ls { format } => list(&hub, *format),
        Models::Pull(args) => pull(&hub, args).await,
        Models::Verify(args) => verify(&hub, args),
    }
}

fn list(hub: &Hub, format: Format) -> Result<(), Failure> {
    let models = hub.cache().list()?;
    if format == Format::Json {
        return models.iter().try_for_each(|cached| print_json(&described(cached)));
    }
    if models.is_empty() {
        return print_line(&format!("No models in {}", hub.cache().root().display()));
    }
    let mut rows = vec![["model", "commit", "files", "size"].map(str::to_owned).to_vec()];
    for cached in &models {
        let size = cached.files.iter().map(|file| file.bytes).sum();
        rows.push(vec![
            cached.name.to_string(),
            cached.commit[..12].to_owned(),
            number(cached.files.len() as u64),
            bytes(size),
        ]);
    }
    print_line(table::render(&rows).trim_end())
}

fn described(cached: &Cached) -> serde_json::Value {
    let files = cached.files.iter().map(|file| json!({ "name": file.name, "bytes": file.bytes }));
    json!({
        "model": cached.name.repo(),
        "revision": cached.name.revision(),
        "commit": cached.commit,
        "folder": cached.folder,
        "files": files.collect::<Vec<_>>(),
    })
}

async fn pull(hub: &Hub, args: &Pull) -> Result<(), Failure> {
    let choose = |names: &[&str]| {
        if args.files.is_empty() {
            return choose_files(names);
        }
        match args.files.iter().find(|file| !names.contains(&file.as_str())) {
            Some(missing) => Err(format!("it has no file `{missing}`")),
            None => Ok(args.files.clone()),
        }
    };
    for name in &args.names {
        let cached = hub.get(name, &choose, &mut Bar::default()).await?;
        print_json(&described(&cached))?;
        if !name.is_pinned() {
            let commit = &cached.commit;
            eprintln!("{name} stands at {commit} now; {}@{commit} names it for good.", name.repo());
        }
    }
    Ok(())
}

/// The files that are needed to use a model.
fn choose_files(names: &[&str]) -> Result<Vec<String>, String> {
    let is_there = |file: &&&str| names.contains(*file);
    if let Some(missing) = NEEDED_FILES.iter().find(|file| !is_there(file)) {
        return Err(format!("it has no `{missing}`; --file takes any file"));
    }
    let Some(model) = MODEL_FILES.iter().find(is_there) else {
        let known = MODEL_FILES.join(", ");
        return Err(format!("it has none of {known}; --file takes any file"));
    };
    let further = FURTHER_FILES.iter().filter(is_there);
    Ok([model].into_iter().chain(&NEEDED_FILES).chain(further).map(|f| (*f).to_owned()).collect())
}

fn verify(hub: &Hub, args: &Verify) -> Result<(), Failure> {
    let models = match &args.names[..] {
        [] => hub.cache().list()?,
        names => names.iter().map(|name| find(hub, name)).collect::<Result<_, _>>()?,
    };
    let mut damaged = 0;
    for cached in &models {
        let found = hub.cache().verify(cached)?;
        let count = cached.files.len() - found.len();
        print_line(&format!(
            "{}: {} files are as they should be",
            cached.name,
            number(count as u64)
        ))?;
        for (file, problem) in &found {
            print_line(&format!("{}: {} is DAMAGED: {problem}", cached.name, file.name))?;
            if args.remove {
                hub.cache().remove(file)?;
            }
        }
        damaged += found.len();
    }
    if damaged == 0 || args.remove { Ok(()) } else { Err(Failure::No) }
}

fn find(hub: &Hub, name: &ModelName) -> Result<Cached, Failure> {
    let root = hub.cache().root().display();
    let missing = || Failure::Failed(format!("{name} is not in {root}"));
    hub.cache().find(name)?.ok_or_else(missing)
}

/// A bar for each file, on a terminal.
#[derive(Default)]
struct Bar(Option<ProgressBar>);

impl Progress for Bar {
    fn begin(&mut self, file: &RemoteFile, there: u64) {
        let is_shown = std::io::stderr().is_terminal();
        let bar = if is_shown { ProgressBar::new(file.bytes) } else { ProgressBar::hidden() };
        let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let style = ProgressStyle::with_template(style);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(table::plain(&file.name));
        bar.set_position(there);
        self.0 = Some(bar);
    }

    fn reach(&mut self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_file_is_chosen_with_what_it_needs() {
        let needed = ["config.json", "tokenizer.json"];
        let of = |more: &[&'static str]| choose_files(&[&needed[..], more].concat());
        // The replaced processors' models, and the encoder.
        let int8 = of(&["onnx/model.onnx", "onnx/model_int8.onnx", "tokenizer_config.json"]);
        let expected =
            ["onnx/model_int8.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(int8.unwrap(), expected);
        assert_eq!(of(&["model_quantized.onnx"]).unwrap()[0], "model_quantized.onnx");
        assert_eq!(of(&["onnx/model.onnx", "model.safetensors"]).unwrap()[0], "onnx/model.onnx");
        assert!(of(&["model.safetensors"]).unwrap_err().contains("--file"));
        assert!(choose_files(&["model.onnx"]).unwrap_err().contains("config.json"));
    }
}
