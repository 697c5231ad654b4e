//! `wingbeat eval`: measures the models on labelled texts.

use std::path::Path;

use serde::{Deserialize, Serialize};
use wingbeat_model::{
    Judge, Reading, Sentiment, TOPIC_LABELS, index_of_max,
    linear::{Features, Featuriser},
    measure::{Calibration, Confusion, Labels},
};
use wingbeat_source::{Content, OpenOptions, SourceSpec};

use crate::{
    cli::{self, Eval, Format, Global, Task},
    config,
    failure::Failure,
    fetch, table,
};

/// A topic is given where its score is at least this.
const TOPIC_CUT: f32 = 0.5;

pub(crate) async fn run(global: &Global, args: &Eval) -> Result<(), Failure> {
    let judge = judge(global, args).await?;
    let rows = Rows::read(&args.data).await?;
    let report = match args.task {
        Task::Sentiment => sentiment(&judge, &rows)?,
        Task::Topics => topics(&judge, &rows)?,
    };
    match args.format {
        Format::Json => super::print_json(&report),
        Format::Text => report.as_text().trim_end().lines().try_for_each(super::print_line),
    }
}

/// The model that is asked for, or else that of the settings.
async fn judge(global: &Global, args: &Eval) -> Result<Judge, Failure> {
    let mut settings = config::load(global, None, Vec::new())?.config.stages;
    let models = &mut settings.models;
    let (stage, choice) = match args.task {
        Task::Sentiment => ("sentiment", &mut models.sentiment),
        Task::Topics => ("topics", &mut models.topics),
    };
    if let Some(asked) = args.model.clone().or(args.tier.map(cli::Tier::choice)) {
        *choice = asked;
    }
    let name = choice.to_string();
    let judges = fetch::prepare(&settings, &[stage.to_owned()]).await?;
    let judge = judges.into_iter().next().ok_or(Failure::No)?;
    let labels = judge.topic_labels();
    if let Some(missing) = TOPIC_LABELS.iter().find(|label| !labels.contains(label)) {
        let labels = labels.join(", ");
        let problem =
            format!("{name} has no topic `{missing}`, but {labels}: it can't be compared");
        return Err(Failure::Failed(problem));
    }
    Ok(judge)
}

/// The labelled texts of a file.
struct Rows {
    name: String,
    /// The line of each text in the file, its labels, and the text.
    rows: Vec<(u64, Vec<String>, String)>,
}

/// A line of a JSONL file.
#[derive(Deserialize)]
struct JsonRow {
    text: String,
    label: Option<String>,
    labels: Option<Vec<String>>,
}

/// The columns of a TSV file.
struct Columns {
    label: usize,
    text: usize,
}

impl Columns {
    fn find(header: &str) -> Option<Self> {
        let find = |names: &[&str]| header.split('\t').position(|name| names.contains(&name));
        Some(Self { label: find(&["label", "labels"])?, text: find(&["text"])? })
    }

    fn row(&self, line: &str) -> Option<(Vec<String>, String)> {
        let cells: Vec<&str> = line.split('\t').collect();
        let labels = cells.get(self.label)?.split('|').filter(|label| !label.is_empty());
        let text = cells.get(self.text)?;
        Some((labels.map(str::to_owned).collect(), (*text).to_owned()))
    }
}

fn json_row(line: &str) -> Result<(Vec<String>, String), String> {
    let row: JsonRow = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let labels = match (row.labels, row.label) {
        (Some(labels), _) => labels,
        (None, Some(label)) => vec![label],
        (None, None) => return Err("it has neither `label` nor `labels`".to_owned()),
    };
    Ok((labels, row.text))
}

impl Rows {
    async fn read(path: &Path) -> Result<Self, Failure> {
        const BATCH: usize = 1_000;
        let name = path.display().to_string();
        let spec = SourceSpec::parse(&format!("file:{name}"))?;
        let mut source = wingbeat_source::open(&spec, &OpenOptions::default())?;
        let mut rows = Self { name, rows: Vec::new() };
        let mut columns = None;
        let mut line = 0;
        while let Some(items) = source.next(BATCH).await? {
            for item in items {
                line += 1;
                let bytes = match item.content {
                    Content::Post(post) => post.payload,
                    Content::Dead { cause, .. } => return Err(rows.failure(line, &cause.message)),
                    Content::Event(_) | Content::Filtered(_) => continue,
                };
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| rows.failure(line, "it is not UTF-8"))?;
                let row = match &columns {
                    _ if text.starts_with('{') => {
                        json_row(text).map_err(|problem| rows.failure(line, &problem))?
                    }
                    None => {
                        columns = Some(Columns::find(text).ok_or_else(|| {
                            let problem = "neither a JSON object nor a header with the columns \
                                           `label` (or `labels`) and `text`, set apart by tabs";
                            rows.failure(line, problem)
                        })?);
                        continue;
                    }
                    Some(columns) => columns.row(text).ok_or_else(|| {
                        rows.failure(line, "it has fewer columns than the header")
                    })?,
                };
                rows.rows.push((line, row.0, row.1));
            }
        }
        if rows.rows.is_empty() {
            return Err(Failure::Failed(format!("{}: no labelled texts in it", rows.name)));
        }
        Ok(rows)
    }

    fn failure(&self, line: u64, problem: &str) -> Failure {
        Failure::Failed(format!("{}: row {line}: {problem}", self.name))
    }

    /// The index of a label in `known`.
    fn index(&self, line: u64, label: &str, known: &[&str]) -> Result<usize, Failure> {
        let problem = || format!("there is no label `{label}`; there are: {}", known.join(", "));
        let index = known.iter().position(|known| *known == label);
        index.ok_or_else(|| self.failure(line, &problem()))
    }
}

/// What is printed.
#[derive(Serialize)]
struct Report {
    texts: usize,
    macro_recall: f64,
    micro_f1: f64,
    macro_f1: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration_error: Option<f64>,
    labels: Vec<LabelReport>,
    /// A row for each true label, a column for each found one.
    #[serde(skip_serializing_if = "Option::is_none")]
    confusion: Option<Vec<Vec<usize>>>,
}

#[derive(Serialize)]
struct LabelReport {
    label: &'static str,
    texts: usize,
    recall: f64,
    precision: f64,
    f1: f64,
}

fn label_reports<const K: usize>(
    labels: &[&'static str; K],
    there: [usize; K],
    [recalls, precisions, f1]: [[f64; K]; 3],
) -> Vec<LabelReport> {
    let report = |k: usize| LabelReport {
        label: labels[k],
        texts: there[k],
        recall: recalls[k],
        precision: precisions[k],
        f1: f1[k],
    };
    (0..K).map(report).collect()
}

/// What the models make of a text, before they are asked what that means.
struct Read {
    features: Features,
    reading: Option<Reading>,
}

/// Reads all texts, in their order.
fn read(judge: &Judge, rows: &Rows) -> Result<Vec<Read>, Failure> {
    let mut featuriser = Featuriser::default();
    let texts = rows.rows.iter().map(|(_, _, text)| text.as_str());
    let mut readings = judge.read(texts).into_iter();
    let read = |(line, _, text): &(u64, Vec<String>, String)| {
        let reading = readings.next().transpose();
        let reading = reading.map_err(|error| rows.failure(*line, &error.to_string()))?;
        Ok(Read { features: featuriser.features(text), reading })
    };
    rows.rows.iter().map(read).collect()
}

fn sentiment(judge: &Judge, rows: &Rows) -> Result<Report, Failure> {
    let mut confusion = Confusion::<3>::default();
    let mut calibration = Calibration::default();
    for ((line, labels, _), read) in rows.rows.iter().zip(read(judge, rows)?) {
        let [label] = labels.as_slice() else {
            let problem = format!("it has {} labels; sentiment has one", labels.len());
            return Err(rows.failure(*line, &problem));
        };
        let truth = rows.index(*line, label, &Sentiment::LABELS)?;
        let probabilities = judge.sentiment(&read.features, read.reading.as_ref()).probabilities();
        let found = index_of_max(&probabilities);
        confusion.add(truth, found);
        calibration.add(probabilities[found], truth == found);
    }
    let figures = [confusion.recalls(), confusion.precisions(), confusion.f1()];
    Ok(Report {
        texts: rows.rows.len(),
        macro_recall: confusion.macro_recall(),
        micro_f1: confusion.micro_f1(),
        macro_f1: confusion.macro_f1(),
        calibration_error: Some(calibration.error()),
        labels: label_reports(&Sentiment::LABELS, confusion.there(), figures),
        confusion: Some(confusion.counts.iter().map(|row| row.to_vec()).collect()),
    })
}

fn topics(judge: &Judge, rows: &Rows) -> Result<Report, Failure> {
    let mut counts = Labels::<{ TOPIC_LABELS.len() }>::default();
    for ((line, labels, _), read) in rows.rows.iter().zip(read(judge, rows)?) {
        let mut truth = [false; TOPIC_LABELS.len()];
        for label in labels {
            truth[rows.index(*line, label, &TOPIC_LABELS)?] = true;
        }
        let found = judge.topics(&read.features, read.reading.as_ref());
        let scores = TOPIC_LABELS.map(|label| found.score(label).unwrap_or_default());
        let top = index_of_max(&scores);
        counts.add(&truth, &std::array::from_fn(|k| scores[k] >= TOPIC_CUT || k == top));
    }
    Ok(Report {
        texts: rows.rows.len(),
        macro_recall: counts.macro_recall(),
        micro_f1: counts.micro_f1(),
        macro_f1: counts.macro_f1(),
        calibration_error: None,
        labels: label_reports(
            &TOPIC_LABELS,
            counts.there(),
            [counts.recalls(), counts.precisions(), counts.f1()],
        ),
        confusion: None,
    })
}

impl Report {
    fn as_text(&self) -> String {
        let figure = |value: f64| format!("{value:.4}");
        let cells = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let mut summary: Vec<Vec<String>> = vec![
            cells(&["texts", &table::number(self.texts as u64)]),
            cells(&["macro recall", &figure(self.macro_recall)]),
            cells(&["micro F1", &figure(self.micro_f1)]),
            cells(&["macro F1", &figure(self.macro_f1)]),
        ];
        if let Some(error) = self.calibration_error {
            summary.push(cells(&["calibration error", &figure(error)]));
        }
        let mut labels = vec![cells(&["label", "texts", "recall", "precision", "F1"])];
        labels.extend(self.labels.iter().map(|label| {
            let LabelReport { label, texts, recall, precision, f1 } = label;
            let figures = [recall, precision, f1].map(|value| figure(*value));
            let mut row = vec![(*label).to_owned(), table::number(*texts as u64)];
            row.extend(figures);
            row
        }));
        let mut text = format!("{}\n{}", table::render(&summary), table::render(&labels));
        if let Some(confusion) = &self.confusion {
            let names = || self.labels.iter().map(|label| label.label.to_owned());
            let mut rows = vec![std::iter::once("is \\ found".to_owned()).chain(names()).collect()];
            rows.extend(confusion.iter().zip(names()).map(|(counts, name)| {
                std::iter::once(name)
                    .chain(counts.iter().map(|count| table::number(*count as u64)))
                    .collect::<Vec<_>>()
            }));
            text.push('\n');
            text.push_str(&table::render(&rows));
        }
        text
    }
}
