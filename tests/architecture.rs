//! The rules that ARCHITECTURE.md and INVARIANTS.md state.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The floor of each crate, from the table in ARCHITECTURE.md.
fn floors() -> BTreeMap<String, u32> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.split("## Floors").nth(1).unwrap().split("##").next().unwrap();
    let mut floors = BTreeMap::new();
    for line in table.lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (Some(Ok(floor)), Some(crates)) = (cells.next().map(str::parse::<u32>), cells.next())
        else {
            continue;
        };
        for part in crates.split('·') {
            let name = part.split('`').nth(1).unwrap();
            floors.insert(name.to_owned(), floor);
        }
    }
    floors
}

#[test]
fn a_crate_imports_only_from_floors_below_its_own() {
    let floors = floors();
    let mut checked = 0;
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let directory = entry.unwrap().path();
        let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(floor) = floors.get(&name) else {
            panic!("`{name}` has no floor in ARCHITECTURE.md")
        };
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap();
        for line in dependencies.lines().filter_map(|line| line.strip_prefix("wingbeat-")) {
            let other = line.split(['.', ' ', '=']).next().unwrap();
            assert!(floors[other] < *floor, "`{name}` (floor {floor}) imports `{other}`");
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} imports were found");
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let mut code = String::new();
    for folder in ["crates", "tests"] {
        read_rust(&root().join(folder), &mut code);
    }
    let text = fs::read_to_string(root().join("INVARIANTS.md")).unwrap();
    let names: Vec<&str> = text
        .split('`')
        .filter(|part| part.starts_with('i') && part[1..].starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    for name in &names {
        assert!(
            code.contains(&format!("fn {name}("))
                || code.contains(&format!("            {name}\n")),
            "there is no test `{name}`"
        );
    }
    for number in 1..=10 {
        let is_named = names.iter().any(|name| name.contains(&format!("i{number}_")));
        // Invariant 7 has nothing to hold yet, and the page says so.
        assert!(is_named || number == 7, "invariant {number} names no test");
    }
    assert!(names.len() > 30);
}

fn read_rust(directory: &Path, code: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            read_rust(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
