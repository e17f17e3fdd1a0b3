//! A fleet's archive, verified: every log of it, against what there has to be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::acknowledged::{Acknowledged, Acknowledgements};
use super::budget::{Budget, Most};
use super::exam::{Check, Subject};
use super::finding::{Finding, FindingKind as Kind, Severity};
use super::inventory::{Inventory, SumKey};
use super::report::{LogReport, unread};
use super::roster::{Expected, Roster, Silence};
use super::state::{SeenRoster, State};
use super::versions::{self, Versions};
use crate::archive::{ArchiveError, Bucket, LogName};
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint, VerifierKey};
use crate::audit::read::verify::Activity;
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::tree::merkle::leaf_hash;
use crate::clock::Timestamp;
use crate::store::{BackupStore, StoreErrorKind};

/// So many characters of what a panic says.
const MOST_TOLD: usize = 300;

/// What is to be verified, and against what.
#[derive(Debug, Default)]
pub struct Request {
    /// The logs that there have to be.
    pub roster: Option<Roster>,
    /// Keys that are known from elsewhere, without a roster.
    pub keys: Vec<VerifierKey>,
    /// Checkpoints that were kept elsewhere, and where each is from.
    pub against: Vec<(String, SignedCheckpoint)>,
    /// Only logs whose ids begin so.
    pub logs: Vec<String>,
    /// Only logs of these hosts.
    pub hosts: Vec<String>,
    /// What the last verification left.
    pub state: State,
    /// Whether to read everything, whatever was verified before.
    pub full: bool,
    /// Whether what is listed unchanged is unchanged: a store of objects dates them itself. Of
    /// files anybody who can write them can set the times.
    pub trusts_times: bool,
    /// After how long a log is silent for which the roster does not say it.
    pub silent_after: Option<Duration>,
    /// How many logs are checked at once.
    pub jobs: usize,
    /// How much is read for one log.
    pub most: Most,
    /// Whether to count what the records say that are read: for [`Fleet::activity`].
    pub activity: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Fleet {
    /// The bucket, for people.
    pub place: String,
    /// What time it was by the store's clock when it was listed.
    pub at: Option<Timestamp>,
    /// The roster's name, number and date.
    pub roster: Option<(String, u64, Timestamp)>,
    /// Whether only a part of the logs was looked at.
    pub is_partial: bool,
    /// Whether there was a state of an earlier verification.
    pub had_state: bool,
    /// What was found of each log, by its id.
    pub logs: Vec<LogReport>,
    /// What was found beside.
    pub findings: Vec<Finding>,
    /// What was found and the roster acknowledges.
    pub acknowledged: Vec<Acknowledged>,
    /// How many of the roster's acknowledgements fit nothing that was found.
    pub unused: u64,
    /// What the records say that were read, of all logs with which nothing is wrong, where that
    /// was asked for.
    pub activity: Option<Activity>,
    /// Objects in the bucket, as far as it was listed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the versions of the objects say.
    pub versions: Versions,
    /// For the next time.
    pub state: State,
}

impl Fleet {
    /// All findings, those of no log first.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().chain(self.logs.iter().flat_map(|log| &log.findings))
    }

    /// The worst of them.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.all_findings().map(|finding| finding.severity).max()
    }
}

/// Verifies a fleet's archive.
///
/// # Errors
/// The bucket cannot be listed. What cannot be read of one log is a finding.
pub fn verify(
    store: Arc<dyn BackupStore>,
    request: Request,
    watch: &dyn Watch,
) -> Result<Fleet, ArchiveError> {
    let bucket = Bucket(store);
    let sums = SumKey::random().map_err(|what| ArchiveError::Object {
        object: bucket.place(),
        what: format!("the system gave no randomness: {what}"),
    })?;
    watch.stage(Stage::Download, 0);
    let before = bucket.0.now()?;
    let known = Acknowledgements::of(request.roster.as_ref());
    let inventory = Inventory::take(&*bucket.0, &sums, &request.state, &known, watch)?;
    let now = match before {
        Some(now) => Some(now),
        // Some stores know the time only from an answer.
        None => bucket.0.now()?,
    };
    let run = Run { bucket: &bucket, request: &request, inventory, known, now, sums, watch };
    run.all()
}

pub(super) struct Run<'a> {
    pub(super) bucket: &'a Bucket,
    pub(super) request: &'a Request,
    pub(super) inventory: Inventory,
    /// What the roster acknowledges.
    pub(super) known: Acknowledgements,
    pub(super) now: Option<Timestamp>,
    pub(super) sums: SumKey,
    pub(super) watch: &'a dyn Watch,
}

impl Run<'_> {
    fn all(self) -> Result<Fleet, ArchiveError> {
        let Request { roster, state, .. } = self.request;
        let mut fleet = Fleet {
            place: self.bucket.place(),
            at: self.now,
            roster: roster.as_ref().map(|it| (it.name.clone(), it.sequence, it.date)),
            is_partial: !self.request.logs.is_empty() || !self.request.hosts.is_empty(),
            had_state: !state.logs.is_empty(),
            objects: self.inventory.objects,
            bytes: self.inventory.bytes,
            ..Fleet::default()
        };
        fleet.state = State { place: fleet.place.clone(), ..state.clone() };
        self.roster(&mut fleet);
        let ids: Vec<&str> = self.ids().into_iter().collect();
        let bytes = self.inventory.logs.values().map(|it| it.bytes).fold(0, u64::saturating_add);
        self.watch.stage(Stage::Verify, bytes);
        let (reports, activity) = self.in_parallel(&ids)?;
        fleet.logs = reports;
        fleet.activity = self.request.activity.then_some(activity);
        self.nothing(&mut fleet, &ids);
        self.foreign(&mut fleet);
        self.named(&mut fleet);
        match self.strays(&mut fleet) {
            Ok(()) => {}
            Err(ArchiveError::Store(error)) if error.kind != StoreErrorKind::Interrupted => {
                let what = format!("not all objects could be listed again: {error}");
                fleet.findings.push(Finding::new(Kind::Unread, what).at(error.url.clone()));
            }
            Err(error) => return Err(error),
        }
        let ends: HashMap<(&str, u32), u64> = fleet
            .logs
            .iter()
            .flat_map(|log| log.epochs.iter().map(|it| ((log.id.as_str(), it.epoch), it.data_end)))
            .collect();
        let data_end = |log: &LogName| {
            ids.binary_search(&log.id()).ok()?;
            Some(ends.get(&(log.id(), log.epoch())).copied().unwrap_or(0))
        };
        let look = versions::Look { bucket: self.bucket, watch: self.watch, known: &self.known };
        let (versions, acknowledged) = look.at_all(&mut fleet.findings, data_end)?;
        (fleet.versions, fleet.unused) = (versions, self.known.unused());
        fleet.acknowledged.extend(acknowledged);
        for report in &mut fleet.logs {
            fleet.acknowledged.append(&mut report.acknowledged);
        }
        for report in &mut fleet.logs {
            let mut saved = std::mem::take(&mut report.saved);
            if report.proven.is_some() {
                saved.verified = None;
            }
            fleet.state.logs.insert(report.id.clone(), saved);
        }
        Ok(fleet)
    }

    /// Whether it is the newest roster that is known of.
    fn roster(&self, fleet: &mut Fleet) {
        let Some(roster) = &self.request.roster else { return };
        let digest = leaf_hash(roster.to_string().as_bytes());
        let Roster { name, sequence, .. } = roster;
        let here = SeenRoster { name: name.clone(), sequence: *sequence, digest };
        let rosters = &self.request.state.rosters;
        let seen = rosters.iter().find(|seen| seen.name == *name);
        if let (None, Some(other)) = (seen, rosters.first()) {
            let what = format!("this roster is called {name}, and the one before {}", other.name);
            fleet.findings.push(Finding::new(Kind::RosterContradicts, what));
        }
        if let Some(seen) = seen {
            if seen.sequence > *sequence {
                let what = format!(
                    "this roster has number {sequence}, and one with number {} was used before",
                    seen.sequence
                );
                fleet.findings.push(Finding::new(Kind::RosterOld, what));
                return;
            }
            if seen.sequence == *sequence && seen.digest != digest {
                let what = format!("another roster with number {sequence} was used before");
                fleet.findings.push(Finding::new(Kind::RosterContradicts, what));
                return;
            }
        }
        fleet.state.rosters.retain(|seen| seen.name != *name);
        fleet.state.rosters.push(here);
    }

    fn expected(&self, id: &str) -> Option<&Expected> {
        self.request.roster.as_ref()?.logs.get(id)
    }

    /// The logs to look at: those that there have to be, and those that there are.
    fn ids(&self) -> BTreeSet<&str> {
        let roster = self.request.roster.iter().flat_map(|roster| roster.logs.keys());
        let kept: Vec<String> =
            self.request.against.iter().filter_map(|it| log_of(&it.1)).collect();
        let of_keys: Vec<String> =
            self.request.keys.iter().filter_map(VerifierKey::log_id).collect();
        // Without a roster there has to be what was there before.
        let has_roster = self.request.roster.is_some();
        let seen = self.request.state.logs.iter().filter(|(id, saved)| {
            !has_roster && !saved.heads.is_empty() || kept.contains(id) || of_keys.contains(id)
        });
        let there = self.inventory.logs.keys();
        let all = roster.chain(there).chain(seen.map(|(id, _)| id)).map(String::as_str);
        all.filter(|id| self.is_wanted(id)).collect()
    }

    /// An answer about nothing is none, nor is one that leaves out what was asked.
    fn nothing(&self, fleet: &mut Fleet, ids: &[&str]) {
        if ids.is_empty() {
            let what = match fleet.is_partial {
                true => "no log in the bucket or the roster is of those that were asked for",
                false => "there is no log in the bucket",
            };
            fleet.findings.push(Finding::new(Kind::LogMissing, what).at(self.bucket.place()));
        }
        for (from, note) in &self.request.against {
            let id = log_of(note);
            if !id.as_ref().is_some_and(|id| ids.contains(&id.as_str())) {
                let what = "this checkpoint was compared with nothing: its log is not among those \
                            that were checked";
                fleet.findings.push(Finding::new(Kind::Unread, what).at(from.clone()));
            }
        }
    }

    fn is_wanted(&self, id: &str) -> bool {
        let Request { logs, hosts, .. } = self.request;
        let of_log = logs.is_empty() || logs.iter().any(|begin| id.starts_with(begin.as_str()));
        let listed = self.inventory.logs.get(id).into_iter().flat_map(|it| &it.hosts);
        let expected = self.expected(id).into_iter().flat_map(|it| &it.hosts);
        let mut names = listed.chain(expected);
        let of_host =
            hosts.is_empty() || names.any(|name| hosts.iter().any(|host| host == name.as_str()));
        of_log && of_host
    }

    /// Some logs at once; the reports in the order of their ids, and what their records say put
    /// together, so that it does not grow with the logs.
    fn in_parallel(&self, ids: &[&str]) -> Result<(Vec<LogReport>, Activity), ArchiveError> {
        let done = Mutex::new((BTreeMap::new(), Activity::default()));
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..self.request.jobs.clamp(1, 64).min(ids.len().max(1)) {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(id) = ids.get(at) else { return };
                        match self.one(id) {
                            Ok(mut report) => {
                                let activity = report.hand_over();
                                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                                activity.into_iter().for_each(|it| done.1.merge(it));
                                done.0.insert(at, report);
                            }
                            Err(error) => {
                                let mut failed =
                                    failed.lock().unwrap_or_else(PoisonError::into_inner);
                                failed.get_or_insert(error);
                                next.store(ids.len(), Ordering::Relaxed);
                                return;
                            }
                        }
                    }
                });
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => {
                let (done, activity) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
                Ok((done.into_values().collect(), activity))
            }
        }
    }

    /// One log, whose objects may be anybody's: a check that panics is one that found nothing out,
    /// and the other logs are checked all the same.
    fn one(&self, id: &str) -> Result<LogReport, ArchiveError> {
        let checked = panic::catch_unwind(AssertUnwindSafe(|| self.log(id)));
        checked.unwrap_or_else(|panicked| {
            let text = panicked.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panicked.downcast_ref::<&str>().copied());
            let text: String = text.unwrap_or("without a word").chars().take(MOST_TOLD).collect();
            let what = format!(
                "the check of this log ended with a fault of auditctl itself ({text}); please \
                 report it, with a copy of the log's objects"
            );
            let finding = Finding::new(Kind::Unread, what).of(id);
            let saved = self.request.state.logs.get(id).cloned().unwrap_or_default();
            let id = id.to_owned();
            Ok(LogReport { id, findings: vec![finding], saved, ..LogReport::default() })
        })
    }

    fn log(&self, id: &str) -> Result<LogReport, ArchiveError> {
        let expected = self.expected(id);
        let of_id = |key: &&VerifierKey| key.log_id().as_deref() == Some(id);
        let named = self.request.keys.iter().find(of_id);
        let against = self.request.against.iter();
        let listed = self.inventory.logs.get(id);
        let subject = Subject {
            id,
            expected,
            believed: expected.map(|it| &it.key).or(named),
            listed,
            saved: self.request.state.logs.get(id),
            skips: !self.request.full && self.request.trusts_times,
            against: against.filter(|it| log_of(&it.1).as_deref() == Some(id)).cloned().collect(),
        };
        if listed.is_none() {
            return Ok(self.missing(id, expected));
        }
        let Run { now, sums, known, watch, .. } = self;
        let store = Arc::clone(&self.bucket.0);
        let bucket = &Bucket(Arc::new(Budget::new(store, self.request.most)));
        let counts = self.request.activity;
        let check =
            Check { bucket, subject: &subject, now: *now, sums, known, counts, watch: *watch };
        let mut report = match check.run() {
            Ok(report) => report,
            Err(error) => not_read(id, &subject, unread(error)?),
        };
        let unknown = self.request.roster.is_some() && expected.is_none();
        if unknown {
            let key = report.keys.last().map_or("none that can be read", String::as_str);
            let what = format!("the roster does not have this log; its key is {key}");
            report.findings.push(Finding::new(Kind::LogUnknown, what).of(id));
        }
        self.silent(&mut report, expected);
        Ok(report)
    }

    fn missing(&self, id: &str, expected: Option<&Expected>) -> LogReport {
        let hosts = expected.into_iter().flat_map(|it| &it.hosts);
        let hosts: Vec<String> = hosts.map(|host| host.as_str().to_owned()).collect();
        let of = if hosts.is_empty() { String::new() } else { format!(" of {}", hosts.join(", ")) };
        let what = format!("there is nothing of log {id}{of} in the bucket");
        let saved = self.request.state.logs.get(id).cloned().unwrap_or_default();
        let findings = vec![Finding::new(Kind::LogMissing, what).of(id)];
        LogReport { id: id.to_owned(), hosts, findings, saved, ..LogReport::default() }
    }

    /// Whether there is nothing new for too long, by the store's clock.
    fn silent(&self, report: &mut LogReport, expected: Option<&Expected>) {
        let after = match expected.map_or(Silence::Unsaid, |it| it.silent_after) {
            Silence::Never => return,
            Silence::After(after) => Some(after),
            Silence::Unsaid => self.request.silent_after,
        };
        let Some(after) = after else { return };
        let Some(now) = self.now else {
            let what = "the store does not say what time it is: silence cannot be judged";
            let finding = Finding::new(Kind::Silent, what).of(&report.id);
            report.findings.push(finding.as_bad_as(Severity::Warning));
            return;
        };
        // Who puts the same object again makes it newer, but not what was signed.
        let put = report.newest_put.map(|put| report.last_accepted.map_or(put, |it| it.min(put)));
        let Some(put) = put else {
            if !report.findings.iter().any(|it| it.severity == Severity::Bad) {
                let what = "nothing that it shipped says when";
                report.findings.push(Finding::new(Kind::Silent, what).of(&report.id));
            }
            return;
        };
        let age = now.micros().saturating_sub(put.micros());
        let age = Duration::from_micros(u64::try_from(age).unwrap_or_default());
        if age > after {
            let what = format!(
                "the newest that it shipped is {} old by the store's clock: of {put}",
                crate::units::format_duration(Duration::from_secs(age.as_secs()))
            );
            report.findings.push(Finding::new(Kind::Silent, what).of(&report.id));
        }
    }
}

/// A log that could not be checked; what is kept of it stays.
fn not_read(id: &str, subject: &Subject<'_>, finding: Finding) -> LogReport {
    LogReport {
        id: id.to_owned(),
        findings: vec![finding.of(id)],
        saved: subject.saved.cloned().unwrap_or_default(),
        ..LogReport::default()
    }
}

/// The log that a checkpoint says it is of.
fn log_of(note: &SignedCheckpoint) -> Option<String> {
    let origin: Origin = note.unverified().origin.parse().ok()?;
    Some(origin.log_id().to_owned())
}
