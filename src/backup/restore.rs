//! Restoring: stage, check everything, compare with what is there, and only then
//! put it in place, all or nothing (see [`crate::audit::files::restore`]).
//!
//! Nothing that is there is overwritten: it moves to `before-restore-<time>/`.
//! Where that sets signed records aside, the log goes on in a new epoch, because
//! a log that signs two histories under one name has lost its word.

mod relation;
mod stage;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub use relation::Relation;
pub use verify::{Against, LogHere, VerifiedBackup};

use super::choice::{LogChoice, keys_at_hand};
use super::directory::BackupDir;
use super::encrypt::KeyFile;
use super::error::{BackupError, io_error};
use super::hole::Hole;
use super::metadata::Metadata;
use super::name::BackupId;
use super::source::{self, Wish};
use crate::audit::files::restore as swap;
use crate::audit::files::restore::{Journal, Restored};
use crate::audit::keys::checkpoint::{Origin, VerifierKey};
use crate::audit::keys::{Keyring, Rotation};
use crate::audit::paths::{is_page_name, parse_columns_name, parse_filter_name, parse_sealed_name};
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::tree::merkle::Hash;
use crate::audit::{AuditLog, LogPaths, OpenError, Options, Span};
use crate::clock::{Clock, Timestamp};
use crate::fsio::lock::WriterLock;
use crate::fsio::{self, SharedFs};
use relation::Live;
use stage::Staged;

/// How much of the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Records up to and with this seq.
    ToSeq(u64),
    /// Records up to the first that was accepted after this time.
    ToTime(Timestamp),
}

/// Where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Into the log's place.
    Log,
    /// Into an empty directory.
    Beside(PathBuf),
}

/// What is to be restored, and where to.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// What.
    pub wish: Wish,
    /// How much of it.
    pub extent: Extent,
    /// Where to.
    pub target: Target,
    /// The log's id, or its beginning: of which log the latest is wanted.
    pub log: Option<String>,
    /// The log's key, when it is known from elsewhere.
    pub public_key: Option<VerifierKey>,
    /// Private keys, for an encrypted backup.
    pub identities: Vec<KeyFile>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What a restore will do, all of it checked.
#[derive(Clone, Debug)]
pub struct RestorePlan {
    /// The backup's id, the path, or the archive's URL.
    pub backup: String,
    /// The log's id.
    pub log_id: String,
    /// The origin of the checkpoint that the backup holds.
    pub origin: String,
    /// The first record that the log will have.
    pub first_seq: u64,
    /// The seq after the last one.
    pub tree_size: u64,
    /// The root over them.
    pub root_hash: Hash,
    /// Bytes as stored.
    pub stored_bytes: u64,
    /// How what is there relates to it.
    pub relation: Relation,
    /// What is wrong with what is there.
    pub live_damage: Vec<String>,
    /// Records in between that the backup does not hold.
    pub holes: Vec<Hole>,
    /// Of those that nobody had given up: another backup that holds them, for each run of which
    /// there is one here.
    pub held_elsewhere: Vec<(Span, BackupId)>,
    /// The epoch that the log will have.
    pub epoch: u32,
    /// Whether that is a new one, because signed records are set aside.
    pub new_epoch: bool,
    /// Who says that the key is the log's: `--public-key`, this log (its `audit.pub`
    /// or its signing key), or the backup itself.
    pub key_from: &'static str,
    /// The key that signs where it is restored.
    pub key: String,
    /// All of the log's keys there.
    pub(crate) keys: Keyring,
    /// How the keys follow each other by the files that are there now.
    pub(crate) rotations_there: Option<Vec<Rotation>>,
    /// Where the log is or will be.
    pub log_dir: PathBuf,
}

impl RestorePlan {
    /// The records that the backup does not hold, and that nobody had given up.
    pub fn lacking(&self) -> impl Iterator<Item = &Hole> {
        self.holes.iter().filter(|hole| hole.given_up_by.is_none())
    }

    /// What `audit.pub` is to hold.
    pub(crate) fn public_text(&self) -> String {
        let key = self.keys.newest();
        let origin = Origin::of_key(key.name(), &self.log_id, self.epoch);
        key.public_text(&origin.map_or_else(|_| key.name().to_owned(), |it| it.to_string()))
    }

    /// Whether `audit.keys` has to be written.
    pub(crate) fn new_keys(&self) -> bool {
        let rotations = self.keys.rotations();
        !rotations.is_empty() && self.rotations_there.as_deref() != Some(rotations)
    }

    /// Whether the `audit.keys` that is there has to go.
    fn old_keys_go(&self) -> bool {
        self.rotations_there.as_deref().unwrap_or_default() != self.keys.rotations()
            || self.rotations_there.is_none()
    }
}

/// What a restore did.
#[derive(Debug)]
pub struct Outcome {
    /// What was planned.
    pub plan: RestorePlan,
    /// Whether anything was changed.
    pub changed: bool,
    /// Whether it was in the log's place.
    pub in_place: bool,
    /// Where what was there is kept.
    pub kept_in: Option<PathBuf>,
    /// Why the `audit.restored` record is still to be written, if so.
    pub unrecorded: Option<OpenError>,
    /// How long it took.
    pub seconds: f64,
}

/// Restores.
#[derive(Clone, Debug)]
pub struct Restorer {
    /// The file system.
    pub fs: SharedFs,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where backups are.
    pub dir: BackupDir,
    /// How the log is opened when it is restored in its place.
    pub options: Options,
}

impl Restorer {
    /// Restores what is wanted. `confirm` is asked once everything is checked and
    /// nothing has been changed yet.
    ///
    /// # Errors
    /// See [`BackupError`]; the log is then as it was.
    pub fn restore(
        &self,
        request: &RestoreRequest,
        confirm: &mut dyn FnMut(&RestorePlan) -> Result<(), BackupError>,
        watch: &dyn Watch,
    ) -> Result<Outcome, BackupError> {
        let begun = Instant::now();
        let place = match &request.target {
            Target::Log => self.log_dir().to_path_buf(),
            Target::Beside(dir) => dir.clone(),
        };
        if self.fs.meta(&place).is_err() {
            // Nothing is made for what is not there.
            source::is_there(&self.dir, &request.wish, &self.choice(request, &Live::none()))?;
        }
        // Shared: a cleanup must not remove what is being restored.
        let _backups = self.fs.meta(self.dir.path()).is_ok().then(|| self.dir.lock_shared());
        let _backups = _backups.transpose()?;
        let lock = match request.target {
            Target::Log => Some(self.lock_log(request.dry_run)?),
            Target::Beside(_) => {
                self.check_empty(&place)?;
                None
            }
        };
        let live = match request.target {
            // Only a dry run comes here without the lock.
            Target::Log if matches!(lock, Some(None)) => {
                Live::look_beside_a_writer(&self.fs, &place)?
            }
            Target::Log => Live::look(&self.fs, &place)?,
            Target::Beside(_) => Live::none(),
        };
        let staged = Staged::new(self, request, &place, &live, watch)?;
        let mut plan = staged.plan(self, request, &live, &place)?;
        plan.held_elsewhere = self.held_elsewhere(&plan);
        let nothing_to_do = plan.relation == Relation::Identical && plan.live_damage.is_empty();
        let mut outcome = Outcome {
            plan,
            changed: false,
            in_place: request.target == Target::Log,
            kept_in: None,
            unrecorded: None,
            seconds: 0.0,
        };
        if !request.dry_run && !nothing_to_do {
            confirm(&outcome.plan)?;
            if watch.interrupted() {
                return Err(BackupError::Interrupted);
            }
            watch.stage(Stage::Commit, 0);
            match lock {
                Some(lock) => self.replace(&staged, &live, lock, &mut outcome)?,
                None => staged.settle_beside(&place, &outcome.plan)?,
            }
            outcome.changed = true;
        }
        outcome.seconds = begun.elapsed().as_secs_f64();
        Ok(outcome)
    }

    /// Of what the backup lacks: the newest other backup that holds all of it, for each run
    /// that one does.
    fn held_elsewhere(&self, plan: &RestorePlan) -> Vec<(Span, BackupId)> {
        if plan.lacking().next().is_none() {
            return Vec::new();
        }
        let Ok(contents) = self.dir.contents() else { return Vec::new() };
        let others: Vec<Metadata> = contents
            .backups
            .into_iter()
            .filter_map(|entry| entry.metadata.ok())
            .filter(|metadata| metadata.log.id == plan.log_id)
            .filter(|metadata| self.dir.check_listed(metadata, Some(&plan.keys)).is_ok())
            .collect();
        let spans = plan.lacking().map(Hole::span);
        spans
            .filter_map(|span| {
                let held = others.iter().filter(|metadata| metadata.holds(span));
                Some((span, held.map(|metadata| metadata.id).max()?))
            })
            .collect()
    }

    /// Whose backups count for `latest`. In the log's place only its own can.
    fn choice(&self, request: &RestoreRequest, live: &Live) -> LogChoice {
        if let Some(key) = &request.public_key {
            return LogChoice { log: request.log.clone(), keys: Some(key.clone().into()) };
        }
        let in_place = request.target == Target::Log;
        let here = in_place.then(|| live.log_id()).flatten().map(str::to_owned);
        let log = request.log.clone().or(here);
        let kept = || keys_at_hand(&*self.fs, self.log_dir(), self.options.key_path.as_deref());
        let keys = live.keys().cloned().or_else(kept).filter(|_| in_place);
        let is_of = |keys: &Keyring| {
            let id = keys.newest().log_id();
            log.as_ref().is_none_or(|log| id.is_some_and(|id| id.starts_with(log.as_str())))
        };
        LogChoice { keys: keys.filter(is_of), log }
    }

    pub(super) fn log_dir(&self) -> &Path {
        &self.options.dir
    }

    /// The writer's lock, for as long as the restore takes; a dry run goes on without it
    /// beside a writer, and leaves an interrupted restore as it is.
    fn lock_log(&self, dry_run: bool) -> Result<Option<WriterLock>, BackupError> {
        let dir = self.log_dir();
        let paths = LogPaths::new(dir);
        if dry_run && self.fs.meta(dir).is_err() {
            return Ok(None);
        }
        fsio::make_dirs(&*self.fs, dir).map_err(io_error("make the directory", dir))?;
        let path = paths.lock();
        let lock = match paths.lock_for_writing() {
            Ok(Some(lock)) => lock,
            Ok(None) if dry_run => return Ok(None),
            Ok(None) => return Err(BackupError::LogLocked { path }),
            Err(source) => return Err(BackupError::Io { action: "lock", path, source }),
        };
        if dry_run {
            return Ok(Some(lock));
        }
        let failed = io_error("finish or undo the restore in", dir);
        let unrecorded = swap::settle(&*self.fs, &paths, swap::By::Operator).map_err(failed)?;
        if unrecorded.is_none() {
            return Ok(Some(lock));
        }
        // An earlier restore waits for its record; without it, it would be forgotten.
        drop(lock);
        match Self::open_and_close(self.options.clone()) {
            // Nobody here can record it: what is known of it is kept beside the log.
            Err(OpenError::KeyMissing { .. }) => self.keep_journal(&paths)?,
            opened => opened?,
        }
        match paths.lock_for_writing() {
            Ok(Some(lock)) => Ok(Some(lock)),
            Ok(None) => Err(BackupError::LogLocked { path }),
            Err(source) => Err(BackupError::Io { action: "lock", path, source }),
        }
    }

    /// The journal of a restore that cannot be recorded makes way for that of the next.
    fn keep_journal(&self, paths: &LogPaths) -> Result<(), BackupError> {
        let journal = paths.restore_journal();
        let stamp = self.clock.now().file_stamp();
        let name = self.free_name(&paths.dir, &format!("audit.restore.unrecorded-{stamp}.json"));
        self.fs
            .rename(&journal, &paths.dir.join(name))
            .and_then(|()| self.fs.sync_dir(&paths.dir))
            .map_err(io_error("set aside", &journal))
    }

    fn check_empty(&self, dir: &Path) -> Result<(), BackupError> {
        match self.fs.list(dir) {
            Ok(names) if names.is_empty() => Ok(()),
            Ok(names) => Err(BackupError::Refused(format!(
                "{} is not empty ({} and others): --target restores into a new or empty directory",
                dir.display(),
                names[0]
            ))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error("list", dir)(error)),
        }
    }

    fn replace(
        &self,
        staged: &Staged<'_>,
        live: &Live,
        lock: Option<WriterLock>,
        outcome: &mut Outcome,
    ) -> Result<(), BackupError> {
        let plan = &outcome.plan;
        let plan_lacks = plan.lacking().next().is_some();
        let dir = self.log_dir();
        let paths = LogPaths::new(dir);
        let names = self.fs.list(dir).map_err(io_error("list", dir))?;
        let columns: Vec<_> =
            names.iter().filter(|name| parse_columns_name(name).is_some()).cloned().collect();
        let old: Vec<String> = names
            .into_iter()
            .filter(|name| {
                parse_sealed_name(name).is_some()
                    || parse_filter_name(name).is_some()
                    || is_page_name(name)
                    || ["audit.log", "audit.checkpoint", "audit.head", "audit.leaves"]
                        .contains(&name.as_str())
                    || name == "audit.keys" && plan.old_keys_go()
            })
            .collect();
        let now = self.clock.now();
        let aside = self.free_name(dir, &format!("{}{}", swap::ASIDE, now.file_stamp()));
        let has_old = !old.is_empty() || live.is_there();
        let prepared = staged.prepare(plan, live)?;
        if self.fs.meta(&paths.public_key()).is_err() {
            fsio::replace_file(&*self.fs, &paths.public_key(), plan.public_text().as_bytes())
                .map_err(io_error("write", &paths.public_key()))?;
        }
        let mut journal = Journal {
            committed: false,
            staging: staged.name().to_owned(),
            aside: aside.clone(),
            old,
            new: prepared.names,
            manifest_sha256: prepared.manifest_sha256,
            old_manifest_sha256: self.old_manifest()?,
            checkpoints: self.checkpoints(live, staged.name())?,
            signature: None,
            restored: Restored {
                backup: plan.backup.clone(),
                restored_at: now,
                uid: rustix::process::geteuid().as_raw(),
                tree_size: plan.tree_size,
                root_hash: plan.root_hash.to_string(),
                relation: plan.relation.word().to_owned(),
                set_aside_records: plan.relation.set_aside(),
                kept_in: has_old.then(|| aside.clone()),
                abandoned_checkpoint: plan.new_epoch.then(|| live.note()).flatten(),
                abandoned: prepared.abandoned,
                unproven: false,
            },
        };
        staged.sign(&mut journal);
        swap::swap(&*self.fs, &paths, &journal)
            .map_err(io_error("put the backup in place in", dir))?;
        // They are of other segments now, and nobody believes them. The writer makes new ones.
        for name in columns {
            let _ = self.fs.remove(&dir.join(name));
        }
        if has_old {
            outcome.kept_in = Some(dir.join(&aside));
        } else {
            swap::clear(&*self.fs, &dir.join(&aside));
        }
        // Opening the log writes the record; whoever opens it first does.
        drop(lock);
        // Who restores a backup that says that it lacks records gives them up, which the
        // log then says.
        let options = Options { accept_corruption: plan_lacks, ..self.options.clone() };
        outcome.unrecorded = Self::open_and_close(options).err();
        Ok(())
    }

    /// What the log's checkpoint is before the restore, and after it.
    fn checkpoints(&self, live: &Live, staging: &str) -> Result<Vec<String>, BackupError> {
        let path = self.log_dir().join(staging).join("audit.checkpoint");
        let after = match self.fs.read_own(&path, 1 << 20) {
            Ok(text) => Some(swap::sha256_hex(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let before = live.note().map(|note| swap::sha256_hex(note.as_bytes()));
        Ok(before.into_iter().chain(after).collect())
    }

    fn old_manifest(&self) -> Result<Option<String>, BackupError> {
        let path = LogPaths::new(self.log_dir()).manifest();
        match self.fs.read_own(&path, swap::MAX_MANIFEST_BYTES) {
            Ok(text) => Ok(Some(swap::sha256_hex(&text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    fn open_and_close(options: Options) -> Result<(), OpenError> {
        let log = AuditLog::open(options)?;
        if let Err(error) = log.close() {
            tracing::warn!(%error, "the restored log was not closed cleanly");
        }
        Ok(())
    }

    fn free_name(&self, dir: &Path, name: &str) -> String {
        let is_free = |name: &String| self.fs.entry(&dir.join(name)).is_err();
        let numbered = (2_u32..).map(|number| format!("{name}.{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        names.find(is_free).unwrap_or_else(|| name.to_owned())
    }
}
