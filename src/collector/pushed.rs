//! A file or a directory that checkpoints are pushed to: what is there, and writing to
//! it.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::audit::AuditLog;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint};
use crate::audit::keys::histories::{Contradiction, KnownHead};
use crate::fsio::{self, Fs, OpenMode, OsFs};
use crate::health::pushed::{MOST, head, is_directory, is_of, names, read};

/// Why a checkpoint is not there.
pub(super) enum NotPushed {
    Failed(String),
    /// A checkpoint is there that does not fit the log.
    Contradicted(Box<Contradiction>),
}

/// Where checkpoints are pushed to.
pub(super) struct Pushed {
    path: PathBuf,
    /// Names in the directory that were compared with the log, or written by this
    /// process.
    compared: BTreeSet<String>,
}

impl Pushed {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, compared: BTreeSet::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the checkpoint, unless one is there that does not fit the log. `last` is
    /// what this process wrote before.
    pub(super) fn write(
        &mut self,
        log: &AuditLog,
        note: &str,
        last: &str,
    ) -> Result<(), NotPushed> {
        let failed = |error: io::Error| NotPushed::Failed(error.to_string());
        if is_directory(&self.path) {
            return self.add(log, note);
        }
        match read(&self.path) {
            Ok(there) if there.to_string() == last => {}
            Ok(there) if is_of(&there, log.log_id()) && !log.has_signed(&there) => {
                return Err(NotPushed::Failed(
                    "it holds a checkpoint of this log, signed by a key that this log does not \
                     know. Find out where it comes from, and move it away"
                        .to_owned(),
                ));
            }
            Ok(there) => compare(log, vec![head(&self.path, there)])?,
            // No checkpoint of ours, or none at all: it is replaced.
            Err(_) => {}
        }
        fsio::replace_file(&OsFs, &self.path, note.as_bytes()).map_err(failed)
    }

    /// A directory: each checkpoint becomes a file of its own.
    fn add(&mut self, log: &AuditLog, note: &str) -> Result<(), NotPushed> {
        let failed = |error: io::Error| NotPushed::Failed(error.to_string());
        let signed = SignedCheckpoint::parse(note.as_bytes())
            .map_err(|error| NotPushed::Failed(error.to_string()))?;
        self.compare_new(log)?;
        let name = name_of(&signed).ok_or_else(|| failed(ErrorKind::InvalidData.into()))?;
        let path = self.path.join(&name);
        match OsFs.open(&path, OpenMode::CreateNew) {
            Ok(file) => {
                file.write_all_at(note.as_bytes(), 0).map_err(failed)?;
                file.sync_data().map_err(failed)?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let there = read(&path).map_err(failed)?;
                if there.unverified() != signed.unverified() {
                    compare(log, vec![head(&path, there)])?;
                    let text = format!("{} is there with another content", path.display());
                    return Err(NotPushed::Failed(text));
                }
            }
            Err(error) => return Err(failed(error)),
        }
        self.compared.insert(name);
        Ok(())
    }

    /// Compares what came since the last look, such as from a copy of the log.
    fn compare_new(&mut self, log: &AuditLog) -> Result<(), NotPushed> {
        let names = names(&self.path, Some(log.log_id()))
            .map_err(|error| NotPushed::Failed(error.to_string()))?;
        let new: Vec<String> =
            names.into_iter().filter(|name| !self.compared.contains(name)).collect();
        let read = |name: &String| {
            let path = self.path.join(name);
            read(&path).ok().map(|note| head(&path, note))
        };
        let heads = new.iter().rev().take(MOST).filter_map(read).collect();
        compare(log, heads)?;
        self.compared.extend(new);
        Ok(())
    }
}

fn compare(log: &AuditLog, heads: Vec<KnownHead>) -> Result<(), NotPushed> {
    let found = log.compare(&heads).map_err(|error| NotPushed::Failed(error.to_string()))?;
    match found.into_iter().next() {
        Some(found) => Err(NotPushed::Contradicted(Box::new(found))),
        None => Ok(()),
    }
}

/// `<log id>.<tree size, 20 digits>.checkpoint`; from the second epoch on with
/// `.e<epoch>` behind the log's id, since a size may come again then.
fn name_of(signed: &SignedCheckpoint) -> Option<String> {
    let checkpoint = signed.unverified();
    let origin: Origin = checkpoint.origin.parse().ok()?;
    let epoch = match origin.epoch() {
        0 => String::new(),
        epoch => format!(".e{epoch}"),
    };
    Some(format!("{}{epoch}.{:020}.checkpoint", origin.log_id(), checkpoint.size))
}
