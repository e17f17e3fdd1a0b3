//! A witness: cosigns a checkpoint if it continues what it cosigned before, and never
//! anything that contradicts it.
//!
//! For each log one request at a time. What is to be cosigned is noted, then recorded in
//! the witness's own log, durably, and only then answered. After `kill -9` at any moment
//! the log says at least what was answered.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use sha2::{Digest, Sha256};

use super::accept::{Accepted, MAX_LOGS};
use super::book::{Book, BookError, Last};
use super::protocol::{AddCheckpoint, SIZE_TYPE};
use crate::audit::AuditLog;
use crate::audit::keys::checkpoint::{
    Checkpoint, CheckpointError, Note, NoteError, NoteSignature, SignedCheckpoint, VerifierKey,
};
use crate::audit::keys::cosignature::{CosigningKey, WitnessKey, line as signature_line};
use crate::audit::keys::signer::KeyError;
use crate::audit::tree::merkle::{Hash, empty_root};
use crate::audit::tree::proof::verify_consistency;
use crate::audit::write::own::{Cosigned, CosigningRefused, WitnessState, WitnessedLog};
use crate::clock::Timestamp;
use crate::fsio::Fs;

/// A checkpoint whose text is larger is not cosigned: it has to fit into a record.
const MAX_TEXT_BYTES: usize = 8 << 10;
/// Who asks again for the same within so many seconds gets the same cosignature, and no
/// new record is made.
const SAME_FOR_SECONDS: u64 = 10;
/// So many refusals of one log are recorded; whoever has two signed notes could send
/// them for ever.
const MAX_REFUSALS: usize = 32;
/// After so many cosignings all that is known is recorded once more.
const SUM_UP_AFTER: u64 = 10_000;

/// What is answered to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The media type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Answer {
    fn text(status: u16, body: impl Into<String>) -> Self {
        let body = body.into() + "\n";
        Self { status, content_type: "text/plain; charset=utf-8", body }
    }

    fn size(size: u64) -> Self {
        Self { status: 409, content_type: SIZE_TYPE, body: format!("{size}\n") }
    }
}

/// Where a witness's key comes from.
#[derive(Debug)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum KeyOf {
    /// Its file.
    Stored(CosigningKey),
    /// It is new, and to be stored in this file once the log has a record of it.
    New(CosigningKey),
}

/// A witness, on a log of its own.
#[derive(Debug)]
pub struct Notary {
    log: AuditLog,
    key: CosigningKey,
    accepted: RwLock<Accepted>,
    /// By origin.
    logs: Mutex<BTreeMap<String, Arc<Mutex<Seen>>>>,
    /// Cosigned since all was summed up.
    since: Mutex<u64>,
}

/// What is known of one log.
#[derive(Debug, Default)]
struct Seen {
    last: Option<Last>,
    /// The newest cosignature, once its record is durable: when, and over which text.
    given: Option<(u64, String, NoteSignature)>,
    refused: Vec<(u64, Hash)>,
}

impl Notary {
    /// A witness with this key on its own log, which nobody else writes.
    ///
    /// `accept_put_back`: go on although the log was put back, or has no record of the
    /// key. Whatever it does not say is forgotten.
    ///
    /// # Errors
    /// [`BookError`].
    pub fn new(
        log: AuditLog,
        key: KeyOf,
        accepted: Accepted,
        accept_put_back: bool,
    ) -> Result<Self, BookError> {
        let (key, is_new) = match key {
            KeyOf::Stored(key) => (key, false),
            KeyOf::New(key) => (key, true),
        };
        let verifier = key.verifier();
        if !super::book::is_a_witness_s(&log)? {
            return Err(BookError::NotAWitness);
        }
        let book = Book::read(&log, verifier)?;
        let now = log.manifest().epoch;
        match book.epoch {
            _ if is_new || accept_put_back => {}
            None => return Err(BookError::UnknownKey { key: verifier.label() }),
            Some(then) if then != now => {
                return Err(BookError::PutBack { key: verifier.label(), then, now });
            }
            Some(_) if book.is_restored => {
                return Err(BookError::Restored { key: verifier.label() });
            }
            Some(_) => {}
        }
        let seen = |last: Last| {
            let seen = Seen { last: Some(last), ..Seen::default() };
            Arc::new(Mutex::new(seen))
        };
        let logs = book.logs.into_iter().map(|(origin, last)| (origin, seen(last))).collect();
        let new = Self {
            log,
            key,
            accepted: RwLock::new(accepted),
            logs: Mutex::new(logs),
            since: Mutex::default(),
        };
        new.sum_up()?;
        Ok(new)
    }

    /// Makes a witness's key: the log has a record of it before the file is there.
    ///
    /// # Errors
    /// [`KeyError`], or why the record could not be made.
    pub fn store_key(&self, fs: &dyn Fs, path: &Path) -> Result<(), KeyError> {
        self.key.save(fs, path)
    }

    /// The key that checks the cosignatures.
    #[must_use]
    pub fn verifier(&self) -> &WitnessKey {
        self.key.verifier()
    }

    /// The witness's own log.
    #[must_use]
    pub fn log(&self) -> &AuditLog {
        &self.log
    }

    /// Takes other logs over.
    pub fn accept(&self, accepted: Accepted) {
        *self.accepted.write().unwrap_or_else(PoisonError::into_inner) = accepted;
    }

    /// The logs, and what was cosigned last for each: how many records.
    #[must_use]
    pub fn logs(&self) -> Vec<(String, u64)> {
        let known = lock(&self.logs);
        let size = |seen: &Arc<Mutex<Seen>>| lock(seen).last.as_ref().map_or(0, |last| last.size);
        known.iter().map(|(origin, seen)| (origin.clone(), size(seen))).collect()
    }

    /// Records all that is known, so that the next start need not read further back.
    fn sum_up(&self) -> Result<(), BookError> {
        let failed = |why: String| BookError::Unrecorded(why);
        // All are held until the record has its place in the log: what is cosigned meanwhile would
        // stand before it, where the next start does not look any more. Who holds one of them
        // never asks for another.
        let known = lock(&self.logs);
        let held: Vec<_> = known.iter().map(|(origin, seen)| (origin, lock(seen))).collect();
        let logs = held.iter().filter_map(|(origin, seen)| {
            let last = seen.last.as_ref()?;
            let (tree_size, root_hash, record) = (last.size, last.root, last.record);
            Some(WitnessedLog { origin: (*origin).clone(), tree_size, root_hash, record })
        });
        let epoch = self.log.manifest().epoch;
        let state = WitnessState { key: self.verifier().to_string(), epoch, logs: logs.collect() };
        let receipt = self
            .log
            .record_witness_state(state)
            .ok_or_else(|| failed(format!("it knows more than {MAX_LOGS} logs")))?;
        drop(held);
        drop(known);
        receipt.wait_durable().map(drop).map_err(|error| failed(error.to_string()))
    }

    /// Answers `add-checkpoint`.
    #[must_use]
    pub fn add_checkpoint(&self, body: &[u8]) -> Answer {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(reason) => return Answer::text(400, reason),
        };
        let note = match Note::parse(request.note) {
            Ok(note) => note,
            Err(error) => return Answer::text(400, error.to_string()),
        };
        let origin = note.text().split('\n').next().unwrap_or_default().to_owned();
        let signed_by = match self.signed(&note, &origin) {
            Ok(signed_by) => signed_by,
            Err(answer) => return answer,
        };
        if note.text().len() > MAX_TEXT_BYTES {
            return Answer::text(
                413,
                format!("the checkpoint has more than {MAX_TEXT_BYTES} bytes"),
            );
        }
        let checkpoint = match Checkpoint::parse(note.text()) {
            Ok(checkpoint) => checkpoint,
            // An empty tree has one root only.
            Err(error @ CheckpointError::Text { line: 3, .. })
                if note.text().split('\n').nth(1) == Some("0") =>
            {
                return Answer::text(422, error.to_string());
            }
            Err(error) => return Answer::text(400, error.to_string()),
        };
        if request.old_size > checkpoint.size {
            return Answer::text(400, "the old size is larger than the checkpoint's");
        }
        let seen = Arc::clone(lock(&self.logs).entry(origin).or_default());
        let mut seen = lock(&seen);
        let answer = self.decide(&mut seen, &request, (&note, &checkpoint, signed_by));
        drop(seen);
        if answer.status == 200 {
            self.count();
        }
        answer
    }

    /// The signatures by keys of the log. What a key that is not known signed is nothing.
    fn signed(&self, note: &Note, origin: &str) -> Result<Vec<NoteSignature>, Answer> {
        let accepted = self.accepted.read().unwrap_or_else(PoisonError::into_inner);
        let Some(keys) = accepted.keys(origin) else {
            return Err(Answer::text(404, "this witness does not know the log"));
        };
        let mut by = Vec::new();
        for key in keys {
            match note.verify(key) {
                // One line of each key is enough.
                Ok(()) => by.extend(note.signatures().iter().find(|s| is_by(s, key)).cloned()),
                Err(NoteError::WrongKey { .. }) => {}
                Err(error) => return Err(Answer::text(403, error.to_string())),
            }
        }
        if by.is_empty() {
            return Err(Answer::text(403, "no key of the log that is known here signed it"));
        }
        Ok(by)
    }

    fn decide(
        &self,
        seen: &mut Seen,
        request: &AddCheckpoint<'_>,
        (note, checkpoint, signed_by): (&Note, &Checkpoint, Vec<NoteSignature>),
    ) -> Answer {
        let (last_size, last_root) =
            seen.last.as_ref().map_or_else(|| (0, empty_root()), |last| (last.size, last.root));
        if request.old_size != last_size {
            return Answer::size(last_size);
        }
        let consistent = verify_consistency(
            last_size,
            checkpoint.size,
            &last_root,
            &checkpoint.root,
            &request.proof,
        );
        if let Err(error) = consistent {
            let split = last_size == checkpoint.size && last_root != checkpoint.root;
            let refused = CosigningRefused {
                origin: checkpoint.origin.clone(),
                reason: if split { "split_view" } else { "not_consistent" }.to_owned(),
                old_size: request.old_size,
                tree_size: checkpoint.size,
                root_hash: checkpoint.root,
                cosigned_size: last_size,
                cosigned_root: last_root,
                checkpoint: kept(note, signed_by),
                proof: request.proof.clone(),
            };
            self.refuse(seen, refused);
            return Answer::text(422, format!("it does not continue what was cosigned: {error}"));
        }
        self.cosign(seen, (note, checkpoint, signed_by))
    }

    /// Keeps what may be proof against the log.
    fn refuse(&self, seen: &mut Seen, refused: CosigningRefused) {
        let which = (refused.tree_size, refused.root_hash);
        if seen.refused.contains(&which) || seen.refused.len() >= MAX_REFUSALS {
            return;
        }
        let (origin, reason) = (refused.origin.clone(), refused.reason.clone());
        let size = refused.tree_size;
        // Whether it is kept changes nothing about the answer.
        match self.log.record_cosigning_refused(refused).wait_durable() {
            Ok(record) => {
                seen.refused.push(which);
                tracing::warn!(%origin, size, record, %reason, "a signed checkpoint was not cosigned");
            }
            Err(error) => {
                tracing::error!(%origin, size, %error, "a refused checkpoint could not be recorded");
            }
        }
    }

    fn cosign(
        &self,
        seen: &mut Seen,
        (note, checkpoint, signed_by): (&Note, &Checkpoint, Vec<NoteSignature>),
    ) -> Answer {
        let now = seconds(self.log.options().clock.now());
        if let Some((at, text, line)) = &seen.given
            && text == note.text()
            && now.checked_sub(*at).is_some_and(|age| age < SAME_FOR_SECONDS)
        {
            return line_of(line);
        }
        let line = self.key.cosign(note.text(), now.max(1));
        let lines = [signed_by, vec![line.clone()]].concat();
        let cosigned = kept(note, lines);
        let record = Cosigned {
            origin: checkpoint.origin.clone(),
            old_size: seen.last.as_ref().map_or(0, |last| last.size),
            tree_size: checkpoint.size,
            root_hash: checkpoint.root,
            checkpoint: cosigned.clone(),
        };
        let Some(receipt) = self.log.record_cosigned(record) else {
            return Answer::text(413, "the checkpoint is too large");
        };
        // From here on it may become durable: whatever comes next has to continue it,
        // whether this is answered or not.
        seen.given = None;
        let (size, root) = (checkpoint.size, checkpoint.root);
        seen.last = Some(Last { size, root, record: receipt.seq(), note: None });
        if let Err(error) = receipt.wait_durable() {
            tracing::error!(%error, "a cosigning could not be recorded, so it is not answered");
            return Answer::text(503, "the witness cannot record it at the moment; try again");
        }
        if let Some(last) = &mut seen.last {
            last.note = Some(cosigned);
        }
        seen.given = Some((now, note.text().to_owned(), line.clone()));
        line_of(&line)
    }

    fn count(&self) {
        let mut since = lock(&self.since);
        *since += 1;
        if *since >= SUM_UP_AFTER {
            *since = 0;
            drop(since);
            // The next start reads further back then.
            let _ = self.sum_up();
        }
    }

    /// The newest cosigned checkpoint of a log, by the SHA-256 of its origin, in hex.
    #[must_use]
    pub fn checkpoint(&self, origin_hash: &str) -> Option<String> {
        let known: Vec<_> =
            lock(&self.logs).iter().map(|(o, s)| (o.clone(), Arc::clone(s))).collect();
        let is_it = |origin: &str| {
            let hash: [u8; 32] = Sha256::digest(origin.as_bytes()).into();
            Hash::from_bytes(hash).to_string() == origin_hash
        };
        let (_, seen) = known.into_iter().find(|(origin, _)| is_it(origin))?;
        let mut seen = lock(&seen);
        let last = seen.last.as_mut()?;
        if last.note.is_none() {
            last.note = super::book::note_of(&self.log, last.record);
        }
        last.note.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.unix_seconds()).unwrap_or_default()
}

fn is_by(signature: &NoteSignature, key: &VerifierKey) -> bool {
    (signature.key_id, signature.name.as_str()) == (key.id(), key.name())
}

/// The note with these signatures and no others.
fn kept(note: &Note, signatures: Vec<NoteSignature>) -> String {
    Note::new(note.text().to_owned(), signatures)
        .and_then(|note| {
            SignedCheckpoint::from_note(note)
                .map_err(|_| NoteError::Malformed { reason: "it is no checkpoint" })
        })
        .map(|signed| signed.to_string())
        .unwrap_or_default()
}

/// An answer with one cosignature.
fn line_of(line: &NoteSignature) -> Answer {
    Answer { status: 200, content_type: "text/plain; charset=utf-8", body: signature_line(line) }
}

#[cfg(test)]
mod tests;
