//! A build that cannot ask witnesses.

use std::sync::Arc;

use crate::audit::AuditLog;
use crate::cli::exit::{CliError, Exit};
use crate::config::Settings;

/// None.
#[derive(Default)]
pub(in crate::cli::commands::serve) struct Witnesses;

impl Witnesses {
    /// A policy is more than this build can follow.
    pub(in crate::cli::commands::serve) fn check(settings: &Settings) -> Result<(), CliError> {
        if settings.witness.policy.is_none() {
            return Ok(());
        }
        let text = "witness.policy is set, and this build cannot ask witnesses";
        Err(CliError::new("config", Exit::Usage, text)
            .hint("use a build with the feature `witness`; `auditctl --version` lists features"))
    }

    #[allow(clippy::unnecessary_wraps, clippy::unused_self)]
    pub(in crate::cli::commands::serve) fn start(
        &self,
        _log: &AuditLog,
        _settings: &Settings,
        _warn: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Result<(), String> {
        Ok(())
    }

    #[allow(clippy::unused_self)]
    pub(in crate::cli::commands::serve) fn stop(&self) {}
}
