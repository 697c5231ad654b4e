//! Tells the crate whether there is an encoder to embed.

use std::path::Path;

fn main() {
    // Seen from the crate's folder. Whoever builds without these files gets a program without them.
    let models = Path::new("../../models");
    println!("cargo::rerun-if-changed={}", models.display());
    println!("cargo::rustc-check-cfg=cfg(encoder_embedded)");
    if models.join("encoder/encoder.onnx").exists() {
        println!("cargo::rustc-cfg=encoder_embedded");
    }
}
