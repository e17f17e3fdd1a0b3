//! What `verify`, `prove` and `checkpoint` say.

use std::time::Duration;

use serde_json::{Value, json};

use super::style::{Style, escape, paint};
use crate::audit::verify::{
    Completeness, Depth, Integrity, KeySource, ProofDocument, Proven, Report, Stretch,
};
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
    let mut lines = vec![format!("{}: {}", escape(place), paint(word, style, colour))];
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
    lines.join("\n") + "\n"
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

/// What a proof document proves, for people.
#[must_use]
pub fn proof_text(document: &ProofDocument, proven: &Proven, given: bool, colour: bool) -> String {
    let word = paint("VERIFIED", Style::Good, colour);
    let key = if given && !document.key_chain.is_empty() {
        format!("{}, to which the key given leads", escape(&proven.key))
    } else if given {
        format!("{}, as given", escape(&proven.key))
    } else {
        format!(
            "{}, the document's own: compare it with one that you had before, or give it with \
             --public-key",
            escape(&proven.key)
        )
    };
    format!(
        "record {}: {word}\n  {:<13} {}\n  {:<13} {} of {} records, root {}\n  {:<13} {key}\n  \
         {:<13} {}\n",
        document.seq,
        "log",
        escape(&proven.checkpoint.origin),
        "in the tree",
        document.seq + 1,
        proven.checkpoint.size,
        proven.checkpoint.root,
        "key",
        "record",
        escape(&document.record)
    )
}

/// What a proof document proves, for programs.
#[must_use]
pub fn proof_json(document: &ProofDocument, proven: &Proven, given: bool) -> String {
    let record: Value = serde_json::from_str(&document.record).unwrap_or(Value::Null);
    json!({
        "passed": true,
        "seq": document.seq,
        "origin": proven.checkpoint.origin,
        "tree_size": proven.checkpoint.size,
        "root_hash": proven.checkpoint.root.to_string(),
        "leaf_hash": proven.leaf_hash.to_string(),
        "key": proven.key,
        "key_source": if given { "given" } else { "document" },
        "record": record,
    })
    .to_string()
}
