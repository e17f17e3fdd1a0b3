//! What `verify` says of a log and of a backup.

use std::time::Duration;

use serde_json::{Value, json};

use super::style::{Style, escape, paint};
use crate::audit::verify::{Completeness, Depth, Integrity, KeySource, Report, Stretch};
use crate::backup::{Relation, RestorePlan};
use crate::health::wording::{age, count};
use crate::units::human_bytes;

/// The one word.
fn verdict(report: &Report) -> (&'static str, Style) {
    match (report.integrity, report.completeness) {
        (Integrity::Damaged, _) => ("DAMAGED", Style::Bad),
        (Integrity::Unproven, _) => ("NOT PROVEN", Style::Bad),
        (Integrity::Intact, Completeness::Incomplete) => ("INCOMPLETE", Style::Bad),
        (Integrity::Intact, _) => ("VERIFIED", Style::Good),
    }
}

/// The report, for people.
#[must_use]
pub fn verify_text(report: &Report, place: &str, colour: bool) -> String {
    let (word, style) = verdict(report);
    let but = match report.given_up() {
        0 => String::new(),
        _ if style == Style::Bad => String::new(),
        gone => format!(", but for {} that {} given up", count(gone, "record"), were(gone)),
    };
    let mut lines = vec![format!("{}: {}{but}", escape(place), paint(word, style, colour))];
    let mut row = |name: &str, text: String| lines.push(format!("  {name:<13} {text}"));
    row("integrity", integrity(report));
    row("completeness", completeness(report));
    let ranges = &report.ranges;
    for (name, range) in [
        ("anchored", ranges.anchored),
        ("signed", ranges.signed),
        ("unsigned", ranges.unsigned),
        ("removed", ranges.removed),
    ] {
        if name != "removed" || range.end_seq > 0 {
            row(name, stretch(range));
        }
    }
    if let Some(removed) = &report.removed_by {
        row(
            "removed by",
            format!(
                "retention, up to record {} on {}, by record {}",
                removed.pruned_to.saturating_sub(1),
                removed.at,
                removed.record
            ),
        );
    }
    for range in &report.adopted {
        row(
            "adopted",
            format!("{}: nobody had signed them when the log was opened", stretch(*range)),
        );
    }
    for hole in &report.holes {
        let range = Stretch { first_seq: hole.first_seq, end_seq: hole.end_seq };
        let by = match (hole.record, hole.at) {
            (Some(record), Some(at)) => format!("by record {record} on {at}"),
            _ => "by no signed record".to_owned(),
        };
        row("given up", format!("{}, {by}: {}", stretch(range), escape(&hole.reason)));
    }
    row("read", read(report));
    if let Some(oldest) = &report.oldest_read {
        let when = age(Duration::from_secs(oldest.age_seconds));
        let range = Stretch { first_seq: oldest.first_seq, end_seq: oldest.end_seq };
        row("read before", format!("records {}: {when} ago, longest of all", stretch(range)));
    }
    row(
        "key",
        match (&report.key, report.key_source) {
            (Some(key), KeySource::Given) if report.key_given.is_some() => format!(
                "{}, to which the key given leads, {}",
                escape(key),
                escape(report.key_given.as_deref().unwrap_or_default())
            ),
            (Some(key), KeySource::Given) => format!("{}, as given", escape(key)),
            (Some(key), _) => format!(
                "{}, found beside the log: --public-key with one kept elsewhere says more",
                escape(key)
            ),
            (None, _) => "none".to_owned(),
        },
    );
    if let Some(place) = report.keys.last().and_then(|key| key.from) {
        row(
            "keys",
            format!(
                "{}; the last took over at {}",
                count(report.keys.len() as u64, "key"),
                count(place.tree_size, "record")
            ),
        );
    }
    if let Some(root) = &report.root_hash {
        row("root", format!("{root} over {}", count(report.tree_size, "record")));
    }
    for note in &report.notes {
        lines.push(format!("note: {}", escape(note)));
    }
    if !report.findings.is_empty() {
        lines.push(format!("{}:", count(report.findings.len() as u64, "finding")));
    }
    for finding in &report.findings {
        lines.push(format!("  {}", escape(&finding.to_string())));
    }
    if report.integrity == Integrity::Damaged {
        lines.push(
            "next: `auditctl repair --dry-run` says what a backup would put back, record by record"
                .to_owned(),
        );
    }
    lines.join("\n") + "\n"
}

fn were(many: u64) -> &'static str {
    if many == 1 { "was" } else { "were" }
}

fn integrity(report: &Report) -> String {
    let all = match report.depth {
        Depth::Full => "every stored byte was read",
        Depth::Quick => "stored SHA-256s, not each record: without --quick they are",
        Depth::SinceLast => "what is new, and a part of what was read before, half of it by lot",
    };
    match report.integrity {
        Integrity::Intact => format!("intact: the records hash to the signed root; {all}"),
        Integrity::Damaged => "damaged: see the findings".to_owned(),
        Integrity::Unproven if report.ranges.signed.end_seq > report.ranges.signed.first_seq => {
            format!(
                "not proven beyond record {}: see the findings; {all}",
                report.ranges.signed.end_seq - 1
            )
        }
        Integrity::Unproven => "not proven: no signature that fits".to_owned(),
    }
}

fn completeness(report: &Report) -> String {
    let end = match (report.writer_runs, report.closed) {
        (true, _) => "a writer has the log open",
        (false, true) => "the log was closed in order",
        (false, false) => "the log was not closed: its writer was stopped, or this is a copy",
    };
    match report.completeness {
        Completeness::Anchored => format!("anchored: a copy kept elsewhere agrees; {end}"),
        Completeness::Signed => format!(
            "as far as this log can tell; {end}. To rule out a cut-off end, compare it with a \
             checkpoint stored elsewhere: verify --against FILE"
        ),
        Completeness::Incomplete => "incomplete: see the findings".to_owned(),
    }
}

fn stretch(range: Stretch) -> String {
    match range.end_seq.saturating_sub(range.first_seq) {
        0 => "none".to_owned(),
        records => {
            format!("{} to {} ({})", range.first_seq, range.end_seq - 1, count(records, "record"))
        }
    }
}

fn read(report: &Report) -> String {
    let counts = &report.counts;
    let mut text = format!(
        "{} in {} of {}, {}",
        count(counts.records, "record"),
        count(counts.blocks, "block"),
        count(counts.segments, "sealed segment"),
        human_bytes(counts.bytes)
    );
    if counts.blocks_skipped > 0 {
        text.push_str(&format!(
            "; {} at the manifest's word",
            count(counts.blocks_skipped, "block")
        ));
    }
    if let Some(reason) = &report.depth_reason {
        text.push_str(&format!("; all, because {reason}"));
    }
    text
}

/// The report, for programs.
#[must_use]
pub fn verify_json(report: &Report) -> String {
    let mut value = serde_json::to_value(report).unwrap_or_default();
    value["passed"] = json!(report.passed());
    value.to_string()
}

/// A backup that was found good, for people.
#[must_use]
pub fn verified_backup_text(plan: &RestorePlan, colour: bool) -> String {
    let (word, style) = match &plan.relation {
        Relation::Diverged { .. } => ("DIVERGED", Style::Bad),
        _ => ("VERIFIED", Style::Good),
    };
    let mut text = format!("backup {}: {}\n", escape(&plan.backup), paint(word, style, colour));
    let range = Stretch { first_seq: plan.first_seq, end_seq: plan.tree_size };
    let records = count(plan.tree_size, "record");
    for (name, row) in [
        ("log", escape(&plan.log_id).into_owned()),
        ("records", stretch(range)),
        ("root", format!("{} over {records}", plan.root_hash)),
        ("key", format!("{}, by the word of {}", escape(&label(&plan.key)), plan.key_from)),
        ("log here", escape(&relation(&plan.relation)).into_owned()),
    ] {
        text.push_str(&format!("  {name:<13} {row}\n"));
    }
    for note in plan.notes() {
        text.push_str(&format!("note: {}\n", escape(&note)));
    }
    text
}

/// Name and id of a verifier key, as a log's report has it.
fn label(key: &str) -> String {
    key.splitn(3, '+').take(2).collect::<Vec<_>>().join("+")
}

fn relation(relation: &Relation) -> String {
    match relation {
        Relation::Nothing => "none to compare it with".to_owned(),
        Relation::Identical => "holds the same records".to_owned(),
        Relation::LiveIsPrefix { gained } => {
            format!("is the beginning of it: the backup has {} more", count(*gained, "record"))
        }
        Relation::BackupIsPrefix { set_aside, .. } => {
            format!("continues it, by {}", count(*set_aside, "record"))
        }
        Relation::Diverged { why, .. } => format!("does not fit it: {why}"),
    }
}

/// The same, for programs: the members that a log's report has too are called alike.
#[must_use]
pub fn verified_backup_json(plan: &RestorePlan) -> String {
    let findings: Vec<Value> = match &plan.relation {
        Relation::Diverged { why, .. } => {
            vec![json!({ "kind": "diverged", "file": plan.backup, "message": why })]
        }
        _ => Vec::new(),
    };
    json!({
        "passed": findings.is_empty(),
        "backup": plan.backup,
        "log_id": plan.log_id,
        "integrity": "intact",
        "first_seq": plan.first_seq,
        "tree_size": plan.tree_size,
        "root_hash": plan.root_hash,
        "key": label(&plan.key),
        "key_source": plan.key_from,
        "relation": plan.relation.word(),
        "notes": plan.notes(),
        "findings": findings,
    })
    .to_string()
}
