//! Benchmarks. Each runs its subject and its peers in turns, in one run, and prints ratios:
//! `cargo run --release -p wingbeat-bench -- log`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to its user")]

mod log;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let directory = arguments.next();
    let result = match name.as_str() {
        "log" => log::run(directory.as_deref()),
        _ => Err("usage: wingbeat-bench log [DIRECTORY]".into()),
    };
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
