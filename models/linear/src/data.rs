//! The texts to learn from and to measure with.

use std::{collections::HashSet, fs::File, io::Read as _, path::Path};

use flate2::read::GzDecoder;

/// What went wrong, for the person who runs the training.
pub(crate) type Failure = String;

/// A text and its class.
#[derive(Debug, Clone)]
pub(crate) struct Labelled {
    pub(crate) label: String,
    pub(crate) text: String,
    /// The third column, where there is one.
    pub(crate) more: String,
}

/// The whole of a `.gz` file.
fn read(data: &Path, name: &str) -> Result<String, Failure> {
    let path = data.join(name);
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::open(&path).map_err(|error| failed(&error))?;
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).map_err(|error| failed(&error))?;
    Ok(text)
}

/// Rows of a table with a header: label, text, and maybe more.
fn table(data: &Path, name: &str) -> Result<Vec<Labelled>, Failure> {
    let rows = read(data, name)?;
    let parse = |line: &str| {
        let mut cells = line.split('\t').map(str::to_owned);
        Some(Labelled {
            label: cells.next()?,
            text: cells.next()?,
            more: cells.next().unwrap_or_default(),
        })
    };
    rows.lines()
        .skip(1)
        .map(|line| parse(line).ok_or_else(|| format!("{name}: a row without a tab: {line}")))
        .collect()
}

/// Tweets with sentiment: those to learn from, and the validation split. Rows that share eight
/// words in a row with the validation split are not learnt from: they are the same tweets.
pub(crate) struct Sentiments {
    pub(crate) train: Vec<Labelled>,
    pub(crate) validation: Vec<Labelled>,
}

impl Sentiments {
    pub(crate) fn read(data: &Path) -> Result<Self, Failure> {
        const SHARED_WORDS: usize = 8;
        let validation = table(data, "sentiment/semeval_val.tsv.gz")?;
        let mut train = table(data, "sentiment/semeval_train.tsv.gz")?;
        let runs = |text: &str| -> Vec<String> {
            words(&unescape(text)).windows(SHARED_WORDS).map(|words| words.join(" ")).collect()
        };
        let known: HashSet<String> = validation.iter().flat_map(|row| runs(&row.text)).collect();
        train.retain(|row| !runs(&row.text).iter().any(|run| known.contains(run)));
        Ok(Self { train, validation })
    }
}

/// The sets write some characters as `\uXXXX`.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\u") {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 2..at + 6).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        match code.and_then(char::from_u32) {
            Some(char) => {
                out.push(char);
                rest = &rest[at + 6..];
            }
            None => {
                out.push_str("\\u");
                rest = &rest[at + 2..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The words of a text in lower case, for comparing texts and for word lists.
pub(crate) fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A text with its topics.
pub(crate) struct WithTopics {
    pub(crate) text: String,
    pub(crate) topics: Vec<String>,
}

/// Tweets with topics, in one language.
pub(crate) fn topics(data: &Path, language: &str) -> Result<Vec<WithTopics>, Failure> {
    let name = format!("topics/xtopic_{language}.jsonl.gz");
    json_lines(data, &name)?
        .into_iter()
        .map(|row| {
            let topics = row["labels"].as_array().into_iter().flatten();
            Some(WithTopics {
                text: row["text"].as_str()?.to_owned(),
                topics: topics.filter_map(|topic| Some(topic.as_str()?.to_owned())).collect(),
            })
        })
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{name}: a row without a text"))
}

/// Headlines with the section that they stood in.
pub(crate) fn headlines(data: &Path) -> Result<Vec<Labelled>, Failure> {
    table(data, "topics/huffpost_headlines.tsv.gz")
}

/// Posts without labels.
pub(crate) fn posts(data: &Path) -> Result<Vec<String>, Failure> {
    let rows = json_lines(data, "posts/bluesky_posts.jsonl.gz")?;
    Ok(rows.iter().filter_map(|row| Some(row["text"].as_str()?.to_owned())).collect())
}

fn json_lines(data: &Path, name: &str) -> Result<Vec<serde_json::Value>, Failure> {
    let text = read(data, name)?;
    text.lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{name}: {error}")))
        .collect()
}

/// Sentences and pairs of words in 75 languages: label the language, `more` the kind.
pub(crate) fn sentences(data: &Path) -> Result<Vec<Labelled>, Failure> {
    let mut rows = table(data, "language/lingua_testdata.tsv.gz")?;
    // Its columns are language, kind, text.
    rows.iter_mut().for_each(|row| std::mem::swap(&mut row.text, &mut row.more));
    Ok(rows)
}

/// Tweets whose language is known: label the code.
pub(crate) fn tweets(data: &Path, split: &str) -> Result<Vec<Labelled>, Failure> {
    let mut rows = table(data, &format!("sentiment/umsab_{split}.tsv.gz"))?;
    for row in &mut rows {
        let code = match row.more.as_str() {
            "arabic" => "ar",
            "english" => "en",
            "french" => "fr",
            "german" => "de",
            "hindi" => "hi",
            "italian" => "it",
            "portuguese" => "pt",
            "spanish" => "es",
            other => return Err(format!("umsab_{split}: a language `{other}`")),
        };
        code.clone_into(&mut row.label);
    }
    Ok(rows)
}

/// Splitmix64: draws the same sample every time.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// True in `percent` of the cases.
    pub(crate) fn is_in(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// One of so many folds.
    pub(crate) fn fold(&mut self, folds: usize) -> usize {
        usize::try_from(self.next() % folds as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read() {
        assert_eq!(unescape(r"it\u2019s \u002c \u00"), "it’s , \\u00");
    }
}
