//! The encoder's embeddings beside those of all-MiniLM-L6-v2 by its reference implementation, for
//! sentences of our own: `bench/python/reference.py` wrote `reference.json`.
//!
//! The encoder is the embedded one, or that of the folder in `WINGBEAT_ENCODER`.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use serde::Deserialize;
use wingbeat_model::{
    encoder::{Encoder, EncoderOptions, EncoderSource, is_embedded},
    measure::spearman,
};

/// The mean cosine of embeddings to those of the original: 0.983 when it was trained.
const COSINE_MIN: f64 = 0.97;
/// Pairs of texts are as much alike as in the original, as far as their order goes: 0.961 for these
/// few, most of which have nothing in common; 0.99 for pairs of posts.
const SPEARMAN_MIN: f64 = 0.95;

#[derive(Deserialize)]
struct Sentence {
    text: String,
    embedding: Vec<f32>,
}

fn encoder() -> Option<Encoder> {
    let source = match std::env::var_os("WINGBEAT_ENCODER") {
        Some(folder) => EncoderSource::Folder(folder.into()),
        None if is_embedded() => EncoderSource::Embedded,
        None => {
            eprintln!("skipped: no encoder is embedded, and WINGBEAT_ENCODER names none");
            return None;
        }
    };
    Some(Encoder::load(&source, EncoderOptions { threads: 1, ..Default::default() }).unwrap())
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
}

/// How much alike each pair is.
fn pairs(embeddings: &[Vec<f32>]) -> Vec<f64> {
    let with_later = |(at, a): (usize, &Vec<f32>)| {
        embeddings[at + 1..].iter().map(|b| product(a, b)).collect::<Vec<_>>()
    };
    embeddings.iter().enumerate().flat_map(with_later).collect()
}

#[test]
fn embeddings_are_those_of_the_reference_implementation() {
    let Some(encoder) = encoder() else { return };
    let sentences: Vec<Sentence> = serde_json::from_str(include_str!("reference.json")).unwrap();
    let texts = sentences.iter().map(|sentence| sentence.text.as_str());
    let readings = encoder.read(texts).into_iter().map(|reading| reading.unwrap().embedding);
    let ours: Vec<Vec<f32>> = readings.collect();
    let theirs: Vec<Vec<f32>> =
        sentences.iter().map(|sentence| sentence.embedding.clone()).collect();
    assert!(ours.iter().all(|ours| (product(ours, ours) - 1.0).abs() < 1e-3));
    let found = spearman(&pairs(&ours), &pairs(&theirs));
    let cosines: f64 = ours.iter().zip(&theirs).map(|(a, b)| product(a, b)).sum();
    let cosine = cosines / f64::from(u32::try_from(ours.len()).unwrap());
    assert!(cosine >= COSINE_MIN, "{cosine}");
    assert!(found >= SPEARMAN_MIN, "{found}");
}
