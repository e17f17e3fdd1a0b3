//! The thread that reads on in the log and finds what triggers alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::notice::Notice;
use super::occurrence::Occurrence;
use super::plan::Plan;
use super::position;
use super::shared::Shared;
use super::state::{Change, Memory};
use super::store::PutBack;
use super::trigger::{Moment, SILENT_TYPES};
use crate::audit::read::query::{Answer, Filter, Lines, Order, Query, Request, Want};
use crate::audit::state::status::Word;
use crate::audit::write::own_files::{Incident, OwnFile, Patience};
use crate::audit::{Durability, LogPaths};
use crate::clock::Timestamp;
use crate::fsio;

/// What comes in meanwhile is looked at together.
const TOGETHER: Duration = Duration::from_millis(50);
/// How long it is waited for records at a time.
const WAIT: Duration = Duration::from_millis(250);
/// After a failure.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// The cursor is stored at least so often while records come in.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// The status is written at most so often.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// A record about losses is written at most so often.
const LOSSES_EVERY: Duration = Duration::from_secs(60);
/// How far alerts are is recorded after so many deliveries: without the journal, no
/// more than these are told again.
const POSITION_AFTER: u64 = 100;
/// And so often, when there was anything to look at: before retention removes it.
const POSITION_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// But not more often than this.
const POSITION_PAUSE: Duration = Duration::from_secs(60);

pub(super) fn run(shared: &Shared) {
    let mut follower = Follower {
        shared,
        saved: Instant::now(),
        told: None,
        lost: None,
        failing: false,
        watched: Watched::default(),
        recorded: (Instant::now(), 0),
        health: BTreeMap::new(),
        plan: Arc::clone(&shared.store.lock().plan),
    };
    loop {
        let stopping = shared.store.lock().stop_at.is_some();
        let looked = follower.catch_up();
        follower.upkeep(stopping);
        if stopping {
            break;
        }
        if looked.is_err() {
            std::thread::sleep(TRY_AGAIN);
            continue;
        }
        let cursor = shared.store.lock().state.cursor.unwrap_or_default();
        let progress = shared.log.wait_progress(cursor, WAIT);
        if progress.acked_seq > cursor {
            std::thread::sleep(TOGETHER);
        }
    }
    shared.store.lock().followed = true;
    shared.store.tell();
}

struct Follower<'a> {
    shared: &'a Shared,
    saved: Instant,
    /// When the status was written last.
    told: Option<Instant>,
    /// When losses were recorded last.
    lost: Option<Instant>,
    failing: bool,
    watched: Watched,
    /// When a position was recorded last, and how many deliveries were settled then.
    recorded: (Instant, u64),
    /// By which rules.
    plan: Arc<Plan>,
    /// How many alerts about health waited when a position was recorded last.
    health: BTreeMap<String, u64>,
}

/// The journal's file, as it is looked after.
#[derive(Default)]
struct Watched {
    /// It is told that it is gone.
    gone: bool,
    patience: Patience,
}

impl Follower<'_> {
    /// Looks at all that is there. An error has been told.
    fn catch_up(&mut self) -> Result<(), ()> {
        let mut more = true;
        while more {
            more = self.look().map_err(|reason| {
                if !std::mem::replace(&mut self.failing, true) {
                    let text = format!("alerts: {reason}; trying again");
                    (self.shared.warn)(&Notice::NotLooking.says(&text));
                }
            })?;
        }
        if std::mem::take(&mut self.failing) {
            (self.shared.warn)(&Notice::LookingAgain.says("alerts: reading records works again"));
        }
        Ok(())
    }

    /// Looks at the next page; whether there is more.
    fn look(&mut self) -> Result<bool, String> {
        let shared = self.shared;
        let end = durable(shared);
        let cursor = {
            let mut inner = shared.store.lock();
            let cursor = inner.state.cursor.unwrap_or_default();
            if end <= cursor {
                return Ok(false);
            }
            if inner.plan.rules.iter().all(|rule| rule.filter().is_none()) {
                // Nobody wants to know: not read at all.
                inner.note(&Change { cursor: Some(end), ..Change::default() });
                return Ok(false);
            }
            cursor
        };
        let query = Query {
            filter: Filter::default().within(cursor, u64::MAX),
            want: Want::Records { order: Order::Oldest, limit: u64::MAX },
        };
        let answer = shared.log.read_on(&query).map_err(|error| error.to_string())?;
        if answer.begin > cursor {
            let last = answer.begin - 1;
            let text = format!(
                "alerts: retention removed records {cursor} to {last} before alerts examined them"
            );
            (shared.warn)(&Notice::Missed.says(&text));
        }
        if !answer.damaged.is_empty() {
            let what = answer.damaged.join("; ");
            let text = format!("alerts: cannot examine some records: {what}");
            (shared.warn)(&Notice::Missed.says(&text));
        }
        let rest = answer.rest(&query);
        let next = rest.as_ref().map_or(answer.end.max(cursor), |rest| rest.filter.first_seq());
        self.judge(&answer, next)?;
        Ok(rest.is_some())
    }

    /// Finds what triggers, and stores it together with how far that is.
    fn judge(&mut self, answer: &Answer, next: u64) -> Result<(), String> {
        let mut inner = self.shared.store.lock();
        let plan = Arc::clone(&inner.plan);
        let found = triggered(
            &plan,
            answer.lines(),
            &inner.state.alerts,
            (&self.shared.moment(), &self.shared.prefix),
        );
        let mut change = Change { cursor: Some(next), alerts: found.alerts, ..Change::default() };
        let mut dropped: Vec<Occurrence> = Vec::new();
        for occurrence in found.occurrences {
            if inner.has_room(&plan.limits, &change.add, &occurrence) {
                change.add.push(occurrence);
            } else {
                dropped.push(occurrence);
            }
        }
        for lost in &dropped {
            let memory = change.alerts.entry(lost.alert.clone()).or_default();
            memory.lose(&lost.alert, lost.at, "queue_full");
        }
        if change.is_news() || !dropped.is_empty() || self.saved.elapsed() >= SAVE_EVERY {
            inner.commit(&change).map_err(|error| error.to_string())?;
            self.saved = Instant::now();
        } else {
            inner.note(&change);
        }
        for (alert, count) in found.suppressed {
            inner.count(&alert).suppressed += count;
        }
        for lost in &dropped {
            inner.count(&lost.alert).dropped += 1;
        }
        drop(inner);
        self.shared.store.tell();
        Ok(())
    }

    fn upkeep(&mut self, stopping: bool) {
        self.look_after_journal();
        self.record_losses(stopping);
        self.record_position();
        let shared = self.shared;
        if stopping || self.saved.elapsed() >= SAVE_EVERY {
            // What cannot be stored now is kept, and was told when it was new.
            let _ = shared.store.lock().flush();
            self.saved = Instant::now();
        }
        if stopping || self.told.is_none_or(|told| told.elapsed() >= STATUS_EVERY) {
            publish(shared);
            self.told = Some(Instant::now());
        }
    }

    /// Whether the journal's name leads to what was written; if not, it is put back
    /// from memory, where all of it is.
    fn look_after_journal(&mut self) {
        let shared = self.shared;
        if !self.watched.patience.is_over() || !shared.log.is_at_home() {
            return;
        }
        let stamp = shared.clock.now().file_stamp();
        let missed = shared.store.lock().look_after_journal(&stamp);
        let file = OwnFile::AlertsJournal;
        let Some(PutBack { what, outcome }) = missed else {
            if std::mem::take(&mut self.watched.gone) {
                shared.log.own_file_is_back(file);
            }
            return;
        };
        self.watched.patience.tries(self.watched.gone);
        match outcome {
            Ok(set_aside) => {
                if std::mem::take(&mut self.watched.gone) {
                    shared.log.own_file_is_back(file);
                } else {
                    shared.log.record_own_file(file, &Incident { what, set_aside, failed: None });
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.watched.gone, true) {
                    let failed = Some(error.to_string());
                    shared.log.record_own_file(file, &Incident { what, set_aside: None, failed });
                }
            }
        }
    }

    /// How far alerts are becomes a record of the log itself, from time to time and
    /// when other rules begin.
    fn record_position(&mut self) {
        let (plan, settled, health) = {
            let inner = self.shared.store.lock();
            (Arc::clone(&inner.plan), inner.settled(), position::of(&inner.state).health)
        };
        let (since, before) = (self.recorded.0.elapsed(), self.recorded.1);
        let other_rules = !Arc::ptr_eq(&plan, &self.plan);
        let many = settled - before >= POSITION_AFTER && since >= POSITION_PAUSE;
        // No record triggers these again: only what the log says of them is known later.
        let more = |(alert, count): (&String, &u64)| self.health.get(alert) < Some(count);
        let about_health = health.iter().any(more);
        if (other_rules || many || about_health || since >= POSITION_EVERY)
            && record_position(self.shared)
        {
            self.recorded = (Instant::now(), settled);
            self.plan = plan;
            self.health = health;
        } else {
            // Delivered ones need no record, and later ones count from there.
            self.health.retain(|alert, count| {
                *count = health.get(alert).copied().unwrap_or_default().min(*count);
                *count > 0
            });
        }
    }

    /// Losses become records of the log itself: nothing is lost silently.
    fn record_losses(&mut self, stopping: bool) {
        if !stopping && self.lost.is_some_and(|lost| lost.elapsed() < LOSSES_EVERY) {
            return;
        }
        let losses: Vec<_> = {
            let inner = self.shared.store.lock();
            inner.state.alerts.values().flat_map(|memory| memory.lost.clone()).collect()
        };
        for lost in losses {
            self.lost = Some(Instant::now());
            if self.shared.log.record_alerts_lost(lost.clone()).wait().is_err() {
                return;
            }
            let mut inner = self.shared.store.lock();
            let mut memory = inner.state.alerts.get(&lost.alert).cloned().unwrap_or_default();
            // More may have come meanwhile; those stay.
            for other in memory.lost.iter_mut().filter(|other| other.reason == lost.reason) {
                other.count -= lost.count;
                other.first = lost.last;
            }
            memory.lost.retain(|other| other.count > 0);
            let alerts = BTreeMap::from([(lost.alert.clone(), memory)]);
            let _ = inner.settle(&Change { alerts, ..Change::default() });
        }
    }
}

/// Records how far alerts are, durably; false when that cannot be done now. The
/// journal says as much before: one that says less is an older one.
pub(super) fn record_position(shared: &Shared) -> bool {
    let position = {
        let mut inner = shared.store.lock();
        if inner.flush().is_err() {
            return false;
        }
        position::of(&inner.state)
    };
    shared.log.record_alerts_position(position).wait_durable().is_ok()
}

/// Records below this are durable: only of those anybody is told.
fn durable(shared: &Shared) -> u64 {
    match shared.log.options().durability {
        Durability::Commit => shared.log.acked_seq(),
        Durability::Interval => shared.log.page().get(Word::DurableSeq),
    }
}

/// Writes the status, if it has changed.
pub(super) fn publish(shared: &Shared) {
    let Some(status) = shared.store.lock().news(shared.clock.now()) else { return };
    let options = shared.log.options();
    let path = LogPaths::new(&options.dir).alerts_status();
    // Only for those who look; the next one is tried anyway.
    let _ = status
        .to_bytes()
        .map_err(std::io::Error::other)
        .and_then(|bytes| fsio::replace_file(&*options.fs, &path, &bytes));
}

#[derive(Default)]
struct Triggered {
    occurrences: Vec<Occurrence>,
    /// What those alerts remember from now on that saw something.
    alerts: BTreeMap<String, Memory>,
    suppressed: BTreeMap<String, u64>,
}

/// What the lines trigger, in their order.
fn triggered(
    plan: &Plan,
    lines: Option<&Lines>,
    memories: &BTreeMap<String, Memory>,
    (now, prefix): (&Moment, &str),
) -> Triggered {
    let mut found = Triggered::default();
    let Some(lines) = lines else { return found };
    let all: Vec<&[u8]> = lines.iter().collect();
    let own: BTreeSet<usize> = lines.matching(&about_alerts()).into_iter().collect();
    for rule in &plan.rules {
        let Some(filter) = rule.filter() else { continue };
        let hits = lines.matching(filter);
        if hits.is_empty() {
            continue;
        }
        let mut memory = memories.get(&rule.name).cloned().unwrap_or_default();
        let before = memory.suppressed;
        let mut told = 0;
        for at in hits.into_iter().filter(|at| !own.contains(at)) {
            if let Some(occurrence) = rule.record(&mut memory, all[at], (now, prefix)) {
                told += occurrence.suppressed.map_or(0, |held| held.count);
                found.occurrences.push(occurrence);
            }
        }
        let held = memory.suppressed + told - before;
        found.suppressed.insert(rule.name.clone(), held);
        found.alerts.insert(rule.name.clone(), memory);
    }
    found
}

fn about_alerts() -> Filter {
    let request =
        Request { event_type: SILENT_TYPES.map(str::to_owned).to_vec(), ..Request::default() };
    let query = request.resolve(Timestamp::default());
    query.map(|query| query.filter).unwrap_or_default()
}
