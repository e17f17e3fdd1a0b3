//! What `verify BACKUP` found, for an auditor's file.

use super::sheet::{Asked, Part, Sheet, Tone, activity, facts, list, own_records, table, text};
use super::visible;
use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::read::verify::Stretch;
use crate::backup::{LogHere, VerifiedBackup};
use crate::health::wording::count;
use crate::ui::key::in_groups;
use crate::ui::verify as words;

/// The report on a backup that was read to its end, as one HTML file.
///
/// # Errors
/// [`askama::Error`]: what cannot be.
pub fn verified_backup_html(
    verified: &VerifiedBackup,
    asked: &Asked,
) -> Result<String, askama::Error> {
    let (word, sentence) = if verified.passed() {
        ("VERIFIED", "The backup is whole: its records hash to the root that the log's key signed.")
    } else if verified.is_older() {
        ("OLDER", "The backup is whole, and ends before a checkpoint that it was compared with.")
    } else {
        ("DIVERGED", "A checkpoint that it was compared with contradicts the backup.")
    };
    let mut sheet = Sheet {
        title: visible(&format!("Verification of backup {}", verified.backup)),
        word: word.to_owned(),
        tone: if verified.passed() { Tone::Good } else { Tone::Bad },
        sentences: vec![sentence.to_owned()],
        sections: Vec::new(),
    };
    sheet.section("What was checked", vec![scope(verified, asked)]);
    if !verified.passed() {
        sheet.section("What is wrong", vec![wrong(verified)]);
    }
    sheet.section("What was not checked", vec![list(limits(verified, asked))]);
    sheet.section("Who checked, and with what", vec![asked.facts()]);
    sheet.section("Records and gaps", vec![ranges(verified)]);
    figures(verified, &mut sheet);
    if !verified.notes.is_empty() {
        sheet.section("Notes", vec![list(verified.notes.iter().cloned())]);
    }
    sheet.render(&asked.made_by)
}

/// The report on a backup that is not what was backed up.
///
/// # Errors
/// [`askama::Error`]: what cannot be.
pub fn bad_backup_html(
    backup: &str,
    what: &str,
    next: Option<&str>,
    asked: &Asked,
) -> Result<String, askama::Error> {
    let mut sheet = Sheet {
        title: visible(&format!("Verification of backup {backup}")),
        word: "DAMAGED".to_owned(),
        tone: Tone::Bad,
        sentences: vec!["The backup is not what was backed up, or does not prove it.".to_owned()],
        sections: Vec::new(),
    };
    let mut parts = vec![text(what)];
    parts.extend(next.map(|next| text(format!("What to do next: {next}"))));
    sheet.section("What is wrong", parts);
    let stopped = "The backup was read up to what is wrong with it, and nothing in it was counted.";
    sheet.section("What was not checked", vec![list([stopped.to_owned(), beside().to_owned()])]);
    sheet.section("Who checked, and with what", vec![asked.facts()]);
    sheet.render(&asked.made_by)
}

fn beside() -> &'static str {
    "Other backups, archives, and the log itself were not verified. `auditctl verify`, `auditctl \
     list --verify` and `auditctl fleet verify` check them."
}

fn scope(verified: &VerifiedBackup, asked: &Asked) -> Part {
    let mut rows = vec![
        ("Backup", verified.backup.clone()),
        ("Named as", asked.place.clone()),
        ("Log", verified.log_id.clone()),
        ("Epoch", verified.epoch.to_string()),
    ];
    let period = verified.activity.as_ref().and_then(|found| found.first.zip(found.last));
    rows.push((
        "Period",
        match period {
            Some((first, last)) => format!("{first} to {last}, by the writer's clock"),
            None => "no record is in it".to_owned(),
        },
    ));
    rows.push(("Signed records", verified.tree_size.to_string()));
    rows.push(("Root", verified.root_hash.to_string()));
    let print = verified.key.parse::<VerifierKey>();
    let print = print.map_or_else(|_| verified.key.clone(), |key| in_groups(&key.fingerprint()));
    rows.push(("Key that signed it", print));
    rows.push(("According to", verified.key_from.to_owned()));
    rows.push(("Metadata", words::metadata(verified).to_owned()));
    facts(rows)
}

fn wrong(verified: &VerifiedBackup) -> Part {
    let rows = verified.against.iter().filter_map(|against| {
        let (kind, what) = against.finding.as_ref()?;
        Some(vec![kind.as_str().to_owned(), against.name.clone(), what.clone()])
    });
    table(&["Kind", "Compared with", "What"], rows.collect())
}

fn limits(verified: &VerifiedBackup, asked: &Asked) -> Vec<String> {
    let mut limits = Vec::new();
    if asked.copies.iter().all(|(kind, _)| kind != "public key") {
        limits.push(format!(
            "The public key is the one according to {}: compare its fingerprint with one that you \
             keep, or check with --public-key.",
            verified.key_from
        ));
    }
    if verified.against.is_empty() {
        limits.push(
            "No checkpoint that is kept elsewhere was compared (--against): whether this is the \
             newest backup that there was, it cannot tell."
                .to_owned(),
        );
    }
    limits.push(format!("The log here {}.", words::log_here(&verified.here)));
    if verified.here != LogHere::Nothing {
        limits.push("The log itself was not verified.".to_owned());
    }
    limits.push(beside().to_owned());
    limits.push(
        "Whether what was recorded is true: a record is what the log was told. Times are those of \
         the writer's clock."
            .to_owned(),
    );
    limits
}

fn ranges(verified: &VerifiedBackup) -> Part {
    let all = Stretch { first_seq: verified.first_seq, end_seq: verified.tree_size };
    let mut rows = vec![("In the backup", words::stretch(all))];
    if verified.first_seq > 0 {
        let removed = Stretch { first_seq: 0, end_seq: verified.first_seq };
        rows.push(("Removed before", words::stretch(removed)));
    }
    for hole in &verified.holes {
        let span = hole.span();
        let range = Stretch { first_seq: span.begin, end_seq: span.end };
        rows.push(("Hole", format!("{}: {}", words::stretch(range), hole.reason)));
    }
    if verified.holes.is_empty() {
        rows.push(("Holes", "none".to_owned()));
    }
    for against in verified.against.iter().filter(|it| it.finding.is_none()) {
        let text = format!("{}: its first {}", against.name, count(against.size, "record"));
        rows.push(("Fits", text));
    }
    facts(rows)
}

fn figures(verified: &VerifiedBackup, sheet: &mut Sheet) {
    let Some(found) = &verified.activity else { return };
    let of = count(found.records, "record");
    let standing = format!(
        "Counted in the very bytes that were hashed for this verification: {of}, all that are in \
         the backup."
    );
    let mut parts = vec![text(&standing)];
    if found.told.is_empty() {
        parts
            .push(text("None of them is about a restore, a repair, a removal or a change of key."));
    } else {
        parts.push(own_records(found));
    }
    if found.told_beyond > 0 {
        parts.push(text(format!("{} more are not listed.", count(found.told_beyond, "record"))));
    }
    sheet.section("What the log recorded of itself", parts);
    let mut parts = vec![text(&standing)];
    if found.records > 0 {
        parts.extend(activity(found));
    }
    sheet.section("Activity", parts).on_new_page = true;
}
