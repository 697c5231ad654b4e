//! See [`wingbeat_fuzz::jetstream`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wingbeat_fuzz::jetstream(bytes));
