//! The program's own log lines, on stderr: stdout is data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    filter::filter_fn, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// A library that tells every connection and every try; what matters of it the log says itself.
const TALKATIVE: &str = "async_nats";

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line, nothing else, so that `jq` reads it.
    Json,
    /// For people.
    Console,
}

/// How much is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// What fails.
    #[serde(alias = "ERROR", alias = "CRITICAL", alias = "critical")]
    Error,
    /// And what may.
    #[serde(alias = "WARNING", alias = "warning", alias = "WARN")]
    Warn,
    /// And what happens.
    #[serde(alias = "INFO")]
    Info,
    /// And how.
    #[serde(alias = "DEBUG")]
    Debug,
    /// Everything.
    #[serde(alias = "TRACE")]
    Trace,
}

/// Sets up log lines for the whole process. A second call changes nothing.
pub fn start(level: Level, format: Format) {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    // Where nobody reads them, lines are lost, and the program goes on.
    let lines = fmt().with_max_level(level).with_writer(std::io::stderr).log_internal_errors(false);
    let quiet = filter_fn(move |metadata| {
        level > LevelFilter::INFO
            || *metadata.level() <= tracing::Level::WARN
            || !metadata.target().starts_with(TALKATIVE)
    });
    // A subscriber that is set already stays: tests set their own.
    let _ = match format {
        Format::Json => lines.json().flatten_event(true).finish().with(quiet).try_init(),
        Format::Console => lines.compact().with_target(false).finish().with(quiet).try_init(),
    };
}
