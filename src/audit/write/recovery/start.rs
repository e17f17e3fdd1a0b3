//! What comes before the log's records are looked at: the directory, its lock, and a
//! restore that was interrupted.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use super::error::io_error;
use super::{OpenError, Opening, RESTORE_ACTION};
use crate::audit::files::restore::{self, By, Settled};
use crate::audit::keys::signer::SigningKey;
use crate::audit::paths::LogPaths;
use crate::audit::state::status::StatusSnapshot;
use crate::audit::tree::document::newer_behind;
use crate::audit::write::options::Options;
use crate::fsio::lock::WriterLock;
use crate::fsio::{self, Fs};

/// Makes the directory if there is none, and takes the writer's lock.
pub(super) fn lock(options: &Options, paths: &LogPaths) -> Result<WriterLock, OpenError> {
    fsio::make_dirs(&*options.fs, &options.dir)
        .map_err(io_error("make the directory", &options.dir))?;
    let path = paths.lock();
    match paths.lock_for_writing() {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(OpenError::Locked { path }),
        Err(source) => Err(OpenError::Io { action: "lock", path, source }),
    }
}

/// Finishes or undoes a restore that was interrupted. One that is complete is still to be
/// recorded.
pub(super) fn settle_restore(
    options: &Options,
    paths: &LogPaths,
) -> Result<Option<Settled>, OpenError> {
    let fs = &*options.fs;
    let journal = paths.restore_journal();
    // Asked for only where a restore left something.
    let key = fs.entry(&journal).is_ok().then(|| {
        let path = options.key_path.clone().unwrap_or_else(|| paths.key());
        SigningKey::load(fs, &path).ok().map(|key| key.verifier().clone())
    });
    let key = key.flatten();
    restore::settle(fs, paths, By::Key(key.as_ref())).map_err(|error| match newer_behind(&error) {
        Some(source) => OpenError::Newer { path: journal, source: source.clone() },
        None => io_error(RESTORE_ACTION, &journal)(error),
    })
}

/// What is in the log's directory.
pub(super) fn names(options: &Options) -> Result<BTreeSet<String>, OpenError> {
    let names = options.fs.list(&options.dir).map_err(io_error("list", &options.dir))?;
    Ok(names.into_iter().collect())
}

impl<'a> Opening<'a> {
    pub(super) fn new(
        options: &'a Options,
        fs: &'a dyn Fs,
        (paths, names): (&'a LogPaths, &'a BTreeSet<String>),
        settled: Option<Settled>,
    ) -> Self {
        let earlier = StatusSnapshot::read(&paths.status()).ok();
        Self { options, fs, paths, names, earlier, settled, claimed: OnceLock::new() }
    }

    pub(super) fn start_error(&self, reason: impl ToString) -> OpenError {
        OpenError::Start { dir: self.options.dir.clone(), reason: reason.to_string() }
    }
}
