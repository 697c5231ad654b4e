//! Dead letters: records that could not be handled, kept with their original bytes, what was
//! wrong, and their history.

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wingbeat_log::Stored;
use wingbeat_record::{DeadCause, MessageId, Record, SubjectError, Time, name};

use crate::template::SubjectTemplate;

/// What a dead letter's own headers take at most, in bytes: so much less than a whole record is
/// kept of an original.
const HEADERS_BYTES_MAX: usize = 128 * 1024;

/// What happened to a record before it died.
#[derive(Debug, Clone)]
pub(crate) struct Death<'a> {
    /// The flow that gave it up.
    pub(crate) flow: &'a str,
    /// Where it came from: `STREAM/SEQUENCE`, or a source and a position. With the flow it is the
    /// letter's identity, so that a crash makes no second letter.
    pub(crate) origin: String,
    /// How often it had been delivered.
    pub(crate) deliveries: u32,
    /// What was wrong.
    pub(crate) cause: &'a DeadCause,
    /// Its identity, where the origin is none.
    pub(crate) id: Option<MessageId>,
    /// Where `original` is only the beginning: the whole length, and the SHA-256 of the whole.
    pub(crate) cut_from: Option<(u64, String)>,
}

/// Writes a dead letter. `record_bytes_max` is the largest record that its log takes.
pub(crate) fn write(
    template: &SubjectTemplate,
    mut original: Record,
    death: &Death<'_>,
    record_bytes_max: usize,
) -> Result<Record, SubjectError> {
    let kind = death.cause.kind.as_str();
    let subject = template.fill(|place| match place {
        "flow" => Some(death.flow),
        "kind" | "reason" => Some(kind),
        "stage" => Some(&death.cause.stage),
        _ => None,
    })?;
    let mut cut_from = death.cut_from.clone();
    // A server that takes but little gets half of it at least.
    let bytes_max = record_bytes_max.saturating_sub(HEADERS_BYTES_MAX).max(record_bytes_max / 2);
    if original.payload.len() > bytes_max {
        cut_from.get_or_insert_with(|| (original.payload.len() as u64, sha256(&original.payload)));
        original.payload.truncate(bytes_max);
    }
    let mut headers = std::mem::take(&mut original.headers);
    if let Some(id) = headers.remove(name::MESSAGE_ID) {
        headers.set(name::ORIGINAL_ID, id);
    }
    let id = death.id.as_ref().map_or(death.origin.as_str(), MessageId::as_str);
    let id = MessageId::new(format!("dead:{}:{id}", death.flow));
    headers.set(name::MESSAGE_ID, id);
    headers.set(name::FLOW, death.flow);
    headers.set(name::INPUT, death.origin.as_str());
    headers.set(name::STAGE, death.cause.stage.as_ref());
    headers.set(name::ERROR_KIND, kind);
    headers.set(name::ERROR, death.cause.message.as_str());
    headers.set(name::SUBJECT, original.subject.as_str());
    headers.set(name::DELIVERIES, death.deliveries.to_string());
    headers.set(name::DIED_AT, Time::now().to_string());
    if let Some((bytes, digest)) = cut_from {
        headers.set(name::ORIGINAL_BYTES, bytes.to_string());
        headers.set(name::ORIGINAL_SHA256, digest);
    }
    Ok(Record { subject, headers, payload: original.payload })
}

fn sha256(bytes: &Bytes) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A dead letter as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// Its place in the stream of dead letters.
    pub sequence: u64,
    /// When it died, RFC 3339.
    pub died_at: String,
    /// The flow that gave it up.
    pub flow: String,
    /// The stage that gave it up.
    pub stage: String,
    /// The countable kind of the error.
    pub kind: String,
    /// The error in words.
    pub error: String,
    /// Where the record came from.
    pub origin: String,
    /// The subject that it had.
    pub subject: String,
    /// How often it had been delivered.
    pub deliveries: u32,
    /// The original's length in bytes.
    pub bytes: u64,
    /// The original bytes, or their beginning.
    #[serde(skip)]
    pub original: Bytes,
}

impl DeadLetter {
    /// Reads one. Headers that are missing are empty: what is there is shown.
    pub fn read(stored: &Stored) -> Self {
        let headers = &stored.record.headers;
        let text = |name| headers.get(name).unwrap_or_default().to_owned();
        let number = |name| headers.get(name).and_then(|value| value.parse::<u64>().ok());
        let deliveries = number(name::DELIVERIES).and_then(|n| u32::try_from(n).ok());
        Self {
            sequence: stored.sequence,
            died_at: text(name::DIED_AT),
            flow: text(name::FLOW),
            stage: text(name::STAGE),
            kind: text(name::ERROR_KIND),
            error: text(name::ERROR),
            origin: text(name::INPUT),
            subject: text(name::SUBJECT),
            deliveries: deliveries.unwrap_or(0),
            bytes: number(name::ORIGINAL_BYTES).unwrap_or(stored.record.payload.len() as u64),
            original: stored.record.payload.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use wingbeat_record::{Reason, Subject};

    use wingbeat_log::RECORD_BYTES_MAX;

    use super::*;

    #[test]
    fn i4_a_letter_keeps_the_original_bytes_its_error_and_its_history() {
        let payload = Bytes::from_static(b"\xff not json \0");
        let original = Record::new(Subject::new("bluesky.posts.posts").unwrap(), payload.clone())
            .with_id(MessageId::new("at://x:bafy"));
        let cause = DeadCause::new("post", Reason::new("not_utf8"), "not UTF-8 at byte 0");
        let death = Death {
            flow: "enrich",
            origin: "bluesky-posts/17".to_owned(),
            deliveries: 3,
            cause: &cause,
            id: None,
            cut_from: None,
        };
        let template = SubjectTemplate::new("bluesky.dlq.{flow}.{kind}").unwrap();
        let record = write(&template, original.clone(), &death, RECORD_BYTES_MAX).unwrap();
        assert_eq!(record.subject.as_str(), "bluesky.dlq.enrich.not_utf8");
        assert_eq!(record.id(), Some("dead:enrich:bluesky-posts/17"));
        assert_eq!(record.headers.get(name::ORIGINAL_ID), Some("at://x:bafy"));
        let letter = DeadLetter::read(&Stored { sequence: 4, time: Time::now(), record });
        assert_eq!(letter.original, payload);
        assert_eq!(letter.error, "not UTF-8 at byte 0");
        assert_eq!((letter.kind.as_str(), letter.deliveries, letter.bytes), ("not_utf8", 3, 12));
        assert!(letter.died_at.parse::<Time>().is_ok());

        let huge = Record { payload: vec![7; RECORD_BYTES_MAX].into(), ..original };
        let record = write(&template, huge, &death, RECORD_BYTES_MAX).unwrap();
        assert!(record.size() < RECORD_BYTES_MAX);
        let letter = DeadLetter::read(&Stored { sequence: 5, time: Time::now(), record });
        assert_eq!(letter.bytes, RECORD_BYTES_MAX as u64);
    }
}
