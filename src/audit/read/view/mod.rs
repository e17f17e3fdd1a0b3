//! A log's files, looked at beside whoever writes it: without a lock, and without stopping
//! anybody.
//!
//! Queries, verification, proofs, snapshots and surveys all look this way, and each decides for
//! itself what it makes of what does not fit. What moves meanwhile is told apart from what is
//! gone in one place, [`LogView::segment`].

mod tail;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::error::ReadError;
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::restore;
use crate::audit::keys::checkpoint::read_note;
use crate::audit::paths::{ACTIVE, LogPaths, parse_sealed_name, sealed_name};
use crate::fsio::{FsFile, OpenMode, SharedFs};
pub(in crate::audit) use tail::Tail;
pub(in crate::audit::read) use tail::offset_of;

/// A rotation takes the writer a moment; looking again so often outlasts it.
const LOOKS: u32 = 200;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A log's directory, as a reader sees it.
#[derive(Clone, Debug)]
pub(in crate::audit) struct LogView {
    pub(in crate::audit) fs: SharedFs,
    pub(in crate::audit) paths: LogPaths,
}

/// What one look found.
#[derive(Debug)]
pub(in crate::audit) enum Look<T> {
    /// It stands.
    Settled(T),
    /// A writer may have been between two steps: it stands only if it never gets better.
    Moving(T),
}

/// Where a sealed segment is.
#[derive(Debug)]
pub(in crate::audit) enum Stored {
    /// Its file, and the segment as it is there now: the same records, perhaps
    /// compressed since.
    Here(Box<dyn FsFile>, Box<Segment>),
    /// The log does not list it any more: retention removed it, or a restore replaced the log.
    Removed,
    /// The log lists it, and it is not there, or is no regular file.
    Missing(ReadError),
}

impl LogView {
    pub(in crate::audit) fn new(fs: &SharedFs, dir: &Path) -> Self {
        Self { fs: fs.clone(), paths: LogPaths::new(dir) }
    }

    /// Looks until what is found fits together, or a writer has had time enough.
    ///
    /// # Errors
    /// A restore was interrupted; what the last look says.
    pub(in crate::audit) fn settled<T>(
        &self,
        mut look: impl FnMut() -> Look<Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        let mut left = LOOKS;
        loop {
            if restore::is_pending(&*self.fs, &self.paths) {
                return Err(ReadError::RestorePending { dir: self.paths.dir.clone() });
            }
            left -= 1;
            match look() {
                Look::Moving(_) if left > 0 => std::thread::sleep(LOOK_AGAIN),
                Look::Settled(found) | Look::Moving(found) => return found,
            }
        }
    }

    /// Whether a writer holds the lock.
    pub(in crate::audit) fn is_live(&self) -> bool {
        self.paths.writer_runs().unwrap_or(false)
    }

    /// The newest checkpoint's note, whatever it holds; `None` when there is none.
    pub(in crate::audit) fn note(&self) -> io::Result<Option<Vec<u8>>> {
        read_note(&*self.fs, &self.paths.checkpoint())
    }

    /// The signed head's note, likewise.
    pub(in crate::audit) fn head(&self) -> io::Result<Option<Vec<u8>>> {
        read_note(&*self.fs, &self.paths.head())
    }

    /// What is sealed now.
    ///
    /// # Errors
    /// It is not there, or cannot be used.
    pub(in crate::audit) fn manifest(&self) -> Result<Manifest, ReadError> {
        Manifest::load(&*self.fs, &self.paths.manifest())?
            .ok_or_else(|| self.no_log("audit.manifest.json"))
    }

    /// That file is missing: there is no log, or one that lacks it.
    pub(in crate::audit) fn no_log(&self, missing: &'static str) -> ReadError {
        let dir = self.paths.dir.clone();
        let others = [self.paths.manifest(), self.paths.active(), self.paths.checkpoint()];
        // An empty one holds nothing.
        if others.iter().any(|path| self.fs.meta(path).is_ok_and(|meta| meta.len > 0)) {
            return ReadError::NoHead { dir, missing };
        }
        ReadError::NoLog { dir, missing }
    }

    /// Opens one of the log's files; `None` when it is not there.
    ///
    /// # Errors
    /// It cannot be opened, or is no regular file.
    pub(in crate::audit) fn open(&self, path: &Path) -> Result<Option<Box<dyn FsFile>>, ReadError> {
        match self.fs.open(path, OpenMode::ReadOwn) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReadError::io("open", path, source)),
        }
    }

    /// A sealed segment's file, wherever it is by now. `listed` says what is sealed by then;
    /// `None` where that cannot be told.
    ///
    /// # Errors
    /// It is there and cannot be opened; those of `listed`.
    pub(in crate::audit) fn segment(
        &self,
        segment: &Segment,
        listed: impl Fn() -> Result<Option<Arc<Manifest>>, ReadError>,
    ) -> Result<Stored, ReadError> {
        let mut segment = segment.clone();
        for _ in 0..LOOKS {
            let path = self.paths.dir.join(&segment.file);
            let missing = match self.fs.open(&path, OpenMode::ReadOwn) {
                Ok(file) => return Ok(Stored::Here(file, Box::new(segment))),
                Err(error) if is_no_file(&error) => error,
                Err(source) => return Err(ReadError::io("open", &path, source)),
            };
            let missing = Stored::Missing(ReadError::io("open", &path, missing));
            let Some(now) = listed()? else { return Ok(missing) };
            match now.segments.beginning_at(segment.first_seq) {
                Some(now) if now.file != segment.file => segment = now.clone(),
                Some(_) => return Ok(missing),
                None => return Ok(Stored::Removed),
            }
        }
        // It changes again and again.
        Ok(Stored::Removed)
    }

    /// The plain files from record `next` on, each of which begins where the one before ends.
    ///
    /// # Errors
    /// One that is there cannot be read.
    pub(in crate::audit) fn tails(&self, next: u64) -> Result<Vec<Tail>, ReadError> {
        let mut tails: Vec<Tail> = Vec::new();
        let mut next = next;
        loop {
            let tail = match self.tail(sealed_name(next, false))? {
                Some(tail) => tail,
                None => match self.tail(ACTIVE.to_owned())? {
                    Some(tail) => tail,
                    None => return Ok(tails),
                },
            };
            let Some(seqs) = tail.seqs.clone().filter(|seqs| seqs.start == next) else {
                // Empty, damaged from its first line on, or sealed meanwhile.
                return Ok(tails);
            };
            let last = tail.is_active() || seqs.is_empty();
            tails.push(tail);
            if last {
                return Ok(tails);
            }
            next = seqs.end;
        }
    }

    /// A file of records by its name; `None` when there is no regular file of that name.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(in crate::audit) fn tail(&self, name: String) -> Result<Option<Tail>, ReadError> {
        let path = self.paths.dir.join(&name);
        let file = match self.fs.open(&path, OpenMode::ReadOwn) {
            Ok(file) => file,
            Err(error) if is_no_file(&error) => return Ok(None),
            Err(source) => return Err(ReadError::io("open", &path, source)),
        };
        Tail::of(name, file).map(Some).map_err(|source| ReadError::io("read", &path, source))
    }

    /// The sealed segments' files that are there: their first record, and whether they are
    /// compressed.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub(in crate::audit) fn sealed_names(&self) -> Result<BTreeSet<(u64, bool)>, ReadError> {
        let dir = &self.paths.dir;
        match self.fs.list(dir) {
            Ok(names) => Ok(names.iter().filter_map(|name| parse_sealed_name(name)).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.no_log("audit.manifest.json"))
            }
            Err(source) => Err(ReadError::io("list", dir, source)),
        }
    }
}

/// A directory, a FIFO or a link in a file's place is no file either.
fn is_no_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}
