//! Writes a seed corpus for all targets out of a recording: `seed RECORDING_FOLDER`.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use wingbeat_atproto::{Car, Cid, Codec, Frame};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: seed RECORDING_FOLDER")?;
    let folder = Path::new(&folder);
    let packed = fs::read(folder.join("frames.bin.zst"))?;
    let bytes = zstd::decode_all(&packed[..])?;
    let mut rest = &bytes[..];
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (frame, behind) = behind
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or("the recording is cut off")?;
        rest = behind;
        save("frame", frame)?;
        let Ok(Frame::Commit(commit)) = Frame::decode(frame) else { continue };
        save("car", commit.blocks)?;
        let mut nodes = Vec::new();
        for block in Car::parse(commit.blocks)?.blocks() {
            let content = block?.content;
            save("cbor", content)?;
            // Nodes start with a map of two fields, the first of which is `e`. The root comes
            // first in the CAR, and last in the target's input.
            if content.starts_with(b"\xa2\x61e") {
                let length = u16::try_from(content.len())?.to_be_bytes();
                nodes.splice(0..0, [&length[..], content].concat());
            }
        }
        save("mst", &nodes)?;
    }
    let documents = fs::read_to_string(folder.join("did_docs.json"))?;
    // The file is indented by two: a document starts and ends at its first level. The target knows
    // one account only.
    for part in documents.split("\n  }") {
        let Some((name, document)) = part.split_once(": {") else { continue };
        let did = name.rsplit('"').nth(1).unwrap_or_default();
        save("did", format!("{{{document}}}").replace(did, wingbeat_fuzz::DID).as_bytes())?;
    }
    let mut compressor = zstd::bulk::Compressor::with_dictionary(3, &wingbeat_fuzz::DICTIONARY)?;
    for line in fs::read_to_string(folder.join("expected_v1.jsonl"))?.lines() {
        save("jetstream", line.as_bytes())?;
        save("zstd", &compressor.compress(line.as_bytes())?)?;
    }
    save("car", &fs::read(folder.join("repo.car"))?)
}

/// Writes a file of the target's corpus, named by its content.
fn save(target: &str, content: &[u8]) -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(Cid::of(Codec::Raw, content).to_string()), content)?;
    Ok(())
}
