//! `wingbeat simulate-network`: a network of our own, to measure and to test with.

use std::time::Duration;

use wingbeat_network::{Afterwards, BadCursors, Fault, Network, Options, PlannedFault, Prepared};
use wingbeat_ops::{logging, shutdown};

use super::print_line;
use crate::{
    cli::{Global, SimulateNetwork},
    config,
    failure::Failure,
};

pub(crate) async fn run(global: &Global, args: &SimulateNetwork) -> Result<(), Failure> {
    let config = config::load(global, None, Vec::new())?.config;
    logging::start(config.logging.level, config.logging.format);
    let stop =
        shutdown::on_signal().map_err(|error| Failure::io("can't listen for signals", &error))?;
    let network =
        Network::start(options(args)?).await.map_err(|error| Failure::Config(error.to_string()))?;
    for address in network.addresses() {
        print_line(&format!("Host: ws://{address}"))?;
    }
    let duration = args.duration.map_or(Duration::MAX, |span| span.0);
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(duration) => {}
    }
    let (events, faults) = (network.events(), network.faults_done().len());
    network.stop().await;
    eprintln!("{events} events, {faults} faults");
    Ok(())
}

fn options(args: &SimulateNetwork) -> Result<Options, Failure> {
    let plan = args.fault.iter().map(|text| planned(text)).collect::<Result<_, _>>()?;
    Ok(Options {
        seed: args.seed,
        ports: if args.port.is_empty() { vec![0] } else { args.port.clone() },
        rate: args.rate,
        accounts: args.accounts,
        window: args.window,
        prepared: args.prepared.map(|events| Prepared {
            events,
            then: if args.repeat { Afterwards::Repeat } else { Afterwards::End },
        }),
        plan,
        bad_cursors: if args.clamp { BadCursors::Clamped } else { BadCursors::Told },
        v1_dictionary: args.v1_dictionary.clone(),
        ..Options::default()
    })
}

/// `FAULT@N` or `FAULT@N/EVERY`.
fn planned(text: &str) -> Result<PlannedFault, Failure> {
    let wrong = |problem: &str| {
        Failure::Config(format!(
            "--fault {text}: {problem}; write FAULT@N or FAULT@N/EVERY, such as disconnect@500/500"
        ))
    };
    let (fault, at) = text.split_once('@').ok_or_else(|| wrong("it says not where"))?;
    let fault: Fault = fault.parse().map_err(|error| wrong(&format!("{error}")))?;
    let number = |text: &str| text.parse().map_err(|_| wrong("that is no number"));
    let (at, every) = match at.split_once('/') {
        Some((at, every)) => (number(at)?, Some(number(every)?)),
        None => (number(at)?, None),
    };
    Ok(PlannedFault { fault, at, every })
}
