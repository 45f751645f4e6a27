//! A whole connection: bytes in, virtual time.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::run("connection", data));
