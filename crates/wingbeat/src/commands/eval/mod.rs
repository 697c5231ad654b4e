//! `wingbeat eval`: measures the models, or what they have said before, on labelled texts.

use std::{cmp::Reverse, collections::BTreeMap};

use wingbeat_model::{
    Judge, Sentiment, TOPIC_LABELS,
    measure::{Calibration, Confusion, Labels},
};
use wingbeat_stage::Settings;

use crate::{
    cli::{self, Eval, Format, Global, Task},
    config,
    failure::Failure,
    fetch,
};

mod plot;
mod report;
mod rows;
mod verdicts;

use report::{Figures, LanguageReport, Report, label_reports};
use rows::{Row, Rows};
use verdicts::{Matching, Verdict};

/// More languages than this in a column are something else.
const LANGUAGES_MAX: usize = 256;
/// The language of a text that has none.
const NO_LANGUAGE: &str = "unknown";
const TOPICS: usize = TOPIC_LABELS.len();

pub(crate) async fn run(global: &Global, args: &Eval) -> Result<(), Failure> {
    let config = config::load(global, None, Vec::new())?.config;
    let rows = Rows::read(&args.data).await?;
    let (verdicts, matching) = match &args.predictions {
        Some(file) => {
            let (verdicts, matching) = verdicts::of_file(file, &rows).await?;
            (verdicts, Some(matching))
        }
        None => {
            let (settings, judges) = models(args, &config.stages).await?;
            let said = verdicts::of_models(&settings, args.task, config.threads(), &rows).await?;
            // The stages have held them.
            drop(judges);
            (said, None)
        }
    };
    let report = measure(args, &rows, &verdicts, matching)?;
    if let Some(file) = &args.plot {
        let data = args.data.file_name().unwrap_or_default().to_string_lossy();
        let title = format!("Calibration on {data}");
        let svg = plot::svg(&title, &report.figures, &report.calibration);
        std::fs::write(file, svg)
            .map_err(|error| Failure::io(&format!("can't write {}", file.display()), &error))?;
    }
    match args.format {
        Format::Json => super::print_json(&report),
        Format::Text => report.as_text().trim_end().lines().try_for_each(super::print_line),
    }
}

/// The settings with the model that is asked for, and that model, loaded.
async fn models(args: &Eval, settings: &Settings) -> Result<(Settings, Vec<Judge>), Failure> {
    let mut settings = settings.clone();
    let choice = match args.task {
        Task::Sentiment => &mut settings.models.sentiment,
        Task::Topics => &mut settings.models.topics,
    };
    if let Some(asked) = args.model.clone().or(args.tier.map(cli::Tier::choice)) {
        *choice = asked;
    }
    let name = choice.to_string();
    let judges = fetch::prepare(&settings, &[args.task.stage().to_owned()]).await?;
    let labels = judges.iter().flat_map(Judge::topic_labels);
    if let Some(unknown) = labels.into_iter().find(|label| !TOPIC_LABELS.contains(label)) {
        let known = TOPIC_LABELS.join(", ");
        let problem =
            format!("{name} has the topic `{unknown}`; only these can be measured: {known}");
        return Err(Failure::Failed(problem));
    }
    Ok((settings, judges))
}

impl Task {
    /// The stage that does it.
    fn stage(self) -> &'static str {
        match self {
            Self::Sentiment => "sentiment",
            Self::Topics => "topics",
        }
    }
}

/// Counts of one task.
#[derive(Clone)]
enum Tally {
    Sentiment(Confusion<3>, Calibration),
    Topics(Box<Labels<TOPICS>>, Calibration),
}

/// Measures what was said of the rows that something was said of.
fn measure(
    args: &Eval,
    rows: &Rows,
    verdicts: &[Option<Verdict>],
    matching: Option<Matching>,
) -> Result<Report, Failure> {
    let mut whole = Tally::new(args.task);
    let mut languages: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut unscored = 0;
    for (row, verdict) in rows.rows.iter().zip(verdicts) {
        // A wrong label is told whether or not something was said of the text.
        let truth = truth(args.task, rows, row)?;
        let Some(verdict) = verdict else { continue };
        if !whole.add(&truth, verdict) {
            unscored += 1;
        } else if args.by_language {
            let language = row.language.as_deref().or(verdict.language.as_deref());
            let language = languages.entry(language.unwrap_or(NO_LANGUAGE));
            language.or_insert_with(|| Tally::new(args.task)).add(&truth, verdict);
        }
    }
    if whole.figures().texts == 0 {
        return Err(rows.file.whole_failure("nothing was said of any of its texts"));
    }
    if languages.len() > LANGUAGES_MAX {
        let problem = format!("over {LANGUAGES_MAX} languages: is that what the column holds?");
        return Err(rows.file.whole_failure(&problem));
    }
    let mut by_language: Vec<LanguageReport> = languages
        .iter()
        .map(|(language, tally)| LanguageReport {
            language: (*language).to_owned(),
            figures: tally.figures(),
        })
        .collect();
    by_language.sort_by_key(|report| Reverse(report.figures.texts));
    Ok(Report {
        figures: whole.figures(),
        unscored,
        matching,
        labels: whole.labels(),
        confusion: whole.confusion(),
        calibration: whole.calibration().bins().filter(|bin| bin.texts > 0).collect(),
        languages: args.by_language.then_some(by_language),
    })
}

/// The indices of a row's labels.
fn truth(task: Task, rows: &Rows, row: &Row) -> Result<Vec<usize>, Failure> {
    let known: &[&str] = match task {
        Task::Sentiment => &Sentiment::LABELS,
        Task::Topics => &TOPIC_LABELS,
    };
    if task == Task::Sentiment && row.labels.len() != 1 {
        let problem = format!("it has {} labels; sentiment has one", row.labels.len());
        return Err(rows.file.failure(row.line, &problem));
    }
    row.labels.iter().map(|label| rows.index(row, label, known)).collect()
}

impl Tally {
    fn new(task: Task) -> Self {
        match task {
            Task::Sentiment => Self::Sentiment(Confusion::default(), Calibration::default()),
            Task::Topics => Self::Topics(Box::default(), Calibration::default()),
        }
    }

    /// Counts a text; false where the verdict says nothing of the task. The labels of verdicts have
    /// been checked when they were read.
    fn add(&mut self, truth: &[usize], verdict: &Verdict) -> bool {
        match self {
            Self::Sentiment(confusion, calibration) => {
                let Some(said) = &verdict.sentiment else { return false };
                let found = Sentiment::LABELS.iter().position(|label| *label == said.sentiment);
                let (Some(found), [truth]) = (found, truth) else { return false };
                confusion.add(*truth, found);
                calibration.add(said.confidence, *truth == found);
            }
            Self::Topics(labels, calibration) => {
                let Some(said) = &verdict.topics else { return false };
                let is_true = std::array::from_fn(|label| truth.contains(&label));
                let is_given = TOPIC_LABELS.map(|label| said.topics.iter().any(|it| it == label));
                labels.add(&is_true, &is_given);
                let is_top_right = truth.iter().any(|label| TOPIC_LABELS[*label] == said.top_topic);
                calibration.add(said.top_confidence, is_top_right);
            }
        }
        true
    }

    fn calibration(&self) -> &Calibration {
        let (Self::Sentiment(_, calibration) | Self::Topics(_, calibration)) = self;
        calibration
    }

    fn figures(&self) -> Figures {
        let [macro_recall, micro_f1, macro_f1] = match self {
            Self::Sentiment(it, _) => [it.macro_recall(), it.micro_f1(), it.macro_f1()],
            Self::Topics(it, _) => [it.macro_recall(), it.micro_f1(), it.macro_f1()],
        };
        let calibration = self.calibration();
        let texts = calibration.bins().map(|bin| bin.texts).sum();
        let calibration_error = calibration.error();
        Figures { texts, macro_recall, micro_f1, macro_f1, calibration_error }
    }

    fn labels(&self) -> Vec<report::LabelReport> {
        match self {
            Self::Sentiment(it, _) => {
                let figures = [it.recalls(), it.precisions(), it.f1()];
                label_reports(&Sentiment::LABELS, it.there(), figures)
            }
            Self::Topics(it, _) => {
                let figures = [it.recalls(), it.precisions(), it.f1()];
                label_reports(&TOPIC_LABELS, it.there(), figures)
            }
        }
    }

    fn confusion(&self) -> Option<Vec<Vec<usize>>> {
        match self {
            Self::Sentiment(it, _) => Some(it.counts.iter().map(|row| row.to_vec()).collect()),
            Self::Topics(..) => None,
        }
    }
}
