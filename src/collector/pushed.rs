//! A file or a directory that checkpoints are pushed to: what is there, and writing to
//! it.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::audit::AuditLog;
use crate::audit::keys::checkpoint::{MAX_NOTE_BYTES, Origin, SignedCheckpoint};
use crate::audit::keys::histories::{Contradiction, Kept, KnownHead};
use crate::fsio::{self, Fs, OpenMode, OsFs};

/// So many checkpoints of a directory are read at a time, those over most records.
const MOST: usize = 64;

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

/// The heads of a log, or of any, that were pushed to a file or a directory.
///
/// # Errors
/// When it cannot be read, or is not there.
pub fn heads(to: &Path, log_id: Option<&str>) -> io::Result<Vec<KnownHead>> {
    if !is_directory(to) {
        return Ok(match read(to) {
            Ok(note) => vec![head(to, note)],
            Err(error) if error.kind() == ErrorKind::InvalidData => Vec::new(),
            Err(error) => return Err(error),
        });
    }
    let names = names(to, log_id)?;
    let read = |name: &String| {
        let path = to.join(name);
        read(&path).ok().map(|note| head(&path, note))
    };
    Ok(names.iter().rev().take(MOST).filter_map(read).collect())
}

fn is_of(note: &SignedCheckpoint, log_id: &str) -> bool {
    let origin = note.unverified().origin.parse::<Origin>();
    origin.is_ok_and(|origin| origin.log_id() == log_id)
}

fn is_directory(path: &Path) -> bool {
    OsFs.meta(path).is_ok_and(|meta| !meta.is_file)
}

fn head(path: &Path, note: SignedCheckpoint) -> KnownHead {
    let name = path.display().to_string();
    KnownHead { name, kept: Kept::Pushed, note, rotations: Vec::new() }
}

fn read(path: &Path) -> io::Result<SignedCheckpoint> {
    let text = OsFs.read_own(path, MAX_NOTE_BYTES as u64)?;
    SignedCheckpoint::parse(&text).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
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

/// The names of a log's checkpoints, by epoch and size.
fn names(dir: &Path, log_id: Option<&str>) -> io::Result<Vec<String>> {
    let mut names: Vec<(u32, u64, String)> = OsFs
        .list(dir)?
        .into_iter()
        .filter_map(|name| {
            let (id, rest) = name.split_once('.')?;
            if log_id.is_some_and(|log_id| log_id != id) {
                return None;
            }
            let rest = rest.strip_suffix(".checkpoint")?;
            let (epoch, size) = match rest.split_once('.') {
                Some((epoch, size)) => (epoch.strip_prefix('e')?.parse().ok()?, size),
                None => (0, rest),
            };
            let size = size.parse().ok()?;
            Some((epoch, size, name))
        })
        .collect();
    names.sort_unstable();
    Ok(names.into_iter().map(|(_, _, name)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_epoch_and_size_whatever_their_letters() {
        let dir = tempfile::tempdir().expect("a directory");
        let id = "0123456789abcdef0123456789abcdef";
        let made = [
            format!("{id}.e10.{:020}.checkpoint", 5),
            format!("{id}.e2.{:020}.checkpoint", 7),
            format!("{id}.{:020}.checkpoint", 900),
            format!("{id}.{:020}.checkpoint", 30),
        ];
        let others = [
            format!("ffff.{:020}.checkpoint", 1),
            format!("{id}.x.checkpoint"),
            format!("{id}.e1.{:020}.checkpoint.tmp-1", 1),
        ];
        for name in made.iter().chain(&others) {
            OsFs.open(&dir.path().join(name), OpenMode::CreateNew).expect("made");
        }
        let [e10, e2, large, small] = made;
        assert_eq!(names(dir.path(), Some(id)).expect("a list"), [small, large, e2, e10]);
    }
}
