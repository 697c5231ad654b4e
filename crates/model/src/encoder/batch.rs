//! Batches: texts as token ids, put together so that little is padded.

use super::Layout;

/// Texts that go through a model together, as token ids end to end.
///
/// How a runtime lays them out is its own business: one pads them to the longest, another packs
/// them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    ids: Vec<u32>,
    ends: Vec<usize>,
}

impl Batch {
    /// Adds a text. One without tokens is a text too.
    pub fn push(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.ends.push(self.ids.len());
    }

    /// How many texts it has.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has no texts.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The tokens of all texts.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The tokens of each text.
    pub fn texts(&self) -> impl Iterator<Item = &[u32]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).filter_map(|(begin, end)| self.ids.get(begin..*end))
    }

    /// The length of the longest text, in tokens.
    pub fn longest(&self) -> usize {
        self.texts().map(<[u32]>::len).max().unwrap_or(0)
    }
}

impl<'a> FromIterator<&'a [u32]> for Batch {
    fn from_iter<T: IntoIterator<Item = &'a [u32]>>(texts: T) -> Self {
        let mut batch = Self::default();
        texts.into_iter().for_each(|ids| batch.push(ids));
        batch
    }
}

/// Texts of one batch differ in length by no more than this share of the shortest, and
/// [`SPREAD_TOKENS`]: a text beyond that is cheaper in a batch of its own than the padding that it
/// would bring to the others.
const SPREAD_SHARE: usize = 4;
/// See [`SPREAD_SHARE`].
const SPREAD_TOKENS: usize = 4;

/// Puts texts together into batches, longest first: so the last batches to be worked on are the
/// short ones, and no worker is left alone with a long one.
///
/// `lengths` are those of the texts, in tokens. A batch takes at most `budget` tokens, padding
/// included, except that a longer text makes one by itself. Where texts are packed they stay in their
/// order, and whatever fits goes together. Each batch is a list of indices; every text is in exactly
/// one.
pub fn plan(lengths: &[usize], budget: usize, layout: Layout) -> Vec<Vec<usize>> {
    match layout {
        Layout::Padded => plan_padded(lengths, budget),
        Layout::Packed => plan_packed(lengths, budget),
    }
}

fn plan_packed(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for (text, length) in lengths.iter().enumerate() {
        tokens += length;
        match batches.last_mut() {
            Some(batch) if tokens <= budget => batch.push(text),
            _ => {
                tokens = *length;
                batches.push(vec![text]);
            }
        }
    }
    batches
}

fn plan_padded(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut by_length: Vec<(usize, usize)> =
        lengths.iter().enumerate().map(|(text, length)| (*length, text)).collect();
    by_length.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut longest = 0;
    for (length, text) in by_length {
        match batches.last_mut() {
            Some(batch)
                if (batch.len() + 1) * longest <= budget
                    && longest <= length + length / SPREAD_SHARE + SPREAD_TOKENS =>
            {
                batch.push(text);
            }
            _ => {
                longest = length;
                batches.push(vec![text]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_gives_its_texts_back() {
        let texts: [&[u32]; 4] = [&[1, 2, 3], &[], &[4], &[]];
        let batch: Batch = texts.into_iter().collect();
        assert_eq!((batch.len(), batch.longest()), (4, 3));
        assert_eq!(batch.texts().collect::<Vec<_>>(), texts);
        assert!(Batch::default().is_empty() && Batch::default().longest() == 0);
    }

    #[test]
    fn a_long_text_does_not_make_short_ones_long() {
        let plan = |lengths: &[usize]| plan(lengths, 256, Layout::Padded);
        assert_eq!(plan(&[5, 100, 6, 101]), [vec![3, 1], vec![2, 0]]);
        assert_eq!(plan(&[300, 10]), [vec![0], vec![1]]);
        assert!(plan(&[]).is_empty());
    }

    #[test]
    fn what_is_packed_takes_whatever_fits() {
        let plan = |lengths: &[usize]| plan(lengths, 256, Layout::Packed);
        assert_eq!(plan(&[5, 100, 6, 101, 45]), [vec![0, 1, 2, 3], vec![4]]);
        assert_eq!(plan(&[300, 10, 246, 1]), [vec![0], vec![1, 2], vec![3]]);
        assert!(plan(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn every_text_is_in_one_batch_within_the_budget(
            lengths in prop::collection::vec(0usize..200, 0..300),
            budget in 1usize..1_000,
        ) {
            let packed = plan(&lengths, budget, Layout::Packed);
            prop_assert!(packed.iter().flatten().copied().eq(0..lengths.len()));
            for batch in &packed {
                let tokens = batch.iter().map(|text| lengths[*text]).sum::<usize>();
                prop_assert!(batch.len() == 1 || tokens <= budget);
            }
            let batches = plan(&lengths, budget, Layout::Padded);
            let mut seen: Vec<usize> = batches.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                let longest = batch.iter().map(|text| lengths[*text]).max().unwrap();
                let shortest = batch.iter().map(|text| lengths[*text]).min().unwrap();
                prop_assert!(batch.len() == 1 || batch.len() * longest <= budget);
                let spread = shortest / SPREAD_SHARE + SPREAD_TOKENS;
                prop_assert!(longest - shortest <= spread);
            }
        }
    }
}
