//! A build that asks witnesses.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::audit::AuditLog;
use crate::audit::keys::policy::{MAX_POLICY_BYTES, Policy};
use crate::cli::exit::{CliError, Exit};
use crate::config::Settings;
use crate::fsio::{Fs, OsFs};
use crate::witness::{Client, ClientError, ClientOptions};

/// So long a file with certificates may be.
const MAX_CERTIFICATE_BYTES: u64 = 1 << 20;

/// The witnesses of the settings, asked or not: there may be none.
#[derive(Default)]
pub(in crate::cli::commands::serve) struct Witnesses(Mutex<Option<Client>>);

impl Witnesses {
    /// Finds the policy good, or says what is wrong with it.
    pub(in crate::cli::commands::serve) fn check(settings: &Settings) -> Result<(), CliError> {
        let Some(path) = &settings.witness.policy else { return Ok(()) };
        let policy = policy(path).map_err(|why| wrong(settings, "policy", path, &why))?;
        let ca_file = settings.witness.ca_file.as_deref();
        let of_file = |why: &str| wrong(settings, "ca_file", ca_file.unwrap_or(path), why);
        let authorities = authorities(settings).map_err(|why| of_file(&why))?;
        Client::check(&policy, authorities.as_deref()).map_err(|error| match error {
            ClientError::Authorities(why) => of_file(&why),
            error => wrong(settings, "policy", path, &error.to_string()),
        })
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
        let authorities = authorities(settings)?;
        let interval = settings.witness.interval;
        let options = ClientOptions { policy, interval, authorities, warn };
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

/// The certificates of `witness.ca_file`.
fn authorities(settings: &Settings) -> Result<Option<Vec<u8>>, String> {
    let path = settings.witness.ca_file.as_deref();
    let read = path.map(|path| OsFs.read(path, MAX_CERTIFICATE_BYTES));
    read.transpose().map_err(|error| error.to_string())
}

fn wrong(settings: &Settings, key: &str, path: &Path, why: &str) -> CliError {
    let key = format!("witness.{key}");
    let origin = settings.origin(&key);
    let text = format!("{key} = {} ({origin}): {why}", path.display());
    let mut new = CliError::new("config", Exit::Usage, text)
        .hint("docs/witnesses.md has an example of a policy");
    new.path = Some(path.to_path_buf());
    new
}
