//! A build that delivers alerts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::alerts::guard::SystemLookup;
use crate::alerts::{Alerts, Plan, PlanErrors, Probe, PushTarget, Warn};
use crate::audit::AuditLog;
use crate::audit::state::security::SecurityKind;
use crate::cli::exit::{CliError, Exit};
use crate::clock::SystemClock;
use crate::collector::PushUrl;
use crate::config::Settings;
use crate::embed::alerting::seen;
use crate::fsio::OsFs;
use crate::health;

/// So long deliveries go on after a signal to end.
const DRAIN: Duration = Duration::from_secs(3);

/// Alerts, running or not: there may be none yet.
pub(in crate::cli::commands::serve) struct Alerting {
    running: Mutex<Option<Alerts>>,
    probe: Arc<Probe>,
    warn: Arc<Warn>,
}

impl Alerting {
    /// `settings` are those of the moment.
    pub(in crate::cli::commands::serve) fn new(
        settings: impl Fn() -> Settings + Send + Sync + 'static,
        warn: Arc<Warn>,
    ) -> Self {
        let probe = move || seen(&health::check(&settings(), &OsFs, &SystemClock).report);
        Self { running: Mutex::new(None), probe: Arc::new(probe), warn }
    }

    fn running(&self) -> MutexGuard<'_, Option<Alerts>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the settings good, or says what is wrong with them.
    pub(in crate::cli::commands::serve) fn check(settings: &Settings) -> Result<(), CliError> {
        plan(settings).map(drop).map_err(|error| wrong(&error))
    }

    /// Where checkpoints are pushed to over the network.
    pub(in crate::cli::commands::serve) fn push_url(
        settings: &Settings,
    ) -> Result<Option<PushUrl>, CliError> {
        let collector = &settings.collector;
        let Some(url) = &collector.checkpoint_push_url else { return Ok(None) };
        let secret = collector.checkpoint_push_secret_file.as_deref();
        let target = PushTarget::new(settings, (url, secret), &OsFs, Arc::new(SystemLookup))
            .map_err(|error| wrong(&error))?;
        let shown = target.to_string();
        let post = move |log: &AuditLog, id: String, note: &str| {
            target.push(id, note, &SystemClock).map_err(|error| {
                if error.refused {
                    let security = log.security();
                    let who = Some("checkpoint_push_url");
                    security.report(SecurityKind::TargetRefused, who, &error.reason);
                }
                error.reason
            })
        };
        Ok(Some(PushUrl { shown, post: Arc::new(post) }))
    }

    /// Begins, where there is something to tell; or goes on by these settings, or
    /// as before and says why.
    pub(in crate::cli::commands::serve) fn go_on(
        &self,
        log: &AuditLog,
        settings: &Settings,
    ) -> Result<(), String> {
        let plan = plan(settings).map_err(|errors| {
            for error in errors.0.iter().filter(|error| error.refused) {
                let security = log.security();
                security.report(SecurityKind::TargetRefused, Some(&error.what), &error.reason);
            }
            errors.to_string()
        })?;
        let mut running = self.running();
        match &*running {
            Some(alerts) => alerts.reload(plan).map_err(|error| error.to_string()),
            None if plan.is_empty() => Ok(()),
            None => {
                let (probe, warn) = (Arc::clone(&self.probe), Arc::clone(&self.warn));
                let alerts = Alerts::start(log.clone(), plan, probe, warn);
                *running = Some(alerts.map_err(|error| error.to_string())?);
                Ok(())
            }
        }
    }

    /// Ends; what is not delivered by then waits for the next start.
    pub(in crate::cli::commands::serve) fn stop(&self) {
        if let Some(alerts) = self.running().take() {
            alerts.stop(DRAIN);
        }
    }
}

fn plan(settings: &Settings) -> Result<Plan, PlanErrors> {
    Plan::new(settings, &OsFs, Arc::new(SystemLookup))
}

fn wrong(errors: &PlanErrors) -> CliError {
    CliError::new("alerts", Exit::Usage, errors.to_string())
}
