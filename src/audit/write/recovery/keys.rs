//! Which key signs: the one that the last rotation led to, wherever a crash left
//! it, and never one that was retired.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::io_error;
use super::{Corruption, OpenError, Opening};
use crate::audit::keys::checkpoint::Origin;
use crate::audit::keys::checkpoint::note::MAX_PUBLIC_KEYS_BYTES;
use crate::audit::keys::histories::KnownHead;
use crate::audit::keys::signer::SigningKey;
use crate::audit::keys::{KeyFiles, KeyHistory, Keyring, KeysError};
use crate::audit::paths::parse_sealed_name;
use crate::audit::state::trouble::Trouble;

const KEYS: &str = "audit.keys";

/// The log's keys, as they were found.
pub(super) struct SeenKeys {
    /// How one key followed another.
    pub(super) history: KeyHistory,
    pub(super) ring: Keyring,
    /// The key that signs.
    pub(super) key: Arc<SigningKey>,
    pub(super) place: KeyPlace,
    pub(super) task: KeyTask,
    /// What is wrong with `audit.keys`, where nothing kept elsewhere stands in for it.
    pub(super) bad: Option<Corruption>,
    /// The backup that the history is from, where `audit.keys` does not hold it.
    pub(super) put_back: Option<String>,
}

impl SeenKeys {
    /// The key from which the history leads to the one that signs.
    pub(super) fn first_key(&self) -> String {
        let rotations = if self.bad.is_some() { &[][..] } else { &self.history.rotations[..] };
        let first = rotations.first().map(|first| first.old_key.clone());
        first.unwrap_or_else(|| self.key.verifier().to_string())
    }
}

/// Where the key that signs lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyPlace {
    /// Where it belongs.
    Home,
    /// Nowhere yet: it is a new log's.
    Nowhere,
    /// Beside the old key: the rotation to it is stored, and the old one is still to go.
    BesideRetired,
    /// Beside the key whose place it took, which is still to be recorded.
    BesideReplaced,
}

/// What a change of key has left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyTask {
    Nothing,
    /// A rotation was begun, and has still to be finished.
    Rotate,
    /// The key took another's place; the record of it is still to be written.
    RecordReplacement,
}

/// What `audit.keys` says, once it is as it should be.
pub(super) struct PlacedKeys {
    pub(super) history: KeyHistory,
    /// Where what stood in its place is kept, when it was put back.
    pub(super) aside: Option<String>,
}

/// The key that signs, and what is to be done with it.
struct FoundKey {
    key: SigningKey,
    place: KeyPlace,
    task: KeyTask,
}

/// A chain of keys that is kept outside the log's directory.
struct KeptChain {
    /// The backup that holds it.
    name: String,
    ring: Keyring,
}

impl Opening<'_> {
    pub(super) fn key_files(&self) -> KeyFiles {
        KeyFiles::new(self.paths, self.options.key_path.as_deref())
    }

    /// The key that signs, and how it came to.
    pub(super) fn seen_keys(&self, log_id: &str, is_new: bool) -> Result<SeenKeys, OpenError> {
        let (history, mut bad) = match self.key_history(log_id)? {
            Ok(history) => (history, None),
            Err(bad) => (KeyHistory::new(log_id), Some(bad)),
        };
        let FoundKey { key, place, task } = self.key(log_id, is_new, &history)?;
        let ring = history.ring(key.verifier().clone()).unwrap_or_else(|error| {
            bad.get_or_insert_with(|| keys_corrupt(error.to_string()));
            key.verifier().clone().into()
        });
        let key = Arc::new(key);
        let kept = self.chain_kept_elsewhere(&key, log_id);
        let kept = kept.filter(|kept| bad.is_some() || kept.ring.extends(&ring));
        Ok(match kept {
            Some(KeptChain { name, ring }) => {
                let rotations = ring.rotations().to_vec();
                let history = KeyHistory { rotations, ..KeyHistory::new(log_id) };
                SeenKeys { history, ring, key, place, task, bad: None, put_back: Some(name) }
            }
            None => SeenKeys { history, ring, key, place, task, bad, put_back: None },
        })
    }

    /// How one key followed another, or what is wrong with the file that says so.
    fn key_history(&self, log_id: &str) -> Result<Result<KeyHistory, Corruption>, OpenError> {
        Ok(match KeyHistory::load(self.fs, self.paths) {
            Ok(None) => Ok(KeyHistory::new(log_id)),
            Ok(Some(history)) if history.log_id == log_id => Ok(history),
            Ok(Some(history)) => {
                Err(keys_corrupt(format!("it is of log {}, not of this one", history.log_id)))
            }
            Err(KeysError::Io { path, source }) => return Err(io_error("read", &path)(source)),
            // What a newer version wrote is not put back from an older copy.
            Err(KeysError::Newer { path, source }) => {
                return Err(OpenError::Newer { path, source });
            }
            Err(KeysError::Invalid { reason, .. }) => Err(keys_corrupt(reason)),
            Err(error) => Err(keys_corrupt(error.to_string())),
        })
    }

    /// The longest chain to the key at hand that the backups in reach hold. Each step is
    /// signed by both its keys, and the last by the one at hand: whoever keeps it needs
    /// no belief.
    fn chain_kept_elsewhere(&self, key: &SigningKey, log_id: &str) -> Option<KeptChain> {
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
    fn put_keys_back(&self, keys: &KeyHistory) -> Result<Option<String>, OpenError> {
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

    pub(super) fn missing(&self, path: &Path) -> bool {
        self.fs.meta(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// The signing key, and what has still to be finished.
    fn key(&self, log_id: &str, is_new: bool, keys: &KeyHistory) -> Result<FoundKey, OpenError> {
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
            Some(key) if is_newest(&key) => {
                let replaces = keys.replacement().is_some();
                let (place, task) = match replaces {
                    true => (KeyPlace::BesideReplaced, KeyTask::RecordReplacement),
                    false => (KeyPlace::BesideRetired, KeyTask::Nothing),
                };
                return Ok(FoundKey { key, place, task });
            }
            next => next,
        };
        // A crash after the manifest and before the key leaves nothing signed.
        let nothing = [self.paths.checkpoint(), self.paths.head(), self.paths.public_key()];
        let unsigned = nothing.iter().all(|path| self.missing(path))
            && !self.names.iter().any(|name| parse_sealed_name(name).is_some());
        let task = if next.is_some() { KeyTask::Rotate } else { KeyTask::Nothing };
        let found = if !self.missing(&path) {
            let key = SigningKey::load(self.fs, &path).map_err(failed)?;
            FoundKey { key, place: KeyPlace::Home, task }
        } else if (is_new || unsigned) && keys.rotations.is_empty() {
            let prefix = self.options.origin.clone().unwrap_or_default();
            let origin =
                Origin::new(&prefix, log_id, 0).map_err(|error| self.start_error(error))?;
            let key = SigningKey::generate(&origin.key_name()).map_err(failed)?;
            FoundKey { key, place: KeyPlace::Nowhere, task }
        } else {
            return Err(OpenError::KeyMissing { dir: self.options.dir.clone(), path });
        };
        if let Some(last) = keys.rotations.last()
            && !is_newest(&found.key)
        {
            let text = found.key.verifier().to_string();
            if let Some(replaced) = self.replaced(keys, &found.key) {
                return Err(replaced);
            }
            let known = keys.rotations.iter().any(|rotation| rotation.old_key == text);
            if known {
                // The key itself may hold a plus sign; its name and id do not.
                let wanted = last.new_key.splitn(3, '+').take(2).collect::<Vec<_>>().join("+");
                return Err(OpenError::KeyRetired {
                    path,
                    found: found.key.verifier().label(),
                    wanted,
                    since: last.seq,
                });
            }
        }
        Ok(found)
    }

    /// Puts the key that signs in its place, and `audit.keys` back or aside.
    pub(super) fn place_keys(
        &self,
        found: &SeenKeys,
        log_id: &str,
    ) -> Result<PlacedKeys, OpenError> {
        let files = self.key_files();
        let key = &found.key;
        let placed = match found.place {
            KeyPlace::Home => Ok(()),
            KeyPlace::Nowhere => key.save(self.fs, &files.key),
            KeyPlace::BesideReplaced => files.take_next(self.fs, key),
            KeyPlace::BesideRetired => {
                // The epoch's own line is added once the epoch is known.
                if let Err(error) = files.finish(self.fs, key.verifier(), key.name()) {
                    tracing::warn!(code = Trouble::KeyFiles.code(), %error, "the key is changed, its files are not all in place");
                }
                Ok(())
            }
        };
        placed.map_err(|source| OpenError::Key { path: files.key, source: Box::new(source) })?;
        if found.bad.is_some() {
            // Keys that prove nothing are set aside, like everything that was damaged.
            self.move_keys_aside()?;
            return Ok(PlacedKeys { history: KeyHistory::new(log_id), aside: None });
        }
        let history = found.history.clone();
        let aside = match found.put_back {
            Some(_) => self.put_keys_back(&history)?,
            None => None,
        };
        Ok(PlacedKeys { history, aside })
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

    fn move_keys_aside(&self) -> Result<String, OpenError> {
        let path = self.paths.keys();
        let stamp = self.options.clock.now().file_stamp();
        let aside = self.paths.aside("keys", &stamp, |path| self.fs.meta(path).is_ok());
        self.fs.rename(&path, &aside).map_err(io_error("set aside", &path))?;
        self.fs.sync_dir(&self.paths.dir).map_err(io_error("sync", &self.paths.dir))?;
        Ok(aside.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }
}

pub(super) fn keys_corrupt(reason: String) -> Corruption {
    Corruption { file: KEYS.to_owned(), seq: None, offset: None, reason }
}
