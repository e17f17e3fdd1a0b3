//! The settings themselves, with their defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::keys::{self, Key};
use super::layers::{Origin, Origins};
use super::profile::Profile;
use crate::units::ByteSize;

/// When an event counts as acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on disk (after fdatasync): it survives a power loss.
    #[default]
    Commit,
    /// Once it is in the write buffer: a crash may lose up to one
    /// `write_flush_interval` of acknowledged events.
    Interval,
}

/// Every setting, resolved. Made by [`load`](super::load), or by
/// [`Settings::default`]; what each field means, its unit and its range is in
/// [`KEYS`](super::KEYS) and docs/configuration.md.
///
/// Relative paths are relative to the working directory. Two settings are
/// equal only when their origins are too; see [`Settings::changes_from`].
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the table of keys documents each, for docs and help alike")]
pub struct Settings {
    pub log_dir: PathBuf,
    pub profile: Option<Profile>,
    pub write_buffer_size: usize,
    pub write_flush_interval: Duration,
    pub write_queue_capacity: usize,
    pub write_queue_bytes: ByteSize,
    pub overflow_timeout: Duration,
    pub durability: Durability,
    pub query_cache_size: usize,
    pub compression_level: u32,
    pub max_memory_events: usize,
    pub max_details_size: ByteSize,
    pub max_segment_size: ByteSize,
    pub max_segment_age: Duration,
    pub checkpoint_interval: Duration,
    pub idle_checkpoint_interval: Duration,
    pub retention_days: u32,
    pub retention_requires_backup: bool,
    pub key_path: Option<PathBuf>,
    pub expect_running: bool,
    pub disk_reserve: ByteSize,
    pub rate_limit: RateLimitSettings,
    pub disk: DiskSettings,
    pub collector: CollectorSettings,
    pub health: HealthSettings,
    pub backup: BackupSettings,
    pub(super) origins: Origins,
}

/// `[rate_limit]`: how many events a source may send.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the table of keys documents each, for docs and help alike")]
pub struct RateLimitSettings {
    pub enabled: bool,
    pub per_second: u32,
    pub burst: u32,
    pub max_sources: usize,
}

/// `[disk]`: free space that is little; of two thresholds the first met counts.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the table of keys documents each, for docs and help alike")]
pub struct DiskSettings {
    pub warn_percent: u8,
    pub warn_bytes: ByteSize,
    pub critical_percent: u8,
    pub critical_bytes: ByteSize,
}

/// `[collector]`: what `serve` listens on, and for whom.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the table of keys documents each, for docs and help alike")]
pub struct CollectorSettings {
    pub socket: Option<PathBuf>,
    /// `None` is "off".
    pub http: Option<SocketAddr>,
    pub token_file: Option<PathBuf>,
    pub allowed_uids: Vec<u32>,
    pub allowed_gids: Vec<u32>,
    pub max_connections: usize,
    pub max_connections_per_uid: usize,
    pub read_timeout: Duration,
    pub write_timeout: Duration,
    pub idle_timeout: Duration,
    pub max_body: ByteSize,
}

/// `[health]`: from where on a check warns, and is critical.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the table of keys documents each, for docs and help alike")]
pub struct HealthSettings {
    pub hung_after: Duration,
    pub write_buffer_warn: u64,
    pub write_buffer_critical: u64,
    pub log_bytes_warn: ByteSize,
    pub log_bytes_critical: ByteSize,
    pub blocked_warn: u64,
    pub blocked_critical: u64,
    pub validation_errors_warn: u64,
    pub validation_errors_critical: u64,
    pub security_warn: u64,
    pub security_critical: u64,
    pub deadline: Duration,
    pub checkpoint_age_critical: Duration,
}

/// `[backup]`: where backups go.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the table of keys documents each, for docs and help alike")]
pub struct BackupSettings {
    pub destination: Option<String>,
    pub output_dir: PathBuf,
}

const fn kib(count: u64) -> ByteSize {
    ByteSize(count << 10)
}

const fn mib(count: u64) -> ByteSize {
    ByteSize(count << 20)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The only place that says a default; the table, the documents and the
/// messages read it from here.
impl Default for Settings {
    fn default() -> Self {
        Self {
            log_dir: PathBuf::from("logs"),
            profile: None,
            write_buffer_size: 100,
            write_flush_interval: seconds(5),
            write_queue_capacity: 1_000,
            write_queue_bytes: mib(16),
            overflow_timeout: seconds(5),
            durability: Durability::Commit,
            query_cache_size: 128,
            compression_level: 6,
            max_memory_events: 10_000,
            max_details_size: kib(50),
            max_segment_size: mib(50),
            max_segment_age: seconds(24 * 3_600),
            checkpoint_interval: seconds(1),
            idle_checkpoint_interval: seconds(600),
            retention_days: 90,
            retention_requires_backup: true,
            key_path: None,
            expect_running: true,
            disk_reserve: mib(8),
            rate_limit: RateLimitSettings::default(),
            disk: DiskSettings::default(),
            collector: CollectorSettings::default(),
            health: HealthSettings::default(),
            backup: BackupSettings::default(),
            origins: Origins::default(),
        }
    }
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self { enabled: true, per_second: 100, burst: 200, max_sources: 10_000 }
    }
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            warn_percent: 10,
            warn_bytes: mib(1_024),
            critical_percent: 5,
            critical_bytes: mib(256),
        }
    }
}

impl Default for CollectorSettings {
    fn default() -> Self {
        Self {
            socket: None,
            http: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9_750))),
            token_file: None,
            allowed_uids: Vec::new(),
            allowed_gids: Vec::new(),
            max_connections: 256,
            max_connections_per_uid: 64,
            read_timeout: seconds(30),
            write_timeout: seconds(10),
            idle_timeout: seconds(600),
            max_body: mib(8),
        }
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            hung_after: seconds(5),
            write_buffer_warn: 500,
            write_buffer_critical: 800,
            log_bytes_warn: mib(1_024),
            log_bytes_critical: mib(5 * 1_024),
            blocked_warn: 500,
            blocked_critical: 1_000,
            validation_errors_warn: 20,
            validation_errors_critical: 50,
            security_warn: 5,
            security_critical: 10,
            deadline: seconds(8),
            checkpoint_age_critical: seconds(3_600),
        }
    }
}

impl Default for BackupSettings {
    fn default() -> Self {
        Self { destination: None, output_dir: PathBuf::from("backups/audit") }
    }
}

impl Settings {
    /// The signing key: `key_path`, else `audit.key` in `log_dir`.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.key_path.clone().unwrap_or_else(|| self.log_dir.join("audit.key"))
    }

    /// The collector's socket: `collector.socket`, else `audit.sock` in `log_dir`.
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.collector.socket.clone().unwrap_or_else(|| self.log_dir.join("audit.sock"))
    }

    /// Where the value of `key` (dotted, `collector.http`) comes from.
    /// [`Origin::Default`] for a name that is no key.
    #[must_use]
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.of(key)
    }

    /// Each key with its value as it would be written in the file (without
    /// quotes; empty when unset) and where that comes from, in the table's order.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, String, &Origin)> {
        keys::KEYS.iter().map(|key| (key.name, key.text(self), self.origin(key.name)))
    }

    /// The keys whose values differ between `earlier` and this, wherever they
    /// come from: what a reload changed.
    #[must_use]
    pub fn changes_from(&self, earlier: &Self) -> Vec<&'static Key> {
        keys::KEYS.iter().filter(|key| key.text(self) != key.text(earlier)).collect()
    }

    /// The keys whose values work, but lie outside what is recommended.
    #[must_use]
    pub fn unusual(&self) -> Vec<&'static Key> {
        let unusual = |key: &&Key| {
            key.recommended.zip(key.magnitude(self)).is_some_and(|(range, at)| !range.holds(at))
        };
        keys::KEYS.iter().filter(unusual).collect()
    }
}
