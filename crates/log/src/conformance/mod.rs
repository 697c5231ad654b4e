//! The conformance kit: what every log must do, as tests.
//!
//! A log's test file implements [`Harness`] and calls [`conformance_tests!`](crate::conformance_tests).
//! Each check gets a harness of its own with empty storage. Where a check waits for something, it
//! waits for the thing itself, up to [`PATIENCE`].
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use wingbeat_record::{MessageId, Record, Subject, SubjectFilter};

use crate::{
    Consumer, ConsumerConfig, Delivery, Log, LogError, PubAck, Reader, Settle, Stored, StreamConfig,
};

pub mod buckets;
pub mod consumers;
pub mod purge;
pub mod streams;

/// How long a check waits for what must happen. Only a failing check takes that long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Storage that can be opened, closed and opened again.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens the storage. Called again only after the log before was closed.
    async fn open(&self) -> Arc<dyn Log>;
}

/// Makes a test of every check. The argument is an expression that makes an `Option` of a
/// [`Harness`]; `None`, where what the log needs is not to be had here, skips the check.
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests! { @module streams, $harness,
            a_subject_leads_to_the_stream_that_captures_it
            overlapping_streams_are_refused
            invalid_names_are_refused
            streams_are_listed_and_their_settings_change
            sequences_follow_one_another_and_payloads_come_back_as_they_were
            i3_a_message_id_is_stored_once_within_the_window
            i3_a_message_id_is_remembered_over_a_restart
            a_message_id_is_forgotten_after_the_window
            i2_acknowledged_records_survive_a_restart
            retention_by_count_keeps_the_newest
            retention_by_bytes_keeps_the_newest
            retention_by_age_drops_the_oldest
            a_full_stream_that_discards_new_refuses_and_loses_nothing
            reading_starts_at_each_kind_of_place
            reading_waits_for_what_comes
            reading_follows_filters
            i8_a_deleted_record_is_gone_and_stays_gone
            i6_oversized_records_are_refused_and_their_siblings_stored
            many_publishers_keep_their_own_order
            a_closed_log_answers_so
        }
        $crate::conformance_tests! { @module purge, $harness,
            what_is_purged_is_gone_and_sequences_go_on
            what_is_to_stay_is_not_purged
            only_what_matches_is_purged
            i4_a_full_stream_takes_records_again_after_a_purge
            i5_what_is_purged_before_a_consumer_came_to_it_is_missed
            a_removed_stream_is_gone_for_everybody
        }
        $crate::conformance_tests! { @module consumers, $harness,
            deliveries_come_in_order_and_once
            i2_what_is_not_acknowledged_comes_again_after_the_ack_wait
            a_nak_comes_again_after_its_delay
            progress_holds_a_redelivery_back
            term_ends_a_record
            deliveries_end_at_the_maximum
            unsettled_deliveries_are_bounded
            a_consumer_follows_its_filters
            i10_a_restart_keeps_the_place_and_brings_back_what_was_unsettled
            a_consumer_starts_where_it_is_told
            two_fetchers_share_a_consumer
            a_fetch_that_is_dropped_loses_nothing
            i5_expired_records_are_reported_as_missed
            consumers_are_listed
        }
        $crate::conformance_tests! { @module buckets, $harness,
            values_are_set_read_and_removed
            i2_compare_and_set_lets_one_writer_win
            buckets_survive_a_restart
            invalid_keys_and_values_are_refused
        }
    };
    (@module $module:ident, $harness:expr, $($check:ident)*) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    if let Some(harness) = $harness {
                        $crate::conformance::$module::$check(&harness).await;
                    }
                }
            )*
        }
    };
}

fn filters(texts: &[&str]) -> Vec<SubjectFilter> {
    texts.iter().map(|text| SubjectFilter::new(text).unwrap()).collect()
}

fn record(subject: &str, payload: impl Into<Bytes>) -> Record {
    Record::new(Subject::new(subject).unwrap(), payload)
}

fn with_id(subject: &str, payload: &str, id: &str) -> Record {
    record(subject, payload.to_owned()).with_id(MessageId::new(id))
}

fn payload(stored: &Stored) -> String {
    String::from_utf8_lossy(&stored.record.payload).into_owned()
}

async fn publish(log: &dyn Log, record: Record) -> Result<PubAck, LogError> {
    log.publish(vec![record]).await.pop().unwrap()
}

/// Publishes `count` records with the payloads `0`, `1`, ...
async fn publish_numbers(log: &dyn Log, subject: &str, count: usize) {
    let records = (0..count).map(|number| record(subject, number.to_string())).collect();
    for answer in log.publish(records).await {
        answer.unwrap();
    }
}

async fn ensure(log: &dyn Log, name: &str, subjects: &[&str]) {
    log.ensure_stream(&StreamConfig::new(name, filters(subjects))).await.unwrap();
}

async fn consumer(log: &dyn Log, config: &ConsumerConfig) -> Arc<dyn Consumer> {
    log.consumer("s", config).await.unwrap()
}

/// Reads exactly `count` records.
async fn read_exactly(reader: &mut dyn Reader, count: usize) -> Vec<Stored> {
    let mut records = Vec::new();
    while records.len() < count {
        let more = reader.next(count - records.len(), PATIENCE).await.unwrap();
        assert!(!more.is_empty(), "only {} of {count} records came", records.len());
        records.extend(more);
    }
    records
}

/// Fetches exactly `count` deliveries.
async fn fetch_exactly(consumer: &dyn Consumer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        let more = consumer.fetch(count - deliveries.len(), PATIENCE).await.unwrap();
        assert!(!more.is_empty(), "only {} of {count} deliveries came", deliveries.len());
        deliveries.extend(more);
    }
    deliveries
}

async fn settle_all(consumer: &dyn Consumer, deliveries: &[Delivery], settle: Settle) {
    let settled: Vec<_> = deliveries.iter().map(|delivery| (delivery.token, settle)).collect();
    consumer.settle(&settled).await.unwrap();
}

/// Nothing more is there right now.
async fn expect_nothing(consumer: &dyn Consumer) {
    let deliveries = consumer.fetch(10, Duration::from_millis(20)).await.unwrap();
    assert!(deliveries.is_empty(), "unexpected: {deliveries:?}");
}
