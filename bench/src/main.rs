//! Benchmarks. Each runs its subject and its peers in turns, in one run, and prints ratios:
//! `make bench`, or `cargo run --release -p wingbeat-bench -- log` for one of them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to its user")]

mod clock;
mod decode;
mod encoder;
mod enrich;
mod ingest_tls;
mod live;
mod log;
mod nats;
mod verify;

use std::{error::Error, path::PathBuf};

/// What a benchmark ends with.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// The program beside this one.
fn program() -> Outcome<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("wingbeat");
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is not there: run `make build` first", path.display()).into())
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let argument = arguments.next();
    let result = match name.as_str() {
        "log" => log::run(argument.as_deref()),
        "enrich" => enrich::run(argument.as_deref()),
        "encoder" => encoder::run(argument.as_deref()),
        "decode" => decode::run(argument.as_deref()),
        "nats" => nats::run(argument.as_deref()),
        "verify" => verify::run(argument.as_deref()),
        "ingest-tls" => ingest_tls::run(),
        "consume-tls" => ingest_tls::consume(argument.as_deref(), arguments.next().as_deref()),
        "live" => live::run(argument.as_deref()),
        "all" => log::run(None).and_then(|()| {
            println!();
            decode::run(None)?;
            println!();
            verify::run(None)?;
            println!();
            nats::run(None)?;
            println!();
            ingest_tls::run()?;
            println!();
            live::run(None)?;
            println!();
            enrich::run(None)
        }),
        _ => Err("usage: wingbeat-bench all | log [DIRECTORY] | enrich [POSTS.jsonl.gz] | \
                  encoder [FOLDER] | decode [RECORDING_FOLDER] | verify [RECORDING_FOLDER] | \
                  ingest-tls | live [SECONDS] | nats [SERVER_BINARY]"
            .into()),
    };
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
