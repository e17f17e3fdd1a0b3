//! Alerts from inside of a service: webhooks, chat and e-mail, as the settings say.

use std::sync::Arc;
use std::time::Duration;

pub use crate::alerts::{AlertsError, PlanError, PlanErrors};

use crate::alerts::guard::SystemLookup;
use crate::alerts::{Alerts, Health, HealthCheck, Plan};
use crate::audit::AuditLog;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::fsio::OsFs;
use crate::health::{self, Check, HealthReport, Status};

/// Why no alerts are sent.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum AlertingError {
    /// The settings of an alert cannot be used.
    #[error(transparent)]
    Settings(#[from] PlanErrors),
    /// The alerts could not be started.
    #[error(transparent)]
    Start(#[from] AlertsError),
}

/// Alerts that run beside a log, in threads of their own. What waits for its delivery survives
/// a crash and a restart. Dropping this does not end the threads: call [`stop`](Self::stop)
/// before you close the log.
#[derive(Debug)]
pub struct Alerting(Alerts);

impl Alerting {
    /// Begins to send the alerts of `settings.alerts`: about records of `log`, and about its
    /// health. `warn` is told what an operator should know.
    ///
    /// # Errors
    /// See [`AlertingError`].
    pub fn start(
        log: &AuditLog,
        settings: &Settings,
        warn: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, AlertingError> {
        let plan = Plan::new(settings, &OsFs, Arc::new(SystemLookup))?;
        let settings = settings.clone();
        let probe = move || seen(&health::check(&settings, &OsFs, &SystemClock).report);
        Ok(Self(Alerts::start(log.clone(), plan, Arc::new(probe), Arc::new(warn))?))
    }

    /// Delivers what it can within `drain`, and keeps the rest for the next start. Call it before
    /// you close the log.
    pub fn stop(&self, drain: Duration) {
        self.0.stop(drain);
    }
}

/// Health in the words of alerts.
pub(crate) fn seen(report: &HealthReport) -> Health {
    let check = |check: &Check| HealthCheck {
        component: check.component.to_owned(),
        status: check.status.as_str().to_owned(),
        code: check.code().map(str::to_owned),
        message: check.message.clone(),
        hint: check.hint.clone().filter(|_| check.status != Status::Healthy),
    };
    Health {
        status: report.status.as_str().to_owned(),
        checks: report.checks.iter().map(check).collect(),
    }
}
