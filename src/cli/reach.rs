//! The collector, as commands reach it.

use std::path::Path;

use super::exit::{CliError, Exit};
use crate::audit::LogPaths;
use crate::collector::Trust;
use crate::collector::client::{Client, ClientError};
use crate::config::{Origin, Settings};
use crate::fsio::{Fs, OsFs};

/// The collector that the settings name, if it is the log's.
pub(super) fn collector(settings: &Settings) -> Result<Client, ClientError> {
    let socket = settings.socket_path();
    // A log directory that nobody named is whatever `logs` is in the directory that this
    // is run in: it speaks for the socket in it, and for no other.
    let is_named = *settings.origin("log_dir") != Origin::Default;
    let trust = if is_named || socket.starts_with(&settings.log_dir) {
        Trust::owner_of(&settings.log_dir)
    } else {
        Trust::owner_of_its_directory()
    };
    // A collector holds the lock of the log that it keeps. A log that is named, is here, and
    // that nobody has open is not the one behind the socket, wherever that leads.
    let nobody = || matches!(LogPaths::new(&settings.log_dir).writer_runs(), Ok(false));
    if is_named && OsFs.meta(&settings.log_dir).is_ok() && nobody() {
        return Err(ClientError::NotRunning { path: socket });
    }
    Client::connect(&socket, &trust.and(&settings.collector.trusted_uids))
}

/// What to do where there is nobody to ask.
const START: &str = "start it with `auditctl serve`; where it runs already, name its log with \
                     --log-dir, or its settings with --config";

/// What to do when somebody else's program listens at the socket.
const FOREIGN: &str = "find out which program it is (as root: `ss -xlp`). If it is the collector, \
                       add its user to collector.trusted_uids. If not, somebody put it there to \
                       pose as the collector";

/// What to do when the socket is where its senders may not look.
const DENIED: &str = "run this as the collector's user, or let this user in: add it to \
                      collector.allowed_uids or allowed_gids on the collector's side, and put \
                      collector.socket into a directory that senders can enter, such as \
                      \"/run/auditctl/audit.sock\"";

/// What to do where a relative path leads nowhere, because of where the command is run.
const NO_WAY_IN: &str = "this user may not enter the working directory, and the socket is looked for in it: run this in \
                         another directory (`cd /`), and name the log with --log-dir or in a settings file";

/// Whether this user may look into the working directory. Who was switched to (`sudo -u`,
/// `su`) may stand in another user's.
fn may_enter_here() -> bool {
    let asked = OsFs.meta(Path::new("."));
    !asked.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let (kind, exit) = match &error {
            ClientError::NotRunning { .. } => ("not_running", Exit::Failed),
            ClientError::Foreign { .. } => ("foreign_collector", Exit::Failed),
            ClientError::Denied { .. } => ("forbidden", Exit::Failed),
            ClientError::Lost { .. } => ("lost", Exit::Failed),
            ClientError::Refused { kind, .. } if kind == "forbidden" => ("forbidden", Exit::Busy),
            ClientError::Refused { .. } => ("refused", Exit::Busy),
        };
        let new = Self::new(kind, exit, error.to_string());
        match error {
            ClientError::NotRunning { .. } => new.hint(START),
            ClientError::Foreign { path, .. } => Self { path: Some(path), ..new }.hint(FOREIGN),
            ClientError::Denied { path, .. } => {
                let hint = if path.is_relative() && !may_enter_here() { NO_WAY_IN } else { DENIED };
                Self { path: Some(path), ..new }.hint(hint)
            }
            _ => new,
        }
    }
}
