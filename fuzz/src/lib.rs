//! What must hold for any input whatever. Each module has a function `check` of
//! some bytes, which panics where it does not. libFuzzer calls it from
//! `fuzz_targets/`, and `tests/it/corpora.rs` on every committed input.

pub mod checkpoint;
pub mod config;
pub mod event;
pub mod gzip;
pub mod http;
pub mod manifest;
pub mod mapping;
mod memory;
pub mod metadata;
pub mod parquet;
mod peer;
pub mod socket;

/// Panics where something does not hold for these bytes.
pub type Check = fn(&[u8]);

/// By name, as the folders of `corpus/` are called.
pub const CHECKS: [(&str, Check); 10] = [
    ("checkpoint", checkpoint::check),
    ("config", config::check),
    ("event", event::check),
    ("gzip", gzip::check),
    ("http", http::check),
    ("manifest", manifest::check),
    ("mapping", mapping::check),
    ("metadata", metadata::check),
    ("parquet", parquet::check),
    ("socket", socket::check),
];
