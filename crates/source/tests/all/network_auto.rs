//! The best of several hosts: when it goes to another one, and what it brings along.

use std::time::Duration;

use wingbeat_source::{
    Connection, OpenOptions, Place, Resume,
    network::{NetworkOptions, Timings},
};

use crate::network_host::{
    Host, Reading, STEP_US, TIME_US, frame, options, quick, read_before, text, time_of, v1, v2,
};

/// An address where nobody is.
async fn nowhere() -> String {
    Host::start().await.address()
}

#[tokio::test]
async fn a_host_that_can_not_be_reached_is_passed_over() {
    let (gone, host) = (nowhere().await, Host::start().await);
    let spec = format!("auto:v2={gone},v1={}", host.address());
    let mut reading = Reading::start(&spec, &options());
    let mut wire = host.accept().await;
    wire.send(text(&v1(1))).await;
    reading.expect_post(1).await;
    assert_eq!(reading.live().await, format!("{}/subscribe", host.address()));
    assert_eq!((reading.counter("host_switches"), reading.counter("gaps")), (1, 0));
}

#[tokio::test]
async fn when_no_host_can_be_reached_it_says_so_and_goes_on_trying() {
    let host = Host::start().await;
    let address = host.address();
    drop(host);
    let spec = format!("auto:v1={},relay={address}", nowhere().await);
    let mut reading = Reading::start(&spec, &options());
    let problem = reading.broken().await;
    assert!(problem.to_lowercase().contains("refused"), "{problem}");
    // It is still trying when somebody is there.
    let listener = tokio::net::TcpListener::bind(address.strip_prefix("ws://").unwrap());
    let (stream, _) = listener.await.unwrap().accept().await.unwrap();
    let mut stream = tokio_tungstenite::accept_async(stream).await.unwrap();
    futures_util::SinkExt::send(&mut stream, frame(1)).await.unwrap();
    reading.expect_post(1).await;
    reading.live().await;
}

/// Invariant 5: no cursor is taken to another host.
#[tokio::test]
async fn i5_another_host_begins_by_time_and_a_relay_with_a_gap() {
    let (first, second, relay) = (Host::start().await, Host::start().await, Host::start().await);
    let spec =
        format!("auto:v2={},v1={},relay={}", first.address(), second.address(), relay.address());
    let mut reading = Reading::start(&spec, &options());
    let mut wire = first.accept_v2().await;
    for number in [100, 101] {
        wire.send(text(&v2(number))).await;
        reading.expect_post(number).await;
    }
    drop(first);
    drop(wire);
    let mut wire = second.accept().await;
    let rewound = |number: u64| Some(TIME_US + (number - 30) * STEP_US);
    assert_eq!(wire.cursor(), rewound(101));
    for number in [100, 101, 102] {
        wire.send(text(&v1(number))).await;
    }
    reading.expect_post(102).await;
    assert_eq!((reading.counter("repeats"), reading.counter("gaps")), (2, 0));
    drop(second);
    drop(wire);
    let mut wire = relay.accept().await;
    assert_eq!(wire.cursor(), None);
    wire.send(frame(105)).await;
    let gap = reading.expect_gap().await;
    assert_eq!(gap["reason"], "host_switch");
    assert_eq!(
        (gap["from_time"].as_str(), gap["to_time"].as_str()),
        (Some(time_of(102).as_str()), Some(time_of(105).as_str()),)
    );
    let (_, places) = reading.item_and_places().await;
    assert_eq!(places.len(), 3, "the others are kept: {places:?}");
}

#[tokio::test]
async fn a_relay_with_a_place_goes_on_there_and_what_is_known_does_not_come_again() {
    let relay = Host::start().await;
    let spec = format!("auto:v1={},relay={}", nowhere().await, relay.address());
    let place = |host: String, number: u64| Place {
        host,
        cursor: number,
        time_us: TIME_US + number * STEP_US,
    };
    let relay_url = format!("{}/xrpc/com.atproto.sync.subscribeRepos", relay.address());
    let places = vec![place(relay_url, 5), place("ws://other/subscribe".to_owned(), 1000)];
    let resume = Some(Resume { position: 1, places });
    let mut reading = Reading::start(&spec, &OpenOptions { resume, ..options() });
    let mut wire = relay.accept().await;
    assert_eq!(wire.cursor(), Some(5));
    for number in [6, 500, 971, 1001] {
        wire.send(frame(number)).await;
    }
    reading.expect_post(971).await;
    reading.expect_post(1001).await;
    assert_eq!((reading.counter("repeats"), reading.counter("gaps")), (2, 0));
}

fn with_timings(timings: Timings) -> OpenOptions {
    let network = NetworkOptions { timings, ..NetworkOptions::default() };
    OpenOptions { network, ..OpenOptions::default() }
}

#[tokio::test]
async fn a_host_that_keeps_failing_or_sends_nothing_is_left() {
    let (silent, failing, good) = (Host::start().await, Host::start().await, Host::start().await);
    let spec =
        format!("auto:v1={},v1={},v1={}", silent.address(), failing.address(), good.address());
    let timings = Timings { first_event_max: Duration::from_millis(50), ..quick() };
    let mut reading = Reading::start(&spec, &with_timings(timings));
    silent.accept().await.closed().await;
    for _ in 0..3 {
        drop(failing.accept().await);
    }
    let mut wire = good.accept().await;
    wire.send(text(&v1(1))).await;
    reading.expect_post(1).await;
    assert!(
        matches!(&*reading.connection.borrow(), Connection::Live { host } if host.contains(&good.address()))
    );
}

#[tokio::test]
async fn it_goes_back_to_a_better_host() {
    let (best, other) = (Host::start().await, Host::start().await);
    let spec = format!("auto:v1={},v1={}", best.address(), other.address());
    let timings = Timings { return_after: Duration::from_millis(30), ..quick() };
    let mut reading = Reading::start(&spec, &with_timings(timings));
    for _ in 0..3 {
        best.answer(503, b"busy").await;
    }
    let mut wire = other.accept().await;
    wire.send(text(&v1(100))).await;
    reading.expect_post(100).await;
    let mut better = best.accept().await;
    assert_eq!(better.cursor(), Some(TIME_US + (100 - 30) * STEP_US));
    wire.closed().await;
    better.send(text(&v1(100))).await;
    better.send(text(&v1(101))).await;
    reading.expect_post(101).await;
    assert_eq!(reading.live().await, format!("{}/subscribe", best.address()));
}

#[tokio::test]
async fn a_host_that_knows_nothing_of_the_cursor_is_left_without_resetting_it() {
    let (relay, other) = (Host::start().await, Host::start().await);
    let spec = format!("auto:relay={},v1={}", relay.address(), other.address());
    let url = format!("{}/xrpc/com.atproto.sync.subscribeRepos", relay.address());
    let mut reading = Reading::start(&spec, &read_before(url.clone(), 100, 100));
    let mut wire = relay.accept().await;
    assert_eq!(wire.cursor(), Some(100));
    wire.send(frame(5)).await;
    wire.closed().await;
    let mut wire = other.accept().await;
    wire.send(text(&v1(101))).await;
    let (_, places) = reading.item_and_places().await;
    assert!(places.iter().any(|place| place.host == url && place.cursor == 100), "{places:?}");
}
