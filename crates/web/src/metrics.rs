//! The books as Prometheus text
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::Write as _;

use wingbeat_flow::{Books, Counts};

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes how many browsers watch.
pub(crate) fn write_clients(text: &mut String, clients: usize) {
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "# HELP wingbeat_web_clients Browsers that watch.\n# TYPE wingbeat_web_clients gauge\nwingbeat_web_clients {clients}"
    );
}

/// Writes all books. Reasons, kinds and flow names are words of our own, so labels need no
/// escaping: [`wingbeat_record::Reason`] lets nothing else through.
pub fn write(books: &[Books]) -> String {
    let counts: Vec<(String, Counts)> =
        books.iter().map(|books| (books.name().to_owned(), books.counts())).collect();
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, i128)>| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(text, "{name}{{{labels}}} {value}");
        }
    };
    let each = |value: fn(&Counts) -> i128| -> Vec<(String, i128)> {
        counts.iter().map(|(flow, counts)| (format!("flow=\"{flow}\""), value(counts))).collect()
    };
    let split = |label: &str, parts: fn(&Counts) -> &std::collections::BTreeMap<String, u64>| {
        let lines = |(flow, counts): &(String, Counts)| {
            let line = |(part, number): (&String, &u64)| {
                (format!("flow=\"{flow}\",{label}=\"{part}\""), i128::from(*number))
            };
            parts(counts).iter().map(line).collect::<Vec<_>>()
        };
        counts.iter().flat_map(lines).collect::<Vec<_>>()
    };
    family(
        "wingbeat_received_total",
        "counter",
        "Records that came in.",
        each(|c| c.received.into()),
    );
    family(
        "wingbeat_emitted_total",
        "counter",
        "Records whose output is durable.",
        each(|c| c.emitted.into()),
    );
    family(
        "wingbeat_filtered_total",
        "counter",
        "Records left out on purpose.",
        split("reason", |c| &c.filtered),
    );
    family(
        "wingbeat_dead_total",
        "counter",
        "Records that became dead letters.",
        split("kind", |c| &c.dead),
    );
    family(
        "wingbeat_in_flight",
        "gauge",
        "Records that are being worked on.",
        each(|c| c.in_flight.into()),
    );
    family(
        "wingbeat_books_imbalance",
        "gauge",
        "Received less all outcomes and what is in flight: must be 0.",
        each(|c| c.imbalance().into()),
    );
    text
}
