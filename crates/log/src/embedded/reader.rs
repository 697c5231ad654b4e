//! Reading a stream on from a place.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::watch, time::Instant};
use wingbeat_record::SubjectFilter;

use super::{
    load,
    stream::{Place, READ_BYTES_MAX, Stream},
};
use crate::{
    LogError,
    contract::{Reader, Start, Stored},
};

/// How often a reader in another process looks whether the files have grown.
const POLL: Duration = Duration::from_millis(50);

/// A place in an embedded stream.
pub(super) struct EmbeddedReader {
    stream: Arc<Stream>,
    filters: Vec<SubjectFilter>,
    place: Place,
    tip: watch::Receiver<u64>,
    /// Whether this process writes the stream, so that it hears of new records by itself.
    is_live: bool,
}

impl EmbeddedReader {
    pub(super) async fn open(
        stream: Arc<Stream>,
        start: Start,
        filters: &[SubjectFilter],
        is_live: bool,
    ) -> Result<Self, LogError> {
        let tip = stream.tip.subscribe();
        let shared = Arc::clone(&stream);
        let resolved = tokio::task::spawn_blocking(move || shared.resolve(start)).await;
        let place = Place::at(resolved.unwrap_or(Err(LogError::Bug))?);
        Ok(Self { stream, filters: filters.to_vec(), place, tip, is_live })
    }

    async fn read(&mut self, max: usize) -> Result<Vec<Stored>, LogError> {
        let next = self.place.next;
        let mut moving = std::mem::replace(&mut self.place, Place::at(next));
        let (stream, filters) = (Arc::clone(&self.stream), self.filters.clone());
        let is_live = self.is_live;
        let read = tokio::task::spawn_blocking(move || {
            if !is_live {
                load::refresh(&stream)?;
            }
            let records = stream.read(&mut moving, max, READ_BYTES_MAX, &filters)?;
            moving.missed.clear();
            Ok::<_, LogError>((records, moving))
        });
        let (records, moved) = read.await.map_err(|_| LogError::Bug)??;
        self.place = moved;
        Ok(records)
    }
}

#[async_trait]
impl Reader for EmbeddedReader {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Stored>, LogError> {
        let deadline = Instant::now() + wait;
        loop {
            self.tip.mark_unchanged();
            let records = self.read(max).await?;
            if !records.is_empty() || max == 0 || Instant::now() >= deadline {
                return Ok(records);
            }
            if self.is_live {
                // A closed channel means that the log is gone; the next read says so.
                let moved = tokio::time::timeout_at(deadline, self.tip.changed()).await;
                if matches!(moved, Ok(Err(_))) {
                    return Err(LogError::Closed);
                }
            } else {
                tokio::time::sleep_until((Instant::now() + POLL).min(deadline)).await;
            }
        }
    }
}
