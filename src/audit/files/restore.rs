//! Putting other records in a log's place: all or nothing.
//!
//! The log directory itself is never renamed: it may be a mount point, and it
//! holds the key, the socket and the lock. The new files wait in a staging
//! directory below it. A journal says what goes where; then the old files move
//! to a directory of their own, the new ones move in, and the manifest's rename
//! commits. [`swap`] does that, and whoever opens the log next, [`settle`],
//! finishes or undoes what a crash left in between:
//!
//! | journal | manifest | the log is |
//! |---|---|---|
//! | none | | the old one, or the new one |
//! | begun | the old one | the old one: everything goes back |
//! | begun | the new one | the new one: the journal says so next |
//! | committed | | the new one; the `audit.restored` record is still to be written |
//!
//! All of it happens under the writer's lock.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::audit::keys::checkpoint::{Note, VerifierKey};
use crate::audit::keys::signer::SigningKey;
use crate::audit::paths::LogPaths;
use crate::audit::paths::{is_page_name, parse_filter_name, parse_sealed_name};
use crate::audit::tree::document;
use crate::audit::tree::document::{DocumentError, Kind, Layout};
use crate::clock::Timestamp;
use crate::fsio::beneath::is_plain_name;
use crate::fsio::{self, Fs};

pub(crate) const MAX_JOURNAL_BYTES: u64 = 64 << 20;
pub(crate) const MAX_MANIFEST_BYTES: u64 = 4 << 30;

/// What a restore did, as its `audit.restored` record says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The backup's id, or where it came from.
    pub backup: String,
    /// When it was restored.
    pub restored_at: Timestamp,
    /// Who restored it.
    pub uid: u32,
    /// Records that the log has now, from seq 0.
    pub tree_size: u64,
    /// Their root.
    pub root_hash: String,
    /// How what was there before relates to it.
    pub relation: String,
    /// Records that were set aside.
    pub set_aside_records: u64,
    /// Where what was there before is kept, below the log directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_in: Option<String>,
    /// The signed head that is not continued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned_checkpoint: Option<String>,
    /// All signed heads that the log does not continue: of earlier epochs, and those that
    /// are kept elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<String>,
    /// Nobody with the log's key wrote down what this says: it was restored without the
    /// key, or somebody made it up. The records are proven all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
}

/// What goes where. Names, not paths: all of it is below the log directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Whether the new manifest is in place.
    pub committed: bool,
    /// The directory that holds the new files.
    pub staging: String,
    /// The directory that the old files go to.
    pub aside: String,
    /// The old files, but for the manifest.
    pub old: Vec<String>,
    /// The new files, but for the manifest.
    pub new: Vec<String>,
    /// SHA-256 of the new manifest, hex.
    pub manifest_sha256: String,
    /// SHA-256 of the manifest that the log had before, hex; absent when it had none. Only
    /// where that stands is there something to undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_manifest_sha256: Option<String>,
    /// SHA-256 of the checkpoints that the log had before, and has after, hex: with any
    /// other one the log has been written to since, and nothing is undone.
    #[serde(default)]
    pub checkpoints: Vec<String>,
    /// What is recorded of it.
    pub restored: Restored,
    /// The log's key's signature over all of this, as a signed note; none when the key
    /// was not at hand.
    pub signature: Option<String>,
}

/// A restore that is complete but for its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What is to be recorded.
    pub restored: Restored,
    /// Whether who restored had the log's key.
    pub is_signed: bool,
}

const MANIFEST: &str = "audit.manifest.json";
/// How staging directories' names begin.
pub const STAGING: &str = ".restore-";
/// How the directories' names begin that hold what was there before.
pub const ASIDE: &str = "before-restore-";

impl Journal {
    /// Signs it, for as long as it is begun and once it is committed.
    ///
    /// # Errors
    /// What keeps it from being signed, in words.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), String> {
        self.signature = None;
        let text = self.encode().map_err(|error| error.to_string())?;
        let text = self.signed_text(&text, key.verifier()).map_err(|error| error.to_string())?;
        let note = key.sign_note(text).map_err(|error| error.to_string())?;
        self.signature = Some(note.to_string());
        Ok(())
    }

    /// What is signed of it: as of every file, but that it is begun, whether it is or
    /// not. Nobody with the key is at hand when a restore commits.
    fn signed_text(&self, bytes: &[u8], key: &VerifierKey) -> serde_json::Result<String> {
        let parts: Parts<'_> = serde_json::from_slice(bytes)?;
        let mut replaced = [(parts.committed, "false"), (parts.signature, "null")];
        replaced.sort_by_key(|(value, _)| value.get().as_ptr());
        let digest = document::digest_with(bytes, &replaced);
        Ok(document::signed_text(Kind::RESTORE, key.name(), self.restored.tree_size, &digest))
    }

    fn encode(&self) -> serde_json::Result<Vec<u8>> {
        document::encode_file(Kind::RESTORE, self, Layout::Pretty)
    }

    /// Whether the log is still as the restore found it, or made it: a checkpoint of
    /// another moment says that it has been written to since.
    fn is_of_now(&self, fs: &dyn Fs, paths: &LogPaths) -> io::Result<bool> {
        let dir = &paths.dir;
        // In the middle of a restore it stands in one of these directories.
        let places = [
            paths.checkpoint(),
            dir.join(&self.aside).join("audit.checkpoint"),
            dir.join(&self.staging).join("audit.checkpoint"),
        ];
        for place in places {
            match fs.read_own(&place, MAX_JOURNAL_BYTES) {
                Ok(text) => {
                    let known = |checkpoint: &String| *checkpoint == sha256_hex(&text);
                    return Ok(self.checkpoints.is_empty() || self.checkpoints.iter().any(known));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.checkpoints.is_empty())
    }

    fn store(&self, fs: &dyn Fs, paths: &LogPaths) -> io::Result<()> {
        fsio::replace_file(fs, &paths.restore_journal(), &self.encode()?)
    }

    /// A name in it that no restore gives. None of those that remain reaches out
    /// of the log directory.
    fn stranger(&self) -> Option<&String> {
        let directory = |name: &String, start: &str| name.starts_with(start) && is_plain_name(name);
        let file = |name: &&String| {
            parse_sealed_name(name).is_none()
                && parse_filter_name(name).is_none()
                && !is_page_name(name)
                && !["audit.log", "audit.checkpoint", "audit.head", "audit.keys", "audit.leaves"]
                    .contains(&name.as_str())
        };
        let directories = [(&self.staging, STAGING), (&self.aside, ASIDE)];
        let wrong = directories.into_iter().find(|(name, start)| !directory(name, start));
        wrong.map(|(name, _)| name).or_else(|| self.old.iter().chain(&self.new).find(file))
    }

    fn load(fs: &dyn Fs, paths: &LogPaths) -> io::Result<Option<Stored>> {
        let path = paths.restore_journal();
        let text = match fs.read_own(&path, MAX_JOURNAL_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let journal: Self = document::decode(Kind::RESTORE, &text).map_err(|error| {
            if error.is_newer() { newer(error) } else { invalid(error.to_string()) }
        })?;
        // Whoever wrote it: it moves nothing but what a restore moves.
        match journal.stranger() {
            Some(name) => Err(invalid(format!("{name:?} is no name that a restore gives"))),
            None => Ok(Some(Stored { journal, text })),
        }
    }
}

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    committed: &'a RawValue,
    #[serde(borrow)]
    signature: &'a RawValue,
}

/// A journal as it is stored.
struct Stored {
    journal: Journal,
    text: Vec<u8>,
}

impl Stored {
    fn is_signed_by(&self, key: &VerifierKey) -> bool {
        let note = self.journal.signature.as_ref();
        let note = note.and_then(|text| Note::parse(text.as_bytes()).ok());
        note.is_some_and(|note| {
            let text = self.journal.signed_text(&self.text, key);
            note.verify(key).is_ok() && text.is_ok_and(|text| text == note.text())
        })
    }

    /// It is complete: only its record is still to be written.
    fn commit(&self, fs: &dyn Fs, paths: &LogPaths) -> io::Result<()> {
        let parts: Parts<'_> = serde_json::from_slice(&self.text)?;
        let mut text = Vec::with_capacity(self.text.len());
        document::replacing(&self.text, &[(parts.committed, "true")], |piece| {
            text.extend_from_slice(piece);
        });
        fsio::replace_file(fs, &paths.restore_journal(), &text)
    }
}

/// A newer version of auditctl made the journal: only that one can finish what it began.
fn newer(error: DocumentError) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, error)
}

struct Places<'a> {
    fs: &'a dyn Fs,
    paths: &'a LogPaths,
    journal: &'a Journal,
}

impl Places<'_> {
    fn here(&self, name: &str) -> PathBuf {
        self.paths.dir.join(name)
    }

    fn staged(&self, name: &str) -> PathBuf {
        self.paths.dir.join(&self.journal.staging).join(name)
    }

    fn aside(&self, name: &str) -> PathBuf {
        self.paths.dir.join(&self.journal.aside).join(name)
    }

    /// The path from the log directory on.
    fn within<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.paths.dir).unwrap_or(path)
    }

    fn is_there(&self, path: &Path) -> io::Result<bool> {
        match self.fs.entry(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Moves each that is in `from`; those that are not have moved already.
    fn move_all(
        &self,
        names: &[String],
        from: impl Fn(&str) -> PathBuf,
        to: impl Fn(&str) -> PathBuf,
    ) -> io::Result<()> {
        for name in names {
            if self.is_there(&from(name))? {
                let root = &self.paths.dir;
                self.fs.rename_below(root, self.within(&from(name)), self.within(&to(name)))?;
            }
        }
        self.sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        for dir in [&self.journal.staging, &self.journal.aside] {
            let dir = self.paths.dir.join(dir);
            if self.is_there(&dir)? {
                self.fs.sync_dir(&dir)?;
            }
        }
        self.fs.sync_dir(&self.paths.dir)
    }

    fn undo(&self) -> io::Result<()> {
        // The new ones leave first, all of them, before an old one comes back. What
        // has a name of both is the old file as long as that was not moved.
        let old: BTreeSet<&String> = self.journal.old.iter().collect();
        for name in &self.journal.new {
            let is_old = old.contains(name) && !self.is_there(&self.aside(name))?;
            if !is_old && self.is_there(&self.here(name))? {
                // Kept, whoever wrote the journal.
                let root = &self.paths.dir;
                self.fs.create_dir_all(&root.join(&self.journal.staging))?;
                let (here, staged) = (self.here(name), self.staged(name));
                self.fs.rename_below(root, self.within(&here), self.within(&staged))?;
            }
        }
        self.sync_all()?;
        self.move_all(&self.journal.old, |name| self.aside(name), |name| self.here(name))?;
        self.fs.remove(&self.paths.restore_journal())?;
        self.fs.sync_dir(&self.paths.dir)?;
        self.clear(&self.journal.staging);
        self.clear(&self.journal.aside);
        Ok(())
    }

    fn clear(&self, name: &str) {
        clear(self.fs, &self.paths.dir.join(name));
    }
}

/// Removes a directory of ours, never what a symbolic link points to; what is
/// left costs space only.
pub fn clear(fs: &dyn Fs, dir: &Path) {
    let _ = fs.clear_dir(dir);
}

/// Staging directories of restores that never came to their journal.
fn clear_leftovers(fs: &dyn Fs, paths: &LogPaths) {
    for name in fs.list(&paths.dir).unwrap_or_default() {
        if name.starts_with(STAGING) {
            clear(fs, &paths.dir.join(name));
        }
    }
}

/// Puts the staged files in place, as the journal says. The caller holds the
/// writer's lock, and has made everything in the staging directory durable.
///
/// # Errors
/// A file operation's; the log is then as before, or, when even that failed,
/// the next [`settle`] makes it so.
pub fn swap(fs: &dyn Fs, paths: &LogPaths, journal: &Journal) -> io::Result<()> {
    let places = Places { fs, paths, journal };
    fs.create_dir_new(&paths.dir.join(&journal.aside))?;
    // What the journal names is there when the journal is.
    fs.sync_dir(&paths.dir)?;
    journal.store(fs, paths)?;
    let moved = (|| {
        // A copy of the manifest makes what is set aside a log of its own.
        for name in [MANIFEST, "audit.pub", "audit.keys"] {
            if places.is_there(&places.here(name))? {
                let content = fs.read_own(&places.here(name), MAX_MANIFEST_BYTES)?;
                fsio::replace_file(fs, &places.aside(name), &content)?;
            }
        }
        places.move_all(&journal.old, |name| places.here(name), |name| places.aside(name))?;
        places.move_all(&journal.new, |name| places.staged(name), |name| places.here(name))?;
        let staged = places.staged(MANIFEST);
        fs.rename_below(&paths.dir, places.within(&staged), Path::new(MANIFEST))?;
        fs.sync_dir(&paths.dir)
    })();
    match moved {
        Ok(()) => {
            Journal { committed: true, ..journal.clone() }.store(fs, paths)?;
            places.clear(&journal.staging);
            Ok(())
        }
        Err(error) => {
            // Undone, unless the manifest is in place after all.
            settle(fs, paths, By::Operator).map(|_| ())?;
            Err(error)
        }
    }
}

/// On whose word a restore is undone.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// A writer's that opens the log: only of a journal that its key signed. `None`
    /// where there is no key.
    Key(Option<&'a VerifierKey>),
    /// The operator's, who restores again.
    Operator,
}

/// Finishes or undoes what a restore left, and says what is to be recorded of
/// one that is complete. The caller holds the writer's lock.
///
/// # Errors
/// A file operation's, or a journal that is none; nothing is lost then, and the
/// next call goes on.
pub fn settle(fs: &dyn Fs, paths: &LogPaths, by: By<'_>) -> io::Result<Option<Settled>> {
    let Some(stored) = Journal::load(fs, paths)? else {
        clear_leftovers(fs, paths);
        return Ok(None);
    };
    let journal = &stored.journal;
    let places = Places { fs, paths, journal };
    if !journal.committed {
        let manifest = match fs.read_own(&paths.manifest(), MAX_MANIFEST_BYTES) {
            Ok(manifest) => Some(manifest),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let manifest = manifest.map(|text| sha256_hex(&text));
        if manifest.as_ref() != Some(&journal.manifest_sha256) {
            let is_old = manifest == journal.old_manifest_sha256;
            let may = is_old
                && match by {
                    By::Key(key) => key.is_some_and(|key| stored.is_signed_by(key)),
                    By::Operator => true,
                };
            if !may || !journal.is_of_now(fs, paths)? {
                let reason = "it says that a restore was interrupted, but the log's key did not \
                              sign that for the log as it is now: run `auditctl restore` again, \
                              or, if nobody here ran a restore, move this file away";
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            places.undo()?;
            return Ok(None);
        }
        // Before anything changes the manifest again.
        stored.commit(fs, paths)?;
    }
    places.clear(&journal.staging);
    let is_signed = matches!(by, By::Key(Some(key)) if stored.is_signed_by(key));
    Ok(Some(Settled { restored: stored.journal.restored, is_signed }))
}

/// Whether a restore ended in the middle: then some of the files are those of before, and
/// some are new. One whose manifest is in place is complete for whoever reads; only its
/// record is still to be written, which takes the log's key.
#[must_use]
pub fn is_pending(fs: &dyn Fs, paths: &LogPaths) -> bool {
    if fs.meta(&paths.restore_journal()).is_err() {
        return false;
    }
    match Journal::load(fs, paths) {
        Ok(None) => false,
        Ok(Some(Stored { journal, .. })) if journal.committed => false,
        Ok(Some(Stored { journal, .. })) => {
            let there = fs.read_own(&paths.manifest(), MAX_MANIFEST_BYTES);
            !there.is_ok_and(|text| sha256_hex(&text) == journal.manifest_sha256)
        }
        Err(_) => true,
    }
}

/// The restore is complete and recorded: the journal goes.
///
/// # Errors
/// A file operation's; it is then recorded once more by the next opening.
pub fn forget(fs: &dyn Fs, paths: &LogPaths) -> io::Result<()> {
    fs.remove(&paths.restore_journal())?;
    fs.sync_dir(&paths.dir)
}

/// SHA-256 as 64 hexadecimal digits.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    crate::audit::tree::merkle::Hash::from_bytes(Sha256::digest(bytes).into()).to_string()
}

#[cfg(test)]
mod tests;
