//! What the backup commands share: the log that the backups are of, who is told
//! of a removal, and questions to a person.

use std::io::{BufRead, IsTerminal, Write};

use super::context::Context;
use super::exit::{CliError, Exit};
use super::heads;
use super::open::{self, shared_fs};
use super::reach;
use crate::audit::keys::load_keyring;
use crate::audit::read::error::ReadError;
use crate::audit::read::snapshot::Snapshot;
use crate::audit::state::status::Mode;
use crate::audit::write::own::{BackupMade, BackupRemoved};
use crate::audit::{AuditLog, LogPaths};
use crate::backup::{BackupError, KeyFile, KnownLog};
use crate::collector::client::{Answer, Client, ClientError};
use crate::config::Settings;
use crate::fsio::{Fs, OsFs};

/// The flag, as a setting.
pub(super) fn overrides(output_dir: Option<&std::path::PathBuf>) -> Vec<super::context::Override> {
    let setting = |dir: &std::path::PathBuf| {
        let value = dir.to_string_lossy().into_owned();
        ("backup.output_dir".to_owned(), value, "--output-dir".to_owned())
    };
    output_dir.map(setting).into_iter().collect()
}

/// The private keys of `--identity`. Read before signals are waited for: what is named may
/// be a pipe.
///
/// # Errors
/// The first file that cannot be used.
pub(super) fn identities(paths: &[std::path::PathBuf]) -> Result<Vec<KeyFile>, BackupError> {
    paths.iter().map(|path| KeyFile::read(&OsFs, path)).collect()
}

/// The log, if there is one that can be read; why not, is a note.
pub(super) fn known_log(context: &Context, settings: &Settings) -> KnownLog {
    let fs = shared_fs();
    let keys = load_keyring(&*fs, &LogPaths::new(&settings.log_dir), None);
    let live = match Snapshot::take(&fs, &settings.log_dir) {
        Ok(live) => Some(live),
        Err(ReadError::NoLog { .. }) => None,
        Err(error) => {
            context.printer.note(&format!(
                "warning: the log was not compared with its backups: \
                                           {error}"
            ));
            None
        }
    };
    KnownLog { live, keys: keys.ok() }
}

/// Who records that a backup is removed: the collector, or the log itself.
pub(super) enum Recorder {
    Socket(Client),
    Log(AuditLog),
    /// There is no log here.
    Nobody,
}

impl Recorder {
    /// The collector if one runs, else the log, if there is one.
    ///
    /// # Errors
    /// When there is a log and it can be told in neither way.
    pub(super) fn open(settings: &Settings) -> Result<Self, CliError> {
        match reach::collector(settings) {
            Ok(client) => return Ok(Self::Socket(client)),
            Err(ClientError::NotRunning { .. }) => {}
            Err(error) => return Err(unrecorded(&error.to_string())),
        }
        if OsFs.meta(&LogPaths::new(&settings.log_dir).manifest()).is_err() {
            return Ok(Self::Nobody);
        }
        let options = open::options(settings, Mode::Record);
        Ok(Self::Log(open::patiently(&heads::noted(options, settings), open::MOMENT, None)?))
    }

    /// Has the log record that a backup of it was made, through the collector if one
    /// runs; the record's seq once it is durable. The log is opened only by the user
    /// who owns its directory: another one would leave files that the owner cannot use.
    ///
    /// # Errors
    /// Why it is not recorded, in words.
    pub(super) fn record_made(
        settings: &Settings,
        made: BackupMade,
        may_open: bool,
    ) -> Result<u64, String> {
        match reach::collector(settings) {
            Ok(mut client) => {
                return match client.backup_made(&made) {
                    Ok(Answer::Recorded(seq) | Answer::Duplicate(seq)) => Ok(seq),
                    Ok(Answer::Refused { kind, message, .. }) => Err(format!("{kind}: {message}")),
                    Err(error) => Err(error.to_string()),
                };
            }
            Err(ClientError::NotRunning { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
        if !may_open {
            return Err(
                "no collector runs, and a crash left the end of the log unsigned".to_owned()
            );
        }
        let owner = OsFs.meta(&settings.log_dir).map_err(|error| error.to_string())?.uid;
        if owner != made.uid {
            return Err(format!(
                "no collector runs, and {} belongs to user {owner}, not to user {}",
                settings.log_dir.display(),
                made.uid
            ));
        }
        let options = heads::noted(open::options(settings, Mode::Record), settings);
        let log = open::patiently(&options, open::MOMENT, None).map_err(|error| error.message)?;
        let seq = log.record_backup_made(made).wait_durable().map_err(|error| error.to_string());
        log.close().map_err(|error| error.to_string())?;
        seq
    }

    /// Returns once the record is durable.
    ///
    /// # Errors
    /// When it cannot be made so.
    pub(super) fn record(&mut self, removed: &BackupRemoved) -> Result<(), BackupError> {
        let failed = |why: String| {
            BackupError::Refused(format!(
                "the removal of backup {} cannot be recorded, so it is not removed: {why}",
                removed.backup
            ))
        };
        match self {
            Self::Nobody => Ok(()),
            Self::Log(log) => {
                let receipt = log.record_backup_removed(removed.clone());
                receipt.wait_durable().map(|_| ()).map_err(|error| failed(error.to_string()))
            }
            Self::Socket(client) => match client.backup_removed(removed) {
                Ok(Answer::Recorded(_) | Answer::Duplicate(_)) => Ok(()),
                Ok(Answer::Refused { kind, message, .. }) => {
                    Err(failed(format!("{kind}: {message}")))
                }
                Err(error) => Err(failed(error.to_string())),
            },
        }
    }

    /// A log that was opened for it is closed cleanly.
    ///
    /// # Errors
    /// When closing fails.
    pub(super) fn close(self) -> Result<(), CliError> {
        match self {
            Self::Log(log) => Ok(log.close()?),
            Self::Socket(_) | Self::Nobody => Ok(()),
        }
    }
}

fn unrecorded(why: &str) -> CliError {
    let message = format!("removals cannot be recorded, so nothing is removed: {why}");
    CliError::new("unrecorded", Exit::Busy, message)
}

/// Asks a person at the terminal; only `y` and `yes` are yes. Nobody to ask is
/// `None`.
pub(super) fn ask(question: &str) -> Option<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{question} [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    let yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    Some(read.is_ok() && yes)
}
