//! How a log is opened.

mod with;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::files::facts::Span;
use crate::audit::files::manifest::InOneFile;
use crate::audit::keys::Keyring;
use crate::audit::keys::histories::KnownHead;
use crate::audit::state::status::Mode;
use crate::audit::tree::merkle::Hash;
use crate::clock::{Clock, SystemClock};
use crate::defaults;
use crate::field_path::FieldPath;
use crate::fsio::{OsFs, SharedFs};
use crate::origin_prefix::{OriginPrefix, OriginPrefixError};

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Durability {
    /// Acknowledged means durable (fdatasync'd): nothing acknowledged is lost to
    /// a crash of the process or of the machine.
    Commit = 1,
    /// Acknowledged means accepted into memory. A crash of the process loses what
    /// was not yet written, a power loss what was not yet synced: at most one
    /// `write_flush_interval`, or `write_buffer_size` events if those come first.
    Interval = 2,
}

/// A token bucket for each source.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct RateLimit {
    /// Events a second; default 100.
    pub per_second: f64,
    /// Events at once; default 200.
    pub burst: u32,
    /// Sources remembered; default 10,000. Bounds memory.
    pub max_sources: usize,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            per_second: f64::from(defaults::RATE_PER_SECOND),
            burst: defaults::RATE_BURST,
            max_sources: defaults::RATE_MAX_SOURCES,
        }
    }
}

/// Free-space stages; each begins below the smaller of its two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct DiskThresholds {
    /// Warning, percent of the file system; default 10.
    pub warn_percent: u8,
    /// Warning, bytes; default 1 GiB.
    pub warn_bytes: u64,
    /// Critical, percent of the file system; default 5.
    pub critical_percent: u8,
    /// Critical, bytes; default 256 MiB.
    pub critical_bytes: u64,
}

impl Default for DiskThresholds {
    fn default() -> Self {
        Self {
            warn_percent: defaults::DISK_WARN_PERCENT,
            warn_bytes: defaults::DISK_WARN_BYTES,
            critical_percent: defaults::DISK_CRITICAL_PERCENT,
            critical_bytes: defaults::DISK_CRITICAL_BYTES,
        }
    }
}

/// A backup of the log, as its signed metadata has it. Whether its root is one of
/// this log's own is for the log to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupClaim {
    /// Its id.
    pub id: String,
    /// Its first record.
    pub first_seq: u64,
    /// The size of the tree that it holds.
    pub tree_size: u64,
    /// That tree's root, which a key of the log has signed.
    pub root: Hash,
    /// Records below `tree_size` that it does not hold.
    pub holes: Vec<Span>,
}

/// Knows the backups of a log. Retention asks, in a thread of low priority that may
/// take its time.
pub trait BackupsHold: Send + Sync + std::fmt::Debug {
    /// The backups of the log whose metadata one of its keys has signed. Archives are
    /// not read.
    ///
    /// # Errors
    /// When the place of the backups cannot be looked at, or is not there.
    fn claims(&self, log_id: &str, keys: &Keyring) -> io::Result<Vec<BackupClaim>>;

    /// The same, where only these records matter.
    ///
    /// # Errors
    /// As [`claims`](Self::claims).
    fn claims_on(
        &self,
        log_id: &str,
        keys: &Keyring,
        wanted: std::ops::Range<u64>,
    ) -> io::Result<Vec<BackupClaim>> {
        let _ = wanted;
        self.claims(log_id, keys)
    }

    /// Whether the backup's archive still is what its metadata says. All of it has
    /// been read since it last changed. `go_on` is asked after each piece; when it
    /// says no, the answer is no.
    fn is_whole(&self, id: &str, go_on: &(dyn Fn() -> bool + Sync)) -> bool;

    /// The same, where only these records matter, which it has claimed.
    fn is_whole_on(
        &self,
        id: &str,
        wanted: std::ops::Range<u64>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> bool {
        let _ = wanted;
        self.is_whole(id, go_on)
    }

    /// The signed heads of the log that the backups have. None when that cannot be
    /// told.
    fn heads(&self, log_id: &str) -> Vec<KnownHead>;
}

/// What retention asks before it removes what is old enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum RetentionRule {
    /// It removes only what a backup is proven to hold. A log that was never backed up,
    /// whose backups cannot be seen, or that has nobody to ask for them
    /// ([`Options::backups_in`]) keeps everything, and `health` says so.
    #[default]
    OnlyWhatABackupHolds,
    /// It removes whatever is old enough. What no backup holds is gone for good then.
    RemovesWithoutBackup,
}

impl RetentionRule {
    /// Of the setting `retention_requires_backup`.
    #[must_use]
    pub fn from_setting(requires_backup: bool) -> Self {
        if requires_backup { Self::OnlyWhatABackupHolds } else { Self::RemovesWithoutBackup }
    }
}

/// How to open a log. Each option can be set by the method of its name, or as a field:
///
/// ```
/// use std::time::Duration;
///
/// use auditctl::{Durability, Options, RateLimit};
///
/// let options = Options::new("logs")
///     .rate_limit(RateLimit::new(5_000.0, 10_000))
///     .durability(Durability::Interval)
///     .retention(None)
///     .overflow_timeout(Duration::from_secs(1));
/// assert_eq!(options.retention, None);
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Options {
    /// The log directory; made (mode 0700) when it does not exist.
    pub dir: PathBuf,
    /// Who opens it, for records and health; default [`Mode::Library`].
    #[doc(hidden)]
    pub mode: Mode,
    /// What the origin of a log that is made begins with; default `auditctl`, which is no
    /// domain: set one for public witnesses. A log
    /// keeps the one that it was made with, whatever this says.
    pub origin: Option<OriginPrefix>,
    /// The signing key; default `audit.key` in the log directory.
    pub key_path: Option<PathBuf>,
    /// What is replaced by its HMAC before it is queued; default none.
    pub redact: Vec<FieldPath>,
    /// The key of those HMACs; default `audit.redact_key` in the log directory.
    pub redact_key_path: Option<PathBuf>,
    /// Default [`Durability::Commit`].
    pub durability: Durability,
    /// With interval durability: flush when so many events wait; default 100.
    pub write_buffer_size: usize,
    /// With interval durability: flush when the oldest event waited so long; default 5 s.
    pub write_flush_interval: Duration,
    /// Events accepted and not yet settled, at most; default 1000.
    pub write_queue_capacity: usize,
    /// Bytes of the same, at most; default 16 MiB.
    pub write_queue_bytes: u64,
    /// How long a caller waits for room, or for a log that cannot be written;
    /// default 5 s.
    pub overflow_timeout: Duration,
    /// gzip level for sealed segments, 1 to 9; default 6.
    pub compression_level: u32,
    /// `details` as compact JSON, in bytes, at most; default 50 KiB.
    pub max_details_size: usize,
    /// The active segment is sealed at this size in bytes; default 50 MiB.
    pub max_segment_size: u64,
    /// Or at this age; default 24 h.
    pub max_segment_age: Duration,
    /// A checkpoint is signed at most so long after something new is durable; default 1 s.
    pub checkpoint_interval: Duration,
    /// And so often when nothing is new; default 10 min.
    pub idle_checkpoint_interval: Duration,
    /// Sealed segments whose records are all older than this are removed, as
    /// [`retention_rule`](Self::retention_rule) allows; `None` keeps them for ever;
    /// default 90 days.
    pub retention: Option<Duration>,
    /// Whether what is removed has to be in a backup; default
    /// [`RetentionRule::OnlyWhatABackupHolds`].
    pub retention_rule: RetentionRule,
    /// How long an event's [`id`](crate::Event::id) is remembered: the same event of the same
    /// sender is not recorded again meanwhile. Zero remembers none; default 24 h.
    pub dedupe_window: Duration,
    /// How many ids are remembered, of all senders, at 64 bytes of memory each at most; 0
    /// remembers none; default 1,000,000.
    pub dedupe_ids: usize,
    /// Who knows what backups hold, and can prove it. Default none: nobody can, and
    /// nothing is removed. [`Options::backups_in`] names a directory of backups.
    #[doc(hidden)]
    pub backups: Option<Arc<dyn BackupsHold>>,
    /// Signed heads of this log that are kept outside its directory, such as those of
    /// its backups. A head that is ahead of the log, or that differs from it, means
    /// that the log was put back or copied: it is not opened then. Default none.
    #[doc(hidden)]
    pub heads: Vec<KnownHead>,
    /// Open it all the same: go on in a new epoch, and leave a record of it; default
    /// false.
    pub accept_rollback: bool,
    /// `None`: no rate limit.
    pub rate_limit: Option<RateLimit>,
    /// Free-space stages.
    pub disk: DiskThresholds,
    /// Size of the reserve file given up on a full disk; 0 for none; default 8 MiB.
    pub disk_reserve: u64,
    /// Answers that the query cache keeps; default 128.
    pub query_cache_size: usize,
    /// Groups of an answer that counts by group, at most; default 10,000.
    pub max_memory_events: usize,
    /// Continue a log whose stored records do not fit what was signed: the damaged ones
    /// are given up, and only those, where their hashes are known; a record says which
    /// they were. Else a new epoch begins with what is proven. Reads all of the log;
    /// default false.
    pub accept_corruption: bool,
    /// How much stands in the manifest itself; a test may have pages sooner.
    #[doc(hidden)]
    pub in_one_file: InOneFile,
    /// The file system; a test may give one that fails.
    #[doc(hidden)]
    pub fs: SharedFs,
    /// The clock; a test may give one that it sets.
    #[doc(hidden)]
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    /// For a log in `logs`, as the program's settings have it.
    fn default() -> Self {
        Self {
            dir: PathBuf::from(defaults::LOG_DIR),
            mode: Mode::Library,
            origin: None,
            key_path: None,
            redact: Vec::new(),
            redact_key_path: None,
            durability: Durability::Commit,
            write_buffer_size: defaults::WRITE_BUFFER_SIZE,
            write_flush_interval: defaults::WRITE_FLUSH_INTERVAL,
            write_queue_capacity: defaults::WRITE_QUEUE_CAPACITY,
            write_queue_bytes: defaults::WRITE_QUEUE_BYTES,
            overflow_timeout: defaults::OVERFLOW_TIMEOUT,
            compression_level: defaults::COMPRESSION_LEVEL,
            max_details_size: defaults::MAX_DETAILS_SIZE,
            max_segment_size: defaults::MAX_SEGMENT_SIZE,
            max_segment_age: defaults::MAX_SEGMENT_AGE,
            checkpoint_interval: defaults::CHECKPOINT_INTERVAL,
            idle_checkpoint_interval: defaults::IDLE_CHECKPOINT_INTERVAL,
            retention: retention_after(defaults::RETENTION_DAYS),
            retention_rule: RetentionRule::from_setting(defaults::RETENTION_REQUIRES_BACKUP),
            dedupe_window: defaults::DEDUPE_WINDOW,
            dedupe_ids: defaults::DEDUPE_IDS,
            backups: None,
            heads: Vec::new(),
            accept_rollback: false,
            rate_limit: Some(RateLimit::default()),
            disk: DiskThresholds::default(),
            disk_reserve: defaults::DISK_RESERVE,
            query_cache_size: defaults::QUERY_CACHE_SIZE,
            max_memory_events: defaults::MAX_MEMORY_EVENTS,
            accept_corruption: false,
            in_one_file: InOneFile::default(),
            fs: Arc::new(OsFs),
            clock: Arc::new(SystemClock),
        }
    }
}

impl Options {
    /// The defaults, for a log in `dir`. They are those of the program's settings, except that
    /// no directory of backups is set, so retention removes nothing: see
    /// [`backups_in`](Self::backups_in).
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), ..Self::default() }
    }

    /// What the origin of a log that is made begins with, such as `example.com/audit`.
    ///
    /// # Errors
    /// [`OriginPrefixError`] for what is no schema-less URL.
    pub fn with_origin(self, prefix: &str) -> Result<Self, OriginPrefixError> {
        Ok(Self { origin: Some(prefix.parse()?), ..self })
    }
}

/// `retention_days` as a time; 0 keeps everything for ever.
#[must_use]
pub fn retention_after(days: u32) -> Option<Duration> {
    (days > 0).then(|| Duration::from_secs(u64::from(days) * 24 * 3_600))
}

/// What may change while the log is open.
#[derive(Clone, Debug, Default)]
pub struct Tunables {
    /// `Some(None)` switches the rate limit off.
    pub rate_limit: Option<Option<RateLimit>>,
    /// What is redacted from now on; `None` leaves it as it is.
    pub redact: Option<Vec<FieldPath>>,
    /// What changed, for the `audit.config_changed` record.
    pub changes: Vec<super::own::Change>,
}
