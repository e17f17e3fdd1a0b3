//! `backup`: how old the newest verified backup is, what it does not hold yet,
//! what failed since, and when a restore was last tried. Reads the catalog only:
//! no key, no lock, no archive.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::audit::state::status::{RetentionMode, RetentionWait, Word};
use crate::backup::{BackupId, Catalog, CopyState, Level, Noted};
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::health::gather::Facts;
use crate::health::problem::Problem;
use crate::health::report::{Check, Status};
use crate::health::wording::{age, count, seconds, since};

use super::common::{Finding, of_findings};
use super::histories;

const NAME: &str = "backup";
const GONE: &str = "mount it, or set `backup.output_dir` to the directory of the backups. If they \
                    are lost, make a new one with `auditctl backup`";
/// What is still being sent after that was most likely killed.
const LONGEST_UPLOAD: Duration = Duration::from_secs(86_400);

pub(super) fn check(facts: &Facts, settings: &Settings) -> Check {
    let backups = &facts.backups;
    if let Some(why) = &backups.unknown {
        if was_backed_up(facts) && !backups.denied {
            return gone(&format!("cannot be looked at ({why})"));
        }
        return Check::found(NAME, Problem::BackupsUnknown, Status::Unknown, why.clone()).hint(
            "let the user who runs health read the directory of the backups, or set \
             backup.output_dir to the right directory",
        );
    }
    let catalog = backups.catalog.clone().unwrap_or_default();
    let newest = catalog.newest(None);
    let made = newest.map(|(_, noted)| noted.created_at).or(backups.newest);
    // What is as old as it was when somebody looked last, and nothing was new.
    let looked = unchanged(&catalog, newest, facts.now);
    let current = looked.or(made);
    let mut findings = Vec::new();
    if let Some(current) = current {
        findings.extend(by_age(since(current, facts.now), settings));
    }
    findings.extend(failure(&catalog, current, facts.now));
    findings.extend(damaged(&catalog));
    findings.extend(lacking(newest));
    findings.extend(histories::other(facts));
    findings.extend(retention(facts));
    findings.extend(backups.newer.as_ref().map(|why| newer_finding(why)));
    if made.is_none() && backups.newer.is_none() && was_backed_up(facts) {
        findings.push(gone_finding("is not there"));
    }
    let unsent = unsent(&catalog, facts.now);
    findings.extend(unsent.values().map(|(_, text)| unsent_finding(text)));
    findings.extend(drill(&catalog, made, facts.now, settings));
    let seconds_of = |at: Timestamp| at.micros() as f64 / 1e6;
    let mut check = of_findings(NAME, findings, || well(newest, (made, looked), facts))
        .metric("age_seconds", current.map(|current| seconds(since(current, facts.now))))
        .metric("last_success_timestamp_seconds", current.map(seconds_of))
        .metric("last_success_bytes", newest.map(|(_, noted)| noted.stored_bytes))
        .metric("newest", newest.map(|(id, _)| id.to_string()))
        .metric("verified", newest.map(|(_, noted)| noted.verified.as_str()))
        .metric("lag_records", lag(newest, facts))
        .metric("backups", catalog.backups.len())
        .metric("retention", mode(facts).map(RetentionMode::as_str))
        .metric(
            "retention_without_backup",
            mode(facts).map(|mode| u8::from(mode == RetentionMode::WithoutBackup)),
        )
        .metric(
            "last_failure_timestamp_seconds",
            catalog.last_failure.as_ref().map(|failure| seconds_of(failure.at)),
        )
        .metric(
            "last_drill_timestamp_seconds",
            catalog.last_drill.as_ref().map(|drill| seconds_of(drill.at)),
        )
        .metric(
            "last_drill_passed",
            catalog.last_drill.as_ref().map(|drill| u8::from(drill.passed)),
        );
    if let (Some(Problem::BackupUnsent), Some((place, (id, _)))) =
        (check.problem(), unsent.iter().next())
    {
        check = check.hint(resume(&catalog, place, *id));
    } else if let Some(hint) = check.problem().and_then(hint) {
        check = check.hint(hint);
    }
    check
}

fn hint(problem: Problem) -> Option<&'static str> {
    Some(match problem {
        Problem::RolledBack | Problem::SnapshotRestored | Problem::Cloned => {
            "stop the collector and keep a copy of the log. docs/codes.md, under this code, says how \
             to find out which history is right"
        }
        Problem::BackupsGone => GONE,
        Problem::RetentionWaits => {
            "make a backup with `auditctl backup`; check them with `auditctl list --verify`. A \
             program that embeds the library names their directory with `Options::backups_in`. To \
             remove records that no backup holds, set `retention_requires_backup = false`"
        }
        Problem::ClockAhead => "set the clock right within the hour; nothing has been removed yet",
        Problem::BackupLacking => {
            "run `auditctl verify` to see what is damaged and `auditctl repair` to restore it \
             from another copy, then `auditctl backup`"
        }
        Problem::BackupsUnknown => "use the version of auditctl that made it, or a later one",
        Problem::BackupOld => {
            "run `auditctl backup`. If a timer should have done it, see `systemctl list-timers` \
             and `journalctl -u auditctl-backup`"
        }
        Problem::BackupFailed => "fix what the message names, then run `auditctl backup`",
        Problem::BackupLogChanged => {
            "run `auditctl verify`. If it finds damage: stop the collector, `auditctl repair`, start \
             it again, `auditctl backup`. If it passes, the log is not the one that was backed up: \
             `auditctl diff log latest` shows where they differ"
        }
        Problem::BackupDamaged => {
            "run `auditctl list --verify` to see which one, and `auditctl backup` to make a good \
             one. Then move the files of the damaged one out of the directory, and run `auditctl \
             list --verify` again"
        }
        Problem::DrillFailed => {
            "read the drill's report, beside the backups: it says which step failed. Fix that, \
             then run `auditctl restore latest --drill`"
        }
        Problem::DrillOld | Problem::DrillNever => "run `auditctl restore latest --drill`",
        _ => return None,
    })
}

/// Whether the log's own records say that it has been backed up.
fn was_backed_up(facts: &Facts) -> bool {
    facts.page().is_some_and(|page| page.get(Word::BackupMade) > 0)
}

fn gone_finding(how: &str) -> Finding {
    let text = format!(
        "this log has been backed up, but the directory of its backups {how} or holds none of \
         them; retention removes nothing"
    );
    (Problem::BackupsGone, Status::Warning, text)
}

fn newer_finding(why: &str) -> Finding {
    (Problem::BackupsUnknown, Status::Unknown, why.to_owned())
}

fn gone(how: &str) -> Check {
    let (problem, status, text) = gone_finding(how);
    Check::found(NAME, problem, status, text).hint(GONE)
}

/// Why retention keeps more than it has to.
fn retention(facts: &Facts) -> Option<Finding> {
    let page = facts.page()?;
    let why = RetentionWait::from_code(page.get(Word::RetentionWait))?;
    let problem = match why {
        RetentionWait::Nothing => return None,
        // Told by what is there now, unless something is there that is no good.
        RetentionWait::BackupsGone if facts.backups.newest.is_none() => return None,
        RetentionWait::ClockAhead => {
            let text = format!("{}: retention removes nothing for an hour", why.as_str());
            return Some((Problem::ClockAhead, Status::Warning, text));
        }
        RetentionWait::BackupsGone
        | RetentionWait::NotHeld
        | RetentionWait::NobodyToAsk
        | RetentionWait::NeverBackedUp
        | RetentionWait::Damaged => Problem::RetentionWaits,
    };
    let waiting = count(page.get(Word::RetentionWaiting), "segment");
    let text = format!("{waiting} kept beyond retention_days: {}", why.as_str());
    Some((problem, Status::Warning, text))
}

fn mode(facts: &Facts) -> Option<RetentionMode> {
    RetentionMode::from_code(facts.page()?.get(Word::RetentionMode))
}

/// Said also while all is well: who reads that backups are fine must not think that
/// nothing is removed without one.
fn without_backup(facts: &Facts) -> &'static str {
    match mode(facts) {
        Some(RetentionMode::WithoutBackup) => {
            "; retention also removes records that no backup \
                                               holds"
        }
        _ => "",
    }
}

fn unsent_finding(text: &str) -> Finding {
    (Problem::BackupUnsent, Status::Warning, text.to_owned())
}

fn lag(newest: Option<(BackupId, &Noted)>, facts: &Facts) -> Option<u64> {
    let durable = facts.page()?.get(Word::DurableSeq);
    Some(durable.saturating_sub(newest?.1.tree_size))
}

/// When a backup was asked for last and nothing was new: as good as one that was made then.
/// It is the newest that held everything, and the time is not one to come.
fn unchanged(
    catalog: &Catalog,
    newest: Option<(BackupId, &Noted)>,
    now: Timestamp,
) -> Option<Timestamp> {
    let (id, noted) = newest?;
    let looked = catalog.last_unchanged.as_ref().filter(|looked| looked.backup == id)?;
    (noted.created_at..=now).contains(&looked.at).then_some(looked.at)
}

fn well(
    newest: Option<(BackupId, &Noted)>,
    (made, looked): (Option<Timestamp>, Option<Timestamp>),
    facts: &Facts,
) -> String {
    match (newest, made) {
        (Some((id, noted)), _) => {
            let old = age(since(noted.created_at, facts.now));
            let durable = facts.page().map(|page| page.get(Word::DurableSeq));
            let ahead = durable.map_or(0, |durable| noted.tree_size.saturating_sub(durable));
            let newer = match lag(newest, facts) {
                // Records of it were set aside since.
                Some(_) if ahead > 0 => {
                    format!(", holds {} that the log does not have", count(ahead, "record"))
                }
                Some(lag) => format!(", {} newer", count(lag, "record")),
                None => String::new(),
            };
            let level = match noted.verified {
                Level::Listed | Level::Stored => "not verified",
                _ => "verified",
            };
            let looked = looked.map_or_else(String::new, |at| {
                format!(", nothing new {} ago", age(since(at, facts.now)))
            });
            format!("{id} made {old} ago, {level}{looked}{newer}{}", without_backup(facts))
        }
        (None, Some(made)) => {
            format!("made {} ago{}", age(since(made, facts.now)), without_backup(facts))
        }
        (None, None) => {
            format!("no backup was made yet; `auditctl backup` makes one{}", without_backup(facts))
        }
    }
}

fn by_age(old: Duration, settings: &Settings) -> Option<Finding> {
    let limits = &settings.health;
    let status = if old >= limits.backup_age_critical {
        Status::Critical
    } else if old >= limits.backup_age_warn {
        Status::Warning
    } else {
        return None;
    };
    Some((Problem::BackupOld, status, format!("the newest backup is {} old", age(old))))
}

fn failure(catalog: &Catalog, made: Option<Timestamp>, now: Timestamp) -> Option<Finding> {
    let failure = catalog.last_failure.as_ref()?;
    if made.is_some_and(|made| made > failure.at) {
        return None;
    }
    let tampered = ["not_a_prefix", "corrupt", "bad_signature"].contains(&&*failure.kind);
    let (problem, status) = if tampered {
        (Problem::BackupLogChanged, Status::Critical)
    } else {
        (Problem::BackupFailed, Status::Warning)
    };
    let old = age(since(failure.at, now));
    let text = format!("the last backup failed {old} ago ({}): {}", failure.kind, failure.message);
    Some((problem, status, text))
}

fn damaged(catalog: &Catalog) -> Option<Finding> {
    let bad = catalog.backups.values().filter(|noted| noted.damage.is_some()).count() as u64;
    (bad > 0).then(|| {
        (Problem::BackupDamaged, Status::Warning, format!("{} damaged", count(bad, "backup")))
    })
}

/// Which records no backup holds, because they were damaged before one did.
fn lacking(newest: Option<(BackupId, &Noted)>) -> Option<Finding> {
    let (id, noted) = newest?;
    let first = noted.uncovered.first()?;
    let records = noted.uncovered.iter().map(|span| span.records()).sum();
    let ranges = match noted.uncovered.len() {
        1 => format!("records {} to {}", first.begin, first.end - 1),
        more => format!("from record {} on, in {more} places", first.begin),
    };
    let text = format!(
        "{id} lacks {} that were damaged, and no backup here holds them ({ranges})",
        count(records, "record")
    );
    Some((Problem::BackupLacking, Status::Warning, text))
}

/// By place: the newest backup that was to go there and did not arrive, unless it or a later
/// one, which holds all of it, did arrive: there, or elsewhere where that place is no longer, or
/// never was, one that backups go to.
fn unsent(catalog: &Catalog, now: Timestamp) -> BTreeMap<&str, (BackupId, String)> {
    let mut found: BTreeMap<&str, (BackupId, String)> = BTreeMap::new();
    // Oldest first: what became of a later one is what counts.
    for (id, noted) in &catalog.backups {
        let arrived = noted.copies.values().any(|copied| copied.state == CopyState::Confirmed);
        if arrived {
            // Places to which this one was not even to go, or which never took anything.
            found.retain(|place, _| noted.copies.contains_key(*place) && took_any(catalog, place));
        }
        for (place, copied) in &noted.copies {
            let old = since(copied.at, now);
            let what = match copied.state {
                CopyState::Confirmed => None,
                CopyState::Failed => Some("failed"),
                CopyState::Uploading => (old >= LONGEST_UPLOAD).then_some("was never finished"),
            };
            let Some(what) = what else {
                found.remove(place.as_str());
                continue;
            };
            if arrived && !took_any(catalog, place) {
                continue;
            }
            let why = copied.problem.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            let text = format!("sending {id} to {place} {what} {} ago{why}", age(old));
            found.insert(place.as_str(), (*id, text));
        }
    }
    found
}

/// What sends it. To a place that never took anything it may never get: so that one is not
/// named again.
fn resume(catalog: &Catalog, place: &str, id: BackupId) -> String {
    // Below the destination stand the host and the log: s3://bucket/prefix/host/log/.
    let above = place.trim_end_matches('/').rsplitn(3, '/').nth(2);
    let above = above.filter(|above| took_any(catalog, place) && above.contains("://"));
    match above.and_then(|above| shlex::try_quote(above).ok()) {
        Some(there) => format!("`auditctl backup --resume {id} --destination {there}` sends it"),
        None => format!(
            "check the destination, which has never taken a backup. Then send it with `auditctl \
             backup --resume {id}`; to send it elsewhere, add --destination s3://BUCKET/PREFIX"
        ),
    }
}

/// Whether a place has ever taken a backup: a mistyped one has not.
fn took_any(catalog: &Catalog, place: &str) -> bool {
    let there = |noted: &Noted| {
        noted.copies.get(place).is_some_and(|copied| copied.state == CopyState::Confirmed)
    };
    catalog.backups.values().any(there)
}

fn drill(
    catalog: &Catalog,
    made: Option<Timestamp>,
    now: Timestamp,
    settings: &Settings,
) -> Option<Finding> {
    let limit = settings.health.drill_age_warn;
    match &catalog.last_drill {
        Some(drill) if !drill.passed => {
            let old = age(since(drill.at, now));
            let text = format!("the restore drill of {old} ago failed");
            Some((Problem::DrillFailed, Status::Critical, text))
        }
        _ if limit.is_zero() => None,
        Some(drill) if since(drill.at, now) >= limit => {
            let text = format!("no restore drill for {}", age(since(drill.at, now)));
            Some((Problem::DrillOld, Status::Warning, text))
        }
        None if made.is_some() => {
            let text = "no restore has ever been tried".to_owned();
            Some((Problem::DrillNever, Status::Warning, text))
        }
        _ => None,
    }
}
