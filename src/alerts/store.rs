//! The state that all threads share, and the journal behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::journal::{Journal, JournalError};
use super::occurrence::Occurrence;
use super::plan::{Limits, Plan};
use super::state::{Change, Failed, State};
use super::status::{AlertFailure, AlertStatus, AlertsStatus};
use crate::clock::Timestamp;

/// Counts of one alert since the collector started.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) retried: u64,
    pub(super) dropped: u64,
    pub(super) suppressed: u64,
    pub(super) refused: u64,
    pub(super) problem: Option<String>,
}

/// What was found of the journal's file, and what came of it.
#[derive(Debug)]
pub(super) struct PutBack {
    /// `deleted`, `replaced` or `altered`.
    pub(super) what: &'static str,
    /// Where what stood there is now; or why nothing could be put back.
    pub(super) outcome: Result<Option<String>, JournalError>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: State,
    pub(super) plan: Arc<Plan>,
    pub(super) counts: BTreeMap<String, Counts>,
    /// Alerts that a thread delivers.
    pub(super) couriers: BTreeSet<String>,
    /// Until when deliveries may go on; `None` while nobody wants to stop.
    pub(super) stop_at: Option<Instant>,
    /// The follower has looked at what there was when the stop began.
    pub(super) followed: bool,
    /// Threads that have not ended.
    pub(super) threads: usize,
    journal: Journal,
    /// Deliveries that could not be stored yet: they are not made again meanwhile.
    unsaved: Change,
    changed: bool,
}

/// The state, behind its lock.
#[derive(Debug)]
pub(super) struct Store {
    inner: Mutex<Inner>,
    news: Condvar,
}

impl Store {
    pub(super) fn new(state: State, journal: Journal, plan: Arc<Plan>) -> Self {
        let inner = Inner {
            state,
            plan,
            counts: BTreeMap::new(),
            couriers: BTreeSet::new(),
            stop_at: None,
            followed: false,
            threads: 0,
            journal,
            unsaved: Change::default(),
            changed: true,
        };
        Self { inner: Mutex::new(inner), news: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for news, at most so long.
    pub(super) fn wait<'a>(
        &self,
        inner: MutexGuard<'a, Inner>,
        timeout: Duration,
    ) -> MutexGuard<'a, Inner> {
        self.news.wait_timeout(inner, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Wakes everybody who waits.
    pub(super) fn tell(&self) {
        self.news.notify_all();
    }
}

impl Inner {
    /// Stores a change and makes it, with all that was not stored before.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub(super) fn commit(&mut self, change: &Change) -> Result<(), JournalError> {
        let mut after = self.state.clone();
        after.apply(change);
        let mut all = self.unsaved.clone();
        merge(&mut all, change);
        self.journal.append(&all, &after)?;
        self.state = after;
        self.unsaved = Change::default();
        self.changed = true;
        Ok(())
    }

    /// Makes a change that need not be stored at once: the same records would lead
    /// to it again.
    pub(super) fn note(&mut self, change: &Change) {
        self.state.apply(change);
        merge(&mut self.unsaved, change);
        self.changed = true;
    }

    /// Makes a change that has happened, whether it can be stored now or later.
    pub(super) fn settle(&mut self, change: &Change) -> Result<(), JournalError> {
        self.commit(change).inspect_err(|_| self.note(change))
    }

    /// Stores what is not stored yet.
    pub(super) fn flush(&mut self) -> Result<(), JournalError> {
        if self.unsaved.cursor.is_none()
            && !self.unsaved.is_news()
            && self.unsaved.alerts.is_empty()
        {
            return Ok(());
        }
        self.commit(&Change::default())
    }

    /// Puts the journal's file back where it is not what was written.
    pub(super) fn look_after_journal(&mut self, stamp: &str) -> Option<PutBack> {
        let what = self.journal.is_missed()?;
        let outcome = self.journal.put_back(&self.state, stamp);
        if outcome.is_ok() {
            // All of the state is in it.
            self.unsaved = Change::default();
        }
        Some(PutBack { what, outcome })
    }

    /// How many deliveries were settled since the collector started.
    pub(super) fn settled(&self) -> u64 {
        self.counts.values().map(|counts| counts.delivered + counts.failed).sum()
    }

    /// Whether there is room for one more of that alert.
    pub(super) fn has_room(&self, limits: &Limits, add: &[Occurrence], one: &Occurrence) -> bool {
        let of_alert = |other: &&Occurrence| other.alert == one.alert;
        let waiting = self.state.waiting.get(&one.alert).into_iter().flatten();
        let all: Vec<&Occurrence> =
            waiting.map(|waiting| &**waiting).chain(add.iter().filter(of_alert)).collect();
        if all.len() >= limits.queue_events {
            return false;
        }
        let bytes: usize = all.iter().map(|waiting| size(waiting)).sum();
        bytes + size(one) <= limits.queue_bytes
    }

    pub(super) fn count(&mut self, alert: &str) -> &mut Counts {
        self.changed = true;
        self.counts.entry(alert.to_owned()).or_default()
    }

    /// A delivery has failed for good.
    pub(super) fn fail(&mut self, occurrence: &Occurrence, at: Timestamp, reason: &str) -> Change {
        let mut memory = self.state.alerts.get(&occurrence.alert).cloned().unwrap_or_default();
        memory.lose(&occurrence.alert, occurrence.at, "failed");
        self.count(&occurrence.alert).failed += 1;
        let failed = Failed {
            id: occurrence.id.clone(),
            alert: occurrence.alert.clone(),
            at,
            reason: reason.to_owned(),
        };
        Change {
            alerts: BTreeMap::from([(occurrence.alert.clone(), memory)]),
            failed: vec![failed],
            ..Change::default()
        }
    }

    /// How everything is, if it is not what was said last.
    pub(super) fn news(&mut self, at: Timestamp) -> Option<AlertsStatus> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let status = |(name, route): (&String, &super::route::Route)| {
            let counts = self.counts.get(name).cloned().unwrap_or_default();
            let waiting = self.state.waiting.get(name);
            AlertStatus {
                name: name.clone(),
                kind: route.kind.name().to_owned(),
                target: route.target.to_string(),
                queued: waiting.map_or(0, |waiting| waiting.len() as u64),
                delivered: counts.delivered,
                failed: counts.failed,
                retried: counts.retried,
                dropped: counts.dropped,
                suppressed: counts.suppressed,
                refused: counts.refused,
                oldest: waiting.and_then(|waiting| waiting.front()).map(|oldest| oldest.at),
                problem: counts.problem,
            }
        };
        let failures = self.state.failed.iter().rev().take(SHOWN_FAILURES);
        Some(AlertsStatus {
            at,
            pid: std::process::id(),
            cursor: self.state.cursor.unwrap_or_default(),
            capacity: self.plan.limits.queue_events as u64,
            alerts: self.plan.routes.iter().map(status).collect(),
            failures: failures.map(shown).collect(),
        })
    }
}

fn shown(failed: &Failed) -> AlertFailure {
    AlertFailure { at: failed.at, id: failed.id.clone(), reason: failed.reason.clone() }
}

/// Failures that the status tells.
const SHOWN_FAILURES: usize = 20;

/// About what one takes in memory, and in the journal.
fn size(occurrence: &Occurrence) -> usize {
    const REST: usize = 512;
    let checks = occurrence.health.iter().flat_map(|health| &health.checks);
    let checks: usize = checks.map(|check| check.message.len() + 64).sum();
    REST + checks + occurrence.record.as_ref().map_or(0, |record| record.get().len())
}

/// Both changes, one after the other, as one.
fn merge(all: &mut Change, next: &Change) {
    all.cursor = next.cursor.or(all.cursor);
    all.alerts.extend(next.alerts.clone());
    all.add.extend(next.add.iter().cloned());
    all.delivered.extend(next.delivered.iter().cloned());
    all.failed.extend(next.failed.iter().cloned());
}
