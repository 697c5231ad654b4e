//! Where the time of a model goes, and how near its products are to what the machine can do.

use std::time::{Duration, Instant};

/// A part of a model's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Words and positions, normalised.
    Embed,
    /// The product that gives queries, keys and values.
    Qkv,
    /// Attention, and its rows as codes.
    Attention,
    /// The product behind attention, with the sum, its norm and codes.
    AttentionOutput,
    /// The product that widens, with GELU and codes.
    Inner,
    /// The product that narrows, with the sum, its norm and codes.
    Output,
    /// Pools and heads.
    Heads,
}

impl Part {
    /// All parts, in their order.
    pub const ALL: [Self; 7] = [
        Self::Embed,
        Self::Qkv,
        Self::Attention,
        Self::AttentionOutput,
        Self::Inner,
        Self::Output,
        Self::Heads,
    ];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "words, norm",
            Self::Qkv => "product: queries, keys, values",
            Self::Attention => "attention, codes",
            Self::AttentionOutput => "product behind attention, sum, norm, codes",
            Self::Inner => "product that widens, GELU, codes",
            Self::Output => "product that narrows, sum, norm, codes",
            Self::Heads => "pools, heads",
        }
    }
}

/// Takes the times of parts.
pub(crate) trait Clock {
    /// This part has ended; what was before it had ended already.
    fn ended(&mut self, part: Part);
}

/// Takes no times, and costs none.
pub(crate) struct Untimed;

impl Clock for Untimed {
    #[inline(always)]
    fn ended(&mut self, _: Part) {}
}

/// What a run of a model took.
#[derive(Debug, Clone)]
pub struct Profile {
    last: Instant,
    times: [Duration; Part::ALL.len()],
}

impl Profile {
    pub(crate) fn begin() -> Self {
        Self { last: Instant::now(), times: Default::default() }
    }

    /// The time of a part.
    pub fn time(&self, part: Part) -> Duration {
        self.times[part as usize]
    }

    /// The time of all parts.
    pub fn total(&self) -> Duration {
        self.times.iter().sum()
    }
}

impl Clock for Profile {
    fn ended(&mut self, part: Part) {
        let now = Instant::now();
        self.times[part as usize] += now - self.last;
        self.last = now;
    }
}
