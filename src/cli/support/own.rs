//! The log's own records, without what in them comes from others.

use std::io::Read;

use serde_json::{Map, Value, json};

use super::{Inputs, Made};
use crate::audit::LogPaths;
use crate::audit::read::query::{Bounds, Found, Reader, Request};
use crate::fsio::{FileReader, OpenMode};

/// So many records, the newest.
pub(super) const RECORDS: u64 = 200;
/// Where queries cannot be answered, so much of the active segment's end is read.
const TAIL_BYTES: u64 = 4 << 20;
/// Details are numbers, names of files, hashes and times; a longer text is none of ours.
const MAX_TEXT: usize = 256;

/// What is shown of each type's details: what the engine itself makes. Left out are
/// sources, queries, places, values of settings. A type that is not here is shown
/// without details.
const SHOWN: &[(&str, &[&str])] = &[
    ("audit.log_created", &["log_id", "format", "public_key"]),
    ("audit.opened", &["version", "pid", "mode", "clean"]),
    ("audit.closed", &["records_since_open"]),
    ("audit.recovered", &["torn_bytes", "torn_file"]),
    ("audit.rate_limited", &["refused", "first", "last", "from_status_page"]),
    ("audit.gap", &["count", "first", "last"]),
    (
        "audit.pruned",
        &["pruned_to", "root_hash", "first_seq", "records", "segments", "bytes", "held_by"],
    ),
    ("audit.backup_made", &["backup", "first_seq", "tree_size", "root_hash", "sha256", "uid"]),
    ("audit.rollback_accepted", &["history", "epoch", "records", "more"]),
    ("audit.backup_removed", &["backup", "first_seq", "tree_size", "root_hash", "sha256", "uid"]),
    ("audit.query", &["via", "uid", "records"]),
    ("audit.redact_key_created", &["key_id"]),
    ("audit.alert_lost", &["count", "first", "last"]),
    ("audit.alerts_position", &["settled_to", "cursor"]),
    ("audit.cosigned", &["old_size", "tree_size", "root_hash"]),
    ("audit.cosigning_refused", &["reason", "old_size", "tree_size", "root_hash", "cosigned_size"]),
    ("audit.witness_state", &["epoch"]),
    ("audit.key_rotated", &["old_key", "new_key", "uid"]),
    (
        "audit.key_replaced",
        &["old_key", "new_key", "epoch", "replaced_at", "uid", "signed_records"],
    ),
    (
        "audit.restored",
        &[
            "restored_at",
            "uid",
            "tree_size",
            "root_hash",
            "relation",
            "set_aside_records",
            "kept_in",
        ],
    ),
    ("audit.repaired", &["uid"]),
    ("audit.log_file_replaced", &["set_aside", "first_lost", "lost"]),
    ("audit.file_replaced", &["file", "what", "put_back"]),
    ("audit.config_changed", &[]),
    ("audit.disk_full", &["available_bytes"]),
    ("audit.disk_recovered", &["available_bytes", "refused"]),
    ("audit.idle", &["since"]),
    ("audit.clock_changed", &["from", "to", "by_seconds"]),
];

pub(super) fn records(inputs: &Inputs) -> Made {
    let lines = match queried(inputs) {
        Ok(lines) => lines,
        Err(why) => {
            tail(inputs).map_err(|error| format!("{why}; the end of audit.log: {error}"))?
        }
    };
    let mut text = String::new();
    for line in lines {
        if let Some(shown) = shown(&line) {
            text.push_str(&shown.to_string());
            text.push('\n');
        }
    }
    Ok(text)
}

fn queried(inputs: &Inputs) -> Result<Vec<Vec<u8>>, String> {
    let request = Request {
        event_type: vec!["audit.*".to_owned()],
        limit: Some(RECORDS),
        ..Request::default()
    };
    let query = request.resolve(inputs.now).map_err(|error| error.to_string())?;
    let bounds = Bounds::default();
    let reader = Reader::open(&inputs.fs, &inputs.settings.log_dir, bounds);
    let answer = reader.and_then(|mut reader| reader.query(&query));
    match answer.map_err(|error| error.to_string())?.found {
        Found::Records(lines) => Ok(lines.iter().map(<[u8]>::to_vec).collect()),
        _ => Err("no records".to_owned()),
    }
}

/// From the active segment's end, the newest first.
fn tail(inputs: &Inputs) -> Result<Vec<Vec<u8>>, String> {
    let path = LogPaths::new(&inputs.settings.log_dir).active();
    let failed = |error: std::io::Error| error.to_string();
    let file = inputs.fs.open(&path, OpenMode::ReadOwn).map_err(failed)?;
    let length = file.meta().map_err(failed)?.len;
    let mut bytes = Vec::new();
    let reader = FileReader { file: &*file, offset: length.saturating_sub(TAIL_BYTES) };
    reader.take(TAIL_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let lines = bytes.split(|byte| *byte == b'\n').rev();
    let own = lines.filter(|line| shown(line).is_some());
    Ok(own.take(RECORDS as usize).map(<[u8]>::to_vec).collect())
}

/// What of a record is shown; `None` where it is none of the log's own.
fn shown(line: &[u8]) -> Option<Value> {
    let record: Value = serde_json::from_slice(line).ok()?;
    let event_type = record["event_type"].as_str()?;
    if record["origin"]["via"] != "engine" {
        return None;
    }
    let (name, keys) = match SHOWN.iter().find(|(name, _)| *name == event_type) {
        Some((name, keys)) => (*name, *keys),
        // Known to be the engine's, and new: its name is its own, its details may not be.
        None if is_own(event_type) => (event_type, &[][..]),
        None => return None,
    };
    let mut details = Map::new();
    let mut left_out = 0;
    for (key, value) in record["details"].as_object().into_iter().flatten() {
        let short = value.as_str().is_none_or(|text| text.len() <= MAX_TEXT);
        if keys.contains(&key.as_str()) && short && !value.is_array() && !value.is_object() {
            details.insert(key.clone(), value.clone());
        } else {
            left_out += 1;
        }
    }
    Some(json!({
        "seq": record["seq"].as_u64(),
        "timestamp": record["timestamp"].as_str(),
        "event_type": name,
        "details": details,
        "details_left_out": left_out,
    }))
}

fn is_own(event_type: &str) -> bool {
    crate::audit::write::own::OWN_TYPES.contains(&event_type)
}

#[cfg(test)]
mod tests {
    use super::{SHOWN, shown};
    use crate::audit::write::own::OWN_TYPES;

    #[test]
    fn every_own_record_is_decided_on() {
        for name in OWN_TYPES {
            assert!(SHOWN.iter().any(|(known, _)| known == name), "{name}: say what is shown");
        }
    }

    #[test]
    fn what_comes_from_others_is_left_out() {
        let line =
            br#"{"seq":7,"timestamp":"2026-01-01T00:00:00Z","event_type":"audit.rate_limited",
            "actor":"auditctl","details":{"source":"s3cret-team","refused":4},
            "origin":{"via":"engine"}}"#;
        let text = shown(line).expect("own").to_string();
        assert!(
            text.contains("\"refused\":4") && text.contains("\"details_left_out\":1"),
            "{text}"
        );
        assert!(!text.contains("s3cret-team") && !text.contains("auditctl"), "{text}");
    }

    #[test]
    fn an_event_is_never_shown() {
        let login = br#"{"seq":1,"event_type":"login","origin":{"via":"engine"}}"#;
        let posing = br#"{"seq":1,"event_type":"audit.gap","origin":{"via":"socket"}}"#;
        let unknown = br#"{"seq":1,"event_type":"audit.made_up","origin":{"via":"engine"}}"#;
        for line in [&login[..], posing, unknown, b"{", b""] {
            assert_eq!(shown(line), None);
        }
    }
}
