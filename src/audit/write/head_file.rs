//! `audit.head`: a signed head over every batch that became durable, before
//! anybody is told that it is.
//!
//! It is written in place and not synced: it outlives the process, which is what
//! it is for. A loss of power may tear it; then the checkpoint speaks, and what
//! came after that is adopted as unsigned.

use std::io;

use crate::audit::paths::LogPaths;
use crate::audit::state::trouble::Trouble;
use crate::fsio::{Fs, FsFile, OpenMode, unshare};

/// The open file. One that cannot be had costs the proof of the last second after
/// a crash, and no record.
#[derive(Debug, Default)]
pub(crate) struct HeadFile {
    file: Option<Box<dyn FsFile>>,
    length: u64,
    /// The last write failed, and that was told.
    pub(crate) failing: bool,
}

impl HeadFile {
    pub(crate) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Opens it, and makes it when it is not there. What stands there and is no
    /// file is moved aside.
    pub(crate) fn open(fs: &dyn Fs, paths: &LogPaths, stamp: &str) -> Self {
        let path = paths.head();
        let attempt = || -> io::Result<(Box<dyn FsFile>, u64)> {
            unshare(fs, &path)?;
            let file = fs.open(&path, OpenMode::Create)?;
            let length = file.meta()?.len;
            Ok((file, length))
        };
        let opened = attempt().or_else(|_| {
            let aside = path.with_file_name(format!("audit.head.foreign-{stamp}"));
            fs.rename(&path, &aside)?;
            attempt()
        });
        match opened {
            Ok((file, length)) => Self { file: Some(file), length, failing: false },
            Err(error) => {
                tracing::warn!(code = Trouble::NoHead.code(), %error, "audit.head cannot be written");
                Self { failing: true, ..Self::default() }
            }
        }
    }

    /// Whether the name leads to the open file.
    pub(crate) fn is_named(&self, fs: &dyn Fs, paths: &LogPaths) -> bool {
        let open = self.file.as_ref().and_then(|file| file.meta().ok());
        let named = fs.entry(&paths.head()).ok();
        open.zip(named).is_some_and(|(open, named)| open.same_file(&named))
    }

    pub(crate) fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.write_all_at(text, 0)?;
        let length = text.len() as u64;
        if length < self.length {
            file.set_len(length)?;
        }
        self.length = length;
        Ok(())
    }
}
