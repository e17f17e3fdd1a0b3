//! See `fuzz/src/metadata.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auditctl_fuzz::metadata::check(data));
