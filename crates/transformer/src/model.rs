//! A model that is loaded, and how texts go through it.

use std::ops::Range;

use crate::{
    Error, Level,
    config::Config,
    head::{Head, Pool},
    kernels::{Aligned, Codes, Kernels, Matrix, Norm, Packed, Scratch},
    profile::{Clock, Part, Profile, Untimed},
};

/// The tokens that go through the layers together. More texts than that are done in turns: a layer's
/// weights are read from memory once for each turn, but the states have to stay in the cache.
const PASS_TOKENS: usize = 512;
/// The tokens whose queries, keys and values are computed before attention reads them: enough that
/// weights are read seldom, few enough that they stay in the cache until then.
const ATTENTION_TOKENS: usize = 64;

/// The table of words, as bytes with a scale for each row: a fourth of the floats, and far below the
/// rounding of the layers.
pub(crate) struct Table {
    pub(crate) codes: Vec<i8>,
    pub(crate) scales: Vec<f32>,
}

impl Table {
    /// Writes the row of a token; it must be in the table.
    fn read(&self, token: usize, to: &mut [f32]) {
        let row = token * to.len()..(token + 1) * to.len();
        let scale = self.scales[token];
        for (value, code) in to.iter_mut().zip(&self.codes[row]) {
            *value = f32::from(*code) * scale;
        }
    }
}

/// What is added to words for their places, with the first token type.
pub(crate) struct Positions {
    /// A row for each place that is counted.
    pub(crate) rows: Vec<f32>,
    /// The token that has a row of its own and is not counted: RoBERTa's padding, which a text may
    /// name.
    pub(crate) uncounted: Option<(u32, Vec<f32>)>,
}

/// A layer as it was read.
pub(crate) struct LayerParts {
    /// Queries, keys and values, one below the other. The queries hold the divisor of the scores.
    pub(crate) qkv: Matrix,
    pub(crate) attention: Matrix,
    pub(crate) attention_norm: Norm,
    pub(crate) inner: Matrix,
    pub(crate) output: Matrix,
    pub(crate) output_norm: Norm,
}

/// A model as it was read. All sizes fit the configuration.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) words: Table,
    pub(crate) positions: Positions,
    pub(crate) norm: Norm,
    pub(crate) layers: Vec<LayerParts>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) heads: Vec<Head>,
}

/// A layer in the layout of the kernels.
struct Layer {
    qkv: Packed,
    attention: Packed,
    attention_norm: Norm,
    inner: Packed,
    output: Packed,
    output_norm: Norm,
}

/// A model that is ready to run. It does not change: threads share it, each with a [`Workspace`].
pub struct Model {
    kernels: &'static Kernels,
    config: Config,
    words: Table,
    positions: Positions,
    norm: Norm,
    layers: Vec<Layer>,
    pools: Vec<Pool>,
    heads: Vec<Head>,
}

/// What a thread needs to run a model. It grows to what the largest batch needs, and stays so.
#[derive(Default)]
pub struct Workspace {
    ids: Vec<u32>,
    /// Where each text ends.
    ends: Vec<usize>,
    states: Aligned<f32>,
    codes: Codes,
    qkv: Aligned<f32>,
    mixed: Aligned<f32>,
    mixed_codes: Codes,
    inner: Aligned<f32>,
    inner_codes: Codes,
    scratch: Scratch,
    features: Vec<f32>,
    buffers: [Vec<f32>; 3],
    /// The rows of each output, end to end.
    rows: Vec<Vec<f32>>,
}

impl Workspace {
    /// The rows of an output for the last batch, end to end; the outputs are those of
    /// [`Model::outputs`], by their place in it. Empty where there is no such output.
    pub fn rows(&self, output: usize) -> &[f32] {
        self.rows.get(output).map_or(&[], Vec::as_slice)
    }
}

impl Model {
    /// Brings a model into the layout of this level's kernels.
    pub(crate) fn new(parts: Parts, level: Level) -> Result<Self, Error> {
        let kernels = Kernels::of(level)
            .ok_or_else(|| Error::Cpu(format!("this machine has no {}", level.name())))?;
        parts.heads.iter().try_for_each(Head::check)?;
        let pack = |matrix: &Matrix| Packed::new(kernels, matrix);
        let layer = |layer: LayerParts| Layer {
            qkv: pack(&layer.qkv),
            attention: pack(&layer.attention),
            attention_norm: layer.attention_norm,
            inner: pack(&layer.inner),
            output: pack(&layer.output),
            output_norm: layer.output_norm,
        };
        Ok(Self {
            kernels,
            config: parts.config,
            words: parts.words,
            positions: parts.positions,
            norm: parts.norm,
            layers: parts.layers.into_iter().map(layer).collect(),
            pools: parts.pools,
            heads: parts.heads,
        })
    }

    /// Its outputs: their names, and the numbers of a row.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&str, usize)> {
        self.heads.iter().map(|head| (head.name.as_str(), head.width()))
    }

    /// Which instructions it runs on.
    pub fn level(&self) -> Level {
        self.kernels.level()
    }

    /// The tokens of a text at most.
    pub fn length_max(&self) -> usize {
        self.config.length_max()
    }

    /// The tokens that it knows: ids from 0 to less than this.
    pub fn vocabulary(&self) -> usize {
        self.config.vocabulary
    }

    /// Runs texts, as the ids of their tokens. Their rows are in [`Workspace::rows`] afterwards, in
    /// their order. No texts are no error.
    ///
    /// # Errors
    ///
    /// When a text has no tokens, more than [`Self::length_max`], or one that the model does not
    /// know; then none is run.
    pub fn run<'t>(
        &self,
        work: &mut Workspace,
        texts: impl IntoIterator<Item = &'t [u32]>,
    ) -> Result<(), Error> {
        self.run_with(work, texts, &mut Untimed)
    }

    /// As [`Self::run`], and says where the time went.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn profile<'t>(
        &self,
        work: &mut Workspace,
        texts: impl IntoIterator<Item = &'t [u32]>,
    ) -> Result<Profile, Error> {
        let mut profile = Profile::begin();
        self.run_with(work, texts, &mut profile)?;
        Ok(profile)
    }

    /// The additions and multiplications of a part's products in bytes, for each token: each is two
    /// operations. 0 where there are none.
    pub fn operations(&self, part: Part) -> usize {
        let of = |weights: &Packed| 2 * weights.size();
        let of = |layer: &Layer| match part {
            Part::Qkv => of(&layer.qkv),
            Part::AttentionOutput => of(&layer.attention),
            Part::Inner => of(&layer.inner),
            Part::Output => of(&layer.output),
            Part::Embed | Part::Attention | Part::Heads => 0,
        };
        self.layers.iter().map(of).sum()
    }

    /// The most operations per second that products of bytes reach with these instructions, on this
    /// thread, over operands that the first cache holds.
    pub fn peak(&self) -> f64 {
        self.kernels.peak()
    }

    fn run_with<'t>(
        &self,
        work: &mut Workspace,
        texts: impl IntoIterator<Item = &'t [u32]>,
        clock: &mut impl Clock,
    ) -> Result<(), Error> {
        work.ids.clear();
        work.ends.clear();
        work.rows.resize_with(self.heads.len(), Vec::new);
        work.rows.iter_mut().for_each(Vec::clear);
        for (text, ids) in texts.into_iter().enumerate() {
            self.check(ids).map_err(|problem| Error::Text { text, problem })?;
            work.ids.extend_from_slice(ids);
            work.ends.push(work.ids.len());
        }
        let mut begin = 0;
        while begin < work.ends.len() {
            let end = group(&work.ends, begin, PASS_TOKENS);
            self.pass(work, begin..end, clock);
            begin = end;
        }
        Ok(())
    }

    fn check(&self, ids: &[u32]) -> Result<(), String> {
        if ids.is_empty() || ids.len() > self.length_max() {
            return Err(format!("{} tokens; it must be 1 to {}", ids.len(), self.length_max()));
        }
        let vocabulary = self.config.vocabulary;
        let known = |id: u32| usize::try_from(id).is_ok_and(|id| id < vocabulary);
        match ids.iter().find(|id| !known(**id)) {
            Some(id) => Err(format!("there is no token {id}, but 0 to {}", vocabulary - 1)),
            None => Ok(()),
        }
    }

    /// Runs some texts through all layers.
    fn pass(&self, work: &mut Workspace, texts: Range<usize>, clock: &mut impl Clock) {
        let first = work.begin(texts.start);
        let tokens = work.ends[texts.end - 1] - first;
        let (hidden, inner) = (self.config.hidden, self.config.intermediate);
        work.states.grow(tokens * hidden);
        work.codes.grow(tokens, hidden);
        work.mixed_codes.grow(tokens, hidden);
        work.inner_codes.grow(tokens, inner);
        self.embed(work, texts.clone());
        clock.ended(Part::Embed);
        for layer in &self.layers {
            self.attend(layer, work, texts.clone(), clock);
            let states = &mut work.states[..tokens * hidden];
            let (mixed, codes) = (&work.mixed_codes, &mut work.codes);
            let norm = &layer.attention_norm;
            self.kernels.linear_norm(&layer.attention, mixed, tokens, states, norm, codes);
            clock.ended(Part::AttentionOutput);
            let inner_codes = &mut work.inner_codes;
            self.kernels.linear_gelu(&layer.inner, codes, tokens, &mut work.inner, inner_codes);
            clock.ended(Part::Inner);
            let norm = &layer.output_norm;
            self.kernels.linear_norm(&layer.output, inner_codes, tokens, states, norm, codes);
            clock.ended(Part::Output);
        }
        self.finish(work, texts);
        clock.ended(Part::Heads);
    }

    /// Writes the first states: words and positions, normalised.
    fn embed(&self, work: &mut Workspace, texts: Range<usize>) {
        let hidden = self.config.hidden;
        let first = work.begin(texts.start);
        for text in texts.clone() {
            let tokens = work.begin(text)..work.ends[text];
            let states = &mut work.states[(tokens.start - first) * hidden..];
            let mut positions = self.positions.rows.chunks_exact(hidden);
            for (id, state) in work.ids[tokens].iter().zip(states.chunks_exact_mut(hidden)) {
                self.words.read(*id as usize, state);
                let position = match &self.positions.uncounted {
                    Some((uncounted, row)) if id == uncounted => row,
                    // There are as many as a text has tokens at most.
                    _ => positions.next().unwrap_or_default(),
                };
                for (state, position) in state.iter_mut().zip(position) {
                    *state += position;
                }
            }
        }
        let tokens = work.ends[texts.end - 1] - first;
        let states = &mut work.states[..tokens * hidden];
        self.kernels.normalise(states, &self.norm, 0, &mut work.codes);
    }

    /// The attention of a layer, as codes: a few texts at a time, so that what is between the two
    /// steps stays in the cache.
    fn attend(
        &self,
        layer: &Layer,
        work: &mut Workspace,
        texts: Range<usize>,
        clock: &mut impl Clock,
    ) {
        let hidden = self.config.hidden;
        let first = work.begin(texts.start);
        let mut begin = texts.start;
        while begin < texts.end {
            let end = group(&work.ends[..texts.end], begin, ATTENTION_TOKENS);
            let rows = work.begin(begin) - first..work.ends[end - 1] - first;
            work.qkv.grow(rows.len() * 3 * hidden);
            self.kernels.linear(&layer.qkv, &work.codes, rows.clone(), &mut work.qkv);
            clock.ended(Part::Qkv);
            for text in begin..end {
                let tokens = work.begin(text) - first..work.ends[text] - first;
                let at = 3 * hidden * (tokens.start - rows.start);
                let qkv = &work.qkv[at..at + 3 * hidden * tokens.len()];
                work.mixed.grow(tokens.len() * hidden);
                let mixed = &mut work.mixed[..tokens.len() * hidden];
                self.kernels.attention(qkv, hidden, self.config.heads, &mut work.scratch, mixed);
                self.kernels.quantise(mixed, tokens.start, &mut work.mixed_codes);
            }
            clock.ended(Part::Attention);
            begin = end;
        }
    }

    /// Pools the last states of each text, and runs the heads.
    fn finish(&self, work: &mut Workspace, texts: Range<usize>) {
        let hidden = self.config.hidden;
        let first = work.begin(texts.start);
        for text in texts {
            let tokens = work.begin(text) - first..work.ends[text] - first;
            let states = &work.states[tokens.start * hidden..tokens.end * hidden];
            let [from, to, shares] = &mut work.buffers;
            work.features.clear();
            work.features.resize(self.pools.len() * hidden, 0.0);
            for (pool, features) in self.pools.iter().zip(work.features.chunks_exact_mut(hidden)) {
                pool.pool(states, features, shares);
            }
            for (head, rows) in self.heads.iter().zip(&mut work.rows) {
                head.run(self.kernels, &work.features, [&mut *from, &mut *to], rows);
            }
        }
    }
}

impl Workspace {
    /// Where a text begins, among all tokens.
    fn begin(&self, text: usize) -> usize {
        if text == 0 { 0 } else { self.ends[text - 1] }
    }
}

/// The end of a group of texts from `begin` on: at least one, and as many more as have, all
/// together, no more than so many tokens.
fn group(ends: &[usize], begin: usize, tokens: usize) -> usize {
    let first = if begin == 0 { 0 } else { ends[begin - 1] };
    let fitting = ends[begin..].partition_point(|end| *end - first <= tokens);
    begin + fitting.max(1)
}
