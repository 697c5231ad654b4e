//! See [`wingbeat_fuzz::zstd`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wingbeat_fuzz::zstd(bytes));
