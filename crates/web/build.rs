//! Takes the built page (`ui/dist`) into the binary. Where it was not built, a plain page that
//! says how stands in its place, so that the server can be built and tested without Node.

#![expect(clippy::unwrap_used, reason = "a build script fails by panicking")]

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const PLACEHOLDER: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Wingbeat</title>\
<h1>The dashboard's page was not built</h1><p>Run <code>make ui</code>, then build again. \
The interface under <code>/api/</code> works all the same.</p></html>";

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../ui/dist");
    println!("cargo::rerun-if-changed={}", root.display());
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let mut files = Vec::new();
    if root.join("index.html").exists() {
        collect(&root, &root, &mut files);
        files.sort();
    } else {
        let page = out.join("placeholder.html");
        fs::write(&page, PLACEHOLDER).unwrap();
        files.push(("index.html".to_owned(), page));
    }
    let mut code = String::from("pub(crate) static FILES: &[(&str, &[u8])] = &[\n");
    for (name, path) in files {
        println!("cargo::rerun-if-changed={}", path.display());
        let path = path.canonicalize().unwrap();
        writeln!(code, "    ({name:?}, include_bytes!({path:?})),").unwrap();
    }
    code.push_str("];\n");
    fs::write(out.join("assets.rs"), code).unwrap();
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.push((name, path));
        }
    }
}
