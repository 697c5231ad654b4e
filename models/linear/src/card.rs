//! The tables of the model card.

use std::{fmt::Write as _, fs, path::Path};

use wingbeat_model::{Sentiment, TOPIC_LABELS};

use crate::{data::Failure, export::count, language, sentiment, topics};

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// Puts the tables into the card, between its markers.
pub(crate) fn update(card: &Path, tables: &str) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", card.display());
    let text = fs::read_to_string(card).map_err(|error| failed(&error))?;
    let (Some(begin), Some(end)) = (text.find(BEGIN), text.find(END)) else {
        return Err(failed(&"it has no markers for the tables"));
    };
    let (head, tail) = (&text[..begin + BEGIN.len()], &text[end..]);
    fs::write(card, format!("{head}\n\n{tables}\n{tail}")).map_err(|error| failed(&error))
}

/// All tables, as Markdown.
pub(crate) fn tables(
    sentiment: &sentiment::Report,
    topics: &topics::Report,
    languages: &language::Report,
) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = sentiment_tables(&mut out, sentiment);
    let _ = topic_tables(&mut out, topics);
    let _ = language_table(&mut out, languages);
    out
}

fn sentiment_tables(out: &mut String, report: &sentiment::Report) -> std::fmt::Result {
    writeln!(out, "### Sentiment\n")?;
    writeln!(
        out,
        "Learnt from {} tweets; temperature {:.3}. The last column is the expected calibration \
         error over 15 bins.\n",
        report.rows, report.temperature
    )?;
    writeln!(out, "| | macro recall | negative | neutral | positive | macro F1 | calibration |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for (name, confusion, calibration) in [
        ("5 folds of the training tweets, float weights", &report.folds, None),
        (
            "validation tweets, as shipped",
            &report.validation,
            Some(report.validation_calibration.error()),
        ),
    ] {
        let recalls = confusion.recalls().map(|recall| format!("{recall:.3}")).join(" | ");
        let calibration = calibration.map_or("-".to_owned(), |error| format!("{error:.3}"));
        let (recall, f1) = (confusion.macro_recall(), confusion.macro_f1());
        writeln!(out, "| {name} | {recall:.3} | {recalls} | {f1:.3} | {calibration} |")?;
    }
    writeln!(out, "\nConfusion on the validation tweets, a row for each true class:\n")?;
    writeln!(out, "| | {} |\n|---|---|---|---|", Sentiment::LABELS.join(" | "))?;
    for (label, row) in Sentiment::LABELS.iter().zip(report.validation.counts) {
        writeln!(out, "| {label} | {} |", row.map(|n| n.to_string()).join(" | "))?;
    }
    writeln!(out)
}

fn topic_tables(out: &mut String, report: &topics::Report) -> std::fmt::Result {
    writeln!(out, "### Topics\n")?;
    writeln!(
        out,
        "Learnt from {} labelled tweets and {} texts with guessed labels.\n",
        report.tweets, report.guessed
    )?;
    writeln!(out, "| | micro F1 | macro F1 |\n|---|---|---|")?;
    for (name, labels) in [
        ("5 folds of the training tweets, float weights", &report.folds),
        ("held-out tweets, as shipped", &report.held_out),
    ] {
        writeln!(out, "| {name} | {:.3} | {:.3} |", labels.micro_f1(), labels.macro_f1())?;
    }
    writeln!(out, "\n| topic | tweets in the folds | F1 in the folds |\n|---|---|---|")?;
    let (there, f1) = (report.folds.there(), report.folds.f1());
    for ((topic, there), f1) in TOPIC_LABELS.iter().zip(there).zip(f1) {
        writeln!(out, "| {topic} | {there} | {f1:.3} |")?;
    }
    writeln!(out)
}

fn language_table(out: &mut String, report: &language::Report) -> std::fmt::Result {
    writeln!(out, "### Language\n")?;
    writeln!(out, "Texts that were not learnt from; in each cell this model / whichlang 0.1.1.\n")?;
    writeln!(
        out,
        "| set | texts | right | right, of the 16 languages that whichlang knows | English found \
         | other languages taken for English |\n|---|---|---|---|---|---|"
    )?;
    for (set, ours, theirs) in report {
        let both = |share: &dyn Fn(&language::Score) -> (usize, usize)| {
            let text = |score| {
                let (part, whole) = share(score);
                match whole {
                    0 => "-".to_owned(),
                    _ => format!("{:.3}", count(part) / count(whole)),
                }
            };
            format!("{} / {}", text(ours), text(theirs))
        };
        writeln!(
            out,
            "| {set} | {} | {} | {} | {} | {} / {} of {} |",
            ours.all,
            both(&|score| (score.all_right, score.all)),
            both(&|score| (score.common_right, score.common)),
            both(&|score| (score.english_found, score.english)),
            ours.falsely_english,
            theirs.falsely_english,
            ours.all - ours.english,
        )?;
    }
    Ok(())
}
