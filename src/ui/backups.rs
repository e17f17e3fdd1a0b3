//! What `restore` and `cleanup` say.

use std::path::Path;

use serde_json::{Value, json};

use super::backup_list::seqs;
use super::style::escape;
use crate::audit::OpenError;
use crate::backup::{Decision, DrillReport, Outcome, Plan, Relation, Removal, RestorePlan};
use crate::clock::display_seconds;
use crate::units::human_bytes;

/// What a cleanup did or would do, for people.
#[must_use]
pub fn cleanup_text(plan: &Plan, removed: &[(Decision, Removal)], dry_run: bool) -> String {
    let mut out = String::new();
    // Of a log that moved: where each was made.
    let several = plan.decisions.iter().any(|decision| decision.host != plan.decisions[0].host);
    for decision in &plan.decisions {
        let text = if decision.keep.is_empty() {
            let became = removed.iter().find(|(gone, _)| {
                gone.id == decision.id && gone.removed.place == decision.removed.place
            });
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
        if several {
            out.push_str(&format!("  (host {})", escape(&decision.host)));
        }
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
        .map(|decision| json!({ "id": decision.id, "host": decision.host, "reasons": decision.keep }))
        .collect();
    let value = |decision: &Decision| {
        json!({
            "id": decision.id,
            "host": decision.host,
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
        let text = "signed records are set aside, so the log continues in a new epoch";
        row("epoch", format!("{} ({text})", plan.epoch));
    }
    lines.join("\n")
}

fn relation_text(relation: &Relation) -> String {
    match relation {
        Relation::Nothing => "no log".to_owned(),
        Relation::Identical => "the same records".to_owned(),
        Relation::LiveIsPrefix { gained } => {
            format!("the beginning of this backup; gains {gained} records")
        }
        Relation::BackupIsPrefix { set_aside, times } => {
            let when = times.map_or_else(String::new, |(from, to)| {
                format!(", from {} to {}", display_seconds(from), display_seconds(to))
            });
            format!(
                "WARNING: the current log has {set_aside} records that this backup lacks{when}. \
                 They will leave the log"
            )
        }
        Relation::Diverged { set_aside, why } => {
            let why = escape(why);
            format!(
                "WARNING: the current log has another history ({why}). {set_aside} of its records \
                 will leave the log"
            )
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
        (false, false) => "\nNothing to do: the log has the same records as the backup".to_owned(),
    });
    if let Some(kept) = &outcome.kept_in {
        let kept = kept.display();
        text.push_str(&format!("\n  kept      the old log is in {kept}"));
        if plan.relation != Relation::Nothing {
            text.push_str(&format!("\n  undo      auditctl restore --force {kept}"));
        }
    }
    match &outcome.unrecorded {
        Some(OpenError::KeyMissing { path, .. }) => text.push_str(&format!(
            "\n  note      the signing key is not at {}. You can read, verify and back up the \
             log. To add to it, and to record this restore, put the key back (`auditctl key \
             import`). If nobody has the key any more, run `auditctl key replace --reason TEXT`",
            escape(&path.display().to_string())
        )),
        Some(error) => text.push_str(&format!(
            "\n  note      the restore could not be recorded now: {error}. The next opening of the log records it"
        )),
        None => {}
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
