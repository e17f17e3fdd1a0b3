//! `log_file`: whether the name still leads to the file that is written, and how
//! large the log is.
//!
//! Seen here before the writer notices: it looks itself only between batches,
//! and not at all while it hangs.

use crate::audit::state::status::{Activity, StatusSnapshot, Word};
use crate::config::Settings;
use crate::fsio::FileMeta;
use crate::health::gather::{Facts, Seen};
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::{Check, Status};
use crate::health::wording::count;
use crate::units::human_bytes;

use super::common::{above, unseen};

const NAME: &str = "log_file";
const REPAIR: &str = "keep the directory as it is. Stop the collector if it runs, run `auditctl \
                      repair`, which restores what a backup holds, then start the collector";

pub(super) fn check(facts: &Facts, settings: &Settings, liveness: Liveness) -> Check {
    let Some(page) = facts.page() else { return without_page(facts) };
    let check = match &facts.log_file {
        Seen::Unknown(why) => {
            let message = format!("audit.log: {why}");
            Check::found(NAME, Problem::LogUnknown, Status::Unknown, message)
        }
        Seen::Missing => missing(page, liveness),
        Seen::There(meta) => {
            tampered(facts, page, meta, liveness).unwrap_or_else(|| size(page, meta, settings))
        }
    };
    let active = match &facts.log_file {
        Seen::There(meta) => Some(meta.len),
        _ => None,
    };
    check
        .metric("bytes", log_bytes(page, active.unwrap_or(0)))
        .metric("active_bytes", active)
        .metric("segments", page.get(Word::Segments))
        .metric("next_seq", page.get(Word::NextSeq))
        .metric("compress_backlog", page.get(Word::CompressBacklog))
        .metric("maintenance_errors", page.get(Word::MaintenanceErrors))
        .metric("incidents", page.get(Word::LogFileIncidents))
}

fn without_page(facts: &Facts) -> Check {
    match &facts.log_file {
        Seen::There(meta) => {
            let size = human_bytes(meta.len);
            let message = format!("audit.log holds {size}; whether it is complete is unknown");
            Check::found(NAME, Problem::LogUnknown, Status::Unknown, message)
                .metric("active_bytes", meta.len)
        }
        Seen::Missing | Seen::Unknown(_) => unseen(NAME, facts),
    }
}

fn missing(page: &StatusSnapshot, liveness: Liveness) -> Check {
    // While a new segment is begun the name is free for a moment.
    let between = page.activity() == Some(Activity::Sealing) && liveness == Liveness::Running;
    if between || liveness == Liveness::Opening {
        return Check::healthy(NAME, "a new segment is being started");
    }
    let check = Check::found(NAME, Problem::LogDeleted, Status::Critical, "audit.log was deleted");
    if liveness.is_current() && liveness != Liveness::Poisoned {
        check.hint("the writer still has its records and puts them back. Find out who deleted it")
    } else {
        check.hint(REPAIR)
    }
}

/// Another file, or less of it than was written.
fn tampered(
    facts: &Facts,
    page: &StatusSnapshot,
    meta: &FileMeta,
    liveness: Liveness,
) -> Option<Check> {
    if liveness == Liveness::Opening {
        // Opening may set the file aside; the page is the earlier writer's.
        return None;
    }
    let written = page.get(Word::ActiveInode);
    if written != 0 && meta.inode != written {
        return replaced(page, liveness);
    }
    // What a power loss cut off is opening's to judge.
    let short = written != 0 && meta.len < facts.written_bytes && !facts.rebooted();
    short.then(|| {
        let (now, before) = (human_bytes(meta.len), human_bytes(facts.written_bytes));
        let message = format!("audit.log was truncated: {now} of {before}");
        Check::found(NAME, Problem::LogTruncated, Status::Critical, message).hint(REPAIR)
    })
}

fn replaced(page: &StatusSnapshot, liveness: Liveness) -> Option<Check> {
    if !liveness.is_current() {
        let message = "audit.log is not the file that was written last";
        return Some(Check::found(NAME, Problem::LogChanged, Status::Warning, message).hint(
            "after a restore this is normal, and ends with the next start of the collector. \
             Otherwise run `auditctl verify` to see whether anything is missing, and `auditctl \
             repair` to restore it",
        ));
    }
    let between = page.activity() == Some(Activity::Sealing) && liveness == Liveness::Running;
    (!between).then(|| {
        let message = "audit.log was replaced: it is not the file being written";
        Check::found(NAME, Problem::LogReplaced, Status::Critical, message).hint(
            "the writer sets the other file aside and puts its records back. Find out who \
             replaced it; log rotation must leave audit.log alone",
        )
    })
}

fn size(page: &StatusSnapshot, meta: &FileMeta, settings: &Settings) -> Check {
    let bytes = log_bytes(page, meta.len);
    let limits = &settings.health;
    let large = above(bytes, limits.log_bytes_warn.0, limits.log_bytes_critical.0);
    let message = format!(
        "{} in {}, {} in audit.log",
        human_bytes(bytes),
        count(page.get(Word::Segments), "sealed segment"),
        human_bytes(meta.len)
    );
    match large {
        None => Check::healthy(NAME, message),
        Some(status) => Check::found(NAME, Problem::LogLarge, status, message).hint(
            "back up and lower retention_days, or raise health.log_bytes_warn and \
             health.log_bytes_critical",
        ),
    }
}

/// All segments as stored, with the active one as it is now.
fn log_bytes(page: &StatusSnapshot, active: u64) -> u64 {
    page.get(Word::LogBytes).saturating_sub(page.get(Word::ActiveBytes)).saturating_add(active)
}
