//! Topics: 19 labels, each right or not.
//!
//! Few tweets have labels, so that the model also learns from texts whose labels are guesses:
//! headlines by the section that they stood in, word lists, and posts in which such words occur.
//! A guess counts less than a label, and what a guess can't know does not count.

use std::{collections::HashSet, path::Path};

use wingbeat_model::{
    TOPIC_LABELS, index_of_max,
    linear::{Block, Features, Featuriser, Group, Head, TOPICS_COLUMNS},
    measure::Labels,
};

use crate::{
    data::{self, Failure, Sentiments, words},
    export,
    matrix::Matrix,
    predictions::{Prediction, Set},
    progress::Progress,
    regression::{Loss, Problem, Weights},
    sections::SECTIONS,
};

const K: usize = TOPIC_LABELS.len();
const BUCKETS: usize = 1 << 17;
/// Settings, chosen by cross-validation on the training rows.
const ITERATIONS: usize = 30;
const L2: f32 = 0.072;
const RARITY: f32 = 0.5;
const ROWS_MIN: u32 = 2;
const FOLDS: usize = 5;
/// How much a guessed label counts beside a given one, and its absence.
const SECTION: (f32, f32) = (0.1, 0.03);
const LISTED: (f32, f32) = (2.0, 0.2);
const MENTIONED: (f32, f32) = (0.1, 0.03);
/// Whether a post is about daily life, no word says.
const DAILY_LIFE: usize = 3;

const LISTS: &str = include_str!("../words/topics.txt");

/// Every tenth tweet is kept for the final figures.
fn is_held_out(index: usize) -> bool {
    index % 10 == 9
}

fn blocks() -> Vec<Block> {
    vec![
        Block { groups: vec![Group::Word, Group::Mark], weight: 1.0 },
        Block { groups: vec![Group::Pair], weight: 0.5 },
        Block { groups: vec![Group::Gram3, Group::Gram4, Group::Gram5], weight: 1.0 },
    ]
}

/// What is measured.
pub(crate) struct Report {
    pub(crate) tweets: usize,
    pub(crate) guessed: usize,
    pub(crate) folds: Labels<K>,
    pub(crate) held_out: Labels<K>,
}

/// The texts, those with given labels first.
struct Texts {
    texts: Vec<String>,
    targets: Vec<[f32; K]>,
    weights: Vec<[f32; K]>,
    given: usize,
}

impl Texts {
    fn read(path: &Path) -> Result<Self, Failure> {
        let mut texts =
            Self { texts: Vec::new(), targets: Vec::new(), weights: Vec::new(), given: 0 };
        for tweet in data::topics(path, "en")? {
            let mut target = [0.0; K];
            for topic in &tweet.topics {
                target[position(topic)?] = 1.0;
            }
            texts.add(tweet.text, target, [1.0; K]);
        }
        texts.given = texts.texts.len();
        texts.add_headlines(path)?;
        texts.add_lists_and_posts(path)?;
        Ok(texts)
    }

    fn add(&mut self, text: String, target: [f32; K], weight: [f32; K]) {
        self.texts.push(text);
        self.targets.push(target);
        self.weights.push(weight);
    }

    fn add_headlines(&mut self, path: &Path) -> Result<(), Failure> {
        for headline in data::headlines(path)? {
            let Some(section) = SECTIONS.iter().find(|s| s.name == headline.label) else {
                continue;
            };
            let mut weight = [SECTION.1; K];
            weight[position("other_hobbies")?] = 0.0;
            for topic in section.possible {
                weight[position(topic)?] = 0.0;
            }
            let mut target = [0.0; K];
            for topic in section.certain {
                (target[position(topic)?], weight[position(topic)?]) = (1.0, SECTION.0);
            }
            self.add(headline.text, target, weight);
        }
        Ok(())
    }

    fn add_lists_and_posts(&mut self, path: &Path) -> Result<(), Failure> {
        let lists = lists()?;
        for word in lists.iter().flatten().copied().collect::<std::collections::BTreeSet<_>>() {
            let is_in = |topic: usize| lists[topic].contains(word);
            let target = std::array::from_fn(|topic| f32::from(u8::from(is_in(topic))));
            let weight =
                std::array::from_fn(|topic| if is_in(topic) { LISTED.0 } else { LISTED.1 });
            self.add(word.to_owned(), target, weight);
        }
        let tweets = Sentiments::read(path)?.train.into_iter().map(|row| row.text);
        for text in tweets.chain(data::posts(path)?) {
            let words = words(&text);
            let is_in =
                |topic: usize| words.iter().any(|word| lists[topic].contains(word.as_str()));
            let target: [f32; K] = std::array::from_fn(|topic| f32::from(u8::from(is_in(topic))));
            let mut weight =
                target.map(|target| if target > 0.0 { MENTIONED.0 } else { MENTIONED.1 });
            weight[DAILY_LIFE] = 0.0;
            self.add(text, target, weight);
        }
        Ok(())
    }
}

fn position(topic: &str) -> Result<usize, Failure> {
    let known = TOPIC_LABELS.iter().position(|label| *label == topic);
    known.ok_or_else(|| format!("a topic `{topic}`"))
}

/// The words of each topic.
fn lists() -> Result<Vec<HashSet<&'static str>>, Failure> {
    let mut lists = vec![HashSet::new(); K];
    let mut topic = 0;
    for line in LISTS.lines() {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => topic = position(name)?,
            None => lists[topic].extend(line.split_whitespace()),
        }
    }
    Ok(lists)
}

/// Trains, and gives the file, its figures, and what it says of single texts.
pub(crate) fn train(path: &Path) -> Result<(Vec<u8>, Report, Vec<Prediction>), Failure> {
    let texts = Texts::read(path)?;
    let mut featuriser = Featuriser::default();
    let features: Vec<Features> = texts.texts.iter().map(|t| featuriser.features(t)).collect();
    let matrix = Matrix::of(&features, &blocks(), BUCKETS);
    let every: Vec<usize> = (0..matrix.rows()).collect();
    let rarity = matrix.rarity(&every, BUCKETS, RARITY, ROWS_MIN);
    let trainer = Trainer { matrix: matrix.scaled(&rarity), texts: &texts };
    let progress = Progress::new("topics", ITERATIONS * (FOLDS + 1));

    let learnt_from: Vec<usize> = (0..texts.given).filter(|row| !is_held_out(*row)).collect();
    let fold = |row: usize| row / 10 % FOLDS;
    let mut logits = vec![[0.0; K]; texts.given];
    for out in 0..FOLDS {
        let learnt = trainer.learn(|row| !is_held_out(row) && fold(row) != out, &progress);
        for row in learnt_from.iter().filter(|row| fold(**row) == out) {
            logits[*row] = learnt.logits(trainer.matrix.row(*row));
        }
    }
    let targets = |rows: &[usize]| rows.iter().map(|row| texts.targets[*row]).collect::<Vec<_>>();
    let of_folds: Vec<_> = learnt_from.iter().map(|row| logits[*row]).collect();
    let cut = Cut::fit(&of_folds, &targets(&learnt_from));
    let mut folds = Labels::default();
    for out in 0..FOLDS {
        // The cut, too, is measured on rows that it was not fitted on.
        let (inside, outside): (Vec<usize>, Vec<usize>) =
            learnt_from.iter().partition(|row| fold(**row) == out);
        let cut = Cut::fit(
            &outside.iter().map(|row| logits[*row]).collect::<Vec<_>>(),
            &targets(&outside),
        );
        for row in inside {
            folds.add(&is_there(&texts.targets[row]), &given(&cut.apply(&logits[row])));
        }
    }

    let mut learnt = trainer.learn(|row| !is_held_out(row), &progress);
    progress.finish();
    learnt.scale(&rarity);
    cut.fold_into(&mut learnt);
    let file = export::file::<K, TOPICS_COLUMNS>(&learnt, &TOPIC_LABELS, blocks())?;
    let head = Head::<TOPICS_COLUMNS>::parse("topics", &TOPIC_LABELS, &file)
        .map_err(|error| error.to_string())?;
    let mut held_out = Labels::default();
    let said = |set: Set, row: usize, logits: &[f32]| Prediction {
        set,
        text: texts.texts[row].clone(),
        logits: logits.to_vec(),
    };
    let of_fold = |row: &usize| said(Set::Fold, *row, &cut.apply(&logits[*row]));
    let mut predictions: Vec<Prediction> = learnt_from.iter().map(of_fold).collect();
    for row in (0..texts.given).filter(|row| is_held_out(*row)) {
        let logits = head.logits(&features[row]);
        predictions.push(said(Set::HeldOut, row, &logits[..K]));
        let given = given(&std::array::from_fn(|topic| logits[topic]));
        held_out.add(&is_there(&texts.targets[row]), &given);
    }
    let guessed = texts.texts.len() - texts.given;
    let report = Report { tweets: learnt_from.len(), guessed, folds, held_out };
    Ok((file, report, predictions))
}

/// Which topics a text has.
fn is_there(targets: &[f32; K]) -> [bool; K] {
    targets.map(|target| target > 0.5)
}

/// Which topics a text is given: those whose logit is above 0, and the best.
fn given(logits: &[f32; K]) -> [bool; K] {
    let best = index_of_max(logits);
    std::array::from_fn(|topic| logits[topic] > 0.0 || topic == best)
}

struct Trainer<'a> {
    matrix: Matrix,
    texts: &'a Texts,
}

impl Trainer<'_> {
    /// Learns from the guesses and from those of the labelled tweets.
    fn learn(&self, is_learnt_from: impl Fn(usize) -> bool, progress: &Progress) -> Weights<K> {
        let rows: Vec<usize> = (0..self.matrix.rows())
            .filter(|row| *row >= self.texts.given || is_learnt_from(*row))
            .collect();
        let problem = Problem {
            matrix: &self.matrix,
            columns: BUCKETS,
            rows: &rows,
            targets: &self.texts.targets,
            loss: Loss::Sigmoid { weights: &self.texts.weights },
            l2: L2,
        };
        problem.solve(ITERATIONS, progress)
    }
}

/// Turns logits so that above 0 means "give the label". On the texts that it is fitted on, every
/// label is given a certain number of times as often as it is there: the number, the same for all
/// labels, that gives the best mean of micro and macro F1. The slope makes the scores as steep as
/// the odds are (Platt's method).
struct Cut {
    slope: f32,
    thresholds: [f32; K],
}

impl Cut {
    fn fit(logits: &[[f32; K]], targets: &[[f32; K]]) -> Self {
        let at = |excess: f32| {
            let mut cut = Self { slope: 1.0, thresholds: [0.0; K] };
            for (topic, threshold) in cut.thresholds.iter_mut().enumerate() {
                *threshold = threshold_of(topic, logits, targets, excess);
            }
            let mut labels = Labels::<K>::default();
            for (logits, target) in logits.iter().zip(targets) {
                labels.add(&is_there(target), &given(&cut.apply(logits)));
            }
            (labels.micro_f1() + labels.macro_f1(), cut)
        };
        let candidates = (6u8..=20).map(|tenths| at(f32::from(tenths) / 10.0));
        let best = candidates.max_by(|a, b| a.0.total_cmp(&b.0));
        let mut cut = best.map_or_else(|| at(1.0).1, |(_, cut)| cut);
        cut.fit_slope(logits, targets);
        cut
    }

    /// Newton's method in one dimension.
    fn fit_slope(&mut self, logits: &[[f32; K]], targets: &[[f32; K]]) {
        const ROUNDS: usize = 20;
        for _ in 0..ROUNDS {
            let (mut gradient, mut curvature) = (0.0, 1e-3);
            for (logits, target) in logits.iter().zip(targets) {
                for (topic, z) in self.apply(logits).into_iter().enumerate() {
                    let p = 1.0 / (1.0 + (-z).exp());
                    let z = z / self.slope;
                    gradient += (p - target[topic]) * z;
                    curvature += p * (1.0 - p) * z * z;
                }
            }
            self.slope = (self.slope - gradient / curvature).clamp(0.1, 10.0);
        }
    }

    fn apply(&self, logits: &[f32; K]) -> [f32; K] {
        std::array::from_fn(|topic| self.slope * (logits[topic] - self.thresholds[topic]))
    }

    fn fold_into(&self, weights: &mut Weights<K>) {
        weights.rows.iter_mut().flatten().for_each(|weight| *weight *= self.slope);
        weights.bias = self.apply(&weights.bias);
    }
}

/// The logit above which a topic is given `excess` times as often as it is there.
fn threshold_of(topic: usize, logits: &[[f32; K]], targets: &[[f32; K]], excess: f32) -> f32 {
    let mut all: Vec<f32> = logits.iter().map(|logits| logits[topic]).collect();
    all.sort_unstable_by(|a, b| b.total_cmp(a));
    let there = targets.iter().map(|target| target[topic]).sum::<f32>();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let wanted = (there * excess).round() as usize;
    let (Some(above), Some(below)) = (all.get(wanted.saturating_sub(1)), all.get(wanted)) else {
        return all.last().copied().unwrap_or_default();
    };
    f32::midpoint(*above, *below)
}
