//! `security_events.log` itself: appended to, and bounded by rotation.

use std::io;
use std::path::PathBuf;

use super::Line;
use crate::fsio::aside::{copy_to_new, set_aside};
use crate::fsio::{self, FsFile, OpenMode, SharedFs};

/// The file is renamed to `<name>.1`, replacing that, before it grows past this.
pub(crate) const MAX_FILE_BYTES: u64 = 10 << 20;
/// While so much could not be written, no more is taken in.
pub(super) const MAX_WAITING_BYTES: usize = 1 << 20;

type OpenFile = Option<Box<dyn FsFile>>;

/// What a look at the file found.
#[derive(Debug)]
pub(crate) enum Looked {
    /// It is the one that is written, or nobody needs it to be.
    Fine,
    /// It was not, and is again.
    PutBack { what: &'static str, set_aside: Option<String> },
    /// It was not, and cannot be put back at the moment.
    Failed { what: &'static str, error: io::Error },
    /// It is shorter than what was written.
    Cut,
}

#[derive(Debug)]
pub(super) struct LogFile {
    fs: SharedFs,
    path: PathBuf,
    open: OpenFile,
    /// How long the open file has to be.
    end: u64,
    /// Whole lines, not yet written.
    waiting: Vec<u8>,
}

impl LogFile {
    pub(super) fn new(fs: SharedFs, path: PathBuf) -> Self {
        Self { fs, path, open: None, end: 0, waiting: Vec::new() }
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING_BYTES
    }

    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn push(&mut self, line: &Line) {
        let before = self.waiting.len();
        match serde_json::to_writer(&mut self.waiting, line) {
            Ok(()) => self.waiting.push(b'\n'),
            // Strings and numbers into memory: it cannot fail; half a line would be worse.
            Err(_) => self.waiting.truncate(before),
        }
    }

    /// Appends what waits; keeps it when that fails.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.append() {
            // Whatever is wrong with it: look at it anew next time.
            self.open = None;
            let message = format!("{}: {error}", self.path.display());
            return Err(io::Error::new(error.kind(), message));
        }
        self.waiting.clear();
        Ok(())
    }

    fn append(&mut self) -> io::Result<()> {
        let mut file = self.file()?;
        let mut end = file.meta()?.len;
        if end > 0 && end + self.waiting.len() as u64 > MAX_FILE_BYTES {
            drop(file);
            self.fs.rename(&self.path, &self.predecessor())?;
            file = self.opened()?;
            end = file.meta()?.len;
        }
        if let Err(error) = file.write_all_at(&self.waiting, end) {
            // So that the next attempt does not follow half a line.
            let _ = file.set_len(end);
            return Err(error);
        }
        self.end = end + self.waiting.len() as u64;
        self.open = Some(file);
        Ok(())
    }

    /// See [`SecurityLog::look`](super::SecurityLog::look).
    pub(super) fn look(&mut self, stamp: &str) -> Looked {
        let named = match self.fs.entry(&self.path) {
            Ok(named) => Some(named),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => return Looked::Fine,
        };
        let Some(file) = self.open.take() else {
            return match named {
                Some(named) if !named.is_file => self.put_back("replaced", None, stamp),
                // From now on it is known which one it is.
                Some(_) => {
                    self.begin();
                    Looked::Fine
                }
                None => Looked::Fine,
            };
        };
        let Ok(open) = file.meta() else { return Looked::Fine };
        let what = match &named {
            Some(named) if named.same_file(&open) => {
                self.open = Some(file);
                let cut = open.len < self.end;
                self.end = open.len;
                return if cut { Looked::Cut } else { Looked::Fine };
            }
            Some(_) => "replaced",
            None => "deleted",
        };
        // Whoever moved it away has it, as log rotation does: the next line begins
        // a new file.
        let moved = open.links > 0;
        if moved && named.is_none_or(|named| named.is_file) {
            return Looked::Fine;
        }
        self.put_back(what, (!moved).then_some(file), stamp)
    }

    fn begin(&mut self) {
        if let Ok(file) = self.opened()
            && let Ok(meta) = file.meta()
        {
            self.end = meta.len;
            self.open = Some(file);
        }
    }

    fn put_back(&mut self, what: &'static str, file: OpenFile, stamp: &str) -> Looked {
        let attempt = || -> io::Result<(Option<String>, OpenFile)> {
            let aside = set_aside(&*self.fs, &self.path, stamp)?;
            let Some(file) = &file else { return Ok((aside, None)) };
            let temporary = fsio::temporary_name(&self.path);
            let length = file.meta()?.len;
            let copy = copy_to_new(&*self.fs, &**file, 0, length, &temporary)?;
            self.fs.rename(&temporary, &self.path)?;
            Ok((aside, Some(copy)))
        };
        match attempt() {
            Ok((set_aside, copy)) => {
                self.open = copy;
                Looked::PutBack { what, set_aside }
            }
            Err(error) => {
                // Kept: it may be the only copy.
                self.open = file;
                Looked::Failed { what, error }
            }
        }
    }

    /// The open file, if that is still what the name stands for.
    fn file(&mut self) -> io::Result<Box<dyn FsFile>> {
        if let Some(file) = self.open.take()
            && let (Ok(named), Ok(opened)) = (self.fs.meta(&self.path), file.meta())
            && named.same_file(&opened)
        {
            return Ok(file);
        }
        self.opened()
    }

    /// Opens it, at a line's beginning: a crash may have left half a line.
    fn opened(&self) -> io::Result<Box<dyn FsFile>> {
        fsio::unshare(&*self.fs, &self.path)?;
        let file = self.fs.open(&self.path, OpenMode::Create)?;
        let meta = file.meta()?;
        if meta.len > 0 {
            let mut last = [0];
            file.read_exact_at(&mut last, meta.len - 1)?;
            if last != *b"\n" {
                file.write_all_at(b"\n", meta.len)?;
            }
        }
        Ok(file)
    }

    fn predecessor(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        name.into()
    }
}
