//! Verification of recorded commits, on one core with keys at hand: hashes only, the signature
//! alone (which is libsecp256k1's work), and in full.

use std::{collections::HashMap, fs::File, path::Path, time::Instant};

use serde_json::Value as Json;
use wingbeat_atproto::{
    Car, Commit, CommitObject, Curve, Did, DidDocument, Frame, PublicKey, SigningKey,
    verify_commit, verify_hashes,
};

use crate::Outcome;

/// Each round goes through the recording so often that it takes about a second.
const PASSES: usize = 100;
const ROUNDS: usize = 5;
const WORKS: usize = 5;

/// The end of time: a recording's revisions lie in the past.
const NOW: u64 = u64::MAX;

/// What is done with one frame; says whether the frame was accepted.
type Work<'a> = dyn Fn(&[u8], &PublicKey) -> bool + 'a;

pub(crate) fn run(folder: Option<&str>) -> Outcome<()> {
    let folder = Path::new(folder.unwrap_or("../shared/fixtures/jetstream-corpus"));
    let frames = frames(&folder.join("frames.bin.zst"))?;
    let keys = keys(&folder.join("did_docs.json"))?;
    let mut commits = Vec::new();
    for frame in &frames {
        if let Frame::Commit(commit) = Frame::decode(frame)? {
            let key = keys.get(commit.repo()?.as_str()).ok_or("a commit without a key")?;
            verify_commit(&commit, key, None, NOW)?;
            commits.push((frame.as_slice(), key));
        }
    }
    println!(
        "{} commits of {}, one core, best of {ROUNDS} rounds in turns\n",
        commits.len(),
        folder.display()
    );
    // No account of the recording has such a key; the content is as long as a commit object.
    let p256 = SigningKey::from_seed_bytes(Curve::P256, &[7; 32])?;
    let content = [7; 160];
    let (p256_key, p256_signature) = (p256.public(), p256.sign(&content));
    let works: [(&str, &Work<'_>); WORKS] = [
        ("decode", &|frame, _| commit(frame, |_| true)),
        ("hashes: `verify_hashes`", &|frame, _| commit(frame, |c| verify_hashes(c).is_ok())),
        ("signature only, P-256", &|_, _| p256_key.verify(&content, &p256_signature).is_ok()),
        ("signature only, secp256k1", &|frame, key| commit(frame, |c| is_signed(c, key))),
        ("full: `verify_commit`", &|frame, key| {
            commit(frame, |c| verify_commit(c, key, None, NOW).is_ok())
        }),
    ];
    let mut best = [0.0_f64; WORKS];
    for _ in 0..ROUNDS {
        for (best, (_, work)) in best.iter_mut().zip(works) {
            *best = best.max(rate(&commits, work)?);
        }
    }
    println!("| work | frames/s | us/frame |\n|---|---|---|");
    for (best, (name, _)) in best.into_iter().zip(works) {
        println!("| {name} | {best:.0} | {:.2} |", 1e6 / best);
    }
    Ok(())
}

/// The rate of one round, in frames per second.
#[expect(clippy::cast_precision_loss, reason = "counts of frames")]
fn rate(commits: &[(&[u8], &PublicKey)], work: &Work) -> Outcome<f64> {
    let start = Instant::now();
    for _ in 0..PASSES {
        for (frame, key) in commits {
            if !work(frame, key) {
                return Err("a commit was refused".into());
            }
        }
    }
    Ok((PASSES * commits.len()) as f64 / start.elapsed().as_secs_f64())
}

fn commit(frame: &[u8], is_right: impl Fn(&Commit<'_>) -> bool) -> bool {
    matches!(Frame::decode(frame), Ok(Frame::Commit(commit)) if is_right(&commit))
}

fn is_signed(commit: &Commit<'_>, key: &PublicKey) -> bool {
    let block = Car::parse(commit.blocks).ok().and_then(|car| car.find(&commit.commit()).ok()?);
    let object = block.and_then(|block| CommitObject::parse(block).ok());
    object.is_some_and(|object| object.verify_signature(key).is_ok())
}

/// The frames of a recording: each behind its length, zstd over all.
pub(crate) fn frames(path: &Path) -> Outcome<Vec<Vec<u8>>> {
    let file = File::open(path)
        .map_err(|error| format!("{}: {error}; give the folder of a recording", path.display()))?;
    let bytes = zstd::decode_all(file)?;
    let mut rest = &bytes[..];
    let mut frames = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_le_bytes(*length))?;
        let (frame, behind) = behind.split_at_checked(length).ok_or("the recording is cut off")?;
        frames.push(frame.to_vec());
        rest = behind;
    }
    Ok(frames)
}

/// The keys of the recording's accounts.
fn keys(path: &Path) -> Outcome<HashMap<String, PublicKey>> {
    let documents: HashMap<String, Json> = serde_json::from_reader(File::open(path)?)?;
    let mut keys = HashMap::new();
    for (did, document) in documents {
        let json = serde_json::to_vec(&document)?;
        let key = DidDocument::parse(&json, &Did::parse(&did)?)?.signing_key;
        keys.insert(did, key);
    }
    Ok(keys)
}
