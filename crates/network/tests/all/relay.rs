use std::collections::HashMap;

use serde_json::{Value, json};
use wingbeat_atproto::{
    Action, Did, DidDocument, Frame, POST_COLLECTION, Post, PublicKey, RepoState, VerifyError,
    repository::Repository, verify_commit, verify_sync,
};
use wingbeat_network::{Afterwards, BadCursors, Fault, Network, Options, PlannedFault, Prepared};

use super::{Client, RELAY, first, get, prepared, truth};

/// Far behind the network's clock.
const NOW: u64 = 4_000_000_000_000_000;

/// Accounts' keys, as their DID documents have them, and the states of their repositories.
#[derive(Default)]
struct Verifier {
    keys: HashMap<String, PublicKey>,
    states: HashMap<String, RepoState>,
}

impl Verifier {
    async fn learn_key(&mut self, network: &Network, did: &Did<'_>) {
        if !self.keys.contains_key(did.as_str()) {
            let (status, document) = get(network, &format!("/{}", did.as_str())).await;
            // The document of a deleted account is gone.
            if status == 200 {
                let document = DidDocument::parse(&document, did).unwrap();
                self.keys.insert(did.as_str().to_owned(), document.signing_key);
            }
        }
    }

    /// Verifies a frame in full and in the order of its repository. `None`: it has no key.
    async fn verify(
        &mut self,
        network: &Network,
        frame: &Frame<'_>,
    ) -> Option<Result<(), VerifyError>> {
        let did = match frame {
            Frame::Commit(commit) => commit.repo().unwrap(),
            Frame::Sync(sync) => sync.did,
            _ => return None,
        };
        self.learn_key(network, &did).await;
        let key = self.keys.get(did.as_str())?;
        let last = self.states.get(did.as_str()).copied();
        let verified = match frame {
            Frame::Commit(commit) => verify_commit(commit, key, last, NOW),
            Frame::Sync(sync) => verify_sync(sync, key, last, NOW),
            _ => return None,
        };
        Some(verified.map(|state| {
            self.states.insert(did.as_str().to_owned(), state);
        }))
    }
}

/// The seq, and what the truth says about each operation.
fn told(frame: &Frame<'_>) -> (u64, Vec<Value>) {
    let event = |kind: &str, did: &Did<'_>| vec![json!({ "kind": kind, "did": did.as_str() })];
    match frame {
        Frame::Commit(commit) => {
            let ops = commit.ops().map(|op| {
                let op = op.unwrap();
                let path = op.path().unwrap();
                let (collection, rkey) = (path.collection.as_str(), path.rkey.as_str());
                let content = op.cid().map(|cid| commit.record(&cid).unwrap());
                let post = content.filter(|_| collection == POST_COLLECTION);
                let post = post.and_then(|post| Post::decode(post).ok());
                json!({
                    "kind": "commit",
                    "did": commit.repo().unwrap().as_str(),
                    "rev": commit.rev().unwrap().to_string(),
                    "action": match op.action {
                        Action::Create => "create",
                        Action::Update => "update",
                        Action::Delete => "delete",
                    },
                    "path": format!("{collection}/{rkey}"),
                    "cid": op.cid().map(|cid| cid.to_string()),
                    "text": post.map(|post| post.text.to_owned()),
                })
            });
            (commit.seq, ops.collect())
        }
        Frame::Identity(identity) => (identity.seq, event("identity", &identity.did)),
        Frame::Account(account) => (account.seq, event("account", &account.did)),
        Frame::Sync(sync) => (sync.seq, event("sync", &sync.did)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_commit_verifies_and_follows_the_one_before_and_is_the_truth() {
    const EVENTS: usize = 1_500;
    let mut options = prepared(EVENTS);
    options.mix.deletes = 0.2;
    options.mix.batches = 0.1;
    options.mix.accounts = 0.01;
    let network = Network::start(options).await.unwrap();
    let frames = first(&network, RELAY, EVENTS).await;
    let truth = truth(&network).await;
    let mut verifier = Verifier::default();
    let mut kinds: HashMap<String, usize> = HashMap::new();
    let mut verified = 0;
    for (n, bytes) in frames.iter().enumerate() {
        let frame = Frame::decode(bytes).unwrap();
        if let Some(result) = verifier.verify(&network, &frame).await {
            result.unwrap_or_else(|error| panic!("event {n}: {error}"));
            verified += 1;
        }
        let (seq, told) = told(&frame);
        let really = &truth[&(n as u64)];
        assert_eq!(told.len(), really.len());
        for (told, really) in told.iter().zip(really) {
            assert_eq!(really["seq"], seq);
            for (field, value) in told.as_object().unwrap() {
                assert_eq!(&really[field], value, "event {n}, {field}");
            }
            *kinds.entry(format!("{} {}", really["kind"], really["action"])).or_default() += 1;
        }
    }
    assert!(verified > EVENTS * 3 / 4, "{verified}");
    // Each kind of event and each action is there.
    assert_eq!(kinds.len(), 6, "{kinds:?}");

    // What a repository holds at the end is what its commits led to.
    for (did, state) in &verifier.states {
        let (status, car) =
            get(&network, &format!("/xrpc/com.atproto.sync.getRepo?did={did}")).await;
        if status == 200 {
            let did = Did::parse(did).unwrap();
            let repository = Repository::parse(&car).unwrap();
            assert_eq!(repository.verify(&did, &verifier.keys[did.as_str()]).unwrap(), *state);
        }
    }
    network.stop().await;
}

#[tokio::test]
async fn flawed_commits_are_refused_and_the_ones_behind_them_still_follow() {
    let mut options = prepared(300);
    let plan = |fault, at| PlannedFault { fault, at, every: Some(40) };
    options.plan = vec![
        plan(Fault::BadSignature, 20),
        plan(Fault::Fork, 30),
        plan(Fault::BadCbor, 40),
        plan(Fault::BadLexicon, 50),
    ];
    let network = Network::start(options).await.unwrap();
    let truth = truth(&network).await;
    assert!(truth.is_empty(), "nothing has happened before anyone reads");
    let frames = first(&network, RELAY, 300).await;
    let truth = super::truth(&network).await;
    let mut verifier = Verifier::default();
    let mut refused: HashMap<String, usize> = HashMap::new();
    for (n, bytes) in frames.iter().enumerate() {
        let frame = Frame::decode(bytes).unwrap();
        let Some(result) = verifier.verify(&network, &frame).await else { continue };
        let fault = truth[&(n as u64)][0]["fault"].as_str();
        match (fault, result) {
            (Some("bad-signature"), Err(VerifyError::Signature(_))) => {}
            // Only who knows the repository already sees that its revision goes back.
            (
                Some("fork"),
                Err(VerifyError::RevNotLater { .. } | VerifyError::Inversion { .. }),
            ) => {}
            (Some("bad-cbor"), Ok(())) => {
                let (_, ops) = told(&frame);
                let texts: Vec<bool> = ops.iter().map(|op| op["text"].is_string()).collect();
                assert_eq!(texts, [true, false, true]);
            }
            (Some("bad-lexicon") | None, Ok(())) => {}
            (fault, result) => panic!("event {n}: {fault:?}, {result:?}"),
        }
        *refused.entry(fault.unwrap_or("none").to_owned()).or_default() += 1;
    }
    assert_eq!(refused.len(), 5, "{refused:?}");
    network.stop().await;
}

#[tokio::test]
async fn a_cursor_replays_exactly_what_was() {
    let network = Network::start(prepared(200)).await.unwrap();
    let all = first(&network, RELAY, 200).await;
    let seq = told(&Frame::decode(&all[120]).unwrap()).0;
    let again = Client::open(&network, &format!("{RELAY}?cursor={seq}")).await.take(80).await;
    assert_eq!(again, all[120..]);
    network.stop().await;
}

#[tokio::test]
async fn bad_cursors_are_told_or_clamped() {
    for bad_cursors in [BadCursors::Told, BadCursors::Clamped] {
        let options = Options { window: 50, bad_cursors, ..prepared(200) };
        let network = Network::start(options).await.unwrap();
        let all = first(&network, RELAY, 200).await;
        let seq_of = |frame: &[u8]| told(&Frame::decode(frame).unwrap()).0;
        let (oldest, newest) = (seq_of(&all[150]), seq_of(&all[199]));

        let mut outdated = Client::open(&network, &format!("{RELAY}?cursor={}", oldest - 1)).await;
        let mut future = Client::open(&network, &format!("{RELAY}?cursor={}", newest + 2)).await;
        if bad_cursors == BadCursors::Told {
            let info = outdated.next().await.unwrap();
            let Frame::Info(info) = Frame::decode(&info).unwrap() else { panic!() };
            assert_eq!(info.name, "OutdatedCursor");
            let end = future.drain().await;
            let Frame::Error(error) = Frame::decode(&end[0]).unwrap() else { panic!() };
            assert_eq!((end.len(), error.error), (1, "FutureCursor"));
        }
        assert_eq!(outdated.take(50).await, all[150..]);
        network.stop().await;
    }
}

#[tokio::test]
async fn hosts_have_the_same_events_and_numbers_of_their_own() {
    let options = Options { ports: vec![0, 0], ..prepared(30) };
    let network = Network::start(options).await.unwrap();
    let one = first(&network, RELAY, 30).await;
    let path = format!("{RELAY}?cursor=0");
    let two = Client::try_open(&network, 1, &path).await.unwrap().take(30).await;
    for (one, two) in one.iter().zip(&two) {
        let (one, two) = (Frame::decode(one).unwrap(), Frame::decode(two).unwrap());
        assert_ne!(told(&one).0, told(&two).0);
        assert_eq!(told(&one).1, told(&two).1);
    }
    network.stop().await;
}

#[tokio::test]
async fn what_happens_follows_from_the_seed() {
    let mut streams = Vec::new();
    for seed in [7, 7, 8] {
        let options = Options { seed, ..prepared(60) };
        let network = Network::start(options).await.unwrap();
        streams.push(first(&network, RELAY, 60).await);
        network.stop().await;
    }
    assert_eq!(streams[0], streams[1]);
    assert_ne!(streams[0], streams[2]);
}

#[tokio::test]
async fn events_come_live_and_can_repeat() {
    // By the clock, and as fast as they are read.
    for rate in [2_000.0, 0.0] {
        let live = Options { rate, ..Options::default() };
        let network = Network::start(live).await.unwrap();
        assert_eq!(Client::open(&network, RELAY).await.take(300).await.len(), 300);
        network.stop().await;
    }

    let mut options = prepared(10);
    options.prepared = Some(Prepared { events: 10, then: Afterwards::Repeat });
    let network = Network::start(options).await.unwrap();
    let frames = first(&network, RELAY, 25).await;
    let told: Vec<_> = frames.iter().map(|frame| told(&Frame::decode(frame).unwrap())).collect();
    for (n, (seq, ops)) in told.iter().enumerate() {
        assert_eq!(*seq, told[0].0 + n as u64);
        assert_eq!(*ops, told[n % 10].1);
    }
    network.stop().await;
}

#[tokio::test]
async fn a_consumer_that_does_not_read_is_told_that_it_is_too_slow() {
    let mut options = prepared(200);
    options.prepared = Some(Prepared { events: 200, then: Afterwards::Repeat });
    // Far more than the buffers between the two can hold, so that only the slow one falls out.
    options.window = 50_000;
    options.slow_after = std::time::Duration::from_secs(600);
    let network = Network::start(options).await.unwrap();
    let mut slow = Client::open(&network, &format!("{RELAY}?cursor=0")).await;
    let mut fast = Client::open(&network, &format!("{RELAY}?cursor=0")).await;
    slow.take(1).await;
    for _ in 0..90_000 {
        fast.next().await.unwrap();
    }
    let frames = slow.drain().await;
    let last = Frame::decode(frames.last().unwrap()).unwrap();
    let Frame::Error(error) = last else { panic!("{last:?}") };
    assert_eq!(error.error, "ConsumerTooSlow");
    network.stop().await;
}
