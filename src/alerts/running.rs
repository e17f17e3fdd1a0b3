//! Starting, changing and stopping all of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::journal::{Found, Journal, JournalError};
use super::payload::Sender;
use super::plan::{Plan, host_name};
use super::shared::{Living, Shared, Warn};
use super::state::Change;
use super::store::Store;
use super::watch::Probe;
use super::{courier, follow, watch};
use crate::audit::{AuditLog, LogPaths};

/// Deliveries that are on their way when everything stops are waited for, at most.
const LAST_DELIVERIES: Duration = Duration::from_secs(15);

/// Why alerts cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// The journal cannot be used.
    #[error("alerts: {0}")]
    Journal(#[from] JournalError),
    /// A thread cannot be started.
    #[error("alerts: no thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Alerts that run beside a log.
#[derive(Debug)]
pub struct Alerts(Arc<Shared>);

impl Alerts {
    /// Begins to look at records: where the journal says, or at the log's end where
    /// there is none. `probe` tells how health is, `warn` an operator what to know.
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
        let begun = clock.now();
        let path = LogPaths::new(&log.options().dir).alerts_journal();
        let name = (log.log_id(), &*begun.file_stamp());
        let Found { journal, state, set_aside } = Journal::open(&log.options().fs, &path, name)?;
        if let Some(aside) = set_aside {
            warn(&format!(
                "alerts: {} was damaged, or another log's, and is now {}; alerts of that time may \
                 be missing or come again",
                path.display(),
                aside.display()
            ));
        }
        let epoch = log.manifest().epoch;
        let prefix = match epoch {
            0 => log.log_id().to_owned(),
            epoch => format!("{}/e{epoch}", log.log_id()),
        };
        let sender = Sender { host: host_name(), log_id: log.log_id().to_owned() };
        let store = Store::new(state, journal, Arc::new(plan));
        let shared = Arc::new(Shared { store, log, sender, prefix, clock, begun, warn });
        begin(&shared)?;
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
        if let Err(error) = stored {
            (self.0.warn)(&format!("alerts: {error}; the last of it may be done once more"));
        }
        follow::publish(&self.0);
    }
}

/// Where to look from: the first time at the end, and not beyond it after a restore.
fn begin(shared: &Shared) -> Result<(), JournalError> {
    let end = shared.log.acked_seq();
    let mut inner = shared.store.lock();
    match inner.state.cursor {
        Some(cursor) if cursor <= end => return Ok(()),
        Some(cursor) => (shared.warn)(&format!(
            "alerts: the log ends at record {end}, before {cursor}, where alerts were: they go on at its end"
        )),
        None => {}
    }
    inner.commit(&Change { cursor: Some(end), ..Change::default() })
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
