//! Waiting for a log that can't be reached right now.

use std::{pin::Pin, time::Duration};

use crate::{Hint, LogError, Reader, Stored};

/// The first pause; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One call of the log, as its traits' methods make it.
type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send + 'a>>;

/// Calls until the answer is no *transient* error. Whoever stops in the meantime drops the future.
pub async fn patiently<'a, T>(mut call: impl FnMut() -> Call<'a, T>) -> Result<T, LogError> {
    let mut pauses = Pauses(PAUSE);
    loop {
        match call().await {
            Err(error) if error.hint() == Hint::Transient => pauses.pause(&error).await,
            result => return result,
        }
    }
}

/// The next records that are there already; waits only as long as the log can't be reached.
pub async fn read_patiently(reader: &mut dyn Reader, max: usize) -> Result<Vec<Stored>, LogError> {
    let mut pauses = Pauses(PAUSE);
    loop {
        match reader.next(max, Duration::ZERO).await {
            Err(error) if error.hint() == Hint::Transient => pauses.pause(&error).await,
            result => return result,
        }
    }
}

/// The next pause.
struct Pauses(Duration);

impl Pauses {
    async fn pause(&mut self, error: &LogError) {
        tracing::warn!(%error, wait_ms = self.0.as_millis(), "waiting for the log");
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}
