//! What every log's buckets must do.

use bytes::Bytes;

use super::Harness;
use crate::LogError;

/// The ordinary case.
pub async fn values_are_set_read_and_removed(harness: &dyn Harness) {
    let log = harness.open().await;
    let bucket = log.bucket("b").await.unwrap();
    assert_eq!(bucket.get("k").await.unwrap(), None);
    let first = bucket.put("k", Bytes::from_static(b"1")).await.unwrap();
    let second = bucket.put("k", Bytes::from_static(&[0xFF, 0])).await.unwrap();
    assert!(second > first);
    let entry = bucket.get("k").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.revision), (&[0xFF, 0][..], second));
    bucket.put("a.b/c=d_e-1", Bytes::new()).await.unwrap();
    assert_eq!(bucket.keys().await.unwrap(), ["a.b/c=d_e-1", "k"]);
    bucket.remove("k").await.unwrap();
    bucket.remove("k").await.unwrap();
    assert_eq!(bucket.get("k").await.unwrap(), None);
    assert_eq!(log.bucket("b").await.unwrap().keys().await.unwrap(), ["a.b/c=d_e-1"]);
    assert_eq!(log.bucket("other").await.unwrap().keys().await.unwrap(), [""; 0]);
}

/// Two that start from the same revision can't both win, so a cursor never goes back.
pub async fn i2_compare_and_set_lets_one_writer_win(harness: &dyn Harness) {
    let log = harness.open().await;
    let bucket = log.bucket("b").await.unwrap();
    let created = bucket.update("k", Bytes::from_static(b"1"), 0).await.unwrap();
    let again = bucket.update("k", Bytes::from_static(b"2"), 0).await;
    assert!(matches!(again, Err(LogError::WrongRevision { found, .. }) if found == created));
    let left = bucket.update("k", Bytes::from_static(b"left"), created);
    let right = bucket.update("k", Bytes::from_static(b"right"), created);
    let (left, right) = tokio::join!(left, right);
    assert!(left.is_ok() != right.is_ok(), "{left:?} {right:?}");
    let winner: &[u8] = if left.is_ok() { b"left" } else { b"right" };
    assert_eq!(bucket.get("k").await.unwrap().unwrap().value, winner);
}

/// Values and revisions are durable.
pub async fn buckets_survive_a_restart(harness: &dyn Harness) {
    let log = harness.open().await;
    let bucket = log.bucket("b").await.unwrap();
    bucket.put("gone", Bytes::from_static(b"x")).await.unwrap();
    let revision = bucket.put("k", Bytes::from_static(b"v")).await.unwrap();
    bucket.remove("gone").await.unwrap();
    log.close().await.unwrap();
    let log = harness.open().await;
    let bucket = log.bucket("b").await.unwrap();
    let entry = bucket.get("k").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.revision), (&b"v"[..], revision));
    assert_eq!(bucket.get("gone").await.unwrap(), None);
    assert!(bucket.update("k", Bytes::new(), revision).await.unwrap() > revision);
}

/// Keys become protocol tokens; values are small.
pub async fn invalid_keys_and_values_are_refused(harness: &dyn Harness) {
    let log = harness.open().await;
    let bucket = log.bucket("b").await.unwrap();
    for key in ["", "a b", "a*", "ä", &"k".repeat(300)] {
        let refused = bucket.put(key, Bytes::new()).await;
        assert!(matches!(refused, Err(LogError::Invalid(_))), "{key:?}");
    }
    let huge = bucket.put("k", Bytes::from(vec![0; 2 * 1024 * 1024])).await;
    assert!(matches!(huge, Err(LogError::TooLarge { .. })));
}
