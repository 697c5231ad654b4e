//! The books as Prometheus text
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::{collections::BTreeMap, fmt::Write as _};

use wingbeat_flow::{Books, Counts};

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes what there is to say of a dashboard: whether the log answers, and how many watch.
pub(crate) fn write_dashboard(text: &mut String, has_log: bool, clients: usize) {
    for (name, help, value) in [
        ("wingbeat_log_connected", "Whether the log answers.", usize::from(has_log)),
        ("wingbeat_web_clients", "Browsers that watch.", clients),
    ] {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
}

/// Counts of one flow.
type Of<'a> = (&'a str, Counts);

/// Writes what this process has done, which begins at nothing with each start: the counts of all
/// processes come to the whole. Reasons, kinds and flow names are words of our own, so labels need
/// no escaping: [`wingbeat_record::Reason`] lets nothing else through.
pub fn write_own(text: &mut String, books: &[Books]) {
    let counts: Vec<Of<'_>> = books.iter().map(|books| (books.name(), books.own())).collect();
    let each = |value: fn(&Counts) -> i128| -> Vec<(String, i128)> {
        counts.iter().map(|(flow, counts)| (format!("flow=\"{flow}\""), value(counts))).collect()
    };
    let split = |label: &str, parts: fn(&Counts) -> &BTreeMap<String, u64>| {
        let lines = |(flow, counts): &Of<'_>| {
            let line = |(part, number): (&String, &u64)| {
                (format!("flow=\"{flow}\",{label}=\"{part}\""), i128::from(*number))
            };
            parts(counts).iter().map(line).collect::<Vec<_>>()
        };
        counts.iter().flat_map(lines).collect::<Vec<_>>()
    };
    for (name, kind, help, lines) in [
        (
            "wingbeat_received_total",
            "counter",
            "Records that came in.",
            each(|c| c.received.into()),
        ),
        (
            "wingbeat_emitted_total",
            "counter",
            "Records whose output is durable.",
            each(|c| c.emitted.into()),
        ),
        (
            "wingbeat_filtered_total",
            "counter",
            "Records left out on purpose.",
            split("reason", |c| &c.filtered),
        ),
        (
            "wingbeat_dead_total",
            "counter",
            "Records that became dead letters.",
            split("kind", |c| &c.dead),
        ),
        (
            "wingbeat_in_flight",
            "gauge",
            "Records that are being worked on.",
            each(|c| c.in_flight.into()),
        ),
        (
            "wingbeat_books_imbalance",
            "gauge",
            "Received less all outcomes and what is in flight: must be 0.",
            each(|c| c.imbalance().into()),
        ),
    ] {
        write(text, (name, kind, help), &lines);
    }
}

/// Writes what the flows' books say in all: of every process, and of earlier runs. Every process
/// says the same, so they are not to be added up.
pub fn write_flows(text: &mut String, books: &[Books]) {
    let mut lines = Vec::new();
    for books in books {
        let (flow, counts) = (books.name(), books.counts());
        let mut add = |outcome: &str, reason: &str, count: u64| {
            let labels = format!("flow=\"{flow}\",outcome=\"{outcome}\",reason=\"{reason}\"");
            lines.push((labels, count.into()));
        };
        add("emitted", "", counts.emitted);
        counts.filtered.iter().for_each(|(reason, count)| add("filtered", reason, *count));
        counts.dead.iter().for_each(|(kind, count)| add("dead", kind, *count));
    }
    let help =
        "Records settled by all processes, as the log tells it: not to be added up over processes.";
    write(text, ("wingbeat_flow_books", "gauge", help), &lines);
}

fn write(text: &mut String, (name, kind, help): (&str, &str, &str), lines: &[(String, i128)]) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in lines {
        let _ = writeln!(text, "{name}{{{labels}}} {value}");
    }
}
