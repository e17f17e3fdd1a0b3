//! Which backups to keep: a plan first, with a reason for each, then its apply.
//!
//! Only good backups count: a broken, forged or foreign one never pushes a good
//! one out, and is never removed by a rule either. Hosts make no difference: a log that
//! moved is one log. The newest good backup of each log stays, and so does a pinned one and the only copy of any record.

mod histories;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};

use super::choice::log_of;
use super::directory::BackupDir;
use super::error::BackupError;
use super::inventory::{Inventory, Listed};
use super::metadata::Metadata;
use super::name::BackupId;
use crate::audit::read::snapshot::Snapshot;
use crate::audit::write::own::BackupRemoved;
use crate::clock::{Timestamp, display_seconds};
use histories::Histories;

/// A backup whose time lies further ahead is not counted: its clock was wrong,
/// or somebody wants the others pushed out.
const AHEAD: i64 = 24 * 3_600 * 1_000_000;

/// Which backups to keep: those that any rule keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest so many.
    pub last: Option<u32>,
    /// The newest of each of so many days (UTC).
    pub daily: Option<u32>,
    /// Of so many weeks (ISO 8601).
    pub weekly: Option<u32>,
    /// Of so many months.
    pub monthly: Option<u32>,
    /// Of so many years.
    pub yearly: Option<u32>,
    /// All that are not older.
    pub within: Option<Duration>,
}

impl Policy {
    /// Whether it has any rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which.
    pub id: BackupId,
    /// Why it is kept; it is removed when there is no reason.
    pub keep: Vec<String>,
    /// Its stored bytes.
    pub stored_bytes: u64,
    /// What is recorded when it is removed.
    pub removed: BackupRemoved,
    /// The host that it was made on.
    pub host: String,
}

/// What becomes of each good backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The newest first.
    pub decisions: Vec<Decision>,
    /// Those that the rules do not concern, and why.
    pub untouched: Vec<(String, String)>,
}

impl Plan {
    /// Those that go, the oldest first.
    pub fn removals(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().rev().filter(|decision| decision.keep.is_empty())
    }
}

/// Makes a plan.
///
/// # Errors
/// [`BackupError::Usage`] for a policy that keeps nothing on purpose.
pub fn plan(
    inventory: &Inventory,
    policy: &Policy,
    live: Option<&Snapshot>,
    now: Timestamp,
) -> Result<Plan, BackupError> {
    if policy.is_empty() {
        return Err(BackupError::Usage(
            "say what to keep, with --keep N or another rule".to_owned(),
        ));
    }
    let mut untouched = Vec::new();
    let mut groups: BTreeMap<(String, String), Vec<&Listed>> = BTreeMap::new();
    for listed in &inventory.backups {
        match (&listed.metadata, &listed.damage) {
            (Some(metadata), None) if metadata.created_at.micros() > now.micros() + AHEAD => {
                untouched.push((listed.id.to_string(), "its time is in the future".to_owned()));
            }
            (Some(metadata), None) => {
                if listed.elsewhere && metadata.signature.is_none() {
                    let why = "its metadata is not signed, and others can write to its directory";
                    untouched.push((listed.id.to_string(), why.to_owned()));
                    continue;
                }
                groups.entry(log_under(metadata, live)).or_default().push(listed);
            }
            (_, Some(newer)) if listed.is_newer() => {
                untouched.push((listed.id.to_string(), newer.clone()));
            }
            (_, damage) => {
                let why = damage.clone().unwrap_or_else(|| "it cannot be read".to_owned());
                untouched.push((listed.id.to_string(), format!("not good: {why}")));
            }
        }
    }
    for orphan in &inventory.orphans {
        untouched.push((orphan.clone(), "an archive without metadata".to_owned()));
    }
    for foreign in &inventory.foreign {
        untouched.push((foreign.clone(), "not ours".to_owned()));
    }
    let mut judged: Vec<Judged<'_>> = Vec::new();
    for group in groups.values() {
        // The inventory's order: the newest first.
        judged.extend(by_rules(group, policy, now));
    }
    guard_coverage(&mut judged, live);
    let decisions = judged.into_iter().map(|(decision, _)| decision).collect();
    Ok(Plan { decisions, untouched })
}

/// Which log it is of. What is good of the log that is here was checked with the log's own
/// keys, which know also what nobody signed.
fn log_under(metadata: &Metadata, live: Option<&Snapshot>) -> (String, String) {
    let (id, key) = log_of(metadata);
    let here = live.is_some_and(|live| live.manifest.log_id == id);
    (id, if here { String::new() } else { key })
}

/// What becomes of a backup, and what it is.
type Judged<'a> = (Decision, &'a Listed);

/// The day, week, month or year that a time is in.
type PeriodOf = fn(DateTime<Utc>) -> (i32, u32);

fn by_rules<'a>(group: &[&'a Listed], policy: &Policy, now: Timestamp) -> Vec<Judged<'a>> {
    let mut decisions: Vec<Judged<'a>> =
        group.iter().filter_map(|listed| Some((decision(listed, policy)?, *listed))).collect();
    let periods: [(&str, Option<u32>, PeriodOf); 4] = [
        ("daily", policy.daily, |at| (at.year(), at.ordinal())),
        ("weekly", policy.weekly, |at| (at.iso_week().year(), at.iso_week().week())),
        ("monthly", policy.monthly, |at| (at.year(), at.month())),
        ("yearly", policy.yearly, |at| (at.year(), 0)),
    ];
    for (number, (decision, listed)) in decisions.iter_mut().enumerate() {
        if number == 0 {
            decision.keep.push("the newest".to_owned());
        }
        if policy.last.is_some_and(|last| (number as u64) < u64::from(last)) {
            decision.keep.push(format!("last {}", number + 1));
        }
        if let Some(until) = listed.locked_until.filter(|until| *until > now) {
            decision.keep.push(format!("locked until {}", display_seconds(until)));
        }
        if listed.held {
            decision.keep.push("held".to_owned());
        }
        let age = now.micros() - decision.id.time().micros();
        let within = policy.within.map(|within| i64::try_from(within.as_micros()));
        if within.is_some_and(|within| age <= within.unwrap_or(i64::MAX)) {
            decision.keep.push("within".to_owned());
        }
    }
    for (name, count, period_of) in periods {
        let mut seen = BTreeSet::new();
        for (decision, _) in &mut decisions {
            if seen.len() as u64 >= u64::from(count.unwrap_or(0)) {
                break;
            }
            if seen.insert(period_of(decision.id.time().into())) {
                decision.keep.push(format!("{name} {}", seen.len()));
            }
        }
    }
    decisions
}

fn decision(listed: &Listed, policy: &Policy) -> Option<Decision> {
    let metadata: &Metadata = listed.metadata.as_ref()?;
    let keep = if listed.pinned { vec!["pinned".to_owned()] } else { Vec::new() };
    Some(Decision {
        id: listed.id,
        keep,
        stored_bytes: listed.stored_bytes.unwrap_or(0),
        removed: BackupRemoved {
            backup: listed.id.to_string(),
            place: listed.place.clone(),
            first_seq: metadata.range.first_seq,
            tree_size: metadata.range.tree_size,
            root_hash: metadata.root_hash.to_string(),
            sha256: metadata.stored().sha256.to_string(),
            reason: format!("cleanup: {}", words(policy)),
            uid: rustix::process::geteuid().as_raw(),
        },
        host: metadata.host.clone(),
    })
}

fn words(policy: &Policy) -> String {
    let counts = [
        ("keep", policy.last),
        ("keep-daily", policy.daily),
        ("keep-weekly", policy.weekly),
        ("keep-monthly", policy.monthly),
        ("keep-yearly", policy.yearly),
    ];
    let mut words: Vec<String> =
        counts.into_iter().filter_map(|(name, count)| Some(format!("{name} {}", count?))).collect();
    words.extend(
        policy
            .within
            .map(|within| format!("keep-within {}", crate::units::format_duration(within))),
    );
    words.join(", ")
}

/// Keeps what would take the only copy of a record with it: records that neither
/// the log nor a backup that is kept has.
fn guard_coverage(judged: &mut [Judged<'_>], live: Option<&Snapshot>) {
    let listed: Vec<&Listed> = judged.iter().map(|(_, listed)| *listed).collect();
    let histories = Histories::of(&listed, live);
    // The newest first: what reaches furthest back is then needed least.
    for index in 0..judged.len() {
        if !judged[index].0.keep.is_empty() {
            continue;
        }
        let mut held: Vec<(u64, u64)> = judged
            .iter()
            .enumerate()
            .filter(|(other, (kept, _))| !kept.keep.is_empty() && histories.same(*other, index))
            .flat_map(|(_, kept)| runs_of(kept))
            .collect();
        if let Some(live) = live.filter(|_| histories.in_live[index]) {
            // What a backup could not read in the log, the log does not hold; nor does it
            // what was given up.
            let given_up = live.holes().map(|hole| (hole.first_seq, hole.tree.end()));
            let of_same = |other: &usize| histories.same(*other, index);
            let told =
                (0..judged.len()).filter(of_same).flat_map(|other| holes_of(judged[other].1));
            let mut holes: Vec<(u64, u64)> = given_up.chain(told).collect();
            holes.sort_unstable();
            held.extend(runs((live.manifest.pruned.end(), live.checkpoint.size), holes));
        }
        held.sort_unstable();
        let own = runs_of(&judged[index]);
        if !own.into_iter().all(|(begin, end)| covers(&held, begin, end)) {
            judged[index].0.keep.push("the only copy of some records".to_owned());
        }
    }
}

/// The records that a backup holds.
fn runs_of((decision, listed): &Judged<'_>) -> Vec<(u64, u64)> {
    let range = (decision.removed.first_seq, decision.removed.tree_size);
    runs(range, holes_of(listed))
}

/// The records that a backup lacks.
fn holes_of(listed: &Listed) -> impl Iterator<Item = (u64, u64)> + '_ {
    let holes = listed.metadata.iter().flat_map(|metadata| &metadata.holes);
    holes.map(|hole| (hole.tree.begin(), hole.tree.end()))
}

/// What holes leave of a range.
fn runs((begin, end): (u64, u64), holes: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let (mut runs, mut next) = (Vec::new(), begin);
    for (from, until) in holes {
        if from > next {
            runs.push((next, from));
        }
        next = next.max(until);
    }
    if next < end {
        runs.push((next, end));
    }
    runs
}

fn covers(held: &[(u64, u64)], begin: u64, end: u64) -> bool {
    let mut next = begin;
    for &(from, until) in held {
        if from > next {
            break;
        }
        next = next.max(until);
    }
    next >= end
}

/// Where backups are removed from.
pub trait Place {
    /// The SHA-256 of the archive that is there, by its metadata.
    ///
    /// # Errors
    /// When it cannot be told.
    fn stored_sha256(&self, which: &Decision) -> Result<String, BackupError>;

    /// Removes a backup.
    ///
    /// # Errors
    /// When it could not be, or not all of it.
    fn remove(&self, which: &Decision) -> Result<Removal, BackupError>;
}

/// What became of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Gone,
    /// The bucket keeps versions: a marker hides it, and its bytes stay.
    Hidden,
    /// It is to be kept, and stayed; why.
    Locked(String),
}

impl Place for BackupDir {
    fn stored_sha256(&self, which: &Decision) -> Result<String, BackupError> {
        Ok(self.metadata(which.id)?.stored().sha256.to_string())
    }

    fn remove(&self, which: &Decision) -> Result<Removal, BackupError> {
        Self::remove(self, which.id).map(|()| Removal::Gone)
    }
}

/// Removes what the plan lets go, the oldest first. `record` is called before each
/// removal: what cannot be recorded is not removed.
///
/// # Errors
/// The first removal that failed, after those that were made: the caller is told
/// of each by `removed`.
pub fn apply(
    place: &dyn Place,
    plan: &Plan,
    record: &mut dyn FnMut(&BackupRemoved) -> Result<(), BackupError>,
    removed: &mut dyn FnMut(&Decision, &Removal),
) -> Result<(), BackupError> {
    for decision in plan.removals() {
        // It must still be the backup that the plan was made for.
        if place.stored_sha256(decision)? != decision.removed.sha256 {
            return Err(BackupError::Refused(format!(
                "backup {} has changed since the plan was made; nothing more was removed",
                decision.id
            )));
        }
        record(&decision.removed)?;
        let removal = place.remove(decision)?;
        removed(decision, &removal);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
