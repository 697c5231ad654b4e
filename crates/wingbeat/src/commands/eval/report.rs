//! What is printed.

use serde::Serialize;
use wingbeat_model::measure::Bin;

use super::verdicts::Matching;
use crate::table;

/// The figures.
#[derive(Serialize)]
pub(super) struct Report {
    /// The texts that were measured.
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// The texts of which nothing was said: they are not measured.
    pub(super) unscored: usize,
    /// How the rows met their predictions, where these come from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) matching: Option<Matching>,
    pub(super) labels: Vec<LabelReport>,
    /// A row for each true label, a column for each found one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) confusion: Option<Vec<Vec<usize>>>,
    /// Whether confidences mean what they say; without the bins that have no texts.
    pub(super) calibration: Vec<Bin>,
    /// The figures of each language; the one with most texts first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) languages: Option<Vec<LanguageReport>>,
}

#[derive(Clone, Serialize)]
pub(super) struct Figures {
    pub(super) texts: usize,
    pub(super) macro_recall: f64,
    pub(super) micro_f1: f64,
    pub(super) macro_f1: f64,
    pub(super) calibration_error: f64,
}

#[derive(Serialize)]
pub(super) struct LabelReport {
    pub(super) label: &'static str,
    pub(super) texts: usize,
    pub(super) recall: f64,
    pub(super) precision: f64,
    pub(super) f1: f64,
}

#[derive(Serialize)]
pub(super) struct LanguageReport {
    pub(super) language: String,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

/// What is told about each label.
pub(super) fn label_reports<const K: usize>(
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

fn figure(value: f64) -> String {
    format!("{value:.4}")
}

fn count(count: usize) -> String {
    table::number(count as u64)
}

fn cells(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

impl Report {
    /// For people.
    pub(super) fn as_text(&self) -> String {
        let mut tables = vec![self.summary(), self.labels_table()];
        tables.extend(self.confusion_table());
        tables.push(self.calibration_table());
        tables.extend(self.languages_table());
        tables.iter().map(|rows| table::render(rows)).collect::<Vec<_>>().join("\n")
    }

    fn summary(&self) -> Vec<Vec<String>> {
        let Figures { texts, macro_recall, micro_f1, macro_f1, calibration_error } = self.figures;
        let mut rows = vec![
            cells(&["texts", &count(texts)]),
            cells(&["macro recall", &figure(macro_recall)]),
            cells(&["micro F1", &figure(micro_f1)]),
            cells(&["macro F1", &figure(macro_f1)]),
            cells(&["calibration error", &figure(calibration_error)]),
        ];
        if self.unscored > 0 {
            rows.push(cells(&["texts without a verdict", &count(self.unscored)]));
        }
        if let Some(matching) = &self.matching {
            let Matching { rows_unmatched, predictions_unused, predictions_repeated, .. } =
                matching;
            for (name, number) in [
                ("rows without a prediction", rows_unmatched),
                ("predictions without a row", predictions_unused),
                ("predictions that came again", predictions_repeated),
            ] {
                rows.push(cells(&[name, &count(*number)]));
            }
        }
        rows
    }

    fn labels_table(&self) -> Vec<Vec<String>> {
        let mut rows = vec![cells(&["label", "texts", "recall", "precision", "F1"])];
        rows.extend(self.labels.iter().map(|label| {
            let LabelReport { label, texts, recall, precision, f1 } = label;
            let mut row = cells(&[label, &count(*texts)]);
            row.extend([recall, precision, f1].map(|value| figure(*value)));
            row
        }));
        rows
    }

    fn confusion_table(&self) -> Option<Vec<Vec<String>>> {
        let confusion = self.confusion.as_ref()?;
        let names = || self.labels.iter().map(|label| label.label.to_owned());
        let mut rows = vec![std::iter::once("is \\ found".to_owned()).chain(names()).collect()];
        rows.extend(confusion.iter().zip(names()).map(|(counts, name)| {
            std::iter::once(name).chain(counts.iter().map(|n| count(*n))).collect::<Vec<_>>()
        }));
        Some(rows)
    }

    fn calibration_table(&self) -> Vec<Vec<String>> {
        let mut rows = vec![cells(&["confidence", "texts", "right", "mean confidence"])];
        rows.extend(self.calibration.iter().map(|bin| {
            let Bin { from, to, texts, right, confidence } = bin;
            let range = format!("{from:.2} to {to:.2}");
            cells(&[&range, &count(*texts), &figure(*right), &figure(*confidence)])
        }));
        rows
    }

    fn languages_table(&self) -> Option<Vec<Vec<String>>> {
        let head =
            ["language", "texts", "macro recall", "micro F1", "macro F1", "calibration error"];
        let mut rows = vec![cells(&head)];
        rows.extend(self.languages.as_ref()?.iter().map(|LanguageReport { language, figures }| {
            let Figures { texts, macro_recall, micro_f1, macro_f1, calibration_error } = *figures;
            let mut row = vec![table::plain(language), count(texts)];
            row.extend([macro_recall, micro_f1, macro_f1, calibration_error].map(figure));
            row
        }));
        Some(rows)
    }
}
