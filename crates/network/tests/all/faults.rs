use serde_json::{Value, json};
use wingbeat_atproto::{FRAME_BYTES_MAX, Frame};
use wingbeat_network::{DoneFault, Fault, Network, Options, PlannedFault};

use super::{Client, RELAY, V2, first, get, lines, post, prepared};

/// The frames of a stream without faults.
async fn sound_frames() -> Vec<Vec<u8>> {
    let network = Network::start(prepared(40)).await.unwrap();
    let frames = first(&network, RELAY, 40).await;
    network.stop().await;
    frames
}

async fn start_with(fault: Fault, at: u64) -> Network {
    let plan = vec![PlannedFault { fault, at, every: None }];
    Network::start(Options { plan, ..prepared(40) }).await.unwrap()
}

/// What a consumer gets where a fault is planned at event 10.
async fn frames_with(fault: Fault, count: usize) -> Vec<Vec<u8>> {
    let network = start_with(fault, 10).await;
    let frames = first(&network, RELAY, count).await;
    let done: Vec<(Fault, u64)> =
        network.faults_done().iter().map(|done| (done.fault, done.n)).collect();
    assert_eq!(done, [(fault, 10)]);
    // It happens once.
    assert_eq!(first(&network, RELAY, 40).await, sound_frames().await);
    network.stop().await;
    frames
}

#[tokio::test]
async fn events_come_twice_or_not_at_all() {
    let sound = sound_frames().await;
    let twice = frames_with(Fault::Duplicate, 41).await;
    assert_eq!(twice[..11], sound[..11]);
    assert_eq!(twice[11..], sound[10..]);
    let skipped = frames_with(Fault::Skip, 39).await;
    assert_eq!([&skipped[..10], &skipped[10..]], [&sound[..10], &sound[11..]]);
}

#[tokio::test]
async fn frames_are_damaged_in_the_way_that_was_asked_for() {
    let sound = sound_frames().await;
    let flipped = frames_with(Fault::BitFlip, 40).await;
    let differences = flipped.iter().flatten().zip(sound.iter().flatten());
    let bits: u32 = differences.map(|(one, two)| (one ^ two).count_ones()).sum();
    assert_eq!(bits, 1);
    assert_ne!(flipped[10], sound[10]);

    let oversize = frames_with(Fault::Oversize, 41).await;
    assert!(oversize[10].len() > FRAME_BYTES_MAX);
    assert_eq!([&oversize[..10], &oversize[11..]], [&sound[..10], &sound[10..]]);

    let framing = frames_with(Fault::InvalidFraming, 41).await;
    assert!(Frame::decode(&framing[10]).is_err());
    assert_eq!([&framing[..10], &framing[11..]], [&sound[..10], &sound[10..]]);
}

#[tokio::test]
async fn streams_end_with_an_error_or_without_a_word() {
    let sound = sound_frames().await;
    for (fault, name) in [
        (Fault::Disconnect, None),
        (Fault::FutureCursor, Some("FutureCursor")),
        (Fault::ConsumerTooSlow, Some("ConsumerTooSlow")),
    ] {
        let network = start_with(fault, 10).await;
        let path = format!("{RELAY}?cursor=0");
        let mut frames = Client::open(&network, &path).await.drain().await;
        if let Some(name) = name {
            let last = frames.pop().unwrap();
            let Frame::Error(error) = Frame::decode(&last).unwrap() else { panic!("{fault}") };
            assert_eq!(error.error, name);
        }
        assert_eq!(frames, sound[..10], "{fault}");
        // Whoever comes back gets past it.
        assert_eq!(first(&network, RELAY, 40).await, sound);
        network.stop().await;
    }
}

#[tokio::test]
async fn a_disconnect_every_so_many_events_lets_a_consumer_through_that_comes_back() {
    let plan = vec![PlannedFault { fault: Fault::Disconnect, at: 5, every: Some(10) }];
    let network = Network::start(Options { plan, ..prepared(40) }).await.unwrap();
    let mut lengths = Vec::new();
    for _ in 0..4 {
        let path = format!("{RELAY}?cursor=0");
        lengths.push(Client::open(&network, &path).await.drain().await.len());
    }
    assert_eq!(lengths, [5, 15, 25, 35]);
    assert_eq!(first(&network, RELAY, 40).await, sound_frames().await);
    network.stop().await;
}

#[tokio::test]
async fn connections_are_refused_or_stay_silent() {
    let network = start_with(Fault::Refuse, 0).await;
    assert_eq!(Client::refused(&network, RELAY).await.0, 503);
    first(&network, RELAY, 1).await;
    network.stop().await;

    // Silent ones stay open until the network stops: nothing comes but the end.
    for (fault, at, before) in [(Fault::Mute, 0, 0), (Fault::Silence, 10, 10)] {
        let network = start_with(fault, at).await;
        let mut silent = Client::open(&network, &format!("{RELAY}?cursor=0")).await;
        silent.take(before).await;
        // Others are not silent, and what they get is sent after the silence began.
        assert_eq!(first(&network, RELAY, 40).await.len(), 40);
        assert_eq!(network.faults_done().len(), 1, "{fault}");
        network.stop().await;
        assert!(silent.drain().await.is_empty(), "{fault}");
    }
}

#[tokio::test]
async fn the_last_event_of_a_replay_comes_behind_the_first_live_one() {
    let network = Network::start(Options { rate: 500.0, ..Options::default() }).await.unwrap();
    let mut watcher = Client::open(&network, &format!("{RELAY}?cursor=0")).await;
    watcher.take(20).await;
    assert_eq!(post(&network, "/simulate/reorder").await, 202);
    let mut client = Client::open(&network, &format!("{RELAY}?cursor=0")).await;
    let mut seqs = Vec::new();
    let (early, turned) = loop {
        let frame = client.next().await.unwrap();
        seqs.push(seq(&frame));
        if let [.., before, now] = seqs[..]
            && now < before
        {
            break (before, now);
        }
    };
    let done = network.faults_done();
    assert_eq!((done[0].fault, done[0].seq), (Fault::Reorder, Some(turned)));
    // Between them stand only events of the account whose event was held back.
    for late in (turned + 1..early).chain([early + 1]) {
        assert_eq!(seq(&client.next().await.unwrap()), late);
    }
    network.stop().await;
}

#[tokio::test]
async fn events_of_one_account_stay_in_order() {
    let options = Options { rate: 500.0, accounts: 1, ..Options::default() };
    let network = Network::start(options).await.unwrap();
    let mut watcher = Client::open(&network, &format!("{RELAY}?cursor=0")).await;
    watcher.take(20).await;
    assert_eq!(post(&network, "/simulate/reorder").await, 202);
    let mut client = Client::open(&network, &format!("{RELAY}?cursor=0")).await;
    let seqs: Vec<u64> = client.take(200).await.iter().map(|frame| seq(frame)).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
    assert_eq!(network.faults_done()[0].fault, Fault::Reorder);
    network.stop().await;
}

fn seq(frame: &[u8]) -> u64 {
    match Frame::decode(frame).unwrap() {
        Frame::Commit(commit) => commit.seq,
        Frame::Sync(sync) => sync.seq,
        Frame::Identity(identity) => identity.seq,
        Frame::Account(account) => account.seq,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_small_frame_unpacks_to_a_large_one() {
    let network = start_with(Fault::ZipBomb, 10).await;
    let path = "/xrpc/network.bsky.jetstream.getZstdDictionary";
    let (_, dictionary) = get(&network, path).await;
    let id = u32::from_le_bytes(dictionary[4..8].try_into().unwrap());
    // It waits for a compressed stream.
    first(&network, V2, 30).await;
    let packed = first(&network, &format!("{V2}?zstdDictionary={id}"), 30).await;
    let bomb = packed.iter().max_by_key(|message| message.len()).unwrap();
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let mut unpacker = zstd::bulk::Decompressor::with_dictionary(&dictionary).unwrap();
    let refused = packed.iter().filter(|it| unpacker.decompress(it, 5_000_000).is_err());
    assert_eq!(refused.count(), 1);
    network.stop().await;
}

#[tokio::test]
async fn faults_at_run_time_are_done_and_listed() {
    let network = Network::start(Options { rate: 500.0, ..Options::default() }).await.unwrap();
    assert_eq!(post(&network, "/simulate/bad-signature?count=2").await, 202);
    let mut client = Client::open(&network, &format!("{V2}?cursor=0")).await;
    client.take(5).await;
    assert_eq!(post(&network, "/simulate/disconnect").await, 202);
    client.drain().await;
    let done = lines(&network, "/simulate/faults").await;
    let names: Vec<&Value> = done.iter().map(|done| &done["fault"]).collect();
    assert_eq!(names, ["bad-signature", "bad-signature", "disconnect"]);
    assert_eq!(done[2]["protocol"], "jetstream-v2");
    assert_eq!(done[2]["host"], json!(0));
    let listed: Vec<DoneFault> = network.faults_done();
    assert_eq!(listed.len(), 3);
    let events = lines(&network, "/simulate/events").await;
    let flawed = events.iter().filter(|event| event["fault"] == "bad-signature");
    let mut flawed: Vec<u64> = flawed.map(|event| event["n"].as_u64().unwrap()).collect();
    flawed.dedup();
    assert_eq!(flawed, [listed[0].n, listed[1].n]);
    network.stop().await;
}
