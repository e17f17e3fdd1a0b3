//! Starting, changing and stopping all of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::journal::{Found, Journal, JournalError, Missed, Place};
use super::notice::Notice;
use super::payload::Sender;
use super::plan::Plan;
use super::position::{self, Known};
use super::route::host_name;
use super::shared::{Living, Shared, Warn};
use super::state::{Change, Failed, State};
use super::store::Store;
use super::watch::Probe;
use super::{courier, follow, watch};
use crate::audit::tree::document::Kind;
use crate::audit::write::own_files::{Incident, OwnFile};
use crate::audit::{AuditLog, LogPaths};
use crate::fsio::boot::boot_id;

/// Deliveries that are on their way when everything stops are waited for, at most.
const LAST_DELIVERIES: Duration = Duration::from_secs(15);

/// Why alerts cannot run.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum AlertsError {
    /// The journal cannot be used.
    #[error("alerts: {0}")]
    Journal(#[from] JournalError),
    /// How far they are is not known, or cannot be recorded.
    #[error("alerts: {0}")]
    Position(String),
    /// A thread cannot be started.
    #[error("alerts: cannot start: {0}")]
    Thread(#[from] std::io::Error),
}

/// Alerts that run beside a log.
#[derive(Debug)]
pub struct Alerts(Arc<Shared>);

impl Alerts {
    /// Begins to look at records: where the journal says, or the log where that is
    /// lost, and the first time at the log's end. `probe` tells how health is, `warn` an operator what to know.
    ///
    /// # Errors
    /// See [`AlertsError`].
    pub fn start(
        log: AuditLog,
        plan: Plan,
        probe: Arc<Probe>,
        warn: Arc<Warn>,
    ) -> Result<Self, AlertsError> {
        let clock = Arc::clone(&log.options().clock);
        let (journal, begun) = journal_of(&log, &plan)?;
        let epoch = log.manifest().epoch;
        let prefix = match epoch {
            0 => log.log_id().to_owned(),
            epoch => format!("{}/e{epoch}", log.log_id()),
        };
        let sender = Sender { host: host_name(), log_id: log.log_id().to_owned() };
        let store = Store::new(begun.state.clone(), journal, Arc::new(plan));
        let boot = boot_id(&*log.options().fs);
        let shared = Arc::new(Shared { store, log, sender, prefix, clock, boot, warn });
        begin(&shared, begun)?;
        let follower = Arc::clone(&shared);
        spawn(&shared, "alerts-follow", move || follow::run(&follower))?;
        let watcher = Arc::clone(&shared);
        spawn(&shared, "alerts-health", move || watch::run(&watcher, &*probe))?;
        let alerts = Self(shared);
        alerts.start_couriers()?;
        Ok(alerts)
    }

    /// Goes on by other settings. What waits for alerts that are gone has failed.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn reload(&self, plan: Plan) -> Result<(), AlertsError> {
        self.0.store.lock().plan = Arc::new(plan);
        self.0.store.tell();
        self.start_couriers()
    }

    /// One for each alert, and for each that has something waiting.
    fn start_couriers(&self) -> Result<(), AlertsError> {
        let names: Vec<String> = {
            let mut inner = self.0.store.lock();
            let waiting: Vec<String> = inner.state.waiting.keys().cloned().collect();
            let names = inner.plan.routes.keys().cloned().chain(waiting);
            let names: Vec<String> = names.filter(|name| !inner.couriers.contains(name)).collect();
            let new = names.into_iter().filter(|name| inner.couriers.insert(name.clone()));
            new.collect()
        };
        for name in names {
            let shared = Arc::clone(&self.0);
            spawn(&self.0, "alerts-courier", move || courier::run(&shared, &name))?;
        }
        Ok(())
    }

    /// Looks at the last records, delivers what can be delivered within `drain`
    /// and stores the rest. To be called before the log is closed.
    pub fn stop(&self, drain: Duration) {
        let store = &self.0.store;
        let mut inner = store.lock();
        let stop_at = Instant::now() + drain;
        inner.stop_at = Some(stop_at);
        store.tell();
        let until = stop_at + LAST_DELIVERIES;
        while inner.threads > 0 && Instant::now() < until {
            inner = store.wait(inner, until.saturating_duration_since(Instant::now()));
        }
        let stored = inner.flush();
        drop(inner);
        // What waits then is known to be missing from a journal that lacks it.
        follow::record_position(&self.0);
        if let Err(error) = stored {
            let text = format!("alerts: {error}; the last deliveries may be repeated");
            (self.0.warn)(&Notice::NotNoted.says(&text));
        }
        follow::publish(&self.0);
    }
}

/// What alerts begin with.
struct Begun {
    state: State,
    missed: Option<Missed>,
    /// How far alerts were, as the log says it.
    known: Option<Known>,
}

fn journal_of(log: &AuditLog, plan: &Plan) -> Result<(Journal, Begun), AlertsError> {
    let options = log.options();
    let known = position::newest(log).map_err(AlertsError::Position)?;
    let place = Place {
        fs: Arc::clone(&options.fs),
        path: LogPaths::new(&options.dir).alerts_journal(),
        log_id: log.log_id().to_owned(),
        seal: Box::new(log.seals(Kind::ALERTS_JOURNAL)?),
        limit: plan.limits.journal_bytes(),
    };
    let Found { journal, state, missed } = Journal::open(place, &options.clock.now().file_stamp())?;
    Ok((journal, Begun { state, missed, known }))
}

/// Where to look from, and what is told of a journal that is not as it should be.
///
/// The first time alerts begin at the log's end. After that the journal says where
/// they go on, and where it says nothing, or less than the log knows, the log does.
fn begin(shared: &Shared, begun: Begun) -> Result<(), AlertsError> {
    let Begun { state, missed, known } = begun;
    let end = shared.log.acked_seq();
    let settled_to = known.as_ref().map(|known| known.position.settled_to.min(end));
    let cursor = match (state.cursor, settled_to) {
        (Some(cursor), _) if cursor <= end => cursor,
        (Some(cursor), settled_to) => {
            let from = settled_to.unwrap_or(end);
            let text = format!(
                "alerts: the log ends at record {end}, before record {cursor}, which alerts had \
                 reached; continuing at record {from}"
            );
            (shared.warn)(&Notice::Missed.says(&text));
            from
        }
        (None, Some(settled_to)) => settled_to,
        (None, None) => end,
    };
    let mut change = Change { cursor: Some(cursor), ..Change::default() };
    if let Some(missed) = missing(state.cursor, missed, known.as_ref()) {
        change = lost_with_it(shared, &state, known.as_ref(), change);
        tell(shared, missed, cursor);
    }
    shared.store.lock().commit(&change)?;
    // Durable before anybody sends anything: from here on the journal is missed.
    if !follow::record_position(shared) {
        return Err(AlertsError::Position("cannot record how far alerts have come".to_owned()));
    }
    Ok(())
}

/// Whether there should have been a journal, or a newer one.
fn missing(cursor: Option<u64>, missed: Option<Missed>, known: Option<&Known>) -> Option<Missed> {
    if let Some(missed) = missed {
        let expected = missed.what != "deleted" || known.is_some_and(|known| !known.restored);
        return expected.then_some(missed);
    }
    let known = known.filter(|known| !known.restored)?;
    let older = cursor.is_none_or(|cursor| cursor < known.position.cursor);
    older.then(|| Missed {
        what: "altered",
        why: format!("it is an older one: alerts had reached record {}", known.position.cursor),
        set_aside: None,
    })
}

/// Alerts about health that waited and that no record triggers again: so many were
/// noted, and so many are there.
fn lost_with_it(
    shared: &Shared,
    state: &State,
    known: Option<&Known>,
    mut change: Change,
) -> Change {
    let now = shared.clock.now();
    let there = position::of(state).health;
    for (alert, noted) in known.iter().flat_map(|known| &known.position.health) {
        let lost = noted.saturating_sub(there.get(alert).copied().unwrap_or_default());
        if lost == 0 {
            continue;
        }
        let mut memory = state.alerts.get(alert).cloned().unwrap_or_default();
        (0..lost).for_each(|_| memory.lose(alert, now, "journal_lost"));
        change.alerts.insert(alert.clone(), memory);
        change.failed.push(Failed {
            id: format!("{}/{alert}/health", shared.prefix),
            alert: alert.clone(),
            at: now,
            reason: format!("{lost} about health were lost with the journal of alerts"),
        });
        shared.store.lock().count(alert).failed += lost;
    }
    change
}

/// In the log, to an operator, and in health.
fn tell(shared: &Shared, missed: Missed, cursor: u64) {
    let Missed { what, why, set_aside } = missed;
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    let aside = set_aside.as_ref().map_or_else(String::new, |name| format!(", and is now {name}"));
    let text = format!(
        "alerts: audit.alerts.journal was {what}{why}{aside}. Alerts examine the records again \
         from {cursor} on, so some may come again"
    );
    (shared.warn)(&Notice::JournalSetAside.says(&text));
    let failed = format!("alerts examine the records again from {cursor} on{why}");
    let incident = Incident { what, set_aside, failed: Some(failed) };
    shared.log.record_own_file_lost(OwnFile::AlertsJournal, &incident);
}

fn spawn(
    shared: &Arc<Shared>,
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), std::io::Error> {
    let living = Living::begin(shared);
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _living = living;
        body();
    })?;
    Ok(())
}
