//! `wingbeat check`: configuration and log, without starting anything.

use std::path::Path;

use wingbeat_flow::Pipeline;
use wingbeat_log::{Access, LogUrl};
use wingbeat_ops::logging;
use wingbeat_source::SourceSpec;

use super::print_line;
use crate::{cli::Global, config, failure::Failure, table::number};

pub(crate) async fn run(global: &Global) -> Result<(), Failure> {
    let config = config::load(global, None, Vec::new())?.config;
    // Problems of the log are printed below, not logged.
    logging::start(logging::Level::Error, config.logging.format);
    let pack = config.pack();
    for (name, flow) in &pack.flows {
        Pipeline::new(&flow.stages, &pack.stages)?;
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
    let log = url.open(Access::Read).await?;
    for stream in log.streams().await? {
        print_line(&format!("stream {}: {} records", stream.config.name, number(stream.records)))?;
    }
    for warning in log.warnings().await? {
        print_line(&format!("warning: {warning}"))?;
    }
    let problems = log.problems().await?;
    for problem in &problems {
        print_line(&format!("PROBLEM: {problem}"))?;
    }
    if problems.is_empty() {
        print_line("configuration and log are fine")
    } else {
        Err(Failure::Failed(format!("the log {url} is damaged")))
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
