//! Another key in the place of one that is lost. Nobody can sign that, so the log goes on
//! in a new epoch, and says for ever when, by whom and why it was done.
//!
//! Each step leaves a log that reads and verifies, whatever ends the process there:
//!
//! | step | on disk afterwards | next |
//! |---|---|---|
//! | the new key is stored in `<key file>.next` | a key that nobody knows | replacing again takes it |
//! | the replacement is stored in `audit.keys`, signed by the new key | **the key is replaced** | opening begins the epoch, or goes on with it |
//! | the log is opened: the key is copied to its place, `audit.pub`, the first checkpoint of the epoch | | the same |
//! | `audit.key_replaced` is durable | a record of it | the same, with a second record |
//! | `<key file>.next` is removed | | nothing to do |

use std::path::{Path, PathBuf};

use super::key_change::MAX_REASON_BYTES;
use super::log::AuditLog;
use super::options::Options;
use super::own::KeyReplaced;
use super::recovery::OpenError;
use crate::audit::files::manifest::{Manifest, ManifestError};
use crate::audit::files::restore;
use crate::audit::keys::checkpoint::{MAX_NOTE_BYTES, Origin, SignedCheckpoint};
use crate::audit::keys::signer::{KeyError, SigningKey};
use crate::audit::keys::{
    KeyFiles, KeyHistory, Keyring, KeysError, MAX_ROTATIONS, Place, Replaced, Rotation,
    is_one_line, load_keyring,
};
use crate::audit::paths::LogPaths;
use crate::fsio::{self, Fs, aside};

/// A replacement, as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaceRequest {
    /// Why; [`MAX_REASON_BYTES`] at most, in one line.
    pub reason: String,
    /// Who wants it.
    pub uid: u32,
    /// That user's name.
    pub user: Option<String>,
}

/// A key that was replaced, or is about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacing {
    /// What its record says.
    pub record: KeyReplaced,
    /// The private key's file.
    pub key_path: PathBuf,
    /// Where what stood there is kept.
    pub set_aside: Option<String>,
    /// It was begun before, and is gone on with.
    pub resumes: bool,
}

/// Why the key was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// There is no log.
    #[error("there is no log in {}", dir.display())]
    NoLog {
        /// The directory.
        dir: PathBuf,
    },
    /// A writer runs, and has the key.
    #[error("a writer has the log open and has the key: change it with `auditctl key rotate`")]
    Writer,
    /// The key that signs is here.
    #[error("the key that signs is in {}: change it with `auditctl key rotate`, which uses its \
             signature", path.display())]
    Present {
        /// The file.
        path: PathBuf,
    },
    /// What is wanted cannot be.
    #[error("{0}")]
    Refused(String),
    /// Files cannot be read or written; nothing was changed.
    #[error("nothing was changed: {0}")]
    Files(String),
    /// The key is replaced, and the log does not open with it.
    #[error("the key is replaced, but the record of it is not written yet: {0}")]
    Open(#[from] OpenError),
}

impl ReplaceError {
    /// What [`ReplaceError::kind`] can say besides what an opening can.
    pub const KINDS: &[&str] = &["no_log", "busy", "refused", "key"];

    /// A stable name.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoLog { .. } => "no_log",
            Self::Writer => "busy",
            Self::Present { .. } | Self::Refused(_) => "refused",
            Self::Files(_) => "key",
            Self::Open(error) => error.kind(),
        }
    }
}

impl From<KeyError> for ReplaceError {
    fn from(error: KeyError) -> Self {
        Self::Files(error.to_string())
    }
}

impl From<KeysError> for ReplaceError {
    fn from(error: KeysError) -> Self {
        Self::Files(error.to_string())
    }
}

/// What would be done; changes nothing.
///
/// # Errors
/// As [`replace_key`], as far as that can be told.
pub fn plan_replacement(
    options: &Options,
    request: &ReplaceRequest,
) -> Result<Replacing, ReplaceError> {
    let step = Step::new(options);
    if step.paths.writer_runs().unwrap_or(false) {
        return Err(ReplaceError::Writer);
    }
    let found = step.look(request)?;
    let next = match &found.next {
        Some(next) => next.verifier().to_string(),
        None => String::new(),
    };
    Ok(step.outcome(&found, found.record(request, options, next), None))
}

/// Replaces the key of a log that nobody has open, and opens and closes the log once, so
/// that it is recorded.
///
/// # Errors
/// See [`ReplaceError`].
pub fn replace_key(options: &Options, request: &ReplaceRequest) -> Result<Replacing, ReplaceError> {
    let step = Step::new(options);
    let fs = &*options.fs;
    let no_log = Manifest::load(fs, &step.paths.manifest());
    if matches!(no_log, Ok(None)) {
        return Err(ReplaceError::NoLog { dir: options.dir.clone() });
    }
    let lock = match step.paths.lock_for_writing() {
        Ok(Some(lock)) => lock,
        Ok(None) => return Err(ReplaceError::Writer),
        Err(error) => {
            let path = step.paths.lock();
            return Err(ReplaceError::Files(format!("{}: {error}", path.display())));
        }
    };
    let found = step.look(request)?;
    let outcome = match found.history.replacement().filter(|_| found.resumes) {
        Some(rotation) => {
            let record = KeyReplaced::of(rotation);
            let record = record.ok_or_else(|| refused("audit.keys does not hold together"))?;
            step.outcome(&found, record, None)
        }
        None => step.commit(found, request)?,
    };
    drop(lock);
    let log = AuditLog::open(options.clone())?;
    log.close().map_err(|error| ReplaceError::Open(step.unrecorded(&error)))?;
    Ok(outcome)
}

fn refused(what: impl Into<String>) -> ReplaceError {
    ReplaceError::Refused(what.into())
}

struct Step<'a> {
    options: &'a Options,
    fs: &'a dyn Fs,
    paths: LogPaths,
    files: KeyFiles,
}

/// What is there.
struct Found {
    history: KeyHistory,
    keys: Keyring,
    /// The newest head that the old key signed.
    last: SignedCheckpoint,
    epoch: u32,
    next: Option<SigningKey>,
    resumes: bool,
}

impl Found {
    fn record(&self, request: &ReplaceRequest, options: &Options, new_key: String) -> KeyReplaced {
        let head = self.last.unverified();
        KeyReplaced {
            old_key: self.keys.newest().to_string(),
            new_key,
            epoch: self.epoch,
            replaced_at: options.clock.now(),
            uid: request.uid,
            user: request.user.clone(),
            reason: request.reason.clone(),
            signed_records: head.size,
            signed_root: head.root,
            last_checkpoint: self.last.to_string(),
        }
    }
}

impl<'a> Step<'a> {
    fn new(options: &'a Options) -> Self {
        let paths = LogPaths::new(&options.dir);
        let files = KeyFiles::new(&paths, options.key_path.as_deref());
        Self { options, fs: &*options.fs, paths, files }
    }

    fn unrecorded(&self, error: &dyn std::fmt::Display) -> OpenError {
        OpenError::Start { dir: self.options.dir.clone(), reason: error.to_string() }
    }

    fn outcome(&self, found: &Found, record: KeyReplaced, set_aside: Option<String>) -> Replacing {
        let key_path = self.files.key.clone();
        Replacing { record, key_path, set_aside, resumes: found.resumes }
    }

    fn look(&self, request: &ReplaceRequest) -> Result<Found, ReplaceError> {
        check_reason(&request.reason)?;
        let manifest = match Manifest::load_signed(self.fs, &self.paths.manifest()) {
            Ok(Some(found)) => Some(found),
            Ok(None) if self.fs.meta(&self.paths.checkpoint()).is_ok() => None,
            Ok(None) => return Err(ReplaceError::NoLog { dir: self.options.dir.clone() }),
            // It is made anew from the segments.
            Err(ManifestError::Invalid { .. }) => None,
            Err(error) => return Err(ReplaceError::Files(error.to_string())),
        };
        if restore::is_pending(self.fs, &self.paths) {
            return Err(refused(
                "a restore was interrupted: run `auditctl restore` again to finish it",
            ));
        }
        let keys = load_keyring(self.fs, &self.paths, None)?;
        let log_id = keys.newest().log_id().unwrap_or_default();
        let history = KeyHistory::load(self.fs, &self.paths)?;
        let history = history.unwrap_or_else(|| KeyHistory::new(&log_id));
        if history.rotations.len() >= MAX_ROTATIONS {
            return Err(refused(format!("the log has changed its key {MAX_ROTATIONS} times")));
        }
        let next = self.files.load_next(self.fs)?;
        let waits = next
            .as_ref()
            .is_some_and(|next| history.newest() == Some(next.verifier().to_string().as_str()));
        let resumes = waits && history.replacement().is_some();
        if waits && !resumes {
            return Err(refused(format!(
                "the key that signs is in {}: start the collector, which moves it into place",
                self.files.next().display()
            )));
        }
        if !resumes {
            self.key_is_lost(&keys)?;
        }
        let begun = history.replacement().filter(|_| resumes);
        let last = match begun {
            Some(begun) => SignedCheckpoint::parse(begun.checkpoint.as_bytes())
                .map_err(|error| ReplaceError::Files(error.to_string()))?,
            None => self.last_head(&keys)?,
        };
        let signed = manifest
            .filter(|(manifest, signature)| manifest.check_signature(signature, &keys).is_ok());
        let elsewhere = self.options.heads.iter().filter(|head| keys.verify(&head.note).is_ok());
        let epochs = elsewhere.filter_map(|head| place(&head.note)).map(|place| place.epoch);
        let epochs = epochs.chain(signed.map(|(manifest, _)| manifest.epoch));
        let newest = epochs.chain(place(&last).map(|place| place.epoch)).max().unwrap_or(0);
        let epoch = newest.checked_add(1).ok_or_else(|| refused("there is no further epoch"))?;
        Ok(Found { history, keys, last, epoch, next, resumes })
    }

    /// Where the key that signs is there, it is not replaced.
    fn key_is_lost(&self, keys: &Keyring) -> Result<(), ReplaceError> {
        let path = self.files.key.clone();
        match SigningKey::load(self.fs, &path) {
            Ok(key) if key.verifier() == keys.newest() => Err(ReplaceError::Present { path }),
            Ok(_) | Err(KeyError::File { .. }) => Ok(()),
            Err(KeyError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(())
            }
            // It may be the one.
            Err(error) => Err(error.into()),
        }
    }

    /// The newest head that lies beside the log, by one of its keys.
    fn last_head(&self, keys: &Keyring) -> Result<SignedCheckpoint, ReplaceError> {
        let mut newest: Option<(Place, SignedCheckpoint)> = None;
        for path in [self.paths.checkpoint(), self.paths.head()] {
            let text = self.fs.read_own(&path, MAX_NOTE_BYTES as u64).unwrap_or_default();
            let Ok(note) = SignedCheckpoint::parse(&text) else { continue };
            let Ok((_, key)) = keys.verify(&note) else { continue };
            let Some(place) = place(&note).filter(|_| key == keys.newest()) else { continue };
            if newest.as_ref().is_none_or(|(known, _)| *known < place) {
                newest = Some((place, note.only_by(key)));
            }
        }
        newest.map(|(_, note)| note).ok_or_else(|| {
            refused(format!(
                "{} has no head that {} signed, so nothing shows what the log was: restore a \
                 backup first (`auditctl restore latest`)",
                self.options.dir.display(),
                keys.newest().label()
            ))
        })
    }

    fn commit(&self, found: Found, request: &ReplaceRequest) -> Result<Replacing, ReplaceError> {
        let failed = |what: &dyn std::fmt::Display| ReplaceError::Files(what.to_string());
        let new = match found.next {
            Some(ref next) => next.clone_key(),
            None => {
                let new = SigningKey::generate(found.keys.newest().name())?;
                fsio::make_dirs(self.fs, &fsio::parent(&self.files.key))
                    .map_err(|error| failed(&error))?;
                new.save(self.fs, &self.files.next())?;
                new
            }
        };
        let record = found.record(request, self.options, new.verifier().to_string());
        let said = Replaced {
            epoch: record.epoch,
            at: record.replaced_at,
            uid: record.uid,
            user: record.user.clone(),
            reason: record.reason.clone(),
            signature: String::new(),
        };
        let rotation = Rotation::replacing(found.keys.newest(), &found.last, (&new, said))
            .map_err(|error| failed(&error))?;
        let mut history = found.history.clone();
        history.rotations.push(rotation);
        // What is stored for ever is looked at once more.
        history.ring(new.verifier().clone()).map_err(|error| failed(&error))?;
        let stamp = self.options.clock.now().file_stamp();
        let set_aside = aside::set_aside(self.fs, &self.files.key, &stamp)
            .map_err(|error| failed(&format!("{}: {error}", self.files.key.display())))?;
        history.store(self.fs, &self.paths.keys())?;
        Ok(self.outcome(&found, record, set_aside))
    }
}

fn place(note: &SignedCheckpoint) -> Option<Place> {
    let head = note.unverified();
    let origin: Origin = head.origin.parse().ok()?;
    Some(Place { epoch: origin.epoch(), size: head.size })
}

fn check_reason(reason: &str) -> Result<(), ReplaceError> {
    if reason.trim().is_empty() || reason.len() > MAX_REASON_BYTES || !is_one_line(reason) {
        return Err(refused(format!(
            "the reason has to be one line of at most {MAX_REASON_BYTES} bytes, and say something"
        )));
    }
    Ok(())
}

/// Puts a key that was kept elsewhere back in its place.
///
/// # Errors
/// [`ReplaceError::Refused`] when it is not the key that signs, or another key is there.
pub fn put_key_back(
    fs: &dyn Fs,
    paths: &LogPaths,
    key_path: Option<&Path>,
    key: &SigningKey,
) -> Result<PutBack, ReplaceError> {
    let keys = load_keyring(fs, paths, None)?;
    let path = KeyFiles::new(paths, key_path).key;
    if key.verifier() != keys.newest() {
        let (found, wanted) = (key.verifier().label(), keys.newest().label());
        let what =
            if keys.contains(key.verifier()) { "was retired" } else { "is none of its keys" };
        return Err(refused(format!(
            "the log in {} is signed by {wanted}; {found} {what}",
            paths.dir.display()
        )));
    }
    match SigningKey::load(fs, &path) {
        Ok(there) if there.verifier() == key.verifier() => {
            return Ok(PutBack { path, was_there: true });
        }
        Err(KeyError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        Ok(there) => {
            return Err(refused(format!(
                "{} holds {}, and a key is never overwritten: move it away first",
                path.display(),
                there.verifier().label()
            )));
        }
        Err(error) => {
            return Err(refused(format!(
                "{error}; a key is never overwritten: move it away first"
            )));
        }
    }
    fsio::make_dirs(fs, &fsio::parent(&path)).map_err(|error| {
        ReplaceError::Files(format!("{}: {error}", fsio::parent(&path).display()))
    })?;
    key.save(fs, &path)?;
    Ok(PutBack { path, was_there: false })
}

/// A key that is in its place again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutBack {
    /// Its file.
    pub path: PathBuf,
    /// It was there before.
    pub was_there: bool,
}
