//! Opening a log: take the lock, read manifest and checkpoint, scan what the
//! manifest does not cover, and decide between a torn tail and corruption.
//!
//! Acknowledged records are whole and contiguous, and a checkpoint is only
//! written over durable records. So the first bad line at or after the
//! checkpoint's size begins a torn tail: it and all after it are moved to
//! `audit.log.torn-<time>`. Anything wrong before the checkpoint's size is
//! corruption: the log is not opened for appending, unless that was accepted.

mod checks;
mod files;
mod keys;

use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, MAX_NOTE_BYTES, Origin, SignedCheckpoint};
use super::keys::{KeyHistory, Keyring};
use super::manifest::{Manifest, ManifestError};
use super::merkle::Range;
use super::options::Options;
use super::paths::LogPaths;
use super::redact::RedactKeyError;
use super::restore::{self, Restored};
use super::scan::Scan;
use super::segment::{Active, parse_sealed_name};
use super::signer::{KeyError, Signer, SigningKey};
use super::status::{Damage, StatusSnapshot};
use crate::clock::{ClockWatch, Timestamp};
use crate::fsio::lock::{FileLock, try_lock};
use crate::fsio::{FileReader, Fs, FsFile, OpenMode};

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another writer has it.
    #[error("{path} is locked: another writer has this log open")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The manifest is unreadable.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The signing key is missing or unusable.
    #[error("signing key {path}: {source}")]
    Key {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: Box<KeyError>,
    },
    /// The log exists but its signing key does not.
    #[error(
        "the log in {dir} was signed with a key that is not at {path}; put it back (a new key would not continue this log)"
    )]
    KeyMissing {
        /// The log directory.
        dir: PathBuf,
        /// Where the key is expected.
        path: PathBuf,
    },
    /// The key of what is redacted cannot be had, and nothing may be kept without it.
    #[error(transparent)]
    RedactKey(#[from] RedactKeyError),
    /// The key at hand was retired.
    #[error(
        "the key in {path} is {found}, which was retired: since record {since} this log is signed \
         by {wanted}; put that key back (a retired one must not sign)"
    )]
    KeyRetired {
        /// Where the key is expected.
        path: PathBuf,
        /// Name and id of the key that is there.
        found: String,
        /// Name and id of the key that has to be.
        wanted: String,
        /// The record that says so.
        since: u64,
    },
    /// There is an `audit.log` that is not ours.
    #[error(
        "{path} is not an auditctl log: {reason}; move it away or choose another log directory"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// Stored records do not fit the checkpoint.
    #[error(
        "the log is corrupt: {0}; nothing was changed. Reading still works; restore a backup, or continue with --accept-corruption, which leaves a record of it"
    )]
    Corrupt(Corruption),
    /// A thread could not be started or the status page could not be made.
    #[error("cannot start the log in {dir}: {reason}")]
    Start {
        /// The log directory.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
}

impl OpenError {
    /// What [`OpenError::kind`] can say.
    pub const KINDS: &[&str] =
        &["locked", "io", "key", "redact_key", "foreign", "corrupt", "start"];

    /// A stable name for scripts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "locked",
            // It could be read, and is not what it should be.
            Self::Manifest(ManifestError::Invalid { .. }) => "corrupt",
            Self::Io { source, .. } | Self::Manifest(ManifestError::Io { source, .. })
                if source.kind() == io::ErrorKind::InvalidData =>
            {
                "corrupt"
            }
            Self::Io { .. } | Self::Manifest(ManifestError::Io { .. }) => "io",
            Self::Key { .. } | Self::KeyMissing { .. } | Self::KeyRetired { .. } => "key",
            Self::RedactKey(_) => "redact_key",
            Self::Foreign { .. } => "foreign",
            Self::Corrupt(_) => "corrupt",
            Self::Start { .. } => "start",
        }
    }
}

/// Where and what is wrong before the checkpoint's size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {reason}", place(*seq, *offset))]
pub struct Corruption {
    /// The file it is in.
    pub file: String,
    /// The first record concerned, if known.
    pub seq: Option<u64>,
    /// The byte offset in the file, if known.
    pub offset: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

fn place(seq: Option<u64>, offset: Option<u64>) -> String {
    match (seq, offset) {
        (Some(seq), Some(offset)) => format!(", record {seq} at byte {offset}"),
        (Some(seq), None) => format!(", from record {seq} on"),
        _ => String::new(),
    }
}

/// What a torn tail left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) bytes: u64,
    pub(crate) file: String,
}

/// Corruption that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) reason: String,
    pub(crate) abandoned: Option<String>,
}

/// Acknowledged events that a crash of an interval-durability writer lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) count: u64,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
}

/// Refusals of the rate limiter that are in no record, because the writer was
/// killed before it made one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The source that was refused most; of the others nothing is known.
    pub(crate) source: String,
    pub(crate) count: u64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

/// A log ready for its writer.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) lock: FileLock,
    pub(crate) manifest: Manifest,
    pub(crate) active: Active,
    pub(crate) signer: Signer,
    /// The part of the tree that the signer has not signed yet.
    pub(crate) grown: Range,
    pub(crate) checkpoint: Option<String>,
    pub(crate) clean: bool,
    pub(crate) torn: Option<Torn>,
    pub(crate) accepted: Option<Accepted>,
    pub(crate) lost: Option<Lost>,
    /// Refusals that the writer before died with.
    pub(crate) refused: Option<Refused>,
    /// The clocks as the writer before saw them last.
    pub(crate) watch: Option<ClockWatch>,
    pub(crate) damage: Option<Damage>,
    /// A restore that is complete but for its record.
    pub(crate) restored: Option<Restored>,
    pub(crate) verifier_key: String,
    /// How one key followed another so far.
    pub(crate) keys: KeyHistory,
    /// A change of key was begun and is to be gone on with.
    pub(crate) rotates: bool,
}

/// Opens the log's files; changes nothing before it is sure what it sees.
pub(crate) fn open(options: &Options) -> Result<Opened, OpenError> {
    let paths = LogPaths::new(&options.dir);
    let fs = &*options.fs;
    fs.create_dir_all(&options.dir).map_err(io_error("make the directory", &options.dir))?;
    let lock = lock(&paths)?;
    let restored = restore::settle(fs, &paths)
        .map_err(io_error("finish or undo the restore in", &paths.restore_journal()))?;
    let names = fs.list(&options.dir).map_err(io_error("list", &options.dir))?;
    let earlier = StatusSnapshot::read(&paths.status()).ok();
    let opening = Opening { options, fs, paths: &paths, names: &names, earlier };
    Ok(Opened { restored, ..opening.run(lock)? })
}

fn lock(paths: &LogPaths) -> Result<FileLock, OpenError> {
    let path = paths.lock();
    match try_lock(&path) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(OpenError::Locked { path }),
        Err(source) => Err(OpenError::Io { action: "lock", path, source }),
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_path_buf();
    move |source| OpenError::Io { action, path, source }
}

/// The tree at the checkpoint's size, and the range of what came since.
struct Reached {
    tree: Range,
    since: Range,
}

/// The active segment's file and what is in it.
type Scanned = (Box<dyn FsFile>, Scan);

struct Opening<'a> {
    options: &'a Options,
    fs: &'a dyn Fs,
    paths: &'a LogPaths,
    names: &'a [String],
    earlier: Option<StatusSnapshot>,
}

impl Opening<'_> {
    fn run(&self, lock: FileLock) -> Result<Opened, OpenError> {
        let (mut manifest, is_new, text) = self.load()?;
        let before = manifest.clone();
        if is_new {
            // Before the key: a crash in between leaves a log without a key, which
            // is told from one whose key was lost, not a key without a log.
            manifest.store(self.fs, &self.paths.manifest())?;
        }
        let (keys, mut trouble) = self.history(&manifest)?;
        let (key, rotates) = self.key(&manifest, is_new, &keys)?;
        let ring = match keys.ring(key.verifier().clone()) {
            Ok(ring) => ring,
            Err(error) => {
                trouble.get_or_insert_with(|| self.keys_corrupt(&error));
                key.verifier().clone().into()
            }
        };
        let keys_are_bad = trouble.is_some();
        let signed = match &text {
            Some(text) if trouble.is_none() => match verify_checkpoint(text, &ring, &manifest) {
                Ok(checkpoint) => Some(checkpoint),
                Err(corruption) => {
                    trouble = Some(corruption);
                    None
                }
            },
            _ => None,
        };
        self.adopt_sealed(&mut manifest)?;
        let mut damage = self.check_sealed(&mut manifest, &mut trouble)?;
        let base = manifest.tree()?;
        let mut scan = self.scan_active(&base, signed.as_ref().map(|c| c.size))?;
        let reached = match &signed {
            Some(checkpoint) => self.reach(&manifest, scan.as_mut(), checkpoint)?,
            None => None,
        };
        if trouble.is_none() {
            let known = text.is_some() || manifest.epoch > 0;
            trouble =
                self.judge(&manifest, scan.as_ref(), signed.as_ref(), reached.as_ref(), known);
        }
        if trouble.is_none() {
            trouble = self.judge_keys(&ring, &manifest, scan.as_ref());
        }
        let accepted = match trouble {
            Some(corruption) if !self.options.accept_corruption => {
                return Err(OpenError::Corrupt(corruption));
            }
            Some(corruption) => {
                damage = Some(Damage::CorruptionAccepted);
                Some(Accepted { reason: corruption.to_string(), abandoned: text.clone() })
            }
            None => None,
        };
        let clean = scan.as_ref().is_none_or(|(_, scan)| {
            scan.bad.is_none() && (scan.ends_closed || scan.layout.records() == 0)
        });
        // From here on files are changed.
        let keys = if keys_are_bad { self.set_keys_aside(&manifest)? } else { keys };
        self.publish_key(&key)?;
        self.clear_leftovers(&manifest);
        let altered = accepted.is_some()
            && reached.as_ref().is_some_and(|reached| {
                signed.as_ref().is_some_and(|c| reached.tree.root().ok() != Some(c.root))
            });
        let (active, torn) = self.active(scan, base, accepted.is_some(), altered)?;
        if let Some(accepted) = &accepted {
            manifest.epoch += 1;
            manifest.abandoned.extend(accepted.abandoned.clone());
        }
        if manifest != before {
            manifest.store(self.fs, &self.paths.manifest())?;
        }
        let lost = self.lost(&active);
        let refused = self.refused(&active);
        let watch = self.last_times(&manifest, &active);
        let verifier_key = key.verifier().to_string();
        let resume = signed.zip(reached).filter(|_| accepted.is_none());
        let (signer, grown) = self.signer(key, &manifest, &active, resume)?;
        let checkpoint = if accepted.is_some() { None } else { text };
        Ok(Opened {
            lock,
            manifest,
            active,
            signer,
            grown,
            checkpoint,
            clean,
            torn,
            accepted,
            lost,
            refused,
            watch,
            damage,
            restored: None,
            verifier_key,
            keys,
            rotates,
        })
    }

    /// The manifest, whether the log is new, and the checkpoint's text unless it
    /// is one that an accepted corruption abandoned.
    fn load(&self) -> Result<(Manifest, bool, Option<String>), OpenError> {
        let loaded = Manifest::load(self.fs, &self.paths.manifest())?;
        let text = self.read_checkpoint()?;
        let (manifest, is_new) = match loaded {
            Some(manifest) => (manifest, false),
            None => self.without_manifest(text.as_deref())?,
        };
        let text = text.filter(|text| !manifest.abandoned.contains(text));
        Ok((manifest, is_new, text))
    }

    fn start_error(&self, reason: impl ToString) -> OpenError {
        OpenError::Start { dir: self.options.dir.clone(), reason: reason.to_string() }
    }

    /// The signer, and the part of the tree that it has not signed yet.
    fn signer(
        &self,
        key: SigningKey,
        manifest: &Manifest,
        active: &Active,
        resume: Option<(Checkpoint, Reached)>,
    ) -> Result<(Signer, Range), OpenError> {
        let origin = Origin::new(&manifest.log_id, manifest.epoch)
            .map_err(|error| self.start_error(error))?;
        match resume {
            Some((checkpoint, reached)) => {
                let signer = Signer::resume(key, origin, &checkpoint, reached.tree)
                    .map_err(|error| self.start_error(error))?;
                Ok((signer, reached.since))
            }
            None => {
                let signer = Signer::new(key, origin).map_err(|error| self.start_error(error))?;
                Ok((signer, active.layout.tree()))
            }
        }
    }

    fn read_checkpoint(&self) -> Result<Option<String>, OpenError> {
        let path = self.paths.checkpoint();
        match self.fs.read_own(&path, MAX_NOTE_BYTES as u64) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// No manifest: a new log, a crash while one was made, or a lost index,
    /// which is rebuilt from the segment files.
    fn without_manifest(&self, checkpoint: Option<&str>) -> Result<(Manifest, bool), OpenError> {
        let sealed = self.names.iter().any(|name| parse_sealed_name(name).is_some());
        let path = self.paths.active();
        let active = match self.fs.open(&path, OpenMode::ReadOwn) {
            Ok(file) => file.meta().map_err(io_error("look at", &path))?.len,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        if checkpoint.is_none() && !sealed && active == 0 {
            return Ok((Manifest::new(self.new_log_id()?), true));
        }
        let origin = checkpoint
            .and_then(|text| SignedCheckpoint::parse(text.as_bytes()).ok())
            .and_then(|signed| signed.unverified().origin.parse::<Origin>().ok());
        let Some(origin) = origin else {
            return Err(OpenError::Foreign {
                path,
                reason: "it has records but neither a manifest nor a checkpoint".to_owned(),
            });
        };
        let mut manifest = Manifest::new(origin.log_id().to_owned());
        manifest.epoch = origin.epoch();
        Ok((manifest, false))
    }

    fn new_log_id(&self) -> Result<String, OpenError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| self.start_error(format!("no random numbers: {error}")))?;
        Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn verify_checkpoint(
    text: &str,
    keys: &Keyring,
    manifest: &Manifest,
) -> Result<Checkpoint, Corruption> {
    let corrupt = |reason: String| Corruption {
        file: "audit.checkpoint".to_owned(),
        seq: None,
        offset: None,
        reason,
    };
    let signed =
        SignedCheckpoint::parse(text.as_bytes()).map_err(|error| corrupt(error.to_string()))?;
    let (checkpoint, _) = keys.verify(&signed).map_err(|error| corrupt(error.to_string()))?;
    let expected = Origin::new(&manifest.log_id, manifest.epoch).map(|origin| origin.to_string());
    if expected.as_ref() != Ok(&checkpoint.origin) {
        return Err(corrupt(format!("it is of {}, not of this log", checkpoint.origin)));
    }
    Ok(checkpoint.clone())
}

/// Copies a range of an open file into a new file, durably.
pub(crate) fn copy_to_new(
    fs: &dyn Fs,
    from: &dyn FsFile,
    begin: u64,
    end: u64,
    to: &Path,
) -> io::Result<Box<dyn FsFile>> {
    use std::io::Read;
    let target = fs.open(to, OpenMode::CreateNew)?;
    let mut reader = FileReader { file: from, offset: begin }.take(end - begin);
    let mut buffer = vec![0; 256 * 1024];
    let mut offset = 0;
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        target.write_all_at(&buffer[..read], offset)?;
        offset += read as u64;
    }
    if offset != end - begin {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    target.sync_data()?;
    Ok(target)
}
