//! Small models in the form of Hugging Face's libraries (`make.py`), as the files of a repository.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

/// The files of a repository, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests")
}

fn files(model: &str, at: &str, config: &Value) -> Files {
    let read = |name: &str| fs::read(folder().join(name)).unwrap();
    Files::from([
        (at.to_owned(), read(&format!("hugging_face/{model}.onnx"))),
        ("config.json".to_owned(), config.to_string().into_bytes()),
        ("tokenizer.json".to_owned(), read("encoder/tokenizer.json")),
        ("tokenizer_config.json".to_owned(), json!({ "model_max_length": 32 }).to_string().into()),
    ])
}

fn config(labels: &[&str], problem_type: &str) -> Value {
    let labels: BTreeMap<String, &str> =
        labels.iter().enumerate().map(|(id, label)| (id.to_string(), *label)).collect();
    json!({
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "max_position_embeddings": 32,
        "pad_token_id": 0,
        "problem_type": problem_type,
        "id2label": labels,
    })
}

/// A classifier that says `bad` is the first label, `day` the second and `good` the third.
pub fn sentiment(labels: [&str; 3]) -> Files {
    let config = config(&labels, "single_label_classification");
    files("sentiment", "onnx/model_int8.onnx", &config)
}

/// A classifier with labels of its own, each by itself: `goal`, `song` and `day` are the first three.
pub fn topics() -> Files {
    let labels = ["matches & goals", "songs", "weather", "other"];
    files("topics", "model_quantized.onnx", &config(&labels, "multi_label_classification"))
}

/// An encoder with a row for each token: `good` is 3 in column 0, `bad` in column 4, the first token
/// 1 in column 1, the last 2 in column 2.
pub fn embedding(pooling: &str) -> Files {
    let config = json!({ "model_type": "bert", "max_position_embeddings": 32 });
    let mut files = files("embedding", "onnx/model.onnx", &config);
    let pooling = json!({ pooling: true }).to_string().into_bytes();
    files.insert("1_Pooling/config.json".to_owned(), pooling);
    files
}

/// Puts files into a folder.
pub fn write(files: &Files, folder: &Path) {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
