//! Checkpoints pushed out, because only a copy elsewhere reveals that a log was cut
//! off or put back.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::warning::Warning;
use crate::audit::AuditLog;
use crate::audit::checkpoint::SignedCheckpoint;
use crate::audit::status::Word;
use crate::fsio::{self, Fs, OpenMode, OsFs};

/// Where checkpoints go, and how often.
#[derive(Clone, Debug)]
pub struct Push {
    /// A file, which is replaced; or a directory, where each becomes a file of its own
    /// that is never written again: `<log id>.<tree size, 20 digits>.checkpoint`.
    pub to: Option<PathBuf>,
    /// A web address.
    pub url: Option<PushUrl>,
    /// How often, when there is a new one.
    pub every: Duration,
}

/// Posts a checkpoint: the log, the delivery's id, the signed note. Says why not.
pub type PostCheckpoint = dyn Fn(&AuditLog, String, &str) -> Result<(), String> + Send + Sync;

/// A web address that checkpoints are posted to.
#[derive(Clone)]
pub struct PushUrl {
    /// Its host and port, for messages.
    pub shown: String,
    /// Posts.
    pub post: Arc<PostCheckpoint>,
}

impl fmt::Debug for PushUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushUrl").field("shown", &self.shown).finish_non_exhaustive()
    }
}

/// Pushes to each place; remembers what it has, and whether it fails.
pub(super) struct Pusher(Vec<Place>);

struct Place {
    to: To,
    pushed: String,
    failing: bool,
}

enum To {
    Path(PathBuf),
    Url(PushUrl),
}

impl Pusher {
    pub(super) fn new(push: &Push) -> Self {
        let path = push.to.clone().map(To::Path);
        let url = push.url.clone().map(To::Url);
        let place = |to| Place { to, pushed: String::new(), failing: false };
        Self(path.into_iter().chain(url).map(place).collect())
    }

    /// Pushes the newest checkpoint to where it is not yet. What is to be told, if
    /// anything: that it fails, once, and that it works again.
    pub(super) fn push(&mut self, log: &AuditLog) -> Vec<String> {
        let note = log.checkpoint();
        self.0.iter_mut().filter_map(|place| place.push(log, &note)).collect()
    }
}

impl Place {
    fn push(&mut self, log: &AuditLog, note: &str) -> Option<String> {
        if note == self.pushed || note.is_empty() {
            return None;
        }
        let (to, written) = match &self.to {
            To::Path(path) => {
                let written = write(path, log.log_id(), note).map_err(|error| error.to_string());
                (path.display().to_string(), written)
            }
            To::Url(url) => (url.shown.clone(), post(url, log, note)),
        };
        match written {
            Ok(()) => {
                note.clone_into(&mut self.pushed);
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

fn post(url: &PushUrl, log: &AuditLog, note: &str) -> Result<(), String> {
    let signed = SignedCheckpoint::parse(note.as_bytes()).map_err(|error| error.to_string())?;
    let size = signed.unverified().size;
    (url.post)(log, format!("{}/checkpoint/{size}", log.log_id()), note)
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
