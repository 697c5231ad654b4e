//! Taking over the place of a durable *push* consumer, as the replaced processors made them.
//!
//! JetStream can't make one out of it that is pulled from: it has to be deleted, and made anew under
//! the same name. Its place is written down before, so that whatever is cut off in the middle is
//! finished by the next start:
//!
//! | consumer | its place | what is done |
//! |---|---|---|
//! | of the push kind | | write the place down, delete the consumer |
//! | none | written down | make the consumer behind its place, forget the place |
//! | of the pull kind | written down | forget the place |
//!
//! Everything up to its ack floor was settled. What the other program has acknowledged behind that
//! can't be known, and comes again.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    api::{ConsumerAnswer, code},
    bucket,
    connection::Connection,
    missed,
};
use crate::{
    LogError,
    contract::{Bucket as _, LostRange},
};

/// Where places are written down.
const BUCKET: &str = "wingbeat-moves";
/// How long a move that another process has begun may take before this one goes on with it.
const OTHERS_WAIT: Duration = Duration::from_secs(3);
const OTHERS_PAUSE: Duration = Duration::from_millis(100);

/// The place of a consumer that is being moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Everything up to here was settled.
    ack_floor: u64,
    /// When the stream was made: a stream that was made anew counts from the beginning.
    stream_created: String,
}

/// One consumer, which may have to be moved.
pub(super) struct Move<'a> {
    pub(super) connection: &'a Arc<Connection>,
    pub(super) stream: &'a str,
    pub(super) consumer: &'a str,
    pub(super) replicas: Option<usize>,
}

/// Whether a consumer sends its records somewhere, instead of being asked for them.
pub(super) fn is_push(consumer: &ConsumerAnswer) -> bool {
    consumer.config.contains_key("deliver_subject")
}

impl Move<'_> {
    /// The consumer as it is, once no push consumer stands in its place any more.
    pub(super) async fn find_pull(&self) -> Result<Option<ConsumerAnswer>, LogError> {
        let mut seen: Option<(u64, Instant)> = None;
        loop {
            let found = self.find().await?;
            let Some(push) = found.as_ref().filter(|found| is_push(found)) else {
                return Ok(found);
            };
            self.check_unused(push)?;
            let bucket = bucket::open(Arc::clone(self.connection), BUCKET, self.replicas).await?;
            let stream_created = self.stream_created().await?;
            let entry = bucket.get(&self.key()).await?;
            if let Some(entry) = &entry {
                // Another process is at it, or was.
                let since = match seen {
                    Some((revision, since)) if revision == entry.revision => since,
                    _ => Instant::now(),
                };
                seen = Some((entry.revision, since));
                if since.elapsed() < OTHERS_WAIT {
                    tokio::time::sleep(OTHERS_PAUSE).await;
                    continue;
                }
            }
            let mut place = Place { ack_floor: push.ack_floor.stream_seq, stream_created };
            let revision = entry.as_ref().map_or(0, |entry| entry.revision);
            if let Some(entry) = entry {
                let before = self.read(&entry.value)?;
                // Somebody has made the push consumer anew since, and it began from the start.
                if before.stream_created == place.stream_created {
                    place.ack_floor = place.ack_floor.max(before.ack_floor);
                }
            }
            match bucket.update(&self.key(), self.written(&place)?, revision).await {
                Ok(_) => self.delete_push().await?,
                Err(LogError::WrongRevision { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The ack floor from which a consumer that is not there is to go on.
    pub(super) async fn place(&self) -> Result<Option<u64>, LogError> {
        let Some(bucket) = bucket::find(Arc::clone(self.connection), BUCKET).await? else {
            return Ok(None);
        };
        let Some(entry) = bucket.get(&self.key()).await? else { return Ok(None) };
        let place = self.read(&entry.value)?;
        let is_current = place.stream_created == self.stream_created().await?;
        Ok(is_current.then_some(place.ack_floor))
    }

    /// The consumer is there: its place is kept in it. Says what had expired before it was made.
    pub(super) async fn finish(&self, ack_floor: u64) -> Result<(), LogError> {
        let (stream, consumer) = (self.stream, self.consumer);
        let first = self.connection.stream_answer(stream).await?.state.first_seq;
        if first > ack_floor + 1 {
            let cause = "expired before the push consumer's place was taken over".to_owned();
            let range = LostRange { first: ack_floor + 1, last: first - 1, cause };
            missed::add(self.connection, stream, consumer, range).await?;
        }
        self.forget().await
    }

    /// Forgets the place, where one is written down.
    pub(super) async fn forget(&self) -> Result<(), LogError> {
        match bucket::find(Arc::clone(self.connection), BUCKET).await? {
            Some(bucket) => bucket.remove(&self.key()).await,
            None => Ok(()),
        }
    }

    async fn delete_push(&self) -> Result<(), LogError> {
        // Once more: the other program may have come back, or another process been faster.
        match self.find().await? {
            Some(found) if is_push(&found) => {
                if let Err(in_use) = self.check_unused(&found) {
                    self.forget().await?;
                    return Err(in_use);
                }
            }
            _ => return Ok(()),
        }
        let (stream, consumer) = (self.stream, self.consumer);
        let what = format!("can't delete the push consumer `{consumer}` of stream `{stream}`");
        let request = format!("CONSUMER.DELETE.{stream}.{consumer}");
        match self.connection.ask::<Value>(&what, &request, &json!({})).await? {
            Ok(_) => Ok(()),
            Err(error) if error.err_code == code::CONSUMER_NOT_FOUND => Ok(()),
            Err(error) => Err(error.into_log_error(&what)),
        }
    }

    fn check_unused(&self, push: &ConsumerAnswer) -> Result<(), LogError> {
        if push.push_bound {
            let (stream, consumer) = (self.stream.to_owned(), self.consumer.to_owned());
            return Err(LogError::ConsumerInUse { stream, consumer });
        }
        Ok(())
    }

    async fn find(&self) -> Result<Option<ConsumerAnswer>, LogError> {
        self.connection.find_consumer(self.stream, self.consumer).await
    }

    async fn stream_created(&self) -> Result<String, LogError> {
        Ok(self.connection.stream_answer(self.stream).await?.created)
    }

    fn key(&self) -> String {
        format!("{}.{}", self.stream, self.consumer)
    }

    fn written(&self, place: &Place) -> Result<bytes::Bytes, LogError> {
        let json = serde_json::to_vec(place).map_err(|error| self.unreadable(&error))?;
        Ok(json.into())
    }

    fn read(&self, value: &[u8]) -> Result<Place, LogError> {
        serde_json::from_slice(value).map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &serde_json::Error) -> LogError {
        LogError::Invalid(format!(
            "the key `{}` of bucket `{BUCKET}` can't be read: {error}; it says where the consumer goes on",
            self.key()
        ))
    }
}
