//! The collector, as commands reach it.

use std::io::ErrorKind;

use super::exit::{CliError, Exit};
use crate::collector::Trust;
use crate::collector::client::{Client, ClientError};
use crate::config::Settings;

/// The collector that the settings name, if it is the log's.
pub(super) fn collector(settings: &Settings) -> Result<Client, ClientError> {
    let trust = Trust::owner_of(&settings.log_dir).and(&settings.collector.trusted_uids);
    Client::connect(&settings.socket_path(), &trust)
}

/// What to do when somebody else's program listens at the socket.
const FOREIGN: &str = "`ss -xlp` as root says which program it is; if it is the collector, name its user in \
                       collector.trusted_uids; if not, it was to be taken for it";

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let (kind, exit) = match &error {
            ClientError::NotRunning { .. } => ("not_running", Exit::Failed),
            ClientError::Foreign { .. } => ("foreign_collector", Exit::Failed),
            ClientError::Lost { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                ("forbidden", Exit::Busy)
            }
            ClientError::Lost { .. } => ("lost", Exit::Failed),
            ClientError::Refused { .. } => ("refused", Exit::Busy),
        };
        let new = Self::new(kind, exit, error.to_string());
        match error {
            ClientError::Foreign { path, .. } => Self { path: Some(path), ..new }.hint(FOREIGN),
            _ => new,
        }
    }
}
