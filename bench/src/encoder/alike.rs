//! How much alike our outputs are to those of others.

use std::path::Path;

use wingbeat_model::{
    encoder::{Encoder, EncoderOptions, RuntimeChoice, is_installed},
    hugging_face::{Embedder, ModelFolder},
    measure::spearman,
};

use super::{
    Subject, TOKENS_MAX,
    peer::{Peer, rows, script},
};
use crate::Outcome;

/// So many pairs of posts are compared.
const PAIRS: usize = 5_000;

/// Prints how much alike the embeddings are: to those of ONNX Runtime over the same file; and, where
/// `MINILM` names the folder of the original model, to those of its reference implementation.
pub(super) fn print(
    encoder: &Encoder,
    subject: &Subject<'_>,
    peer: &mut Peer,
    scratch: &Path,
) -> Outcome<()> {
    let readings = encoder.read(subject.texts.iter().map(String::as_str)).into_iter();
    let ours: Vec<Vec<f32>> =
        readings.map(|reading| Ok(reading?.embedding)).collect::<Outcome<_>>()?;
    let width = ours.first().map_or(1, Vec::len);
    println!("\n| embeddings beside those of | cosine: mean | least | Spearman, {PAIRS} pairs |");
    println!("|---|---|---|---|");
    likeness("ONNX Runtime, the same file", &ours, &peer.rows(scratch, width)?);
    let Some(original) = std::env::var_os("MINILM") else { return Ok(()) };
    let original = Path::new(&original);
    let file = scratch.join("reference");
    script("reference.py", &[original, &subject.file, &file])?;
    let reference = rows(&file, width)?;
    likeness("all-MiniLM-L6-v2, float32, by transformers", &ours, &reference);
    println!("\n| all-MiniLM-L6-v2 by name beside it | cosine: mean | least | Spearman |");
    println!("|---|---|---|---|");
    let path = scratch.join("minilm");
    script("minilm.py", &[original, &path])?;
    let folder = ModelFolder { repo: path.display().to_string(), path };
    for runtime in [RuntimeChoice::Fused, RuntimeChoice::Rten, RuntimeChoice::Ort] {
        if runtime == RuntimeChoice::Ort && !is_installed() {
            println!("| {runtime:?}: its library is not there | | | |");
            continue;
        }
        let options =
            EncoderOptions { tokens_max: TOKENS_MAX, runtime, ..EncoderOptions::default() };
        let embedder = Embedder::load(&folder, options)?;
        let read = embedder.read(subject.texts.iter().map(String::as_str)).into_iter();
        likeness(&format!("{runtime:?}"), &read.collect::<Result<Vec<_>, _>>()?, &reference);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of posts")]
fn likeness(name: &str, ours: &[Vec<f32>], theirs: &[Vec<f32>]) {
    let product =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let cosines: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| product(a, b)).collect();
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    let least = cosines.iter().copied().fold(1.0, f64::min);
    // Each text with those behind it at many distances: pairs without order or chance.
    let pairs = || (0..PAIRS).map(|pair| (pair % ours.len(), (pair * 7 + 1) % ours.len()));
    let of = |rows: &[Vec<f32>]| -> Vec<f64> {
        pairs().filter_map(|(a, b)| Some(product(rows.get(a)?, rows.get(b)?))).collect()
    };
    println!("| {name} | {mean:.4} | {least:.4} | {:.4} |", spearman(&of(ours), &of(theirs)));
}
