//! Sentiment: three classes, one of them right.

use std::path::Path;

use wingbeat_model::{
    Sentiment, index_of_max,
    linear::{Block, Features, Featuriser, Group, Head, SENTIMENT_COLUMNS, bucket},
    measure::{Calibration, Confusion},
};

use crate::{
    data::{Draw, Failure, Labelled, Sentiments},
    export,
    matrix::{Matrix, index},
    predictions::{Prediction, Set},
    progress::Progress,
    regression::{Loss, Problem, Weights},
};

const K: usize = 3;
const BUCKETS: usize = 1 << 20;
/// Settings, chosen by cross-validation on the training rows.
const ITERATIONS: usize = 40;
const L2_PER_ROW: f32 = 5e-5;
const RARITY: f32 = 1.0;
const ROWS_MIN: u32 = 2;
const FOLDS: usize = 5;
/// How much a word of the word lists counts.
const LISTED: f32 = 1.0;

const POSITIVE: &str = include_str!("../words/positive.txt");
const NEGATIVE: &str = include_str!("../words/negative.txt");

/// Which features are read.
fn blocks() -> Vec<Block> {
    vec![
        Block { groups: vec![Group::Word, Group::Mark, Group::Negated], weight: 1.0 },
        Block { groups: vec![Group::Pair], weight: 0.7 },
        Block { groups: vec![Group::Gram3, Group::Gram4, Group::Gram5], weight: 1.0 },
    ]
}

/// The word lists: a word of one, and such a word behind a negation, are features of their own
/// beside the words. As each is tied to its words, it becomes part of the words' weights.
struct Lists([Vec<u32>; 4]);

impl Lists {
    fn read() -> Self {
        let mut featuriser = Featuriser::default();
        let mut hashes = |list: &str, negated: bool| -> Vec<u32> {
            let hash = |word: &str| {
                let (text, group) = match negated {
                    true => (format!("not {word}"), Group::Negated),
                    false => (word.to_owned(), Group::Word),
                };
                featuriser.features(&text).group(group).first().copied()
            };
            let mut hashes: Vec<u32> = list.split_whitespace().filter_map(hash).collect();
            hashes.sort_unstable();
            hashes.dedup();
            hashes
        };
        Self([
            hashes(POSITIVE, false),
            hashes(NEGATIVE, false),
            hashes(POSITIVE, true),
            hashes(NEGATIVE, true),
        ])
    }

    /// The features of a text, as columns behind the buckets.
    fn columns(&self, features: &Features, block: &Block) -> Vec<(u32, f32)> {
        let share = block.share(block.count(features)) * LISTED;
        let groups = [Group::Word, Group::Word, Group::Negated, Group::Negated];
        let listed = |(list, group): (usize, Group)| {
            let is_listed = |hash: &&u32| self.0[list].binary_search(hash).is_ok();
            let count = features.group(group).iter().filter(is_listed).count();
            #[expect(clippy::cast_precision_loss, reason = "words of a text")]
            let value = count as f32 * share;
            (count > 0).then_some((index(BUCKETS + list), value))
        };
        groups.into_iter().enumerate().filter_map(listed).collect()
    }

    /// Adds what was learnt of the lists to the weights of their words.
    fn fold_into(&self, weights: &mut Weights<K>) {
        let of_lists = weights.rows.split_off(BUCKETS);
        for (list, learnt) in self.0.iter().zip(&of_lists) {
            for hash in list {
                let row = &mut weights.rows[bucket(*hash, BUCKETS)];
                for (weight, learnt) in row.iter_mut().zip(learnt) {
                    *weight += LISTED * learnt;
                }
            }
        }
    }
}

/// What is measured.
pub(crate) struct Report {
    pub(crate) rows: usize,
    pub(crate) folds: Confusion<K>,
    pub(crate) validation: Confusion<K>,
    pub(crate) validation_calibration: Calibration,
    pub(crate) temperature: f32,
}

/// Trains, and gives the file, its figures, and what it says of single texts.
pub(crate) fn train(data: &Path) -> Result<(Vec<u8>, Report, Vec<Prediction>), Failure> {
    let texts = Sentiments::read(data)?;
    let mut featuriser = Featuriser::default();
    let mut read = |rows: &[Labelled]| -> Result<(Vec<Features>, Vec<usize>), Failure> {
        let class = |row: &Labelled| {
            let known = Sentiment::LABELS.iter().position(|label| *label == row.label);
            known.ok_or_else(|| format!("a sentiment `{}`", row.label))
        };
        let classes = rows.iter().map(class).collect::<Result<_, _>>()?;
        Ok((rows.iter().map(|row| featuriser.features(&row.text)).collect(), classes))
    };
    let (features, classes) = read(&texts.train)?;
    let (validation, validation_classes) = read(&texts.validation)?;
    let trainer = Trainer::new(&features, classes);
    let progress = Progress::new("sentiment", ITERATIONS * (FOLDS + 1));
    // The temperature is fitted on rows that their fold did not learn from.
    let of_folds = trainer.out_of_fold(&progress);
    let temperature = export::temperature(&of_folds, &trainer.classes);
    let folds = confusion(&of_folds, &trainer.classes);
    let all: Vec<usize> = (0..features.len()).collect();
    let mut weights = trainer.learn(&all, &progress);
    progress.finish();
    weights.rows.iter_mut().flatten().for_each(|weight| *weight /= temperature);
    weights.bias.iter_mut().for_each(|bias| *bias /= temperature);
    let file = export::file::<K, SENTIMENT_COLUMNS>(&weights, &Sentiment::LABELS, blocks())?;
    let head = Head::<SENTIMENT_COLUMNS>::parse("sentiment", &Sentiment::LABELS, &file)
        .map_err(|error| error.to_string())?;
    let logits: Vec<[f32; K]> = validation
        .iter()
        .map(|features| head.logits(features))
        .map(|[negative, neutral, positive, _]| [negative, neutral, positive])
        .collect();
    let report = Report {
        rows: features.len(),
        folds,
        validation: confusion(&logits, &validation_classes),
        validation_calibration: calibration(&logits, &validation_classes),
        temperature,
    };
    let of_folds = of_folds.iter().map(|logits| logits.map(|logit| logit / temperature));
    let of_folds = texts.train.into_iter().zip(of_folds).map(|row| (Set::Fold, row));
    let held_out = texts.validation.into_iter().zip(logits).map(|row| (Set::HeldOut, row));
    let said = |(set, (row, logits)): (Set, (Labelled, [f32; K]))| Prediction {
        set,
        text: row.text,
        logits: logits.to_vec(),
    };
    Ok((file, report, of_folds.chain(held_out).map(said).collect()))
}

fn confusion(logits: &[[f32; K]], classes: &[usize]) -> Confusion<K> {
    let mut confusion = Confusion::default();
    for (logits, class) in logits.iter().zip(classes) {
        confusion.add(*class, index_of_max(logits));
    }
    confusion
}

fn calibration(logits: &[[f32; K]], classes: &[usize]) -> Calibration {
    let mut calibration = Calibration::default();
    for (logits, class) in logits.iter().zip(classes) {
        let best = index_of_max(logits);
        let sum: f32 = logits.iter().map(|z| (z - logits[best]).exp()).sum();
        calibration.add(1.0 / sum, best == *class);
    }
    calibration
}

struct Trainer {
    matrix: Matrix,
    classes: Vec<usize>,
    targets: Vec<[f32; K]>,
    lists: Lists,
}

impl Trainer {
    fn new(features: &[Features], classes: Vec<usize>) -> Self {
        let blocks = blocks();
        let lists = Lists::read();
        let of_lists: Vec<_> =
            features.iter().map(|features| lists.columns(features, &blocks[0])).collect();
        let matrix = Matrix::of(features, &blocks, BUCKETS).extended(&of_lists);
        let targets = classes.iter().map(|class| export::one_hot(*class)).collect();
        Self { matrix, classes, targets, lists }
    }

    /// Learns from `rows`, every class counting the same.
    fn learn(&self, rows: &[usize], progress: &Progress) -> Weights<K> {
        let rarity = self.matrix.rarity(rows, BUCKETS, RARITY, ROWS_MIN);
        let matrix = self.matrix.clone().scaled(&rarity);
        let weights = export::balanced(&self.classes, rows, K, 1.0);
        let problem = Problem {
            matrix: &matrix,
            columns: BUCKETS + self.lists.0.len(),
            rows,
            targets: &self.targets,
            loss: Loss::Softmax { weights: &weights, possible: &vec![0b111; self.classes.len()] },
            l2: L2_PER_ROW * export::count(rows.len()),
        };
        let mut learnt = problem.solve(ITERATIONS, progress);
        learnt.scale(&rarity);
        self.lists.fold_into(&mut learnt);
        learnt
    }

    /// The logits of every row by the model of a fold that did not see it.
    fn out_of_fold(&self, progress: &Progress) -> Vec<[f32; K]> {
        let mut draw = Draw(42);
        let folds: Vec<usize> = self.classes.iter().map(|_| draw.fold(FOLDS)).collect();
        let mut logits = vec![[0.0; K]; folds.len()];
        for fold in 0..FOLDS {
            let rows: Vec<usize> = (0..folds.len()).filter(|row| folds[*row] != fold).collect();
            let learnt = self.learn(&rows, progress);
            for row in (0..folds.len()).filter(|row| folds[*row] == fold) {
                let buckets =
                    self.matrix.row(row).filter(|(column, _)| (*column as usize) < BUCKETS);
                logits[row] = learnt.logits(buckets);
            }
        }
        logits
    }
}
