//! Without the feature `encryption`: everything that needs it says so.

use std::path::Path;

use super::super::digest::Digests;
use super::super::error::BackupError;
use super::KeyFile;
use crate::audit::secret::Secret;
use crate::audit::watch::Watch;
use crate::fsio::Fs;

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

pub(in crate::backup) fn encrypt(
    _: &dyn Fs,
    _: &Path,
    _: &Digests,
    _: &Path,
    _: &Recipients,
    _: &dyn Watch,
) -> Result<Digests, BackupError> {
    absent()
}

pub(in crate::backup) fn identities(_: &[KeyFile]) -> Result<Identities, BackupError> {
    absent()
}

pub(in crate::backup) fn decrypt(
    _: &dyn Fs,
    _: &Path,
    _: &Path,
    _: &Identities,
    _: &dyn Watch,
) -> Result<Digests, BackupError> {
    absent()
}

pub(in crate::backup) fn seal(_: &[u8], _: &Recipients) -> Result<String, BackupError> {
    absent()
}

pub(in crate::backup) fn unseal(_: &[u8], _: &Identities) -> Result<Secret<Vec<u8>>, String> {
    Err("this auditctl was built without the feature `encryption`".to_owned())
}
