//! Benchmarks. Each runs its subject and its peers in turns, in one run, and prints ratios:
//! `make bench`, or `cargo run --release -p wingbeat-bench -- log` for one of them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to its user")]

mod clock;
mod decode;
mod enrich;
mod log;
mod verify;

use std::error::Error;

/// What a benchmark ends with.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let argument = arguments.next();
    let result = match name.as_str() {
        "log" => log::run(argument.as_deref()),
        "enrich" => enrich::run(argument.as_deref()),
        "decode" => decode::run(argument.as_deref()),
        "verify" => verify::run(argument.as_deref()),
        "all" => log::run(None).and_then(|()| {
            println!();
            decode::run(None)?;
            println!();
            verify::run(None)?;
            println!();
            enrich::run(None)
        }),
        _ => Err("usage: wingbeat-bench all | log [DIRECTORY] | enrich [POSTS.jsonl.gz] | \
                  decode [RECORDING_FOLDER] | verify [RECORDING_FOLDER]"
            .into()),
    };
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
