//! How large things may be: what files, lines and requests are bounded by, in one table.
//!
//! Each value is the constant that the code goes by, where it stands. `docs/format.md`
//! has the same table, which a test compares with this one.

use crate::access::{self, MAX_TOKENS};
use crate::alerts::{MAX_JOURNAL_HEADER_BYTES, MAX_STATUS_BYTES, MIN_JOURNAL_BYTES};
use crate::audit::files::block_filter::MAX_BYTES as MAX_FILTERS_BYTES;
use crate::audit::files::columns::MAX_PART_BYTES;
use crate::audit::files::gzip::{MAX_BLOCK_BYTES, MAX_MEMBER_BYTES};
use crate::audit::files::leaves::MAX_BYTES as MAX_LEAVES_BYTES;
use crate::audit::files::manifest::MAX_BYTES as MAX_MANIFEST_BYTES;
use crate::audit::files::restore::MAX_JOURNAL_BYTES as MAX_RESTORE_BYTES;
use crate::audit::files::segment::BLOCK_BYTES;
use crate::audit::keys::checkpoint::note::MAX_PUBLIC_KEYS_BYTES;
use crate::audit::keys::checkpoint::{MAX_LOG_ID_BYTES, MAX_NOTE_BYTES, MAX_SIGNATURES};
use crate::audit::keys::signer::MAX_KEY_FILE_BYTES;
use crate::audit::keys::{MAX_KEYS_BYTES, MAX_ROTATIONS};
use crate::audit::read::query::{MAX_TEXT_BYTES, MAX_TEXTS};
use crate::audit::record::event::{
    DEFAULT_MAX_DETAILS_BYTES, MAX_DETAILS_BYTES, MAX_EVENT_TYPE_BYTES, MAX_ID_BYTES,
    MAX_IDENTIFIER_BYTES, MAX_LINE_BYTES,
};
use crate::audit::record::sanitize::MAX_DETAILS_DEPTH;
use crate::audit::state::security::{MAX_DETAIL_BYTES, MAX_SECURITY_FILE_BYTES, MAX_SOURCE_BYTES};
use crate::audit::tree::document::MAX_JSON_DEPTH;
use crate::audit::tree::merkle::MAX_TREE_SIZE;
use crate::audit::write::key_change::MAX_REASON_BYTES;
use crate::backup::{
    MAX_CATALOG_BYTES, MAX_DRILL_BYTES, MAX_HEAD_BYTES, MAX_HEADS, MAX_MARKER_BYTES,
    MAX_METADATA_BYTES, MAX_UPLOAD_STATE_BYTES,
};
#[cfg(feature = "collector")]
use crate::collector::{MAX_ASKED, MAX_IN_FLIGHT};
use crate::config::MAX_ALERTS;
use crate::defaults::MAX_BODY;
use crate::field_path::MAX_FIELD_PATHS;
use crate::fsio::socket::MAX_SOCKET_PATH_BYTES;
use crate::health::MAX_STATE_BYTES;
use crate::origin_prefix::MAX_ORIGIN_PREFIX_BYTES;

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name.
    pub name: &'static str,
    /// The largest value that is taken.
    pub value: u64,
    /// What is counted: `bytes`, `levels`, …
    pub unit: &'static str,
    /// What it bounds.
    pub bounds: &'static str,
    /// What happens above it.
    pub above: &'static str,
}

const fn limit(
    name: &'static str,
    value: u64,
    unit: &'static str,
    bounds: &'static str,
    above: &'static str,
) -> Limit {
    Limit { name, value, unit, bounds, above }
}

/// All of them.
pub const TABLE: &[Limit] = &[
    // What is recorded.
    limit(
        "line",
        MAX_LINE_BYTES as u64,
        "bytes",
        "a record's line, and an event's as it is sent; without its LF",
        "refused, `too_large`; a stored one is no record",
    ),
    limit(
        "event_type",
        MAX_EVENT_TYPE_BYTES as u64,
        "bytes",
        "`event_type`, in UTF-8",
        "refused, `too_large`",
    ),
    limit("event id", MAX_ID_BYTES as u64, "bytes", "`id`, in UTF-8", "refused, `too_large`"),
    limit(
        "identifier",
        MAX_IDENTIFIER_BYTES as u64,
        "bytes",
        "`actor`, `source`, `target` and `outcome`, each, in UTF-8",
        "refused, `too_large`",
    ),
    limit(
        "details",
        MAX_DETAILS_BYTES as u64,
        "bytes",
        "what `max_details_size` may be set to",
        "the settings are refused",
    ),
    limit(
        "details by default",
        DEFAULT_MAX_DETAILS_BYTES as u64,
        "bytes",
        "`details` as compact JSON, unless `max_details_size` says otherwise",
        "refused, `too_large`",
    ),
    limit(
        "details depth",
        MAX_DETAILS_DEPTH as u64,
        "levels",
        "objects and arrays in each other in `details`",
        "refused, `invalid`",
    ),
    limit(
        "records",
        MAX_TREE_SIZE,
        "records",
        "a tree, whatever a file claims",
        "the note or file that says so is refused",
    ),
    limit(
        "redacted fields",
        MAX_FIELD_PATHS as u64,
        "paths",
        "`redact`",
        "the settings are refused",
    ),
    // How it is stored.
    limit(
        "block",
        BLOCK_BYTES,
        "bytes",
        "a block closes with the record that brings it to this",
        "the next record begins another",
    ),
    limit(
        "gzip member",
        MAX_BLOCK_BYTES as u64,
        "bytes",
        "what one member holds, uncompressed: in `.log.gz` and in a backup's archive",
        "damage: nothing of it is taken",
    ),
    limit(
        "gzip member, stored",
        MAX_MEMBER_BYTES as u64,
        "bytes",
        "one member as it is stored",
        "damage: it is not read",
    ),
    limit(
        "JSON depth",
        MAX_JSON_DEPTH as u64,
        "levels",
        "objects and arrays in each other in a JSON file",
        "the file is malformed",
    ),
    limit(
        "note",
        MAX_NOTE_BYTES as u64,
        "bytes",
        "a signed note: checkpoint, head, signature",
        "it is no note",
    ),
    limit(
        "signatures",
        MAX_SIGNATURES as u64,
        "lines",
        "signatures under one note",
        "it is no note",
    ),
    limit(
        "log id",
        MAX_LOG_ID_BYTES as u64,
        "bytes",
        "the log's id in an origin",
        "it is no origin",
    ),
    limit(
        "origin",
        MAX_ORIGIN_PREFIX_BYTES as u64,
        "bytes",
        "what comes before the log's id in an origin; with it at most 205 of the 255 that a cosignature has room for",
        "the setting is refused; in a note it is no origin",
    ),
    limit(
        "key changes",
        MAX_ROTATIONS as u64,
        "rotations",
        "`audit.keys`, and a backup's `key_chain`",
        "`key rotate` is refused",
    ),
    limit(
        "rotation reason",
        MAX_REASON_BYTES as u64,
        "bytes",
        "why a key is changed",
        "refused, exit 2",
    ),
    limit(
        "audit.manifest.json",
        MAX_MANIFEST_BYTES,
        "bytes",
        "the file",
        "damage: it is rebuilt from the segments",
    ),
    limit("audit.keys", MAX_KEYS_BYTES, "bytes", "the file", "damage"),
    limit("audit.key", MAX_KEY_FILE_BYTES, "bytes", "a private key's file", "it is no key"),
    limit(
        "audit.pub",
        MAX_PUBLIC_KEYS_BYTES as u64,
        "bytes",
        "a file of public keys, also for `--public-key`",
        "it holds no key",
    ),
    limit("audit.restore.json", MAX_RESTORE_BYTES, "bytes", "the file", "it is not believed"),
    limit(
        "audit.verified.json",
        MAX_STATE_BYTES,
        "bytes",
        "the file",
        "the next `--since-last` reads everything",
    ),
    limit(
        "audit.leaves",
        MAX_LEAVES_BYTES,
        "bytes",
        "the file: 8 million records of the active segment",
        "the records beyond are not noted",
    ),
    limit(
        "audit.<first>.filter",
        MAX_FILTERS_BYTES,
        "bytes",
        "the filters of one segment",
        "none are used",
    ),
    limit(
        "audit.<first>.columns",
        MAX_PART_BYTES as u64,
        "bytes",
        "a part, unpacked",
        "none of the file are used",
    ),
    limit(
        "security_events.log",
        MAX_SECURITY_FILE_BYTES,
        "bytes",
        "the file",
        "it is renamed to `.1`",
    ),
    limit("security source", MAX_SOURCE_BYTES as u64, "bytes", "`source` of a line there", "cut"),
    limit("security detail", MAX_DETAIL_BYTES as u64, "bytes", "`detail` of a line there", "cut"),
    // Backups.
    limit(
        "backup metadata",
        MAX_METADATA_BYTES,
        "bytes",
        "`audit_backup_….json`",
        "it is not backup metadata",
    ),
    limit(
        "backup metadata, its head",
        MAX_HEAD_BYTES as u64,
        "bytes",
        "how far into the file `type`, `format`, `log` and `checkpoint` may stand",
        "the log is not compared with it",
    ),
    limit(
        "backups compared",
        MAX_HEADS as u64,
        "backups",
        "how many backups a log is compared with, the newest first",
        "older ones are not looked at",
    ),
    limit(
        "marker",
        MAX_MARKER_BYTES as u64,
        "bytes",
        "an archive's last member",
        "its key chain is left out (`key_chain_omitted`); a larger one is no marker",
    ),
    limit(".catalog.json", MAX_CATALOG_BYTES, "bytes", "the file", "auditctl makes a new one"),
    limit(
        "drill report",
        MAX_DRILL_BYTES as u64,
        "bytes",
        "`audit_drill_….json`",
        "it is no report",
    ),
    limit(
        "upload state",
        MAX_UPLOAD_STATE_BYTES,
        "bytes",
        "`audit_backup_….upload-…`",
        "the upload starts again",
    ),
    // Alerts.
    limit(
        "audit.alerts.journal, its first line",
        MAX_JOURNAL_HEADER_BYTES,
        "bytes",
        "the header line",
        "it is set aside",
    ),
    limit(
        "audit.alerts.journal",
        MIN_JOURNAL_BYTES,
        "bytes",
        "the file; more where the queues may hold more",
        "it is set aside",
    ),
    limit(
        "audit.alerts.json",
        MAX_STATUS_BYTES,
        "bytes",
        "the file",
        "`health` says that it cannot be read",
    ),
    limit(
        "alerts",
        MAX_ALERTS as u64,
        "alerts",
        "`[[alerts]]` in the settings",
        "the settings are refused",
    ),
    // The collector.
    limit(
        "HTTP body by default",
        MAX_BODY,
        "bytes",
        "a request's body, unless `collector.max_body` says otherwise",
        "refused, 413",
    ),
    #[cfg(feature = "collector")]
    limit(
        "events in flight",
        MAX_IN_FLIGHT as u64,
        "events",
        "one connection's, not answered yet",
        "no more is read from it",
    ),
    #[cfg(feature = "collector")]
    limit(
        "queries under way",
        MAX_ASKED as u64,
        "queries",
        "one connection's",
        "no more is read from it",
    ),
    limit(
        "query texts",
        MAX_TEXTS as u64,
        "texts",
        "patterns, conditions and texts in one query",
        "refused, exit 2",
    ),
    limit("query text", MAX_TEXT_BYTES as u64, "bytes", "all of them together", "refused, exit 2"),
    limit("tokens", MAX_TOKENS as u64, "tokens", "the token file", "the file is refused"),
    limit(
        "token file",
        access::MAX_TOKEN_FILE_BYTES,
        "bytes",
        "the token file",
        "the file is refused",
    ),
    limit(
        "token name",
        access::MAX_NAME_CHARS as u64,
        "characters",
        "a token's name",
        "refused, exit 2",
    ),
    limit(
        "socket path",
        MAX_SOCKET_PATH_BYTES as u64,
        "bytes",
        "the path of `audit.sock`",
        "the collector does not start, and says so",
    ),
];

/// The rows of the table as the documents have them.
#[must_use]
pub fn rows() -> Vec<String> {
    let row = |limit: &Limit| {
        let Limit { name, value, unit, bounds, above } = limit;
        format!("| {name} | {} {unit} | {bounds} | {above} |", grouped(*value))
    };
    TABLE.iter().map(row).collect()
}

/// With a comma before every three digits.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
