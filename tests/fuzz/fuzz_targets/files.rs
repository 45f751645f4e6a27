//! Arbitrary bytes as files of the store.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::run("files", data));
