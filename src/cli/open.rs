//! From settings to the engine's options, for the commands.

use std::sync::Arc;

use crate::audit::Options;
use crate::audit::status::Mode;
use crate::backup::BackupDir;
use crate::config::Settings;
use crate::fsio::{OsFs, SharedFs};

/// The options that the settings say.
pub(super) fn options(settings: &Settings, mode: Mode) -> Options {
    let mut options = Options::from(settings);
    options.mode = mode;
    options
}

/// The directory of backups that the settings name.
pub(super) fn directory(settings: &Settings) -> BackupDir {
    BackupDir::new(shared_fs(), &settings.backup.output_dir)
}

/// The operating system's files.
pub(super) fn shared_fs() -> SharedFs {
    Arc::new(OsFs)
}
