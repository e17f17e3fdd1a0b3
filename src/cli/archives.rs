//! Where an archive is, as it is named on the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cloud::Cloud;
use super::exit::{CliError, Exit};
use super::progress::Progress;
use crate::archive::{ArchiveError, Assembled, Reader, Wanted};
use crate::audit::read::error::ReadError;
use crate::backup::{BackupDir, BackupError, FetchPlace};
use crate::clock::Timestamp;
use crate::fsio::{Fs, OsFs};
use crate::health::wording::count;
use crate::store::{BackupStore, LocalStore, StoreError};

/// An archive: a cloud's, or a directory.
#[derive(Clone, Debug)]
pub(super) enum Archive {
    Cloud(Cloud),
    Directory(PathBuf),
}

/// What was put together from one. Its file is there for as long as this is.
#[derive(Debug)]
pub(super) struct FromArchive {
    pub(super) path: PathBuf,
    tree_size: u64,
    last_accepted: Option<Timestamp>,
    _place: FetchPlace,
}

impl Archive {
    /// Reads `s3://BUCKET/PREFIX`, or a directory.
    ///
    /// # Errors
    /// Usage: it is not written as one, or this build cannot talk to it.
    pub(super) fn parse(text: &str) -> Result<Self, CliError> {
        match Cloud::of_folder(text)? {
            Some(cloud) => Ok(Self::Cloud(cloud)),
            None => Ok(Self::Directory(PathBuf::from(text))),
        }
    }

    /// The archive that `restore` is given: a URL that names no backup, or a directory that
    /// holds one.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(super) fn to_restore(text: &str) -> Result<Option<Self>, CliError> {
        if text.contains("://") {
            return match Cloud::names_backup(text) {
                true => Ok(None),
                false => Self::parse(text).map(Some),
            };
        }
        let is_there = OsFs.list(&Path::new(text).join("proof")).is_ok();
        Ok(is_there.then(|| Self::Directory(PathBuf::from(text))))
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Cloud(cloud) => cloud.url(),
            Self::Directory(path) => path.display().to_string(),
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// No credentials, as far as that can be told without asking.
    pub(super) fn connect(&self, progress: &Progress) -> Result<Arc<dyn BackupStore>, StoreError> {
        match self {
            Self::Cloud(cloud) => cloud.connect(None, progress),
            // Where shipping goes on is kept with the directory: it must not depend on where
            // the command is run.
            Self::Directory(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                Ok(Arc::new(LocalStore::new(path)))
            }
        }
    }

    /// Puts together what is to be restored, in a place of its own in `into`.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub(super) fn fetch(
        &self,
        wanted: &Wanted,
        into: &BackupDir,
        progress: &Progress,
    ) -> Result<FromArchive, CliError> {
        let place = into.fetch_place("archive").map_err(CliError::from)?;
        let reader = Reader::new(self.connect(progress)?);
        let made = reader.assemble(wanted, place.path(), progress)?;
        let Assembled { path, tree_size, last_accepted, .. } = made;
        Ok(FromArchive { path, tree_size, last_accepted, _place: place })
    }
}

impl FromArchive {
    /// Which point it is, for people.
    pub(super) fn point(&self) -> String {
        let accepted = self.last_accepted.map_or_else(
            || "none of them is there".to_owned(),
            |time| format!("the last was accepted at {time}"),
        );
        format!(
            "The archive leads up to {}: {accepted}. If somebody removed newer ones with all that \
             proves them, the archive cannot tell.",
            count(self.tree_size, "record")
        )
    }
}

impl From<ArchiveError> for CliError {
    fn from(error: ArchiveError) -> Self {
        let exit = match &error {
            ArchiveError::Store(_) | ArchiveError::Log(ReadError::Io { .. }) => Exit::Failed,
            ArchiveError::LogDamaged(_)
            | ArchiveError::Contradicted { .. }
            | ArchiveError::Object { .. }
            | ArchiveError::Missing { .. }
            | ArchiveError::Incomplete { .. } => Exit::Found,
            ArchiveError::SeveralLogs { .. } => Exit::Usage,
            ArchiveError::Locked { .. } => Exit::Busy,
            ArchiveError::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        };
        match error {
            ArchiveError::Store(error) => Self::from(*error),
            ArchiveError::Log(error) => Self::from(BackupError::Log(error)),
            error => {
                let new = Self::new(error.kind(), exit, error.to_string());
                match hint(&error) {
                    Some(hint) => new.hint(hint),
                    None => new,
                }
            }
        }
    }
}

fn hint(error: &ArchiveError) -> Option<&'static str> {
    Some(match error {
        ArchiveError::LogDamaged(_) => {
            "nothing after the damage is shipped. Run `auditctl repair`, which puts back what a \
             backup holds, or `auditctl serve --accept-corruption` once to give it up; `auditctl \
             verify` says all that is wrong"
        }
        ArchiveError::Contradicted { .. } => {
            "nothing was shipped. Find out which history is the right one: `auditctl restore DEST \
             --target DIR` gets that of the archive. To continue with the log as it is here, run \
             `auditctl serve --accept-rollback` once, which begins a new epoch"
        }
        ArchiveError::Object { .. } => {
            "somebody altered or replaced the object, or it was damaged. If the bucket keeps \
             versions, restore the first one. What is committed before it can be restored: \
             `--to-seq`"
        }
        ArchiveError::Missing { .. } => {
            "somebody removed the object, or a lifecycle rule did. If the bucket keeps versions, \
             remove the marker that hides it. What is committed before it can be restored: \
             `--to-seq`"
        }
        ArchiveError::Incomplete { .. } => {
            "a run of `auditctl archive` was interrupted or is still at work, the log began \
             another epoch, or somebody removed what is missing. Compare with a checkpoint or a \
             backup that was kept elsewhere. To restore what is there, add --force; what an epoch \
             holds, --epoch N"
        }
        ArchiveError::NoParquet { .. } => {
            "the records themselves are shipped and committed; engines do not see those of this \
             object. Let the credentials put objects below parquet/. If something else has the \
             name, remove it; `--no-parquet` makes none"
        }
        ArchiveError::NotFound { .. } => {
            "an archive is named by its bucket and prefix, as `auditctl archive` was given; a \
             backup by the URL of its archive, or of a folder with /latest"
        }
        ArchiveError::SeveralLogs { .. } => "say which one: --log ID",
        ArchiveError::Locked { .. } => "wait until it ends; the lock ends with its process",
        _ => return None,
    })
}
