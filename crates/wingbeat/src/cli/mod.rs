//! What the command line takes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use wingbeat_ops::{config::Span, logging};
use wingbeat_stage::ModelChoice;

mod services;

pub(crate) use services::{Ingest, Mock, Process, Profile, SourceArgs, Up, Web};

mod ask;
mod models;

pub(crate) use ask::{Ask, Explain, Request};
pub(crate) use models::{Bench, Models, Pull, Verify};

/// Watches a live stream of posts and tells what people feel and talk about, as it happens.
#[derive(Debug, Parser)]
#[command(
    name = "wingbeat",
    version,
    about,
    max_term_width = 100,
    after_help = "\
Examples:
  wingbeat up                                     made-up posts, dashboard on http://127.0.0.1:3000
  wingbeat up --source file:posts.jsonl.gz --once a file, then a summary
  wingbeat enrich < posts.jsonl > enriched.jsonl  no log, no dashboard
  wingbeat ask 'What a wonderful morning!'        what the models say of a text
  wingbeat audit                                  prove that nothing was lost

Exit codes: 0 fine, 1 failed, 2 wrong usage, 78 wrong configuration."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Configuration file [default: wingbeat.toml in the working directory, where there is one]
    #[arg(long, global = true, value_name = "FILE", env = "WINGBEAT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The log: embedded:DIR or nats://HOST:PORT [default: embedded:wingbeat-data]
    #[arg(long, global = true, value_name = "URL", env = "WINGBEAT_LOG")]
    pub(crate) log: Option<String>,
    /// Set any value of the configuration, such as stages.sentiment.threshold=0.5
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// How much the program says about itself on stderr: error, warn, info, debug, trace
    #[arg(long, global = true, value_name = "LEVEL", value_parser = parse_level)]
    pub(crate) log_level: Option<logging::Level>,
    /// How it says it: console or json
    #[arg(long, global = true, value_name = "FORMAT", value_parser = parse_log_format)]
    pub(crate) log_format: Option<logging::Format>,
}

fn parse_level(text: &str) -> Result<logging::Level, String> {
    serde_json::from_value(text.to_ascii_lowercase().into())
        .map_err(|_| "one of error, warn, info, debug, trace".to_owned())
}

fn parse_log_format(text: &str) -> Result<logging::Format, String> {
    serde_json::from_value(text.into()).map_err(|_| "console or json".to_owned())
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document, or one JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process: source, log, flows, dashboard
    Up(Up),
    /// Bring a source into the log, as a service with health and metrics
    Ingest(Ingest),
    /// Enrich posts of the log, as a service with health and metrics
    Process(Process),
    /// The dashboard alone, over a log that others write to
    Web(Web),
    /// Enrich JSON lines from standard input or a file to standard output
    Enrich(Enrich),
    /// Ask what the models say of a text, here or over NATS
    Ask(Ask),
    /// Models from the Hugging Face hub: download, list, check
    #[command(subcommand)]
    Models(Models),
    /// Publish made-up posts into the log, or write them to standard output
    Mock(Mock),
    /// Run a network of our own on this machine: a relay and both Jetstreams, with faults on command
    SimulateNetwork(SimulateNetwork),
    /// Look at the log's streams, also while wingbeat runs; create, fill, purge and remove them
    #[command(subcommand)]
    Streams(Streams),
    /// Look at dead letters: records that could not be handled
    #[command(subcommand)]
    Dead(Dead),
    /// Compare the books with the streams themselves; exit code 0 only when they balance
    Audit(Audit),
    /// Check configuration and log without starting anything: what is there and differs, what stands
    /// in the way
    Check(Check),
    /// Show the configuration and where each value comes from
    Config(Config),
    /// Measure the models on labelled texts
    Eval(Eval),
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// `simulate-network`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each host speaks all three protocols; `auto:v2=ws://HOST,relay=ws://HOST` reads from them. Each is
also the directory of its accounts' keys: `--verify full` takes it by
`--set source.network.plc_directory=http://HOST`.

Examples:
  wingbeat simulate-network --port 2470 --rate 500
  wingbeat simulate-network --port 2470 --port 2471 --fault disconnect@500/500 --fault bit-flip@99
  curl -X POST http://127.0.0.1:2470/simulate/silence
  curl http://127.0.0.1:2470/simulate/events")]
pub(crate) struct SimulateNetwork {
    /// A host on that port; 0 picks a free one. Several hosts show the same events
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Vec<u16>,
    /// Another seed, other events
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Events per second; 0: as fast as the fastest consumer reads
    #[arg(long, value_name = "N", default_value_t = 50.0)]
    pub(crate) rate: f64,
    /// How many accounts there are
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) accounts: usize,
    /// How many past events are kept for cursors
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) window: usize,
    /// Make so many events before the first consumer comes, and no more
    #[arg(long, value_name = "N")]
    pub(crate) prepared: Option<usize>,
    /// Send the prepared events again and again, to measure speed
    #[arg(long, requires = "prepared")]
    pub(crate) repeat: bool,
    /// A fault at an event, as FAULT@N, and again at every so many, as FAULT@N/EVERY
    #[arg(long, value_name = "FAULT@N")]
    pub(crate) fault: Vec<String>,
    /// Take the nearest cursor for one that is too old or lies ahead, and say nothing
    #[arg(long)]
    pub(crate) clamp: bool,
    /// The file of the dictionary for compressed streams of Jetstream v1
    #[arg(long, value_name = "FILE")]
    pub(crate) v1_dictionary: Option<PathBuf>,
    /// Stop after this long
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) duration: Option<Span>,
}

/// `enrich`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wingbeat enrich < posts.jsonl > enriched.jsonl
  wingbeat enrich posts.jsonl.gz --dead dead.jsonl | jq .sentiment
  wingbeat mock --stdout --count 1000 | wingbeat enrich > enriched.jsonl")]
pub(crate) struct Enrich {
    /// The file to read, also .gz and .zst [default: standard input]
    pub(crate) file: Option<PathBuf>,
    /// Where to write lines that could not be handled, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(crate) dead: Option<PathBuf>,
    /// A pack: the name of a built-in one, or a TOML file [default: bluesky]
    #[arg(long, value_name = "PACK")]
    pub(crate) pack: Option<String>,
    /// How the counts at the end are printed on stderr
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// `streams`.
#[derive(Debug, Subcommand)]
pub(crate) enum Streams {
    /// List the streams
    Ls {
        /// How the list is printed
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show one stream: settings, contents, consumers, losses
    Info {
        /// The stream.
        stream: String,
        /// How it is printed
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print records, one JSON object a line
    Tail(Tail),
    /// Create a stream, or change the settings of one
    Create(Create),
    /// Publish what comes on standard input
    Publish(Publish),
    /// Remove records of a stream
    Purge(Purge),
    /// Remove a stream, with its records and consumers
    Rm(Rm),
    /// Send a request over NATS and print the answer
    Request(Request),
    /// List the intervals of which the source can't prove that it saw everything
    Gaps {
        /// How the list is printed
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// `streams tail`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wingbeat streams tail bluesky-posts-enriched --from last --follow
  wingbeat streams tail bluesky-posts --from 2026-07-04T14:38:08Z --count 10
  wingbeat streams tail bluesky-posts-enriched --subject 'bluesky.enriched.negative.>'
  wingbeat streams tail 'bluesky.*.>' --from last --follow     whatever streams capture it")]
pub(crate) struct Tail {
    /// The stream; or subjects, with at least one `.`, `*` or `>`: those of all streams.
    #[arg(value_name = "STREAM|SUBJECT")]
    pub(crate) stream: String,
    /// Where to start: first, last, a sequence, or a time (RFC 3339)
    #[arg(long, value_name = "PLACE", default_value = "first")]
    pub(crate) from: String,
    /// Stop after this many records
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Go on with what comes
    #[arg(long)]
    pub(crate) follow: bool,
    /// Only subjects that match; `*` stands for one token, `>` for the rest
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) subject: Vec<String>,
    /// How records are printed: one JSON object a line, or one line for people
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub(crate) format: Format,
}

/// `streams create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wingbeat streams create bluesky-posts --subject 'bluesky.posts.>' --records-max 5000000")]
pub(crate) struct Create {
    /// The stream.
    pub(crate) stream: String,
    /// What it captures; `*` stands for one token, `>` for the rest
    #[arg(long, value_name = "SUBJECT", required = true)]
    pub(crate) subject: Vec<String>,
    /// Keep at most so many records
    #[arg(long, value_name = "N")]
    pub(crate) records_max: Option<u64>,
    /// Keep at most so many bytes
    #[arg(long, value_name = "N")]
    pub(crate) bytes_max: Option<u64>,
    /// Keep records at most this long
    #[arg(long, value_name = "DURATION")]
    pub(crate) age_max: Option<Span>,
    /// How long message ids are remembered [default: 2m]
    #[arg(long, value_name = "DURATION")]
    pub(crate) duplicate_window: Option<Span>,
    /// When it is full, refuse new records instead of dropping the oldest
    #[arg(long)]
    pub(crate) refuse_new: bool,
}

/// `streams publish`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  echo '{\"text\":\"hello\"}' | wingbeat streams publish bluesky.posts.posts
  wingbeat streams publish bluesky.posts.posts --lines < posts.jsonl")]
pub(crate) struct Publish {
    /// The subject; the stream that captures it takes the record.
    pub(crate) subject: String,
    /// A message id: within the stream's duplicate window, a second record with it is none
    #[arg(long, value_name = "ID", conflicts_with = "lines")]
    pub(crate) id: Option<String>,
    /// A header
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) header: Vec<String>,
    /// Every line is a record
    #[arg(long)]
    pub(crate) lines: bool,
}

/// `streams purge`.
#[derive(Debug, Args)]
#[command(after_help = "\
Sequences go on where they were. Consumers that had not come to what is removed list it as missed.

Examples:
  wingbeat streams purge bluesky-posts-dlq --keep 1000
  wingbeat streams purge bluesky-posts-dlq --subject 'bluesky.dlq.ingest.>' --yes")]
pub(crate) struct Purge {
    /// The stream.
    pub(crate) stream: String,
    /// Only subjects that match; `*` stands for one token, `>` for the rest
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) subject: Option<String>,
    /// The newest so many stay
    #[arg(long, value_name = "N", conflicts_with = "before")]
    pub(crate) keep: Option<u64>,
    /// What has this sequence or a later one stays
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) before: Option<u64>,
    /// Do it without asking
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `streams rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The stream.
    pub(crate) stream: String,
    /// Do it without asking
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `dead`.
#[derive(Debug, Subcommand)]
pub(crate) enum Dead {
    /// List dead letters, oldest first
    Ls {
        /// Only those of this flow
        #[arg(long, value_name = "FLOW")]
        flow: Option<String>,
        /// Only those of this kind of error
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// Only the newest so many
        #[arg(long, value_name = "N")]
        last: Option<usize>,
        /// How the list is printed
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show one dead letter: its error, its history and its original bytes
    Show {
        /// Its sequence, as `dead ls` lists it.
        sequence: u64,
        /// Write nothing but the original bytes to standard output
        #[arg(long, conflicts_with = "format")]
        raw: bool,
        /// How it is printed
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// `audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// A pack: the name of a built-in one, or a TOML file [default: bluesky]
    pub(crate) pack: Option<String>,
    /// The flow of `wingbeat process` with this profile, instead of those of the pack
    #[arg(long, value_enum, conflicts_with = "pack")]
    pub(crate) profile: Option<Profile>,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wingbeat check
  wingbeat check --log nats://127.0.0.1:4222 --profile enriched")]
pub(crate) struct Check {
    /// A pack: the name of a built-in one, or a TOML file [default: bluesky]
    pub(crate) pack: Option<String>,
    /// The streams and the consumer of `wingbeat process` with this profile
    #[arg(long, value_enum, conflicts_with = "pack")]
    pub(crate) profile: Option<Profile>,
}

/// `config`.
#[derive(Debug, Args)]
pub(crate) struct Config {
    /// What to show
    #[arg(value_enum, default_value_t)]
    pub(crate) what: ConfigView,
    /// How the configuration is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// What `config` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ConfigView {
    /// The values in force, each with where it was set.
    #[default]
    Show,
    /// The reference of all settings, as Markdown.
    Reference,
    /// The JSON Schema, for editors.
    Schema,
}

/// `eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
The data: TSV with a header naming the columns `label` (or `labels`, separated by |) and `text`, or
JSON lines with the same fields (`labels` a list); also .gz and .zst. It may also have `lang` (or
`language`), and `id` (or `uri`).

Predictions are the lines that `wingbeat enrich` writes. Each belongs to the row with its `id` (or
`uri`) where the data has that column, else to the rows with the same text.

Examples:
  wingbeat eval --task sentiment --data validation.tsv.gz
  wingbeat eval --task topics --data topics.jsonl --format json
  wingbeat eval --task sentiment --data validation.tsv.gz --tier encoder --plot calibration.svg
  wingbeat eval --task sentiment --data many.tsv.gz --by-language
  wingbeat eval --task sentiment --data validation.tsv.gz --predictions enriched.jsonl
  wingbeat eval --task sentiment --data validation.tsv.gz --model ORGANISATION/NAME
  wingbeat eval --task topics --data topics.jsonl --set stages.models.encoder=FOLDER --tier encoder")]
pub(crate) struct Eval {
    /// What to measure
    #[arg(long, value_enum)]
    pub(crate) task: Task,
    /// Labelled texts
    #[arg(long, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// Which models: those of the settings, where it is not said
    #[arg(long, value_enum)]
    pub(crate) tier: Option<Tier>,
    /// A model by name: ORGANISATION/NAME from the hub, or a folder
    #[arg(long, value_name = "NAME", conflicts_with = "tier")]
    pub(crate) model: Option<ModelChoice>,
    /// Measure these lines of `wingbeat enrich`, and ask no model
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tier", "model"])]
    pub(crate) predictions: Option<PathBuf>,
    /// Also a row for each language: as the data says, else as the text seems to be
    #[arg(long)]
    pub(crate) by_language: bool,
    /// Draw how far confidences can be believed, as an SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// How the figures are printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Which models are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    /// The embedded linear models.
    Linear,
    /// The encoder, together with the linear models.
    Encoder,
}

impl Tier {
    /// As the settings have it.
    pub(crate) fn choice(self) -> ModelChoice {
        match self {
            Self::Linear => ModelChoice::Linear,
            Self::Encoder => ModelChoice::Encoder,
        }
    }
}

/// What a model is measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Task {
    /// Negative, neutral, positive.
    Sentiment,
    /// Topics, several per text.
    Topics,
}
