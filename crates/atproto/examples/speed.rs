//! How many recorded frames a core takes apart in a second.
//!
//! ```text
//! cargo run --release -p wingbeat-atproto --example speed -- shared/fixtures/jetstream-corpus/frames.bin.zst
//! ```
//!
//! The work per frame is what the `frames` source does: read the frame, look at the operations,
//! and for each new post find its block, check its hash, check the record strictly and read it.
//! The frames are decoded over and over, so they lie in the cache, as one lies that was just
//! copied from a socket. Prints the median of five rounds, and the slowest and the fastest.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use wingbeat_atproto::{Action, Frame, POST_COLLECTION, Post};

type Failure = Box<dyn std::error::Error>;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(1);

fn main() -> Result<(), Failure> {
    let path = std::env::args().nth(1).ok_or("usage: speed FRAMES.bin.zst")?;
    let bytes = zstd::decode_all(std::fs::File::open(path)?)?;
    let frames = split_frames(&bytes)?;
    let posts = pass(&frames)?;
    println!("{} frames, {} bytes, {posts} posts", frames.len(), bytes.len());

    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut passes = 0_u32;
        while start.elapsed() < ROUND {
            black_box(pass(black_box(&frames))?);
            passes += 1;
        }
        let seconds = start.elapsed().as_secs_f64() / f64::from(passes);
        rates.push(f64::from(u32::try_from(frames.len())?) / seconds);
    }
    rates.sort_by(f64::total_cmp);
    println!(
        "{:.0} frames/s ({:.0} to {:.0}), {:.0} ns per frame",
        rates[ROUNDS / 2],
        rates[0],
        rates[ROUNDS - 1],
        1e9 / rates[ROUNDS / 2],
    );
    Ok(())
}

/// The frames of a recording: each behind its length, 32 bits, the lowest byte first.
fn split_frames(mut rest: &[u8]) -> Result<Vec<&[u8]>, Failure> {
    let mut frames = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_le_bytes(*length))?;
        let (frame, behind) = behind.split_at_checked(length).ok_or("the recording is cut")?;
        frames.push(frame);
        rest = behind;
    }
    Ok(frames)
}

/// Takes every frame apart and returns the number of new posts.
fn pass(frames: &[&[u8]]) -> Result<usize, Failure> {
    let mut posts = 0;
    for frame in frames {
        let Frame::Commit(commit) = Frame::decode(frame)? else { continue };
        for op in commit.ops() {
            let op = op?;
            if op.action != Action::Create || !op.is_in(POST_COLLECTION) {
                continue;
            }
            let cid = op.cid().ok_or("a post without a cid")?;
            let post = Post::decode(commit.record(&cid)?)?;
            black_box((commit.repo()?, commit.rev()?, op.path()?, post));
            posts += 1;
        }
    }
    Ok(posts)
}
