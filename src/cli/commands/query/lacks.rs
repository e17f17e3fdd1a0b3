//! What an answer does not have.

use crate::audit::read::query::{Answer, Found};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::config::Settings;
use crate::health::wording::{count, records, were};
use crate::ui;
use crate::units::are;

/// Tells what the query could not read, also with `--quiet`, and returns the exit code.
pub(super) fn tell(context: &Context, answer: &Answer, settings: &Settings) -> u8 {
    let printer = context.printer;
    for hole in &answer.given_up {
        printer.error(&format!(
            "auditctl: {} {} missing: damaged and given up ({})",
            records(hole.first_seq, hole.end_seq),
            are(hole.records()),
            ui::escape(&hole.reason)
        ));
    }
    for damage in &answer.damaged {
        printer.error(&format!("auditctl: cannot be read: {}", ui::escape(damage)));
    }
    if answer.unreadable > 0 {
        let what = if answer.unreadable == 1 { "is not a record" } else { "are not records" };
        printer.error(&format!("auditctl: {} {what}", count(answer.unreadable, "line")));
    }
    if let Found::Groups(groups) = &answer.found
        && answer.is_partial()
    {
        printer.error(&format!(
            "auditctl: partial: {} {} in groups that do not fit (max_memory_events = {}). Each of \
             these groups has at most {}, so the first {} of those listed are certainly the \
             largest, and all listed counts are exact. To see more, raise max_memory_events, or \
             query fewer records",
            count(groups.beyond, "record"),
            are(groups.beyond),
            settings.max_memory_events,
            count(groups.bound, "record"),
            groups.surely_largest(),
        ));
    }
    for by in answer.summary().into_iter().flat_map(|summary| &summary.by) {
        if by.bound > 0 {
            printer.error(&format!(
                "auditctl: partial: there are more groups than fit (max_memory_events = {}). Each \
                 of those that do not has at most {}; all listed counts are exact",
                settings.max_memory_events,
                count(by.bound, "record"),
            ));
        }
    }
    if let Some((from, to)) = answer.pruned {
        printer.note(&format!(
            "auditctl: {} {} removed by retention and {} not in this answer; \
             `auditctl list` shows the backups that hold older records",
            records(from, to),
            were(to - from),
            are(to - from),
        ));
    }
    let damaged = !answer.damaged.is_empty() || answer.unreadable > 0;
    if let Some((from, to)) = answer.missing {
        printer.error(&missing_text(from, to));
    }
    let bad = damaged || answer.missing.is_some();
    if damaged {
        printer.error(
            "auditctl: the answer may lack records; run `auditctl verify` to see what is \
             wrong",
        );
    }
    if bad { Exit::Found as u8 } else { Exit::Ok as u8 }
}

/// That the log's end is missing.
pub(super) fn missing_text(from: u64, to: u64) -> String {
    let many = to - from;
    format!(
        "auditctl: incomplete: {} at the log's end {} not here ({}). Run `auditctl verify` to see \
         what is wrong; `auditctl repair` puts back what a backup holds",
        count(many, "signed record"),
        are(many),
        records(from, to)
    )
}
