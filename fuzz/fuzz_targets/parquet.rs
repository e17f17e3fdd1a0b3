//! See `fuzz/src/parquet.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auditctl_fuzz::parquet::check(data));
