//! What `backup` says.

use std::path::Path;

use serde_json::{Value, json};

use super::style::escape;
use crate::backup::{BackupId, Covered, Hole, Made, Metadata, Outlook, Uploaded};
use crate::clock::display_seconds;
use crate::health::wording::{self, count};
use crate::units::are;
use crate::units::human_bytes;

/// A backup that was made, for people.
#[must_use]
pub fn backup_made_text(made: &Made) -> String {
    let metadata = &made.metadata;
    let archive = &metadata.archive;
    let range = &metadata.range;
    let mut lines = vec![format!("Backup {} made and verified", metadata.id)];
    let mut row = |name: &str, value: String| lines.push(format!("  {name:<11} {value}"));
    row("file", made.archive.display().to_string());
    row("original", human_bytes(archive.raw_bytes));
    row(
        "compressed",
        format!("{} ({})", human_bytes(archive.digests.bytes), saved(archive.compression_percent)),
    );
    row("records", held(range.first_seq, range.tree_size, metadata.lacks()));
    if let Some(base) = metadata.bases.last() {
        let others = count(metadata.bases.len() as u64, "other archive");
        row("builds on", format!("{} ({others} needed to restore it)", base.id));
    }
    for hole in &metadata.holes {
        let span = hole.span();
        let by = match hole.given_up_by {
            Some(record) => format!("given up by record {record}"),
            None => hole.reason.clone(),
        };
        row("lacks", format!("{}: {}", records(span.begin, span.end), escape(&by)));
    }
    row("checksum", format!("sha256:{}", metadata.stored().sha256));
    row("metadata", made.metadata_file.display().to_string());
    row("root", metadata.root_hash.to_string());
    if let Some(previous) = &metadata.previous {
        let proof = match previous.consistency_proof {
            Some(_) => "proven",
            None => "not provable: retention removed records in between",
        };
        row("extends", format!("{} ({proof})", previous.id));
    }
    if metadata.clock_adjusted {
        row("clock", "ID advanced: the last backup used the same second".to_owned());
    }
    row("took", took(&made.seconds));
    lines.join("\n")
}

/// A small log's archive is larger than its lines.
fn saved(percent: f64) -> String {
    let word = if percent < 0.0 { "larger" } else { "smaller" };
    format!("{:.1}% {word}", percent.abs())
}

fn records(first_seq: u64, tree_size: u64) -> String {
    match tree_size.checked_sub(first_seq) {
        None | Some(0) => "0".to_owned(),
        Some(count) => format!("{count} (seq {first_seq} to {})", tree_size - 1),
    }
}

/// The same of a backup that lacks some of them.
fn held(first_seq: u64, tree_size: u64, lacks: u64) -> String {
    match lacks {
        0 => records(first_seq, tree_size),
        _ => format!("{} of {}", tree_size - first_seq - lacks, records(first_seq, tree_size)),
    }
}

fn took(seconds: &[(crate::backup::Stage, f64)]) -> String {
    let total: f64 = seconds.iter().map(|(_, seconds)| seconds).sum();
    let stages: Vec<String> =
        seconds.iter().map(|(stage, seconds)| format!("{} {seconds:.2}", stage.as_str())).collect();
    format!("{total:.2} s ({})", stages.join(", "))
}

/// A backup that was made, for programs.
#[must_use]
pub fn backup_made_value(made: &Made) -> Value {
    let metadata = &made.metadata;
    let archive = &metadata.archive;
    let seconds: serde_json::Map<String, Value> = made
        .seconds
        .iter()
        .map(|(stage, seconds)| (stage.as_str().to_owned(), json!(seconds)))
        .collect();
    json!({
        "id": metadata.id,
        "local": "verified",
        "destinations": [],
        "file": made.archive,
        "metadata": made.metadata_file,
        "created_at": metadata.created_at,
        "clock_adjusted": metadata.clock_adjusted,
        "original_bytes": archive.raw_bytes,
        "compressed_bytes": archive.digests.bytes,
        "compression_percent": archive.compression_percent,
        "sha256": metadata.stored().sha256,
        "log_id": metadata.log.id,
        "epoch": metadata.log.epoch,
        "records": metadata.range.records,
        "first_seq": metadata.range.first_seq,
        "tree_size": metadata.range.tree_size,
        "root_hash": metadata.root_hash,
        "holes": holes(made),
        "incremental": metadata.is_incremental(),
        "bases": bases(metadata),
        "full_because": made.full_because,
        "previous": metadata.previous.as_ref().map(|previous| json!({
            "id": previous.id,
            "tree_size": previous.tree_size,
            "proven": previous.consistency_proof.is_some(),
        })),
        "signed": metadata.signature.is_some(),
        "unsigned_tail_bytes": made.unsigned_tail,
        "seconds": seconds,
    })
}

/// The backups that one builds on.
pub(super) fn bases(metadata: &Metadata) -> Vec<BackupId> {
    metadata.bases.iter().map(|base| base.id).collect()
}

fn holes(made: &Made) -> Vec<Value> {
    let held_by = |span| {
        let held = made.held_elsewhere.iter().find(|(other, _)| *other == span);
        held.map(|(_, id)| *id)
    };
    let hole = |hole: &Hole| {
        let span = hole.span();
        json!({
            "first_seq": span.begin,
            "end_seq": span.end,
            "reason": hole.reason,
            "given_up_by": hole.given_up_by,
            "held_by": held_by(span),
        })
    };
    made.metadata.holes.iter().map(hole).collect()
}

/// What of a damaged log is not in a backup of it, for people; nothing where all that is
/// missing was given up.
#[must_use]
pub fn backup_lacks_text(made: &Made) -> Option<String> {
    let lacking = made.metadata.lacking();
    let first = lacking.first()?;
    let many: u64 = lacking.iter().map(|span| span.records()).sum();
    let ranges = match lacking.len() {
        1 => wording::records(first.begin, first.end),
        more => format!("from record {} on, in {more} places", first.begin),
    };
    let held: Vec<String> = made.held_elsewhere.iter().map(|(_, id)| id.to_string()).collect();
    let remedy = match held.iter().max() {
        Some(id) if made.uncovered().is_empty() => format!(
            "backup {id} holds them. Bring them back with `auditctl repair --from {id}`, then \
             back up again"
        ),
        Some(id) => format!(
            "backup {id} holds some of them. Bring these back with `auditctl repair --from {id}`; \
             `auditctl serve --accept-corruption` gives up what no copy holds"
        ),
        None => "no other backup here holds them. Bring them back from a copy elsewhere with \
                 `auditctl repair --from URL`, or give them up with `auditctl serve \
                 --accept-corruption`"
            .to_owned(),
    };
    Some(format!(
        "the log is damaged: {} of it {} not in this backup ({ranges}); {remedy}",
        count(many, "record"),
        are(many),
    ))
}

/// A backup that was made before, for programs.
#[must_use]
pub fn backup_there_value(metadata: &Metadata, dir: &Path) -> Value {
    json!({
        "id": metadata.id,
        "local": "verified",
        "destinations": [],
        "file": dir.join(&metadata.archive.file),
        "metadata": dir.join(metadata.id.metadata()),
        "created_at": metadata.created_at,
        "sha256": metadata.stored().sha256,
        "log_id": metadata.log.id,
        "epoch": metadata.log.epoch,
        "records": metadata.range.records,
        "lacking_records": metadata.lacks(),
        "first_seq": metadata.range.first_seq,
        "tree_size": metadata.range.tree_size,
        "root_hash": metadata.root_hash,
    })
}

/// A backup that a store has confirmed to have, for people.
#[must_use]
pub fn uploaded_text(uploaded: &Uploaded) -> String {
    let archive = &uploaded.archive;
    let mut said = vec![human_bytes(archive.size)];
    said.extend(archive.checksum.map(|sum| sum.to_string()));
    said.extend(archive.version.as_ref().map(|version| format!("version {version}")));
    if let (Some(until), Some(mode)) = (archive.locked_until, archive.lock_mode) {
        said.push(format!("locked until {} ({mode})", display_seconds(until)));
    }
    let mut text = format!(
        "Backup {} sent and confirmed in {:.2} s\n  {:<11} {}\n  {:<11} {}",
        uploaded.id,
        uploaded.seconds,
        "url",
        uploaded.url,
        "confirmed",
        said.join(", ")
    );
    if uploaded.resumed_from > 0 {
        let before = human_bytes(uploaded.resumed_from);
        text.push_str(&format!("\n  {:<11} {before} already there", "resumed"));
    }
    text
}

/// The same, for programs.
#[must_use]
pub fn uploaded_value(uploaded: &Uploaded) -> Value {
    let archive = &uploaded.archive;
    json!({
        "place": uploaded.place,
        "url": uploaded.url,
        "state": "confirmed",
        "bytes": archive.size,
        "checksum": archive.checksum.map(|sum| sum.to_string()),
        "version_id": archive.version,
        "metadata_version_id": uploaded.metadata.version,
        "locked_until": archive.locked_until,
        "lock_mode": archive.lock_mode,
        "resumed_from_bytes": uploaded.resumed_from,
        "seconds": uploaded.seconds,
    })
}

/// That there is nothing new, for people.
#[must_use]
pub fn backup_nothing_new_text(covered: &Covered) -> String {
    let metadata = &covered.metadata;
    let since = match covered.idle_records() {
        0 => "nothing was recorded since".to_owned(),
        own => format!(
            "since then the log was only opened, closed, idle or backed up ({})",
            count(own, "record")
        ),
    };
    format!(
        "Nothing new: backup {} holds everything; {since}. To make one anyway, add --full\n  records     {}\n  root        {}",
        metadata.id,
        records(metadata.range.first_seq, metadata.range.tree_size),
        metadata.root_hash
    )
}

/// What a store has of the log already.
#[derive(Clone, Debug)]
pub struct There {
    /// Where it would be sent.
    pub url: String,
    /// How many backups of the log are there.
    pub backups: u64,
    /// The newest by name.
    pub newest: Option<BackupId>,
}

/// What a backup would do, for people.
#[must_use]
pub fn backup_outlook_text(
    outlook: &Outlook,
    dir: &Path,
    covered: Option<&Covered>,
    there: Option<&There>,
) -> String {
    let previous = match outlook.previous {
        Some(id) => format!("extends {id}"),
        None => "the first backup of this log there".to_owned(),
    };
    let sent_to = there.map_or_else(String::new, |there| {
        let newest = there.newest.map_or_else(String::new, |id| format!(", the newest {id}"));
        let backups = count(there.backups, "backup");
        format!("\n  sent to     {}\n  there       {backups} of this log{newest}", there.url)
    });
    if let Some(covered) = covered {
        let id = covered.metadata.id;
        return format!("Would make no backup: nothing is new since backup {id}{sent_to}");
    }
    format!(
        "Would make backup {} in {}: {}\n  copied      {} of sealed segments\n  compressed  {} records\n  records     {}\n  available   {}{sent_to}",
        outlook.id,
        dir.display(),
        previous,
        human_bytes(outlook.copied_bytes),
        outlook.compressed_records,
        records(outlook.first_seq, outlook.tree_size),
        human_bytes(outlook.available_bytes),
    )
}

/// What a backup would do, for programs.
#[must_use]
pub fn backup_outlook_json(
    outlook: &Outlook,
    dir: &Path,
    covered: Option<&Covered>,
    there: Option<&There>,
) -> String {
    json!({ "dry_run": {
        "id": outlook.id,
        "output_dir": dir,
        "first_seq": outlook.first_seq,
        "tree_size": outlook.tree_size,
        "copied_bytes": outlook.copied_bytes,
        "compressed_records": outlook.compressed_records,
        "available_bytes": outlook.available_bytes,
        "previous": outlook.previous,
        "nothing_new": covered.is_some(),
        "covered_by": covered.map(|covered| covered.metadata.id),
        "destination": there.map(|there| &there.url),
        "there": there.map(|there| json!({
            "backups": there.backups,
            "newest": there.newest,
        })),
    }})
    .to_string()
}
