//! Arbitrary bytes as packets of each version and as the first packet.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::run("codec", data));
