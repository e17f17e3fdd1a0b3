//! Changing the signing key of an open log: what is wanted, what came of it, and
//! what is prepared before the writer is asked.
//!
//! Each step leaves a log that opens and verifies, whatever ends the process
//! there:
//!
//! | step | on disk afterwards | the next opening |
//! |---|---|---|
//! | the new key is stored in `<key file>.next` | a key that nobody knows | changes the key with it |
//! | `audit.key_rotated` is durable | a record that names it | the same, with a new record |
//! | the checkpoint that both keys signed is stored in `audit.keys` | **the change has happened** | puts the new key in its place |
//! | `audit.pub` is replaced | | the same |
//! | the old key is overwritten and the new one renamed over it | | nothing to do |
//!
//! Between the last two records of the old key and the first of the new nothing is
//! signed that only one of them could have: the checkpoint in between has both
//! signatures. Nothing else is signed before it is stored.

use std::path::{Path, PathBuf};

use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};

use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::keys::signer::{KeyError, SigningKey};
use crate::audit::keys::{KeyFiles, KeyHistory, KeysError, MAX_ROTATIONS};
use crate::fsio::Fs;

/// The longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 256;

/// A change of key, as it is wanted. Never holds a key: the files do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// A file with the private key that shall follow; without one, one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_key: Option<PathBuf>,
    /// Where the retired private key is kept: a new file, mode 0600. Without one
    /// it is destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_old: Option<PathBuf>,
    /// Why, for the record; [`MAX_REASON_BYTES`] at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who wants it; the collector knows by itself.
    #[serde(skip)]
    pub uid: u32,
}

/// A key that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The `audit.key_rotated` record.
    pub seq: u64,
    /// The epoch in which it happened.
    pub epoch: u32,
    /// The size of the tree that both keys signed.
    pub tree_size: u64,
    /// The verifier key before.
    pub old_key: String,
    /// The verifier key now.
    pub new_key: String,
    /// The private key's file.
    pub key_path: PathBuf,
    /// Where the retired private key is kept.
    pub kept_old: Option<PathBuf>,
    /// Why the key files are not all in place, if so; the log's next opening puts
    /// them there.
    pub unfinished: Option<String>,
}

/// Why the key was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// What is wanted cannot be.
    #[error("{0}")]
    Refused(String),
    /// A key file cannot be read or written; nothing was changed.
    #[error("nothing was changed: {0}")]
    Files(String),
    /// The log cannot be written now. The new key is stored, and the change goes on
    /// with it: on the next try, or when the log is opened next.
    #[error(
        "the key is not changed yet: {0}; the change completes by itself, at the latest when the \
         log is next opened"
    )]
    NotYet(String),
}

impl RotateError {
    /// A stable name.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Files(_) => "key",
            Self::NotYet(_) => "unavailable",
        }
    }
}

impl From<KeyError> for RotateError {
    fn from(error: KeyError) -> Self {
        Self::Files(error.to_string())
    }
}

/// What the writer gets.
#[derive(Debug)]
pub(crate) struct KeyWish {
    pub(crate) next: SigningKey,
    pub(crate) files: KeyFiles,
    pub(crate) reason: Option<String>,
    pub(crate) uid: u32,
    pub(crate) kept_old: Option<PathBuf>,
    pub(crate) answer: Sender<Result<Rotated, RotateError>>,
}

/// What would be done, or why it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotatePlan {
    /// The verifier key that is valid now.
    pub old_key: String,
    /// The verifier key that would follow, if it is there already.
    pub new_key: Option<String>,
    /// The private key's file.
    pub key_path: PathBuf,
    /// Whether a change that was begun before would be gone on with.
    pub resumes: bool,
}

/// What is there before a key is changed.
#[derive(Debug)]
pub(crate) struct Preparation<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) files: &'a KeyFiles,
    /// The rotations so far.
    pub(crate) history: &'a KeyHistory,
}

impl Preparation<'_> {
    /// What would be done; changes nothing.
    pub(crate) fn plan(&self, request: &RotateRequest) -> Result<RotatePlan, RotateError> {
        let (old, next, resumes) = self.look(request)?;
        Ok(RotatePlan {
            old_key: old.verifier().to_string(),
            new_key: next.map(|next| next.verifier().to_string()),
            key_path: self.files.key.clone(),
            resumes,
        })
    }

    /// The key that is valid now, the one that shall follow if it is there, and
    /// whether that is one left by a change that was begun before.
    fn look(
        &self,
        request: &RotateRequest,
    ) -> Result<(SigningKey, Option<SigningKey>, bool), RotateError> {
        let old = SigningKey::load(self.fs, &self.files.key)?;
        if self.history.rotations.len() >= MAX_ROTATIONS {
            let text = format!("the log has had {MAX_ROTATIONS} rotations, which is the limit");
            return Err(RotateError::Refused(text));
        }
        if request.reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
            let text = format!("the reason is longer than {MAX_REASON_BYTES} bytes");
            return Err(RotateError::Refused(text));
        }
        if let Some(path) = &request.keep_old
            && self.fs.meta(path).is_ok()
            && !self.holds(path, &old)
        {
            let text = format!("{} exists already: a key is never overwritten", path.display());
            return Err(RotateError::Refused(text));
        }
        let given = match &request.new_key {
            Some(path) => Some(SigningKey::load(self.fs, path)?),
            None => None,
        };
        let left = self.files.load_next(self.fs)?;
        let (next, resumes) = match (given, left) {
            (Some(given), Some(left)) if given.verifier() != left.verifier() => {
                return Err(RotateError::Refused(format!(
                    "a change to {} is not complete: run the command without --new-key to finish \
                     it, and then again with your key",
                    left.verifier().label()
                )));
            }
            (_, Some(left)) => (Some(left), true),
            (given, None) => (given, false),
        };
        if let Some(next) = &next {
            self.check(old.verifier(), next.verifier())?;
        }
        Ok((old, next, resumes))
    }

    /// Whether a file holds just this key, as an attempt that came to nothing left it.
    fn holds(&self, path: &Path, key: &SigningKey) -> bool {
        SigningKey::load(self.fs, path).is_ok_and(|kept| kept.verifier() == key.verifier())
    }

    fn check(&self, old: &VerifierKey, next: &VerifierKey) -> Result<(), RotateError> {
        let expected = old.name();
        if expected != next.name() {
            let text = format!("the new key is named {}, it has to be {expected}", next.name());
            return Err(RotateError::Refused(text));
        }
        let text = next.to_string();
        let known = self.history.rotations.iter().any(|r| r.old_key == text || r.new_key == text);
        if known || old == next {
            let text = format!("{} signs for this log already, or was retired", next.label());
            return Err(RotateError::Refused(text));
        }
        Ok(())
    }

    /// Stores the new key, and keeps the old one where that is wanted. Nothing is
    /// changed when it fails.
    pub(crate) fn prepare(&self, request: &RotateRequest) -> Result<SigningKey, RotateError> {
        let (old, next, resumes) = self.look(request)?;
        let next = match next {
            Some(next) => next,
            None => SigningKey::generate(old.name())?,
        };
        let keeps = request.keep_old.as_ref().filter(|path| !self.holds(path, &old));
        if let Some(path) = keeps {
            old.save(self.fs, path)?;
        }
        if !resumes && let Err(error) = next.save(self.fs, &self.files.next()) {
            if let Some(path) = keeps {
                // Nothing was changed, so nothing is left behind.
                let _ = self.fs.remove(path);
            }
            let text = format!(
                "{error} (the new key is stored beside the old one; if that directory is \
                 read-only, set key_path to a writable one)"
            );
            return Err(RotateError::Files(text));
        }
        Ok(next)
    }
}

/// What a rotation of the log in a directory would do; changes nothing.
///
/// # Errors
/// As the rotation itself, as far as that can be told.
pub fn plan_rotation(
    fs: &dyn Fs,
    dir: &Path,
    key_path: Option<&Path>,
    request: &RotateRequest,
) -> Result<RotatePlan, RotateError> {
    let paths = crate::audit::paths::LogPaths::new(dir);
    let manifest = crate::audit::files::manifest::Manifest::load(fs, &paths.manifest())
        .map_err(|error| RotateError::Files(error.to_string()))?
        .ok_or_else(|| RotateError::Refused(format!("there is no log in {}", dir.display())))?;
    let history = KeyHistory::load(fs, &paths)
        .map_err(|error: KeysError| RotateError::Files(error.to_string()))?;
    let history = history.unwrap_or_else(|| KeyHistory::new(&manifest.log_id));
    let files = KeyFiles::new(&paths, key_path);
    Preparation { fs, files: &files, history: &history }.plan(request)
}
