//! A progress bar over training steps.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts iterations.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar for so many iterations.
    pub(crate) fn new(what: &'static str, iterations: usize) -> Self {
        let style = ProgressStyle::with_template("{msg:24} {bar:40} {pos}/{len} {elapsed_precise}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(iterations as u64).with_style(style).with_message(what);
        Self(bar)
    }

    #[cfg(test)]
    pub(crate) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// One more iteration.
    pub(crate) fn tick(&self) {
        self.0.inc(1);
    }

    /// All is done, even where it took fewer iterations.
    pub(crate) fn finish(&self) {
        self.0.finish();
    }
}
