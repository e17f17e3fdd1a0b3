//! `security_events.log` itself: appended to, and bounded by rotation.

use std::io;
use std::path::PathBuf;

use super::Line;
use crate::fsio::{self, FsFile, OpenMode, SharedFs};

/// The file is renamed to `<name>.1`, replacing that, before it grows past this.
pub(super) const MAX_FILE_BYTES: u64 = 10 << 20;
/// While so much could not be written, no more is taken in.
pub(super) const MAX_WAITING_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct LogFile {
    fs: SharedFs,
    path: PathBuf,
    open: Option<Box<dyn FsFile>>,
    /// Whole lines, not yet written.
    waiting: Vec<u8>,
}

impl LogFile {
    pub(super) fn new(fs: SharedFs, path: PathBuf) -> Self {
        Self { fs, path, open: None, waiting: Vec::new() }
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
        self.open = Some(file);
        Ok(())
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
