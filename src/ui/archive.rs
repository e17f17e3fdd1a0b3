//! What `archive` says.

use serde_json::{Value, json};

use super::style::escape;
use crate::archive::Shipped;
use crate::health::wording::count;
use crate::units::human_bytes;

/// What a pass did, for people.
#[must_use]
pub fn archived_text(shipped: &Shipped, place: &str) -> String {
    let holds = format!("{} holds all {}", escape(place), count(shipped.tree_size, "record"));
    let holds = match shipped.removed_unshipped {
        0 => holds,
        lost => format!(
            "{holds} that the log has\nWARNING: retention removed {} before they were shipped for \
             good. Run `auditctl archive` much more often than retention removes segments",
            count(lost, "record")
        ),
    };
    if shipped.objects.is_empty() {
        return format!("Nothing new: {holds}\n");
    }
    let objects = count(shipped.objects.len() as u64, "object");
    let bytes = human_bytes(shipped.bytes);
    if shipped.records == 0 {
        return format!("Put what tails held into data, {objects} ({bytes}): {holds}\n");
    }
    format!("Shipped {} in {objects} ({bytes}): {holds}\n", count(shipped.records, "record"))
}

/// The same for programs.
#[must_use]
pub fn archived_json(shipped: &Shipped, place: &str) -> Value {
    let objects: Vec<String> = shipped.objects.iter().map(ToString::to_string).collect();
    let without = shipped.not_made.iter();
    let without: Vec<_> =
        without.map(|it| json!({ "object": it.object.to_string(), "why": it.why })).collect();
    json!({ "archive": {
        "destination": place,
        "log_id": shipped.log.id(),
        "epoch": shipped.log.epoch(),
        "tree_size": shipped.tree_size,
        "root_hash": shipped.root_hash,
        "data_end": shipped.data_end,
        "records": shipped.records,
        "bytes": shipped.bytes,
        "removed_unshipped": shipped.removed_unshipped,
        "objects": objects,
        "without_parquet": without,
    }})
}
