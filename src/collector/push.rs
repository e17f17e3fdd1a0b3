//! Checkpoints pushed out, because only a copy elsewhere reveals that a log was cut
//! off or put back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::warning::Warning;
use crate::audit::AuditLog;
use crate::audit::checkpoint::SignedCheckpoint;
use crate::audit::status::Word;
use crate::fsio::{self, Fs, OpenMode, OsFs};

/// Where checkpoints go, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// A file, which is replaced; or a directory, where each becomes a file of its own
    /// that is never written again: `<log id>.<tree size, 20 digits>.checkpoint`.
    pub to: PathBuf,
    /// How often, when there is a new one.
    pub every: Duration,
}

/// Pushes; remembers what was pushed last, and whether it fails.
pub(super) struct Pusher {
    to: PathBuf,
    pushed: String,
    failing: bool,
}

impl Pusher {
    pub(super) fn new(push: &Push) -> Self {
        Self { to: push.to.clone(), pushed: String::new(), failing: false }
    }

    /// Pushes the newest checkpoint if it is a new one. What is to be told, if
    /// anything: that it fails, once, and that it works again.
    pub(super) fn push(&mut self, log: &AuditLog) -> Option<String> {
        let note = log.checkpoint();
        if note == self.pushed || note.is_empty() {
            return None;
        }
        let to = self.to.display();
        match write(&self.to, log.log_id(), &note) {
            Ok(()) => {
                self.pushed = note;
                let again = std::mem::take(&mut self.failing);
                again.then(|| format!("checkpoints go to {to} again"))
            }
            Err(error) => {
                log.page().add(Word::MaintenanceErrors, 1);
                let first = !std::mem::replace(&mut self.failing, true);
                first.then(|| {
                    let text = format!("the checkpoint cannot be written to {to}: {error}");
                    Warning::NotPushed.says(&text)
                })
            }
        }
    }
}

fn write(to: &Path, log_id: &str, note: &str) -> std::io::Result<()> {
    let is_directory = OsFs.meta(to).is_ok_and(|meta| !meta.is_file);
    if !is_directory {
        return fsio::replace_file(&OsFs, to, note.as_bytes());
    }
    let signed = SignedCheckpoint::parse(note.as_bytes()).map_err(std::io::Error::other)?;
    let path = to.join(format!("{log_id}.{:020}.checkpoint", signed.unverified().size));
    match OsFs.open(&path, OpenMode::CreateNew) {
        Ok(file) => {
            file.write_all_at(note.as_bytes(), 0)?;
            file.sync_data()
        }
        // Of this size there is one; of an epoch later there may be another.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
