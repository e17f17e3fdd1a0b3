//! A build that asks witnesses.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::audit::AuditLog;
use crate::audit::keys::policy::{MAX_POLICY_BYTES, Policy};
use crate::cli::exit::{CliError, Exit};
use crate::config::Settings;
use crate::fsio::{Fs, OsFs};
use crate::witness::{Client, ClientOptions};

/// The witnesses of the settings, asked or not: there may be none.
#[derive(Default)]
pub(in crate::cli::commands::serve) struct Witnesses(Mutex<Option<Client>>);

impl Witnesses {
    /// Finds the policy good, or says what is wrong with it.
    pub(in crate::cli::commands::serve) fn check(settings: &Settings) -> Result<(), CliError> {
        let Some(path) = &settings.witness.policy else { return Ok(()) };
        let policy = policy(path).map_err(|why| wrong(settings, path, &why))?;
        Client::check(&policy).map_err(|error| wrong(settings, path, &error.to_string()))
    }

    /// Begins to ask, where there is somebody to ask.
    pub(in crate::cli::commands::serve) fn start(
        &self,
        log: &AuditLog,
        settings: &Settings,
        warn: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Result<(), String> {
        let Some(path) = &settings.witness.policy else { return Ok(()) };
        let policy = policy(path)?;
        let options = ClientOptions { policy, interval: settings.witness.interval, warn };
        let client = Client::start(log.clone(), options).map_err(|error| error.to_string())?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
        Ok(())
    }

    /// Ends.
    pub(in crate::cli::commands::serve) fn stop(&self) {
        if let Some(client) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            client.stop();
        }
    }
}

fn policy(path: &Path) -> Result<Policy, String> {
    let text = OsFs.read(path, MAX_POLICY_BYTES as u64).map_err(|error| error.to_string())?;
    Policy::parse(&text).map_err(|error| error.to_string())
}

fn wrong(settings: &Settings, path: &Path, why: &str) -> CliError {
    let origin = settings.origin("witness.policy");
    let text = format!("witness.policy = {} ({origin}): {why}", path.display());
    let mut new = CliError::new("config", Exit::Usage, text)
        .hint("docs/witnesses.md has an example of a policy");
    new.path = Some(path.to_path_buf());
    new
}
