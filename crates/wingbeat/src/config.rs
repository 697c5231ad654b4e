//! The program's configuration, put together from its layers.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wingbeat_flow::{
    FlowSpec, IngestSpec, Pack, PackInfo, StreamSpec, suffixed_name, suffixed_prefix,
};
use wingbeat_log::{Access, Log, LogError, LogUrl};
use wingbeat_ops::{
    config::{ConfigError, Layers, Loaded, Origin, Span},
    logging,
};
use wingbeat_source::network::resolve::PLC_DIRECTORY;
use wingbeat_stage::Settings;
use wingbeat_web::WebSettings;

use crate::{cli::Global, failure::Failure};

/// The built-in packs.
const PACKS: [(&str, &str); 1] = [("bluesky", include_str!("../../../packs/bluesky.toml"))];

/// What the services in the place of others set on top of a pack.
const SERVICES: [(&str, &str); 5] = [
    ("ingest", include_str!("../../../packs/services/ingest.toml")),
    ("mock", include_str!("../../../packs/services/mock.toml")),
    ("process", include_str!("../../../packs/services/process.toml")),
    ("process-sentiment", include_str!("../../../packs/services/process-sentiment.toml")),
    ("process-topics", include_str!("../../../packs/services/process-topics.toml")),
];

/// The longest suffix of names.
const SUFFIX_BYTES_MAX: usize = 16;

/// The configuration file that is read where none is named.
const FILE: &str = "wingbeat.toml";

/// All settings. Defaults < pack < `wingbeat.toml` < environment < flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where records are kept.
    #[serde(default)]
    pub(crate) log: LogSettings,
    /// Where posts come from.
    #[serde(default)]
    pub(crate) source: SourceSettings,
    /// The dashboard.
    #[serde(default)]
    pub(crate) web: WebSettings,
    /// A single service: its name, its streams, its HTTP port.
    #[serde(default)]
    pub(crate) service: ServiceSettings,
    /// `wingbeat process`: what it reads and writes.
    #[serde(default)]
    pub(crate) processor: ProcessorSettings,
    /// What the program says about itself.
    #[serde(default)]
    pub(crate) logging: LoggingSettings,
    /// Computing.
    #[serde(default)]
    pub(crate) compute: ComputeSettings,
    /// The pack's name and purpose.
    pub(crate) pack: PackInfo,
    /// The streams, by name.
    pub(crate) streams: BTreeMap<String, StreamSpec>,
    /// How what a source reads comes into the log.
    pub(crate) ingest: IngestSpec,
    /// The flows, by name.
    pub(crate) flows: BTreeMap<String, FlowSpec>,
    /// The stages.
    #[serde(default)]
    pub(crate) stages: Settings,
}

/// Where records are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogSettings {
    /// The log: `embedded:DIR`, a directory under the working directory or anywhere else; or
    /// `nats://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]`, NATS JetStream. docs/logs.md has the rest.
    #[schemars(with = "String", extend("x-env" = ["NATS_URL"]))]
    pub(crate) url: LogUrl,
    /// How many copies new streams have on NATS, where the URL does not say it; 0: one.
    #[schemars(extend("x-env" = ["NUM_STREAM_REPLICAS", "NATS_STREAM_NUM_REPLICAS"]))]
    pub(crate) replicas: usize,
    /// Sets another environment apart on the same server: streams, consumers and buckets get
    /// `-SUFFIX`, and the subjects of streams one more token. With `dev`: `bluesky-posts-dev`, which
    /// captures `bluesky.posts.dev.>`. Empty: nothing is changed.
    #[schemars(extend("x-env" = ["ENV_SUFFIX"]))]
    pub(crate) suffix: String,
}

impl LogSettings {
    /// Opens the log.
    pub(crate) async fn open(&self, access: Access) -> Result<Arc<dyn Log>, LogError> {
        self.url.open_with_suffix(access, &self.suffix).await
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        let url = LogUrl::Embedded("wingbeat-data".into());
        Self { url, replicas: 0, suffix: String::new() }
    }
}

/// Where posts come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SourceSettings {
    /// The source: `auto`, `relay`, `jetstream`, `file:PATH`, `frames:PATH`, `simulator`. Empty:
    /// the built-in choice, which is `auto`, and made-up posts where no host can be reached.
    pub(crate) spec: String,
    /// At most so many posts per second; 0: as the source has them.
    pub(crate) rate: f64,
    /// What is asked of sources that read from the network.
    pub(crate) network: NetworkSettings,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            dids: Vec::new(),
            verify: VerifyLevel::default(),
            plc_directory: PLC_DIRECTORY.to_owned(),
            handles: true,
            handle_resolver: None,
            retry_max: Span::from_secs(30),
            jetstream_v1_dictionary: None,
        }
    }
}

/// What is asked of sources that read from the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NetworkSettings {
    /// Only events of these accounts (DIDs); none means all.
    pub(crate) dids: Vec<String>,
    /// How far what a relay sends is checked: `none`; `hashes`, that nothing was damaged on the way;
    /// `full`, that every commit is signed by its account and follows the one before it. Empty:
    /// `hashes` for a relay, `none` for others. Jetstream sends no proofs, so with `hashes` and
    /// `full` the source `auto` takes relays only.
    pub(crate) verify: VerifyLevel,
    /// The directory of `did:plc`, which says with what keys accounts sign. `full` asks it for every
    /// account that it hears of.
    pub(crate) plc_directory: String,
    /// Whether posts get their authors' handles (`handle`), as far as they are known. Nothing waits
    /// for one: it is asked for in the background, and checked both ways.
    pub(crate) handles: bool,
    /// The server that is asked whose a handle is, such as `https://HOST`. Without it, the domain
    /// that the handle is; what a domain says by DNS alone is not found then.
    pub(crate) handle_resolver: Option<String>,
    /// The longest wait before a lost host is tried again. Waits begin at half a second and double.
    pub(crate) retry_max: Span,
    /// The file of the dictionary that Jetstream v1 compresses with; without it, events of v1 come
    /// as plain JSON.
    pub(crate) jetstream_v1_dictionary: Option<PathBuf>,
}

/// How far the commits of a relay are checked.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VerifyLevel {
    /// As the source allows.
    #[default]
    #[serde(rename = "")]
    #[value(skip)]
    Default,
    /// Nothing but the blocks of posts
    None,
    /// Every block: nothing was damaged on the way
    Hashes,
    /// Signatures too, and that every commit follows the one before it
    Full,
}

impl Default for SourceSettings {
    fn default() -> Self {
        Self { spec: String::new(), rate: 0.0, network: NetworkSettings::default() }
    }
}

/// A single service, such as `wingbeat ingest`, in the place of one that it replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServiceSettings {
    /// Its name: in health, logs, and as the key of its cursor. Empty: that of the service that it
    /// replaces.
    #[schemars(extend("x-env" = ["SERVICE_NAME"]))]
    pub(crate) name: String,
    /// The stream of raw posts.
    #[schemars(extend("x-env" = ["NATS_STREAM"]))]
    pub(crate) stream: String,
    /// What the subjects of raw posts begin with.
    #[schemars(extend("x-env" = ["NATS_SUBJECT"]))]
    pub(crate) subject: String,
    /// The bucket of the cursor.
    #[schemars(extend("x-env" = ["NATS_KV_BUCKET"]))]
    pub(crate) bucket: String,
    /// The relay that the cursor in the bucket belongs to: a sequence number means something there
    /// only.
    pub(crate) cursor_host: String,
    /// The address of the HTTP server with health and metrics.
    pub(crate) host: IpAddr,
    /// The port of the HTTP server with health and metrics; 0 picks a free one.
    #[schemars(extend("x-env" = ["HEALTH_CHECK_PORT"]))]
    pub(crate) port: u16,
    /// Whether `/metrics` answers.
    #[schemars(extend("x-env" = ["METRICS_ENABLED"]))]
    pub(crate) metrics: bool,
    /// How often statistics are logged.
    pub(crate) stats_every: Span,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            stream: "bluesky-posts".to_owned(),
            subject: "bluesky.posts".to_owned(),
            bucket: "firehose-state".to_owned(),
            cursor_host: "wss://bsky.network".to_owned(),
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            metrics: true,
            stats_every: Span::from_secs(20),
        }
    }
}

/// `wingbeat process`, in the place of the stream processors that it replaces: one flow of the
/// pack under other names. What is empty stays as the pack has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProcessorSettings {
    /// The flow of the pack.
    pub(crate) flow: String,
    /// The name of its books.
    pub(crate) books: String,
    /// The stream of raw posts.
    #[schemars(extend("x-env" = ["INPUT_STREAM"]))]
    pub(crate) input_stream: String,
    /// What the subjects of raw posts begin with.
    #[schemars(extend("x-env" = ["INPUT_SUBJECT"]))]
    pub(crate) input_subject: String,
    /// The stream of the output.
    #[schemars(extend("x-env" = ["OUTPUT_STREAM"]))]
    pub(crate) output_stream: String,
    /// What the subjects of the output begin with.
    #[schemars(extend("x-env" = ["OUTPUT_SUBJECT"]))]
    pub(crate) output_subject: String,
    /// What stands behind that: the places of the flow's output subject.
    pub(crate) output_tokens: String,
    /// The durable consumer.
    #[schemars(extend("x-env" = ["CONSUMER_NAME"]))]
    pub(crate) consumer: String,
    /// Taken from the replaced services and not needed: whoever shares a consumer shares its work.
    #[schemars(extend("x-env" = ["QUEUE_GROUP"]))]
    pub(crate) queue_group: String,
    /// How long message ids of the output are remembered.
    #[schemars(extend("x-env" = ["DUPLICATE_WINDOW_SECONDS"]))]
    pub(crate) duplicate_window: Span,
    /// What the names of its metrics begin with.
    pub(crate) metrics_prefix: String,
    /// Whether it answers requests about texts: over HTTP (`/api/analyze`), and over NATS, on the
    /// subject `sentiment.analyze`. `auto`: over NATS where the log is there; `on`, and it is an
    /// error where the log is not there; `off`, neither.
    #[schemars(extend("x-env" = ["ANSWER_REQUESTS"]))]
    pub(crate) answer: Answering,
}

/// Whether a service answers requests about texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answering {
    /// Over HTTP, and over NATS where the log is there.
    #[default]
    Auto,
    /// Over both.
    On,
    /// Never.
    Off,
}

impl Default for ProcessorSettings {
    fn default() -> Self {
        Self {
            flow: "enrich".to_owned(),
            books: "enrich".to_owned(),
            input_stream: "bluesky-posts".to_owned(),
            input_subject: "bluesky.posts".to_owned(),
            output_stream: "bluesky-posts-enriched".to_owned(),
            output_subject: "bluesky.enriched".to_owned(),
            output_tokens: "{sentiment}.{topic}".to_owned(),
            consumer: "unified-processor".to_owned(),
            queue_group: String::new(),
            duplicate_window: Span::from_secs(600),
            metrics_prefix: "stream_processor".to_owned(),
            answer: Answering::Auto,
        }
    }
}

/// What the program says about itself, on stderr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LoggingSettings {
    /// How much: `error`, `warn`, `info`, `debug`, `trace`.
    #[schemars(extend("x-env" = ["LOG_LEVEL"]))]
    pub(crate) level: logging::Level,
    /// How: `console` for people, `json` for programs.
    #[schemars(extend("x-env" = ["LOG_FORMAT"]))]
    pub(crate) format: logging::Format,
}

impl Default for LoggingSettings {
    fn default() -> Self {
        Self { level: logging::Level::Info, format: logging::Format::Console }
    }
}

/// Computing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ComputeSettings {
    /// Threads for the stages, and as many for the encoder where one is used, which the stages wait
    /// for; 0: one per core.
    pub(crate) threads: usize,
}

impl Config {
    /// The pack's part.
    pub(crate) fn pack(&self) -> Pack {
        Pack {
            pack: self.pack.clone(),
            streams: self.streams.clone(),
            ingest: self.ingest.clone(),
            flows: self.flows.clone(),
            stages: self.stages.clone(),
        }
    }

    /// Gives everything in the log its suffix, where there is one.
    fn apply_suffix(&mut self) -> Result<(), Failure> {
        let suffix = self.log.suffix.clone();
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if suffix.len() > SUFFIX_BYTES_MAX || !suffix.chars().all(is_allowed) {
            return Err(Failure::Config(format!(
                "`log.suffix` {suffix:?}: write up to {SUFFIX_BYTES_MAX} letters, digits, `-` and `_`"
            )));
        }
        let Pack { streams, ingest, flows, .. } = self.pack().with_suffix(&suffix)?;
        (self.streams, self.ingest, self.flows) = (streams, ingest, flows);
        let processor = &mut self.processor;
        for name in [
            &mut self.service.stream,
            &mut processor.input_stream,
            &mut processor.output_stream,
            &mut processor.consumer,
        ] {
            *name = suffixed_name(name, &suffix);
        }
        for prefix in
            [&mut self.service.subject, &mut processor.input_subject, &mut processor.output_subject]
        {
            *prefix = suffixed_prefix(prefix, &suffix);
        }
        Ok(())
    }

    /// How many threads compute.
    pub(crate) fn threads(&self) -> usize {
        match self.compute.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

/// What flags set: path, value, and the flag.
pub(crate) type Flag = (&'static str, Value, &'static str);

/// Puts the configuration together and checks it. `pack` is a built-in pack's name or a file.
pub(crate) fn load(
    global: &Global,
    pack: Option<&str>,
    flags: Vec<Flag>,
) -> Result<Loaded<Config>, Failure> {
    let mut layers = Layers::default();
    add_pack(&mut layers, pack.unwrap_or("bluesky"))?;
    finish(layers, global, flags)
}

/// As [`load`], for services of these names: each sets something on top of the one before.
pub(crate) fn load_service(
    global: &Global,
    services: &[&str],
    flags: Vec<Flag>,
) -> Result<Loaded<Config>, Failure> {
    let mut layers = Layers::default();
    add_pack(&mut layers, "bluesky")?;
    for service in services {
        if let Some((name, text)) = SERVICES.iter().find(|(name, _)| name == service) {
            layers.add_toml(&format!("packs/services/{name}.toml"), text)?;
        }
    }
    finish(layers, global, flags)
}

fn finish(
    mut layers: Layers,
    global: &Global,
    flags: Vec<Flag>,
) -> Result<Loaded<Config>, Failure> {
    match &global.config {
        Some(path) => add_file(&mut layers, path)?,
        None if Path::new(FILE).exists() => add_file(&mut layers, Path::new(FILE))?,
        None => {}
    }
    layers.add_environment::<Config>(|name| std::env::var(name).ok())?;
    if let Some(url) = &global.log {
        layers.set("log.url", url.as_str().into(), Origin::new("--log"));
    }
    if let Some(level) = global.log_level {
        set_word(&mut layers, "logging.level", &level, "--log-level");
    }
    if let Some(format) = global.log_format {
        set_word(&mut layers, "logging.format", &format, "--log-format");
    }
    for (path, value, flag) in flags {
        layers.set(path, value, Origin::new(flag));
    }
    for setting in &global.settings {
        add_setting(&mut layers, setting)?;
    }
    let mut loaded: Loaded<Config> = layers.finish()?;
    loaded.config.pack().check()?;
    loaded.config.apply_suffix()?;
    let Config { compute, stages, .. } = &mut loaded.config;
    if stages.models.threads == 0 {
        stages.models.threads = compute.threads;
    }
    let LogSettings { url, replicas, .. } = &mut loaded.config.log;
    if let (LogUrl::Nats(url), replicas @ 1..) = (url, *replicas) {
        let wrong = |error| Failure::Config(format!("`log.replicas`: {error}"));
        url.default_replicas(replicas).map_err(wrong)?;
    }
    Ok(loaded)
}

fn set_word(layers: &mut Layers, path: &str, word: &impl Serialize, flag: &str) {
    // A unit variant always serialises to its word.
    let value = serde_json::to_value(word).unwrap_or(Value::Null);
    layers.set(path, value, Origin::new(flag));
}

fn add_pack(layers: &mut Layers, pack: &str) -> Result<(), Failure> {
    if let Some((name, text)) = PACKS.iter().find(|(name, _)| *name == pack) {
        return Ok(layers.add_toml(&format!("packs/{name}.toml"), text)?);
    }
    let path = Path::new(pack);
    if !path.exists() {
        let known: Vec<&str> = PACKS.iter().map(|(name, _)| *name).collect();
        return Err(Failure::Config(format!(
            "there is no pack `{pack}`: neither a file nor a built-in one ({})",
            known.join(", ")
        )));
    }
    add_file(layers, path)
}

fn add_file(layers: &mut Layers, path: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Config(format!("can't read {}: {error}", path.display())))?;
    Ok(layers.add_toml(&path.display().to_string(), &text)?)
}

/// `--set KEY=VALUE`: the value is TOML where it reads as such, else text.
fn add_setting(layers: &mut Layers, setting: &str) -> Result<(), Failure> {
    let origin = Origin::new(format!("--set {setting}"));
    let Some((key, value)) = setting.split_once('=') else {
        let problem = "write --set KEY=VALUE, such as stages.sentiment.threshold=0.5".to_owned();
        return Err(ConfigError { origin, problem }.into());
    };
    let (key, value) = (key.trim(), value.trim());
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    layers.set(key, value, origin);
    Ok(())
}
