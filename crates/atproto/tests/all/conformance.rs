//! Which of the published vectors are tested, and why the others are not. A file that is in
//! neither list fails the test: so that new vectors are looked at.

use std::path::Path;

use crate::common::shared_file;

/// The files that a test takes, by their paths in the folder of fixtures.
const TESTED: [&str; 19] = [
    // vectors.rs
    "atmos/car/testdata/car-file-fixtures.json",
    "atmos/car/testdata/greenground.repo.car",
    "atmos/car/testdata/repo_slice.car",
    "atmos/cbor/testdata/dasl-cbor/*.json",
    "atmos/cbor/testdata/rfc8949-vectors.json",
    "atmos/cbor/testdata/trivial_helloworld.dagcbor",
    "interop/data-model/data-model-fixtures.json",
    "interop/syntax/atidentifier_syntax_*.txt",
    "interop/syntax/did_syntax_*.txt",
    "interop/syntax/handle_syntax_*.txt",
    "interop/syntax/nsid_syntax_*.txt",
    "interop/syntax/recordkey_syntax_*.txt",
    "interop/syntax/tid_syntax_*.txt",
    // vectors.rs; the CIDs and addresses that are in use here are fewer than there can be.
    "interop/syntax/cid_syntax_*.txt",
    "interop/syntax/aturi_syntax_*.txt",
    // signatures.rs
    "interop/crypto/*.json",
    // mst.rs
    "interop/firehose/commit-proof-fixtures.json",
    "interop/mst/*.json",
    "interop/mst/example_keys.txt",
];

/// The files that no test takes, and why.
const NOT_APPLICABLE: [(&str, &str); 11] = [
    (
        "atmos/cbor/testdata/data-model-fixtures.json",
        "the same as interop/data-model/data-model-fixtures.json",
    ),
    ("interop/data-model/data-model-valid.json", "records as JSON are written, never read"),
    ("interop/data-model/data-model-invalid.json", "records as JSON are written, never read"),
    ("interop/lexicon/*", "records are not held against lexicons"),
    ("interop/syntax/datetime_*.txt", "times are passed on as they are written"),
    ("interop/syntax/language_*.txt", "languages are passed on as they are written"),
    ("interop/syntax/uri_*.txt", "links are passed on as they are written"),
    ("interop/mst/gen_keys.py", "a program"),
    ("interop/README.md", "no vectors"),
    ("interop/LICENSE-CC0", "no vectors"),
    ("atmos/LICENSE-MIT", "no vectors"),
];

/// Whether a path fits a pattern with at most one `*`.
fn fits(path: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => path == pattern,
        Some((start, end)) => path.starts_with(start) && path.ends_with(end),
    }
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn every_published_vector_is_tested_or_known_not_to_apply() {
    let Some(fixtures) = shared_file("fixtures") else { return };
    let mut found = Vec::new();
    for suite in ["interop", "atmos"] {
        files(&fixtures.join(suite), &mut found);
    }
    assert!(!found.is_empty());
    for file in found {
        let path = file.strip_prefix(&fixtures).unwrap().to_str().unwrap();
        let is_tested = TESTED.iter().any(|pattern| fits(path, pattern));
        let is_known = NOT_APPLICABLE.iter().any(|(pattern, _)| fits(path, pattern));
        assert!(is_tested != is_known, "{path}");
    }
}
