//! What a consumer never got because it had expired before the consumer came to it.
//!
//! JetStream passes over expired records in silence. They show as a jump in the sequences of the
//! deliveries, which may have other reasons: filters, or records that were deleted. A jump over
//! sequences that lie before the stream's first one is a loss; it is said, and kept in a bucket.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{bucket, connection::Connection};
use crate::{Bucket as _, LogError, LostRange};

/// Where losses are kept.
const BUCKET: &str = "wingbeat-missed";
/// With filters there are jumps all the time; then they are looked at this often.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// At most this many ranges are kept of a consumer; the last two become one beyond it.
const RANGES_MAX: usize = 1000;

/// Watches the sequences of one consumer.
pub(super) struct Missed {
    stream: String,
    consumer: String,
    has_filters: bool,
    state: Mutex<State>,
}

struct State {
    /// The last sequence that was delivered.
    place: u64,
    /// The first and last sequence of the jumps that nobody has looked at.
    jump: Option<(u64, u64)>,
    checked: Option<Instant>,
}

impl Missed {
    pub(super) fn new(stream: &str, consumer: &str, place: u64, has_filters: bool) -> Self {
        Self {
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            has_filters,
            state: Mutex::new(State { place, jump: None, checked: None }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a record's first delivery.
    pub(super) fn note(&self, sequence: u64) {
        let mut state = self.state();
        if sequence > state.place + 1 {
            let from = state.jump.map_or(state.place + 1, |(from, _)| from);
            state.jump = Some((from, sequence - 1));
        }
        state.place = state.place.max(sequence);
    }

    /// Looks at the jumps, when it is time. What can't be looked at now is looked at later.
    pub(super) async fn check(&self, connection: &Arc<Connection>) {
        let is_due = {
            let state = self.state();
            let is_old = state.checked.is_none_or(|at| at.elapsed() >= CHECK_EVERY);
            state.jump.is_some() && (is_old || !self.has_filters)
        };
        if is_due {
            self.check_now(connection).await;
        }
    }

    pub(super) async fn check_now(&self, connection: &Arc<Connection>) {
        let Some((from, to)) = self.state().jump.take() else { return };
        match self.look(connection, from, to).await {
            Ok(()) => self.state().checked = Some(Instant::now()),
            Err(error) => {
                tracing::warn!(stream = self.stream, consumer = self.consumer, %error, "can't tell yet whether records were missed");
                let mut state = self.state();
                let to = state.jump.map_or(to, |(_, to)| to);
                state.jump = Some((from, to));
            }
        }
    }

    async fn look(&self, connection: &Arc<Connection>, from: u64, to: u64) -> Result<(), LogError> {
        let first = connection.stream_answer(&self.stream).await?.state.first_seq;
        if first <= from {
            return Ok(());
        }
        let cause = "expired before the consumer came to them".to_owned();
        let range = LostRange { first: from, last: to.min(first - 1), cause };
        add(connection, &self.stream, &self.consumer, range).await
    }
}

/// Keeps in mind what a consumer has missed.
pub(super) async fn add(
    connection: &Arc<Connection>,
    stream: &str,
    consumer: &str,
    range: LostRange,
) -> Result<(), LogError> {
    tracing::error!(stream, consumer, lost = %range, "a consumer missed records");
    let mut ranges = read(connection, stream, consumer).await?;
    let is_crowded = ranges.len() >= RANGES_MAX;
    match ranges.last_mut() {
        Some(last) if is_crowded || last.last + 1 >= range.first => last.last = range.last,
        _ => ranges.push(range),
    }
    let json = serde_json::to_vec(&ranges)
        .map_err(|error| LogError::Invalid(format!("can't write what was missed: {error}")))?;
    let bucket = bucket::open(Arc::clone(connection), BUCKET, None).await?;
    bucket.put(&key(stream, consumer), json.into()).await?;
    Ok(())
}

fn key(stream: &str, consumer: &str) -> String {
    format!("{stream}.{consumer}")
}

/// What a consumer has missed.
pub(super) async fn read(
    connection: &Arc<Connection>,
    stream: &str,
    consumer: &str,
) -> Result<Vec<LostRange>, LogError> {
    let Some(bucket) = bucket::find(Arc::clone(connection), BUCKET).await? else {
        return Ok(Vec::new());
    };
    let Some(entry) = bucket.get(&key(stream, consumer)).await? else { return Ok(Vec::new()) };
    serde_json::from_slice(&entry.value).map_err(|error| {
        LogError::Invalid(format!(
            "the key `{}` of bucket `{BUCKET}` can't be read: {error}",
            key(stream, consumer)
        ))
    })
}

/// Forgets what the consumers of a stream have missed that is not there any more.
pub(super) async fn forget(connection: &Arc<Connection>, stream: &str) -> Result<(), LogError> {
    let Some(bucket) = bucket::find(Arc::clone(connection), BUCKET).await? else { return Ok(()) };
    let prefix = key(stream, "");
    for key in bucket.keys().await?.iter().filter(|key| key.starts_with(&prefix)) {
        bucket.remove(key).await?;
    }
    Ok(())
}
