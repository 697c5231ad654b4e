//! What the outputs of a classifier stand for.

use crate::Sentiment;

/// More labels are a mistake.
const LABELS_MAX: usize = 256;
/// Labels become parts of subjects and of metrics.
const LABEL_CHARS_MAX: usize = 64;

/// So many labels are told in an error.
const LABELS_TOLD_MAX: usize = 32;

/// Refuses labels that can't be shown, or that can't be told apart.
pub(super) fn check(labels: &[String]) -> Result<(), String> {
    if !(2..=LABELS_MAX).contains(&labels.len()) {
        return Err(format!("it has {} labels, not 2 to {LABELS_MAX}", labels.len()));
    }
    for (at, label) in labels.iter().enumerate() {
        let shown = label.escape_debug();
        if label.trim().is_empty() || label.chars().count() > LABEL_CHARS_MAX {
            let wanted = format!("1 to {LABEL_CHARS_MAX} characters");
            return Err(format!("the label \"{shown:.100}\" does not have {wanted}"));
        }
        if let Some(bad) = label.chars().find(|c| !is_allowed(*c)) {
            let bad = bad.escape_unicode();
            return Err(format!("the label \"{shown}\" has the character {bad} in it"));
        }
        if labels[..at].contains(label) {
            return Err(format!("it has the label \"{shown}\" twice"));
        }
    }
    Ok(())
}

/// Whether a label may have this character: nothing that ends a line, a quotation or an element of a
/// page, that is not seen, or that turns the direction of writing.
fn is_allowed(c: char) -> bool {
    let is_unseen = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    let is_space = c.is_whitespace() && c != ' ';
    !(c.is_control() || is_unseen || is_space || matches!(c, '"' | '\\' | '<' | '>' | '`'))
}

/// Whether these labels say nothing: `LABEL_0` and so on, which Hugging Face's libraries write where
/// nobody has given names.
pub(super) fn are_nameless(labels: &[String]) -> bool {
    labels
        .iter()
        .all(|label| label.strip_prefix("LABEL_").is_some_and(|n| n.parse::<u32>().is_ok()))
}

/// Which sentiment each label stands for, as its place in [`Sentiment::LABELS`].
pub(super) fn sentiments(labels: &[String]) -> Result<Vec<usize>, String> {
    let found: Option<Vec<usize>> = labels.iter().map(|label| sentiment(label)).collect();
    let has = |place| found.as_ref().is_some_and(|found| found.contains(&place));
    match found {
        Some(ref places) if has(NEGATIVE) && has(POSITIVE) => Ok(places.clone()),
        _ => Err(format!(
            "its labels are {}{}: they can't be taken for {}; name a model of sentiment, or write what \
             its labels stand for into `id2label` in a copy of its config.json, and name that folder",
            labels.iter().take(LABELS_TOLD_MAX).map(String::as_str).collect::<Vec<_>>().join(", "),
            if labels.len() > LABELS_TOLD_MAX { ", ..." } else { "" },
            Sentiment::LABELS.join(", ")
        )),
    }
}

const NEGATIVE: usize = 0;
const NEUTRAL: usize = 1;
const POSITIVE: usize = 2;

/// The sentiment that a label stands for, in the usual spellings.
fn sentiment(label: &str) -> Option<usize> {
    let label = label.trim().to_lowercase().replace(['_', '-'], " ");
    let word = ["very ", "extremely ", "strongly ", "slightly ", "somewhat "]
        .iter()
        .find_map(|degree| label.strip_prefix(degree))
        .unwrap_or(&label);
    match word {
        "negative" | "neg" | "1 star" | "1 stars" | "2 star" | "2 stars" => Some(NEGATIVE),
        "neutral" | "neu" | "3 star" | "3 stars" => Some(NEUTRAL),
        "positive" | "pos" | "4 star" | "4 stars" | "5 star" | "5 stars" => Some(POSITIVE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|label| (*label).to_owned()).collect()
    }

    #[test]
    fn the_usual_spellings_of_sentiments_are_understood() {
        for (names, places) in [
            (&["negative", "neutral", "positive"][..], &[0, 1, 2][..]),
            (&["POSITIVE", "NEGATIVE"], &[2, 0]),
            (&["pos", "neu", "neg"], &[2, 1, 0]),
            (&["1 star", "2 stars", "3 stars", "4 stars", "5 stars"], &[0, 0, 1, 2, 2]),
            (&["Very_Negative", "very-positive", "Neutral"], &[0, 2, 1]),
        ] {
            assert_eq!(sentiments(&labels(names)).unwrap(), places);
        }
    }

    #[test]
    fn labels_that_say_something_else_are_listed() {
        for names in [&["LABEL_0", "LABEL_1"][..], &["joy", "anger"], &["neutral", "positive"]] {
            let problem = sentiments(&labels(names)).unwrap_err();
            assert!(
                problem.contains(&names.join(", ")) && problem.contains("id2label"),
                "{problem}"
            );
        }
        assert!(are_nameless(&labels(&["LABEL_0", "LABEL_1"])));
        assert!(!are_nameless(&labels(&["LABEL_0", "LABEL_X"])));
    }

    #[test]
    fn labels_that_can_not_be_shown_are_refused() {
        check(&labels(&["arts_&_culture", "film, tv & video", "❤", "5 stars"])).unwrap();
        let many = vec!["x".to_owned(); LABELS_MAX + 1];
        let problem = |names: &[&str]| check(&labels(names)).unwrap_err();
        assert!(check(&many).unwrap_err().contains("257 labels"));
        assert!(problem(&["alone"]).contains("1 labels"));
        assert!(problem(&["a", "a"]).contains("twice"));
        assert!(problem(&["a", " "]).contains("1 to 64"));
        assert!(problem(&["a", &"x".repeat(65)]).contains("1 to 64"));
        for bad in ["a\nb", "a\"b", "<b>", "a\u{202e}b", "a\u{200b}b", "a\u{a0}b", "a\\b", "\u{7}"]
        {
            assert!(problem(&["a", bad]).contains("has the character"), "{bad:?}");
        }
    }
}
