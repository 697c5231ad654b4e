//! Labelled texts, and lines of files in general.

use std::path::Path;

use serde::Deserialize;
use wingbeat_source::{Content, OpenOptions, SourceSpec};

use crate::failure::Failure;

/// Lines that are taken from a file at a time.
const BATCH: usize = 1_000;

/// A file whose lines are read.
pub(super) struct Lines {
    name: String,
}

/// A labelled text.
pub(super) struct Row {
    /// Its line in the file, from 1.
    pub(super) line: u64,
    pub(super) labels: Vec<String>,
    pub(super) text: String,
    /// What the data says its language is.
    pub(super) language: Option<String>,
    /// By what its prediction is found, where it is not the text.
    pub(super) id: Option<String>,
}

/// The labelled texts of a file.
pub(super) struct Rows {
    pub(super) file: Lines,
    pub(super) rows: Vec<Row>,
}

/// A line of a JSONL file.
#[derive(Deserialize)]
struct JsonRow {
    text: String,
    label: Option<String>,
    labels: Option<Vec<String>>,
    lang: Option<String>,
    language: Option<String>,
    id: Option<String>,
    uri: Option<String>,
}

/// The columns of a TSV file.
struct Columns {
    label: usize,
    text: usize,
    language: Option<usize>,
    id: Option<usize>,
}

impl Columns {
    fn find(header: &str) -> Option<Self> {
        let find = |names: [&str; 2]| header.split('\t').position(|name| names.contains(&name));
        Some(Self {
            label: find(["label", "labels"])?,
            text: find(["text", "text"])?,
            language: find(["lang", "language"]),
            id: find(["id", "uri"]),
        })
    }

    fn row(&self, line: u64, content: &str) -> Result<Row, String> {
        let cells: Vec<&str> = content.split('\t').collect();
        let cell = |column: usize| {
            let missing = || "it has fewer columns than the header".to_owned();
            cells.get(column).map(|cell| (*cell).to_owned()).ok_or_else(missing)
        };
        let labels = cell(self.label)?;
        let labels = labels.split('|').filter(|label| !label.is_empty());
        Ok(Row {
            line,
            labels: labels.map(str::to_owned).collect(),
            text: cell(self.text)?,
            language: self.language.map(cell).transpose()?,
            id: self.id.map(cell).transpose()?,
        })
    }
}

fn json_row(line: u64, content: &str) -> Result<Row, String> {
    let row: JsonRow = serde_json::from_str(content).map_err(|error| error.to_string())?;
    let labels = match (row.labels, row.label) {
        (Some(labels), _) => labels,
        (None, Some(label)) => vec![label],
        (None, None) => return Err("it has neither `label` nor `labels`".to_owned()),
    };
    let (language, id) = (row.lang.or(row.language), row.id.or(row.uri));
    Ok(Row { line, labels, text: row.text, language, id })
}

impl Lines {
    /// Reads a file, also .gz and .zst, and gives each line that is not blank to `take`, with its
    /// number. What `take` finds wrong is an error that names the line.
    pub(super) async fn read(
        path: &Path,
        mut take: impl FnMut(u64, &str) -> Result<(), String>,
    ) -> Result<Self, Failure> {
        let file = Self { name: path.display().to_string() };
        let spec = SourceSpec::parse(&format!("file:{}", file.name))?;
        let mut source = wingbeat_source::open(&spec, &OpenOptions::default())?;
        let mut line = 0;
        while let Some(items) = source.next(BATCH).await? {
            for item in items {
                line += 1;
                let bytes = match item.content {
                    Content::Post(post) => post.payload,
                    Content::Dead { cause, .. } => return Err(file.failure(line, &cause.message)),
                    Content::Event(_) | Content::Filtered(_) => continue,
                };
                let content = std::str::from_utf8(&bytes)
                    .map_err(|_| file.failure(line, "it is not UTF-8"))?;
                if !content.trim().is_empty() {
                    take(line, content).map_err(|problem| file.failure(line, &problem))?;
                }
            }
        }
        Ok(file)
    }

    /// What is wrong with a line.
    pub(super) fn failure(&self, line: u64, problem: &str) -> Failure {
        Failure::Failed(format!("{}: line {line}: {problem}", self.name))
    }

    /// What is wrong with all of it.
    pub(super) fn whole_failure(&self, problem: &str) -> Failure {
        Failure::Failed(format!("{}: {problem}", self.name))
    }
}

impl Rows {
    pub(super) async fn read(path: &Path) -> Result<Self, Failure> {
        let mut rows = Vec::new();
        let mut columns: Option<Columns> = None;
        let file = Lines::read(path, |line, content| {
            let row = match &columns {
                None if content.starts_with('{') => json_row(line, content)?,
                None if rows.is_empty() => {
                    let problem = "neither a JSON object nor a header with the columns `label` (or \
                                   `labels`) and `text`, set apart by tabs";
                    columns = Some(Columns::find(content).ok_or(problem)?);
                    return Ok(());
                }
                None => return Err("it is no JSON object, as the lines before".to_owned()),
                Some(columns) => columns.row(line, content)?,
            };
            rows.push(row);
            Ok(())
        })
        .await?;
        if rows.is_empty() {
            return Err(file.whole_failure("no labelled texts in it"));
        }
        Ok(Self { file, rows })
    }

    /// The index of one of a row's labels in `known`.
    pub(super) fn index(&self, row: &Row, label: &str, known: &[&str]) -> Result<usize, Failure> {
        let problem = || format!("there is no label `{label}`; there are: {}", known.join(", "));
        let index = known.iter().position(|known| *known == label);
        index.ok_or_else(|| self.file.failure(row.line, &problem()))
    }
}
