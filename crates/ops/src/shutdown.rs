//! Signals into a clean stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that a second signal ends at once, as shells count it for SIGINT.
const INTERRUPTED: i32 = 130;

/// A token that is cancelled by SIGINT (Ctrl-C) or SIGTERM. A second signal ends the process at
/// once. Must be called inside the async runtime.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let stop = token.clone();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for round in 0.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if round > 0 {
                std::process::exit(INTERRUPTED);
            }
            // First of all: whoever reads the log lines may be gone.
            stop.cancel();
            tracing::info!("stopping; a second signal ends at once");
        }
    });
    Ok(token)
}
