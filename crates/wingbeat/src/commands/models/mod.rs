//! `wingbeat models`: models from the Hugging Face hub, and how fast models are here.

mod bench;

use serde_json::json;
use wingbeat_hub::{Cached, Hub, HubSettings, ModelName};
use wingbeat_model::hugging_face::choose_files;
use wingbeat_ops::logging;
use wingbeat_stage::Wanted;

use super::{print_json, print_line};
use crate::{
    cli::{Format, Global, Models, Pull, Verify},
    config::{self, Config},
    failure::Failure,
    fetch::Bar,
    table::{self, bytes, number},
};

pub(crate) async fn run(global: &Global, command: &Models) -> Result<(), Failure> {
    let config = config::load(global, None, Vec::new())?.config;
    logging::start(config.logging.level, config.logging.format);
    let hub = Hub::new(HubSettings::from_environment(|name| std::env::var(name).ok()))?;
    match command {
        Models::Ls { format } => list(&hub, *format),
        Models::Pull(args) => pull(&config, args).await,
        Models::Verify(args) => verify(&hub, args),
        Models::Bench(args) => bench::run(&config, args).await,
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

/// The stages that use models.
const STAGES: [&str; 3] = ["sentiment", "topics", "embed"];

/// What is to be pulled. What the settings name goes to where they say that it is looked for.
fn wanted(config: &Config, args: &Pull) -> Vec<Wanted> {
    let named = config.stages.models.wanted(&STAGES.map(str::to_owned));
    if args.names.is_empty() {
        return named;
    }
    let mut wanted = Vec::new();
    for name in &args.names {
        let before = wanted.len();
        wanted.extend(named.iter().filter(|wanted| wanted.name == *name).cloned());
        if wanted.len() == before {
            wanted.push(Wanted { name: name.clone(), cache: None });
        }
    }
    wanted
}

async fn pull(config: &Config, args: &Pull) -> Result<(), Failure> {
    let wanted = wanted(config, args);
    if wanted.is_empty() {
        let problem = "the settings name no model of the hub: name one, or set `stages.models`";
        return Err(Failure::Failed(problem.to_owned()));
    }
    let choose = |name: &ModelName, names: &[&str]| {
        if args.files.is_empty() {
            return choose_files(name.repo(), names)
                .map_err(|problem| format!("{problem}; --file takes any file"));
        }
        match args.files.iter().find(|file| !names.contains(&file.as_str())) {
            Some(missing) => Err(format!("it has no file `{missing}`")),
            None => Ok(args.files.clone()),
        }
    };
    for wanted in &wanted {
        let (name, hub) = (&wanted.name, Hub::new(wanted.hub())?);
        let choose = |names: &[&str]| choose(name, names);
        let cached = hub.get(name, &choose, &mut Bar::of(name)).await?;
        print_json(&described(&cached))?;
        if !name.is_pinned() {
            let commit = &cached.commit;
            eprintln!("{name} stands at {commit} now; {}@{commit} names it for good.", name.repo());
        }
    }
    Ok(())
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
