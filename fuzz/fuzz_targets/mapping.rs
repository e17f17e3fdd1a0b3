//! See `fuzz/src/mapping.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auditctl_fuzz::mapping::check(data));
