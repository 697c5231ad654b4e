//! Figures that say how good a model is.

#[expect(clippy::cast_precision_loss, reason = "counts of texts, far below 2^52")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn f1(right: usize, wrong: usize, missed: usize) -> f64 {
    share(2 * right, 2 * right + wrong + missed)
}

fn mean<const K: usize>(values: [f64; K]) -> f64 {
    values.iter().sum::<f64>() / share(K, 1)
}

/// How often each of `K` classes, one of which is right, was taken for which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion<const K: usize> {
    /// A row for each true class, a column for each found one.
    pub counts: [[usize; K]; K],
}

impl<const K: usize> Default for Confusion<K> {
    fn default() -> Self {
        Self { counts: [[0; K]; K] }
    }
}

impl<const K: usize> Confusion<K> {
    /// Counts a text of the class `truth` that was taken for `found`.
    pub fn add(&mut self, truth: usize, found: usize) {
        self.counts[truth][found] += 1;
    }

    /// How many texts each class has.
    pub fn there(&self) -> [usize; K] {
        self.counts.map(|row| row.iter().sum())
    }

    fn found(&self) -> [usize; K] {
        std::array::from_fn(|class| self.counts.iter().map(|row| row[class]).sum())
    }

    /// The share of each class that was found.
    pub fn recalls(&self) -> [f64; K] {
        let there = self.there();
        std::array::from_fn(|class| share(self.counts[class][class], there[class]))
    }

    /// The share of each class among what was taken for it.
    pub fn precisions(&self) -> [f64; K] {
        let found = self.found();
        std::array::from_fn(|class| share(self.counts[class][class], found[class]))
    }

    /// The F1 score of each class.
    pub fn f1(&self) -> [f64; K] {
        let (there, found) = (self.there(), self.found());
        std::array::from_fn(|class| {
            let right = self.counts[class][class];
            f1(right, found[class] - right, there[class] - right)
        })
    }

    /// The mean of the recalls: the official figure of TweetEval's sentiment task.
    pub fn macro_recall(&self) -> f64 {
        mean(self.recalls())
    }

    /// The mean of the F1 scores.
    pub fn macro_f1(&self) -> f64 {
        mean(self.f1())
    }

    /// The F1 score of all classes together, which is the share of texts that were right.
    pub fn micro_f1(&self) -> f64 {
        let right = (0..K).map(|class| self.counts[class][class]).sum();
        share(right, self.there().iter().sum())
    }
}

/// How often each of `K` labels, any number of which are right, was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels<const K: usize> {
    right: [usize; K],
    wrong: [usize; K],
    missed: [usize; K],
}

impl<const K: usize> Default for Labels<K> {
    fn default() -> Self {
        Self { right: [0; K], wrong: [0; K], missed: [0; K] }
    }
}

impl<const K: usize> Labels<K> {
    /// Counts a text: which labels it has, and which it was given.
    pub fn add(&mut self, truth: &[bool; K], given: &[bool; K]) {
        for label in 0..K {
            match (truth[label], given[label]) {
                (true, true) => self.right[label] += 1,
                (false, true) => self.wrong[label] += 1,
                (true, false) => self.missed[label] += 1,
                (false, false) => {}
            }
        }
    }

    /// How many texts have each label.
    pub fn there(&self) -> [usize; K] {
        std::array::from_fn(|label| self.right[label] + self.missed[label])
    }

    /// The share of the texts with each label that were given it.
    pub fn recalls(&self) -> [f64; K] {
        let there = self.there();
        std::array::from_fn(|label| share(self.right[label], there[label]))
    }

    /// The share of the texts that were given each label that have it.
    pub fn precisions(&self) -> [f64; K] {
        std::array::from_fn(|label| share(self.right[label], self.right[label] + self.wrong[label]))
    }

    /// The F1 score of each label.
    pub fn f1(&self) -> [f64; K] {
        std::array::from_fn(|label| f1(self.right[label], self.wrong[label], self.missed[label]))
    }

    /// The mean of the recalls.
    pub fn macro_recall(&self) -> f64 {
        mean(self.recalls())
    }

    /// The mean of the F1 scores.
    pub fn macro_f1(&self) -> f64 {
        mean(self.f1())
    }

    /// The F1 score of all labels together.
    pub fn micro_f1(&self) -> f64 {
        f1(self.right.iter().sum(), self.wrong.iter().sum(), self.missed.iter().sum())
    }
}

/// Whether confidences mean what they say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calibration {
    sums: [Sums; Self::BINS],
}

/// Of the texts whose confidence lies in one part of the range: how many, how many were right, and
/// the sum of the confidences.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    texts: usize,
    right: usize,
    confidence: f64,
}

/// The texts whose confidence lies in one part of the range.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Bin {
    /// Where the part begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// How many texts there are.
    pub texts: usize,
    /// The share of them that was right; 0 where there are none.
    pub right: f64,
    /// The mean of their confidences; 0 where there are none.
    pub confidence: f64,
}

impl Calibration {
    /// How many bins there are.
    pub const BINS: usize = 15;

    /// Counts a text.
    pub fn add(&mut self, confidence: f32, is_right: bool) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "0 to 15"
        )]
        let bin = (confidence * Self::BINS as f32) as usize;
        let sums = &mut self.sums[bin.min(Self::BINS - 1)];
        sums.texts += 1;
        sums.right += usize::from(is_right);
        sums.confidence += f64::from(confidence);
    }

    /// The expected calibration error: by how much confidence and accuracy differ, on average.
    pub fn error(&self) -> f64 {
        let texts: usize = self.sums.iter().map(|sums| sums.texts).sum();
        let gaps = self.sums.iter().map(|sums| (share(sums.right, 1) - sums.confidence).abs());
        gaps.sum::<f64>() / share(texts.max(1), 1)
    }

    /// The bins, from confidence 0 to 1, also those without texts.
    pub fn bins(&self) -> impl Iterator<Item = Bin> {
        self.sums.iter().enumerate().map(|(bin, sums)| Bin {
            from: share(bin, Self::BINS),
            to: share(bin + 1, Self::BINS),
            texts: sums.texts,
            right: share(sums.right, sums.texts),
            confidence: sums.confidence / share(sums.texts.max(1), 1),
        })
    }
}

/// Spearman's rank correlation: how far two lists of numbers have the same order, -1 to 1. Equal
/// numbers share their ranks.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let center = |ranks: &[f64]| ranks.iter().sum::<f64>() / share(ranks.len().max(1), 1);
    let (center_a, center_b) = (center(&a), center(&b));
    let (mut both, mut only_a, mut only_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(&b) {
        let (a, b) = (a - center_a, b - center_b);
        both += a * b;
        only_a += a * a;
        only_b += b * b;
    }
    let spread = (only_a * only_b).sqrt();
    if spread > 0.0 { both / spread } else { 0.0 }
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|a, b| values[*a].total_cmp(&values[*b]).is_eq()) {
        let middle = share(2 * before + equal.len() + 1, 2);
        equal.iter().for_each(|value| ranks[*value] = middle);
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confusions_are_summed_up_as_scikit_learn_does() {
        let mut confusion = Confusion::<3>::default();
        // recall_score, f1_score and accuracy_score of these pairs.
        for (truth, found) in [(0, 0), (0, 1), (1, 1), (1, 1), (2, 0), (2, 2), (2, 2), (2, 1)] {
            confusion.add(truth, found);
        }
        assert_eq!(confusion.recalls(), [0.5, 1.0, 0.5]);
        assert_eq!(confusion.precisions(), [0.5, 0.5, 1.0]);
        assert!((confusion.macro_recall() - 0.666_667).abs() < 1e-6);
        assert!((confusion.macro_f1() - 0.611_111).abs() < 1e-6);
        assert_eq!(confusion.micro_f1(), 0.625);
    }

    #[test]
    fn labels_are_summed_up_as_scikit_learn_does() {
        let mut labels = Labels::<2>::default();
        labels.add(&[true, false], &[true, true]);
        labels.add(&[true, true], &[false, true]);
        assert_eq!(labels.f1(), [2.0 / 3.0, 2.0 / 3.0]);
        assert!((labels.micro_f1() - 2.0 / 3.0).abs() < 1e-9);
        labels.add(&[false, false], &[true, false]);
        assert_eq!((labels.f1()[0], labels.micro_f1()), (0.5, 4.0 / 7.0));
    }

    #[test]
    fn the_calibration_error_is_the_gap_between_confidence_and_accuracy() {
        let mut calibration = Calibration::default();
        for right in [true, true, true, false] {
            calibration.add(0.95, right);
        }
        assert!((calibration.error() - 0.2).abs() < 1e-6);
        assert_eq!(Calibration::default().error(), 0.0);
        let bins: Vec<Bin> = calibration.bins().collect();
        assert_eq!((bins.len(), bins[0].from, bins[14].to), (15, 0.0, 1.0));
        assert_eq!((bins[14].texts, bins[14].right, bins[0].texts), (4, 0.75, 0));
        assert!((bins[14].confidence - 0.95).abs() < 1e-6);
    }

    #[test]
    fn rank_correlation_is_as_scipy_has_it() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert!((spearman(&a, &[2.0, 4.0, 6.0, 8.0, 100.0]) - 1.0).abs() < 1e-12);
        assert!((spearman(&a, &[5.0, 4.0, 3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
        // scipy.stats.spearmanr of the same.
        assert!((spearman(&a, &[5.0, 6.0, 7.0, 8.0, 7.0]) - 0.820_782_681_668).abs() < 1e-9);
        assert_eq!((spearman(&a, &[1.0; 5]), spearman(&[], &[])), (0.0, 0.0));
    }
}
