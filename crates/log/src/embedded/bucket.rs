//! Buckets of small values. They live in memory and in the state journal.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    image::{BucketImage, Change, Text},
    journal::Journal,
};
use crate::{
    LogError,
    check::{check_key, check_value},
    contract::{Bucket, Entry},
};

/// A bucket of an embedded log.
pub(super) struct EmbeddedBucket {
    shared: Arc<Shared>,
    /// `None` where the log is open for reading only.
    journal: Option<Journal>,
}

struct Shared {
    name: String,
    values: Mutex<Values>,
    /// Held from the check of a revision until the change is durable, so that writers follow one
    /// another and readers never see what may be forgotten.
    writing: tokio::sync::Mutex<()>,
}

struct Values {
    entries: BTreeMap<String, Entry>,
    revision: u64,
}

impl Shared {
    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a value, or removes the key. `expected` is the revision that it must have.
    async fn write(
        &self,
        journal: Journal,
        key: String,
        value: Option<Bytes>,
        expected: Option<u64>,
    ) -> Result<u64, LogError> {
        let _writing = self.writing.lock().await;
        let (found, revision) = {
            let values = self.values();
            (values.entries.get(&key).map_or(0, |entry| entry.revision), values.revision + 1)
        };
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(LogError::WrongRevision { key, expected, found });
        }
        let (bucket, change_key) = (self.name.clone(), key.clone());
        let change = match &value {
            Some(value) => {
                Change::Put { bucket, key: change_key, value: Text::from(value), revision }
            }
            None => Change::Removed { bucket, key: change_key, revision },
        };
        journal.commit(vec![change]).await?;
        let mut values = self.values();
        values.revision = revision;
        match value {
            Some(value) => values.entries.insert(key, Entry { value, revision }),
            None => values.entries.remove(&key),
        };
        Ok(revision)
    }
}

impl EmbeddedBucket {
    pub(super) fn new(name: &str, journal: Option<Journal>, image: BucketImage) -> Self {
        let values = Values { entries: image.entries, revision: image.revision };
        let shared = Shared {
            name: name.to_owned(),
            values: Mutex::new(values),
            writing: tokio::sync::Mutex::new(()),
        };
        Self { shared: Arc::new(shared), journal }
    }

    /// Writes in a task of its own, so that a caller that goes away in the middle does not leave
    /// the journal and the memory saying different things.
    async fn write(
        &self,
        key: &str,
        value: Option<Bytes>,
        expected: Option<u64>,
    ) -> Result<u64, LogError> {
        check_key(key)?;
        check_value(value.as_deref().unwrap_or_default())?;
        let journal = self.journal.clone().ok_or(LogError::ReadOnly)?;
        let (shared, key) = (Arc::clone(&self.shared), key.to_owned());
        let write = async move { shared.write(journal, key, value, expected).await };
        tokio::spawn(write).await.unwrap_or(Err(LogError::Bug))
    }
}

#[async_trait]
impl Bucket for EmbeddedBucket {
    async fn get(&self, key: &str) -> Result<Option<Entry>, LogError> {
        Ok(self.shared.values().entries.get(key).cloned())
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<u64, LogError> {
        self.write(key, Some(value), None).await
    }

    async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, LogError> {
        self.write(key, Some(value), Some(revision)).await
    }

    async fn remove(&self, key: &str) -> Result<(), LogError> {
        self.write(key, None, None).await.map(|_| ())
    }

    async fn keys(&self) -> Result<Vec<String>, LogError> {
        Ok(self.shared.values().entries.keys().cloned().collect())
    }
}
