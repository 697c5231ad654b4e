//! From frames of the firehose to filtered posts as JSON, on one core, beside what the replaced
//! service did with the atproto SDK for Python, on the same recorded bytes.

use std::{io::Write as _, path::Path, process::Command};

use wingbeat_flow::{Pipeline, stage_item};
use wingbeat_record::Subject;
use wingbeat_source::{Content, contents_of_frame};
use wingbeat_stage::{Action, Settings};

use crate::{Outcome, clock, verify::frames};

const PASSES: usize = 5_000;
const ROUNDS: usize = 5;
/// Seconds that the peer runs for in each round.
const PEER_SECONDS: &str = "2";

pub(crate) fn run(folder: Option<&str>) -> Outcome<()> {
    let folder = Path::new(folder.unwrap_or("../shared/fixtures/jetstream-corpus"));
    let frames = frames(&folder.join("frames.bin.zst"))?;
    println!(
        "{} frames of {}, one core, best of {ROUNDS} rounds in turns\n",
        frames.len(),
        folder.display()
    );
    // The replaced service filters by length, and by nothing else.
    let mut settings = Settings::default();
    let filter = &mut settings.filter;
    for action in [
        &mut filter.language,
        &mut filter.spam,
        &mut filter.content,
        &mut filter.repeat,
        &mut filter.density,
        &mut filter.label,
    ] {
        *action = Action::Off;
    }
    let pipeline = Pipeline::new(&["post".to_owned(), "filter".to_owned()], &settings)?;
    let peer = Peer::new(&frames)?;
    let (mut ours, mut theirs, mut posts) = (0.0_f64, 0.0_f64, 0);
    for _ in 0..ROUNDS {
        let (rate, found) = decode(&frames, &pipeline)?;
        (ours, posts) = (ours.max(rate), found);
        theirs = theirs.max(peer.rate()?);
    }
    println!("| decode and filter | frames/s | of the peer |\n|---|---|---|");
    if theirs > 0.0 {
        println!("| atproto 0.0.73 for Python | {theirs:.0} | 1 |");
        println!("| wingbeat, {posts} posts a pass | {ours:.0} | {:.0} |", ours / theirs);
    } else {
        println!("| wingbeat, {posts} posts a pass | {ours:.0} | - |");
        println!(
            "\nThe peer is missing: `pip install atproto==0.0.73`, and name that Python in PYTHON."
        );
    }
    Ok(())
}

/// Frames per second of the processor's time, and the posts of one pass.
#[expect(clippy::cast_precision_loss, reason = "counts of frames")]
fn decode(frames: &[Vec<u8>], pipeline: &Pipeline) -> Outcome<(f64, usize)> {
    let subject = Subject::new("bench")?;
    let mut posts = 0;
    let start = clock::thread_time()?;
    let mut items = Vec::with_capacity(frames.len());
    for _ in 0..PASSES {
        items.clear();
        for frame in frames {
            contents_of_frame(frame, |content| {
                if let Content::Post(mut post) = content {
                    items.push(stage_item(&subject, &mut post));
                }
            })?;
        }
        pipeline.run(&mut items.iter_mut().collect::<Vec<_>>());
        posts = items.iter().filter(|item| item.verdict().is_none()).count();
    }
    let seconds = (clock::thread_time()? - start).as_secs_f64();
    Ok(((PASSES * frames.len()) as f64 / seconds, posts))
}

/// `bench/python/firehose.py` over the same frames.
struct Peer {
    python: String,
    frames: tempfile::NamedTempFile,
}

impl Peer {
    fn new(frames: &[Vec<u8>]) -> Outcome<Self> {
        let mut file = tempfile::NamedTempFile::new()?;
        for frame in frames {
            file.write_all(&u32::try_from(frame.len())?.to_le_bytes())?;
            file.write_all(frame)?;
        }
        file.flush()?;
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
        Ok(Self { python, frames: file })
    }

    /// Its frames per second; 0 where it can't be run.
    fn rate(&self) -> Outcome<f64> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/firehose.py");
        let mut command = Command::new(&self.python);
        let ran = command.arg(script).arg(self.frames.path()).arg(PEER_SECONDS).output();
        let Some(ran) = ran.ok().filter(|ran| ran.status.success()) else { return Ok(0.0) };
        let figures: serde_json::Value = serde_json::from_slice(&ran.stdout)?;
        Ok(figures["frames_per_second"].as_f64().unwrap_or(0.0))
    }
}
