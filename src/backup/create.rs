//! Making a backup: take a snapshot, write the archive under a temporary name,
//! make it durable, read all of it back from the disk, prove that it extends the
//! backup before, and only then give it its name, the metadata last.

mod attempt;
mod basis;
mod describe;
mod draft;
mod log;
mod sign;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::catalog::{Catalog, Failure, Noted};
use super::directory::BackupDir;
use super::encrypt::Recipients;
use super::error::{BackupError, io_error};
use super::heads::{MAX_HEADS, heads};
use super::metadata::Metadata;
use super::name::BackupId;
use crate::audit::keys::histories::KnownHead;
use crate::audit::read::error::ReadError;
use crate::audit::read::snapshot::{Part, Snapshot};
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::audit::tree::document::Unknown;
use crate::audit::write::own::BackupMade;
use crate::audit::{LogPaths, Options, Span};
use crate::clock::Clock;
use crate::fsio::{self, SharedFs};
use log::is_damage;

/// Retention may remove a segment while it is copied; a new snapshot does without it.
const ATTEMPTS: u32 = 3;
/// `checkpoint_interval` is a second by default.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(5);
/// A change of the key takes a moment; looking again so often outlasts it.
const SIGNING_LOOKS: u32 = 3;
/// What the tail is expected to shrink to at least, for the space that is asked for.
const LEAST_RATIO: u64 = 3;

/// What is to be backed up, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The log directory.
    pub log_dir: PathBuf,
    /// The signing key; `audit.key` in the log directory when unset.
    pub key_path: Option<PathBuf>,
    /// The gzip level of what is not compressed yet.
    pub level: u32,
    /// Public keys (`age1…`) to encrypt the archive to; none leaves it as it is.
    pub encrypt_to: Vec<String>,
    /// Hold only what came after the backup before, where that can be built on: so many
    /// archives may then be needed at most for a restore. `None` makes a full backup.
    pub chain: Option<usize>,
}

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    /// Its metadata.
    pub metadata: Metadata,
    /// The archive.
    pub archive: PathBuf,
    /// The metadata's file.
    pub metadata_file: PathBuf,
    /// Bytes at the log's end that no checkpoint covers and no writer is at work
    /// to sign: they are not in the backup.
    pub unsigned_tail: u64,
    /// Why the metadata is not signed, if it is not.
    pub unsigned: Option<String>,
    /// Why it is a full backup, although an incremental one was asked for.
    pub full_because: Option<String>,
    /// Of the records that the log does not have: an earlier backup that holds them, for
    /// each run of which there is one.
    pub held_elsewhere: Vec<(Span, BackupId)>,
    /// Seconds that each stage took.
    pub seconds: Vec<(Stage, f64)>,
    /// Why the catalog could not be brought up to date, if so.
    pub catalog_error: Option<BackupError>,
}

impl Made {
    /// The records that it lacks because they are damaged, and nobody has given up, of
    /// which no earlier backup is here either.
    #[must_use]
    pub fn uncovered(&self) -> Vec<Span> {
        let held = |span: &Span| self.held_elsewhere.iter().any(|(other, _)| other == span);
        self.metadata.lacking().into_iter().filter(|span| !held(span)).collect()
    }

    /// What the log is to record of it ([`AuditLog::record_backup_made`]): from then on it
    /// knows that it has been backed up.
    ///
    /// [`AuditLog::record_backup_made`]: crate::audit::AuditLog::record_backup_made
    #[must_use]
    pub fn to_record(&self) -> BackupMade {
        let (metadata, place) = (&self.metadata, fsio::parent(&self.archive));
        let place = std::path::absolute(&place).unwrap_or(place);
        BackupMade {
            backup: metadata.id.to_string(),
            first_seq: metadata.range.first_seq,
            tree_size: metadata.range.tree_size,
            root_hash: metadata.root_hash,
            sha256: metadata.stored().sha256,
            place: place.display().to_string(),
            uid: rustix::process::geteuid().as_raw(),
        }
    }
}

impl Request {
    /// Of an open log, or one that is opened so.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        Self {
            log_dir: options.dir.clone(),
            key_path: options.key_path.clone(),
            level: options.compression_level,
            encrypt_to: Vec::new(),
            chain: None,
        }
    }
}

/// What a backup would hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The id that it would have now.
    pub id: BackupId,
    /// The first record.
    pub first_seq: u64,
    /// The seq after the last record.
    pub tree_size: u64,
    /// Bytes that would be copied as they are.
    pub copied_bytes: u64,
    /// Records that would be compressed.
    pub compressed_records: u64,
    /// Bytes that are available where it would be written.
    pub available_bytes: u64,
    /// The backup that it would extend.
    pub previous: Option<BackupId>,
}

/// What was backed up before.
struct Earlier {
    /// What reaches furthest of the same log.
    newest: Option<Metadata>,
    /// The newest id that one of the log's keys has signed.
    id: Option<BackupId>,
}

/// This host's name, as metadata has it.
#[must_use]
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Makes one.
#[derive(Clone, Debug)]
pub struct Creator {
    /// The file system.
    pub fs: SharedFs,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where backups are written.
    pub dir: BackupDir,
}

impl Creator {
    /// Makes a backup.
    ///
    /// # Errors
    /// See [`BackupError`]; no backup was made then, which the catalog notes.
    pub fn create(&self, request: &Request, watch: &dyn Watch) -> Result<Made, BackupError> {
        if self.fs.meta(self.dir.path()).is_err() {
            // Without a log there is nothing to make a directory for.
            Snapshot::take(&self.fs, &request.log_dir)?;
        }
        Recipients::parse(&request.encrypt_to)?;
        // It could not be noted; so nothing is touched.
        Catalog::peek(&*self.fs, self.dir.path())?;
        let _lock = self.dir.lock_alone()?;
        self.dir.clear_leftovers()?;
        let made = self.attempts(request, watch);
        let noted = self.note(made.as_ref());
        made.map(|made| Made { catalog_error: noted.err(), ..made })
    }

    /// What it would do; writes nothing.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn outlook(&self, request: &Request) -> Result<Outlook, BackupError> {
        let snapshot = Snapshot::take(&self.fs, &request.log_dir)?;
        let earlier = self.earlier(&snapshot)?;
        let (id, _) = self.next_id(earlier.id)?;
        let copied = |part: &Part| match part {
            Part::Stored(segment) => segment.stored_bytes,
            _ => 0,
        };
        let compressed = |part: &Part| match part {
            Part::Stored(_) => 0,
            other => other.records(),
        };
        Ok(Outlook {
            id,
            first_seq: snapshot.manifest.pruned.end(),
            tree_size: snapshot.checkpoint.size,
            copied_bytes: snapshot.parts.iter().map(copied).sum(),
            compressed_records: snapshot.parts.iter().map(compressed).sum(),
            available_bytes: self.available()?,
            previous: earlier.newest.map(|metadata| metadata.id),
        })
    }

    fn attempts(&self, request: &Request, watch: &dyn Watch) -> Result<Made, BackupError> {
        let mut left = ATTEMPTS;
        loop {
            left -= 1;
            match self.attempt(request, false, watch) {
                Err(BackupError::Log(ReadError::Pruned { .. })) if left > 0 => {}
                Err(damaged) if is_damage(&damaged) => {
                    // What is good is backed up. Where that cannot be told, the damage is
                    // what is to be said.
                    return match self.attempt(request, true, watch) {
                        Err(BackupError::Interrupted) => Err(BackupError::Interrupted),
                        Err(_) => Err(damaged),
                        made => made,
                    };
                }
                done => return done,
            }
        }
    }

    /// In the catalog: what `health` says of the last attempt.
    fn note(&self, made: Result<&Made, &BackupError>) -> Result<(), BackupError> {
        let mut catalog = Catalog::load(&self.dir)?;
        match made {
            Ok(made) => {
                let uncovered = made.uncovered();
                let noted = Noted { uncovered, ..Noted::of(&made.metadata) };
                catalog.backups.insert(made.metadata.id, noted);
                catalog.last_failure = None;
                catalog.last_unchanged = None;
            }
            // Somebody's wish is no failure.
            Err(BackupError::Interrupted) => return Ok(()),
            Err(error) => {
                catalog.last_failure = Some(Failure {
                    at: self.clock.now(),
                    kind: error.kind().to_owned(),
                    message: error.to_string(),
                    unknown: Unknown::default(),
                });
            }
        }
        catalog.store(&self.dir)
    }

    fn available(&self) -> Result<u64, BackupError> {
        // The directory may not be there yet.
        let place = self.dir.path().ancestors().find(|path| self.fs.meta(path).is_ok());
        let place = place.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(self.fs.space(place).map_err(io_error("ask for space at", place))?.available)
    }

    /// The newest backup of the same log, whose tree this one must extend.
    pub(super) fn previous(&self, snapshot: &Snapshot) -> Result<Option<Metadata>, BackupError> {
        Ok(self.earlier(snapshot)?.newest)
    }

    fn earlier(&self, snapshot: &Snapshot) -> Result<Earlier, BackupError> {
        let log = &snapshot.manifest;
        let mut known = Vec::new();
        for entry in self.dir.contents()?.backups {
            match entry.metadata {
                Ok(metadata) => known.push(metadata),
                // What cannot be read now may be what this one has to extend.
                Err(error @ BackupError::Io { .. }) => return Err(error),
                // What is damaged is no backup, and what a newer version made is not for
                // this one to extend; `list` shows both.
                Err(error) => tracing::warn!(%error, "not extended"),
            }
        }
        let same: Vec<Metadata> = known
            .into_iter()
            .filter(|metadata| metadata.log.id == log.log_id && metadata.log.epoch <= log.epoch)
            // One that somebody else signed proves nothing about this log.
            .filter(|metadata| metadata.verify(&snapshot.keys).is_ok())
            .collect();
        // A name is what somebody has written; that it is the backup's is signed.
        let signed = same.iter().filter(|metadata| metadata.signature.is_some());
        let id = signed.map(|metadata| metadata.id).max();
        let by = |metadata: &Metadata| {
            let signed = metadata.signature.is_some();
            (metadata.log.epoch, metadata.range.tree_size, signed, metadata.id)
        };
        Ok(Earlier { newest: same.into_iter().max_by_key(by), id })
    }

    /// The heads of the log's backups here; one that cannot be read proves nothing.
    fn heads(&self, log_id: &str) -> Vec<KnownHead> {
        let found = heads(&*self.fs, self.dir.path(), Some(log_id), MAX_HEADS);
        found.map(|found| found.heads).unwrap_or_default()
    }

    /// After all ids that the log has signed, also where the clock was set back; and one
    /// that no file here has.
    fn next_id(&self, newest: Option<BackupId>) -> Result<(BackupId, bool), BackupError> {
        let now = BackupId::at(self.clock.now());
        let taken = self.dir.ids()?;
        let mut id = newest.filter(|newest| *newest >= now).map_or(now, BackupId::next);
        while taken.contains(&id) {
            id = id.next();
        }
        Ok((id, id != now))
    }

    /// Waits until the writer has signed what it had acknowledged when the backup
    /// was asked for: it does so every `checkpoint_interval`. A writer that is
    /// slower than a few seconds is not waited for.
    pub(super) fn wait_for_checkpoint(&self, request: &Request, watch: &dyn Watch) {
        let paths = LogPaths::new(&request.log_dir);
        let page = || {
            let runs = paths.writer_runs().unwrap_or(false);
            StatusSnapshot::read(&paths.status()).ok().filter(|_| runs)
        };
        let Some(wanted) = page().map(|page| page.get(Word::DurableSeq)) else { return };
        let until = Instant::now() + CHECKPOINT_WAIT;
        while page().is_some_and(|page| page.get(Word::CheckpointSize) < wanted)
            && Instant::now() < until
            && !watch.interrupted()
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
