//! What `repair` did, or would do.

use std::path::Path;

use serde_json::{Value, json};

use super::style::escape;
use crate::audit::Foreseen;
use crate::audit::read::verify::Report;
use crate::audit::write::own::Repaired;
use crate::audit::write::repair::{Change, Repair};
use crate::health::next_steps;
use crate::health::wording::count;

/// A repair, and what came of it.
pub struct RepairShown<'a> {
    /// The log's directory.
    pub dir: &'a Path,
    /// What was found and planned.
    pub repair: &'a Repair,
    /// What was written; `None` where it was only to be said.
    pub done: Option<&'a Repaired>,
    /// The record that says so.
    pub recorded: Option<u64>,
    /// Why there is none.
    pub unrecorded: Option<&'a str>,
    /// What a verification finds now.
    pub after: Option<&'a Report>,
    /// What opening the log as it is now would do, or why it would not open.
    pub opening: Option<&'a Result<Foreseen, String>>,
}

fn range(first: u64, end: u64) -> String {
    if end == first + 1 {
        format!("record {first}")
    } else {
        format!("records {first} to {}", end - 1)
    }
}

/// For people.
#[must_use]
pub fn repair_text(shown: &RepairShown<'_>) -> String {
    let RepairShown { repair, done, .. } = shown;
    let mut lines = Vec::new();
    let dry = done.is_none();
    let dir = escape(&shown.dir.display().to_string()).into_owned();
    let nothing = repair.is_nothing();
    if repair.report.passed() && nothing {
        lines.push(format!("{dir}: nothing is damaged, nothing was changed"));
        lines.extend(not_rejoined(repair));
        lines.extend(opening(shown));
        lines.push(String::new());
        return lines.join("\n");
    }
    lines.push(match (dry, nothing) {
        (_, true) => format!("{dir}: nothing can be put back"),
        (true, false) => format!("{dir}: would be repaired; nothing was changed"),
        (false, false) => format!("{dir}: repaired"),
    });
    for change in &repair.changes {
        let (file, from) = (escape(&change.file), escape(&change.from));
        let records = range(change.first_seq, change.end_seq);
        let word = if dry { "would be put back" } else { "put back" };
        lines.push(format!("  {file}: {records} {word} from {from}"));
        if dry {
            lines.extend(record_by_record(change));
        }
    }
    for file in &repair.stored_anew {
        lines.push(format!("  {}: the file is written again with the noted bytes", escape(file)));
    }
    for other in &repair.others {
        lines.push(format!("  {}: becomes {}", other.file, escape(&other.becomes)));
    }
    for file in &repair.filters {
        let file = escape(file);
        lines.push(format!(
            "  {file}: removed; the writer recreates it, and queries work without \
                            it"
        ));
    }
    for one in &repair.rejoined {
        let records = range(one.first_seq, one.end_seq);
        let word = if dry { "would be put together" } else { "put together" };
        let from: Vec<_> = one.from.iter().map(|from| escape(from)).collect();
        lines.push(format!(
            "  {}: {records} of epoch {} {word} from {}: they hash to what the log had signed",
            one.file,
            one.epoch,
            from.join(", ")
        ));
        if one.end_seq < one.wanted_end {
            let records = range(one.end_seq, one.wanted_end);
            lines.push(format!("  {records} of epoch {} stay left behind", one.epoch));
        }
    }
    lines.extend(not_rejoined(repair));
    if repair.manifest_is_lost {
        lines.push(
            "  audit.manifest.json: rebuilt when the log is next opened with its key".to_owned(),
        );
    }
    for left in &repair.left {
        let records = range(left.first_seq, left.end_seq);
        lines.push(format!(
            "  still damaged: {}: {records}: {}",
            escape(&left.file),
            escape(&left.why)
        ));
    }
    for (copy, why) in &repair.rejected {
        lines.push(format!("  nothing was taken from {}: {}", escape(copy), escape(why)));
    }
    for kept in done.iter().flat_map(|done| &done.files).filter_map(|file| file.kept.as_ref()) {
        lines.push(format!("  the damaged file is kept as {}", escape(kept)));
    }
    match (shown.recorded, shown.unrecorded) {
        (Some(seq), _) => lines.push(format!("  recorded as audit.repaired, record {seq}")),
        (None, Some(why)) => lines.push(format!("  not recorded in the log: {}", escape(why))),
        (None, None) => {}
    }
    if let Some(after) = shown.after {
        lines.push(match after.passed() {
            true if after.left_behind() > 0 => {
                let gone = count(after.left_behind(), "record");
                format!("  verified, but for {gone} that an earlier epoch left behind")
            }
            true => "  verified: every signed record is there again".to_owned(),
            false => {
                let found = count(after.findings.len() as u64, "finding");
                format!("  verified again: {found}; `auditctl verify` lists them")
            }
        });
    }
    if !repair.left.is_empty() {
        lines.push(
            "  next: name other copies with --from (an id, a file, a log directory or a URL). To \
             give up what no copy holds, run `auditctl serve --accept-corruption` once"
                .to_owned(),
        );
    }
    let stuck = repair.is_nothing() && repair.left.is_empty() && !repair.report.passed();
    if stuck {
        // What this command does not do.
        let others = next_steps(&repair.report).into_iter();
        let others = others
            .filter(|step| !step.starts_with("stop the collector, then run `auditctl repair`"));
        lines.extend(others.map(|step| format!("  next: {step}")));
    }
    lines.extend(opening(shown));
    lines.push(String::new());
    lines.join("\n")
}

/// What the next start would do with the log as it is now.
fn opening(shown: &RepairShown<'_>) -> Vec<String> {
    match shown.opening {
        None => Vec::new(),
        Some(Err(why)) => vec![format!("  starting the collector now is refused: {}", escape(why))],
        Some(Ok(foreseen)) if foreseen.steps.is_empty() => {
            vec!["  starting the collector now changes nothing".to_owned()]
        }
        Some(Ok(foreseen)) => {
            let step = |step: &String| format!("  starting the collector now: {}", escape(step));
            foreseen.steps.iter().map(step).collect()
        }
    }
}

/// What was left behind with an earlier epoch, and stays there.
fn not_rejoined(repair: &Repair) -> Vec<String> {
    let mut lines = Vec::new();
    for one in &repair.not_rejoined {
        if let Some(file) = &one.sets_aside {
            lines.push(format!("  {file}: proves nothing, and is set aside"));
        }
        lines.push(format!(
            "  {} of epoch {} stay left behind: {}; name another copy with --from",
            range(one.first_seq, one.end_seq),
            one.epoch,
            escape(&one.why)
        ));
    }
    lines
}

fn record_by_record(change: &Change) -> Vec<String> {
    let mut lines = Vec::new();
    for record in &change.records {
        match &record.now {
            Some(now) => lines.push(format!("    - {}", escape(now))),
            None => lines.push(format!("    - (record {} cannot be read)", record.seq)),
        }
        lines.push(format!("    + {}", escape(&record.then)));
    }
    lines
}

/// For programs.
#[must_use]
pub fn repair_json(shown: &RepairShown<'_>) -> String {
    let RepairShown { repair, done, .. } = shown;
    let changes: Vec<Value> = repair
        .changes
        .iter()
        .map(|change| {
            let records = change
                .records
                .iter()
                .map(|record| json!({ "seq": record.seq, "now": record.now, "then": record.then }));
            json!({
                "file": change.file,
                "first_seq": change.first_seq,
                "end_seq": change.end_seq,
                "from": change.from,
                "records": records.collect::<Vec<_>>(),
            })
        })
        .collect();
    let left = repair.left.iter().map(|left| {
        json!({
            "file": left.file,
            "first_seq": left.first_seq,
            "end_seq": left.end_seq,
            "why": left.why,
        })
    });
    let others = repair.others.iter();
    let others = others.map(|other| json!({ "file": other.file, "becomes": other.becomes }));
    let rejected = repair.rejected.iter().map(|(copy, why)| json!({ "copy": copy, "why": why }));
    let rejoined = repair.rejoined.iter().map(|one| {
        json!({
            "epoch": one.epoch,
            "first_seq": one.first_seq,
            "end_seq": one.end_seq,
            "wanted_end": one.wanted_end,
            "file": one.file,
            "from": one.from,
        })
    });
    let not_rejoined = repair.not_rejoined.iter().map(|one| {
        json!({
            "epoch": one.epoch,
            "first_seq": one.first_seq,
            "end_seq": one.end_seq,
            "why": one.why,
            "sets_aside": one.sets_aside,
        })
    });
    let opening = shown.opening.map(|opening| match opening {
        Ok(foreseen) => json!({ "steps": foreseen.steps, "record": foreseen.record }),
        Err(why) => json!({ "refused": why }),
    });
    json!({
        "opening": opening,
        "damaged": !repair.report.passed() || !repair.is_nothing(),
        "dry_run": done.is_none(),
        "changed": done.is_some_and(|done| !done.files.is_empty()),
        "changes": changes,
        "left": left.collect::<Vec<_>>(),
        "others": others.collect::<Vec<_>>(),
        "filters": repair.filters,
        "stored_anew": repair.stored_anew,
        "rejected": rejected.collect::<Vec<_>>(),
        "left_behind": {
            "put_together": rejoined.collect::<Vec<_>>(),
            "missing": not_rejoined.collect::<Vec<_>>(),
        },
        "proven_by_signed_root": repair.is_rooted,
        "manifest_is_made_anew": repair.manifest_is_lost,
        "files": done.map_or(json!([]), |done| json!(done.files)),
        "recorded": shown.recorded,
        "unrecorded": shown.unrecorded,
        "passed": shown.after.map(Report::passed),
        "findings": shown.after.map_or(&repair.report.findings, |after| &after.findings),
    })
    .to_string()
}
