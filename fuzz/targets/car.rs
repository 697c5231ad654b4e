//! See [`wingbeat_fuzz::car`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wingbeat_fuzz::car(bytes));
