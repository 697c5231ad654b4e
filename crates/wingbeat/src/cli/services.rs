//! What the commands take that run until they are stopped: `up` and the services.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use wingbeat_ops::config::Span;

use super::Format;
use crate::config::{Flag, VerifyLevel};

/// Where posts come from.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// Where posts come from: auto (the network), relay[:wss://HOST], jetstream[:wss://HOST],
    /// file:PATH (JSON lines, also .gz and .zst; - for standard input), frames:PATH (recorded
    /// firehose frames), simulator[:KEY=VALUE,...]
    #[arg(long, value_name = "SPEC", env = "WINGBEAT_SOURCE")]
    pub(crate) source: Option<String>,
    /// At most so many posts per second
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<f64>,
    /// How far what a relay sends is checked [default: hashes for a relay, else none]. Jetstream
    /// sends no proofs: with hashes and full, auto takes relays only
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) verify: Option<VerifyLevel>,
    /// Stop reading after this long, finish what was read, and exit
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) duration: Option<Span>,
}

/// Where the command answers HTTP requests.
#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// The address to answer HTTP requests on [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) host: Option<IpAddr>,
    /// The port; 0 picks a free one [default: 3000 for the dashboard, 8080 for a service]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
}

impl Listen {
    /// What the flags set for a dashboard.
    pub(crate) fn web(&self) -> Vec<Flag> {
        self.set(["web.host", "web.port"])
    }

    /// What the flags set for a service.
    pub(crate) fn service(&self) -> Vec<Flag> {
        self.set(["service.host", "service.port"])
    }

    fn set(&self, [host_key, port_key]: [&'static str; 2]) -> Vec<Flag> {
        let host = self.host.map(|host| (host_key, host.to_string().into(), "--host"));
        let port = self.port.map(|port| (port_key, port.into(), "--port"));
        host.into_iter().chain(port).collect()
    }
}

/// `up`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wingbeat up
  wingbeat up --source simulator --rate 500 --for 20s
  wingbeat up --source file:posts.jsonl.gz --once --port 0
  SENTIMENT_CONFIDENCE_THRESHOLD=0 wingbeat up --source frames:frames.bin.zst --once")]
pub(crate) struct Up {
    /// A pack: the name of a built-in one, or a TOML file [default: bluesky]
    pub(crate) pack: Option<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Exit when the source has ended and everything is settled
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) listen: Listen,
    /// How the summary at the end is printed: text on stderr, json on stdout
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// `ingest`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every environment variable of nats-firehose-ingest works: NATS_STREAM, NATS_SUBJECT, NATS_KV_BUCKET,
SERVICE_NAME, CURSOR_SAVE_INTERVAL, ENABLE_TEXT_FILTERING, MIN_TEXT_LENGTH, MAX_TEXT_LENGTH,
HEALTH_CHECK_PORT, METRICS_ENABLED, BATCH_SIZE, BATCH_TIMEOUT_MS, LOG_LEVEL, LOG_FORMAT.

Examples:
  wingbeat ingest
  wingbeat ingest --source frames:recording.bin.zst --once
  MIN_TEXT_LENGTH=1 wingbeat ingest --port 0")]
pub(crate) struct Ingest {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Exit when the source ends, instead of staying there for its health to be asked
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) listen: Listen,
    /// How the books are printed at the end
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// `process`.
#[derive(Debug, Args)]
#[command(after_help = "\
It stands in the place of nats-stream-processor, and takes its environment: INPUT_STREAM,
INPUT_SUBJECT, OUTPUT_STREAM, OUTPUT_SUBJECT, CONSUMER_NAME, MAX_DELIVER, ACK_WAIT_SECONDS,
SENTIMENT_CONFIDENCE_THRESHOLD, HEALTH_CHECK_PORT, and more: wingbeat config reference.

Examples:
  wingbeat process
  PIPELINE_PROFILE=topics wingbeat process --port 8082
  wingbeat process --once                         what is there, then a summary")]
pub(crate) struct Process {
    /// What it adds to posts, and under which names
    #[arg(long, value_enum, default_value_t, env = "PIPELINE_PROFILE")]
    pub(crate) profile: Profile,
    /// End when everything that is there has been processed
    #[arg(long)]
    pub(crate) once: bool,
    /// Stop after this long
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) duration: Option<Span>,
    #[command(flatten)]
    pub(crate) listen: Listen,
    /// How the summary at the end is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// `web`.
#[derive(Debug, Args)]
#[command(after_help = "\
It stands in the place of bsky-sentiment-web, and takes its environment: OUTPUT_STREAM,
OUTPUT_SUBJECT, PORT.

Examples:
  wingbeat web
  wingbeat web --profile sentiment --port 3001")]
pub(crate) struct Web {
    /// Whose output is shown
    #[arg(long, value_enum, default_value_t, env = "PIPELINE_PROFILE")]
    pub(crate) profile: Profile,
    #[command(flatten)]
    pub(crate) listen: Listen,
    /// Stop after this long
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) duration: Option<Span>,
}

/// Which of the replaced stream processors `process` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Profile {
    /// Sentiment and topics
    #[default]
    Enriched,
    /// Sentiment alone, as the first generation
    Sentiment,
    /// Topics alone
    Topics,
}

/// `mock`.
#[derive(Debug, Args)]
#[command(after_help = "\
It stands in the place of the mock generator. Its health and metrics are those of wingbeat ingest,
and so are NATS_URL, NATS_STREAM, NATS_SUBJECT, SERVICE_NAME, HEALTH_CHECK_PORT, METRICS_ENABLED.

Examples:
  wingbeat mock --rate 4
  wingbeat mock --sentiments positive:3+negative:1 --topics sports+music --malformed 0.05
  NATS_STREAM=bluesky-posts-dev NATS_SUBJECT=bluesky.posts.dev wingbeat mock --for 1m
  wingbeat mock --stdout --count 1000 --seed 7 > posts.jsonl")]
pub(crate) struct Mock {
    /// Write the posts to standard output instead of the log
    #[arg(long, conflicts_with_all = ["host", "port"])]
    pub(crate) stdout: bool,
    /// Posts per second [default: 50]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<f64>,
    /// How many times the rate there is in a burst, of 8 seconds every 2 minutes; 1: none
    /// [default: 3]
    #[arg(long, value_name = "N")]
    pub(crate) burst: Option<f64>,
    /// Stop after this many
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// The same seed makes the same posts
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Stop after this long
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) duration: Option<Span>,
    /// The mix of languages, with weights [default: about as on Bluesky]
    #[arg(long, value_name = "en:3+ja:1")]
    pub(crate) languages: Option<String>,
    /// The mix of sentiments, with weights [default: they drift]
    #[arg(long, value_name = "positive:3+negative:1")]
    pub(crate) sentiments: Option<String>,
    /// The mix of topics, with weights [default: about as on Bluesky]
    #[arg(long, value_name = "sports:2+music:1")]
    pub(crate) topics: Option<String>,
    /// The share of malformed posts, from 0 to 1 [default: 0.005]
    #[arg(long, value_name = "SHARE")]
    pub(crate) malformed: Option<f64>,
    /// The share of posts that are there twice [default: 0.01]
    #[arg(long, value_name = "SHARE")]
    pub(crate) duplicates: Option<f64>,
    /// The share of posts that are larger than a record may be; they become dead letters
    /// [default: 0]
    #[arg(long, value_name = "SHARE")]
    pub(crate) oversize: Option<f64>,
    /// The share of posts that are spam [default: 0.02]
    #[arg(long, value_name = "SHARE")]
    pub(crate) spam: Option<f64>,
    /// Further settings of the simulator, such as deletes=0.1,start=2026-01-02T03:04:05Z
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub(crate) options: Option<String>,
    #[command(flatten)]
    pub(crate) listen: Listen,
}
