//! The signed heads that lie beside the log, and which of them says what was
//! recorded.

use std::io;

use super::error::io_error;
use super::{Corruption, OpenError, Opening};
use crate::audit::files::manifest::Manifest;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Checkpoint, MAX_NOTE_BYTES, Origin, SignedCheckpoint};
use crate::audit::keys::histories::KnownHead;
use crate::audit::state::trouble::Trouble;
use crate::audit::tree::merkle::Hash;

/// A head that one of the log's keys signed.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) text: String,
    pub(super) checkpoint: Checkpoint,
    pub(super) epoch: u32,
}

/// The root of the first so many records, by a signature of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SignedRoot {
    pub(super) size: u64,
    pub(super) root: Hash,
}

impl SignedRoot {
    fn of(checkpoint: &Checkpoint) -> Self {
        Self { size: checkpoint.size, root: checkpoint.root }
    }
}

/// What lies beside the log.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) checkpoint: Option<String>,
    pub(super) head: Option<String>,
}

impl Texts {
    pub(super) fn any(&self) -> bool {
        self.checkpoint.is_some() || self.head.is_some()
    }

    /// The log that they say they are of, by their own word.
    pub(super) fn origin(&self) -> Option<Origin> {
        let origin = |text: &String| {
            let note = SignedCheckpoint::parse(text.as_bytes()).ok()?;
            note.unverified().origin.parse::<Origin>().ok()
        };
        let all = [&self.checkpoint, &self.head].into_iter().flatten().filter_map(origin);
        all.max_by_key(Origin::epoch)
    }
}

/// The heads that a key of the log signed, and what is wrong with the checkpoint.
#[derive(Debug, Default)]
pub(super) struct Heads {
    pub(super) checkpoint: Option<Head>,
    pub(super) head: Option<Head>,
    pub(super) bad_checkpoint: Option<String>,
}

impl Heads {
    /// The epoch of the newest.
    pub(super) fn epoch(&self) -> Option<u32> {
        self.all().map(|head| head.epoch).max()
    }

    fn all(&self) -> impl Iterator<Item = &Head> {
        self.checkpoint.iter().chain(&self.head)
    }

    /// All that are of the manifest's epoch: those beside the log, and
    /// those kept elsewhere.
    pub(super) fn places(
        &self,
        manifest: &Manifest,
        elsewhere: &[KnownHead],
        keys: &Keyring,
    ) -> Vec<SignedRoot> {
        let here = self.all().filter(|head| head.epoch == manifest.epoch);
        let here = here.map(|head| SignedRoot::of(&head.checkpoint));
        let kept = elsewhere.iter().filter_map(|known| {
            let (checkpoint, _) = keys.verify(&known.note).ok()?;
            let origin: Origin = checkpoint.origin.parse().ok()?;
            let own = origin.log_id() == manifest.log_id && origin.epoch() == manifest.epoch;
            own.then(|| SignedRoot::of(checkpoint))
        });
        here.chain(kept).collect()
    }

    /// The largest of an epoch; an error when two contradict each other.
    pub(super) fn newest(&self, epoch: u32) -> Result<Option<Head>, Corruption> {
        let of_epoch = |head: &&Head| head.epoch == epoch;
        let mut newest: Option<&Head> = None;
        for head in self.all().filter(of_epoch) {
            match newest {
                Some(known) if known.checkpoint.size == head.checkpoint.size => {
                    if known.checkpoint.root != head.checkpoint.root {
                        let size = head.checkpoint.size;
                        let reason = format!(
                            "it and audit.head are both signed over {size} records, with different \
                             roots: two copies of this log were written to"
                        );
                        return Err(corrupt(reason));
                    }
                }
                Some(known) if known.checkpoint.size > head.checkpoint.size => {}
                _ => newest = Some(head),
            }
        }
        Ok(newest.cloned())
    }
}

pub(super) fn corrupt(reason: String) -> Corruption {
    Corruption { file: "audit.checkpoint".to_owned(), seq: None, offset: None, reason }
}

impl Opening<'_> {
    pub(super) fn texts(&self) -> Result<Texts, OpenError> {
        let path = self.paths.checkpoint();
        let checkpoint = match self.fs.read_own(&path, MAX_NOTE_BYTES as u64) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Larger than any checkpoint: it is none.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(String::new()),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        // It may be torn by a loss of power, and stands for nothing that the
        // checkpoint does not stand for a second later: whatever is wrong with it,
        // the log opens without it.
        let head = match self.fs.read_own(&self.paths.head(), MAX_NOTE_BYTES as u64) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    let code = Trouble::HeadUnusable.code();
                    tracing::warn!(code, %error, "audit.head cannot be read");
                }
                None
            }
        };
        Ok(Texts { checkpoint, head })
    }

    /// The head that a restore left, if it is of the epoch that the log would continue.
    pub(super) fn left_head(&self, keys: &Keyring, manifest: &Manifest) -> Option<Head> {
        let left = self.settled.as_ref()?.restored.abandoned_checkpoint.as_ref()?;
        let left = verified(left, keys, &manifest.log_id).ok()?;
        (left.epoch >= manifest.epoch).then_some(left)
    }

    /// Checks the signatures.
    pub(super) fn heads(&self, texts: &Texts, keys: &Keyring, log_id: &str) -> Heads {
        let check = |text: &String| verified(text, keys, log_id);
        let mut heads = Heads::default();
        match texts.checkpoint.as_ref().map(check) {
            Some(Ok(head)) => heads.checkpoint = Some(head),
            Some(Err(reason)) => heads.bad_checkpoint = Some(reason),
            None => {}
        }
        match texts.head.as_ref().map(check) {
            Some(Ok(head)) => heads.head = Some(head),
            Some(Err(reason)) => {
                let code = Trouble::HeadUnusable.code();
                tracing::warn!(code, reason, "audit.head is not a signed head of this log");
            }
            None => {}
        }
        heads
    }
}

fn verified(text: &str, keys: &Keyring, log_id: &str) -> Result<Head, String> {
    let note = SignedCheckpoint::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    let (checkpoint, _) = keys.verify(&note).map_err(|error| error.to_string())?;
    let origin: Origin = checkpoint.origin.parse().map_err(|_| "it names no log".to_owned())?;
    if origin.log_id() != log_id {
        return Err(format!("it is of {}, not of this log", checkpoint.origin));
    }
    Ok(Head { text: text.to_owned(), checkpoint: checkpoint.clone(), epoch: origin.epoch() })
}
