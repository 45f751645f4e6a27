//! PINGREQ, DISCONNECT and what no client may send, beside a slow reader.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::run("control", data));
