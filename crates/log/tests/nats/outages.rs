//! Servers that are full, hang, or refuse one thing: each ends in a clear state, and what was
//! acknowledged is kept.

use std::{collections::BTreeSet, time::Duration};

use tokio::sync::Notify;
use wingbeat_log::{
    ConsumerConfig, Discard, Hint, Keep, Log, LogError, Purge, Settle, StreamConfig, patiently,
};

use super::{
    faults::{consume_all, expect_each_once, open, publish_all, record, stream},
    server::{Server, Version},
};

const PATIENCE: Duration = Duration::from_secs(120);

/// Publishes a record until it is taken, as flows do; tells whenever there is no room.
async fn publish_patiently(log: &dyn Log, number: usize, full: &Notify) {
    loop {
        match log.publish(vec![record("s.x", number)]).await.pop().unwrap() {
            Ok(_) => return,
            Err(error) => {
                assert!(matches!(error, LogError::Full { .. }), "{error}");
                assert_eq!(error.hint(), Hint::Transient);
                assert!(error.to_string().contains("`s` is full"), "{error}");
                full.notify_one();
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn a_full_stream_holds_publishers_until_it_is_purged(version: Version) {
    const COUNT: usize = 60;
    let Some(server) = Server::start(version, "").await else { return };
    let log = open(&server.url("")).await;
    let config =
        StreamConfig { records_max: Some(20), discard: Discard::New, ..stream("s", "s.>") };
    log.ensure_stream(&config).await.unwrap();
    let consumer = log.consumer("s", &ConsumerConfig::new("c")).await.unwrap();
    let full = Notify::new();
    let publish = async {
        for number in 0..COUNT {
            publish_patiently(&*log, number, &full).await;
        }
    };
    let read = async {
        let mut seen = Vec::new();
        while seen.len() < COUNT {
            if seen.len() + 20 <= COUNT {
                full.notified().await;
            }
            let deliveries = consumer.fetch(100, Duration::from_secs(1)).await.unwrap();
            let settled: Vec<_> = deliveries.iter().map(|d| (d.token, Settle::Ack)).collect();
            consumer.settle(&settled).await.unwrap();
            let Some(last) = deliveries.last() else { continue };
            // What was read makes room.
            let keep = Keep::From(last.stored.sequence + 1);
            log.purge("s", &Purge { filter: None, keep }).await.unwrap();
            let number = |payload: &[u8]| String::from_utf8_lossy(payload).parse::<usize>();
            seen.extend(deliveries.iter().map(|d| number(&d.stored.record.payload).unwrap()));
        }
        seen
    };
    let ((), seen) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(publish, read) }).await.unwrap();
    assert_eq!(seen, (0..COUNT).collect::<Vec<_>>());
    assert_eq!(consumer.info().await.unwrap().missed, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_full_stream_holds_publishers_until_it_is_purged() {
    a_full_stream_holds_publishers_until_it_is_purged(Version::Current).await;
    a_full_stream_holds_publishers_until_it_is_purged(Version::V2_9).await;
}

/// It is stopped until a publisher has given an answer up, and then goes on.
async fn a_server_that_hangs_loses_and_doubles_nothing(version: Version) {
    const COUNT: usize = 2000;
    let Some(server) = Server::start(version, "").await else { return };
    let log = open(&server.url("")).await;
    log.ensure_stream(&stream("s", "s.>")).await.unwrap();
    let config = ConsumerConfig { ack_wait: Duration::from_secs(3), ..ConsumerConfig::new("c") };
    let consumer = log.consumer("s", &config).await.unwrap();
    let hang = async {
        while log.stream("s").await.unwrap().last < COUNT as u64 / 3 {
            tokio::task::yield_now().await;
        }
        server.signal("STOP");
        let asked = log.stream("s").await.unwrap_err();
        assert_eq!(asked.hint(), Hint::Transient, "{asked}");
        server.signal("CONT");
    };
    let work =
        async { tokio::join!(publish_all(&*log, COUNT, 50), consume_all(&*consumer, COUNT), hang) };
    let ((), seen, ()) = tokio::time::timeout(PATIENCE, work).await.unwrap();
    assert_eq!(seen.len(), COUNT);
    expect_each_once(&*log, COUNT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i3_a_server_that_hangs_loses_and_doubles_nothing() {
    a_server_that_hangs_loses_and_doubles_nothing(Version::Current).await;
    a_server_that_hangs_loses_and_doubles_nothing(Version::V2_9).await;
}

/// Each thing that is not permitted is an error that names its subject, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_permitted_is_named_wherever_it_is_needed() {
    let config = r#"authorization { users: [
        { user: all, password: p },
        { user: few, password: p, permissions: { publish: { deny: [
            "$JS.API.CONSUMER.MSG.NEXT.s.nofetch", "$JS.ACK.s.noack.>",
            "$JS.API.STREAM.PURGE.s", "$JS.API.STREAM.DELETE.>", "$KV.b.>",
        ] } } },
    ] }"#;
    let Some(mut server) = Server::start(Version::Current, config).await else { return };
    server.login = "all:p@".to_owned();
    let log = open(&server.url("")).await;
    log.ensure_stream(&stream("s", "s.>")).await.unwrap();
    publish_all(&*log, 10, 10).await;
    log.bucket("b").await.unwrap();
    server.login = "few:p@".to_owned();
    let log = open(&server.url("")).await;
    let mut refusals = Vec::new();
    let nofetch = log.consumer("s", &ConsumerConfig::new("nofetch")).await.unwrap();
    refusals.push((nofetch.fetch(1, PATIENCE).await.unwrap_err(), "MSG.NEXT.s.nofetch"));
    let noack = log.consumer("s", &ConsumerConfig::new("noack")).await.unwrap();
    let deliveries = noack.fetch(5, PATIENCE).await.unwrap();
    let settled: Vec<_> = deliveries.iter().map(|d| (d.token, Settle::Ack)).collect();
    refusals.push((noack.settle(&settled).await.unwrap_err(), "$JS.ACK.s.noack."));
    let purged = log.purge("s", &Purge::default()).await;
    refusals.push((purged.unwrap_err(), "STREAM.PURGE.s"));
    refusals.push((log.remove_stream("s").await.unwrap_err(), "STREAM.DELETE.s"));
    let bucket = log.bucket("b").await.unwrap();
    refusals.push((bucket.put("k", "v".into()).await.unwrap_err(), "$KV.b.k"));
    for (refusal, subject) in refusals {
        assert!(matches!(refusal, LogError::Denied { .. }), "{subject}: {refusal}");
        assert!(refusal.to_string().contains(subject), "{subject}: {refusal}");
    }
    // What is permitted works on, and what was not acknowledged is still there.
    let rest: BTreeSet<u64> = {
        server.login = "all:p@".to_owned();
        let log = open(&server.url("")).await;
        let config = ConsumerConfig::new("other");
        let consumer = patiently(|| log.consumer("s", &config)).await.unwrap();
        consume_all(&*consumer, 10).await.into_keys().collect()
    };
    assert_eq!(rest.len(), 10);
}
