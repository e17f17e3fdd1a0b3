//! See `fuzz/src/gzip.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auditctl_fuzz::gzip::check(data));
