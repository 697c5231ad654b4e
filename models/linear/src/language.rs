//! Language: one of 62 is right, of those that are written in the script of the text. A script of
//! its own says the language without a model.

use std::path::Path;

use whichlang::Lang;
use wingbeat_model::linear::{
    Analyzer, Block, Features, Featuriser, Group, Head, LANGUAGE_COLUMNS, LANGUAGES, Writing,
};

use crate::{
    data::{self, Draw, Failure, Sentiments},
    export,
    matrix::Matrix,
    progress::Progress,
    regression::{Loss, Problem},
};

const K: usize = LANGUAGES.len();
const BUCKETS: usize = 1 << 15;
/// Settings, chosen on the training rows.
const ITERATIONS: usize = 60;
const L2_PER_ROW: f32 = 3e-7;
const RARITY: f32 = 0.5;
const ROWS_MIN: u32 = 2;
/// Between counting every text the same and every language.
const BALANCE: f32 = 0.5;
/// English counts more: most posts are English, and all else hangs on it.
const ENGLISH: f32 = 8.0;
/// Of the sentences and topic tweets, so many per cent are kept for measuring.
const HELD_OUT_PERCENT: u64 = 20;
/// Of the headlines, so many per cent are learnt from.
const HEADLINES_PERCENT: u64 = 20;

fn blocks() -> Vec<Block> {
    let groups = vec![Group::Word, Group::Gram1, Group::Gram2, Group::Gram3, Group::Gram4];
    vec![Block { groups, weight: 1.0 }]
}

/// A text whose language is known.
struct Row {
    /// The set that it is from.
    set: &'static str,
    code: String,
    text: String,
    is_held_out: bool,
}

fn read(path: &Path) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let mut draw = Draw(99);
    for row in data::sentences(path)? {
        let set = if row.more == "sentences" { "sentences" } else { "pairs of words" };
        let is_held_out = draw.is_in(HELD_OUT_PERCENT);
        rows.push(Row { set, code: row.label, text: row.text, is_held_out });
    }
    for (split, is_held_out) in [("train", false), ("val", true)] {
        // Their English rows are those of the sentiment set, which has its own split.
        for row in data::tweets(path, split)?.into_iter().filter(|row| row.label != "en") {
            let set = if row.label == "hi" { "tweets in Hindi" } else { "tweets" };
            rows.push(Row { set, code: row.label, text: row.text, is_held_out });
        }
    }
    let sentiments = Sentiments::read(path)?;
    for (texts, is_held_out) in [(sentiments.train, false), (sentiments.validation, true)] {
        let english = |row: data::Labelled| Row {
            set: "tweets in English",
            code: "en".to_owned(),
            text: row.text,
            is_held_out,
        };
        rows.extend(texts.into_iter().map(english));
    }
    for code in ["en", "es", "el", "ja"] {
        for row in data::topics(path, code)? {
            let is_held_out = draw.is_in(HELD_OUT_PERCENT);
            rows.push(Row {
                set: "topic tweets",
                code: code.to_owned(),
                text: row.text,
                is_held_out,
            });
        }
    }
    for row in data::headlines(path)? {
        if draw.is_in(HEADLINES_PERCENT) {
            let (set, code) = ("headlines", "en".to_owned());
            rows.push(Row { set, code, text: row.text, is_held_out: false });
        }
    }
    Ok(rows)
}

/// The columns that are possible for a text, as bits.
fn possible(features: &Features) -> u64 {
    let Some(Writing::Shared(scripts)) = features.writing() else { return 0 };
    let bits = LANGUAGES.iter().enumerate().filter(|(_, (_, written))| written.meets(scripts));
    bits.fold(0, |bits, (index, _)| bits | 1 << index)
}

/// Trains, and gives the file.
pub(crate) fn train(path: &Path) -> Result<Vec<u8>, Failure> {
    let rows = read(path)?;
    let mut featuriser = Featuriser::default();
    let features: Vec<Features> = rows.iter().map(|row| featuriser.features(&row.text)).collect();
    let allowed: Vec<u64> = features.iter().map(possible).collect();
    let classes: Vec<usize> = rows
        .iter()
        .map(|row| LANGUAGES.iter().position(|(code, _)| *code == row.code).unwrap_or(K))
        .collect();
    let learnt_from: Vec<usize> = (0..rows.len())
        .filter(|row| !rows[*row].is_held_out && classes[*row] < K)
        .filter(|row| allowed[*row] >> classes[*row] & 1 == 1)
        .collect();
    let matrix = Matrix::of(&features, &blocks(), BUCKETS);
    let rarity = matrix.rarity(&learnt_from, BUCKETS, RARITY, ROWS_MIN);
    let matrix = matrix.scaled(&rarity);
    let mut weights = export::balanced(&classes, &learnt_from, K + 1, BALANCE);
    for (weight, class) in weights.iter_mut().zip(&classes) {
        if *class == 0 {
            *weight *= ENGLISH;
        }
    }
    let targets: Vec<[f32; K]> = classes.iter().map(|class| export::one_hot(*class)).collect();
    let progress = Progress::new("language", ITERATIONS);
    let problem = Problem {
        matrix: &matrix,
        columns: BUCKETS,
        rows: &learnt_from,
        targets: &targets,
        loss: Loss::Softmax { weights: &weights, possible: &allowed },
        l2: L2_PER_ROW * learnt_from.iter().map(|row| weights[*row]).sum::<f32>(),
    };
    let mut learnt = problem.solve(ITERATIONS, &progress);
    progress.finish();
    learnt.scale(&rarity);
    export::file::<K, LANGUAGE_COLUMNS>(&learnt, &LANGUAGES.map(|(code, _)| code), blocks())
}

/// How one detector did on one set.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Score {
    /// Texts in languages that whichlang knows, and those of them that were right.
    pub(crate) common: usize,
    pub(crate) common_right: usize,
    /// All texts, and those that were right.
    pub(crate) all: usize,
    pub(crate) all_right: usize,
    /// English texts, and those that were taken for English.
    pub(crate) english: usize,
    pub(crate) english_found: usize,
    /// Texts in other languages that were taken for English.
    pub(crate) falsely_english: usize,
}

impl Score {
    fn add(&mut self, truth: &str, found: Option<&str>) {
        let (is_right, is_english) = (found == Some(truth), found == Some("en"));
        self.all += 1;
        self.all_right += usize::from(is_right);
        if WHICHLANG.iter().any(|(_, code)| *code == truth) {
            self.common += 1;
            self.common_right += usize::from(is_right);
        }
        if truth == "en" {
            self.english += 1;
            self.english_found += usize::from(is_english);
        } else {
            self.falsely_english += usize::from(is_english);
        }
    }
}

const WHICHLANG: [(Lang, &str); 16] = [
    (Lang::Ara, "ar"),
    (Lang::Cmn, "zh"),
    (Lang::Deu, "de"),
    (Lang::Eng, "en"),
    (Lang::Fra, "fr"),
    (Lang::Hin, "hi"),
    (Lang::Ita, "it"),
    (Lang::Jpn, "ja"),
    (Lang::Kor, "ko"),
    (Lang::Nld, "nl"),
    (Lang::Por, "pt"),
    (Lang::Rus, "ru"),
    (Lang::Spa, "es"),
    (Lang::Swe, "sv"),
    (Lang::Tur, "tr"),
    (Lang::Vie, "vi"),
];

/// The sets, and how this model and whichlang did on the rows that nobody learnt from.
pub(crate) type Report = Vec<(&'static str, Score, Score)>;

/// Measures the file.
pub(crate) fn measure(path: &Path, file: &[u8]) -> Result<Report, Failure> {
    let labels = LANGUAGES.map(|(code, _)| code);
    let head = Head::parse("language", &labels, file).map_err(|error| error.to_string())?;
    let mut featuriser = Featuriser::default();
    let mut report: Report = Vec::new();
    for row in read(path)?.into_iter().filter(|row| row.is_held_out) {
        let at = report.iter().position(|(set, ..)| *set == row.set).unwrap_or_else(|| {
            report.push((row.set, Score::default(), Score::default()));
            report.len() - 1
        });
        let features = featuriser.features(&row.text);
        let ours = Analyzer::language_by(&head, &features).map(|language| language.code);
        report[at].1.add(&row.code, ours);
        // whichlang is not made for mentions and links: it gets the words alone.
        let words = row
            .text
            .split_whitespace()
            .filter(|word| !word.starts_with('@') && !word.starts_with("http"));
        let theirs = whichlang::detect_language(&words.collect::<Vec<_>>().join(" "));
        let code = WHICHLANG.iter().find(|(lang, _)| *lang == theirs).map(|(_, code)| *code);
        report[at].2.add(&row.code, code);
    }
    Ok(report)
}
