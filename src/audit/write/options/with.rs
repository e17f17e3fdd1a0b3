//! The options one by one: `Options::new(dir).rate_limit(None).durability(…)`.

use std::path::PathBuf;
use std::time::Duration;

use super::{DiskThresholds, Durability, Options, RateLimit, RetentionRule};
use crate::field_path::FieldPath;

/// A method for each option, called as its field, which has the documentation.
macro_rules! with {
    ($($option:ident: $taken:ty;)+) => {
        impl Options {
            $(
                #[doc = concat!(
                    "Sets the field [`", stringify!($option), "`](Self#structfield.",
                    stringify!($option), "), which says what it means and what its default is."
                )]
                #[must_use]
                pub fn $option(mut self, $option: $taken) -> Self {
                    self.$option = $option.into();
                    self
                }
            )+
        }
    };
}

with! {
    redact: impl Into<Vec<FieldPath>>;
    durability: Durability;
    write_buffer_size: usize;
    write_flush_interval: Duration;
    write_queue_capacity: usize;
    write_queue_bytes: u64;
    overflow_timeout: Duration;
    compression_level: u32;
    max_details_size: usize;
    max_segment_size: u64;
    max_segment_age: Duration;
    checkpoint_interval: Duration;
    idle_checkpoint_interval: Duration;
    retention: impl Into<Option<Duration>>;
    retention_rule: RetentionRule;
    dedupe_window: Duration;
    dedupe_ids: usize;
    rate_limit: impl Into<Option<RateLimit>>;
    disk: DiskThresholds;
    disk_reserve: u64;
    query_cache_size: usize;
    max_memory_events: usize;
    accept_rollback: bool;
    accept_corruption: bool;
}

impl Options {
    /// The file of the signing key, which is made when there is none; by default `audit.key`
    /// in the log directory. Better on another file system than the log.
    #[must_use]
    pub fn key_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.key_path = Some(path.into());
        self
    }

    /// The file of the key for what is redacted; by default `audit.redact_key` in the log
    /// directory.
    #[must_use]
    pub fn redact_key_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.redact_key_path = Some(path.into());
        self
    }
}

impl RateLimit {
    /// So many events a second of each source, and so many at once.
    #[must_use]
    pub fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst, ..Self::default() }
    }
}
