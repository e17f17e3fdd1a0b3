//! Which key signs: the one that the last rotation led to, wherever a crash left
//! it, and never one that was retired.

use std::io;
use std::path::Path;

use super::{Corruption, OpenError, Opening, Scanned, io_error};
use crate::audit::files::manifest::Manifest;
use crate::audit::keys::checkpoint::Origin;
use crate::audit::keys::checkpoint::note::MAX_PUBLIC_KEYS_BYTES;
use crate::audit::keys::histories::KnownHead;
use crate::audit::keys::signer::{KeyError, SigningKey};
use crate::audit::keys::{KeyFiles, KeyHistory, Keyring, KeysError};
use crate::audit::paths::parse_sealed_name;
use crate::audit::state::trouble::Trouble;

const KEYS: &str = "audit.keys";

/// What a change of key has left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyTask {
    Nothing,
    /// A rotation was begun, and is to be gone on with.
    Rotate,
    /// The key took another's place; the record of it is still to be written.
    RecordReplacement,
}

/// A chain of keys that is kept outside the log's directory.
pub(super) struct KeptChain {
    /// The backup that holds it.
    pub(super) name: String,
    pub(super) ring: Keyring,
}

impl Opening<'_> {
    pub(super) fn key_files(&self) -> KeyFiles {
        KeyFiles::new(self.paths, self.options.key_path.as_deref())
    }

    pub(super) fn keys_corrupt(&self, reason: &dyn ToString) -> Corruption {
        let reason = reason.to_string();
        Corruption { file: KEYS.to_owned(), seq: None, offset: None, reason }
    }

    /// How one key followed another, and what is wrong with the file that says so.
    pub(super) fn history(
        &self,
        log_id: &str,
    ) -> Result<(KeyHistory, Option<Corruption>), OpenError> {
        let none = || KeyHistory::new(log_id);
        Ok(match KeyHistory::load(self.fs, self.paths) {
            Ok(None) => (none(), None),
            Ok(Some(history)) if history.log_id == log_id => (history, None),
            Ok(Some(history)) => {
                let reason = format!("it is of log {}, not of this one", history.log_id);
                (none(), Some(self.keys_corrupt(&reason)))
            }
            Err(KeysError::Io { path, source }) => return Err(io_error("read", &path)(source)),
            // What a newer version wrote is not put back from an older copy.
            Err(KeysError::Newer { path, source }) => {
                return Err(OpenError::Newer { path, source });
            }
            Err(KeysError::Invalid { reason, .. }) => (none(), Some(self.keys_corrupt(&reason))),
            Err(error) => (none(), Some(self.keys_corrupt(&error))),
        })
    }

    /// The longest chain to the key at hand that the backups in reach hold. Each step is
    /// signed by both its keys, and the last by the one at hand: whoever keeps it needs
    /// no belief.
    pub(super) fn chain_kept_elsewhere(&self, key: &SigningKey, log_id: &str) -> Option<KeptChain> {
        let of_this = |head: &&KnownHead| {
            let origin = head.note.unverified().origin.parse::<Origin>();
            !head.rotations.is_empty() && origin.is_ok_and(|origin| origin.log_id() == log_id)
        };
        let mut longest: Option<KeptChain> = None;
        for head in self.options.heads.iter().filter(of_this) {
            let most = longest.as_ref().map_or(0, |kept| kept.ring.rotations().len());
            if head.rotations.len() <= most {
                continue;
            }
            let Ok(ring) = Keyring::new(key.verifier().clone(), &head.rotations) else { continue };
            if ring.newest() == key.verifier() {
                longest = Some(KeptChain { name: head.name.clone(), ring });
            }
        }
        longest
    }

    /// Writes `audit.keys` anew; where what stood there is kept, if anything did.
    pub(super) fn put_keys_back(&self, keys: &KeyHistory) -> Result<Option<String>, OpenError> {
        let path = self.paths.keys();
        let aside = match self.fs.entry(&path) {
            Ok(_) => Some(self.move_keys_aside()?),
            Err(_) => None,
        };
        keys.store(self.fs, &path).map_err(|error| match error {
            KeysError::Io { path, source } => io_error("write", &path)(source),
            other => self.start_error(other),
        })?;
        Ok(aside)
    }

    /// The log that the signing key is of, if there is a key.
    pub(super) fn key_names_log(&self) -> Result<Option<String>, OpenError> {
        let path = self.key_files().key;
        if self.missing(&path) {
            return Ok(None);
        }
        let key = match SigningKey::load(self.fs, &path) {
            Ok(key) => key,
            Err(source @ KeyError::Io { .. }) => {
                return Err(OpenError::Key { path, source: Box::new(source) });
            }
            // A change of key may have overwritten it; `key` judges that.
            Err(_) => return Ok(None),
        };
        Ok(key.name().parse::<Origin>().ok().map(|origin| origin.log_id().to_owned()))
    }

    fn missing(&self, path: &Path) -> bool {
        self.fs.meta(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// The signing key, and what is to be gone on with.
    pub(super) fn key(
        &self,
        log_id: &str,
        is_new: bool,
        keys: &KeyHistory,
    ) -> Result<(SigningKey, KeyTask), OpenError> {
        let files = self.key_files();
        let path = files.key.clone();
        let failed = |source| OpenError::Key { path: path.clone(), source: Box::new(source) };
        let next = match files.load_next(self.fs) {
            Ok(next) => next,
            Err(error) => {
                // Whole or not there: it is nothing that a rotation left.
                tracing::warn!(code = Trouble::NextKeyLeft.code(), %error, "the key that was to follow is left alone");
                None
            }
        };
        let is_newest =
            |key: &SigningKey| keys.newest() == Some(key.verifier().to_string().as_str());
        let next = match next {
            Some(key) if is_newest(&key) && keys.replacement().is_some() => {
                files.take_next(self.fs, &key).map_err(failed)?;
                return Ok((key, KeyTask::RecordReplacement));
            }
            Some(key) if is_newest(&key) => {
                // The rotation is stored, the key is not in its place yet.
                // The epoch's own line is added once the epoch is known.
                if let Err(error) = files.finish(self.fs, key.verifier(), key.name()) {
                    tracing::warn!(code = Trouble::KeyFiles.code(), %error, "the key is changed, its files are not all in place");
                }
                return Ok((key, KeyTask::Nothing));
            }
            next => next,
        };
        // A crash after the manifest and before the key leaves nothing signed.
        let nothing = [self.paths.checkpoint(), self.paths.head(), self.paths.public_key()];
        let unsigned = nothing.iter().all(|path| self.missing(path))
            && !self.names.iter().any(|name| parse_sealed_name(name).is_some());
        let key = if !self.missing(&path) {
            SigningKey::load(self.fs, &path).map_err(failed)?
        } else if (is_new || unsigned) && keys.rotations.is_empty() {
            let prefix = self.options.origin.clone().unwrap_or_default();
            let origin =
                Origin::new(&prefix, log_id, 0).map_err(|error| self.start_error(error))?;
            let key = SigningKey::generate(&origin.key_name()).map_err(failed)?;
            key.save(self.fs, &path).map_err(failed)?;
            key
        } else {
            return Err(OpenError::KeyMissing { dir: self.options.dir.clone(), path });
        };
        if let Some(last) = keys.rotations.last()
            && !is_newest(&key)
        {
            let text = key.verifier().to_string();
            if let Some(replaced) = self.replaced(keys, &key) {
                return Err(replaced);
            }
            let known = keys.rotations.iter().any(|rotation| rotation.old_key == text);
            if known {
                // The key itself may hold a plus sign; its name and id do not.
                let wanted = last.new_key.splitn(3, '+').take(2).collect::<Vec<_>>().join("+");
                return Err(OpenError::KeyRetired {
                    path,
                    found: key.verifier().label(),
                    wanted,
                    since: last.seq,
                });
            }
        }
        Ok((key, if next.is_some() { KeyTask::Rotate } else { KeyTask::Nothing }))
    }

    /// Says beside the log which key signs.
    pub(super) fn publish_key(&self, key: &SigningKey, epoch: u32) -> Result<(), OpenError> {
        let path = self.paths.public_key();
        let origin = key.name().parse::<Origin>().map_err(|error| self.start_error(error))?;
        let origin = origin.in_epoch(epoch).to_string();
        let text = key.verifier().public_text(&origin);
        let there = self.fs.read_own(&path, MAX_PUBLIC_KEYS_BYTES as u64).ok();
        if there.as_deref() == Some(text.as_bytes()) {
            return Ok(());
        }
        let saved = key.verifier().save(self.fs, &path, &origin);
        saved.map_err(|source| OpenError::Key { path, source: Box::new(source) })
    }

    /// Both keys signed so many records: they have to be there.
    pub(super) fn judge_keys(
        &self,
        ring: &Keyring,
        manifest: &Manifest,
        active: Option<&Scanned>,
    ) -> Option<Corruption> {
        let end = active.map_or(manifest.end_seq(), |(_, scan)| scan.layout.next_seq());
        let place = ring.last_place()?;
        if begins_epoch(ring, manifest).is_some() {
            return None;
        }
        let gone =
            place.epoch > manifest.epoch || place.epoch == manifest.epoch && end < place.size;
        gone.then(|| Corruption {
            file: "audit.log".to_owned(),
            seq: Some(end),
            offset: None,
            reason: format!(
                "the key was changed at {} records, epoch {}; only {end} are there, epoch {}",
                place.size, place.epoch, manifest.epoch
            ),
        })
    }

    /// The key at hand is one that another took the place of, by the word of that other.
    fn replaced(&self, keys: &KeyHistory, key: &SigningKey) -> Option<OpenError> {
        let ring = keys.ring(key.verifier().clone()).ok()?;
        let handover = ring.unauthorised()?;
        Some(OpenError::KeyReplaced {
            path: self.key_files().key,
            keys: self.paths.keys(),
            found: key.verifier().label(),
            by: handover.new.label(),
            told: handover.replaced.as_ref()?.told(),
        })
    }

    /// Keys that prove nothing are set aside, like everything that was damaged.
    pub(super) fn set_keys_aside(&self, log_id: &str) -> Result<KeyHistory, OpenError> {
        self.move_keys_aside()?;
        Ok(KeyHistory::new(log_id))
    }

    fn move_keys_aside(&self) -> Result<String, OpenError> {
        let path = self.paths.keys();
        let stamp = self.options.clock.now().file_stamp();
        let aside = self.paths.aside("keys", &stamp, |path| self.fs.meta(path).is_ok());
        self.fs.rename(&path, &aside).map_err(io_error("set aside", &path))?;
        self.fs.sync_dir(&self.paths.dir).map_err(io_error("sync", &self.paths.dir))?;
        Ok(aside.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }
}

/// The epoch that a key has still to begin that took another's place.
pub(super) fn begins_epoch(ring: &Keyring, manifest: &Manifest) -> Option<u32> {
    let epoch = ring.last_replacement()?.place.epoch;
    (epoch > manifest.epoch).then_some(epoch)
}
