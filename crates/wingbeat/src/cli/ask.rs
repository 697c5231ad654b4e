//! What commands that ask take.

use clap::{Args, ValueEnum};
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
  wingbeat ask --explain 'The food was great, but the music was awful'
  wingbeat ask --lang en 'I hate this'                a short text may be taken for another language
  cut -f2 reviews.tsv | wingbeat ask --format json | jq .sentiment.sentiment
  wingbeat ask --log nats://127.0.0.1:4222 'What a wonderful morning!'")]
pub(crate) struct Ask {
    /// The text [default: every line of standard input is one]
    pub(crate) text: Vec<String>,
    /// Show how likely each topic is
    #[arg(long)]
    pub(crate) topics: bool,
    /// Show what each word adds to the verdict; with `=all`, to the other sentiments too
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "verdict"
    )]
    pub(crate) explain: Option<Explain>,
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

/// What is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Explain {
    /// The sentiment that was found, and the topics.
    Verdict,
    /// All sentiments, and the topics that were found.
    All,
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
