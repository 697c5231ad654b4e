//! The real all-MiniLM-L6-v2, from the folder that `WINGBEAT_MINILM` names.

use std::{collections::BTreeMap, fs, path::PathBuf};

use safetensors::SafeTensors;
use wingbeat_transformer::{Level, Model, Workspace};

use crate::plain::{Plain, cosine};

const TEXTS: [&str; 6] = [
    "good morning everyone , the coffee is ready",
    "i can not believe that the train is late again",
    "new study : birds learn songs from their neighbours",
    "what a wonderful day for a long walk along the river with the dog and some friends",
    "no",
    "the government has announced a plan to build ten thousand houses near the old harbour before \
     the end of the decade , but nobody has said who is going to pay for any of it , and the people \
     who live there were not asked",
];

#[test]
fn the_embedding_is_that_of_floats() {
    let Some(folder) = std::env::var_os("WINGBEAT_MINILM").map(PathBuf::from) else {
        eprintln!("skipped: WINGBEAT_MINILM names no folder with all-MiniLM-L6-v2");
        return;
    };
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let (config, weights) = (read("config.json"), read("model.safetensors"));
    // The words are whole in the vocabulary, so that no tokenizer is needed.
    let vocabulary = String::from_utf8(read("vocab.txt")).unwrap();
    let ids: BTreeMap<&str, u32> = vocabulary.lines().zip(0..).collect();
    let id = |word: &str| ids.get(word).copied();
    let texts = TEXTS.map(|text| -> Vec<u32> {
        let words = text.split(' ').filter_map(id);
        id("[CLS]").into_iter().chain(words).chain(id("[SEP]")).collect()
    });
    let tensors = SafeTensors::deserialize(&weights).unwrap();
    let floats = |name: &str| {
        let tensor = tensors.tensor(name).unwrap();
        let values = tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        (tensor.shape().to_vec(), values.collect())
    };
    let names = tensors.names().into_iter().filter(|name| !name.ends_with("position_ids"));
    let tensors = names.map(|name| (name.to_owned(), floats(name))).collect();
    let plain = Plain { config: &serde_json::from_slice(&config).unwrap(), tensors: &tensors };
    let expected = texts.each_ref().map(|ids| plain.mean(ids));

    for level in Level::available() {
        let model = Model::from_safetensors(&config, &weights, level).unwrap();
        let mut work = Workspace::default();
        model.run(&mut work, texts.iter().map(Vec::as_slice)).unwrap();
        for (found, expected) in work.rows(0).chunks_exact(384).zip(&expected) {
            let cosine = cosine(found, expected);
            eprintln!("{}: {cosine}", level.name());
            assert!(cosine > 0.975, "{}: {cosine}", level.name());
        }
    }
}
