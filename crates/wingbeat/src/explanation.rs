//! Explanations for people: the text with its words coloured, and what they add as bars.

use std::io::IsTerminal as _;

use serde::Deserialize;

use crate::table;

/// So many words are listed for each label.
const SHOWN_MAX: usize = 10;
/// A word's or group's text is shown up to so many characters.
const TEXT_CHARS_MAX: usize = 24;
/// What adds less than this to the log-odds changes no probability by more than a quarter of a point.
const ADDED_MIN: f64 = 0.01;
/// Pale backgrounds under black letters, from weak to strong: for the label, and against it.
const FOR: [u8; 3] = [194, 157, 120];
const AGAINST: [u8; 3] = [224, 217, 210];

/// The member `explanation` of an answer.
#[derive(Deserialize)]
pub(crate) struct Explanation {
    is_whole: bool,
    parts: Vec<Part>,
    sentiment: Option<Vec<Label>>,
    topics: Option<Vec<Label>>,
}

#[derive(Deserialize)]
struct Part {
    text: String,
    bytes: [usize; 2],
}

#[derive(Deserialize)]
struct Label {
    label: String,
    probability: f64,
    without: Vec<f64>,
    added: Vec<f64>,
}

/// Whether standard output shows colours.
pub(crate) fn shows_colours() -> bool {
    let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let is_able = std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
    is_wanted && is_able && std::io::stdout().is_terminal()
}

impl Explanation {
    /// The lines to print, safe on a terminal: texts and answers come from outside.
    pub(crate) fn lines(&self, text: &str, has_colours: bool) -> Vec<String> {
        let labels = || self.sentiment.iter().chain(&self.topics).flatten();
        let mut lines = Vec::new();
        if let (true, Some(first)) = (has_colours, labels().next()) {
            lines.push(self.coloured(text, first));
        }
        for label in labels() {
            lines.extend(self.bars(label));
        }
        if !self.is_whole {
            lines.push("Only the beginning of the text is explained.".to_owned());
        }
        lines
    }

    /// The text, each word on a colour that says what it adds to a label.
    fn coloured(&self, text: &str, label: &Label) -> String {
        let most = most(label);
        let mut line = String::new();
        let mut end = 0;
        for (part, added) in self.parts.iter().zip(&label.added) {
            let [start, behind] = part.bytes;
            let (Some(gap), Some(word)) = (text.get(end..start), text.get(start..behind)) else {
                break;
            };
            line.push_str(&table::plain(gap));
            let word = table::plain(word);
            match colour(*added, most) {
                Some(colour) => {
                    line.push_str(&format!("\u{1b}[38;5;16;48;5;{colour}m{word}\u{1b}[0m"));
                }
                None => line.push_str(&word),
            }
            end = behind;
        }
        if !self.is_whole {
            line.push_str(" ...");
        }
        line
    }

    /// What adds most to a label or takes most from it.
    fn bars(&self, label: &Label) -> Vec<String> {
        let name = table::plain(&label.label);
        let mut rows: Vec<(String, f64, f64)> = self
            .parts
            .iter()
            .zip(&label.added)
            .zip(&label.without)
            .map(|((part, added), without)| (shown(&part.text), *added, *without))
            .filter(|(_, added, _)| added.abs() >= ADDED_MIN)
            .collect();
        // A stable order: of equals, the first in the text.
        rows.sort_by(|(_, a, _), (_, b, _)| b.abs().total_cmp(&a.abs()));
        let rest = rows.len().saturating_sub(SHOWN_MAX);
        rows.truncate(SHOWN_MAX);
        let share = percent(label.probability);
        let mut lines = vec![format!("{name} {}, and without the word:", share.trim_start())];
        if rows.is_empty() {
            lines.push("  no word matters".to_owned());
        }
        let width = rows.iter().map(|(text, ..)| text.chars().count()).max().unwrap_or(0);
        let most = most(label);
        lines.extend(rows.iter().map(|(text, added, without)| {
            let (bar, share) = (table::bar(added.abs() / most), percent(*without));
            format!("  {text:<width$}  {added:>+6.2}  {bar}  {share}")
        }));
        if rest > 0 {
            lines.push(format!("  and {rest} more that matter less"));
        }
        lines
    }
}

fn most(label: &Label) -> f64 {
    label.added.iter().fold(ADDED_MIN, |most, added| most.max(added.abs()))
}

/// The background of a word; none where it adds hardly anything.
fn colour(added: f64, most: f64) -> Option<u8> {
    let shades = if added > 0.0 { FOR } else { AGAINST };
    match added.abs() / most {
        share if share >= 0.6 => Some(shades[2]),
        share if share >= 0.3 => Some(shades[1]),
        share if share >= 0.1 => Some(shades[0]),
        _ => None,
    }
}

/// To a tenth: what adds a lot may yet change little where a verdict is nearly sure.
fn percent(share: f64) -> String {
    format!("{:>5.1} %", share * 100.0)
}

fn shown(text: &str) -> String {
    let text = table::plain(text);
    if text.chars().count() <= TEXT_CHARS_MAX {
        return text;
    }
    let beginning: String = text.chars().take(TEXT_CHARS_MAX - 3).collect();
    format!("{}...", beginning.trim_end())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn explanation() -> Explanation {
        serde_json::from_value(json!({
            "is_whole": true,
            "parts": [
                {"text": "I", "bytes": [0, 1]},
                {"text": "love", "bytes": [2, 6]},
                {"text": "rain", "bytes": [7, 11]},
            ],
            "sentiment": [{
                "label": "positive", "probability": 0.87,
                "without": [0.87, 0.41, 0.93], "added": [0.0, 2.27, -0.7],
            }],
            "topics": null,
        }))
        .unwrap()
    }

    #[test]
    fn words_are_listed_by_what_they_add() {
        let lines = explanation().lines("I love rain", false);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "positive 87.0 %, and without the word:");
        assert!(lines[1].starts_with("  love   +2.27  ████") && lines[1].ends_with("  41.0 %"));
        assert!(lines[2].starts_with("  rain   -0.70  ███") && lines[2].ends_with("  93.0 %"));
    }

    #[test]
    fn words_are_coloured_by_what_they_add() {
        let lines = explanation().lines("I love rain", true);
        let expected =
            "I \u{1b}[38;5;16;48;5;120mlove\u{1b}[0m \u{1b}[38;5;16;48;5;217mrain\u{1b}[0m";
        assert_eq!(lines[0], expected);
        // Answers of others may not fit the text.
        assert_eq!(explanation().lines("I lové", true)[0], "I");
        let hostile = explanation().lines("\u{1b} love rain", true);
        assert!(hostile[0].starts_with("\\u{1b} "), "{}", hostile[0]);
    }

    #[test]
    fn long_groups_are_cut() {
        assert_eq!(shown("short"), "short");
        assert_eq!(shown(&"ab ".repeat(20)).chars().count(), 23);
    }
}
