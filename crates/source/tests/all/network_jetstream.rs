//! Jetstream, both versions, over real sockets: the same items as from a relay.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use tokio_tungstenite::tungstenite::Message;
use wingbeat_source::{Content, Item, OpenOptions};

use crate::{
    common::{json, open_file, read_all, shared_file},
    frames::{DID, dead_kind},
    network_host::{Host, Reading, STEP_US, TIME_US, options, read_before, text, time_of, v1, v2},
};

/// The longest message, and a little more.
const TOO_LONG: usize = 6_000_000;

fn v1_url(host: &Host) -> String {
    format!("{}/subscribe", host.address())
}

fn v2_url(host: &Host) -> String {
    format!("{}/xrpc/network.bsky.jetstream.subscribeEvents", host.address())
}

/// What an item says, by its id, without what each host says in its own way: its number and its
/// time for a commit.
fn by_id(items: &[Item]) -> BTreeMap<String, Json> {
    let told = items.iter().map(|item| match &item.content {
        Content::Post(post) => (post.id.to_string(), json(&post.payload)),
        Content::Event(event) => {
            let mut payload = json(&event.payload);
            if !payload["uri"].is_null() {
                let fields = payload.as_object_mut().unwrap();
                fields.remove("seq");
                assert!(fields.remove("time").unwrap().as_str().unwrap().ends_with('Z'));
            }
            (event.id.to_string(), payload)
        }
        other => panic!("{other:?}"),
    });
    told.collect()
}

/// The recording as the relay sent it and as Jetstream sent it: the same posts, events and ids.
#[tokio::test]
async fn the_recording_is_the_same_from_relay_and_jetstream() {
    let corpus = "fixtures/jetstream-corpus";
    let (Some(frames), Some(lines)) = (
        shared_file(&format!("{corpus}/frames.bin.zst")),
        shared_file(&format!("{corpus}/expected_v1.jsonl")),
    ) else {
        return;
    };
    let (expected, _) = read_all(open_file("frames", &frames, None).as_mut()).await;
    let lines = std::fs::read_to_string(lines).unwrap();

    let host = Host::start().await;
    let mut reading = Reading::start(&format!("jetstream1:{}", host.address()), &options());
    let mut wire = host.accept().await;
    for line in lines.lines() {
        wire.send(Message::text(line)).await;
    }
    let mut items = Vec::new();
    while items.len() < expected.len() {
        items.push(reading.item().await);
    }
    assert_eq!(by_id(&items), by_id(&expected));
    for line in ["{\"did\":\"x\",\"time_us\":1783175889000000,\"kind\":\"later\"}"] {
        wire.send(Message::text(line)).await;
    }
    assert!(matches!(reading.item().await.content, Content::Filtered(_)));
    assert_eq!(reading.counter("ops_skipped"), 132);

    let host = Host::start().await;
    let mut reading = Reading::start(&format!("jetstream:{}", host.address()), &options());
    let mut wire = host.accept_v2().await;
    for (index, line) in lines.lines().enumerate() {
        wire.send(text(&as_v2(&json(line.as_bytes()), index as u64 + 1))).await;
    }
    let mut items = Vec::new();
    while items.len() < expected.len() {
        items.push(reading.item().await);
    }
    assert_eq!(by_id(&items), by_id(&expected));
}

/// An event of version 1 in the envelope of version 2.
fn as_v2(event: &Json, seq: u64) -> Json {
    let kind = event["kind"].as_str().unwrap();
    let mut payload = match kind {
        "commit" => event["commit"].clone(),
        kind => json!({kind: event[kind]}),
    };
    payload["$type"] = format!("#{kind}").into();
    payload["seq"] = seq.into();
    payload["did"] = event["did"].clone();
    payload["time"] = "2026-07-04T14:38:08.085434Z".into();
    json!({"$type": "message", "payload": payload})
}

#[tokio::test]
async fn v1_begins_some_seconds_earlier_and_nothing_comes_twice() {
    let host = Host::start().await;
    let mut reading = Reading::start(&format!("jetstream1:{}", host.address()), &options());
    let mut wire = host.accept().await;
    assert_eq!(wire.asked, "/subscribe?wantedCollections=app.bsky.feed.post");
    // Times don't come strictly in order.
    for number in [10, 12, 11] {
        wire.send(text(&v1(number))).await;
        reading.expect_post(number).await;
    }
    wire.close().await;
    let mut wire = host.accept().await;
    let time = |number: u64| TIME_US + number * STEP_US;
    assert_eq!(wire.cursor(), Some(time(12 - 5)));
    for number in [8, 10, 11, 12, 13] {
        wire.send(text(&v1(number))).await;
    }
    // The one with the number 8 was not there before. What was dead is not dead again.
    reading.expect_post(8).await;
    let (item, places) = reading.item_and_places().await;
    assert!(format!("{item:?}").contains("post 13"));
    assert_eq!((places[0].host.clone(), places[0].cursor), (v1_url(&host), time(13)));
    assert_eq!(reading.counter("repeats"), 3);
    assert_eq!(reading.counter("gaps"), 0);
}

#[tokio::test]
async fn labels_of_the_author_come_along() {
    let host = Host::start().await;
    let mut reading = Reading::start(&format!("jetstream1:{}", host.address()), &options());
    let mut wire = host.accept().await;
    let labels = |kind: &str| json!({"$type": kind, "values": [{"val": "porn"}]});
    for (number, kind) in [(1, "com.atproto.label.defs#selfLabels"), (2, "com.example#labels")] {
        let mut event = v1(number);
        event["commit"]["record"]["labels"] = labels(kind);
        wire.send(text(&event)).await;
    }
    let mut payload = async || {
        let item = reading.item().await;
        let Content::Post(post) = &item.content else { panic!("{item:?}") };
        json(&post.payload)
    };
    assert_eq!(payload().await["labels"], json!(["porn"]));
    assert_eq!(payload().await.get("labels"), None);
}

#[tokio::test]
async fn i5_v1_says_nothing_when_it_begins_later() {
    let host = Host::start().await;
    let spec = format!("jetstream1:{}", host.address());
    let cursor = TIME_US + 3 * STEP_US;
    let mut reading = Reading::start(&spec, &read_before(v1_url(&host), cursor, 3));
    let mut wire = host.accept().await;
    wire.send(text(&v1(200_000))).await;
    let gap = reading.expect_gap().await;
    assert_eq!((&gap["reason"], &gap["from_cursor"]), (&json!("clamped_cursor"), &json!(cursor)));
    let times = (&json!(time_of(3)), &json!(time_of(200_000)));
    assert_eq!((&gap["from_time"], &gap["to_time"]), times);
    reading.expect_post(200_000).await;
}

/// Invariant 6: one bad event costs itself alone.
#[tokio::test]
async fn i6_what_is_wrong_in_an_event_is_dead_and_the_next_one_comes() {
    let changed = |number: u64, path: &str, value: Json| {
        let mut event = v1(number);
        *event.pointer_mut(path).unwrap() = value;
        event
    };
    let mut without_cid = v1(2);
    without_cid["commit"].as_object_mut().unwrap().remove("cid");
    let long = "\u{1}".repeat(200_000);
    let cases = [
        (changed(1, "/commit/record/text", json!(7)), "bad_record"),
        (changed(1, "/commit/record/langs", json!(vec!["en"; 65])), "bad_record"),
        (changed(1, "/commit/record", json!([])), "bad_record"),
        (changed(1, "/commit/record/text", json!(long)), "too_large"),
        (changed(1, "/commit/rkey", json!("..")), "bad_event"),
        (changed(1, "/commit/rev", json!("yesterday")), "bad_event"),
        (changed(1, "/commit/operation", json!("rename")), "bad_event"),
        (changed(1, "/commit/cid", json!("bafy")), "bad_event"),
        (changed(1, "/did", json!("nobody")), "bad_event"),
        (changed(1, "/commit", json!(null)), "bad_event"),
        (without_cid, "bad_event"),
    ];
    let host = Host::start().await;
    let mut reading = Reading::start(&format!("jetstream1:{}", host.address()), &options());
    let mut wire = host.accept().await;
    for (event, kind) in &cases {
        wire.send(text(event)).await;
        let item = reading.item().await;
        assert_eq!(dead_kind(&item).0, *kind, "{:?}", dead_kind(&item));
        let Content::Dead { original, cut_from, .. } = &item.content else { panic!() };
        if cut_from.is_some() {
            assert_eq!(*kind, "too_large");
            continue;
        }
        let record = event["commit"]["record"].to_string();
        let expected = if *kind == "bad_event" { event.to_string() } else { record };
        assert_eq!(json(original), json(expected.as_bytes()));
    }
    let of_another = json!({
        "did": DID, "time_us": TIME_US, "kind": "account",
        "account": {"did": "did:plc:b", "seq": 1, "time": "x", "active": false},
    });
    wire.send(text(&of_another)).await;
    assert_eq!(dead_kind(&reading.item().await).0, "bad_event");
    wire.send(text(&v1(9))).await;
    reading.expect_post(9).await;
    assert_eq!(reading.counter("connections"), 1);
    // What is no JSON at all is another matter.
    wire.send(Message::text("{\"did\":")).await;
    wire.closed().await;
    let mut wire = host.accept().await;
    wire.send(Message::text("{\"did\":")).await;
    assert_eq!(dead_kind(&reading.item().await).0, "bad_frame");
}

#[tokio::test]
async fn v2_goes_on_at_its_sequence_number() {
    let host = Host::start().await;
    let spec = format!("jetstream:{}", host.address());
    let mut reading = Reading::start(&spec, &read_before(v2_url(&host), 7, 7));
    let mut wire = host.accept_v2().await;
    assert_eq!(wire.cursor(), Some(7));
    for seq in [7, 8, 12] {
        wire.send(text(&v2(seq))).await;
    }
    reading.expect_post(8).await;
    reading.expect_post(12).await;
    wire.send(text(&json!({"$type": "error", "error": "ConsumerTooSlow"}))).await;
    wire.closed().await;
    let mut wire = host.accept_v2().await;
    assert_eq!(wire.cursor(), Some(12));
    wire.send(text(&v2(12))).await;
    let sync = json!({
        "$type": "message",
        "payload": {
            "$type": "#sync", "seq": 13, "did": DID, "time": time_of(13),
            "sync": {
                "seq": 99, "did": DID, "time": "t", "rev": "3mptbypluud2a",
                "blocks": {"$bytes": "oA"},
            },
        },
    });
    wire.send(text(&sync)).await;
    let item = reading.item().await;
    let Content::Event(event) = &item.content else { panic!("{item:?}") };
    assert_eq!(event.kind, "sync");
    assert_eq!(event.id.as_str(), format!("{DID}:3mptbypluud2a:sync"));
}

/// Invariant 5: version 2 refuses a cursor that is too old; what it still has is read.
#[tokio::test]
async fn i5_v2_is_asked_by_time_when_the_number_is_too_old() {
    let host = Host::start().await;
    let spec = format!("jetstream:{}", host.address());
    let mut reading = Reading::start(&spec, &read_before(v2_url(&host), 7, 100));
    let refusal = br#"{"error":"CursorTooOld","message":"the floor is 500"}"#;
    host.answer(404, b"").await;
    assert!(host.answer(400, refusal).await.ends_with("cursor=7"));
    assert_eq!(reading.broken().await, "the host answers 400: CursorTooOld: the floor is 500");
    let mut wire = host.accept_v2().await;
    assert_eq!(wire.cursor(), Some(TIME_US + (100 - 30) * STEP_US));
    let payload = json!({"$type": "#info", "name": "OutdatedCursor", "message": "from 500"});
    wire.send(text(&json!({"$type": "message", "payload": payload}))).await;
    wire.send(text(&v2(500))).await;
    let gap = reading.expect_gap().await;
    assert_eq!((&gap["reason"], &gap["to_cursor"]), (&json!("outdated_cursor"), &json!(500)));
    reading.expect_post(500).await;
    wire.close().await;
    assert_eq!(host.accept_v2().await.cursor(), Some(500), "by its number again");
}

fn dictionary() -> Vec<u8> {
    let samples: Vec<_> = (1..2000).map(|seq| v2(seq).to_string()).collect();
    zstd::dict::from_samples(&samples, 16_384).unwrap()
}

#[tokio::test]
async fn v2_is_read_with_the_dictionary_that_it_hands_out() {
    let dictionary = dictionary();
    let id = u32::from_le_bytes(dictionary[4..8].try_into().unwrap());
    let host = Host::start().await;
    let mut reading = Reading::start(&format!("jetstream:{}", host.address()), &options());
    host.answer(200, &dictionary).await;
    let mut wire = host.accept().await;
    let expected = format!("?collections=app.bsky.feed.post&zstdDictionary={id}");
    assert!(wire.asked.ends_with(&expected), "{}", wire.asked);
    let mut compressor = zstd::bulk::Compressor::with_dictionary(3, &dictionary).unwrap();
    let mut packed = |bytes: &[u8]| Message::binary(compressor.compress(bytes).unwrap());
    wire.send(packed(v2(1).to_string().as_bytes())).await;
    reading.expect_post(1).await;
    // A bomb ends the connection; when it comes again, it is put away, packed as it is.
    let bomb = packed(&vec![b' '; TOO_LONG]);
    wire.send(bomb.clone()).await;
    wire.closed().await;
    host.answer(200, &dictionary).await;
    let mut wire = host.accept().await;
    wire.send(bomb.clone()).await;
    wire.send(packed(v2(2).to_string().as_bytes())).await;
    let item = reading.item().await;
    assert_eq!(dead_kind(&item).0, "bad_frame");
    let Content::Dead { original, .. } = &item.content else { panic!() };
    assert_eq!(*original, bomb.into_data());
    reading.expect_post(2).await;
    wire.close().await;
    // It was trained anew, and the one that was fetched is unknown already: then without one.
    host.answer(200, &dictionary).await;
    host.answer(400, br#"{"error":"UnknownZstdDictionary","message":"current: 5"}"#).await;
    let mut wire = host.accept().await;
    assert!(!wire.asked.contains("zstdDictionary"));
    wire.send(text(&v2(3))).await;
    reading.expect_post(3).await;
}

#[tokio::test]
async fn v1_is_read_with_the_dictionary_of_a_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("dictionary");
    let dictionary = dictionary();
    std::fs::write(&path, &dictionary).unwrap();
    let with = |path| {
        let mut options: OpenOptions = options();
        options.network.jetstream_v1_dictionary = Some(path);
        options
    };
    let host = Host::start().await;
    let spec = format!("jetstream1:{}", host.address());
    let mut reading = Reading::start(&spec, &with(path.clone()));
    let mut wire = host.accept().await;
    assert!(wire.asked.ends_with("&compress=true"), "{}", wire.asked);
    let mut compressor = zstd::bulk::Compressor::with_dictionary(3, &dictionary).unwrap();
    let event = v1(1).to_string();
    wire.send(Message::binary(compressor.compress(event.as_bytes()).unwrap())).await;
    reading.expect_post(1).await;
    std::fs::write(&path, "no dictionary").unwrap();
    for path in [path, folder.path().join("absent")] {
        let spec = wingbeat_source::SourceSpec::parse(&spec).unwrap();
        let error = wingbeat_source::open(&spec, &with(path)).err().unwrap().to_string();
        assert!(error.starts_with("can't read the dictionary "), "{error}");
    }
}
