//! What several tests need.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use wingbeat_source::{Content, Item, OpenOptions, Source, SourceError, SourceSpec, open};

/// A file of the folder `shared`, or `None`, with a word on stderr, where there is none.
pub(crate) fn shared_file(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("WINGBEAT_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let file = folder.join(path);
    if !file.exists() {
        eprintln!("skipped: there is no {}", file.display());
        return None;
    }
    Some(file)
}

pub(crate) fn open_spec(spec: &str, resume: Option<u64>) -> Result<Box<dyn Source>, SourceError> {
    open(
        &SourceSpec::parse(spec)?,
        &OpenOptions { resume: resume.map(Into::into), ..OpenOptions::default() },
    )
}

pub(crate) fn open_file(kind: &str, path: &Path, resume: Option<u64>) -> Box<dyn Source> {
    open_spec(&format!("{kind}:{}", path.display()), resume).unwrap()
}

/// All items, and the error at the end where there is one. Positions are checked to grow.
pub(crate) async fn read_all(source: &mut dyn Source) -> (Vec<Item>, Option<SourceError>) {
    let mut items: Vec<Item> = Vec::new();
    loop {
        match source.next(7).await {
            Ok(Some(batch)) => {
                assert!((1..=7).contains(&batch.len()));
                items.extend(batch);
            }
            Ok(None) => break,
            Err(error) => return (checked(items), Some(error)),
        }
    }
    (checked(items), None)
}

fn checked(items: Vec<Item>) -> Vec<Item> {
    assert!(items.windows(2).all(|pair| pair[0].position < pair[1].position));
    items
}

/// An item as text, to be compared.
pub(crate) fn shown(item: &Item) -> String {
    let position = item.position;
    match &item.content {
        Content::Post(post) => {
            let payload = String::from_utf8_lossy(&post.payload);
            format!("{position} post {} {payload}", post.id)
        }
        Content::Event(event) => {
            let payload = String::from_utf8_lossy(&event.payload);
            format!("{position} {} {} {payload}", event.kind, event.id)
        }
        Content::Filtered(reason) => format!("{position} filtered {reason}"),
        Content::Dead { original, cut_from, cause, .. } => {
            format!(
                "{position} dead {} {} {cut_from:?} {}",
                original.len(),
                cause.kind,
                cause.message
            )
        }
    }
}

pub(crate) fn all_shown(items: &[Item]) -> Vec<String> {
    items.iter().map(shown).collect()
}

pub(crate) fn json(payload: &[u8]) -> Json {
    serde_json::from_slice(payload).unwrap()
}
