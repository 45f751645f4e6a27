//! Arbitrary text as an ACL file, bound to several clients.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::run("acl", data));
