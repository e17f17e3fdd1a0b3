//! What `verify` says of a log and of a backup.

use std::time::Duration;

use serde_json::{Value, json};

use super::style::{Style, escape, paint};
use super::witness::witnessed_text;
use crate::audit::read::verify::{
    Anchor, Completeness, Depth, Integrity, KeySource, Report, Stretch, Witnessed,
};
use crate::backup::{LogHere, VerifiedBackup};
use crate::health::next_steps;
use crate::health::wording::{age, count, were};
use crate::units::human_bytes;

/// The one word.
fn verdict(report: &Report) -> (&'static str, Style) {
    match (report.integrity, report.completeness) {
        (Integrity::Damaged, _) => ("DAMAGED", Style::Bad),
        (Integrity::Unproven, _) => ("NOT PROVEN", Style::Bad),
        (Integrity::Intact, Completeness::Incomplete) => ("INCOMPLETE", Style::Bad),
        (Integrity::Intact, _) if !report.is_witnessed() => ("NOT WITNESSED", Style::Bad),
        (Integrity::Intact, _) => ("VERIFIED", Style::Good),
    }
}

/// The verdict with what the log lacks, and whether it is a good one.
pub(super) fn in_a_word(report: &Report) -> (String, bool) {
    let (word, style) = verdict(report);
    let is_good = style == Style::Good;
    let but = if is_good { but_for(report) } else { String::new() };
    (format!("{word}{but}"), is_good)
}

/// The report, for people.
#[must_use]
pub fn verify_text(report: &Report, place: &str, colour: bool) -> String {
    let (word, style) = verdict(report);
    let but = if style == Style::Bad { String::new() } else { but_for(report) };
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
            format!("{}: no key had signed them when the log was opened", stretch(*range)),
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
    for one in &report.abandoned {
        let range = Stretch { first_seq: one.first_seq, end_seq: one.end_seq };
        let by = match (one.record, one.at) {
            (Some(record), Some(at)) => format!("by record {record} on {at}"),
            _ => "which is still to be recorded".to_owned(),
        };
        let (epoch, reason) = (one.epoch, escape(&one.reason));
        row("left behind", format!("{} of epoch {epoch}, {by}: {reason}", stretch(range)));
        if let Some(kept) = &one.kept {
            let range = Stretch { first_seq: one.first_seq, end_seq: kept.end_seq };
            row(
                "kept",
                format!(
                    "{} of epoch {epoch} in {}: they hash to what the log had signed",
                    stretch(range),
                    kept.file
                ),
            );
        }
    }
    row("read", read(report));
    if let Some(oldest) = &report.oldest_read {
        let when = age(Duration::from_secs(oldest.age_seconds));
        let range = Stretch { first_seq: oldest.first_seq, end_seq: oldest.end_seq };
        row(
            "read before",
            format!("records {}: {when} ago, the longest time of all", stretch(range)),
        );
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
            (Some(key), _) => format!("{}, found beside the log; see --public-key", escape(key)),
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
    let witnessed = witnessed_text(report.witnessed.as_ref());
    lines.extend(witnessed.lines().map(str::to_owned));
    for note in &report.notes {
        lines.push(format!("note: {}", escape(note)));
    }
    if !report.findings.is_empty() {
        lines.push(format!("{}:", count(report.findings.len() as u64, "finding")));
    }
    for finding in &report.findings {
        lines.push(format!("  {}", escape(&finding.to_string())));
    }
    if !report.passed() {
        lines.extend(next_steps(report).into_iter().map(|step| format!("next: {step}")));
    }
    if report.passed() && report.left_behind() > 0 {
        lines.push(
            "next: `auditctl repair` puts a copy of what was left behind beside the log where the \
             backups, or a copy named with --from, hold it; stop the collector first"
                .to_owned(),
        );
    }
    lines.join("\n") + "\n"
}

/// What the log lacks, by its own signed word.
fn but_for(report: &Report) -> String {
    let mut lacks = Vec::new();
    if let gone @ 1.. = report.given_up() {
        lacks.push(format!("{} that {} given up", count(gone, "record"), were(gone)));
    }
    for one in report.abandoned.iter().filter(|one| one.missing() > 0) {
        let gone = one.missing();
        let records = count(gone, "record");
        lacks.push(format!("{records} of epoch {} that {} left behind", one.epoch, were(gone)));
    }
    if lacks.is_empty() { String::new() } else { format!(", but for {}", lacks.join(" and ")) }
}

pub(super) fn integrity(report: &Report) -> String {
    let all = match report.depth {
        Depth::Full => "every stored byte was read",
        Depth::Quick => {
            "only stored SHA-256s were checked; leave out --quick to check each \
                         record"
        }
        Depth::SinceLast => {
            "read: what is new, and a part of the rest, half of it chosen at \
                             random"
        }
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
        Integrity::Unproven => "not proven: no valid signature".to_owned(),
    }
}

pub(super) fn completeness(report: &Report) -> String {
    let end = match (report.writer_runs, report.closed) {
        (true, _) => "a writer has the log open",
        (false, true) => "the log was closed cleanly",
        (false, false) => "the log was not closed: its writer was stopped, or this is a copy",
    };
    match report.completeness {
        Completeness::Anchored => format!("anchored: a copy kept elsewhere agrees; {end}"),
        Completeness::Signed => format!(
            "complete as far as this log can tell; {end}. To rule out a cut-off end, compare it \
             with a checkpoint stored elsewhere: `verify --against FILE`"
        ),
        Completeness::Incomplete => "incomplete: see the findings".to_owned(),
    }
}

pub(super) fn stretch(range: Stretch) -> String {
    match range.end_seq.saturating_sub(range.first_seq) {
        0 => "none".to_owned(),
        records => {
            format!("{} to {} ({})", range.first_seq, range.end_seq - 1, count(records, "record"))
        }
    }
}

pub(super) fn read(report: &Report) -> String {
    let counts = &report.counts;
    let mut text = format!(
        "{} in {} of {}, {}",
        count(counts.records, "record"),
        count(counts.blocks, "block"),
        count(counts.segments, "sealed segment"),
        human_bytes(counts.bytes)
    );
    if counts.blocks_skipped > 0 {
        text.push_str(&format!("; {} as the manifest says", count(counts.blocks_skipped, "block")));
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
    let next = if report.passed() { Vec::new() } else { next_steps(report) };
    value["next"] = json!(next);
    value.to_string()
}

/// A backup that was verified, for people.
#[must_use]
pub fn verified_backup_text(verified: &VerifiedBackup, colour: bool) -> String {
    let (word, style) = match () {
        () if verified.passed() => ("VERIFIED", Style::Good),
        () if verified.is_older() => ("OLDER", Style::Bad),
        () => ("DIVERGED", Style::Bad),
    };
    let mut text = format!("backup {}: {}\n", escape(&verified.backup), paint(word, style, colour));
    let range = Stretch { first_seq: verified.first_seq, end_seq: verified.tree_size };
    let records = count(verified.tree_size, "record");
    let key = format!("{}, according to {}", escape(&label(&verified.key)), verified.key_from);
    let mut row = |name: &str, row: String| text.push_str(&format!("  {name:<13} {row}\n"));
    row("log", escape(&verified.log_id).into_owned());
    row("records", stretch(range));
    row("root", format!("{} over {records}", verified.root_hash));
    row("key", key);
    row("metadata", metadata(verified).to_owned());
    for against in &verified.against {
        let found = match &against.finding {
            None => format!("is its beginning, of {}", count(against.size, "record")),
            Some((kind, why)) => format!("{}: {why}", kind.as_str()),
        };
        row("against", format!("{} {}", escape(&against.name), escape(&found)));
    }
    row("log here", escape(&log_here(&verified.here)).into_owned());
    for hole in &verified.holes {
        let span = hole.span();
        let range = Stretch { first_seq: span.begin, end_seq: span.end };
        row("lacks", format!("{}: {}", stretch(range), escape(&hole.reason)));
    }
    for note in &verified.notes {
        text.push_str(&format!("note: {}\n", escape(note)));
    }
    text
}

/// What its metadata are worth.
pub(super) fn metadata(verified: &VerifiedBackup) -> &'static str {
    match verified.metadata_signed {
        Some(true) => "signed",
        Some(false) => {
            "not signed: trusted only as far as its checkpoint and the archive confirm it"
        }
        None => "lost: the archive itself was used",
    }
}

/// How the log that is here relates to it.
pub(super) fn log_here(here: &LogHere) -> String {
    match here {
        LogHere::Nothing => "none to compare it with".to_owned(),
        LogHere::Other => "is another log".to_owned(),
        LogHere::Continues(0) => "holds the same records".to_owned(),
        LogHere::Continues(more) => format!("continues it, by {}", count(*more, "record")),
        LogHere::Behind(more) => {
            format!("is the beginning of it: the backup has {} more", count(*more, "record"))
        }
        LogHere::Differs(why) => format!(
            "has other records ({why}); this is no fault of the backup. Run `auditctl verify` to \
             check the log"
        ),
        LogHere::Unknown(why) => format!(
            "cannot be compared ({why}); this is no fault of the backup. Run `auditctl verify` to \
             check the log"
        ),
    }
}

/// The same, for programs: the members that a log's report has too are called alike.
#[must_use]
pub fn verified_backup_json(verified: &VerifiedBackup) -> String {
    let findings: Vec<Value> = verified
        .against
        .iter()
        .filter_map(|against| {
            let (kind, message) = against.finding.as_ref()?;
            Some(json!({ "kind": kind.as_str(), "file": against.name, "message": message }))
        })
        .collect();
    let against: Vec<Value> = verified
        .against
        .iter()
        .map(|against| {
            json!({
                "name": against.name,
                "tree_size": against.size,
                "passed": against.finding.is_none(),
            })
        })
        .collect();
    let why = match &verified.here {
        LogHere::Differs(why) | LogHere::Unknown(why) => Some(why),
        _ => None,
    };
    json!({
        "passed": verified.passed(),
        "older": verified.is_older(),
        "backup": verified.backup,
        "log_id": verified.log_id,
        "epoch": verified.epoch,
        "integrity": "intact",
        "first_seq": verified.first_seq,
        "tree_size": verified.tree_size,
        "root_hash": verified.root_hash,
        "key": label(&verified.key),
        "key_source": verified.key_from,
        "metadata_signed": verified.metadata_signed,
        "notes": verified.notes,
        "against": against,
        "relation": verified.here.word(),
        "relation_why": why,
        "holes": verified.holes.iter().map(|hole| json!({
            "first_seq": hole.span().begin,
            "end_seq": hole.span().end,
            "reason": hole.reason,
            "given_up_by": hole.given_up_by,
        })).collect::<Vec<_>>(),
        "findings": findings,
    })
    .to_string()
}

/// A checkpoint by itself, for people.
#[must_use]
pub fn checkpoint_text(anchor: &Anchor, wrong: Option<&str>, colour: bool) -> String {
    let (word, style) = match wrong {
        None => ("SIGNED", Style::Good),
        Some(_) => ("BAD SIGNATURE", Style::Bad),
    };
    let mut text = format!("checkpoint {}: {}\n", escape(&anchor.name), paint(word, style, colour));
    let mut row = |name: &str, row: String| text.push_str(&format!("  {name:<13} {row}\n"));
    row("origin", escape(&anchor.origin).into_owned());
    row("root", format!("{} over {}", anchor.root, count(anchor.size, "record")));
    if let Some(wrong) = wrong {
        row("signature", escape(wrong).into_owned());
    }
    row("log here", "none to compare it with".to_owned());
    text
}

/// The same, for programs.
#[must_use]
pub fn checkpoint_json(
    anchor: &Anchor,
    wrong: Option<&str>,
    witnessed: Option<&Witnessed>,
    old: Option<&str>,
) -> String {
    let mut findings: Vec<Value> = wrong
        .iter()
        .map(|why| json!({"kind": "bad_signature", "file": anchor.name, "message": why}))
        .collect();
    if let Some(witnessed) = witnessed.filter(|witnessed| !witnessed.quorum_met) {
        let message = witnessed.why_not();
        findings.push(json!({"kind": "no_quorum", "file": anchor.name, "message": message}));
    }
    if let Some(message) = old {
        findings.push(json!({"kind": "quorum_old", "file": anchor.name, "message": message}));
    }
    let mut value = json!({
        "passed": findings.is_empty(),
        "checkpoint": anchor.name,
        "origin": anchor.origin,
        "tree_size": anchor.size,
        "root_hash": anchor.root,
        "findings": findings,
    });
    if let Some(witnessed) = witnessed {
        value["witnessed"] = json!(witnessed);
    }
    value.to_string()
}

/// Name and id of a verifier key, as a log's report has it.
fn label(key: &str) -> String {
    key.splitn(3, '+').take(2).collect::<Vec<_>>().join("+")
}
