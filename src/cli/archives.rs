//! Where an archive is, as it is named on the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::cloud::{Cloud, environment};
use super::exit::{CliError, Exit};
use super::progress::Progress;
use crate::archive::{
    ArchiveError, ArchivePlace, Assembled, Course, Cuts, HostName, Reader, Wanted,
};
use crate::audit::read::error::ReadError;
use crate::backup::{BackupDir, BackupError, FetchPlace, Wish, host};
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::fsio::{Fs, OsFs};
use crate::health::wording::count;
use crate::store::{BackupStore, Limits, RetryPolicy, StoreError};

/// An archive, as it is named.
#[derive(Clone, Debug)]
pub(super) struct Archive(ArchivePlace);

/// What was put together from one. Its file is there for as long as this is.
#[derive(Debug)]
pub(super) struct FromArchive {
    path: PathBuf,
    from: String,
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
        Ok(Self(ArchivePlace::parse(text)?))
    }

    /// The archive that the settings name.
    ///
    /// # Errors
    /// Config: it is not written as one.
    pub(super) fn of_settings(settings: &Settings) -> Result<Option<Self>, CliError> {
        let named = settings.archive.destination.as_deref().filter(|named| !named.is_empty());
        let place = named.map(ArchivePlace::of_setting).transpose().map_err(|error| {
            let message = format!("archive.destination: {error}");
            let new = CliError::new("config", Exit::Usage, message);
            match error.hint {
                Some(hint) => new.hint(hint),
                None => new,
            }
        })?;
        Ok(place.map(Self))
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
        Ok(is_there.then(|| Self(ArchivePlace::Directory(PathBuf::from(text)))))
    }

    /// Whether it is a directory, whose files anybody can date who may write them.
    pub(super) fn is_directory(&self) -> bool {
        matches!(self.0, ArchivePlace::Directory(_))
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        self.0.shown()
    }

    /// Opens it.
    ///
    /// # Errors
    /// No credentials, as far as that can be told without asking.
    pub(super) fn connect(&self, progress: &Progress) -> Result<Arc<dyn BackupStore>, StoreError> {
        self.connect_with(Limits { stop: progress.stop(), ..Limits::default() })
    }

    fn connect_with(&self, limits: Limits) -> Result<Arc<dyn BackupStore>, StoreError> {
        self.0.connect(&limits, &environment(&self.0.url())?)
    }

    /// The same within a few seconds, or not at all.
    pub(super) fn connect_briefly(
        &self,
        patience: Duration,
    ) -> Result<Arc<dyn BackupStore>, StoreError> {
        let retry = RetryPolicy {
            give_up_after: patience,
            give_up_unheard: patience,
            ..RetryPolicy::default()
        };
        let (connect_timeout, credentials_timeout) = (patience, patience);
        self.connect_with(Limits {
            retry,
            connect_timeout,
            credentials_timeout,
            ..Limits::default()
        })
    }

    /// The archive that the settings name, opened; `None` where they name none.
    pub(super) fn open_of(settings: &Settings) -> Option<Result<Arc<dyn BackupStore>, StoreError>> {
        let archive = Self::of_settings(settings).ok()??;
        Some(archive.connect_briefly(Duration::from_secs(30)))
    }

    /// What a collector with these settings ships, and where to.
    pub(super) fn course(&self, settings: &Settings) -> Course {
        let archive = self.clone();
        // The shipping tries again by itself: and tells why each time.
        let retry = RetryPolicy {
            give_up_after: Duration::from_secs(60),
            give_up_unheard: Duration::from_secs(5),
            ..RetryPolicy::default()
        };
        Course {
            open: Arc::new(move |stop| {
                archive.connect_with(Limits { retry, stop, ..Limits::default() })
            }),
            destination: self.0.url(),
            interval: settings.archive.interval,
            host: HostName::of(&host()),
            cuts: cuts(settings),
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
        let from = self.shown();
        Ok(FromArchive { path, from, tree_size, last_accepted, _place: place })
    }
}

impl FromArchive {
    /// What `restore` is to take.
    pub(super) fn wish(&self) -> Wish {
        Wish::Made { archive: self.path.clone(), from: self.from.clone() }
    }

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

/// When what is cut, and what is put beside it.
pub(super) fn cuts(settings: &Settings) -> Cuts {
    let default = Cuts::default();
    let parquet = default.parquet && settings.archive.parquet;
    Cuts { level: settings.compression_level, parquet, ..default }
}

impl From<ArchiveError> for CliError {
    fn from(error: ArchiveError) -> Self {
        let exit = match &error {
            ArchiveError::Store(_) | ArchiveError::Log(ReadError::Io { .. }) => Exit::Failed,
            ArchiveError::LogDamaged(_)
            | ArchiveError::Contradicted { .. }
            | ArchiveError::Object { .. }
            | ArchiveError::SplitView { .. }
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
        ArchiveError::SplitView { .. } => {
            "a key of the log is in other hands, or two copies of the log record. Keep everything: \
             both histories are signed. To restore what is there, add --force, or an earlier \
             committed point: `--to-seq`"
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
        ArchiveError::Locked { .. } => {
            "if `auditctl serve` ships this log itself (archive.destination), nothing is left to \
             do: `auditctl health` says how far it is. Otherwise wait until the other run of \
             `auditctl archive` ends; the lock ends with its process"
        }
        _ => return None,
    })
}
