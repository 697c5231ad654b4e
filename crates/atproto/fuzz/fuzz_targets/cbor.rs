//! Any bytes as CBOR, a CAR, and a post: nothing panics, the strict check is never the more
//! lenient one, and what it accepts becomes JSON.
//!
//! `cargo +nightly fuzz run cbor` in `crates/atproto`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wingbeat_atproto::{
    Car, Post,
    cbor::{self, Reader},
    to_json,
};

fuzz_target!(|bytes: &[u8]| {
    let is_canonical = cbor::check(bytes).is_ok();
    if is_canonical {
        let mut reader = Reader::new(bytes);
        assert!(reader.skip().is_ok() && reader.end().is_ok());
    }
    assert_eq!(to_json(bytes).is_ok(), is_canonical);
    if Post::decode(bytes).is_ok() {
        assert!(is_canonical);
    }
    let _ = Car::parse(bytes).map(|car| car.blocks().count());
});
