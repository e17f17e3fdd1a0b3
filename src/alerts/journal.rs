//! `audit.alerts.journal`: the state on disk, as the changes that lead to it.
//!
//! NDJSON. The first line names the format and the log; each further line is one
//! [`Change`], written and synced before anybody acts on it. So a crash leaves
//! either all of a change or none: at most a torn last line, which is cut. When the
//! file has grown, it is replaced by one line that leads to the same state.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::state::{Change, State};
use crate::fsio::{self, Fs, FsFile, OpenMode, SharedFs};

/// The file is never smaller than this when it is replaced.
const MIN_COMPACT_BYTES: u64 = 256 << 10;
/// A file larger than this is none of ours.
pub(super) const MAX_JOURNAL_BYTES: u64 = 4 << 30;
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    log_id: String,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another version's.
    #[error("{path} is of format {found}, this version knows {FORMAT}; move it away to begin anew")]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    fs: SharedFs,
    path: PathBuf,
    log_id: String,
    file: Box<dyn FsFile>,
    length: u64,
    compact_at: u64,
}

/// What was found when it was opened.
#[derive(Debug)]
pub(super) struct Found {
    /// The journal, ready to be written.
    pub journal: Journal,
    /// The state; the default where there was none.
    pub state: State,
    /// Where a damaged one was set aside.
    pub set_aside: Option<PathBuf>,
}

impl Journal {
    /// Reads the journal, and begins it anew with what it said. One of another log
    /// is set aside, and so is one with damage before its last line: `stamp` ends
    /// its name.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(super) fn open(
        fs: &SharedFs,
        path: &Path,
        (log_id, stamp): (&str, &str),
    ) -> Result<Found, JournalError> {
        let failed =
            |action| move |source| JournalError::Io { action, path: path.to_path_buf(), source };
        let content = match fs.read(path, MAX_JOURNAL_BYTES) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed("read")(error)),
        };
        let (state, is_whole) = read(&content, path, log_id)?;
        let mut set_aside = None;
        if !is_whole {
            let aside = path.with_extension(format!("journal.bad-{stamp}"));
            fs.rename(path, &aside).map_err(failed("set aside"))?;
            set_aside = Some(aside);
        }
        let log_id = log_id.to_owned();
        let (file, length) = begin(&**fs, path, &log_id, &state).map_err(failed("write"))?;
        let compact_at = (2 * length).max(MIN_COMPACT_BYTES);
        let journal =
            Self { fs: fs.clone(), path: path.to_path_buf(), log_id, file, length, compact_at };
        Ok(Found { journal, state, set_aside })
    }

    /// Stores a change, durably. `after` is the state once it is made.
    ///
    /// # Errors
    /// When it is not stored; the file is then as it was.
    pub(super) fn append(&mut self, change: &Change, after: &State) -> Result<(), JournalError> {
        let action = "write";
        let failed = |source| JournalError::Io { action, path: self.path.clone(), source };
        if self.length > self.compact_at {
            let (file, length) =
                begin(&*self.fs, &self.path, &self.log_id, after).map_err(failed)?;
            (self.file, self.length) = (file, length);
            self.compact_at = (2 * length).max(MIN_COMPACT_BYTES);
            return Ok(());
        }
        let line = line(change).map_err(failed)?;
        let written =
            self.file.write_all_at(&line, self.length).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // What cannot be cut is a torn line at most, overwritten by the next.
            let _ = self.file.set_len(self.length);
            return Err(failed(source));
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

/// The state, and whether nothing but the last line is torn.
fn read(content: &[u8], path: &Path, log_id: &str) -> Result<(State, bool), JournalError> {
    let mut state = State::default();
    let mut lines = content.split_inclusive(|byte| *byte == b'\n');
    let Some(first) = lines.next() else { return Ok((state, true)) };
    match serde_json::from_slice::<Header>(first) {
        Ok(header) if header.format != FORMAT => {
            return Err(JournalError::Format { path: path.to_path_buf(), found: header.format });
        }
        Ok(header) if header.log_id == log_id => {}
        _ => return Ok((state, false)),
    }
    while let Some(line) = lines.next() {
        let change = line.ends_with(b"\n").then(|| serde_json::from_slice::<Change>(line).ok());
        match change.flatten() {
            Some(change) => state.apply(&change),
            None => return Ok((state, lines.next().is_none())),
        }
    }
    Ok((state, true))
}

fn line(content: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(content).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line)
}

/// Replaces the file by one that leads to the state.
fn begin(
    fs: &dyn Fs,
    path: &Path,
    log_id: &str,
    state: &State,
) -> io::Result<(Box<dyn FsFile>, u64)> {
    let mut content = line(&Header { format: FORMAT, log_id: log_id.to_owned() })?;
    content.extend(line(&state.snapshot())?);
    fsio::replace_file(fs, path, &content)?;
    Ok((fs.open(path, OpenMode::Write)?, content.len() as u64))
}
