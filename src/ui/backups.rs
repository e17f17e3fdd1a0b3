//! What `list`, `restore` and `cleanup` say.

use std::borrow::Cow;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::style::escape;
use crate::audit::histories::Contradiction;
use crate::backup::{
    CopyState, Coverage, Decision, DrillReport, Inventory, Listed, Outcome, Plan, Relation,
    Removal, RestorePlan,
};
use crate::clock::{Timestamp, display_seconds};
use crate::health::wording::age;
use crate::units::human_bytes;

/// The list, for people.
#[must_use]
pub fn backup_list_text(
    inventory: &Inventory,
    contradictions: &[Contradiction],
    place: &str,
    now: Timestamp,
) -> String {
    let mut out = String::new();
    if inventory.backups.is_empty() {
        out.push_str(&format!("no backups in {}\n", escape(place)));
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["ID", "AGE", "RECORDS", "SEQ", "SIZE", "OF", "VERIFIED", ""]);
        for listed in &inventory.backups {
            table.add_row(row(listed, now));
        }
        for column in [2, 4, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        out.push_str(&table.trim_fmt());
        out.push('\n');
    }
    for listed in &inventory.backups {
        if let Some(damage) = &listed.damage {
            out.push_str(&format!("{}: {}\n", listed.id, escape(damage)));
        }
    }
    if let Some(newer) = &inventory.newer_catalog {
        let text = escape(&newer.to_string()).into_owned();
        out.push_str(&format!("{text}; what it notes of the backups is not shown\n"));
    }
    let others = [
        (&inventory.orphans, "an archive without metadata: `auditctl restore` can read it"),
        (&inventory.leftovers, "left by an interrupted run; the next one removes it"),
        (&inventory.foreign, "not ours"),
    ];
    for (names, what) in others {
        for name in names {
            out.push_str(&format!("{}: {what}\n", escape(name)));
        }
    }
    if let Some(coverage) = &inventory.coverage {
        out.push_str(&coverage_text(coverage));
    }
    for found in contradictions {
        out.push_str(&format!("{}: {}\n", found.history.code(), escape(&found.to_string())));
    }
    out
}

fn contradiction_value(found: &Contradiction) -> Value {
    json!({
        "history": found.history.code(),
        "name": found.name,
        "epoch": found.epoch,
        "tree_size": found.size,
        "root_hash": found.root,
        "log_size": found.found,
        "message": found.to_string(),
    })
}

fn row(listed: &Listed, now: Timestamp) -> Vec<String> {
    let old = age(crate::health::wording::since(listed.id.time(), now));
    let state = match (&listed.damage, listed.level) {
        (Some(_), _) if listed.is_newer() => "NEWER".to_owned(),
        (Some(_), _) => "BAD".to_owned(),
        (None, Some(level)) => level.as_str().to_owned(),
        (None, None) => "-".to_owned(),
    };
    let notes = [
        (listed.pinned, "pinned"),
        (listed.metadata.as_ref().is_some_and(|m| m.signature.is_none()), "unsigned"),
        (listed.metadata.as_ref().is_some_and(|m| m.encryption.is_some()), "encrypted"),
    ];
    let mut notes: Vec<String> =
        notes.iter().filter(|(is, _)| *is).map(|(_, note)| (*note).to_owned()).collect();
    for (place, copied) in &listed.copies {
        let there = shortest(place, &listed.copies);
        notes.push(match copied.state {
            CopyState::Confirmed => format!("in {there}"),
            CopyState::Uploading => format!("not whole in {there}"),
            CopyState::Failed => format!("NOT in {there}"),
        });
    }
    if let Some(until) = listed.locked_until.filter(|until| *until > now) {
        notes.push(format!("locked until {}", display_seconds(until)));
    }
    if listed.held {
        notes.push("held".to_owned());
    }
    let size = listed.stored_bytes.map_or_else(|| "missing".to_owned(), human_bytes);
    let (records, seqs, raw) = match &listed.metadata {
        Some(metadata) => (
            metadata.range.records.to_string(),
            seqs(metadata.range.first_seq, metadata.range.tree_size),
            human_bytes(metadata.archive.raw_bytes),
        ),
        None => Default::default(),
    };
    vec![listed.id.to_string(), old, records, seqs, size, raw, state, notes.join(", ")]
}

/// As little of a place as tells it from the other ones: the provider, its bucket, all.
fn shortest<'a, T>(place: &'a str, all: &[(String, T)]) -> Cow<'a, str> {
    let scheme = place.split("://").next().unwrap_or_default();
    let after = place.get(scheme.len() + 3..).and_then(|rest| rest.find('/'));
    let bucket = after.map_or(place, |end| &place[..scheme.len() + 3 + end]);
    let alone = |begin: &str| all.iter().filter(|(other, _)| other.starts_with(begin)).count() <= 1;
    let shown = match () {
        () if alone(&format!("{scheme}://")) => scheme,
        () if alone(&format!("{bucket}/")) => bucket,
        () => place,
    };
    escape(shown)
}

fn seqs(first_seq: u64, tree_size: u64) -> String {
    format!("{first_seq}-{}", tree_size.saturating_sub(1))
}

fn coverage_text(coverage: &Coverage) -> String {
    if coverage.covered_to == 0 {
        return format!("no record of log {} is in a good backup\n", coverage.log_id);
    }
    let gaps: Vec<String> = coverage.gaps.iter().map(|(a, b)| seqs(*a, *b)).collect();
    let but =
        if gaps.is_empty() { String::new() } else { format!(", but for {}", gaps.join(", ")) };
    format!(
        "every record up to seq {} is in a good backup{but}; {} newer\n",
        coverage.covered_to - 1,
        crate::health::wording::count(coverage.lag(), "record")
    )
}

/// The list, for programs.
#[must_use]
pub fn backup_list_json(inventory: &Inventory, contradictions: &[Contradiction]) -> String {
    let backups: Vec<Value> = inventory.backups.iter().map(listed_value).collect();
    let coverage = inventory.coverage.as_ref().map(|coverage| {
        let gaps: Vec<Value> = coverage
            .gaps
            .iter()
            .map(|(begin, end)| json!({ "first_seq": begin, "last_seq": end - 1 }))
            .collect();
        json!({
            "log_id": coverage.log_id,
            "verified_to_seq": coverage.covered_to.checked_sub(1),
            "live_seq": coverage.live_size.checked_sub(1),
            "lag_records": coverage.lag(),
            "gaps": gaps,
        })
    });
    json!({
        "backups": backups,
        "coverage": coverage,
        "orphans": inventory.orphans,
        "leftovers": inventory.leftovers,
        "foreign": inventory.foreign,
        "newer_catalog": inventory.newer_catalog.as_ref().map(ToString::to_string),
        "contradictions": contradictions.iter().map(contradiction_value).collect::<Vec<_>>(),
    })
    .to_string()
}

fn listed_value(listed: &Listed) -> Value {
    let metadata = listed.metadata.as_ref();
    json!({
        "id": listed.id,
        "created_at": metadata.map(|metadata| metadata.created_at),
        "place": listed.place,
        "file": metadata.map(|metadata| &metadata.archive.file),
        "log_id": metadata.map(|metadata| &metadata.log.id),
        "epoch": metadata.map(|metadata| metadata.log.epoch),
        "host": metadata.map(|metadata| &metadata.host),
        "records": metadata.map(|metadata| metadata.range.records),
        "first_seq": metadata.map(|metadata| metadata.range.first_seq),
        "tree_size": metadata.map(|metadata| metadata.range.tree_size),
        "root_hash": metadata.map(|metadata| metadata.root_hash),
        "original_bytes": metadata.map(|metadata| metadata.archive.raw_bytes),
        "stored_bytes": listed.stored_bytes,
        "sha256": metadata.map(|metadata| metadata.stored().sha256),
        "good": listed.is_good(),
        "newer_version": listed.is_newer(),
        "verified": listed.level.map(|level| level.as_str()),
        "verified_at": listed.verified_at,
        "damage": listed.damage,
        "damage_kind": listed.damage_kind,
        "signed": metadata.is_some_and(|metadata| metadata.signature.is_some()),
        "encrypted": metadata.is_some_and(|metadata| metadata.encryption.is_some()),
        "pinned": listed.pinned,
        "version_id": listed.version,
        "locked_until": listed.locked_until,
        "held": listed.held,
        "copies": listed.copies.iter().map(|(place, copied)| json!({
            "place": place,
            "state": copied.state.as_str(),
            "at": copied.at,
            "version_id": copied.archive_version,
            "checksum": copied.checksum,
            "locked_until": copied.locked_until,
            "problem": copied.problem,
        })).collect::<Vec<Value>>(),
    })
}

/// What a cleanup did or would do, for people.
#[must_use]
pub fn cleanup_text(plan: &Plan, removed: &[(Decision, Removal)], dry_run: bool) -> String {
    let mut out = String::new();
    for decision in &plan.decisions {
        let text = if decision.keep.is_empty() {
            let became = removed.iter().find(|(gone, _)| gone.id == decision.id);
            let size = human_bytes(decision.stored_bytes);
            match became.map(|(_, removal)| removal) {
                None if dry_run => format!("{:<12} {}  {size}", "would remove", decision.id),
                // An error came before it.
                None => format!("{:<12} {}  {size}", "not removed", decision.id),
                Some(Removal::Gone) => format!("{:<12} {}  {size}", "removed", decision.id),
                Some(Removal::Hidden) => {
                    let why = "a marker hides it; its bytes stay until that version is removed";
                    format!("{:<12} {}  {size}  {why}", "hidden", decision.id)
                }
                Some(Removal::Locked(why)) => {
                    format!("{:<12} {}  {}", "keep", decision.id, escape(why))
                }
            }
        } else {
            format!("{:<12} {}  {}", "keep", decision.id, decision.keep.join(", "))
        };
        out.push_str(&text);
        out.push('\n');
    }
    for (name, why) in &plan.untouched {
        out.push_str(&format!("{:<12} {}  {}\n", "left alone", escape(name), escape(why)));
    }
    let gone = gone(removed);
    let count = if dry_run { plan.removals().count() } else { gone.len() };
    let kept = plan.decisions.len() - count;
    let freed: u64 = if dry_run {
        plan.removals().map(|decision| decision.stored_bytes).sum()
    } else {
        freed(removed)
    };
    let (went, freed_word) = if dry_run { ("to remove", "to free") } else { ("removed", "freed") };
    out.push_str(&format!("{kept} kept, {count} {went}, {} {freed_word}\n", human_bytes(freed)));
    out
}

/// Those that are not there any more, or hidden.
fn gone(removed: &[(Decision, Removal)]) -> Vec<&Decision> {
    let gone = removed.iter().filter(|(_, removal)| !matches!(removal, Removal::Locked(_)));
    gone.map(|(decision, _)| decision).collect()
}

/// What a marker hides is not freed.
fn freed(removed: &[(Decision, Removal)]) -> u64 {
    let gone = removed.iter().filter(|(_, removal)| *removal == Removal::Gone);
    gone.map(|(decision, _)| decision.stored_bytes).sum()
}

/// The same, for programs.
#[must_use]
pub fn cleanup_json(plan: &Plan, removed: &[(Decision, Removal)], dry_run: bool) -> String {
    let keep: Vec<Value> = plan
        .decisions
        .iter()
        .filter(|decision| !decision.keep.is_empty())
        .map(|decision| json!({ "id": decision.id, "reasons": decision.keep }))
        .collect();
    let value = |decision: &Decision| {
        json!({
            "id": decision.id,
            "stored_bytes": decision.stored_bytes,
            "reason": decision.removed.reason,
        })
    };
    let planned: Vec<Value> = plan.removals().map(value).collect();
    let gone: Vec<Value> = gone(removed).into_iter().map(value).collect();
    let of = |wanted: fn(&Removal) -> bool| -> Vec<Value> {
        let those = removed.iter().filter(|(_, removal)| wanted(removal));
        those.map(|(decision, _)| json!(decision.id)).collect()
    };
    let untouched: Vec<Value> =
        plan.untouched.iter().map(|(name, why)| json!({ "name": name, "reason": why })).collect();
    json!({
        "dry_run": dry_run,
        "keep": keep,
        "remove": planned,
        "removed": gone,
        "left_alone": untouched,
        "hidden": of(|removal| *removal == Removal::Hidden),
        "locked": of(|removal| matches!(removal, Removal::Locked(_))),
        "freed_bytes": freed(removed),
    })
    .to_string()
}

/// What a restore will do, for people.
#[must_use]
pub fn restore_plan_text(plan: &RestorePlan) -> String {
    let mut lines = vec![format!("Backup {}: everything checked", escape(&plan.backup))];
    let mut row = |name: &str, value: String| lines.push(format!("  {name:<9} {value}"));
    let records = plan.tree_size - plan.first_seq;
    row("records", format!("{records} (seq {})", seqs(plan.first_seq, plan.tree_size)));
    row("root", plan.root_hash.to_string());
    row("key", format!("{}, from {}", plan.key.split('+').nth(1).unwrap_or("?"), plan.key_from));
    row("into", plan.log_dir.display().to_string());
    row("there", relation_text(&plan.relation));
    for damage in &plan.live_damage {
        row("damaged", escape(damage).to_string());
    }
    for hole in &plan.holes {
        let span = hole.span();
        let by = match hole.given_up_by {
            Some(record) => format!("given up by record {record}"),
            None => format!("damaged when it was made ({})", escape(&hole.reason)),
        };
        row(
            "lacks",
            format!("{} records (seq {}): {by}", span.records(), seqs(span.begin, span.end)),
        );
    }
    if plan.new_epoch {
        let text = "signed records are set aside, so the log goes on under a new name";
        row("epoch", format!("{} ({text})", plan.epoch));
    }
    lines.join("\n")
}

fn relation_text(relation: &Relation) -> String {
    match relation {
        Relation::Nothing => "no log".to_owned(),
        Relation::Identical => "the same records".to_owned(),
        Relation::LiveIsPrefix { gained } => format!("a beginning of it; gains {gained} records"),
        Relation::BackupIsPrefix { set_aside, times } => {
            let when = times.map_or_else(String::new, |(from, to)| {
                format!(", from {} to {}", display_seconds(from), display_seconds(to))
            });
            format!("more than it: sets {set_aside} records aside{when}")
        }
        Relation::Diverged { set_aside, why } => {
            format!("another history ({}): sets {set_aside} records aside", escape(why))
        }
    }
}

/// What a restore did, for people.
#[must_use]
pub fn restore_text(outcome: &Outcome, dry_run: bool) -> String {
    let mut text = restore_plan_text(&outcome.plan);
    let plan = &outcome.plan;
    text.push_str(&match (outcome.changed, dry_run) {
        (true, _) => format!("\nRestored in {:.2} s", outcome.seconds),
        (false, true) => "\nNothing was changed (--dry-run)".to_owned(),
        (false, false) => "\nNothing to do: the log is what the backup is".to_owned(),
    });
    if let Some(kept) = &outcome.kept_in {
        let kept = kept.display();
        text.push_str(&format!("\n  kept      what was there is in {kept}"));
        if plan.relation != Relation::Nothing {
            text.push_str(&format!("\n  undo      auditctl restore --force {kept}"));
        }
    }
    if let Some(error) = &outcome.unrecorded {
        text.push_str(&format!(
            "\n  note      the restore is recorded when the log is opened next; now it was not: {error}"
        ));
    }
    text
}

/// The same, for programs.
#[must_use]
pub fn restore_json(outcome: &Outcome, dry_run: bool) -> String {
    let plan = &outcome.plan;
    let (gained, why) = match &plan.relation {
        Relation::LiveIsPrefix { gained } => (*gained, None),
        Relation::Diverged { why, .. } => (0, Some(why)),
        _ => (0, None),
    };
    json!({
        "restore": {
            "backup": plan.backup,
            "changed": outcome.changed,
            "dry_run": dry_run,
            "log_dir": plan.log_dir,
            "log_id": plan.log_id,
            "first_seq": plan.first_seq,
            "tree_size": plan.tree_size,
            "root_hash": plan.root_hash,
            "relation": plan.relation.word(),
            "why": why,
            "gained_records": gained,
            "set_aside_records": plan.relation.set_aside(),
            "damage": plan.live_damage,
            "holes": plan.holes.iter().map(|hole| json!({
                "first_seq": hole.span().begin,
                "end_seq": hole.span().end,
                "reason": hole.reason,
                "given_up_by": hole.given_up_by,
            })).collect::<Vec<_>>(),
            "epoch": plan.epoch,
            "new_epoch": plan.new_epoch,
            "key": plan.key,
            "key_from": plan.key_from,
            "kept_in": outcome.kept_in,
            "undo": outcome.kept_in.as_ref().filter(|_| plan.relation != Relation::Nothing)
                .map(|kept| format!("auditctl restore --force {}", kept.display())),
            "recorded": (outcome.in_place && outcome.changed).then(|| outcome.unrecorded.is_none()),
            "seconds": outcome.seconds,
        }
    })
    .to_string()
}

/// What a drill found, for people.
#[must_use]
pub fn drill_text(report: &DrillReport, path: &Path) -> String {
    let verdict = if report.passed { "passed" } else { "FAILED" };
    let mut lines = vec![format!(
        "Restore drill of {} {verdict} in {:.2} s",
        escape(if report.backup.is_empty() { "the backup" } else { &report.backup }),
        report.milliseconds as f64 / 1e3
    )];
    for step in &report.steps {
        let mark = if step.passed { "ok" } else { "FAILED" };
        lines.push(format!("  {:<8} {mark:<6} {}", step.step, escape(&step.found)));
    }
    let signed = if report.signature.is_some() { "signed" } else { "not signed: no key here" };
    lines.push(format!("  report   {} ({signed})", path.display()));
    lines.join("\n")
}

/// The same, for programs: the report, and where it is.
#[must_use]
pub fn drill_json(report: &DrillReport, path: &Path) -> String {
    json!({ "drill": report, "report": path }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_one_provider_are_told_apart() {
        let all = ["s3://a/web/", "s3://b/web/", "s3://b/db/", "gs://a/web/"];
        let all: Vec<(String, ())> = all.iter().map(|place| ((*place).to_owned(), ())).collect();
        let shown: Vec<Cow<'_, str>> =
            all.iter().map(|(place, ())| shortest(place, &all)).collect();
        assert_eq!(shown, ["s3://a", "s3://b/web/", "s3://b/db/", "gs"]);
        // A directory's path, or what somebody has written into the catalog.
        for odd in ["", "/mnt/disk", "s3:", "s3://", "\u{1b}[2J://x/"] {
            let shown = shortest(odd, &[(odd.to_owned(), ())]).into_owned();
            assert!(!shown.contains('\u{1b}'), "{shown:?}");
        }
    }
}
