//! Whoever opens a log to read changes nothing on the server.

use std::time::Duration;

use serde_json::Value;
use wingbeat_log::{Access, ConsumerConfig, Log, LogError, Purge, Start};

use super::{
    faults::{open, publish_all, record, stream},
    server::{Server, Version},
};

/// All names of a kind on the server, those that are hidden elsewhere too.
async fn names(server: &Server, request: &str, field: &str) -> Vec<String> {
    let client = async_nats::connect(format!("127.0.0.1:{}", server.port)).await.unwrap();
    let answer = client.request(format!("$JS.API.{request}"), "".into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    let names = answer[field].as_array().cloned().unwrap_or_default();
    names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Everything that only reads. Readers are still open when the log is closed.
async fn look_around(log: &dyn Log) {
    log.problems().await.unwrap();
    log.warnings().await.unwrap();
    let bucket = log.bucket("wingbeat-cursors").await.unwrap();
    assert_eq!(bucket.get("k").await.unwrap(), None);
    assert_eq!(bucket.keys().await.unwrap(), [""; 0]);
    if let Some(info) = log.streams().await.unwrap().first() {
        let name = &info.config.name;
        log.stream(name).await.unwrap();
        log.consumers(name).await.unwrap();
        log.get(name, 1).await.unwrap();
        let mut dropped = log.read(name, Start::First, &[]).await.unwrap();
        let mut open = log.read(name, Start::Last, &[]).await.unwrap();
        for reader in [&mut dropped, &mut open] {
            assert!(!reader.next(10, Duration::ZERO).await.unwrap().is_empty());
        }
        drop(dropped);
        log.close().await.unwrap();
        return;
    }
    log.close().await.unwrap();
}

async fn reading_leaves_no_trace(version: Version) {
    let Some(server) = Server::start(version, "").await else { return };
    let url = server.url("");
    look_around(&*url.open(Access::Read).await.unwrap()).await;
    assert_eq!(names(&server, "STREAM.NAMES", "streams").await, [""; 0]);
    let log = open(&url).await;
    log.ensure_stream(&stream("s", "s.>")).await.unwrap();
    publish_all(&*log, 10, 10).await;
    look_around(&*url.open(Access::Read).await.unwrap()).await;
    assert_eq!(names(&server, "STREAM.NAMES", "streams").await, ["s"]);
    assert_eq!(names(&server, "CONSUMER.NAMES.s", "consumers").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_leaves_no_trace_on_the_server() {
    reading_leaves_no_trace(Version::Current).await;
    reading_leaves_no_trace(Version::V2_9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_can_not_write() {
    let Some(server) = Server::start(Version::Current, "").await else { return };
    let url = server.url("existing=change");
    open(&url).await.ensure_stream(&stream("s", "s.>")).await.unwrap();
    let log = url.open(Access::Read).await.unwrap();
    let is_refused = |error: LogError| assert!(matches!(error, LogError::ReadOnly), "{error}");
    is_refused(log.ensure_stream(&stream("s", "t.>")).await.unwrap_err());
    is_refused(log.publish(vec![record("s.x", 1)]).await.pop().unwrap().unwrap_err());
    is_refused(log.consumer("s", &ConsumerConfig::new("c")).await.err().unwrap());
    is_refused(log.delete("s", 1).await.unwrap_err());
    is_refused(log.purge("s", &Purge::default()).await.unwrap_err());
    is_refused(log.remove_stream("s").await.unwrap_err());
    let bucket = log.bucket("b").await.unwrap();
    is_refused(bucket.put("k", "v".into()).await.unwrap_err());
    is_refused(bucket.update("k", "v".into(), 0).await.unwrap_err());
    is_refused(bucket.remove("k").await.unwrap_err());
}
