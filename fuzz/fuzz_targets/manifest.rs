//! See `fuzz/src/manifest.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auditctl_fuzz::manifest::check(data));
