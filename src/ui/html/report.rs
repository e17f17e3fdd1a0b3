//! What `verify` found, for an auditor's file.

use super::sheet::{Part, Sheet, Tone, activity, facts, list, own_records, table, text};
use super::visible;
use crate::audit::read::verify::{
    Completeness, Depth, Integrity, KeySource, Report, Stretch, TreePlace,
};
use crate::health::next_steps;
use crate::health::wording::count;
use crate::ui::key::in_groups;
use crate::ui::verify as words;
use crate::units::human_bytes;

pub use super::sheet::Asked;

/// The report as one HTML file, which needs no script.
///
/// # Errors
/// [`askama::Error`]: what cannot be.
pub fn verify_html(report: &Report, asked: &Asked) -> Result<String, askama::Error> {
    let (word, is_good) = words::in_a_word(report);
    let mut sheet = Sheet {
        title: visible(&format!("Verification of log {}", report.log_id)),
        word: visible(&word),
        tone: if is_good { Tone::Good } else { Tone::Bad },
        sentences: vec![
            visible(&format!("Integrity: {}.", words::integrity(report))),
            visible(&format!("Completeness: {}.", words::completeness(report))),
        ],
        sections: Vec::new(),
    };
    sheet.section("What was checked", vec![scope(report, asked)]);
    if !report.findings.is_empty() || !report.passed() {
        sheet.section("What is wrong", findings(report));
    }
    sheet.section("What was not checked", vec![list(limits(report, asked))]);
    sheet.section("Who checked, and with what", vec![asked.facts()]);
    sheet.section("Keys", keys(report));
    sheet.section("Records, gaps and retention", ranges(report));
    own(report, &mut sheet);
    figures(report, &mut sheet);
    if !report.notes.is_empty() {
        sheet.section("Notes", vec![list(report.notes.iter().cloned())]);
    }
    sheet.render(&asked.made_by)
}

fn scope(report: &Report, asked: &Asked) -> Part {
    let mut rows = vec![
        ("Log", report.log_id.clone()),
        ("Epoch", report.epoch.to_string()),
        ("Where", asked.place.clone()),
    ];
    let period = report.activity.as_ref().and_then(|found| found.first.zip(found.last));
    rows.push((
        "Period",
        match period {
            Some((first, last)) => {
                let counted = report.activity.as_ref().map_or(0, |found| found.records);
                let of = match report.integrity {
                    Integrity::Intact if counted == report.tree_size => "",
                    Integrity::Intact => "; of the records that were read",
                    _ => "; NOT PROVEN",
                };
                format!("{first} to {last}, by the writer's clock{of}")
            }
            None => "no signed record was read".to_owned(),
        },
    ));
    rows.push(("Signed records", report.tree_size.to_string()));
    rows.push((
        "Root",
        report.root_hash.clone().unwrap_or_else(|| "none that is signed".to_owned()),
    ));
    rows.push(("Read", words::read(report)));
    rows.push(("Bytes", human_bytes(report.counts.bytes)));
    facts(rows)
}

fn findings(report: &Report) -> Vec<Part> {
    let rows = report.findings.iter().map(|it| vec![it.kind.as_str().to_owned(), it.to_string()]);
    let mut parts = vec![table(&["Kind", "What and where"], rows.collect())];
    let next: Vec<String> = next_steps(report).into_iter().map(str::to_owned).collect();
    if !next.is_empty() {
        parts.push(text("What to do next:"));
        parts.push(list(next));
    }
    parts
}

/// What the verdict does not rest on, one sentence each.
fn limits(report: &Report, asked: &Asked) -> Vec<String> {
    let mut limits = Vec::new();
    let ranges = &report.ranges;
    match report.depth {
        Depth::Full => {}
        Depth::Quick => limits.push(
            "The sealed records were not hashed one by one (--quick): their stored files were \
             compared with the SHA-256s in the signed manifest."
                .to_owned(),
        ),
        Depth::SinceLast => limits.push(format!(
            "Not everything was read this time (--since-last): {} were taken as the manifest notes \
             them.",
            count(report.counts.blocks_skipped, "block")
        )),
    }
    match report.key_source {
        KeySource::Given => {}
        KeySource::BesideTheLog => limits.push(
            "The public key was taken from beside the log. Who could replace the log could replace \
             it as well: compare its fingerprint, or check with --public-key."
                .to_owned(),
        ),
        _ => limits.push("No usable key was there: nothing that is signed was proven.".to_owned()),
    }
    if asked.copies.iter().all(|(kind, _)| kind != "checkpoint") {
        limits.push(
            "No copy that is kept elsewhere was compared (--against). Records that were cut off \
             the end, together with the checkpoints that covered them, would not be missed."
                .to_owned(),
        );
    }
    if report.witnessed.is_none() {
        limits.push("Witnesses were not asked for (--policy).".to_owned());
    }
    let unsigned = ranges.unsigned.end_seq - ranges.unsigned.first_seq;
    if unsigned > 0 {
        limits.push(format!(
            "{} after the newest checkpoint are signed by nobody yet: a change to them would not \
             be found.",
            count(unsigned, "record")
        ));
    }
    if ranges.removed.end_seq > 0 {
        limits.push(format!(
            "{} are not here any more. Their hashes are part of the signed tree; what they said \
             can only be checked in a backup.",
            count(ranges.removed.end_seq, "record")
        ));
    }
    limits.push(
        "Backups and archives were not read, unless they are named below. `auditctl verify \
         BACKUP` and `auditctl fleet verify` check them."
            .to_owned(),
    );
    limits.push(
        "Whether what was recorded is true: a record is what the log was told. Times are those of \
         the writer's clock."
            .to_owned(),
    );
    limits
}

fn place(place: Option<TreePlace>, none: &str) -> String {
    place.map_or_else(
        || none.to_owned(),
        |place| format!("{}, epoch {}", count(place.tree_size, "record"), place.epoch),
    )
}

fn keys(report: &Report) -> Vec<Part> {
    let source = match report.key_source {
        KeySource::Given => "handed in with --public-key",
        KeySource::BesideTheLog => "from beside the log",
        _ => "none that could be used",
    };
    let mut rows = vec![("Checked with", source.to_owned())];
    rows.extend(report.key.clone().map(|key| ("Key that signs", key)));
    rows.extend(report.fingerprint.map(|print| ("Its fingerprint", in_groups(&print))));
    rows.extend(report.key_given.clone().map(|key| ("Key handed in", key)));
    let mut parts = vec![facts(rows)];
    if !report.keys.is_empty() {
        let rows = report.keys.iter().map(|key| {
            let replaced = key.replaced.as_ref().map_or_else(
                || "signed by the key before".to_owned(),
                |by| {
                    let user = by.user.clone().unwrap_or_else(|| format!("uid {}", by.uid));
                    format!("not signed: replaced on {} by {user}: {}", by.at, by.reason)
                },
            );
            let how = if key.from.is_some() { replaced } else { "the first key".to_owned() };
            let (from, to) = (place(key.from, "the beginning"), place(key.to, "now"));
            vec![in_groups(&key.fingerprint), format!("from {from} to {to}"), how]
        });
        parts.push(table(&["Fingerprint", "Signs", "Succession"], rows.collect()));
    }
    parts
}

fn stretch(stretch: Stretch) -> String {
    match stretch.end_seq.saturating_sub(stretch.first_seq) {
        0 => "none".to_owned(),
        records => {
            let (first, last) = (stretch.first_seq, stretch.end_seq - 1);
            format!("{first} to {last} ({})", count(records, "record"))
        }
    }
}

fn ranges(report: &Report) -> Vec<Part> {
    let ranges = &report.ranges;
    let mut rows = vec![
        ("Anchored", stretch(ranges.anchored)),
        ("Signed", stretch(ranges.signed)),
        ("Unsigned", stretch(ranges.unsigned)),
        ("Removed", stretch(ranges.removed)),
    ];
    if let Some(by) = &report.removed_by {
        let last = by.pruned_to.saturating_sub(1);
        rows.push((
            "Removed by",
            format!("retention, up to record {last}, on {}, by record {}", by.at, by.record),
        ));
    }
    let adopted = report.adopted.iter().map(|it| {
        ("Adopted", format!("{}: no key had signed them when the log was opened", stretch(*it)))
    });
    rows.extend(adopted);
    for hole in &report.holes {
        let range = Stretch { first_seq: hole.first_seq, end_seq: hole.end_seq };
        let by = match (hole.record, hole.at) {
            (Some(record), Some(at)) => format!("given up by record {record} on {at}"),
            _ => "given up by no signed record".to_owned(),
        };
        rows.push(("Hole", format!("{}, {by}: {}", stretch(range), hole.reason)));
    }
    for one in &report.abandoned {
        let range = Stretch { first_seq: one.first_seq, end_seq: one.end_seq };
        let kept = one
            .kept
            .as_ref()
            .map_or("no copy beside the log", |_| "a proven copy is beside the log");
        let (epoch, reason) = (one.epoch, &one.reason);
        rows.push((
            "Left behind",
            format!("{} of epoch {epoch}; {kept}: {reason}", stretch(range)),
        ));
    }
    if report.holes.is_empty() && report.adopted.is_empty() && report.abandoned.is_empty() {
        rows.push(("Holes", "none; nothing adopted, nothing left behind".to_owned()));
    }
    let end = match (report.writer_runs, report.closed) {
        (true, _) => "a writer has the log open",
        (false, true) => "closed in order",
        (false, false) => "not closed: its writer was stopped, or this is a copy",
    };
    rows.push(("End", end.to_owned()));
    let mut parts = vec![facts(rows)];
    if report.completeness == Completeness::Anchored {
        parts.push(text("Anchored records are those that a copy kept elsewhere covers."));
    }
    parts
}

/// Whether the figures are of proven bytes.
fn standing(report: &Report, counted: u64) -> String {
    let of = count(counted, "record");
    let there = report.tree_size.saturating_sub(report.ranges.removed.end_seq);
    match report.integrity {
        // What cannot be is not proven either.
        _ if counted > there => {
            format!("NOT PROVEN: counted in {of}, of which {there} are signed.")
        }
        Integrity::Intact if counted == there => {
            format!(
                "Counted in the very bytes that were hashed for this verification: {of}, all that are signed and here."
            )
        }
        Integrity::Intact => format!(
            "Counted in the very bytes that were hashed for this verification: {of}. The other \
             signed records are not here, or were not read this time."
        ),
        _ => format!(
            "NOT PROVEN: counted in {of} whose blocks are as the manifest notes them, in a log \
             whose records as a whole do not hash to a signed root."
        ),
    }
}

fn own(report: &Report, sheet: &mut Sheet) {
    let Some(found) = &report.activity else { return };
    let mut parts = vec![text(standing(report, found.records))];
    if found.told.is_empty() {
        let others = match found.records < report.tree_size {
            true => " The others were not read, and may be.",
            false => "",
        };
        parts.push(text(format!(
            "None of the {} that were counted is about a restore, a repair, a removal or a change \
             of key.{others}",
            count(found.records, "record")
        )));
    } else {
        parts.push(own_records(found));
    }
    if found.told_beyond > 0 {
        parts.push(text(format!(
            "{} more are not listed: `auditctl query --type 'audit.*'` shows all.",
            count(found.told_beyond, "record")
        )));
    }
    sheet.section("What the log recorded of itself", parts);
}

fn figures(report: &Report, sheet: &mut Sheet) {
    let Some(found) = &report.activity else { return };
    let mut parts = vec![text(standing(report, found.records))];
    if found.records > 0 {
        parts.extend(activity(found));
    }
    sheet.section("Activity", parts).on_new_page = true;
}
