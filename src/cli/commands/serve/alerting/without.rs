//! A build without alerts: it says so where they are set.

use std::sync::Arc;

use crate::audit::AuditLog;
use crate::cli::exit::{CliError, Exit};
use crate::collector::PushUrl;
use crate::config::Settings;

const REASON: &str = "this auditctl is built without the feature \"alerts\"";

/// Nothing.
pub(in crate::cli::commands::serve) struct Alerting;

impl Alerting {
    pub(in crate::cli::commands::serve) fn new(
        _: impl Fn() -> Settings + Send + Sync + 'static,
        _: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Self {
        Self
    }

    pub(in crate::cli::commands::serve) fn check(settings: &Settings) -> Result<(), CliError> {
        none_are_set(settings).map_err(|reason| CliError::new("alerts", Exit::Usage, reason))
    }

    pub(in crate::cli::commands::serve) fn push_url(
        settings: &Settings,
    ) -> Result<Option<PushUrl>, CliError> {
        match settings.collector.checkpoint_push_url {
            None => Ok(None),
            Some(_) => {
                let origin = settings.origin("collector.checkpoint_push_url");
                let text = format!("{origin}: collector.checkpoint_push_url: {REASON}");
                Err(CliError::new("alerts", Exit::Usage, text))
            }
        }
    }

    pub(in crate::cli::commands::serve) fn go_on(
        &self,
        _: &AuditLog,
        settings: &Settings,
    ) -> Result<(), String> {
        none_are_set(settings)
    }

    pub(in crate::cli::commands::serve) fn stop(&self) {}
}

fn none_are_set(settings: &Settings) -> Result<(), String> {
    match settings.alerts.first() {
        None => Ok(()),
        Some(alert) => {
            Err(format!("{}: [[alerts]] {:?}: {REASON}", alert.origin("name"), alert.name))
        }
    }
}
