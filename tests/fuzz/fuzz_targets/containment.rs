//! The guard against enumeration, compared with all topics.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::run("containment", data));
