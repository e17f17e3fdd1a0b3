//! Handing over to another signing key; the steps are those of
//! [`key_change`](crate::audit::write::key_change).

use super::{Failure, Writer, failure};
use crate::audit::keys::checkpoint::SignedCheckpoint;
use crate::audit::keys::{KeyHistory, Rotation};
use crate::audit::record;
use crate::audit::record::secret::Secret;
use crate::audit::state::status::{Activity, Word};
use crate::audit::state::trouble::Trouble;
use crate::audit::write::key_change::{KeyWish, RotateError, Rotated};
use crate::audit::write::own;
use crate::audit::write::own::{KeyRotated, OwnRecord};
use crate::audit::write::own_files::{OwnFile, public_text};
use crate::audit::write::queue::Chunk;

/// A rotation that both keys have signed and that is not known to be stored.
/// Until it is, nothing more is signed: neither key alone would be right.
#[derive(Debug)]
pub(crate) struct Pending {
    wish: Box<KeyWish>,
    rotation: Rotation,
    signed: SignedCheckpoint,
}

/// The keys' part of the writer.
#[derive(Debug)]
pub(crate) struct KeyState {
    pub(crate) history: KeyHistory,
    pub(crate) pending: Option<Pending>,
}

impl Writer {
    pub(super) fn rotate_key(&mut self, wish: Box<KeyWish>) {
        let answer = wish.answer.clone();
        if let Some(pending) = &mut self.keys.pending {
            // The change that was begun is what is wanted: it is stored once more.
            pending.wish.answer = wish.answer;
        } else {
            match self.hand_over(&wish) {
                Ok((rotation, signed)) => {
                    self.keys.pending = Some(Pending { wish, rotation, signed });
                }
                Err(error) => {
                    let _ = answer.send(Err(error));
                    return;
                }
            }
        }
        if let Err(failed) = self.store_rotation() {
            let text = format!("{}: {}", failed.activity.as_str(), failed.error);
            let _ = answer.send(Err(RotateError::NotYet(text)));
            self.failed(&failed);
        }
    }

    /// Makes the record durable as the last one of a tree, and has both keys sign
    /// that tree.
    fn hand_over(&mut self, wish: &KeyWish) -> Result<(Rotation, SignedCheckpoint), RotateError> {
        let old = self.signer.verifier().clone();
        let new = wish.next.verifier();
        if &old == new {
            return Err(RotateError::Refused(format!("{} signs already", new.label())));
        }
        let body = own::encode(&OwnRecord::KeyRotated(KeyRotated {
            old_key: old.to_string(),
            new_key: new.to_string(),
            uid: wish.uid,
            reason: wish.reason.clone(),
        }));
        let (before, last) = self.shared.queue.take_before_own(&body);
        let (seq, line) = (last.first_seq, line_of(&last));
        self.take(before);
        self.flush_all(u64::MAX);
        let tree = self.durable_tree.clone();
        self.take(vec![last]);
        self.flush_all(u64::MAX);
        if tree.end() != seq || self.durable_tree.end() != seq + 1 {
            // It is written when the log can be; a record alone changes no key.
            let text = "the log cannot be written at the moment".to_owned();
            return Err(RotateError::NotYet(text));
        }
        self.activity(Activity::Checkpoint);
        let signed = self
            .signer
            .sign_with_next(&self.durable_tree, &self.grown, &wish.next)
            .map_err(|error| RotateError::Refused(error.to_string()))?;
        self.grown.reset(seq + 1);
        let rotation = Rotation::of_last((&old, new), line, &tree, &signed);
        // What is stored for ever is looked at once more.
        rotation.check().map_err(|error| RotateError::Refused(error.to_string()))?;
        Ok((rotation, signed))
    }

    /// Stores a rotation that is signed; from then on the new key signs.
    pub(super) fn store_rotation(&mut self) -> Result<(), Failure> {
        let Some(pending) = self.keys.pending.take() else { return Ok(()) };
        let shared = self.shared.clone();
        let fs = &*shared.options.fs;
        let mut history = self.keys.history.clone();
        history.rotations.push(pending.rotation.clone());
        let text = history.encode();
        if let Err(failed) = self.at_home() {
            self.keys.pending = Some(pending);
            return Err(failed);
        }
        self.own_files.writes(OwnFile::Keys, &text);
        if let Err(error) = crate::fsio::replace_file(fs, &shared.paths.keys(), &text) {
            self.keys.pending = Some(pending);
            return Err(failure(Activity::Checkpoint)(error));
        }
        self.own_files.wrote(OwnFile::Keys);
        shared.page.set(Word::KeyChanges, history.rotations.len() as u64);
        self.keys.history = history;
        let Pending { wish, rotation, signed } = pending;
        let KeyWish { next, files, kept_old, answer, .. } = *wish;
        let new = next.verifier().clone();
        if let Err(error) = self.signer.replace_key(next) {
            self.poison(&error.to_string());
            return Ok(());
        }
        shared.keeper.set_key(self.signer.key());
        self.store_checkpoint(&signed);
        let finished = files.finish(fs, &new, &self.signer.origin().to_string());
        self.own_files.forget(OwnFile::PublicKey);
        self.own_files.forget(OwnFile::Key);
        if finished.is_ok() {
            let key = self.signer.key();
            for (file, text) in [
                (OwnFile::PublicKey, Secret(public_text(&key, self.signer.origin()).into_bytes())),
                (OwnFile::Key, key.encode()),
            ] {
                self.own_files.holds(file, &text.0);
            }
        }
        let unfinished = finished.err().map(|error| error.to_string());
        if let Some(error) = &unfinished {
            shared.page.add(Word::MaintenanceErrors, 1);
            tracing::warn!(
                code = Trouble::KeyFiles.code(),
                error,
                "the key is changed, its files are not all in place"
            );
        }
        // Last: the manifest is signed with the key that is in its place by now.
        shared.keeper.store_again();
        tracing::info!(key = new.label(), seq = rotation.seq, "another key signs from here on");
        // Whoever asked may have gone.
        let _ = answer.send(Ok(Rotated {
            seq: rotation.seq,
            epoch: self.signer.origin().epoch(),
            tree_size: signed.unverified().size,
            old_key: rotation.old_key,
            new_key: rotation.new_key,
            key_path: files.key,
            kept_old,
            unfinished,
        }));
        Ok(())
    }
}

fn line_of(chunk: &Chunk) -> String {
    let mut line = Vec::new();
    for (body, entry) in chunk.bodies() {
        let mut accepted = Vec::new();
        entry.accepted_at.write_to(&mut accepted);
        record::assemble(chunk.first_seq, &accepted, entry.has_timestamp, body, &mut line);
    }
    String::from_utf8_lossy(&line).into_owned()
}
