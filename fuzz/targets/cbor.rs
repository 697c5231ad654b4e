//! See [`wingbeat_fuzz::cbor`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wingbeat_fuzz::cbor(bytes));
