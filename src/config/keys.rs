//! The table of keys. Reading, checking, the documents and the example file
//! all follow it.

use super::kind::Kind;
use super::origin::Origin;
use super::settings::Settings;
use super::value::{Field, Raw};

/// One setting, of [`Settings`] or of one `[[alerts]]` table.
#[derive(Debug)]
pub struct Key<S: 'static = Settings> {
    /// Dotted, as in the file: `collector.http` is `http` in `[collector]`.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What is possible; outside is an error.
    pub range: Option<Range>,
    /// What is sensible; outside is a warning of `validate`.
    pub recommended: Option<Range>,
    /// Whether a running collector takes over a change, on SIGHUP; any other takes effect with the
    /// next start.
    pub reloads: bool,
    /// One line for an operator.
    pub doc: &'static str,
    pub(super) set: fn(&mut S, &Raw) -> Result<(), String>,
    pub(super) text: fn(&S) -> String,
    pub(super) magnitude: fn(&S) -> Option<u64>,
}

/// From `min` to `max`, both possible: counts, bytes or milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub min: u64,
    /// The most; `u64::MAX` is no limit.
    pub max: u64,
}

impl Range {
    /// Whether `magnitude` lies in it.
    #[must_use]
    pub fn holds(self, magnitude: u64) -> bool {
        (self.min..=self.max).contains(&magnitude)
    }
}

impl Key {
    /// Its environment variable: `AUDITCTL_COLLECTOR_HTTP`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("AUDITCTL_{}", self.name.to_ascii_uppercase().replace('.', "_"))
    }
}

impl<S> Key<S> {
    /// The value in `settings` as written in the file, without quotes; empty
    /// when unset.
    #[must_use]
    pub fn text(&self, settings: &S) -> String {
        (self.text)(settings)
    }

    /// A range in this key's unit: `10ms to 1h`, `at least 2MiB`.
    #[must_use]
    pub fn show_range(&self, range: Range) -> String {
        let least = self.kind.show_magnitude(range.min);
        if range.max == u64::MAX {
            format!("at least {least}")
        } else {
            format!("{least} to {}", self.kind.show_magnitude(range.max))
        }
    }

    /// What its value must be, with an example and the range.
    #[must_use]
    pub fn expectation(&self) -> String {
        let kind = self.kind.expectation();
        match self.range {
            Some(range) => format!("{kind} ({})", self.show_range(range)),
            None => kind,
        }
    }

    /// The value in counts, bytes or milliseconds, where it has a magnitude.
    #[must_use]
    pub fn magnitude(&self, settings: &S) -> Option<u64> {
        (self.magnitude)(settings)
    }

    /// Sets the value, or says why it cannot be had (possibly with nothing to
    /// add to "expected").
    pub(super) fn assign(&self, settings: &mut S, raw: &Raw) -> Result<(), String> {
        (self.set)(settings, raw)?;
        match self.range.zip(self.magnitude(settings)) {
            Some((range, at)) if !range.holds(at) => {
                Err(if at < range.min { "it is too small" } else { "it is too large" }.to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// The key of that dotted name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl Settings {
    /// Each key with its value as it would be written in the file (without
    /// quotes; empty when unset) and where that comes from, in the table's order.
    #[doc(hidden)]
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, String, &Origin)> {
        KEYS.iter().map(|key| (key.name, key.text(self), self.origin(key.name)))
    }

    /// The keys whose values differ between `earlier` and this, wherever they
    /// come from: what a reload changed.
    #[must_use]
    #[doc(hidden)]
    pub fn changes_from(&self, earlier: &Self) -> Vec<&'static Key> {
        KEYS.iter().filter(|key| key.text(self) != key.text(earlier)).collect()
    }

    /// The keys whose values work, but lie outside what is recommended.
    #[must_use]
    #[doc(hidden)]
    pub fn unusual(&self) -> Vec<&'static Key> {
        let unusual = |key: &&Key| {
            key.recommended.zip(key.magnitude(self)).is_some_and(|(range, at)| !range.holds(at))
        };
        KEYS.iter().filter(unusual).collect()
    }
}

pub(super) const fn kind_of<S, T: Field>(_: fn(&S) -> &T) -> Kind {
    T::KIND
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
pub(super) const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;
const NO_LIMIT: u64 = u64::MAX;

/// `field.path, min..max (optional), recommended min..max (optional), reloads (optional), doc`
macro_rules! keys {
    ($($first:ident $(. $second:ident)? $([$min:expr, $max:expr])? $(recommended [$low:expr, $high:expr])? $(($reloads:ident))?: $doc:literal;)*) => {
        /// Every key, in the order of the documents.
        pub static KEYS: &[Key] = &[$(Key {
            name: concat!(stringify!($first) $(, ".", stringify!($second))?),
            kind: kind_of(|settings: &Settings| &settings.$first $(.$second)?),
            range: keys!(@range $($min, $max)?),
            recommended: keys!(@range $($low, $high)?),
            reloads: keys!(@is $($reloads)?),
            doc: $doc,
            set: |settings, raw| {
                settings.$first $(.$second)? = Field::read(raw)?;
                Ok(())
            },
            text: |settings| Field::text(&settings.$first $(.$second)?),
            magnitude: |settings| Field::magnitude(&settings.$first $(.$second)?),
        }),*];
    };
    (@range) => { None };
    (@range $min:expr, $max:expr) => { Some(Range { min: $min, max: $max }) };
    (@is) => { false };
    (@is reloads) => { true };
}

keys! {
    log_dir: "The log directory";
    origin: "The prefix of a new log's origin: a host of yours and perhaps a path, such as example.com/audit; unless set, auditctl, which is not a domain: set one for public witnesses";
    profile: "A set of values for four keys, by name; see Profiles";
    write_buffer_size [1, 1_000_000] recommended [100, 1_000]: "How many events are collected before they are written together";
    write_flush_interval [10, HOUR] recommended [SECOND, 10 * SECOND]: "The longest time that an event waits before it is written";
    write_queue_capacity [1, 10_000_000]: "How many events may be accepted but not yet durable; unless set, at least twice write_buffer_size if that reaches it";
    write_queue_bytes [2 * MIB, NO_LIMIT]: "How many bytes may be accepted but not yet durable";
    overflow_timeout [0, 10 * MINUTE]: "How long a caller waits if the queue is full, before it is refused as busy";
    durability: "When an event is acknowledged: commit, once it is on disk; interval, once it is buffered (a crash may lose one write_flush_interval)";
    query_cache_size [1, 1_000_000] recommended [64, 256]: "How many answers the query cache keeps";
    compression_level [1, 9] recommended [1, 9]: "How hard sealed segments are compressed: 1 fast, 9 small";
    max_memory_events [1, 10_000_000] recommended [5_000, 20_000]: "The most groups, and with --json the most records, that one answer holds";
    max_details_size [KIB, 512 * KIB] recommended [10 * KIB, 100 * KIB]: "How large the details of one event may be";
    max_segment_size [64 * KIB, 4 * GIB]: "A segment is sealed when it is this large";
    max_segment_age [MINUTE, 366 * DAY]: "A segment is sealed when it is this old";
    checkpoint_interval [100, HOUR]: "How often a checkpoint is signed while events arrive";
    idle_checkpoint_interval [SECOND, DAY]: "How often a checkpoint is signed while none do";
    retention_days [0, 36_500]: "Sealed segments older than this are removed; 0 keeps them for ever";
    retention_requires_backup: "Whether retention removes only records that a backup is proven to hold; false removes old records even if no backup holds them";
    dedupe_window [0, 30 * DAY]: "How long the id of an event is remembered, so that the same event of the same sender is not recorded twice; 0s remembers none";
    dedupe_ids [0, 100_000_000]: "How many ids are remembered, of all senders together, at up to 64 bytes of memory each; 0 remembers none";
    key_path: "The signing key; unless set, audit.key in log_dir";
    redact (reloads): "Values to replace by their HMAC before they are stored: names of keys, and paths such as details.card.*; see docs/redaction.md";
    redact_key_path: "The key of those HMACs; unless set, audit.redact_key in log_dir";
    expect_running: "Whether health warns when no writer runs";
    audit_reads: "Whether each query to the collector leaves an audit.query record, durable before it is answered";
    disk_reserve [0, GIB]: "Disk space reserved for closing the log cleanly on a full disk; 0B for none";
    alerts (reloads): "Alerts: tables in the file; see Alerts";
    mapping: "Mappings of foreign events: tables in the file; see Mappings";
    listener: "Listeners for foreign events without answers: tables in the file; see Listeners";
    alerting.allow (reloads): "Internal targets that alerts may reach: name, name:port, address, address:port or network";
    alerting.allow_http (reloads): "Whether plain http, and e-mail without TLS, may go to the targets in allow";
    alerting.queue_events [1, 100_000] (reloads): "How many deliveries of one alert may wait";
    alerting.queue_bytes [64 * KIB, GIB] (reloads): "How many bytes the waiting deliveries of one alert may have";
    alerting.timeout [100, 5 * MINUTE] (reloads): "How long one try of a delivery may take";
    alerting.retry_pause_max [SECOND, DAY] (reloads): "The longest pause between two tries";
    alerting.give_up_after [MINUTE, 30 * DAY] (reloads): "How long a delivery is tried before it has failed";
    rate_limit.enabled (reloads): "Whether sources are limited";
    rate_limit.per_second [1, 1_000_000] (reloads): "Events a second of one source of one sender";
    rate_limit.burst [1, 10_000_000] (reloads): "Events of one source of one sender at once";
    rate_limit.max_sources [1, 10_000_000] (reloads): "How many sources are remembered, each for every sender; beyond that, the sender with the most loses the one that was silent longest";
    disk.warn_percent [0, 100]: "Warn when less than the smaller of this share of the disk and warn_bytes is free";
    disk.warn_bytes: "Warn when less than the smaller of this and warn_percent of the disk is free";
    disk.critical_percent [0, 100]: "Critical when less than the smaller of this share of the disk and critical_bytes is free";
    disk.critical_bytes: "Critical when less than the smaller of this and critical_percent of the disk is free";
    collector.socket: "The collector's Unix socket; unless set, audit.sock in log_dir";
    collector.http: "Where the collector answers HTTP, or off; anything but loopback needs token_file, and tls_cert with tls_key or allow_plain_http";
    collector.token_file (reloads): "The file of tokens for HTTP, made by auditctl token new";
    collector.token_rate [1, 1_000_000] (reloads): "Events a second of a token that was made without a rate; twice as many at once";
    collector.token_requests [1, 1_000_000] (reloads): "HTTP requests a second of a token; twice as many at once";
    collector.tls_cert (reloads): "The certificate for HTTPS, in PEM, followed by its chain; if set, the collector uses HTTPS on every address";
    collector.tls_key (reloads): "The certificate's private key, PEM, readable by its owner alone";
    collector.allow_plain_http: "Whether HTTP beyond loopback is allowed without TLS, because a proxy on another machine provides it";
    collector.allowed_uids (reloads): "User ids that may write, at the socket and over HTTP on loopback, beside root and the collector's own";
    collector.allowed_gids (reloads): "Group ids that may write; at the socket the program's effective group counts, over HTTP on loopback any group of the user";
    collector.read_uids (reloads): "User ids that may query, beside root and the collector's own";
    collector.read_gids (reloads): "Group ids that may query";
    collector.trusted_uids (reloads): "User ids whose collector a sender trusts, in addition to root and the owner of log_dir; for senders without that directory";
    collector.checkpoint_push_to: "A file to which the newest checkpoint is written, or a directory to which each is added; choose a place that nobody who can write the log can change";
    collector.checkpoint_push_url: "A webhook that each new checkpoint is sent to, signed; the rules for alerts hold for it";
    collector.checkpoint_push_secret_file: "A file with the secret that signs what is sent there";
    collector.checkpoint_push_interval [SECOND, DAY]: "How often the newest checkpoint is written or sent there";
    collector.max_connections [1, 65_536]: "Connections at one time, to the socket and to HTTP each";
    collector.max_connections_per_uid [1, 65_536]: "Connections of one user at one time, to the socket and to HTTP on loopback each";
    collector.max_connections_per_address [1, 65_536]: "HTTP connections of one address at one time; on loopback they count by user";
    collector.read_timeout [100, HOUR]: "How long a request may take to arrive, once it has begun";
    collector.write_timeout [100, HOUR]: "How long a peer may take to read its answer";
    collector.idle_timeout [SECOND, DAY]: "How long a connection may be silent";
    collector.max_body [KIB, GIB]: "How large an HTTP body may be";
    collector.max_memory [48 * MIB, 64 * GIB]: "Memory for requests and answers in transit, over all connections; one user or address gets at most half of it";
    health.hung_after [SECOND, HOUR] (reloads): "A writer silent for this long is hung";
    health.write_buffer_warn (reloads): "Warn above this many events not yet durable";
    health.write_buffer_critical (reloads): "Critical above this many events not yet durable";
    health.log_bytes_warn (reloads): "Warn above this size of the log";
    health.log_bytes_critical (reloads): "Critical above this size of the log";
    health.blocked_warn (reloads): "Warn above this many rate-limited events in the last hour";
    health.blocked_critical (reloads): "Critical above this many rate-limited events in the last hour";
    health.validation_errors_warn (reloads): "Warn above this many invalid events in the last hour";
    health.validation_errors_critical (reloads): "Critical above this many invalid events in the last hour";
    health.security_warn (reloads): "Warn above this many other security events in the last hour; events of peers without credentials do not count";
    health.security_critical (reloads): "Critical above this many other security events in the last hour; events of peers without credentials do not count";
    health.certificate_warn [0, 366 * DAY] (reloads): "Warn when the certificate for HTTPS expires within this";
    health.certificate_critical [0, 366 * DAY] (reloads): "Critical when the certificate for HTTPS expires within this";
    health.deadline [100, 5 * MINUTE] (reloads): "How long health itself may take";
    health.checkpoint_age_critical [SECOND, 366 * DAY] (reloads): "Critical when the newest checkpoint is this old";
    health.backup_age_warn [MINUTE, 366 * DAY] (reloads): "Warn when the newest backup is this old; never if no backup was ever made";
    health.backup_age_critical [MINUTE, 366 * DAY] (reloads): "Critical when the newest backup is this old";
    health.alert_delay_warn [SECOND, 30 * DAY] (reloads): "Warn when an alert has waited this long for its delivery";
    health.witness_age_warn [SECOND, 366 * DAY] (reloads): "Warn when the newest checkpoint that a quorum of witnesses cosigned is this old, and the log has grown";
    health.witness_age_critical [SECOND, 366 * DAY] (reloads): "Critical when it is this old";
    health.drill_age_warn [0, 3_660 * DAY] (reloads): "Warn when no restore drill was made for this long; 0s never warns";
    witness.policy: "A C2SP tlog-policy with the witnesses that cosign this log's checkpoints, each with its URL; the collector asks them; unless set, nobody is asked";
    witness.ca_file: "A file with certificates (PEM) to trust beside the system's, when witnesses are asked over https";
    witness.interval [SECOND, DAY] recommended [10 * SECOND, HOUR]: "How often witnesses are asked at most, when the log has grown";
    backup.destination: "The destination of every backup: s3://BUCKET/PREFIX, az://… or gs://…; a bucket alone needs --cloud with each command";
    backup.output_dir: "Where backups are written";
    backup.incremental: "Whether a backup holds only what came after the backup before, where it can";
    backup.full_every [1, 64]: "With backup.incremental: the most archives that a restore may need; when a chain has that many, the next backup is a full one";
    backup.encrypt_to: "Public keys (age1…) to encrypt archives to; none leaves them unencrypted";
    archive.destination (reloads): "The archive: s3://BUCKET/PREFIX, az://…, gs://…, or a directory's absolute path; unless set, nothing is shipped";
    archive.interval [SECOND, HOUR] (reloads): "How often the collector ships what is new; it is what a lost host may lose";
    archive.parquet (reloads): "Whether each data object gets a Parquet file beside it, for engines";
}
