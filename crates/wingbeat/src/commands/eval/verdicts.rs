//! What was said of each labelled text: by the models now, or in the output of `wingbeat enrich`.
//!
//! Both are read from the same place, the members `language`, `sentiment` and `topics` of an enriched
//! post. So what is measured is what a flow would write.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use wingbeat_flow::{Pipeline, Pool};
use wingbeat_model::{Sentiment, TOPIC_LABELS};
use wingbeat_record::{Record, Subject};
use wingbeat_stage::{Item, Settings, Unread, Verdict as Settled};

use super::rows::{Lines, Row, Rows};
use crate::{
    analysis::{self, Explained},
    cli::Task,
    failure::Failure,
};

/// A topic is given where its score is at least this.
const TOPIC_CUT: f64 = 0.5;
/// Texts that go through the models together.
const BATCH: usize = 500;

/// What was said of a text.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Verdict {
    #[serde(default)]
    pub(super) language: Option<String>,
    #[serde(default)]
    pub(super) sentiment: Option<SentimentSaid>,
    #[serde(default)]
    pub(super) topics: Option<TopicsSaid>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct SentimentSaid {
    pub(super) sentiment: String,
    pub(super) confidence: f32,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct TopicsSaid {
    pub(super) topics: Vec<String>,
    pub(super) top_topic: String,
    pub(super) top_confidence: f32,
}

impl Verdict {
    /// Refuses labels that no model of ours gives, and confidences that are none.
    fn check(&self) -> Result<(), String> {
        let sentiments = self.sentiment.iter().map(|said| &said.sentiment);
        let topics =
            self.topics.iter().flat_map(|said| said.topics.iter().chain([&said.top_topic]));
        let is_unknown = |label: &&String, known: &[&str]| !known.contains(&label.as_str());
        let mut unknown = sentiments
            .filter(|label| is_unknown(label, &Sentiment::LABELS))
            .chain(topics.filter(|label| is_unknown(label, &TOPIC_LABELS)));
        if let Some(label) = unknown.next() {
            return Err(format!("there is no label `{label}`"));
        }
        let sentiment = self.sentiment.iter().map(|said| said.confidence);
        let mut confidences = sentiment.chain(self.topics.iter().map(|said| said.top_confidence));
        match confidences.find(|confidence| !(0.0..=1.0).contains(confidence)) {
            Some(confidence) => Err(format!("a confidence is {confidence}, not 0 to 1")),
            None => Ok(()),
        }
    }
}

/// How rows and predictions met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Matching {
    /// `id` or `text`: by what.
    pub(super) by: &'static str,
    /// Rows that have no prediction.
    pub(super) rows_unmatched: usize,
    /// Predictions that belong to no row.
    pub(super) predictions_unused: usize,
    /// Predictions that came again, and of which the first counts.
    pub(super) predictions_repeated: usize,
}

/// What the models say of every row, in their order.
pub(super) async fn of_models(
    settings: &Settings,
    task: Task,
    threads: usize,
    rows: &Rows,
) -> Result<Vec<Option<Verdict>>, Failure> {
    let pipeline = Arc::new(pipeline(settings, task)?);
    let pool = Pool::start(threads)
        .map_err(|error| Failure::io("can't start threads for the models", &error))?;
    let mut batches = Vec::new();
    for batch in rows.rows.chunks(BATCH) {
        let texts: Vec<String> = batch.iter().map(|row| row.text.clone()).collect();
        let pipeline = Arc::clone(&pipeline);
        batches.push((batch, pool.run(move || ask(&pipeline, &texts))));
    }
    let mut verdicts = Vec::with_capacity(rows.rows.len());
    for (batch, answers) in batches {
        let died = |_| Failure::Failed("a thread of the models died".to_owned());
        for (row, answer) in batch.iter().zip(answers.await.map_err(died)?) {
            let verdict = answer.map_err(|problem| rows.file.failure(row.line, &problem))?;
            verdicts.push(Some(verdict));
        }
    }
    Ok(verdicts)
}

/// The stages, set so that every text is scored.
fn pipeline(settings: &Settings, task: Task) -> Result<Pipeline, Failure> {
    let mut settings = settings.clone();
    settings.post.bytes_max = usize::MAX;
    settings.sentiment.threshold = 0.0;
    settings.sentiment.unread = Unread::Score;
    settings.topics.threshold = TOPIC_CUT;
    settings.topics.unread = Unread::Score;
    Ok(Pipeline::new(&["post", "language", task.stage()].map(str::to_owned), &settings)?)
}

fn ask(pipeline: &Pipeline, texts: &[String]) -> Vec<Result<Verdict, String>> {
    let Ok(subject) = Subject::new("eval") else { return Vec::new() };
    let item = |text: &String| {
        let request = analysis::request(text, &[], Explained::Nothing);
        Item::new(Record::new(subject.clone(), request))
    };
    let mut items: Vec<Item> = texts.iter().map(item).collect();
    pipeline.run(&mut items.iter_mut().collect::<Vec<_>>());
    items.iter().map(verdict).collect()
}

fn verdict(item: &Item) -> Result<Verdict, String> {
    match item.verdict() {
        None => {
            let verdict: Verdict =
                serde_json::from_slice(&item.additions()).map_err(|error| error.to_string())?;
            verdict.check().map(|()| verdict)
        }
        Some(Settled::Filtered(reason)) => Err(reason.to_string()),
        Some(Settled::Dead(cause) | Settled::Retry(cause)) => Err(cause.message.clone()),
    }
}

/// A line of an enriched file.
#[derive(Deserialize)]
struct Enriched {
    id: Option<String>,
    uri: Option<String>,
    text: Option<String>,
    #[serde(flatten)]
    verdict: Verdict,
}

/// What a file of enriched posts says of every row. A row is found by its id where the data has ids
/// (a column `id` or `uri`), else by its exact text.
pub(super) async fn of_file(
    path: &Path,
    rows: &Rows,
) -> Result<(Vec<Option<Verdict>>, Matching), Failure> {
    let has_ids = rows.rows.iter().any(|row| row.id.is_some());
    let mut matching = Matching { by: if has_ids { "id" } else { "text" }, ..Matching::default() };
    let mut said: HashMap<String, (Verdict, bool)> = HashMap::new();
    let file = Lines::read(path, |_, content| {
        let Enriched { id, uri, text, verdict } =
            serde_json::from_str(content).map_err(|error| format!("no enriched post: {error}"))?;
        verdict.check()?;
        let missing = || format!("it has no `{}`, by which it could be found", matching.by);
        let key = if has_ids { id.or(uri) } else { text }.ok_or_else(missing)?;
        match said.entry(key) {
            Entry::Vacant(entry) => _ = entry.insert((verdict, false)),
            Entry::Occupied(_) => matching.predictions_repeated += 1,
        }
        Ok(())
    })
    .await?;
    if said.is_empty() {
        return Err(file.whole_failure("no enriched posts in it"));
    }
    let mut find = |row: &Row| {
        let key = if has_ids { row.id.as_ref()? } else { &row.text };
        let (verdict, is_used) = said.get_mut(key)?;
        *is_used = true;
        Some(verdict.clone())
    };
    let verdicts: Vec<Option<Verdict>> = rows.rows.iter().map(&mut find).collect();
    matching.rows_unmatched = verdicts.iter().filter(|verdict| verdict.is_none()).count();
    matching.predictions_unused = said.values().filter(|(_, is_used)| !is_used).count();
    if matching.rows_unmatched == verdicts.len() {
        let by = matching.by;
        return Err(file.whole_failure(&format!("no post in it is one of the data, by its `{by}`")));
    }
    Ok((verdicts, matching))
}
