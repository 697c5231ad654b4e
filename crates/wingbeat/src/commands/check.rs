//! `wingbeat check`: configuration and log, without starting anything.

use std::path::Path;

use wingbeat_flow::{Pack, Pipeline};
use wingbeat_log::{Access, Log, LogUrl};
use wingbeat_ops::logging;
use wingbeat_source::SourceSpec;

use super::{
    layout::{self, Difference},
    load_pack, print_line,
};
use crate::{
    cli::{Check, Global},
    config::Config,
    failure::Failure,
    table::number,
};

pub(crate) async fn run(global: &Global, args: &Check) -> Result<(), Failure> {
    let (config, pack) = load_pack(global, args.pack.as_deref(), args.profile)?;
    // Problems of the log are printed below, not logged.
    logging::start(logging::Level::Error, config.logging.format);
    for (name, flow) in &pack.flows {
        let (wanted, settings) = (pack.stages.models.wanted(&flow.stages), &pack.stages);
        let missing: Vec<_> = wanted.iter().filter(|wanted| !wanted.is_there()).collect();
        for wanted in &missing {
            print_line(&format!("model {}: is downloaded at the next start", wanted.name))?;
        }
        if missing.is_empty() {
            Pipeline::new(&flow.stages, settings)?;
        }
        print_line(&format!("flow {name}: {}", flow.stages.join(" > ")))?;
    }
    if !config.source.spec.is_empty() {
        SourceSpec::parse(&config.source.spec)?;
    }
    let url = &config.log.url;
    if let LogUrl::Embedded(directory) = url
        && !directory.exists()
    {
        check_parent(directory)?;
        print_line(&format!("log {url}: not there yet, will be created"))?;
        return print_line("the configuration is fine");
    }
    let log = config.log.open(Access::Read).await?;
    let checked = check_log(&config, &pack, &*log).await;
    log.close().await?;
    checked
}

async fn check_log(config: &Config, pack: &Pack, log: &dyn Log) -> Result<(), Failure> {
    let streams = log.streams().await?;
    for stream in &streams {
        print_line(&format!("stream {}: {} records", stream.config.name, number(stream.records)))?;
    }
    let changes = config.log.url.changes_existing();
    let done = if changes { "is changed at the next start" } else { "stays as it is" };
    for difference in layout::differences(log, pack).await? {
        print_line(&match difference {
            Difference::Missing(text) => format!("difference: {text} (is made at the next start)"),
            Difference::Set(text) => format!("difference: {text} ({done})"),
            Difference::Push(text) => format!("difference: {text}"),
        })?;
    }
    for warning in log.warnings().await? {
        print_line(&format!("warning: {warning}"))?;
    }
    let problems = log.problems().await?;
    for problem in &problems {
        print_line(&format!("PROBLEM: {problem}"))?;
    }
    let existing: Vec<_> = streams.into_iter().map(|info| info.config).collect();
    let obstacles = layout::obstacles(&existing, pack, changes)?;
    for obstacle in &obstacles {
        print_line(&format!("PROBLEM: {obstacle}"))?;
    }
    let url = &config.log.url;
    match (problems.is_empty(), obstacles.is_empty()) {
        (true, true) => print_line("configuration and log are fine"),
        (false, _) => Err(Failure::Failed(format!("the log {url} is damaged"))),
        (true, false) => {
            Err(Failure::Config(format!("the streams on {url} stand in the way of the pack")))
        }
    }
}

/// Whether the directory can be created where it is to be.
fn check_parent(directory: &Path) -> Result<(), Failure> {
    let existing = directory
        .ancestors()
        .skip(1)
        .find(|parent| parent.exists() || parent.as_os_str().is_empty());
    let parent = existing.filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = parent.join(format!(".wingbeat-check-{}", std::process::id()));
    let tried = std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe));
    tried.map_err(|error| {
        Failure::Failed(format!(
            "can't create {}: {error}; give this user the right to write to {}, or choose another --log",
            directory.display(),
            parent.display()
        ))
    })
}
