//! `wingbeat streams request`: asks whoever answers on a subject.

use std::io::Read as _;

use bytes::Bytes;
use wingbeat_log::{Answer, LogUrl, NatsRequests, RECORD_BYTES_MAX};
use wingbeat_record::Subject;

use crate::{cli::Request, commands::print_bytes, config::Config, failure::Failure};

pub(super) async fn run(config: &Config, args: &Request) -> Result<(), Failure> {
    let LogUrl::Nats(url) = &config.log.url else {
        return Err(Failure::Config(format!(
            "requests go over NATS, and the log is {}; name a server with --log nats://HOST:PORT",
            config.log.url
        )));
    };
    let wrong = |error| Failure::Config(format!("{}: {error}", args.subject));
    let subject = Subject::new(&args.subject).map_err(wrong)?;
    let payload = match &args.text {
        Some(text) => Bytes::from(text.clone()),
        None => standard_input()?,
    };
    let requests = NatsRequests::open(url).await?;
    if args.all {
        let answers = requests.ask_all(&subject, payload, args.timeout.0).await?;
        return answers.iter().try_for_each(print);
    }
    print(&requests.ask(&subject, payload, args.timeout.0).await?)
}

fn standard_input() -> Result<Bytes, Failure> {
    let mut payload = Vec::new();
    let mut input = std::io::stdin().lock().take(RECORD_BYTES_MAX as u64 + 1);
    let read = input.read_to_end(&mut payload);
    read.map_err(|error| Failure::io("can't read standard input", &error))?;
    Ok(payload.into())
}

/// Prints an answer as it came, and a line break behind it.
fn print(answer: &Answer) -> Result<(), Failure> {
    if let Some(refusal) = answer.refusal() {
        return Err(Failure::Failed(format!("refused: {refusal}")));
    }
    print_bytes(&answer.payload)
}
