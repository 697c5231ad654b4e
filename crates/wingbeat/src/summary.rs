//! What the program says about its books: a line while it runs, a table at the end.

use std::{io::IsTerminal as _, net::SocketAddr, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use wingbeat_flow::{Books, Counts};

use crate::{
    cli::Format,
    commands::print_json,
    failure::Failure,
    table::{self, number},
};

/// How often the line on a terminal changes.
const LINE_EVERY: Duration = Duration::from_millis(500);
/// How often a line is written where stderr is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(20);

/// The line while it runs.
pub(crate) struct Live {
    task: tokio::task::JoinHandle<()>,
    bar: ProgressBar,
}

impl Live {
    /// Starts the line.
    pub(crate) fn start(books: &[Books], address: SocketAddr) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = if is_terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        let (books, shown) = (books.to_vec(), bar.clone());
        let task = tokio::spawn(async move {
            let every = if is_terminal { LINE_EVERY } else { LOG_EVERY };
            let mut before = total(&books);
            let mut at = tokio::time::Instant::now();
            loop {
                tokio::time::sleep(every).await;
                let (now, elapsed) = (total(&books), at.elapsed());
                at = tokio::time::Instant::now();
                #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
                let rate = now.0.saturating_sub(before.0) as f64 / elapsed.as_secs_f64();
                before = now;
                let line = format!(
                    "{rate:.0} posts/s, {} emitted, {} filtered, {} dead, {} in flight",
                    number(now.0),
                    number(now.1),
                    number(now.2),
                    number(now.3),
                );
                if is_terminal {
                    shown.set_message(format!("http://{address}/  {line}"));
                    shown.tick();
                } else {
                    tracing::info!("{line}");
                }
            }
        });
        Self { task, bar }
    }

    /// Ends the line.
    pub(crate) fn finish(self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

/// Emitted by the last flow, filtered and dead by all, in flight in all.
fn total(books: &[Books]) -> (u64, u64, u64, u64) {
    let counts: Vec<Counts> = books.iter().map(Books::counts).collect();
    (
        counts.last().map_or(0, |counts| counts.emitted),
        counts.iter().map(Counts::filtered_total).sum(),
        counts.iter().map(Counts::dead_total).sum(),
        counts.iter().map(|counts| counts.in_flight).sum(),
    )
}

#[derive(Serialize)]
struct Summary {
    flows: Vec<FlowSummary>,
    balanced: bool,
}

#[derive(Serialize)]
struct FlowSummary {
    flow: String,
    #[serde(flatten)]
    counts: Counts,
    balanced: bool,
}

/// Prints the books; true where all of them balance.
pub(crate) fn print(books: &[Books], format: Format) -> Result<bool, Failure> {
    let flows: Vec<FlowSummary> = books
        .iter()
        .map(|books| {
            let counts = books.counts();
            let balanced = counts.imbalance() == 0;
            FlowSummary { flow: books.name().to_owned(), counts, balanced }
        })
        .collect();
    let balanced = flows.iter().all(|flow| flow.balanced);
    if format == Format::Json {
        print_json(&Summary { flows, balanced })?;
        return Ok(balanced);
    }
    let rows = flows.iter().map(|flow| (flow.flow.as_str(), &flow.counts));
    eprint!("{}", books_table(rows));
    for flow in &flows {
        eprint!("{}", reasons(&flow.flow, &flow.counts));
    }
    Ok(balanced)
}

/// Counts as JSON, and how far they are out of balance.
pub(crate) fn balanced_json(counts: &Counts) -> serde_json::Value {
    // Numbers under names always serialise.
    let mut json = serde_json::to_value(counts).unwrap_or_default();
    json["imbalance"] = counts.imbalance().into();
    json
}

/// Books as a table.
pub(crate) fn books_table<'a>(books: impl IntoIterator<Item = (&'a str, &'a Counts)>) -> String {
    let head = ["flow", "received", "emitted", "filtered", "dead", "in flight", "balanced"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (flow, counts) in books {
        let balanced = match counts.imbalance() {
            0 => "balanced".to_owned(),
            off => format!("off by {off}"),
        };
        rows.push(vec![
            flow.to_owned(),
            number(counts.received),
            number(counts.emitted),
            number(counts.filtered_total()),
            number(counts.dead_total()),
            number(counts.in_flight),
            balanced,
        ]);
    }
    table::render(&rows)
}

/// Why records were filtered or died, if any were.
pub(crate) fn reasons(flow: &str, counts: &Counts) -> String {
    let list = |what: &str, parts: &std::collections::BTreeMap<String, u64>| {
        if parts.is_empty() {
            return String::new();
        }
        let parts: Vec<String> =
            parts.iter().map(|(reason, count)| format!("{reason} {}", number(*count))).collect();
        format!("{flow}: {what}: {}\n", parts.join(", "))
    };
    list("filtered", &counts.filtered) + &list("dead", &counts.dead)
}
