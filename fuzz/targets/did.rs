//! See [`wingbeat_fuzz::did`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wingbeat_fuzz::did(bytes));
