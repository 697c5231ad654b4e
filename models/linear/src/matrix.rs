//! Sparse matrices: one row per text, one column per bucket.

use wingbeat_model::linear::{Block, Features, bucket};

/// Rows of (column, value) pairs, sorted by column.
#[derive(Debug, Default, Clone)]
pub(crate) struct Matrix {
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Matrix {
    /// The rows of `texts`: a feature counts as often as it occurs, over the square root of how
    /// many its block has.
    pub(crate) fn of(texts: &[Features], blocks: &[Block], buckets: usize) -> Self {
        let mut matrix = Self { starts: vec![0], ..Self::default() };
        let mut row = Vec::new();
        for features in texts {
            row.clear();
            for block in blocks {
                let share = block.share(block.count(features));
                let hashes = block.groups.iter().flat_map(|group| features.group(*group));
                row.extend(hashes.map(|hash| (index(bucket(*hash, buckets)), share)));
            }
            matrix.push(&mut row);
        }
        matrix
    }

    /// Adds a row. `row` is left in no particular state.
    fn push(&mut self, row: &mut [(u32, f32)]) {
        row.sort_unstable_by_key(|(column, _)| *column);
        for run in row.chunk_by(|a, b| a.0 == b.0) {
            self.columns.push(run[0].0);
            self.values.push(run.iter().map(|(_, value)| value).sum());
        }
        self.starts.push(self.columns.len());
    }

    /// The same rows with more columns behind each.
    pub(crate) fn extended(&self, more: &[Vec<(u32, f32)>]) -> Self {
        let mut matrix = Self { starts: vec![0], ..Self::default() };
        let mut row = Vec::new();
        for (index, more) in more.iter().enumerate() {
            row.clear();
            row.extend(self.row(index));
            row.extend(more);
            matrix.push(&mut row);
        }
        matrix
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// The (column, value) pairs of a row.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = (u32, f32)> + Clone + '_ {
        let range = self.starts[row]..self.starts[row + 1];
        self.columns[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }

    /// In how many of `rows` each column occurs.
    fn document_frequencies(&self, rows: &[usize], columns: usize) -> Vec<u32> {
        let mut frequencies = vec![0; columns];
        for row in rows {
            for (column, _) in self.row(*row) {
                if let Some(frequency) = frequencies.get_mut(column as usize) {
                    *frequency += 1;
                }
            }
        }
        frequencies
    }

    /// What each of `columns` columns is to be multiplied with: the inverse document frequency
    /// over `rows`, to a power; 0 where fewer than `min` rows have it.
    pub(crate) fn rarity(&self, rows: &[usize], columns: usize, power: f32, min: u32) -> Vec<f32> {
        // Brings the weights of middling features near 1, so that L2 regularisation means the same
        // whatever the power.
        const MIDDLING: f32 = 6.0;
        let scale = |frequency: u32| {
            if frequency < min {
                return 0.0;
            }
            #[expect(clippy::cast_precision_loss, reason = "far below 2^24")]
            let ratio = (1.0 + rows.len() as f32) / (1.0 + frequency as f32);
            (ratio.ln().max(0.01) / MIDDLING).powf(power)
        };
        self.document_frequencies(rows, columns).into_iter().map(scale).collect()
    }

    /// Multiplies each column with its factor; columns without one stay.
    pub(crate) fn scaled(mut self, factors: &[f32]) -> Self {
        for (column, value) in self.columns.iter().zip(&mut self.values) {
            if let Some(factor) = factors.get(*column as usize) {
                *value *= factor;
            }
        }
        self
    }
}

/// A column number as it is stored.
pub(crate) fn index(column: usize) -> u32 {
    u32::try_from(column).unwrap_or(u32::MAX)
}
