//! What holds when nothing is said, in one place: the library's
//! [`Options`](crate::audit::Options) and the program's
//! [`Settings`](crate::config::Settings) both take it from here, so that whoever embeds
//! the log is as safe as who runs the program.

use std::time::Duration;

/// What the origin of a new log begins with. It is no domain: whoever shows checkpoints
/// to public witnesses sets one of their own.
pub const ORIGIN: &str = "auditctl";
/// Events that wait before they are written together, with interval durability.
pub const WRITE_BUFFER_SIZE: usize = 100;
/// How long the oldest waits at most, with interval durability.
pub const WRITE_FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// Events accepted and not yet durable.
pub const WRITE_QUEUE_CAPACITY: usize = 1_000;
/// Bytes of the same.
pub const WRITE_QUEUE_BYTES: u64 = 16 << 20;
/// How long a caller waits for room.
pub const OVERFLOW_TIMEOUT: Duration = Duration::from_secs(5);
/// gzip level for sealed segments.
pub const COMPRESSION_LEVEL: u32 = 6;
/// `details` as compact JSON, in bytes.
pub const MAX_DETAILS_SIZE: usize = 50 << 10;
/// The active segment is sealed at this size in bytes.
pub const MAX_SEGMENT_SIZE: u64 = 50 << 20;
/// Or at this age.
pub const MAX_SEGMENT_AGE: Duration = Duration::from_secs(24 * 3_600);
/// A checkpoint is signed so often while something is new.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// And so often while nothing is.
pub const IDLE_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(600);
/// Records older than so many days may be removed, if a backup holds them.
pub const RETENTION_DAYS: u32 = 90;
/// Whether retention removes only what a backup is proven to hold.
pub const RETENTION_REQUIRES_BACKUP: bool = true;
/// How long an event's id is remembered.
pub const DEDUPE_WINDOW: Duration = Duration::from_secs(24 * 3_600);
/// How many ids are remembered.
pub const DEDUPE_IDS: usize = 1_000_000;
/// Events a second that a source may send.
pub const RATE_PER_SECOND: u32 = 100;
/// Events that a source may send at once.
pub const RATE_BURST: u32 = 200;
/// Sources whose rate is remembered.
pub const RATE_MAX_SOURCES: usize = 10_000;
/// Little space, in percent of the file system: a warning.
pub const DISK_WARN_PERCENT: u8 = 10;
/// Little space, in bytes: a warning.
pub const DISK_WARN_BYTES: u64 = 1 << 30;
/// Little space, in percent of the file system: critical.
pub const DISK_CRITICAL_PERCENT: u8 = 5;
/// Little space, in bytes: critical.
pub const DISK_CRITICAL_BYTES: u64 = 256 << 20;
/// The reserve that is given up on a full disk, in bytes.
pub const DISK_RESERVE: u64 = 8 << 20;
/// Answers that the query cache keeps.
pub const QUERY_CACHE_SIZE: usize = 128;
/// Groups of an answer that counts by group.
pub const MAX_MEMORY_EVENTS: usize = 10_000;
/// A request's body, in bytes.
pub const MAX_BODY: u64 = 8 << 20;
/// Where a log is.
pub const LOG_DIR: &str = "logs";
/// Where backups are.
pub const BACKUP_DIR: &str = "backups/audit";
