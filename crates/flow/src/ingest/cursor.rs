//! Where a source is left and found again.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wingbeat_log::{Bucket, Log, LogError, patiently};
use wingbeat_record::{Headers, MessageId, Time, name};
use wingbeat_source::{Description, Place, Resume};

use super::NAME;
use crate::{FlowError, books::Counts};

/// The bucket of the sources' places.
const BUCKET: &str = "wingbeat-cursors";

/// A source's place, as it is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPlace {
    /// The source, as it was asked for.
    pub spec: String,
    /// What its records carry in the header `Wingbeat-Source`.
    pub source: String,
    /// Everything up to here is settled.
    pub position: u64,
    /// How far each host was read, for sources that have hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
    /// How it was settled.
    pub counts: Counts,
    /// When this was written.
    pub saved_at: Time,
}

/// Where a source begins: the place that an earlier run has saved.
pub struct Cursor {
    bucket: Arc<dyn Bucket>,
    key: String,
    revision: u64,
    pub(super) saved: SavedPlace,
}

impl Cursor {
    /// Looks up where the source of that description was left.
    pub async fn find(log: &dyn Log, description: &Description) -> Result<Self, FlowError> {
        let bucket = patiently(|| log.bucket(BUCKET)).await?;
        // A source whose positions mean nothing after a restart starts anew, under a name of its
        // own, so that its positions are not taken for those of the run before.
        let identity = match &description.fingerprint {
            Some(fingerprint) => fingerprint.clone(),
            None => format!("{} {} {}", description.spec, Time::now(), std::process::id()),
        };
        let digest = MessageId::from_content(identity.as_bytes());
        let digest = digest.as_str().trim_start_matches("sha256:");
        let source = format!("{}:{}", description.kind, &digest[..16]);
        let key = format!("{NAME}.{}.{}", description.kind, &digest[..16]);
        let (saved, revision) = match patiently(|| bucket.get(&key)).await? {
            None => {
                let fresh = SavedPlace {
                    spec: description.spec.clone(),
                    source,
                    position: 0,
                    places: Vec::new(),
                    counts: Counts::default(),
                    // Never: whatever an earlier run has published is not booked.
                    saved_at: Time::from_micros(0),
                };
                (fresh, 0)
            }
            Some(entry) => {
                let saved = serde_json::from_slice(&entry.value).map_err(|error| {
                    // Going on from the start, or from now, would be a silent loss or a flood.
                    FlowError::Stored {
                        what: format!("the saved place of `{}`", description.spec),
                        problem: format!(
                            "{error}; remove the key `{key}` of bucket `{BUCKET}` to start over"
                        ),
                    }
                })?;
                (saved, entry.revision)
            }
        };
        Ok(Self { bucket, key, revision, saved })
    }

    /// Where to go on; `None` where the source is new.
    pub fn resume(&self) -> Option<Resume> {
        let SavedPlace { position, places, .. } = &self.saved;
        (self.revision > 0).then(|| Resume { position: *position, places: places.clone() })
    }

    pub(super) async fn save(
        &mut self,
        position: u64,
        places: &[Place],
        counts: &Counts,
    ) -> Result<(), FlowError> {
        self.saved.places = places.to_vec();
        self.saved.position = self.saved.position.max(position);
        self.saved.counts = counts.clone();
        self.saved.saved_at = Time::now();
        let json = serde_json::to_vec(&self.saved).map_err(|error| FlowError::Stored {
            what: "a source's place".to_owned(),
            problem: error.to_string(),
        })?;
        let json = Bytes::from(json);
        let update = || self.bucket.update(&self.key, json.clone(), self.revision);
        match patiently(update).await {
            Ok(revision) => self.revision = revision,
            Err(error @ LogError::WrongRevision { .. }) => {
                return Err(FlowError::Pack(format!(
                    "another process reads `{}` into the same log: {error}",
                    self.saved.spec
                )));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// All saved places of a log, by key.
pub(crate) async fn saved_places(log: &dyn Log) -> Result<Vec<SavedPlace>, FlowError> {
    let bucket = patiently(|| log.bucket(BUCKET)).await?;
    let mut places = Vec::new();
    for key in patiently(|| bucket.keys()).await? {
        if let Some(entry) = patiently(|| bucket.get(&key)).await? {
            let place =
                serde_json::from_slice(&entry.value).map_err(|error| FlowError::Stored {
                    what: format!("the key `{key}` of bucket `{BUCKET}`"),
                    problem: error.to_string(),
                })?;
            places.push(place);
        }
    }
    Ok(places)
}

/// Where the replaced services keep a cursor: a bucket and a key. What is there is read once, by
/// whoever has no place of their own yet, and the sequence is written beside our own place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyCursor {
    /// The bucket, such as `firehose-state`.
    pub bucket: String,
    /// The key: the service's name. Its first version used `{key}.cursor`, and JSON.
    pub key: String,
    /// The host and endpoint that the sequence belongs to.
    pub host: String,
}

impl LegacyCursor {
    /// The sequence that a replaced service has saved.
    ///
    /// # Errors
    ///
    /// When there is one that can't be read: to go on from now would be a silent loss.
    pub async fn read(&self, log: &dyn Log) -> Result<Option<u64>, FlowError> {
        let bucket = patiently(|| log.bucket(&self.bucket)).await?;
        for key in [self.key.clone(), format!("{}.cursor", self.key)] {
            let Some(entry) = patiently(|| bucket.get(&key)).await? else { continue };
            let text = String::from_utf8_lossy(&entry.value);
            let number = text.trim().parse().ok();
            let json = || {
                let value: serde_json::Value = serde_json::from_str(&text).ok()?;
                value.get("cursor")?.as_u64()
            };
            return number.or_else(json).map(Some).ok_or_else(|| FlowError::Stored {
                what: format!("the key `{key}` of bucket `{}`", self.bucket),
                problem: "neither a number nor an object with `cursor`; remove it to start from \
                          now"
                .to_owned(),
            });
        }
        Ok(None)
    }

    /// Writes the sequence, as a decimal number. It never goes back.
    pub(super) async fn write(&self, log: &dyn Log, sequence: u64) -> Result<(), FlowError> {
        let bucket = patiently(|| log.bucket(&self.bucket)).await?;
        if self.read(log).await?.is_some_and(|saved| saved >= sequence) {
            return Ok(());
        }
        patiently(|| bucket.put(&self.key, sequence.to_string().into())).await?;
        Ok(())
    }
}

/// Whether the ingest has published a record for that source. Outputs and dead letters of flows
/// carry a source's name too, but they also say which flow they are from.
pub(super) fn is_of(source: &str, headers: &Headers) -> bool {
    headers.get(name::SOURCE) == Some(source)
        && headers.get(name::FLOW).is_none_or(|flow| flow == NAME)
}
