//! `--cloud` and `--destination`: which store, and how it is opened.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::exit::{CliError, Exit};
use super::progress::Progress;
use super::typed::quoted;
use crate::audit::read::snapshot::Snapshot;
use crate::backup::{KnownLog, Remote, RemoteWish};
use crate::config::Settings;
use crate::store::{
    BackupStore, Destination, Environment, Limits, Provider, StoreError, StoreErrorKind, connect,
};
use crate::validate::CloudTarget;

/// Below this, where a destination names only a bucket.
const PREFIX: &str = "audit-backups";
/// Unfinished uploads this old are nobody's any more: they are not resumed after six days.
pub(super) const STALE: Duration = Duration::from_secs(7 * 86_400);

/// Where backups are, when they are not here.
#[derive(Debug, Args)]
pub(super) struct CloudArgs {
    /// Which cloud: s3, azure or gcs
    #[arg(long, value_name = "PROVIDER")]
    cloud: Option<Provider>,
    /// The bucket (on Azure the container), and a prefix in it. With s3://, az:// or gs:// in
    /// front, --cloud is not needed [default: backup.destination of the settings; prefix
    /// audit-backups]
    #[arg(long, value_name = "BUCKET[/PREFIX]")]
    destination: Option<String>,
}

/// A destination that is written as one and that this build can talk to. Nothing
/// has been opened yet.
#[derive(Clone, Debug)]
pub(super) struct Cloud {
    provider: Provider,
    destination: Destination,
}

/// How to name a provider.
fn write_provider() -> String {
    format!("write {}, or add --cloud {}", Provider::destinations(""), Provider::names())
}

impl CloudArgs {
    /// The destination, if one is asked for on the command line.
    ///
    /// # Errors
    /// Usage: none is named, it is not written as one, or this build lacks it.
    pub(super) fn cloud(&self, settings: &Settings) -> Result<Option<Cloud>, CliError> {
        let (provider, named) = match (self.cloud, &self.destination) {
            (None, None) => return Ok(None),
            (None, Some(named)) => {
                let provider = Provider::of_url(named).ok_or_else(|| {
                    CliError::usage(format!("--destination {named} names no provider"))
                        .hint(write_provider())
                })?;
                (provider, named)
            }
            (Some(provider), named) => {
                let named = named.as_ref().or(settings.backup.destination.as_ref());
                let Some(named) = named.filter(|named| !named.is_empty()) else {
                    let message = format!("--cloud {provider} needs a destination");
                    return Err(CliError::usage(message).hint(
                        "add --destination BUCKET[/PREFIX], or set backup.destination in the \
                         settings, or AUDITCTL_BACKUP_DESTINATION",
                    ));
                };
                (provider, named)
            }
        };
        let destination = Destination::parse(provider, named)?.or_prefix(PREFIX);
        Cloud::checked(provider, destination).map(Some)
    }

    /// Where a backup is sent: to what is asked for, else to what the settings name.
    ///
    /// # Errors
    /// As [`Self::cloud`]; the settings name a bucket, and not whose.
    pub(super) fn sends_to(&self, settings: &Settings) -> Result<Option<Cloud>, CliError> {
        if let Some(cloud) = self.cloud(settings)? {
            return Ok(Some(cloud));
        }
        let Some(named) = settings.backup.destination.as_ref().filter(|text| !text.is_empty())
        else {
            return Ok(None);
        };
        let Some(provider) = Provider::of_url(named) else {
            let message = format!(
                "backup.destination = {named} names no provider, so auditctl does not know where \
                 to send the backup"
            );
            let hint = format!("{}. To make the backup here only, add --local", write_provider());
            return Err(CliError::new("config", Exit::Usage, message).hint(hint));
        };
        let destination = Destination::parse(provider, named)
            .map_err(|error| {
                CliError::new("config", Exit::Usage, format!("backup.destination: {error}"))
                    .hint(write_provider())
            })?
            .or_prefix(PREFIX);
        Cloud::checked(provider, destination).map(Some)
    }

    /// The destinations to validate: the one that is asked for, else the one of the
    /// settings if it is written with its provider's scheme. What the settings have wrong
    /// is a finding, not an error.
    ///
    /// # Errors
    /// Usage: `--cloud` without a destination; a `--destination` that is none.
    pub(super) fn targets(
        &self,
        settings: &Settings,
    ) -> Result<Vec<Result<CloudTarget, String>>, CliError> {
        let configured = settings.backup.destination.as_deref().filter(|text| !text.is_empty());
        let target = |provider, text: &str| {
            let destination = Destination::parse(provider, text)?.or_prefix(PREFIX);
            Ok::<_, StoreError>(CloudTarget { provider, destination })
        };
        if let (Some(provider), Some(named)) = (self.cloud, &self.destination) {
            return Ok(vec![Ok(target(provider, named)?)]);
        }
        let provider = self.cloud.or_else(|| Provider::of_url(configured?));
        match (provider, configured) {
            (Some(provider), Some(text)) => {
                let found = target(provider, text);
                Ok(vec![found.map_err(|error| format!("backup.destination: {error}"))])
            }
            (Some(_), None) => self.cloud(settings).map(|_| Vec::new()),
            (None, _) => Ok(Vec::new()),
        }
    }

    /// What to type again.
    pub(super) fn typed(&self) -> String {
        let cloud = self.cloud.map_or_else(String::new, |cloud| format!(" --cloud {cloud}"));
        match &self.destination {
            Some(destination) => format!("{cloud} --destination {}", quoted(destination)),
            None => cloud,
        }
    }
}

/// Where the settings send backups to, and what to add to a command to look there. None where
/// they name nothing. A bucket alone does not say whose it is.
pub(super) fn configured(settings: &Settings) -> Option<(String, String)> {
    let named = settings.backup.destination.as_ref().filter(|text| !text.is_empty())?;
    let Some(provider) = Provider::of_url(named) else {
        return Some((named.clone(), "--cloud PROVIDER".to_owned()));
    };
    let url = match Destination::parse(provider, named) {
        Ok(destination) => destination.or_prefix(PREFIX).url(provider, ""),
        Err(_) => named.clone(),
    };
    Some((url, format!("--cloud {provider}")))
}

impl Cloud {
    fn checked(provider: Provider, destination: Destination) -> Result<Self, CliError> {
        if provider.is_built_in() {
            return Ok(Self { provider, destination });
        }
        let message = format!("this build of auditctl cannot talk to {provider}");
        Err(CliError::usage(message)
            .hint(format!("build it with the cargo feature \"{provider}\"")))
    }

    /// Reads `s3://BUCKET/PREFIX/…/WHICH`: the folder that it names, and which
    /// backup there. None for what is no such URL.
    ///
    /// # Errors
    /// Usage.
    pub(super) fn of_url(text: &str) -> Result<Option<(Self, RemoteWish)>, CliError> {
        if Provider::of_url(text).is_none() {
            return Ok(None);
        }
        let (provider, destination, name) = Destination::parse_object(text)?;
        let wish = Remote::wish(&name).ok_or_else(|| {
            CliError::usage(format!("{text:?} names no backup")).hint(
                "give the URL of an archive or of its metadata, or that of a folder with /latest",
            )
        })?;
        Ok(Some((Self::checked(provider, destination)?, wish)))
    }

    /// Whether a URL ends in a backup's name, or in `latest`.
    pub(super) fn names_backup(text: &str) -> bool {
        text.rsplit_once('/').is_some_and(|(_, name)| Remote::wish(name).is_some())
    }

    /// For people.
    pub(super) fn url(&self) -> String {
        self.destination.url(self.provider, "")
    }

    /// Opens it; its waits end when the operation is to stop.
    ///
    /// # Errors
    /// No credentials, as far as that can be told without asking.
    pub(super) fn connect(
        &self,
        upload_rate: Option<u64>,
        progress: &Progress,
    ) -> Result<Arc<dyn BackupStore>, StoreError> {
        let environment = environment(&self.url())?;
        let limits = Limits { upload_rate, stop: progress.stop(), ..Limits::default() };
        connect(self.provider, &self.destination, &limits, &environment).map(Arc::from)
    }

    /// What is of the log that is here, whichever host made it; everything, where there is
    /// no log.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub(super) fn remote(
        &self,
        known: &KnownLog,
        progress: &Progress,
    ) -> Result<Remote, StoreError> {
        let store = self.connect(None, progress)?;
        Ok(match &known.live {
            Some(live) => Remote::of_log(store, &host(), log_id(live)),
            None => Remote::everything(store),
        })
    }
}

/// The environment variables, for the clouds' libraries.
///
/// # Errors
/// One of theirs is not UTF-8.
pub(super) fn environment(url: &str) -> Result<Environment, StoreError> {
    let of_clouds = ["AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR_"];
    for (name, value) in std::env::vars_os() {
        let is_theirs = name.to_str().is_some_and(|name| {
            of_clouds.iter().any(|start| name.starts_with(start)) && value.to_str().is_none()
        });
        if is_theirs {
            let name = name.to_string_lossy();
            let message = format!("{name} is not UTF-8: write it in UTF-8, or unset it");
            return Err(StoreError::new(StoreErrorKind::Usage, url, message));
        }
    }
    Ok(std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect())
}

fn log_id(live: &Snapshot) -> &str {
    &live.manifest.log_id
}

/// This host's name, as backups made here have it.
fn host() -> String {
    crate::backup::host()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_cloud_and_how_its_destinations_are_written() {
        let mut command = CloudArgs::augment_args(clap::Command::new("backup"));
        let help = command.render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains(&Provider::names()), "{help}");
        for provider in Provider::ALL {
            assert!(help.contains(&format!("{}://", provider.scheme())), "{provider}: {help}");
        }
    }
}
