//! SUBSCRIBE of each version, beside a slow reader.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::run("subscribe", data));
