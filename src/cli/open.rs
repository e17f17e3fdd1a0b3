//! From settings to the engine's options, in one place.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::status::Mode;
use crate::audit::{DiskThresholds, Durability, Options, RateLimit};
use crate::backup::{BackupDir, Holder};
use crate::config::{self, Settings};
use crate::fsio::{OsFs, SharedFs};

/// The options that the settings say.
pub(super) fn options(settings: &Settings, mode: Mode) -> Options {
    Options {
        mode,
        key_path: settings.key_path.clone(),
        redact: settings.redact.clone(),
        redact_key_path: settings.redact_key_path.clone(),
        durability: match settings.durability {
            config::Durability::Commit => Durability::Commit,
            config::Durability::Interval => Durability::Interval,
        },
        write_buffer_size: settings.write_buffer_size,
        write_flush_interval: settings.write_flush_interval,
        write_queue_capacity: settings.write_queue_capacity,
        write_queue_bytes: settings.write_queue_bytes.0,
        overflow_timeout: settings.overflow_timeout,
        compression_level: settings.compression_level,
        max_details_size: settings.max_details_size.0 as usize,
        max_segment_size: settings.max_segment_size.0,
        max_segment_age: settings.max_segment_age,
        checkpoint_interval: settings.checkpoint_interval,
        idle_checkpoint_interval: settings.idle_checkpoint_interval,
        retention: match settings.retention_days {
            0 => None,
            days => Some(Duration::from_secs(u64::from(days) * 24 * 3600)),
        },
        retention_requires_backup: settings.retention_requires_backup,
        backups: Some(Arc::new(Holder::new(directory(settings)))),
        rate_limit: rate_limit(settings),
        disk: DiskThresholds {
            warn_percent: settings.disk.warn_percent,
            warn_bytes: settings.disk.warn_bytes.0,
            critical_percent: settings.disk.critical_percent,
            critical_bytes: settings.disk.critical_bytes.0,
        },
        disk_reserve: settings.disk_reserve.0,
        query_cache_size: settings.query_cache_size,
        max_memory_events: settings.max_memory_events,
        ..Options::new(&settings.log_dir)
    }
}

/// The rate limit, if one is set.
pub(super) fn rate_limit(settings: &Settings) -> Option<RateLimit> {
    let limit = &settings.rate_limit;
    limit.enabled.then(|| RateLimit {
        per_second: f64::from(limit.per_second),
        burst: limit.burst,
        max_sources: limit.max_sources,
    })
}

/// The directory of backups that the settings name.
pub(super) fn directory(settings: &Settings) -> BackupDir {
    BackupDir::new(shared_fs(), &settings.backup.output_dir)
}

/// The operating system's files.
pub(super) fn shared_fs() -> SharedFs {
    Arc::new(OsFs)
}
