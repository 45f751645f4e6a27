//! Arbitrary bytes as a configuration file.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::run("conf", data));
