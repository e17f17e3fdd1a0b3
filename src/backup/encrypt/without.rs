//! Without the feature `encryption`: everything that needs it says so.

use std::io::{self, Write};
use std::path::Path;

use super::super::digest::Digests;
use super::super::error::BackupError;
use super::KeyFile;
use crate::audit::record::secret::Secret;
use crate::fsio::FsFile;

pub(in crate::backup) struct Recipients;
pub(in crate::backup) struct Identities;

fn absent<T>() -> Result<T, BackupError> {
    let what = "this auditctl was built without the feature `encryption`";
    Err(BackupError::Usage(what.to_owned()))
}

impl Recipients {
    pub(in crate::backup) fn parse(texts: &[String]) -> Result<Self, BackupError> {
        if texts.is_empty() { Ok(Self) } else { absent() }
    }
}

/// There is none.
pub(in crate::backup) enum Sealing {}

impl Sealing {
    pub(in crate::backup) fn begin(
        _: &dyn FsFile,
        _: &Path,
        _: &Recipients,
    ) -> Result<Self, BackupError> {
        absent()
    }

    pub(in crate::backup) fn finish(self) -> io::Result<(Digests, Identities)> {
        match self {}
    }
}

impl Write for Sealing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match *self {}
    }
}

pub(in crate::backup) fn identities(_: &[KeyFile]) -> Result<Identities, BackupError> {
    absent()
}

pub(in crate::backup) fn open_sealed(
    _: Box<dyn FsFile>,
    _: &Path,
    _: &Identities,
) -> Result<Box<dyn FsFile>, BackupError> {
    absent()
}

pub(in crate::backup) fn seal(_: &[u8], _: &Recipients) -> Result<String, BackupError> {
    absent()
}

pub(in crate::backup) fn unseal(_: &[u8], _: &Identities) -> Result<Secret<Vec<u8>>, String> {
    Err("this auditctl was built without the feature `encryption`".to_owned())
}
