//! Opening a log in three steps: [`inspect`](Opening::inspect) reads, and changes
//! nothing; [`decide`](Opening::decide) says what is right, from what it read;
//! [`apply`](Opening::apply) changes the files.
//!
//! What was recorded is what the writer signed: the newest signed head, from
//! `audit.checkpoint` or `audit.head`. Heads are only signed over durable records,
//! so anything wrong below the head's size is corruption: the log is not opened
//! for appending, unless that was accepted. Behind it stand
//! - after a signed `audit.closed`: lines that no writer of this log wrote. They are
//!   set aside as `audit.log.foreign-<time>`;
//! - after an unclean stop: records that the writer may have acknowledged a moment
//!   before the end. They are adopted, and `audit.recovered` names them as unsigned;
//! - from the first bad line on: a torn tail, moved to `audit.log.torn-<time>`.
//!
//! The manifest is believed when the log's key signed it and it is of the signed
//! head's epoch; otherwise it is made anew from the segments.

mod checks;
mod decide;
mod files;
mod foresee;
mod give_up;
mod heads;
mod histories;
mod inspect;
mod keys;
mod last_event;
mod left_out;
mod rebuild;
mod removed;

use std::cell::OnceCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::head_file::HeadFile;
use super::options::Options;
use super::own::{GivenUp, KeyReplaced, Recovered};
use crate::audit::files::ended::{self, EndedEpoch};
use crate::audit::files::facts::Span;
use crate::audit::files::leaves::LeavesFile;
use crate::audit::files::manifest::{Manifest, ManifestError};
use crate::audit::files::restore;
use crate::audit::files::restore::{By, Restored};
use crate::audit::files::scan::{Interest, Scan, scan_plain};
use crate::audit::files::segment::{Active, Block};
use crate::audit::keys::KeyHistory;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint};
use crate::audit::keys::histories::{Contradiction, History};
use crate::audit::keys::signer::{KeyError, Signer, SigningKey};
use crate::audit::paths::LogPaths;
use crate::audit::record::redact::RedactKeyError;
use crate::audit::state::status::{Damage, StatusSnapshot};
use crate::audit::state::trouble::Trouble;
use crate::audit::tree::document::{DocumentError, newer_behind};
use crate::audit::tree::merkle::Range;
use crate::clock::{ClockWatch, Timestamp};
pub(crate) use crate::fsio::aside::copy_to_new;
use crate::fsio::lock::WriterLock;
use crate::fsio::{self, Fs, FsFile};
use decide::{Plan, Tail};
pub use foresee::{Foreseen, foresee};
use heads::Head;
pub(crate) use histories::Rollback;
use keys::KeyTask;

/// What was tried where an interrupted restore stands in the way.
pub const RESTORE_ACTION: &str = "finish or undo the restore in";

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
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
    /// A newer version of auditctl wrote the log.
    #[error("{path}: {source}; nothing was changed")]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        source: DocumentError,
    },
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
        "the signing key is not at {path}: you can read, verify and back up the log in {dir}, but \
         not add to it"
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
    /// Another key took the place of the key at hand, which did not sign that.
    #[error(
        "the key in {path} is {found}, but {keys} says that {by} took its place {told}, without \
         its signature"
    )]
    KeyReplaced {
        /// Where the key is expected.
        path: PathBuf,
        /// The file that says so.
        keys: PathBuf,
        /// Name and id of the key that is there.
        found: String,
        /// Name and id of the one that took its place.
        by: String,
        /// When, by whom and why.
        told: String,
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
    #[error("the log is corrupt: {0}; nothing was changed, and reading still works")]
    Corrupt(Corruption),
    /// A signed head that is kept elsewhere does not fit the log.
    #[error("{found}; nothing was changed in {}, and reading still works", dir.display())]
    OtherHistory {
        /// The log directory.
        dir: PathBuf,
        /// The head, and what it means.
        found: Box<Contradiction>,
    },
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
    pub const KINDS: &[&str] = &[
        "locked",
        "io",
        "key",
        "key_missing",
        "key_replaced",
        "redact_key",
        "foreign",
        "corrupt",
        "newer_version",
        "start",
        "rolled_back",
        "snapshot_restored",
        "cloned",
    ];

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
            Self::Manifest(ManifestError::Newer { .. }) | Self::Newer { .. } => "newer_version",
            Self::Io { .. } | Self::Manifest(ManifestError::Io { .. }) => "io",
            Self::Key { .. } | Self::KeyRetired { .. } => "key",
            Self::KeyMissing { .. } => "key_missing",
            Self::KeyReplaced { .. } => "key_replaced",
            Self::RedactKey(_) => "redact_key",
            Self::Foreign { .. } => "foreign",
            Self::Corrupt(_) => "corrupt",
            Self::OtherHistory { found, .. } => match found.history {
                History::RolledBack => "rolled_back",
                History::SnapshotRestored => "snapshot_restored",
                History::Cloned => "cloned",
            },
            Self::Start { .. } => "start",
        }
    }
}

/// Where and what is wrong before the checkpoint's size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {reason}", place(*seq, *offset))]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
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

/// Bytes that were set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aside {
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
    /// Who sent it.
    pub(crate) sender: Option<String>,
    pub(crate) count: u64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

/// A log ready for its writer.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) lock: Arc<WriterLock>,
    pub(crate) manifest: Manifest,
    pub(crate) active: Active,
    pub(crate) signer: Signer,
    /// The part of the tree that the signer has not signed yet.
    pub(crate) grown: Range,
    pub(crate) head: HeadFile,
    pub(crate) leaves: LeavesFile,
    pub(crate) checkpoint: String,
    pub(crate) clean: bool,
    /// What is recorded of the opening, unless there is nothing to tell.
    pub(crate) recovered: Option<Recovered>,
    /// Somebody who is no writer of this log appended to it.
    pub(crate) foreign: bool,
    /// Another history of the log that was accepted.
    pub(crate) rollback: Option<Rollback>,
    pub(crate) lost: Option<Lost>,
    /// Refusals that the writer before died with.
    pub(crate) refused: Option<Refused>,
    /// The clocks as the writer before saw them last.
    pub(crate) watch: Option<ClockWatch>,
    pub(crate) damage: Option<Damage>,
    /// Epochs that ended with records which the next one does not have, and of which no
    /// record is known to say so yet.
    pub(crate) ended: Vec<EndedEpoch>,
    /// When the last event was accepted, where that is known.
    pub(crate) last_event: Option<Timestamp>,
    /// Up to where records were adopted unsigned that no backup holds; 0 for none.
    pub(crate) uncovered: u64,
    /// A restore that is complete but for its record.
    pub(crate) restored: Option<Restored>,
    pub(crate) verifier_key: String,
    /// How one key followed another so far.
    pub(crate) keys: KeyHistory,
    /// A change of key was begun and is to be gone on with.
    pub(crate) rotates: bool,
    /// The key took another's place, which is still to be recorded.
    pub(crate) replaced: Option<KeyReplaced>,
}

/// Opens the log's files; changes nothing before it is sure what it sees.
pub(crate) fn open(options: &Options) -> Result<Opened, OpenError> {
    let paths = LogPaths::new(&options.dir);
    let fs = &*options.fs;
    fsio::make_dirs(fs, &options.dir).map_err(io_error("make the directory", &options.dir))?;
    let lock = lock(&paths)?;
    // Asked for only where a restore left something.
    let key = fs.entry(&paths.restore_journal()).is_ok().then(|| {
        let path = options.key_path.clone().unwrap_or_else(|| paths.key());
        SigningKey::load(fs, &path).ok().map(|key| key.verifier().clone())
    });
    let key = key.flatten();
    let settled = restore::settle(fs, &paths, By::Key(key.as_ref()))
        .map_err(|error| journal_error(&paths, error))?;
    let left = settled.as_ref().and_then(|settled| settled.restored.abandoned_checkpoint.clone());
    let names = fs.list(&options.dir).map_err(io_error("list", &options.dir))?;
    let earlier = StatusSnapshot::read(&paths.status()).ok();
    let left_is_signed = settled.as_ref().is_some_and(|settled| settled.is_signed);
    let opening = Opening {
        options,
        fs,
        paths: &paths,
        names: &names,
        earlier,
        left,
        left_is_signed,
        claimed: OnceCell::new(),
    };
    let plan = opening.decide(opening.inspect()?)?;
    let restored = settled.map(|settled| {
        // A journal speaks of the log as the restore left it, and of no later state.
        let size = plan.seen.head.as_ref().map_or(0, |head| head.checkpoint.size);
        let unproven = !settled.is_signed || size != settled.restored.tree_size;
        Restored { unproven, ..settled.restored }
    });
    Ok(Opened { restored, ..opening.apply(plan, Arc::new(lock))? })
}

fn journal_error(paths: &LogPaths, error: io::Error) -> OpenError {
    let path = paths.restore_journal();
    match newer_behind(&error) {
        Some(source) => OpenError::Newer { path, source: source.clone() },
        None => io_error(RESTORE_ACTION, &path)(error),
    }
}

fn lock(paths: &LogPaths) -> Result<WriterLock, OpenError> {
    let path = paths.lock();
    match paths.lock_for_writing() {
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
    /// The signed head that a restore left.
    left: Option<String>,
    /// Whether who restored had the log's key.
    left_is_signed: bool,
    /// Holes that records name, once they were asked for.
    claimed: OnceCell<Vec<Block>>,
}

impl Opening<'_> {
    /// Makes the files what was decided.
    fn apply(&self, plan: Plan, lock: Arc<WriterLock>) -> Result<Opened, OpenError> {
        let told = plan.told();
        let Plan {
            mut seen,
            tail,
            accepted,
            given_up,
            covered,
            rollback,
            leaves,
            replaces,
            altered,
            clean,
            damage,
        } = plan;
        let keys =
            if seen.keys_are_bad { self.set_keys_aside(&seen.manifest.log_id)? } else { seen.keys };
        let keys_file = match &seen.put_back {
            Some(_) => self.put_keys_back(&keys)?,
            None => None,
        };
        let first_key = keys.rotations.first().map(|first| first.old_key.clone());
        let first_key = first_key.unwrap_or_else(|| seen.key.verifier().to_string());
        if accepted.is_some() {
            self.keep_what_is_left_out(&mut seen.manifest)?;
        }
        self.unpack(&seen.manifest)?;
        let gave_up = !given_up.is_nothing();
        let mut to_record: Vec<EndedEpoch> = Vec::new();
        let signed = seen.head.as_ref().map_or(0, |head| head.checkpoint.size);
        let unrecorded = |one: &&EndedEpoch| one.record.is_none_or(|record| record >= signed);
        to_record.extend(seen.manifest.ended.iter().filter(unrecorded).cloned());
        let kept = if gave_up {
            let file = seen.scan.as_ref().map(|(file, _)| &**file);
            let kept = self.store_given_up(given_up, &mut seen.manifest, file)?;
            // Before the damaged file is cut: it is what this could be done again from.
            self.store_manifest(&mut seen.manifest, &seen.key)?;
            kept
        } else {
            None
        };
        let is_foreign = matches!(tail, Tail::Foreign { .. });
        let why = match (accepted.is_some() || gave_up, is_foreign) {
            (true, _) => "damaged",
            (false, true) => "foreign",
            (false, false) => "torn",
        };
        let known = seen.scan.as_mut().map(|(_, scan)| std::mem::take(&mut scan.leaves));
        let (active, aside) = self.active(seen.scan, seen.base, (why, kept), altered)?;
        let mut known = known.unwrap_or_default();
        known.truncate(active.layout.records() as usize);
        let mut manifest = seen.manifest;
        if let Some(accepted) = &accepted {
            if let Some(ended) = self.left_behind(accepted, &manifest, &active, covered)? {
                ended::note(&mut manifest.ended, ended.clone());
                ended::note(&mut to_record, ended);
            }
            manifest.epoch = next_epoch(manifest.epoch).ok_or_else(|| self.no_epoch())?;
            manifest.abandon(accepted.abandoned.clone(), &seen.ring);
        }
        if let Some(rollback) = &rollback {
            manifest.epoch = rollback.record.epoch;
            // Its own head too: it is of the epoch that ends here.
            let own = seen.head.iter().map(|head| head.text.clone());
            manifest.abandon(own.chain(rollback.notes().cloned()), &seen.ring);
        }
        if let Some(left) = &leaves {
            let after = next_epoch(left.epoch).ok_or_else(|| self.no_epoch())?;
            manifest.epoch = manifest.epoch.max(after);
            // Where nobody with the key says so, it excuses nothing: should that head be
            // found elsewhere, the operator is asked.
            if self.left_is_signed {
                manifest.abandon([left.text.clone()], &seen.ring);
            }
        }
        if let Some(epoch) = replaces {
            manifest.epoch = manifest.epoch.max(epoch);
        }
        self.publish_key(&seen.key, manifest.epoch)?;
        let begins =
            accepted.is_some() || rollback.is_some() || leaves.is_some() || replaces.is_some();
        let adopted = match tail {
            Tail::Adopt(span) => Some(span),
            _ => None,
        };
        adopted.into_iter().for_each(|span| adopt(&mut manifest, span));
        let lost = self.lost(&active);
        let end = active.layout.next_seq();
        let missed = self.missed_by_page(&*active.file, end).filter(|_| accepted.is_none());
        let refused = self.refused(&active);
        let watch = self.last_times(&manifest, &active);
        let last_event = self.last_event(&manifest, &active);
        let verifier_key = seen.key.verifier().to_string();
        manifest.first_key = Some(first_key);
        if !to_record.is_empty() {
            // Before the epoch's first head: whatever happens until the record is written,
            // what was left behind is known.
            self.store_manifest(&mut manifest, &seen.key)?;
        }
        let (signer, grown, checkpoint) = if begins {
            self.first_head(seen.key, &manifest, &active, covered)?
        } else {
            let resume = seen.head.zip(seen.reached);
            self.signer(seen.key, &manifest, &active, resume)?
        };
        if seen.stored.as_ref() != Some(&manifest) {
            self.store_manifest(&mut manifest, &signer.key())?;
        }
        // Once the stored manifest lists none of it.
        self.clear_leftovers(&manifest);
        self.clear_given_up(&manifest);
        let first = active.layout.first_seq;
        let (leaves, noted) =
            LeavesFile::open(self.fs, self.paths, &manifest.log_id, (first, &known));
        if let Err(error) = noted {
            tracing::warn!(code = Trouble::NoLeaves.code(), %error, "audit.leaves cannot be written");
        }
        let holes = if gave_up { GivenUp::of(&manifest) } else { Vec::new() };
        let mut recovered = Recovered { holes, missed_by_status_page: missed, keys_file, ..told };
        match (aside, is_foreign) {
            (Some(aside), true) => {
                (recovered.foreign_bytes, recovered.foreign_file) =
                    (Some(aside.bytes), Some(aside.file));
            }
            (Some(aside), false) if gave_up && accepted.is_none() => {
                recovered.damaged_file = Some(aside.file);
            }
            (Some(aside), false) => {
                (recovered.torn_bytes, recovered.torn_file) = (aside.bytes, Some(aside.file));
            }
            (None, _) => {}
        }
        if let Some(reason) = &recovered.manifest_rebuilt {
            let code = Trouble::ManifestRebuilt.code();
            tracing::warn!(code, reason, "the manifest was rebuilt from the segments");
        }
        if let Some(from) = &recovered.keys_put_back {
            tracing::error!(
                code = Trouble::OwnFilePutBack.code(),
                from,
                "audit.keys did not lead from the log's first key to the one that signs; it is put back"
            );
        }
        let recovered = Some(recovered).filter(|told| *told != Recovered::default());
        let foreign = matches!(tail, Tail::Foreign { suspicious: true });
        Ok(Opened {
            lock,
            manifest,
            active,
            signer,
            grown,
            head: HeadFile::open(self.fs, self.paths, &self.options.clock.now().file_stamp()),
            leaves,
            checkpoint,
            clean,
            rollback,
            recovered,
            foreign,
            lost,
            refused,
            watch,
            damage,
            ended: to_record,
            last_event,
            uncovered: adopted.map_or(seen.uncovered, |span| span.end),
            restored: None,
            verifier_key,
            rotates: seen.key_task == KeyTask::Rotate,
            replaced: (seen.key_task == KeyTask::RecordReplacement)
                .then(|| keys.replacement().and_then(KeyReplaced::of))
                .flatten(),
            keys,
        })
    }

    fn store_manifest(&self, manifest: &mut Manifest, key: &SigningKey) -> Result<(), OpenError> {
        manifest.sign(key).map_err(|error| self.start_error(error))?;
        manifest.store(self.fs, &self.paths.manifest())?;
        Ok(())
    }

    /// What accepting corruption leaves behind: the records of the epoch's last head that
    /// nothing proves to be those with which the log goes on.
    fn left_behind(
        &self,
        accepted: &Accepted,
        manifest: &Manifest,
        active: &Active,
        covered: u64,
    ) -> Result<Option<EndedEpoch>, OpenError> {
        let Some(checkpoint) = accepted.abandoned.clone() else { return Ok(None) };
        let Ok(note) = SignedCheckpoint::parse(checkpoint.as_bytes()) else { return Ok(None) };
        let head = note.unverified();
        let Ok(origin) = head.origin.parse::<Origin>() else { return Ok(None) };
        let (before, _) = self.split(manifest, active, covered)?;
        let ended = EndedEpoch {
            epoch: origin.epoch(),
            first_seq: before.end(),
            end_seq: head.size,
            before: Some(before),
            checkpoint,
            reason: accepted.reason.clone(),
            record: None,
            at: None,
        };
        Ok((origin.log_id() == manifest.log_id && ended.records() > 0).then_some(ended))
    }

    fn start_error(&self, reason: impl ToString) -> OpenError {
        OpenError::Start { dir: self.options.dir.clone(), reason: reason.to_string() }
    }

    fn no_epoch(&self) -> OpenError {
        self.start_error("the log has had as many epochs as can be counted; begin another log")
    }

    /// The signer, the part of the tree that it has not signed yet, and the newest
    /// signed head. A new log, and a new epoch, begin with one that is stored before
    /// anything else of theirs: a log without one has lost it.
    fn signer(
        &self,
        key: SigningKey,
        manifest: &Manifest,
        active: &Active,
        resume: Option<(Head, Reached)>,
    ) -> Result<(Signer, Range, String), OpenError> {
        let origin = Origin::of_key(key.name(), &manifest.log_id, manifest.epoch)
            .map_err(|error| self.start_error(error))?;
        match resume {
            Some((head, reached)) => {
                let signer = Signer::resume(key, origin, &head.checkpoint, reached.tree)
                    .map_err(|error| self.start_error(error))?;
                Ok((signer, reached.since, head.text))
            }
            None => {
                let mut signer =
                    Signer::new(key, origin).map_err(|error| self.start_error(error))?;
                let tree = active.layout.tree();
                let first = signer.sign(&tree, &tree).map_err(|error| self.start_error(error))?;
                let path = self.paths.checkpoint();
                let text = first.to_string();
                fsio::replace_file(self.fs, &path, text.as_bytes())
                    .map_err(io_error("write", &path))?;
                Ok((signer, Range::empty(tree.end()), text))
            }
        }
    }

    /// The first head of an epoch. It is over what signatures of the epoch before vouch
    /// for, and no more: what stands behind is named as unsigned, also when a crash
    /// makes the next opening begin here again.
    fn first_head(
        &self,
        key: SigningKey,
        manifest: &Manifest,
        active: &Active,
        covered: u64,
    ) -> Result<(Signer, Range, String), OpenError> {
        let failed = |error: &dyn ToString| self.start_error(error.to_string());
        let origin =
            Origin::of_key(key.name(), &manifest.log_id, manifest.epoch).map_err(|e| failed(&e))?;
        let (tree, since) = self.split(manifest, active, covered)?;
        let mut signer = Signer::new(key, origin).map_err(|e| failed(&e))?;
        let first = signer.sign(&tree, &tree).map_err(|e| failed(&e))?.to_string();
        let path = self.paths.checkpoint();
        fsio::replace_file(self.fs, &path, first.as_bytes()).map_err(io_error("write", &path))?;
        Ok((signer, since, first))
    }

    /// The tree over the first `size` records, and the range of those since; the tree
    /// over none where no block ends there and the active segment does not tell.
    fn split(
        &self,
        manifest: &Manifest,
        active: &Active,
        size: u64,
    ) -> Result<(Range, Range), OpenError> {
        let mut tree = manifest.pruned.clone();
        let blocks = manifest.segments.iter().flat_map(|segment| segment.blocks.clone());
        for block in blocks.chain(active.layout.blocks()) {
            if block.tree.end() <= size {
                tree.extend(&block.tree).map_err(|error| self.start_error(error))?;
            }
        }
        if tree.end() == size {
            let since = active.layout.tree();
            let mut range = Range::empty(size);
            let blocks = manifest.segments.iter().flat_map(|segment| segment.blocks.clone());
            for block in blocks.chain(active.layout.blocks()) {
                if block.first_seq >= size {
                    range.extend(&block.tree).map_err(|error| self.start_error(error))?;
                }
            }
            debug_assert_eq!(range.end(), since.end(), "blocks follow each other");
            return Ok((tree, range));
        }
        let base = manifest.tree()?;
        let scan = scan_plain(&*active.file, base, Interest::watch(&[size]))
            .map_err(io_error("read", &self.paths.active()))?;
        let mut scan = scan;
        match scan.take_watched(size) {
            Some(split) => Ok(split),
            None => Ok((Range::empty(0), active.layout.tree())),
        }
    }
}

/// Epochs are counted in 32 bits; nobody has seen the last one.
fn next_epoch(epoch: u32) -> Option<u32> {
    epoch.checked_add(1)
}

/// Notes what was adopted. A crash before the record of it makes the next opening
/// adopt the same again, perhaps less of it.
fn adopt(manifest: &mut Manifest, span: Span) {
    manifest.adopted.retain(|known| known.begin < span.begin);
    manifest.adopted.push(span);
}
