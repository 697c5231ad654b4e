//! Models by name: downloaded and loaded before they are needed.

use std::{collections::BTreeSet, io::IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;
use wingbeat_hub::{Cached, Hub, HubError, ModelName, Progress, RemoteFile};
use wingbeat_model::{Judge, hugging_face::choose_files};
use wingbeat_stage::{Settings, Wanted};

use crate::{commands::LogWatch, failure::Failure, table};

/// Downloads what these stages need from the hub, and loads it. As long as what this gives is held,
/// the stages need not load it again.
pub(crate) async fn prepare(settings: &Settings, stages: &[String]) -> Result<Vec<Judge>, Failure> {
    for wanted in settings.models.wanted(stages) {
        fetch(&wanted).await?;
    }
    let (models, stages) = (settings.models.clone(), stages.to_vec());
    let loaded = tokio::task::spawn_blocking(move || models.load(&stages)).await;
    let failed = |error| Failure::Failed(format!("loading a model failed: {error}"));
    Ok(loaded.map_err(failed)??)
}

/// As [`prepare`], in a service that has answered before: it says that it waits for models, and
/// then for the log again. `None` where `stop` was cancelled meanwhile.
pub(crate) async fn prepare_service(
    settings: &Settings,
    stages: &[String],
    watch: &LogWatch,
    stop: &CancellationToken,
) -> Result<Option<Vec<Judge>>, Failure> {
    let names = settings.models.names(stages);
    if names.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let names = names.join(", ");
    watch.readiness.wait_for("models", &names, None);
    let prepared = tokio::select! {
        prepared = prepare(settings, stages) => prepared?,
        () = stop.cancelled() => return Ok(None),
    };
    let runtimes = BTreeSet::from_iter(prepared.iter().filter_map(Judge::runtime));
    let runtime = Vec::from_iter(runtimes).join(", ");
    tracing::info!(models = names, runtime, "the models are loaded");
    for reason in prepared.iter().filter_map(Judge::passed_over) {
        tracing::info!("a slower runtime runs a model: {reason}");
    }
    watch.readiness.wait_for("log", &watch.log.url.to_string(), None);
    Ok(Some(prepared))
}

async fn fetch(wanted: &Wanted) -> Result<Cached, HubError> {
    let Wanted { name, .. } = wanted;
    let hub = Hub::new(wanted.hub())?;
    hub.get(name, &|names| choose_files(name.repo(), names), &mut Bar::of(name)).await
}

/// How a download goes on: a bar for each file on a terminal, a line in the log elsewhere.
pub(crate) struct Bar {
    model: String,
    bar: Option<ProgressBar>,
}

impl Bar {
    /// Of the files of a model.
    pub(crate) fn of(name: &ModelName) -> Self {
        Self { model: name.to_string(), bar: None }
    }
}

impl Progress for Bar {
    fn begin(&mut self, file: &RemoteFile, there: u64) {
        if !std::io::stderr().is_terminal() {
            let RemoteFile { name, bytes, .. } = file;
            tracing::info!(model = self.model, file = name, bytes, there, "downloading");
            return;
        }
        let bar = ProgressBar::new(file.bytes);
        let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let style = ProgressStyle::with_template(style);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(table::plain(&file.name));
        bar.set_position(there);
        self.bar = Some(bar);
    }

    fn reach(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }
}
