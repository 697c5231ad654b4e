//! See [`wingbeat_fuzz::mst`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wingbeat_fuzz::mst(bytes));
