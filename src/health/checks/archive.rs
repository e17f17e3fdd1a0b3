//! `archive`: how much of the log only its own host holds. There only where the settings name an
//! archive. Rests on the files of who ships, so that it is right beside one that hangs or died;
//! the store is not asked.

use std::time::Duration;

use crate::archive::Lag;
use crate::config::Settings;
use crate::health::gather::{Archive, Facts};
use crate::health::problem::Problem;
use crate::health::report::{Check, Status};
use crate::health::wording::{age, count, since};
use crate::units::human_bytes;

use super::common::{Finding, of_findings};

const NAME: &str = "archive";
/// Below that nobody is woken, however short the interval is.
const LEAST_WARN: Duration = Duration::from_secs(300);
const LEAST_CRITICAL: Duration = Duration::from_secs(3_600);
/// That records were removed unshipped is told for so long after it was last found.
const TELL_OF_REMOVED: Duration = Duration::from_secs(30 * 86_400);
/// So many passes in a row fail before it is told: one may.
const FAILURES: u64 = 3;

/// From which age of what is not shipped yet it warns, and alarms.
pub(crate) fn limits(settings: &Settings) -> (Duration, Duration) {
    let warn = settings.archive.interval.saturating_mul(10).max(LEAST_WARN);
    (warn, warn.saturating_mul(2).max(LEAST_CRITICAL))
}

pub(super) fn check(facts: &Facts, settings: &Settings) -> Option<Check> {
    let archive = facts.archive.as_ref()?;
    let lag = match &archive.lag {
        Ok(lag) => lag.as_ref(),
        Err(why) => {
            let problem = Problem::ArchiveUnknown;
            let check = Check::found(NAME, problem, Status::Unknown, why.clone());
            return Some(check.hint(
                "correct what the message names. A file that the collector writes is replaced with \
                 its next pass",
            ));
        }
    };
    let mut findings = Vec::new();
    findings.extend(lag.and_then(|lag| behind(lag, settings)));
    findings.extend(failing(archive, facts));
    findings.extend(removed(archive, facts));
    let status = archive.status.as_ref();
    let seconds_of = |at: crate::clock::Timestamp| at.micros() as f64 / 1e6;
    let error = status.and_then(|status| status.error.as_ref());
    let (warn, critical) = limits(settings);
    let mut check = of_findings(NAME, findings, || well(archive, lag, facts))
        .metric("age_seconds", lag.map(|lag| lag.age_seconds))
        .metric("warn_above_seconds", warn.as_secs())
        .metric("critical_above_seconds", critical.as_secs())
        .metric("lag_records", lag.map(|lag| lag.signed - lag.shipped))
        .metric("lag_bytes", lag.map(|lag| lag.bytes))
        .metric("shipped_records", lag.map(|lag| lag.shipped))
        .metric(
            "last_success_timestamp_seconds",
            status.and_then(|status| status.succeeded_at).map(seconds_of),
        )
        .metric("failures", status.map(|status| status.failures))
        .metric("last_error", error.map(|error| error.code.clone()))
        .metric("last_error_timestamp_seconds", error.map(|error| seconds_of(error.at)))
        .metric("objects", status.map(|status| status.objects))
        .metric("bytes", status.map(|status| status.bytes))
        .metric("removed_unshipped", status.map(|status| status.removed_unshipped));
    if let Some(hint) = check.problem().and_then(hint) {
        check = check.hint(hint);
    }
    Some(check)
}

fn hint(problem: Problem) -> Option<&'static str> {
    Some(match problem {
        Problem::ArchiveBehind => {
            "is `auditctl serve` running with these settings? `auditctl archive` ships once, or says \
             what is in the way"
        }
        Problem::ArchiveFailing => {
            "fix what the message names; docs/codes.md has its code. What is missing is shipped by \
             itself then"
        }
        Problem::ArchiveContradicted => {
            "stop the collector and keep a copy of the log. docs/codes.md, under \
             archive_contradicted, says how to find out which history is right"
        }
        Problem::ArchiveRemovedUnshipped => {
            "look whether a backup holds these records. Ship more often than retention removes \
             segments, or set retention_requires_backup: retention then waits for the archive"
        }
        _ => return None,
    })
}

/// What nobody can ship any more; told long enough that somebody reads it.
fn removed(archive: &Archive, facts: &Facts) -> Option<Finding> {
    let status = archive.status.as_ref().filter(|status| status.removed_unshipped > 0)?;
    let old = since(status.removed_at?, facts.now);
    (old < TELL_OF_REMOVED).then(|| {
        let text = format!(
            "retention removed {} before the archive had them for good, last found {} ago",
            count(status.removed_unshipped, "record"),
            age(old)
        );
        (Problem::ArchiveRemovedUnshipped, Status::Warning, text)
    })
}

fn behind(lag: &Lag, settings: &Settings) -> Option<Finding> {
    let (warn, critical) = limits(settings);
    let old = Duration::from_secs(lag.age_seconds);
    let status = if old > critical {
        Status::Critical
    } else if old > warn {
        Status::Warning
    } else {
        return None;
    };
    let text = format!("{}, the oldest for {}", missing(lag), age(old));
    Some((Problem::ArchiveBehind, status, text))
}

fn missing(lag: &Lag) -> String {
    let records = count(lag.signed - lag.shipped, "record");
    format!("{records} ({}) not in the archive", human_bytes(lag.bytes))
}

fn failing(archive: &Archive, facts: &Facts) -> Option<Finding> {
    let status = archive.status.as_ref()?;
    let error = status.error.as_ref()?;
    let old = age(since(error.at, facts.now));
    let text = format!("shipping failed {old} ago ({}): {}", error.code, error.message);
    match error.code.as_str() {
        "archive_contradicted" => Some((Problem::ArchiveContradicted, Status::Critical, text)),
        "corrupt" => Some((Problem::ArchiveFailing, Status::Critical, text)),
        _ if status.failures >= FAILURES => Some((Problem::ArchiveFailing, Status::Warning, text)),
        _ => None,
    }
}

fn well(archive: &Archive, lag: Option<&Lag>, facts: &Facts) -> String {
    let Some(lag) = lag else { return format!("nothing to ship to {} yet", archive.place) };
    let seen = archive.status.as_ref().and_then(|status| status.complete_at);
    let seen =
        seen.map_or_else(String::new, |at| format!(", seen {} ago", age(since(at, facts.now))));
    match lag.signed - lag.shipped {
        0 => format!("{} holds all {}{seen}", archive.place, count(lag.signed, "record")),
        _ => {
            let old = age(Duration::from_secs(lag.age_seconds));
            format!(
                "{} holds {}; {}, the oldest for {old}",
                archive.place,
                count(lag.shipped, "record"),
                missing(lag)
            )
        }
    }
}
