//! `wingbeat audit`: the books against the streams.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};
use wingbeat_flow::audit::{self, Report};
use wingbeat_ops::logging;

use super::{load_pack, open_to_read, print_json, print_line};
use crate::{
    cli::{Audit, Format, Global},
    failure::Failure,
    summary,
};

pub(crate) async fn run(global: &Global, args: &Audit) -> Result<(), Failure> {
    let (config, pack) = load_pack(global, args.pack.as_deref(), args.profile)?;
    logging::start(config.logging.level, config.logging.format);
    let log = open_to_read(&config).await?;
    let is_terminal = std::io::stderr().is_terminal();
    let bar = if is_terminal { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} records");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let progress_bar = bar.clone();
    let mut progress = move |read, total| {
        progress_bar.set_length(total);
        progress_bar.set_position(read);
    };
    let audited = audit::audit(&*log, &pack, &mut progress).await;
    log.close().await?;
    let report = audited?;
    bar.finish_and_clear();
    match args.format {
        Format::Json => {
            let mut json = serde_json::to_value(&report)
                .map_err(|error| Failure::Failed(error.to_string()))?;
            json["balanced"] = report.is_balanced().into();
            print_json(&json)?;
        }
        Format::Text => print(&report)?,
    }
    if report.is_balanced() { Ok(()) } else { Err(Failure::No) }
}

fn print(report: &Report) -> Result<(), Failure> {
    let books = report.flows.iter().map(|flow| (flow.flow.as_str(), &flow.counts));
    print_line(summary::books_table(books).trim_end())?;
    for flow in &report.flows {
        let reasons = summary::reasons(&flow.flow, &flow.counts);
        if !reasons.is_empty() {
            print_line(reasons.trim_end())?;
        }
    }
    for problem in &report.problems {
        print_line(&format!("PROBLEM: {problem}"))?;
    }
    for flow in &report.flows {
        for problem in &flow.problems {
            print_line(&format!("PROBLEM: {}: {problem}", flow.flow))?;
        }
    }
    let verdict = if report.is_balanced() {
        "balanced: every record is accounted for"
    } else {
        "NOT BALANCED"
    };
    print_line(verdict)
}
