//! `integrity`: damage that is known, and whether what proves the log is there.
//! Reads no records: finding unknown damage is `verify`'s.

use std::time::{Duration, UNIX_EPOCH};

use crate::audit::state::status::{Damage, StatusSnapshot, Word};
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::health::gather::{Facts, Seen};
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::{Check, Status};
use crate::health::wording::{age, count, seconds, since};

use super::common::{Finding, of_findings, unseen};
use super::own_files;

const NAME: &str = "integrity";
/// A replaced file whose records were saved is critical so long, then a warning.
const REPLACED_IS_CRITICAL: Duration = Duration::from_secs(15 * 60);
/// The first checkpoint follows the first record within seconds.
const FIRST_CHECKPOINT: Duration = Duration::from_secs(60);
/// The ways on without the key.
const KEYLESS: &str = "put the key back (`auditctl key import`, or set key_path). If nobody has \
                       the key any more, run `auditctl key replace --reason TEXT`";
/// A change of key that goes well is over long before.
const KEY_CHANGE: Duration = Duration::from_secs(60);

pub(super) fn check(facts: &Facts, settings: &Settings, liveness: Liveness) -> Check {
    let Some(page) = facts.page() else {
        return match keyless(facts, liveness) {
            Some(finding) => of_findings(NAME, vec![finding], String::new).hint(KEYLESS),
            None => unseen(NAME, facts),
        };
    };
    let checkpoint_age = page.time(Word::CheckpointAt).map(|at| since(at, facts.now));
    let mut findings: Vec<Finding> = [
        damage(facts, page),
        lost(page),
        checkpoint(facts, page, settings, liveness),
        manifest(facts, liveness),
        key_change(facts, liveness),
        keyless(facts, liveness),
        unsigned(facts, page),
    ]
    .into_iter()
    .flatten()
    .collect();
    findings.extend(own_files::findings(facts, page, liveness));
    let check = of_findings(NAME, findings, || well(facts, page, checkpoint_age))
        .metric("damage", page.damage().map(Damage::as_str))
        .metric("damage_at", page.time(Word::DamageAt).map(|at| at.to_string()))
        .metric("lost_records", page.get(Word::LostRecords))
        .metric("adopted_end", page.get(Word::AdoptedEnd))
        .metric("log_file_incidents", page.get(Word::LogFileIncidents))
        .metric("checkpoint_size", page.get(Word::CheckpointSize))
        .metric("checkpoint_age_seconds", checkpoint_age.map(seconds))
        .metric("durable_seq", page.get(Word::DurableSeq));
    match check.problem() {
        None => check,
        Some(problem) => match hint(problem).or_else(|| own_files::hint(problem)) {
            Some(hint) => check.hint(hint),
            None => check,
        },
    }
}

/// What to do about it. Each leads to where the problem is no more.
fn hint(problem: Problem) -> Option<&'static str> {
    Some(match problem {
        Problem::FileReplaced => {
            "nothing was lost: the writer saved the file's records. The record \
             audit.log_file_replaced (at a start: audit.recovered) says what it found. Find out \
             who did it; log rotation must leave audit.log alone. Then run `auditctl verify \
             --since-last`; if it passes, this warning ends"
        }
        Problem::FileTruncated => {
            "stop the collector, run `auditctl repair`, which restores what a backup holds, and \
             start the collector again. The audit.log_file_replaced record says which records \
             were cut off"
        }
        Problem::SegmentDamaged => {
            "stop the collector, run `auditctl repair`, which restores what a copy holds and \
             names the rest, and start the collector again. `auditctl verify` says which records \
             are damaged"
        }
        Problem::CorruptionAccepted => {
            "run `auditctl verify` to see what was given up; files named .damaged- keep the \
             damaged bytes. If a backup has these records: stop the collector, run `auditctl \
             repair`, start it again. The warning ends with the next start"
        }
        Problem::DirectoryGone => {
            "move the log's own directory back; the writer then continues by itself. If it was \
             deleted: stop the collector, run `auditctl restore latest`, start it again"
        }
        Problem::DamageOther => "run health with the version of auditctl that the service runs",
        Problem::LostRecords => {
            "run `auditctl query --type audit.gap` to see which, when and why. With durability = \
             \"commit\" a crash loses none. The warning ends with the next start of the writer"
        }
        Problem::CheckpointMissing => {
            "a running writer puts it back within a second. If this lasts, or no writer runs: \
             stop the collector, run `auditctl repair`, start it again"
        }
        Problem::ManifestMissing => {
            "stop the collector, run `auditctl repair`, which rebuilds it from the segments and \
             the backups, and start it again"
        }
        Problem::CheckpointOld => {
            "the writer cannot sign, or cannot store what it signed. Read last_error of \
             worker_thread and the service's messages for the reason. Once it is fixed, the \
             writer signs within a second"
        }
        Problem::KeyMissing => KEYLESS,
        Problem::KeyChangePending => {
            "run `auditctl key rotate` to complete it now, or wait for the next start of the \
             writer; `auditctl key show` says which key signs"
        }
        Problem::UnsignedRecords => {
            "run `auditctl verify --since-last`, which names them (`adopted`), or `auditctl \
             backup`"
        }
        _ => return None,
    })
}

/// A log that nobody has open and whose signing key is not there. A running writer has
/// the key, and puts its file back.
fn keyless(facts: &Facts, liveness: Liveness) -> Option<Finding> {
    let is_open = liveness.is_current() || liveness == Liveness::Opening;
    let is_log = matches!(facts.manifest, Seen::There(_));
    (!is_open && is_log && matches!(facts.key, Seen::Missing)).then(|| {
        let text = "the signing key is not here: you can read, verify and back up the log, but \
                    not add to it";
        (Problem::KeyMissing, Status::Critical, text.to_owned())
    })
}

fn well(facts: &Facts, page: &StatusSnapshot, checkpoint_age: Option<Duration>) -> String {
    let signed = checkpoint_age.map_or_else(String::new, |old| {
        let records = count(page.get(Word::CheckpointSize), "record");
        format!(", checkpoint over {records} signed {} ago", age(old))
    });
    let replaced = facts.key_replaced.as_ref();
    let replaced = replaced.map_or_else(String::new, |told| {
        format!("; the signing key was replaced {told} without the old key's signature")
    });
    format!("no damage known{signed}; to check the records, run `auditctl verify`{replaced}")
}

fn damage(facts: &Facts, page: &StatusSnapshot) -> Option<Finding> {
    let code = page.get(Word::Damage);
    if code == 0 {
        return None;
    }
    let old = page.time(Word::DamageAt).map(|at| since(at, facts.now));
    let when = old.map_or_else(String::new, |old| format!(" ({} ago)", age(old)));
    let Some(damage) = page.damage() else {
        let text = format!("damage {code}, of a newer version{when}");
        return Some((Problem::DamageOther, Status::Critical, text));
    };
    let (problem, status) = match damage {
        Damage::FileReplaced if verified_since(facts, page) => return None,
        Damage::FileReplaced if old.is_some_and(|old| old >= REPLACED_IS_CRITICAL) => {
            (Problem::FileReplaced, Status::Warning)
        }
        Damage::FileReplaced => (Problem::FileReplaced, Status::Critical),
        Damage::CorruptionAccepted => (Problem::CorruptionAccepted, Status::Warning),
        Damage::FileTruncated => (Problem::FileTruncated, Status::Critical),
        Damage::SegmentDamaged => (Problem::SegmentDamaged, Status::Critical),
        Damage::DirectoryGone => (Problem::DirectoryGone, Status::Critical),
    };
    Some((problem, status, format!("{}{when}", damage.as_str())))
}

/// Whether all of the log was proven after the damage was noticed. A time to come is
/// nobody's: it would end what has not happened yet.
fn verified_since(facts: &Facts, page: &StatusSnapshot) -> bool {
    let times = (facts.verified.at, page.time(Word::DamageAt));
    matches!(times, (Some(at), Some(noticed)) if noticed < at && at <= facts.now)
}

fn lost(page: &StatusSnapshot) -> Option<Finding> {
    let lost = page.get(Word::LostRecords);
    (lost > 0).then(|| {
        let text =
            format!("{} lost; see the audit.gap records", count(lost, "acknowledged record"));
        (Problem::LostRecords, Status::Warning, text)
    })
}

fn unsigned(facts: &Facts, page: &StatusSnapshot) -> Option<Finding> {
    let end = page.get(Word::AdoptedEnd);
    (end > facts.verified.tree_size).then(|| {
        let text = format!(
            "after an unclean stop the log kept records up to {} that no key had signed",
            end - 1
        );
        (Problem::UnsignedRecords, Status::Warning, text)
    })
}

fn checkpoint(
    facts: &Facts,
    page: &StatusSnapshot,
    settings: &Settings,
    liveness: Liveness,
) -> Option<Finding> {
    let signed_at = page.time(Word::CheckpointAt);
    let open_for = page.time(Word::StartedAt).map_or(Duration::ZERO, |at| since(at, facts.now));
    // The page of a writer that has just opened the log names no checkpoint yet.
    let starting = liveness == Liveness::Opening
        || (liveness.is_current() && signed_at.is_none() && open_for < FIRST_CHECKPOINT);
    if starting {
        return None;
    }
    match &facts.checkpoint {
        Seen::Missing => {
            let text = "audit.checkpoint is missing".to_owned();
            return Some((Problem::CheckpointMissing, Status::Critical, text));
        }
        Seen::Unknown(why) => {
            let text = format!("audit.checkpoint: {why}");
            return Some((Problem::CheckpointUnknown, Status::Unknown, text));
        }
        Seen::There(_) => {}
    }
    if !liveness.is_current() {
        return None;
    }
    let old = signed_at.map_or(open_for, |at| since(at, facts.now));
    let limit = settings.health.checkpoint_age_critical;
    (old >= limit).then(|| {
        let text = format!("the newest checkpoint is {} old: the writer signs none", age(old));
        (Problem::CheckpointOld, Status::Critical, text)
    })
}

fn manifest(facts: &Facts, liveness: Liveness) -> Option<Finding> {
    match &facts.manifest {
        Seen::There(_) => None,
        Seen::Missing if liveness == Liveness::Opening => None,
        Seen::Missing => {
            let text = "audit.manifest.json is missing".to_owned();
            Some((Problem::ManifestMissing, Status::Critical, text))
        }
        Seen::Unknown(why) => {
            let text = format!("audit.manifest.json: {why}");
            Some((Problem::ManifestUnknown, Status::Unknown, text))
        }
    }
}

/// The key that is to follow waits beside the old one until the change is complete.
fn key_change(facts: &Facts, liveness: Liveness) -> Option<Finding> {
    let Seen::There(next) = &facts.next_key else { return None };
    let begun = next.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let begun = Timestamp::from_micros(i64::try_from(begun.as_micros()).unwrap_or(i64::MAX));
    let old = since(begun, facts.now);
    // Opening the log goes on with it.
    (old > KEY_CHANGE && liveness != Liveness::Opening).then(|| {
        let text =
            format!("a change of the signing key began {} ago and is not finished", age(old));
        (Problem::KeyChangePending, Status::Warning, text)
    })
}
