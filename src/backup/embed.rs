//! For whoever embeds the log: from the program's settings to the engine's options, and
//! a directory of backups for retention to ask. It stands here because the engine knows
//! neither settings nor backups, and this floor knows all three.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::directory::BackupDir;
use super::heads::{Heads, MAX_HEADS, heads};
use super::holder::Holder;
use crate::audit::files::manifest::InOneFile;
use crate::audit::state::status::Mode;
use crate::audit::write::options::retention_after;
use crate::audit::{DiskThresholds, Durability, Options, RateLimit, RetentionRule};
use crate::clock::SystemClock;
use crate::config::{self, BackupSettings, DiskSettings, RateLimitSettings, Settings};
use crate::fsio::OsFs;

/// A file system that hangs keeps nobody longer from opening a log.
const PATIENCE: Duration = Duration::from_secs(10);

impl Options {
    /// Names the directory of the log's backups, as the setting `backup.output_dir` does
    /// for the program: retention removes what a backup there is proven to hold, and the
    /// log is compared with their signed heads, now and while it is open, so that an old
    /// copy of it is noticed. The directory need not be there yet.
    ///
    /// What cannot be read is told by `tracing`, and proves nothing.
    #[must_use]
    pub fn backups_in(mut self, dir: impl Into<PathBuf>) -> Self {
        let dir = BackupDir::new(self.fs.clone(), &dir.into());
        self.heads.extend(heads_in(&dir));
        self.backups = Some(Arc::new(Holder::new(dir)));
        self
    }
}

fn heads_in(dir: &BackupDir) -> Vec<crate::audit::keys::histories::KnownHead> {
    let (sender, found) = mpsc::sync_channel(1);
    let (place, dir) = (dir.path().display().to_string(), dir.clone());
    // It ends with the process when the file system hangs.
    let started = std::thread::Builder::new().name("audit-heads".to_owned()).spawn(move || {
        let _ = sender.send(heads(&*dir.fs, dir.path(), None, MAX_HEADS));
    });
    let found = started.ok().and_then(|_| found.recv_timeout(PATIENCE).ok());
    match found {
        Some(Ok(Heads { heads, skipped, .. })) => {
            for what in skipped {
                tracing::warn!("the log was not compared with {what}");
            }
            heads
        }
        Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Some(Err(error)) => {
            tracing::warn!(%error, "the log is not compared with the backups in {place}");
            Vec::new()
        }
        None => {
            tracing::warn!("the log is not compared with the backups in {place}: no answer");
            Vec::new()
        }
    }
}

impl From<&Settings> for Options {
    /// What the settings say of the engine. The log is opened as a library's; of the
    /// backups in `backup.output_dir` retention asks, and their heads are not read yet
    /// ([`Options::backups_in`] does that, `auditctl` by itself).
    ///
    /// Each setting is named here, and each option: one that nobody maps does not
    /// compile.
    fn from(settings: &Settings) -> Self {
        let Settings {
            log_dir,
            origin,
            profile: _, // its values are those of the keys that it sets
            write_buffer_size,
            write_flush_interval,
            write_queue_capacity,
            write_queue_bytes,
            overflow_timeout,
            durability,
            query_cache_size,
            compression_level,
            max_memory_events,
            max_details_size,
            max_segment_size,
            max_segment_age,
            checkpoint_interval,
            idle_checkpoint_interval,
            retention_days,
            retention_requires_backup,
            dedupe_window,
            dedupe_ids,
            key_path,
            redact,
            redact_key_path,
            expect_running: _, // of health
            audit_reads: _,    // of the collector
            disk_reserve,
            alerts: _,
            mapping: _,
            listener: _,
            alerting: _,
            rate_limit,
            disk,
            collector: _,
            health: _,
            backup:
                BackupSettings {
                    destination: _,
                    output_dir,
                    incremental: _,
                    full_every: _,
                    encrypt_to: _,
                },
            witness: _, // the collector asks them
            archive: _, // the collector's, and `auditctl archive`'s
            origins: _,
        } = settings;
        let backups = BackupDir::new(Arc::new(OsFs), output_dir);
        Self {
            dir: log_dir.clone(),
            mode: Mode::Library,
            origin: origin.clone(),
            key_path: key_path.clone(),
            redact: redact.clone(),
            redact_key_path: redact_key_path.clone(),
            durability: match durability {
                config::Durability::Commit => Durability::Commit,
                config::Durability::Interval => Durability::Interval,
            },
            write_buffer_size: *write_buffer_size,
            write_flush_interval: *write_flush_interval,
            write_queue_capacity: *write_queue_capacity,
            write_queue_bytes: write_queue_bytes.0,
            overflow_timeout: *overflow_timeout,
            compression_level: *compression_level,
            max_details_size: max_details_size.0 as usize,
            max_segment_size: max_segment_size.0,
            max_segment_age: *max_segment_age,
            checkpoint_interval: *checkpoint_interval,
            idle_checkpoint_interval: *idle_checkpoint_interval,
            retention: retention_after(*retention_days),
            retention_rule: RetentionRule::from_setting(*retention_requires_backup),
            dedupe_window: *dedupe_window,
            dedupe_ids: *dedupe_ids,
            backups: Some(Arc::new(Holder::new(backups))),
            heads: Vec::new(),
            accept_rollback: false,
            rate_limit: rate_limit.into(),
            disk: disk.into(),
            disk_reserve: disk_reserve.0,
            query_cache_size: *query_cache_size,
            max_memory_events: *max_memory_events,
            accept_corruption: false,
            in_one_file: InOneFile::default(),
            fs: Arc::new(OsFs),
            clock: Arc::new(SystemClock),
        }
    }
}

impl From<&RateLimitSettings> for Option<RateLimit> {
    /// `None` where sources are not limited.
    fn from(settings: &RateLimitSettings) -> Self {
        let RateLimitSettings { enabled, per_second, burst, max_sources } = *settings;
        enabled.then(|| RateLimit { per_second: f64::from(per_second), burst, max_sources })
    }
}

impl From<&DiskSettings> for DiskThresholds {
    fn from(settings: &DiskSettings) -> Self {
        let DiskSettings { warn_percent, warn_bytes, critical_percent, critical_bytes } = *settings;
        let (warn_bytes, critical_bytes) = (warn_bytes.0, critical_bytes.0);
        Self { warn_percent, warn_bytes, critical_percent, critical_bytes }
    }
}
