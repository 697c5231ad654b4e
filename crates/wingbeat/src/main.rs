//! The program `wingbeat`: reads the command line and runs a command.
//!
//! stdout is data, stderr is talk. A failure is one line on stderr and an exit code.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the program that talks")]

mod analysis;
mod cli;
mod commands;
mod config;
mod explanation;
mod failure;
mod fetch;
mod summary;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::No) {
                eprintln!("wingbeat: {}", table::plain(&failure.to_string()));
            }
            failure.exit_code()
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    match &cli.command {
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(*shell, &mut command, "wingbeat", &mut std::io::stdout());
            Ok(())
        }
        Command::Config(args) => commands::config::run(&cli.global, args),
        Command::Eval(args) => block_on(commands::eval::run(&cli.global, args)),
        Command::Up(args) => block_on(commands::up::run(&cli.global, args)),
        Command::Ingest(args) => block_on(commands::ingest::run(&cli.global, args)),
        Command::Web(args) => block_on(commands::web::run(&cli.global, args)),
        Command::Process(args) => block_on(commands::process::run(&cli.global, args)),
        Command::SimulateNetwork(args) => {
            block_on(commands::simulate_network::run(&cli.global, args))
        }
        Command::Enrich(args) => block_on(commands::enrich::run(&cli.global, args)),
        Command::Models(args) => block_on(commands::models::run(&cli.global, args)),
        Command::Ask(args) => block_on(commands::ask::run(&cli.global, args)),
        Command::Mock(args) => block_on(commands::mock::run(&cli.global, args)),
        Command::Streams(args) => block_on(commands::streams::run(&cli.global, args)),
        Command::Dead(args) => block_on(commands::dead::run(&cli.global, args)),
        Command::Audit(args) => block_on(commands::audit::run(&cli.global, args)),
        Command::Check(args) => block_on(commands::check::run(&cli.global, args)),
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("can't start the async runtime", &error))?;
    let result = runtime.block_on(work);
    // A thread that still reads standard input must not keep the process.
    runtime.shutdown_background();
    result
}
