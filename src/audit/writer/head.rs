//! `audit.head`: a signed head over every batch that became durable, before
//! anybody is told that it is.
//!
//! It is written in place and not synced: it outlives the process, which is what
//! it is for. A loss of power may tear it; then the checkpoint speaks, and what
//! came after that is adopted as unsigned.

use std::io;

use super::Writer;
use crate::audit::own_files::OwnFile;
use crate::audit::paths::LogPaths;
use crate::audit::status::Word;
use crate::audit::trouble::Trouble;
use crate::fsio::{Fs, FsFile, OpenMode, unshare};

/// The open file. One that cannot be had costs the proof of the last second after
/// a crash, and no record.
#[derive(Debug, Default)]
pub(crate) struct HeadFile {
    file: Option<Box<dyn FsFile>>,
    length: u64,
    failing: bool,
}

impl HeadFile {
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
    fn is_named(&self, fs: &dyn Fs, paths: &LogPaths) -> bool {
        let open = self.file.as_ref().and_then(|file| file.meta().ok());
        let named = fs.entry(&paths.head()).ok();
        open.zip(named).is_some_and(|(open, named)| open.same_file(&named))
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
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

impl Writer {
    /// Goes on in the file that has the name, which was put back or could not be had
    /// before.
    pub(super) fn follow_head(&mut self) {
        let (fs, paths) = (&*self.shared.options.fs, &self.shared.paths);
        if !self.head.is_named(fs, paths) {
            let stamp = self.shared.options.clock.now().file_stamp();
            let failing = self.head.failing;
            self.head = HeadFile::open(fs, paths, &stamp);
            // It is told once.
            self.head.failing |= failing && self.head.file.is_none();
        }
    }

    /// Signs the tree over what is durable; false when it must not be
    /// acknowledged, because it contradicts what was signed.
    pub(super) fn sign_head(&mut self) -> bool {
        // Until a change of key is stored neither key may sign: the next
        // checkpoint does.
        if self.keys.pending.is_some() {
            return true;
        }
        let signed = match self.signer.sign(&self.durable_tree, &self.grown) {
            Ok(signed) => signed,
            Err(error) => {
                self.poison(&error.to_string());
                return false;
            }
        };
        self.grown.reset(self.durable_tree.end());
        let text = signed.to_string();
        let written = self.head.write(text.as_bytes());
        if written.is_ok() && self.head.file.is_some() {
            self.own_files.holds(OwnFile::Head, text.as_bytes());
        } else {
            self.own_files.forget(OwnFile::Head);
        }
        match written {
            Ok(()) => self.head.failing = false,
            Err(error) if !self.head.failing => {
                self.head.failing = true;
                self.shared.page.add(Word::MaintenanceErrors, 1);
                tracing::warn!(code = Trouble::NoHead.code(), %error, "audit.head could not be written");
            }
            Err(_) => {}
        }
        true
    }
}
