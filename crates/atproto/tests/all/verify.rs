//! Verification: the recorded commits are accepted, and what was changed in one is refused with
//! the kind of error that it deserves.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
};

use crate::common::{TIME, recorded_frames, shared_file};
use proptest::prelude::*;
use serde_json::Value as Json;
use wingbeat_atproto::{
    BlockError, Cid, Codec, Commit, Curve, Did, DidDocument, Frame, PublicKey, REV_AHEAD_MAX,
    RepoState, SignatureError, SigningKey, Tid, VerifyError,
    frame::Sync,
    mst::MstError,
    repository::Repository,
    verify_commit, verify_hashes, verify_sync,
    write::{RepositoryWriter, Write, WrittenCommit},
};

/// 2026-07-04T14:39:00Z, shortly after the recording, in microseconds.
const NOW: u64 = 1_783_175_940_000_000;

/// The keys of all accounts of the recording, out of their DID documents.
fn recorded_keys() -> Option<HashMap<String, PublicKey>> {
    let file = shared_file("fixtures/jetstream-corpus/did_docs.json")?;
    let documents: HashMap<String, Json> =
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let keys = documents.into_iter().map(|(did, document)| {
        let json = document.to_string();
        let document = DidDocument::parse(json.as_bytes(), &Did::parse(&did).unwrap()).unwrap();
        assert!(document.handle.is_some() && document.pds.is_some());
        (did, document.signing_key)
    });
    Some(keys.collect())
}

/// A recording and its keys.
struct Recording {
    frames: Vec<Vec<u8>>,
    keys: HashMap<String, PublicKey>,
}

impl Recording {
    fn open() -> Option<Self> {
        Some(Self { frames: recorded_frames()?, keys: recorded_keys()? })
    }

    fn commits(&self) -> impl Iterator<Item = (&[u8], Commit<'_>, &PublicKey)> {
        self.frames.iter().filter_map(|frame| match Frame::decode(frame) {
            Ok(Frame::Commit(commit)) => {
                Some((&frame[..], commit, &self.keys[commit.repo().unwrap().as_str()]))
            }
            _ => None,
        })
    }
}

#[test]
fn all_recorded_commits_are_accepted() {
    let Some(recording) = Recording::open() else { return };
    let text = std::fs::read_to_string(shared_file("fixtures/jetstream-corpus/keys.tsv").unwrap());
    for line in text.unwrap().lines() {
        let (did, key) = line.split_once('\t').unwrap();
        assert_eq!(recording.keys[did].to_multikey(), key);
    }
    let mut accepted = 0;
    for (_, commit, key) in recording.commits() {
        assert_eq!(verify_hashes(&commit), Ok(()));
        let state = verify_commit(&commit, key, None, NOW).unwrap();
        assert_eq!(state.rev, commit.rev().unwrap());
        let before =
            RepoState { rev: commit.since().unwrap().unwrap(), data: commit.prev_data().unwrap() };
        assert_eq!(verify_commit(&commit, key, Some(before), NOW), Ok(state));
        assert!(matches!(
            verify_commit(&commit, key, Some(state), NOW),
            Err(VerifyError::RevNotLater { .. })
        ));
        let elsewhere = RepoState { data: state.data, ..before };
        let expected = if state.data == before.data {
            Ok(state)
        } else {
            Err(VerifyError::Desynchronized("prevData"))
        };
        assert_eq!(verify_commit(&commit, key, Some(elsewhere), NOW), expected);
        let missed = RepoState { rev: Tid::new(before.rev.micros() - 1, 0), ..before };
        assert_eq!(
            verify_commit(&commit, key, Some(missed), NOW),
            Err(VerifyError::Desynchronized("since"))
        );
        accepted += 1;
    }
    assert_eq!(accepted, 148);
}

/// A key of another account, on either curve.
#[test]
fn the_key_of_another_is_refused() {
    let Some(recording) = Recording::open() else { return };
    let (_, commit, right) = recording.commits().next().unwrap();
    let wrong = Err(VerifyError::Signature(SignatureError::Wrong));
    for (_, _, key) in recording.commits().filter(|(_, _, key)| *key != right).take(8) {
        assert_eq!(verify_commit(&commit, key, None, NOW), wrong);
    }
    let p256 = SigningKey::from_seed_bytes(Curve::P256, &[7; 32]).unwrap().public();
    assert_eq!(verify_commit(&commit, &p256, None, NOW), wrong);
}

/// SplitMix64: the places that are flipped are the same in every run.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((z ^ z >> 31) >> 1).unwrap()
}

/// Whether a flipped bit at this place is proven wrong. It is everywhere but in
///
/// - `seq` and `time`: the server's own words, which nobody signs. (That `seq` ascends is for
///   whoever keeps the place in the stream.)
/// - `blobs`, `rebase`, `tooBig`: deprecated, and passed over.
/// - The name of a removal's `cid`, which is `null`: without it, the same is said.
///
/// `since` is not signed either, but it is held against the last known state.
fn is_provable(frame: &[u8], at: usize) -> bool {
    // The name, and the bytes of head and value in the recording.
    let unprovable: [(&[u8], usize); 6] = [
        (b"\x63cid\xf6", 0),
        (b"\x63seq", 9),
        (b"\x64time", 2 + 24),
        (b"\x65blobs", 1),
        (b"\x66rebase", 1),
        (b"\x66tooBig", 1),
    ];
    !unprovable.iter().any(|(name, value_bytes)| {
        let mut places = frame.windows(name.len()).enumerate();
        places.any(|(start, window)| {
            window == *name && (start..start + name.len() + value_bytes).contains(&at)
        })
    })
}

/// Whether a frame is still taken as what it was.
fn is_accepted(frame: &[u8], keys: &HashMap<String, PublicKey>, last: RepoState) -> bool {
    let Ok(Frame::Commit(commit)) = Frame::decode(frame) else { return false };
    let Some(key) = commit.repo().ok().and_then(|did| keys.get(did.as_str())) else { return false };
    verify_commit(&commit, key, Some(last), NOW).is_ok()
}

#[test]
fn a_flipped_bit_is_refused() {
    let Some(recording) = Recording::open() else { return };
    let mut state = 7;
    let mut flips = 0;
    for (frame, commit, _) in recording.commits() {
        let last =
            RepoState { rev: commit.since().unwrap().unwrap(), data: commit.prev_data().unwrap() };
        assert!(is_accepted(frame, &recording.keys, last));
        let blocks_at = commit.blocks.as_ptr() as usize - frame.as_ptr() as usize;
        let mut refuse = |at: usize| {
            let mut flipped = frame.to_vec();
            flipped[at] ^= 1 << (random(&mut state) % 8);
            assert!(!is_accepted(&flipped, &recording.keys, last), "{} at {at}", commit.seq);
            flips += 1;
        };
        let mut places = 11;
        // In the blocks, where hashes alone find it too.
        for _ in 0..8 {
            let at = blocks_at + random(&mut places) % commit.blocks.len();
            refuse(at);
        }
        // Anywhere else.
        for _ in 0..24 {
            let at = random(&mut places) % (frame.len() - commit.blocks.len());
            let at = if at < blocks_at { at } else { at + commit.blocks.len() };
            if is_provable(frame, at) {
                refuse(at);
            }
        }
    }
    assert!(flips > 148 * 16, "{flips}");
}

#[test]
fn a_flipped_bit_in_the_blocks_is_found_by_hashes_alone() {
    let Some(recording) = Recording::open() else { return };
    let mut state = 23;
    for (frame, commit, _) in recording.commits() {
        let blocks_at = commit.blocks.as_ptr() as usize - frame.as_ptr() as usize;
        let mut flipped = frame.to_vec();
        let at = blocks_at + random(&mut state) % commit.blocks.len();
        flipped[at] ^= 1 << (random(&mut state) % 8);
        let Ok(Frame::Commit(flipped)) = Frame::decode(&flipped) else { panic!() };
        assert!(verify_hashes(&flipped).is_err(), "{} at {at}", commit.seq);
    }
}

/// A repository made here.
fn writer(curve: Curve) -> (RepositoryWriter, PublicKey) {
    let key = SigningKey::from_seed_bytes(curve, &[5; 32]).unwrap();
    let public = key.public();
    (RepositoryWriter::new(&Did::parse("did:plc:44ybard66vv44zksje25o7dz").unwrap(), key), public)
}

fn rev(minute: u64) -> Tid {
    Tid::new(NOW - 3_600_000_000 + minute * 60_000_000, 1)
}

/// A frame, with some bytes another, verified.
fn verify_changed(
    written: &WrittenCommit,
    key: &PublicKey,
    last: Option<RepoState>,
    from: &[u8],
    to: &[u8],
) -> Result<RepoState, VerifyError> {
    let mut frame = written.frame(7, TIME).unwrap();
    let at = frame.windows(from.len()).position(|window| window == from).unwrap();
    frame.splice(at..at + from.len(), to.iter().copied());
    let Ok(Frame::Commit(commit)) = Frame::decode(&frame) else { panic!() };
    verify_commit(&commit, key, last, NOW)
}

#[test]
fn every_kind_of_lie_has_its_error() {
    let (mut writer, key) = writer(Curve::P256);
    let (path, other) = ("app.bsky.feed.post/a", "app.bsky.feed.post/b");
    let create = Write { path, record: Some(b"\xa0") };
    let first = writer.commit(rev(1), &[create]).unwrap();
    let first_state = writer.state();
    let write = [
        Write { path, record: Some(b"\xa1\x61a\x01") },
        Write { path: other, record: Some(b"\xa1\x61b\x01") },
    ];
    let second = writer.commit(rev(2), &write).unwrap();
    let state = writer.state();

    let verify = |written: &WrittenCommit, last, from: &[u8], to: &[u8]| {
        verify_changed(written, &key, last, from, to)
    };
    // As it is.
    assert_eq!(verify(&first, None, b"ops", b"ops").ok(), first_state);
    assert_eq!(verify(&second, None, b"ops", b"ops").ok(), state);
    assert_eq!(verify(&second, first_state, b"ops", b"ops").ok(), state);
    // What the frame says of the commit.
    let did = b"did:plc:44ybard66vv44zksje25o7dz";
    let stranger = b"did:plc:44ybard66vv44zksje25o7dy";
    assert_eq!(verify(&first, None, did, stranger), Err(VerifyError::OtherField("did")));
    let (rev_1, rev_3) = (rev(1).to_string(), rev(3).to_string());
    assert_eq!(
        verify(&first, None, rev_1.as_bytes(), rev_3.as_bytes()),
        Err(VerifyError::OtherField("rev"))
    );
    // What the operations say of the tree.
    assert_eq!(
        verify(&first, None, path.as_bytes(), other.as_bytes()),
        Err(VerifyError::Tree(MstError::KeyAbsent))
    );
    let created = Cid::of(Codec::Drisl, b"\xa0");
    let elsewhere = Cid::of(Codec::Drisl, b"\x80");
    assert_eq!(
        verify(&first, None, created.as_bytes(), elsewhere.as_bytes()),
        Err(VerifyError::Blocks(BlockError::Missing(elsewhere)))
    );
    assert_eq!(
        verify(&first, None, b"create", b"update"),
        Err(VerifyError::Unprovable("ops.prev"))
    );
    let prev_is_other = verify(&second, None, created.as_bytes(), elsewhere.as_bytes());
    assert!(matches!(prev_is_other, Err(VerifyError::Inversion { .. })));
    assert_eq!(
        verify(&second, None, b"prevData", b"PrevData"),
        Err(VerifyError::Unprovable("prevData"))
    );
    // What came before.
    let later = state.map(|state| RepoState { rev: rev(9), ..state });
    assert!(matches!(verify(&second, later, b"ops", b"ops"), Err(VerifyError::RevNotLater { .. })));
    let fork = first_state.map(|state| RepoState { data: elsewhere, ..state });
    assert_eq!(verify(&second, fork, b"ops", b"ops"), Err(VerifyError::Desynchronized("prevData")));
    // Only who has the key may say that something is missing.
    let signature = Err(VerifyError::Signature(SignatureError::Wrong));
    let forger = SigningKey::from_seed_bytes(Curve::P256, &[6; 32]).unwrap().public();
    assert_eq!(verify_changed(&second, &forger, fork, b"ops", b"ops"), signature);
}

#[test]
fn a_revision_may_be_five_minutes_ahead_and_no_more() {
    let (mut writer, key) = writer(Curve::Secp256k1);
    let allowed = Tid::new(NOW + REV_AHEAD_MAX, 0);
    let future = Tid::new(NOW + REV_AHEAD_MAX + 1, 0);
    for (rev, expected) in [(allowed, None), (future, Some(VerifyError::RevInFuture(future)))] {
        let written = writer.commit(rev, &[]).unwrap();
        assert_eq!(verify_changed(&written, &key, None, b"ops", b"ops").err(), expected);
        let frame = writer.sync_frame(8, TIME).unwrap();
        assert_eq!(verify_sync(&decode_sync(&frame), &key, None, NOW).err(), expected);
    }
}

fn decode_sync(frame: &[u8]) -> Sync<'_> {
    match Frame::decode(frame) {
        Ok(Frame::Sync(sync)) => sync,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sync_frame_is_verified_by_its_commit_object() {
    let (mut writer, key) = writer(Curve::Secp256k1);
    let create = Write { path: "app.bsky.feed.post/a", record: Some(b"\xa0") };
    writer.commit(rev(1), &[create]).unwrap();
    let state = writer.state();
    let frame = writer.sync_frame(8, TIME).unwrap();
    let sync = decode_sync(&frame);
    assert_eq!(verify_sync(&sync, &key, None, NOW).ok(), state);
    assert!(matches!(verify_sync(&sync, &key, state, NOW), Err(VerifyError::RevNotLater { .. })));
    let wrong = Sync { rev: rev(2), ..sync };
    assert_eq!(verify_sync(&wrong, &key, None, NOW), Err(VerifyError::OtherField("rev")));
    let stranger = Sync { did: Did::parse("did:plc:x").unwrap(), ..sync };
    assert_eq!(verify_sync(&stranger, &key, None, NOW), Err(VerifyError::OtherField("did")));
    for at in 0..sync.blocks.len() {
        let mut blocks = sync.blocks.to_vec();
        blocks[at] ^= 1;
        let flipped = Sync { blocks: &blocks, ..sync };
        assert!(verify_sync(&flipped, &key, None, NOW).is_err(), "{at}");
    }
}

/// The recorded repository: its commit, and every record as another implementation lists it.
#[test]
fn a_recorded_repository_is_walked() {
    let Some(file) = shared_file("fixtures/jetstream-corpus/repo.car") else { return };
    let car = std::fs::read(file).unwrap();
    let text = |name: &str| {
        let file = shared_file(&format!("fixtures/jetstream-corpus/{name}")).unwrap();
        std::fs::read_to_string(file).unwrap()
    };
    let repository = Repository::parse(&car).unwrap();
    let commit = text("car_expected_commit.txt");
    for line in [
        format!("DID: {}", repository.commit.did.as_str()),
        format!("Data CID: {}", repository.commit.data),
        format!("Revision: {}", repository.commit.rev),
    ] {
        assert!(commit.lines().any(|expected| expected == line), "{line}");
    }
    let mut expected: HashMap<String, String> = text("car_expected_records.tsv")
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(path, cid)| (path.to_owned(), cid.to_owned()))
        .collect();
    let count = expected.len() as u64;
    assert!(count > 1);
    let visited = repository.walk(|entry| {
        assert_eq!(expected.remove(entry.path), Some(entry.cid.to_string()));
        assert!(entry.cid.names(entry.record));
        ControlFlow::Continue(())
    });
    assert_eq!((visited, expected.len()), (Ok(count), 0));
    assert_eq!(repository.walk(|_| ControlFlow::Break(())), Ok(1));
}

#[test]
fn a_repository_with_a_missing_or_damaged_block_is_refused() {
    let (mut writer, key) = writer(Curve::Secp256k1);
    let records: Vec<Vec<u8>> = (0_u8..200).map(|n| vec![0x18, n.max(24)]).collect();
    let paths: Vec<String> = (0..200).map(|n| format!("app.bsky.feed.post/{n:03}")).collect();
    let writes: Vec<_> = std::iter::zip(&paths, &records)
        .map(|(path, record)| Write { path, record: Some(record) })
        .collect();
    writer.commit(rev(1), &writes).unwrap();
    let distinct = records[24..].iter().map(Vec::as_slice);
    let car = writer.export(distinct.clone()).unwrap();
    let did = Did::parse("did:plc:44ybard66vv44zksje25o7dz").unwrap();
    let repository = Repository::parse(&car).unwrap();
    assert_eq!(repository.verify(&did, &key).ok(), writer.state());
    let mut seen = Vec::new();
    let visited = repository.walk(|entry| {
        seen.push(entry.path.to_owned());
        ControlFlow::Continue(())
    });
    assert_eq!((visited, seen), (Ok(200), paths));

    let car = writer.export(distinct.skip(1)).unwrap();
    let missing = BlockError::Missing(Cid::of(Codec::Drisl, &[0x18, 24]));
    let visited = Repository::parse(&car).unwrap().walk(|_| ControlFlow::Continue(()));
    assert_eq!(visited, Err(VerifyError::Blocks(missing)));
    let mut damaged = car;
    *damaged.last_mut().unwrap() ^= 1;
    assert!(matches!(
        Repository::parse(&damaged),
        Err(VerifyError::Blocks(BlockError::Mismatch(_)))
    ));
}

/// One write of a random history: which path, and what, if not a removal.
fn history() -> impl Strategy<Value = Vec<Vec<(u8, Option<u8>)>>> {
    let commit = prop::collection::vec((0_u8..40, prop::option::of(0_u8..20)), 0..8);
    prop::collection::vec(commit, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is written is verified, commit by commit, each from the state that the one before
    /// led to; and with one commit left out, the next one says so.
    #[test]
    fn what_is_written_is_verified(history in history(), left_out in any::<prop::sample::Index>()) {
        let (mut writer, key) = writer(Curve::Secp256k1);
        let mut paths: HashSet<u8> = HashSet::new();
        let mut frames = Vec::new();
        for (minute, commit) in (0..).zip(&history) {
            let mut writes: HashMap<u8, Option<u8>> = commit.iter().copied().collect();
            writes.retain(|path, content| content.is_some() || paths.contains(path));
            let named: Vec<_> = writes
                .iter()
                .map(|(path, content)| (format!("a.b.c/{path}"), content.map(|content| [content])))
                .collect();
            let named: Vec<_> = named
                .iter()
                .map(|(path, record)| Write { path, record: record.as_ref().map(|r| &r[..]) })
                .collect();
            let written = writer.commit(rev(minute), &named).unwrap();
            frames.push(written.frame(minute + 1, TIME).unwrap());
            for (path, content) in writes {
                if content.is_some() { paths.insert(path); } else { paths.remove(&path); }
            }
        }
        let mut last = None;
        let left_out = left_out.index(frames.len());
        for (index, frame) in frames.iter().enumerate() {
            let Ok(Frame::Commit(commit)) = Frame::decode(frame) else { panic!() };
            let state = verify_commit(&commit, &key, last, NOW);
            prop_assert!(state.is_ok(), "{:?}", state);
            if index == left_out + 1 && index > 1 {
                let Ok(Frame::Commit(earlier)) = Frame::decode(&frames[index - 2]) else { panic!() };
                let known = verify_commit(&earlier, &key, None, NOW).unwrap();
                let result = verify_commit(&commit, &key, Some(known), NOW);
                prop_assert_eq!(result, Err(VerifyError::Desynchronized("since")));
            }
            last = state.ok();
        }
        prop_assert_eq!(last, writer.state());
    }
}
