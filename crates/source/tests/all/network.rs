//! A relay over real sockets: what it sends comes out once, and whatever it does, reading goes on.

use std::time::Duration;

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::Message;
use wingbeat_atproto::{
    Curve, Did, SigningKey, Tid,
    cbor::Value,
    frame as cbor_frame,
    write::{RepositoryWriter, Write},
};
use wingbeat_source::{
    Content, OpenOptions, SourceSpec,
    network::{NetworkOptions, Timings, Verify},
    open,
};

use crate::{
    common::{json, open_file, read_all, shared_file},
    frames::{commit_at, dead_kind, op, record},
    network_host::{
        Host, Reading, STEP_US, TIME_US, frame, frame_at, options, quick, read_before, time_of,
    },
};

fn url(host: &Host) -> String {
    format!("{}/xrpc/com.atproto.sync.subscribeRepos", host.address())
}

fn spec(host: &Host) -> String {
    format!("relay:{}", host.address())
}

fn notice(kind: &str, field: &str, name: &str) -> Message {
    let payload = Value::Map(vec![(field, Value::Text(name))]);
    if kind == "error" {
        let header = Value::Map(vec![("op", Value::Integer(-1))]).encode().unwrap();
        return Message::binary([header, payload.encode().unwrap()].concat());
    }
    Message::binary(cbor_frame::encode(kind, &payload).unwrap())
}

#[tokio::test]
async fn the_recording_over_a_socket_is_the_recording() {
    let Some(path) = shared_file("fixtures/jetstream-corpus/frames.bin.zst") else { return };
    let (expected, _) = read_all(open_file("frames", &path, None).as_mut()).await;
    let bytes = zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap();
    let host = Host::start().await;
    let mut reading = Reading::start(&spec(&host), &options());
    let mut wire = host.accept().await;
    assert_eq!(wire.cursor(), None);
    let mut rest = &bytes[..];
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (frame, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        wire.send(Message::binary(frame.to_vec())).await;
        rest = behind;
    }
    let mut position = 0;
    for expected in expected {
        let item = reading.item().await;
        assert!(item.position > position);
        position = item.position;
        assert_eq!(format!("{:?}", item.content), format!("{:?}", expected.content));
    }
    assert_eq!(reading.live().await, url(&host));
}

/// I7 and I8 of the replaced services: a reconnect begins at the last event, and always comes.
#[tokio::test]
async fn a_lost_connection_is_made_again_at_the_last_event() {
    let host = Host::start().await;
    let mut reading = Reading::start(&spec(&host), &options());
    let mut wire = host.accept().await;
    wire.send(frame(4)).await;
    wire.send(frame(9)).await;
    reading.expect_post(4).await;
    reading.expect_post(9).await;
    wire.close().await;
    for round in 0..3 {
        let mut wire = host.accept().await;
        assert_eq!(wire.cursor(), Some(9 + round));
        // By the specification the last event may come once more.
        wire.send(frame(9 + round)).await;
        wire.send(frame(10 + round)).await;
        let (item, places) = reading.item_and_places().await;
        assert!(matches!(item.content, Content::Post(_)));
        assert_eq!((places[0].host.as_str(), places[0].cursor), (url(&host).as_str(), 10 + round));
        assert_eq!(places[0].time_us, TIME_US + (10 + round) * STEP_US);
        // Without a goodbye.
        drop(wire);
    }
    assert_eq!(reading.counter("repeats"), 3);
}

#[tokio::test]
async fn a_run_begins_where_the_last_one_has_ended() {
    let host = Host::start().await;
    let mut options = read_before(url(&host), 3, 3);
    let far = u64::try_from(i64::MAX / 2).unwrap();
    options.resume.as_mut().unwrap().position = far;
    let mut reading = Reading::start(&spec(&host), &options);
    let mut wire = host.accept().await;
    assert_eq!(wire.cursor(), Some(3));
    wire.send(frame(4)).await;
    let item = reading.item().await;
    assert_eq!(item.position, far + 1, "positions grow, whatever the clock says");
}

#[tokio::test]
async fn a_sequence_number_out_of_order_ends_the_connection() {
    let host = Host::start().await;
    let mut reading = Reading::start(&spec(&host), &options());
    for (numbers, cursor) in [([5, 6, 6], None), ([7, 8, 7], Some(6))] {
        let mut wire = host.accept().await;
        assert_eq!(wire.cursor(), cursor);
        for number in numbers {
            wire.send(frame(number)).await;
        }
        wire.closed().await;
        reading.expect_post(numbers[0]).await;
        reading.expect_post(numbers[1]).await;
    }
    let mut wire = host.accept().await;
    wire.send(frame(9)).await;
    reading.expect_post(9).await;
    assert_eq!(reading.counter("order_errors"), 2);
    // One that was left out and comes late is one that would not come again.
    for number in [11, 10] {
        wire.send(frame(number)).await;
        reading.expect_post(number).await;
    }
    wire.closed().await;
    assert_eq!(host.accept().await.cursor(), Some(11));
}

/// Numbers that begin anew, and cursors of the future, are for people to decide about.
#[tokio::test]
async fn a_cursor_is_never_reset() {
    let host = Host::start().await;
    let mut reading = Reading::start(&spec(&host), &read_before(url(&host), 100, 100));
    let mut wire = host.accept().await;
    wire.send(frame(5)).await;
    wire.closed().await;
    let problem = reading.broken().await;
    assert!(problem.starts_with("it begins at event 5, before the cursor 100"), "{problem}");
    let mut wire = host.accept().await;
    assert_eq!(wire.cursor(), Some(100));
    wire.send(notice("error", "error", "FutureCursor")).await;
    wire.closed().await;
    let is_future = |connection: &wingbeat_source::Connection| {
        format!("{connection:?}").contains("the host says FutureCursor")
    };
    reading.connection.wait_for(is_future).await.unwrap();
    let mut wire = host.accept().await;
    assert_eq!(wire.cursor(), Some(100));
    wire.send(frame(101)).await;
    reading.expect_post(101).await;
}

/// Invariant 6: what can't be understood ends the connection, but not for ever.
#[tokio::test]
async fn i6_a_frame_that_is_none_is_dead_when_it_comes_again() {
    let host = Host::start().await;
    let mut reading = Reading::start(&spec(&host), &options());
    let mut wire = host.accept().await;
    wire.send(frame(1)).await;
    wire.send(Message::binary(&b"junk"[..])).await;
    wire.closed().await;
    let mut wire = host.accept().await;
    assert_eq!(wire.cursor(), Some(1));
    wire.send(Message::binary(&b"junk"[..])).await;
    wire.send(frame(3)).await;
    reading.expect_post(1).await;
    let item = reading.item().await;
    let (kind, message) = dead_kind(&item);
    assert_eq!(kind, "bad_frame");
    assert!(message.starts_with(&format!("{} behind event 1: header: ", url(&host))), "{message}");
    let Content::Dead { original, .. } = &item.content else { panic!() };
    assert_eq!(&original[..], b"junk");
    reading.expect_post(3).await;
    assert_eq!(reading.counter("bad_messages"), 2);
    // Junk that is another one each time does not loop for ever either.
    for round in 0..3 {
        wire.send(Message::binary(vec![b'x', round])).await;
        if round < 2 {
            wire.closed().await;
            wire = host.accept().await;
        }
    }
    assert_eq!(dead_kind(&reading.item().await).0, "bad_frame");
    wire.send(frame(4)).await;
    reading.expect_post(4).await;
}

#[tokio::test]
async fn a_frame_that_would_not_come_again_is_dead_at_once() {
    let host = Host::start().await;
    let mut reading = Reading::start(&spec(&host), &options());
    let mut wire = host.accept().await;
    wire.send(Message::text("junk")).await;
    wire.closed().await;
    assert_eq!(dead_kind(&reading.item().await).0, "bad_frame");
    let mut wire = host.accept().await;
    wire.send(frame(1)).await;
    reading.expect_post(1).await;
}

/// Invariant 5, and I15 of the replaced services.
#[tokio::test]
async fn i5_what_the_host_no_longer_has_is_a_gap() {
    let host = Host::start().await;
    let mut reading = Reading::start(&spec(&host), &read_before(url(&host), 3, 3));
    let mut wire = host.accept().await;
    wire.send(notice("#info", "name", "OutdatedCursor")).await;
    wire.send(frame(5)).await;
    let gap = reading.expect_gap().await;
    let expected = serde_json::json!({
        "kind": "gap", "host": url(&host), "reason": "outdated_cursor",
        "from_cursor": 3, "to_cursor": 5, "from_time": time_of(3), "to_time": time_of(5),
    });
    assert_eq!(gap, expected);
    reading.expect_post(5).await;
    wire.close().await;
    // A relay says nothing, but time tells.
    let mut wire = host.accept().await;
    wire.send(frame_at(6, &time_of(5 + 61))).await;
    assert_eq!(reading.expect_gap().await["from_cursor"], 5);
    reading.expect_post(6).await;
    wire.close().await;
    let mut wire = host.accept().await;
    wire.send(frame_at(1006, &time_of(66 + 59))).await;
    reading.expect_post(1006).await;
    assert_eq!(reading.counter("gaps"), 2, "numbers may be left out");
    wire.close().await;
    let mut wire = host.accept().await;
    wire.send(frame_at(2007, &time_of(66 + 60))).await;
    assert_eq!(reading.expect_gap().await["from_cursor"], 1006, "but not so many");
}

/// Invariant 4, and I1 of the replaced services: a full queue slows its writer.
#[tokio::test]
async fn i4_a_host_is_slowed_down_and_nothing_is_dropped() {
    const FRAMES: u64 = 60;
    let host = Host::start().await;
    let mut source = open(&SourceSpec::parse(&spec(&host)).unwrap(), &options()).unwrap();
    let long = |seq: u64| {
        let record = record(&"x".repeat(900_000));
        let path = format!("app.bsky.feed.post/r{seq}");
        let ops = vec![op("create", &path, Some(&record))];
        commit_at(i64::try_from(seq).unwrap(), &time_of(seq), ops, &[&record])
    };
    let sending = tokio::spawn(async move {
        let mut wire = host.accept().await;
        for seq in 1..=FRAMES {
            wire.send(Message::binary(long(seq))).await;
        }
        wire
    });
    let begin = source.next(1).await.unwrap().unwrap();
    assert_eq!((begin.len(), source.places()[0].cursor), (0, 0), "it says where it begins");
    let first = source.next(1).await.unwrap().unwrap();
    assert_eq!(first.len(), 1);
    tokio::time::timeout(Duration::from_millis(300), async {
        while !sending.is_finished() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect_err("54 MB were taken in, though nobody asked for them");
    let mut count = 1;
    while count < FRAMES {
        count += source.next(3).await.unwrap().unwrap().len() as u64;
    }
    assert_eq!(source.places()[0].cursor, FRAMES);
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_connection() {
    let host = Host::start().await;
    let mut reading = Reading::start(&spec(&host), &options());
    let mut wire = host.accept().await;
    // Whether all of it is taken before the connection ends does not matter.
    let too_long = Message::binary(vec![0; 6_000_000]);
    let _ = futures_util::SinkExt::send(&mut wire.stream, too_long).await;
    let problem = reading.broken().await;
    assert!(problem.to_lowercase().contains("too long"), "{problem}");
    host.accept().await;
}

#[tokio::test]
async fn commits_are_checked_as_far_as_is_asked_for() {
    let host = Host::start().await;
    let key = SigningKey::from_seed_bytes(Curve::Secp256k1, &[7; 32]).unwrap();
    let did = Did::parse("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
    let mut repository = RepositoryWriter::new(&did, key);
    let (post, like) = (record("post 1"), record("like"));
    let writes = [
        Write { path: "app.bsky.feed.post/a", record: Some(&post) },
        Write { path: "app.bsky.feed.like/b", record: Some(&like) },
    ];
    let rev = Tid::from_text(b"3mbd3542k222o").unwrap();
    let commit = repository.commit(rev, &writes).unwrap();
    let sound = commit.frame(2, &time_of(1)).unwrap();
    // A bit of the like, which nobody reads, is another one.
    let mut damaged = commit.frame(1, &time_of(1)).unwrap();
    let at = damaged.windows(4).rposition(|bytes| bytes == b"like").unwrap();
    damaged[at] ^= 1;
    let checked = |verify| {
        let network = NetworkOptions { verify, timings: quick(), ..NetworkOptions::default() };
        OpenOptions { network, ..OpenOptions::default() }
    };
    let mut reading = Reading::start(&spec(&host), &checked(Verify::None));
    let mut wire = host.accept().await;
    wire.send(Message::binary(damaged.clone())).await;
    reading.expect_post(1).await;
    let mut reading = Reading::start(&spec(&host), &checked(Verify::Hashes));
    let mut wire = host.accept().await;
    wire.send(Message::binary(damaged)).await;
    assert_eq!(dead_kind(&reading.item().await).0, "bad_frame");
    let mut wire = host.accept().await;
    wire.send(Message::binary(sound)).await;
    reading.expect_post(1).await;

    let problem = |spec: &str, verify| {
        open(&SourceSpec::parse(spec).unwrap(), &checked(verify)).err().unwrap().to_string()
    };
    for verify in [Verify::Hashes, Verify::Full] {
        assert!(problem("jetstream", verify).contains("Jetstream sends no proofs"));
        // Of several hosts, those are taken that can be verified.
        assert!(problem("auto:v2=wss://a", verify).contains("Jetstream sends no proofs"));
        for auto in ["auto", "auto:v2=wss://a,relay=wss://b"] {
            open(&SourceSpec::parse(auto).unwrap(), &checked(verify)).unwrap();
        }
    }
}

#[tokio::test]
async fn only_the_accounts_that_are_asked_for_come() {
    let host = Host::start().await;
    let mut options = options();
    options.network.dids = vec!["did:plc:aaaaaaaaaaaaaaaaaaaaaaaa".to_owned()];
    let mut reading = Reading::start(&spec(&host), &options);
    let mut wire = host.accept().await;
    wire.send(frame(1)).await;
    let did = options.network.dids[0].as_str();
    let account = |seq| {
        let payload = Value::Map(vec![
            ("seq", Value::Integer(seq)),
            ("did", Value::Text(did)),
            ("time", Value::Text("2026-07-04T14:38:09Z")),
        ]);
        Message::binary(cbor_frame::encode("#identity", &payload).unwrap())
    };
    wire.send(account(2)).await;
    let item = reading.item().await;
    let Content::Event(event) = &item.content else { panic!("{item:?}") };
    assert_eq!((event.kind, reading.counter("unwanted")), ("identity", 1));
    options.network.dids = vec!["someone".to_owned()];
    assert!(open(&SourceSpec::parse("relay").unwrap(), &options).is_err());
}

fn with_timings(timings: Timings) -> OpenOptions {
    let network = NetworkOptions { timings, ..NetworkOptions::default() };
    OpenOptions { network, ..OpenOptions::default() }
}

#[tokio::test]
async fn a_busy_host_that_falls_silent_is_given_up() {
    let host = Host::start().await;
    let silence_min = Duration::from_millis(100);
    let mut reading =
        Reading::start(&spec(&host), &with_timings(Timings { silence_min, ..quick() }));
    let mut wire = host.accept().await;
    for seq in 1..=40 {
        let at = TIME_US + seq * 1_000;
        let time = wingbeat_record::Time::from_micros(i64::try_from(at).unwrap()).to_string();
        wire.send(frame_at(seq, &time)).await;
    }
    for seq in 1..=40 {
        reading.expect_post(seq).await;
    }
    let pings = wire.closed().await;
    assert_eq!(pings, 1, "it was asked first");
    assert!(reading.broken().await.starts_with("it was silent for 0.1 s"));
    assert_eq!(host.accept().await.cursor(), Some(40));
}

#[tokio::test]
async fn a_quiet_host_is_only_asked_and_a_dead_one_given_up() {
    use futures_util::StreamExt as _;
    let host = Host::start().await;
    let timings = Timings { ping_after: Duration::from_millis(5), ..quick() };
    let mut reading = Reading::start(&spec(&host), &with_timings(timings));
    let mut wire = host.accept().await;
    for _ in 0..3 {
        // Reading answers them.
        assert!(wire.stream.next().await.unwrap().unwrap().is_ping());
    }
    wire.send(frame(1)).await;
    reading.expect_post(1).await;

    let timings = Timings { pong_max: Duration::from_millis(5), ..timings };
    let mut reading = Reading::start(&spec(&host), &with_timings(timings));
    let _deaf = host.accept().await;
    assert_eq!(reading.broken().await, "it does not answer a ping any more");
    host.accept().await;
}

#[tokio::test]
async fn a_host_that_does_not_speak_tls_is_no_host() {
    let host = Host::start().await;
    let spec = spec(&host).replace("ws://", "wss://");
    let mut reading = Reading::start(&spec, &options());
    for _ in 0..2 {
        // The client's first word has no end that HTTP would have.
        let hello = tokio::time::timeout(Duration::from_millis(100), host.answer(200, b""));
        hello.await.expect_err("that was HTTP");
    }
    let problem = reading.broken().await;
    assert!(!problem.is_empty(), "{problem}");
}

#[tokio::test]
async fn what_goes_away_is_said_goodbye_to() {
    let host = Host::start().await;
    let mut reading = Reading::start(&spec(&host), &options());
    let mut wire = host.accept().await;
    wire.send(frame(1)).await;
    reading.expect_post(1).await;
    drop(reading);
    let mut last = None;
    while let Some(Ok(message)) = futures_util::StreamExt::next(&mut wire.stream).await {
        last = Some(message);
    }
    assert!(matches!(last, Some(Message::Close(_))), "{last:?}");
}

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// With a goodbye.
    Close,
    /// Without one.
    Drop,
    /// With a message that is none.
    Junk,
    /// With the last event once more.
    Repeat,
    /// With the error that slow readers get.
    TooSlow,
}

/// The post with this number comes next, or after junk that came twice behind the same event.
async fn expect_post_behind_junk(reading: &mut Reading, number: u64) {
    let mut item = reading.item().await;
    while matches!(item.content, Content::Dead { .. }) {
        assert_eq!(dead_kind(&item).0, "bad_frame");
        item = reading.item().await;
    }
    let Content::Post(post) = &item.content else { panic!("{item:?}") };
    assert_eq!(json(&post.payload)["text"], format!("post {number}"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// However connections end, and whether a host begins behind the cursor or at it: every event
    /// comes once, and in order.
    #[test]
    fn every_event_comes_once_and_in_order(
        connections in prop::collection::vec((0..4_u64, any::<bool>(), prop::sample::select(vec![
            End::Close, End::Drop, End::Junk, End::Repeat, End::TooSlow,
        ])), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let host = Host::start().await;
            // With a cursor from the beginning: without one, what is junk would not come again.
            let mut reading = Reading::start(&spec(&host), &read_before(url(&host), 1, 1));
            let mut last = 1;
            for (count, is_inclusive, end) in connections {
                let mut wire = host.accept().await;
                assert_eq!(wire.cursor(), Some(last));
                if is_inclusive {
                    wire.send(frame(last)).await;
                }
                for _ in 0..count {
                    last += 1;
                    wire.send(frame(last)).await;
                }
                let has_events = count > 0;
                for number in last + 1 - count..=last {
                    expect_post_behind_junk(&mut reading, number).await;
                }
                match end {
                    End::Close => wire.close().await,
                    End::Drop => drop(wire),
                    End::Junk => {
                        // Each time another one.
                        wire.send(Message::binary(last.to_be_bytes().to_vec())).await;
                    }
                    End::Repeat if has_events => wire.send(frame(last)).await,
                    End::Repeat | End::TooSlow => {
                        wire.send(notice("error", "error", "ConsumerTooSlow")).await;
                    }
                }
            }
            let mut wire = host.accept().await;
            wire.send(frame(last + 1)).await;
            expect_post_behind_junk(&mut reading, last + 1).await;
        });
    }
}
