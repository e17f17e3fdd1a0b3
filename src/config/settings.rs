//! The settings themselves, with their defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::alert::{AlertSettings, SecretUrl};
use super::durability::Durability;
use super::listener_keys::Listener;
use super::mapping_keys::Mappings;
use super::origin::{Origin, Origins};
use super::profile::Profile;
use crate::defaults;
use crate::field_path::FieldPath;
use crate::origin_prefix::OriginPrefix;
use crate::units::ByteSize;

/// Every setting, resolved. Made by [`load`](super::load), or by
/// [`Settings::default`]; ranges are in [`KEYS`](super::KEYS) and
/// docs/configuration.md. `None` is unset, and "off" for `collector.http`.
///
/// Relative paths are relative to the working directory. Two settings are
/// equal only when their origins are too; see [`Settings::changes_from`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Settings {
    /// The log directory.
    pub log_dir: PathBuf,
    /// The prefix of a new log's origin: a host of yours and perhaps a path, such as example.com/audit; unless set, auditctl, which is not a domain: set one for public witnesses.
    pub origin: Option<OriginPrefix>,
    /// A set of values for four keys, by name; see Profiles.
    pub profile: Option<Profile>,
    /// How many events are collected before they are written together.
    pub write_buffer_size: usize,
    /// The longest time that an event waits before it is written.
    pub write_flush_interval: Duration,
    /// How many events may be accepted but not yet durable; unless set, at least twice write_buffer_size if that reaches it.
    pub write_queue_capacity: usize,
    /// How many bytes may be accepted but not yet durable.
    pub write_queue_bytes: ByteSize,
    /// How long a caller waits if the queue is full, before it is refused as busy.
    pub overflow_timeout: Duration,
    /// When an event is acknowledged: commit, once it is on disk; interval, once it is buffered (a crash may lose one write_flush_interval).
    pub durability: Durability,
    /// How many answers the query cache keeps.
    pub query_cache_size: usize,
    /// How hard sealed segments are compressed: 1 fast, 9 small.
    pub compression_level: u32,
    /// The most groups, and with --json the most records, that one answer holds.
    pub max_memory_events: usize,
    /// How large the details of one event may be.
    pub max_details_size: ByteSize,
    /// A segment is sealed when it is this large.
    pub max_segment_size: ByteSize,
    /// A segment is sealed when it is this old.
    pub max_segment_age: Duration,
    /// How often a checkpoint is signed while events arrive.
    pub checkpoint_interval: Duration,
    /// How often a checkpoint is signed while none do.
    pub idle_checkpoint_interval: Duration,
    /// Sealed segments older than this are removed; 0 keeps them for ever.
    pub retention_days: u32,
    /// Whether retention removes only records that a backup is proven to hold; false removes old records even if no backup holds them.
    pub retention_requires_backup: bool,
    /// How long the id of an event is remembered, so that the same event of the same sender is not recorded twice; 0s remembers none.
    pub dedupe_window: Duration,
    /// How many ids are remembered, of all senders together, at up to 64 bytes of memory each; 0 remembers none.
    pub dedupe_ids: usize,
    /// The signing key; unless set, audit.key in log_dir.
    pub key_path: Option<PathBuf>,
    /// Values to replace by their HMAC before they are stored: names of keys, and paths such as details.card.*; see docs/redaction.md.
    pub redact: Vec<FieldPath>,
    /// The key of those HMACs; unless set, audit.redact_key in log_dir.
    pub redact_key_path: Option<PathBuf>,
    /// Whether health warns when no writer runs.
    pub expect_running: bool,
    /// Whether each query to the collector leaves an audit.query record, durable before it is answered.
    pub audit_reads: bool,
    /// Disk space reserved for closing the log cleanly on a full disk; 0B for none.
    pub disk_reserve: ByteSize,
    /// Alerts: tables in the file; see Alerts.
    pub alerts: Vec<AlertSettings>,
    /// Mappings of foreign events: tables in the file; see Mappings.
    pub mapping: Mappings,
    /// Listeners for foreign events without answers: tables in the file; see Listeners.
    pub listener: Vec<Listener>,
    /// The keys of `[alerting]`.
    pub alerting: AlertingSettings,
    /// The keys of `[rate_limit]`.
    pub rate_limit: RateLimitSettings,
    /// The keys of `[disk]`.
    pub disk: DiskSettings,
    /// The keys of `[collector]`.
    pub collector: CollectorSettings,
    /// The keys of `[health]`.
    pub health: HealthSettings,
    /// `[witness]`.
    pub witness: WitnessSettings,
    /// The keys of `[backup]`.
    pub backup: BackupSettings,
    /// The keys of `[archive]`.
    pub archive: ArchiveSettings,
    pub(crate) origins: Origins,
}

/// `[alerting]`: how alerts are delivered, whichever they are.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct AlertingSettings {
    /// Internal targets that alerts may reach: name, name:port, address, address:port or network.
    pub allow: Vec<String>,
    /// Whether plain http, and e-mail without TLS, may go to the targets in allow.
    pub allow_http: bool,
    /// How many deliveries of one alert may wait.
    pub queue_events: usize,
    /// How many bytes the waiting deliveries of one alert may have.
    pub queue_bytes: ByteSize,
    /// How long one try of a delivery may take.
    pub timeout: Duration,
    /// The longest pause between two tries.
    pub retry_pause_max: Duration,
    /// How long a delivery is tried before it has failed.
    pub give_up_after: Duration,
}

/// `[rate_limit]`: how many events a source may send.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct RateLimitSettings {
    /// Whether sources are limited.
    pub enabled: bool,
    /// Events a second of one source of one sender.
    pub per_second: u32,
    /// Events of one source of one sender at once.
    pub burst: u32,
    /// How many sources are remembered, each for every sender; beyond that, the sender with the most loses the one that was silent longest.
    pub max_sources: usize,
}

/// `[disk]`: free space that is little. The smaller of the two thresholds counts:
/// the percentage on a small disk, the bytes on a large one.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct DiskSettings {
    /// Warn when less than the smaller of this share of the disk and warn_bytes is free.
    pub warn_percent: u8,
    /// Warn when less than the smaller of this and warn_percent of the disk is free.
    pub warn_bytes: ByteSize,
    /// Critical when less than the smaller of this share of the disk and critical_bytes is free.
    pub critical_percent: u8,
    /// Critical when less than the smaller of this and critical_percent of the disk is free.
    pub critical_bytes: ByteSize,
}

/// `[collector]`: what `serve` listens on, and for whom.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct CollectorSettings {
    /// The collector's Unix socket; unless set, audit.sock in log_dir.
    pub socket: Option<PathBuf>,
    /// Where the collector answers HTTP, or off; anything but loopback needs token_file, and tls_cert with tls_key or allow_plain_http.
    pub http: Option<SocketAddr>,
    /// The file of tokens for HTTP, made by auditctl token new.
    pub token_file: Option<PathBuf>,
    /// Events a second of a token that was made without a rate; twice as many at once.
    pub token_rate: u32,
    /// HTTP requests a second of a token; twice as many at once.
    pub token_requests: u32,
    /// The certificate for HTTPS, in PEM, followed by its chain; if set, the collector uses HTTPS on every address.
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM, readable by its owner alone.
    pub tls_key: Option<PathBuf>,
    /// Whether HTTP beyond loopback is allowed without TLS, because a proxy on another machine provides it.
    pub allow_plain_http: bool,
    /// User ids that may write, at the socket and over HTTP on loopback, beside root and the collector's own.
    pub allowed_uids: Vec<u32>,
    /// Group ids that may write; at the socket the program's effective group counts, over HTTP on loopback any group of the user.
    pub allowed_gids: Vec<u32>,
    /// User ids that may query, beside root and the collector's own.
    pub read_uids: Vec<u32>,
    /// Group ids that may query.
    pub read_gids: Vec<u32>,
    /// User ids whose collector a sender trusts, in addition to root and the owner of log_dir; for senders without that directory.
    pub trusted_uids: Vec<u32>,
    /// A file to which the newest checkpoint is written, or a directory to which each is added; choose a place that nobody who can write the log can change.
    pub checkpoint_push_to: Option<PathBuf>,
    /// A webhook that each new checkpoint is sent to, signed; the rules for alerts hold for it.
    pub checkpoint_push_url: Option<SecretUrl>,
    /// A file with the secret that signs what is sent there.
    pub checkpoint_push_secret_file: Option<PathBuf>,
    /// How often the newest checkpoint is written or sent there.
    pub checkpoint_push_interval: Duration,
    /// Connections at one time, to the socket and to HTTP each.
    pub max_connections: usize,
    /// Connections of one user at one time, to the socket and to HTTP on loopback each.
    pub max_connections_per_uid: usize,
    /// HTTP connections of one address at one time; on loopback they count by user.
    pub max_connections_per_address: usize,
    /// How long a request may take to arrive, once it has begun.
    pub read_timeout: Duration,
    /// How long a peer may take to read its answer.
    pub write_timeout: Duration,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
    /// How large an HTTP body may be.
    pub max_body: ByteSize,
    /// Memory for requests and answers in transit, over all connections; one user or address gets at most half of it.
    pub max_memory: ByteSize,
}

/// `[health]`: from where on a check warns, and is critical.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct HealthSettings {
    /// A writer silent for this long is hung.
    pub hung_after: Duration,
    /// Warn above this many events not yet durable.
    pub write_buffer_warn: u64,
    /// Critical above this many events not yet durable.
    pub write_buffer_critical: u64,
    /// Warn above this size of the log.
    pub log_bytes_warn: ByteSize,
    /// Critical above this size of the log.
    pub log_bytes_critical: ByteSize,
    /// Warn above this many rate-limited events in the last hour.
    pub blocked_warn: u64,
    /// Critical above this many rate-limited events in the last hour.
    pub blocked_critical: u64,
    /// Warn above this many invalid events in the last hour.
    pub validation_errors_warn: u64,
    /// Critical above this many invalid events in the last hour.
    pub validation_errors_critical: u64,
    /// Warn above this many other security events in the last hour; events of peers without credentials do not count.
    pub security_warn: u64,
    /// Critical above this many other security events in the last hour; events of peers without credentials do not count.
    pub security_critical: u64,
    /// Warn when the certificate for HTTPS expires within this.
    pub certificate_warn: Duration,
    /// Critical when the certificate for HTTPS expires within this.
    pub certificate_critical: Duration,
    /// How long health itself may take.
    pub deadline: Duration,
    /// Critical when the newest checkpoint is this old.
    pub checkpoint_age_critical: Duration,
    /// Warn when the newest backup is this old; never if no backup was ever made.
    pub backup_age_warn: Duration,
    /// Critical when the newest backup is this old.
    pub backup_age_critical: Duration,
    /// Warn when an alert has waited this long for its delivery.
    pub alert_delay_warn: Duration,
    /// Warn when the newest checkpoint that a quorum of witnesses cosigned is this old, and the log has grown.
    pub witness_age_warn: Duration,
    /// Critical when it is this old.
    pub witness_age_critical: Duration,
    /// Warn when no restore drill was made for this long; 0s never warns.
    pub drill_age_warn: Duration,
}

/// `[witness]`: who cosigns the log's checkpoints.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct WitnessSettings {
    /// A C2SP tlog-policy with the witnesses that cosign this log's checkpoints, each with its URL; the collector asks them; unless set, nobody is asked.
    pub policy: Option<PathBuf>,
    /// A file with certificates (PEM) to trust beside the system's, when witnesses are asked over https.
    pub ca_file: Option<PathBuf>,
    /// How often witnesses are asked at most, when the log has grown.
    pub interval: Duration,
}

/// `[backup]`: where backups go.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct BackupSettings {
    /// The destination of every backup: s3://BUCKET/PREFIX, az://… or gs://…; a bucket alone needs --cloud with each command.
    pub destination: Option<String>,
    /// Where backups are written.
    pub output_dir: PathBuf,
    /// Whether a backup holds only what came after the backup before, where it can.
    pub incremental: bool,
    /// With backup.incremental: the most archives that a restore may need; when a chain has that many, the next backup is a full one.
    pub full_every: u32,
    /// Public keys (age1…) to encrypt archives to; none leaves them unencrypted.
    pub encrypt_to: Vec<String>,
}

/// `[archive]`: where a running collector ships the log to.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct ArchiveSettings {
    /// The archive: s3://BUCKET/PREFIX, az://…, gs://…, or a directory's absolute path; unless set, nothing is shipped.
    pub destination: Option<String>,
    /// How often the collector ships what is new; it is what a lost host may lose.
    pub interval: Duration,
    /// Whether each data object gets a Parquet file beside it, for engines.
    pub parquet: bool,
}

const fn mib(count: u64) -> ByteSize {
    ByteSize(count << 20)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// What the engine takes, [`defaults`] says for the library too; the rest is said here.
/// The table, the documents and the messages read it from here.
impl Default for Settings {
    fn default() -> Self {
        Self {
            log_dir: PathBuf::from(defaults::LOG_DIR),
            origin: None,
            profile: None,
            write_buffer_size: defaults::WRITE_BUFFER_SIZE,
            write_flush_interval: defaults::WRITE_FLUSH_INTERVAL,
            write_queue_capacity: defaults::WRITE_QUEUE_CAPACITY,
            write_queue_bytes: ByteSize(defaults::WRITE_QUEUE_BYTES),
            overflow_timeout: defaults::OVERFLOW_TIMEOUT,
            durability: Durability::Commit,
            query_cache_size: defaults::QUERY_CACHE_SIZE,
            compression_level: defaults::COMPRESSION_LEVEL,
            max_memory_events: defaults::MAX_MEMORY_EVENTS,
            max_details_size: ByteSize(defaults::MAX_DETAILS_SIZE as u64),
            max_segment_size: ByteSize(defaults::MAX_SEGMENT_SIZE),
            max_segment_age: defaults::MAX_SEGMENT_AGE,
            checkpoint_interval: defaults::CHECKPOINT_INTERVAL,
            idle_checkpoint_interval: defaults::IDLE_CHECKPOINT_INTERVAL,
            retention_days: defaults::RETENTION_DAYS,
            retention_requires_backup: defaults::RETENTION_REQUIRES_BACKUP,
            dedupe_window: defaults::DEDUPE_WINDOW,
            dedupe_ids: defaults::DEDUPE_IDS,
            key_path: None,
            redact: Vec::new(),
            redact_key_path: None,
            expect_running: true,
            audit_reads: false,
            disk_reserve: ByteSize(defaults::DISK_RESERVE),
            alerts: Vec::new(),
            mapping: Mappings::default(),
            listener: Vec::new(),
            alerting: AlertingSettings::default(),
            rate_limit: RateLimitSettings::default(),
            disk: DiskSettings::default(),
            collector: CollectorSettings::default(),
            health: HealthSettings::default(),
            witness: WitnessSettings::default(),
            backup: BackupSettings::default(),
            archive: ArchiveSettings::default(),
            origins: Origins::default(),
        }
    }
}

impl Default for AlertingSettings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            allow_http: false,
            queue_events: 1_000,
            queue_bytes: mib(8),
            timeout: seconds(10),
            retry_pause_max: seconds(300),
            give_up_after: seconds(72 * 3_600),
        }
    }
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            per_second: defaults::RATE_PER_SECOND,
            burst: defaults::RATE_BURST,
            max_sources: defaults::RATE_MAX_SOURCES,
        }
    }
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            warn_percent: defaults::DISK_WARN_PERCENT,
            warn_bytes: ByteSize(defaults::DISK_WARN_BYTES),
            critical_percent: defaults::DISK_CRITICAL_PERCENT,
            critical_bytes: ByteSize(defaults::DISK_CRITICAL_BYTES),
        }
    }
}

impl Default for CollectorSettings {
    fn default() -> Self {
        Self {
            socket: None,
            http: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9_750))),
            token_file: None,
            token_rate: 1_000,
            token_requests: 100,
            tls_cert: None,
            tls_key: None,
            allow_plain_http: false,
            allowed_uids: Vec::new(),
            allowed_gids: Vec::new(),
            read_uids: Vec::new(),
            read_gids: Vec::new(),
            trusted_uids: Vec::new(),
            checkpoint_push_to: None,
            checkpoint_push_url: None,
            checkpoint_push_secret_file: None,
            checkpoint_push_interval: seconds(600),
            max_connections: 256,
            max_connections_per_uid: 64,
            max_connections_per_address: 64,
            read_timeout: seconds(30),
            write_timeout: seconds(10),
            idle_timeout: seconds(600),
            max_body: ByteSize(crate::defaults::MAX_BODY),
            max_memory: mib(96),
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
            certificate_warn: seconds(14 * 24 * 3_600),
            certificate_critical: seconds(3 * 24 * 3_600),
            deadline: seconds(8),
            checkpoint_age_critical: seconds(3_600),
            backup_age_warn: seconds(26 * 3_600),
            backup_age_critical: seconds(72 * 3_600),
            alert_delay_warn: seconds(600),
            witness_age_warn: seconds(600),
            witness_age_critical: seconds(3_600),
            drill_age_warn: Duration::ZERO,
        }
    }
}

impl Default for WitnessSettings {
    fn default() -> Self {
        Self { policy: None, ca_file: None, interval: seconds(10) }
    }
}

impl Default for BackupSettings {
    fn default() -> Self {
        Self {
            destination: None,
            output_dir: PathBuf::from(defaults::BACKUP_DIR),
            incremental: false,
            full_every: 7,
            encrypt_to: Vec::new(),
        }
    }
}

impl Default for ArchiveSettings {
    fn default() -> Self {
        Self { destination: None, interval: seconds(10), parquet: true }
    }
}

impl Settings {
    /// The signing key: `key_path`, else `audit.key` in `log_dir`.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.key_path.clone().unwrap_or_else(|| self.log_dir.join("audit.key"))
    }

    /// The key of what is redacted: `redact_key_path`, else `audit.redact_key` in `log_dir`.
    #[must_use]
    pub fn redact_key_file(&self) -> PathBuf {
        self.redact_key_path.clone().unwrap_or_else(|| self.log_dir.join("audit.redact_key"))
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
}
