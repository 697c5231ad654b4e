//! Waiting for a log that can't be reached right now.

use std::{pin::Pin, time::Duration};

use crate::{Hint, LogError};

/// The first pause; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One call of the log, as its traits' methods make it.
type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send + 'a>>;

/// Calls until the answer is no *transient* error. Whoever stops in the meantime drops the future.
pub async fn patiently<'a, T>(mut call: impl FnMut() -> Call<'a, T>) -> Result<T, LogError> {
    let mut pause = PAUSE;
    loop {
        match call().await {
            Err(error) if error.hint() == Hint::Transient => {
                tracing::warn!(%error, wait_ms = pause.as_millis(), "waiting for the log");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            result => return result,
        }
    }
}
