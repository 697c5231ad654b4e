//! What commands that ask take.

use clap::Args;
use wingbeat_ops::config::Span;

use super::Format;

/// `ask`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --log the built-in models answer here, and nothing else is needed. With --log nats://... a
running `wingbeat process` answers.

Examples:
  wingbeat ask 'What a wonderful morning!'
  wingbeat ask --topics 'The match was great, what a goal'
  wingbeat ask --lang en 'I hate this'                a short text may be taken for another language
  cut -f2 reviews.tsv | wingbeat ask --format json | jq .sentiment.sentiment
  wingbeat ask --log nats://127.0.0.1:4222 'What a wonderful morning!'")]
pub(crate) struct Ask {
    /// The text [default: every line of standard input is one]
    pub(crate) text: Vec<String>,
    /// Show how likely each topic is
    #[arg(long)]
    pub(crate) topics: bool,
    /// The language of the texts, such as en [default: what each seems to be in]
    #[arg(long, value_name = "CODE")]
    pub(crate) lang: Option<String>,
    /// How long an answer over NATS may take
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) timeout: Span,
    /// How answers are printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// `streams request`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wingbeat streams request sentiment.analyze 'What a wonderful morning!'
  wingbeat streams request --all '$SRV.PING' ''       which services are there?
  wingbeat streams request '$SRV.STATS.sentiment' ''")]
pub(crate) struct Request {
    /// The subject.
    pub(crate) subject: String,
    /// What is sent [default: what comes on standard input]
    pub(crate) text: Option<String>,
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) timeout: Span,
    /// Print all answers that come within the timeout, one a line
    #[arg(long)]
    pub(crate) all: bool,
}
