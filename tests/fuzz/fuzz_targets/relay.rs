//! Two connections: what one sends is written again for the other.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::run("relay", data));
