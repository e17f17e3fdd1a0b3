//! See `fuzz/src/socket.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auditctl_fuzz::socket::check(data));
