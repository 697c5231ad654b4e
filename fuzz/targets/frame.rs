//! See [`wingbeat_fuzz::frame`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wingbeat_fuzz::frame(bytes));
