use std::{fs, io::Write as _};

use serde_json::{Value, json};
use wingbeat_network::{BadCursors, Network, Options};

use super::{Client, V1, V2, first, get, prepared, truth};

/// The truth in the order of Jetstream: one line for each operation.
async fn truth_in_order(network: &Network) -> Vec<Value> {
    let truth = truth(network).await;
    (0..truth.len() as u64).flat_map(|n| truth[&n].clone()).collect()
}

fn assert_is_true(told: &Value, really: &Value) {
    assert_eq!(told["rev"], really["rev"]);
    assert_eq!(told["operation"], really["action"]);
    let path =
        format!("{}/{}", told["collection"].as_str().unwrap(), told["rkey"].as_str().unwrap());
    assert_eq!(path, really["path"]);
    assert_eq!(told.get("cid").unwrap_or(&Value::Null), &really["cid"]);
    assert_eq!(told.get("record").is_some(), really["action"] != "delete");
    if really["text"].is_string() {
        assert_eq!(told["record"]["text"], really["text"]);
    }
}

#[tokio::test]
async fn v1_tells_the_truth_without_syncs() {
    let mut options = prepared(800);
    options.mix.syncs = 0.05;
    options.mix.batches = 0.1;
    let network = Network::start(options).await.unwrap();
    let mut client = Client::open(&network, &format!("{V1}?cursor=0")).await;
    let told = client.json(400).await;
    let really = truth_in_order(&network).await;
    let told_by_v1 = really.iter().filter(|event| event["kind"] != "sync");
    let mut last_time = 0;
    for (told, really) in told.iter().zip(told_by_v1) {
        assert_eq!((&told["did"], &told["kind"]), (&really["did"], &really["kind"]));
        let time = told["time_us"].as_u64().unwrap();
        assert!(time > last_time && time >= really["time_us"].as_u64().unwrap());
        last_time = time;
        match told["kind"].as_str().unwrap() {
            "commit" => assert_is_true(&told["commit"], really),
            "identity" => assert_eq!(told["identity"]["handle"], really["detail"]),
            _ => assert_eq!(told["account"]["active"], json!(really["detail"] == "active")),
        }
    }
    // By time and by number, a cursor comes back to the same place.
    for cursor in [&told[100]["time_us"], &told[100]["cursor"]] {
        let path = format!("{V1}?cursor={cursor}");
        assert_eq!(Client::open(&network, &path).await.json(50).await, told[100..150]);
    }
    network.stop().await;
}

#[tokio::test]
async fn v2_tells_the_truth() {
    let mut options = prepared(800);
    options.mix.syncs = 0.05;
    options.mix.batches = 0.1;
    let network = Network::start(options).await.unwrap();
    let mut client = Client::open(&network, &format!("{V2}?cursor=0")).await;
    let told = client.json(400).await;
    let really = truth_in_order(&network).await;
    for (told, really) in told.iter().zip(&really) {
        let (payload, kind) = (&told["payload"], really["kind"].as_str().unwrap());
        assert_eq!(told["$type"], "message");
        let full_kind = format!("network.bsky.jetstream.subscribeEvents#{kind}");
        assert_eq!((&payload["$type"], &payload["did"]), (&json!(full_kind), &really["did"]));
        match kind {
            "commit" => assert_is_true(payload, really),
            "sync" => assert_eq!(payload["sync"]["rev"], really["rev"]),
            "identity" => assert_eq!(payload["identity"]["handle"], really["detail"]),
            _ => assert_eq!(payload["account"]["active"], json!(really["detail"] == "active")),
        }
    }
    let seq = told[100]["payload"]["seq"].as_u64().unwrap();
    let mut again = Client::open(&network, &format!("{V2}?cursor={seq}")).await;
    assert_eq!(again.json(50).await, told[100..150]);
    // Whoever talks is shown out.
    again.say("{}").await;
    again.drain().await;
    network.stop().await;
}

#[tokio::test]
async fn v2_says_what_it_does_about_cursors_that_it_does_not_have() {
    let options = Options { window: 20, ..prepared(200) };
    let network = Network::start(options).await.unwrap();
    let all = Client::open(&network, &format!("{V2}?cursor=0")).await.json(200).await;
    let seq = all[0]["payload"]["seq"].as_u64().unwrap();
    let (status, body) = Client::refused(&network, &format!("{V2}?cursor={seq}")).await;
    assert_eq!((status, &body["error"]), (400, &json!("CursorTooOld")));
    let start = Options::default().start_micros;
    let by_time = Client::open(&network, &format!("{V2}?cursor={start}")).await.json(2).await;
    assert_eq!(by_time[0]["payload"]["name"], "OutdatedCursor");
    assert!(by_time[1]["payload"]["seq"].as_u64().unwrap() > seq);
    network.stop().await;

    let silent = BadCursors::Clamped;
    let options = Options { window: 20, bad_cursors: silent, ..prepared(200) };
    let network = Network::start(options).await.unwrap();
    first(&network, V2, 200).await;
    let clamped = Client::open(&network, &format!("{V2}?cursor={seq}")).await.json(1).await;
    assert!(clamped[0]["payload"]["seq"].as_u64().unwrap() > seq);
    network.stop().await;
}

#[tokio::test]
async fn filters_let_pass_what_was_asked_for() {
    let mut options = prepared(1_000);
    options.mix.identities = 0.1;
    let network = Network::start(options).await.unwrap();
    first(&network, V2, 1_000).await;
    let open = async |path: &str| Client::open(&network, &format!("{path}&cursor=0")).await;

    let posts = open(&format!("{V2}?kinds=commit&collections=app.bsky.feed.post")).await;
    for event in { posts }.json(40).await {
        assert_eq!(event["payload"]["collection"], "app.bsky.feed.post");
    }
    let graph = open(&format!("{V1}?wantedCollections=app.bsky.graph.*")).await;
    let mut kinds = std::collections::BTreeSet::new();
    for event in { graph }.json(60).await {
        let collection = event["commit"]["collection"].as_str();
        assert!(collection.is_none_or(|name| name.starts_with("app.bsky.graph.")), "{event}");
        kinds.insert(event["kind"].as_str().unwrap().to_owned());
    }
    assert!(kinds.contains("identity"), "v1 always tells it");

    // v1 may wait for a greeting, and can change its mind.
    let mut quiet = open(&format!("{V1}?requireHello=true")).await;
    quiet
        .say(r#"{"type":"options_update","payload":{"wantedCollections":["app.bsky.feed.like"]}}"#)
        .await;
    for event in quiet.json(40).await {
        let collection = &event["commit"]["collection"];
        assert!(collection.is_null() || collection == "app.bsky.feed.like");
    }
    network.stop().await;
}

#[tokio::test]
async fn compressed_streams_unpack_to_the_plain_ones() {
    let network = Network::start(prepared(150)).await.unwrap();
    let plain = first(&network, V2, 150).await;
    let (status, dictionary) =
        get(&network, "/xrpc/network.bsky.jetstream.getZstdDictionary").await;
    assert_eq!(status, 200);
    let id = u32::from_le_bytes(dictionary[4..8].try_into().unwrap());
    let unpack = |message: Vec<u8>, dictionary: &[u8]| {
        let mut unpacker = zstd::bulk::Decompressor::with_dictionary(dictionary).unwrap();
        unpacker.decompress(&message, 1 << 20).unwrap()
    };
    let packed = first(&network, &format!("{V2}?zstdDictionary={id}"), 150).await;
    let packed_bytes: usize = packed.iter().map(Vec::len).sum();
    let plain_bytes: usize = plain.iter().map(Vec::len).sum();
    assert!(packed_bytes * 3 < plain_bytes * 2, "{packed_bytes} of {plain_bytes}");
    let unpacked: Vec<_> = packed.into_iter().map(|it| unpack(it, &dictionary)).collect();
    assert_eq!(unpacked, plain);
    network.stop().await;

    // v1 has a dictionary that its clients know; here it is that one.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&dictionary).unwrap();
    let v1_dictionary = Some(file.path().to_owned());
    let network = Network::start(Options { v1_dictionary, ..prepared(50) }).await.unwrap();
    let packed = first(&network, &format!("{V1}?compress=true"), 50).await;
    let unpacked: Vec<_> = packed.into_iter().map(|it| unpack(it, &dictionary)).collect();
    assert_eq!(unpacked, first(&network, V1, 50).await);
    network.stop().await;

    fs::write(file.path(), "no dictionary").unwrap();
    let v1_dictionary = Some(file.path().to_owned());
    let refused = Network::start(Options { v1_dictionary, ..prepared(50) }).await;
    assert!(refused.unwrap_err().to_string().contains("no zstd dictionary"));
}
