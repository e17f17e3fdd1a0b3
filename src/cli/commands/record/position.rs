//! How far an import of files has come, kept beside it, so that the same command goes on
//! there after an interruption: `$XDG_STATE_HOME/auditctl/imports`.
//!
//! It says which lines were acknowledged, by their number and their digest, and under
//! which id the log has their records. It is written now and then: what came after it
//! the log itself is asked for. What it says is compared with the files and with the
//! log before anything rests on it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::input;
use super::lines::Mark;
use crate::audit::ImportId;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::config::Settings;
use crate::fsio::lock::{FileLock, try_lock};
use crate::fsio::{Fs, OsFs, inspect, make_dirs, replace_file};
use crate::json_place::JsonError;

/// Written so often, at most: a write waits for the disk.
const EVERY: Duration = Duration::from_secs(1);
const MAX_BYTES: u64 = 1 << 20;
const KIND: &str = "auditctl/import";

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Document {
    #[serde(rename = "type")]
    kind: String,
    format: u32,
    /// The import's id.
    id: String,
    files: Vec<PathBuf>,
    /// Of these the one that is being read.
    file: usize,
    /// Its last line that is done, from 1.
    line: u64,
    /// Over all lines up to there.
    sha256: String,
    /// Records of this import from this seq on are not counted here.
    pub(super) from_seq: u64,
    /// The last that is.
    pub(super) last_seq: Option<u64>,
    /// How many.
    pub(super) recorded: u64,
}

/// Where an import stands.
pub(super) struct Position {
    /// Where that is kept; `None` where it cannot be, or of what cannot be read again.
    kept: Option<Kept>,
    pub(super) id: ImportId,
    /// What was kept by a run before.
    pub(super) before: Option<Document>,
    files: Vec<PathBuf>,
}

struct Kept {
    path: PathBuf,
    lock: PathBuf,
    /// Nobody else imports the same meanwhile.
    _held: FileLock,
    written: Option<Instant>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Where nothing is to be gone on with, nothing stays.
        if OsFs.entry(&self.path).is_err() {
            let _ = OsFs.remove(&self.lock);
        }
    }
}

impl Position {
    /// Of an import of these files, which may have been begun before. With `from_start`
    /// that is forgotten.
    pub(super) fn of(
        context: &Context,
        settings: &Settings,
        (files, format): (&[PathBuf], &str),
        from_start: bool,
    ) -> Result<Self, CliError> {
        let id = ImportId::random()
            .ok_or_else(|| CliError::new("io", Exit::Failed, "the system has no random numbers"))?;
        let new = Self { kept: None, id, before: None, files: Vec::new() };
        if files.is_empty() {
            return Ok(new);
        }
        for file in files {
            // What is not there is told by whoever opens it.
            if !input::regular(file).is_ok_and(|meta| meta.is_some()) {
                return Ok(new);
            }
        }
        let unkept = |why: &str| {
            context.printer.note(&format!(
                "auditctl: if this import is interrupted, it cannot continue where it stopped: \
                 {why}"
            ));
        };
        let Some(dir) = context.state_dir() else {
            unkept("neither XDG_STATE_HOME nor HOME is set");
            return Ok(new);
        };
        let dir = dir.join("imports");
        if let Err(error) = make_dirs(&OsFs, &dir) {
            unkept(&format!("{}: {error}", dir.display()));
            return Ok(new);
        }
        let files: Vec<PathBuf> = files
            .iter()
            .map(|file| inspect::resolved(file).unwrap_or_else(|_| file.clone()))
            .collect();
        let name = name_of(settings, &files, format);
        let (path, lock) = (dir.join(format!("{name}.json")), dir.join(format!("{name}.lock")));
        let held = match try_lock(&lock) {
            Ok(Some(held)) => held,
            Ok(None) => {
                let text = "another auditctl is importing the same files into the same log";
                let error = CliError::new("busy", Exit::Busy, text);
                return Err(error
                    .hint(format!("wait until it ends; `lslocks` names it ({})", lock.display())));
            }
            Err(error) => {
                unkept(&format!("{}: {error}", lock.display()));
                return Ok(new);
            }
        };
        remove_half_written(&dir, &name);
        let kept = Kept { path, lock, _held: held, written: None };
        let before = if from_start { None } else { kept.read()? };
        let id = match &before {
            Some(before) => before.id.parse().map_err(|reason: &str| kept.wrong(reason))?,
            None => new.id,
        };
        Ok(Self { kept: Some(kept), id, before, files })
    }

    /// The place after which a run before ended, and the digest of what comes before it.
    pub(super) fn mark(&self) -> Option<(usize, u64, &str)> {
        self.before.as_ref().map(|before| (before.file, before.line, &*before.sha256))
    }

    /// Whether the same command will go on where this one ends.
    pub(super) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Whoever may not ask the log what arrived cannot go on exactly, and does not try.
    ///
    /// # Errors
    /// When a run before was by somebody who may.
    pub(super) fn only_if(&mut self, may_ask: bool) -> Result<(), CliError> {
        if may_ask {
            return Ok(());
        }
        if self.before.is_some() {
            let text = "only root and the collector's user may ask the log what has arrived";
            return Err(self.wrong(text));
        }
        self.kept = None;
        Ok(())
    }

    /// All up to the mark is done; records of the import from `from_seq` on are not. Returns
    /// whether it was time to write that down.
    pub(super) fn save(
        &mut self,
        context: &Context,
        mark: &Mark,
        (from_seq, last_seq, recorded): (u64, Option<u64>, u64),
        at_once: bool,
    ) -> bool {
        let Some(kept) = &mut self.kept else { return false };
        if !at_once && kept.written.is_some_and(|at| at.elapsed() < EVERY) {
            return false;
        }
        let document = Document {
            kind: KIND.to_owned(),
            format: 1,
            id: self.id.as_str().to_owned(),
            files: self.files.clone(),
            file: mark.file,
            line: mark.line,
            sha256: mark.digest(),
            from_seq,
            last_seq,
            recorded,
        };
        let text = serde_json::to_vec(&document).unwrap_or_default();
        if let Err(error) = replace_file(&OsFs, &kept.path, &text) {
            // What was written before may be far behind, and is right all the same.
            context.printer.note(&format!(
                "auditctl: cannot note the progress of the import in {}: {error}",
                kept.path.display()
            ));
        }
        kept.written = Some(Instant::now());
        true
    }

    /// All is done: there is nothing to go on with.
    pub(super) fn done(self) {
        if let Some(kept) = self.kept {
            let _ = OsFs.remove(&kept.path);
        }
    }

    /// What to say when the files or the log are not what the position says.
    pub(super) fn wrong(&self, what: &str) -> CliError {
        match &self.kept {
            Some(kept) => kept.wrong(what),
            None => CliError::new("resume", Exit::Failed, what),
        }
    }
}

impl Kept {
    fn read(&self) -> Result<Option<Document>, CliError> {
        let bytes = match OsFs.read_own(&self.path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.wrong(&error.to_string())),
        };
        let document: Document = serde_json::from_slice(&bytes)
            .map_err(|error| self.wrong(&JsonError::of(&error, &bytes).to_string()))?;
        if document.kind != KIND || document.format != 1 {
            return Err(self.wrong("another version of auditctl wrote it"));
        }
        Ok(Some(document))
    }

    fn wrong(&self, what: &str) -> CliError {
        let text = format!("an import of these files was interrupted and cannot continue: {what}");
        let mut new = CliError::new("resume", Exit::Failed, text).hint(format!(
            "undo the change, or record everything again with --from-start ({} says how far the \
             import was)",
            self.path.display()
        ));
        new.path = Some(self.path.clone());
        new
    }
}

/// What a run left that was killed while it wrote. The lock is held: none is at it.
fn remove_half_written(dir: &Path, name: &str) {
    let begin = format!("{name}.json.");
    for left in OsFs.list(dir).unwrap_or_default() {
        if left.starts_with(&begin) {
            let _ = OsFs.remove(&dir.join(left));
        }
    }
}

/// One for each log, list of files, and mapping.
fn name_of(settings: &Settings, files: &[PathBuf], format: &str) -> String {
    let mut digest = Sha256::new();
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    for path in [absolute(&settings.log_dir), absolute(&settings.socket_path())].iter().chain(files)
    {
        digest.update(path.as_os_str().as_encoded_bytes());
        digest.update([0]);
    }
    digest.update(format);
    format!("{:x}", digest.finalize())
}
