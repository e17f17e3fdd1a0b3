//! Makes proofs: of a record, and of the tree's growth, under the newest signed head.

use std::path::Path;

use super::consistency::ConsistencyDocument;
use super::pieces::{self, Pieces};
use super::proof_document::{ProofDocument, SignedTree};
use super::tail;
use super::tally::Tally;
use super::view::View;
use crate::audit::keys::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint, read_note};
use crate::audit::keys::{Keyring, load_keyring};
use crate::audit::read::error::ReadError;
use crate::audit::read::watch::Unwatched;
use crate::audit::record::peek_seq;
use crate::audit::tree::merkle::{Hash, empty_root};
use crate::audit::tree::proof::{ProofError, RangeHashes, consistency_proof, inclusion_proof};
use crate::fsio::SharedFs;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The log could not be read.
    #[error(transparent)]
    Verify(#[from] ReadError),
    /// The checkpoint cannot be used.
    #[error("audit.checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// There is no checkpoint.
    #[error("audit.checkpoint is missing: nothing has been signed")]
    Unsigned,
    /// The record is not covered by a checkpoint yet.
    #[error("record {seq} is not signed: the newest checkpoint covers {signed} records")]
    NotYet {
        /// The record.
        seq: u64,
        /// What is signed.
        signed: u64,
    },
    /// The earlier tree is larger than what is signed.
    #[error("the log has no {from} signed records: the newest checkpoint covers {signed}")]
    TooFew {
        /// The earlier tree's size.
        from: u64,
        /// What is signed.
        signed: u64,
    },
    /// No witness has cosigned a checkpoint.
    #[error("audit.cosigned is missing: no witness has cosigned a checkpoint of this log")]
    NotCosigned,
    /// Retention removed the record.
    #[error("record {seq} was removed by retention, which removed all before record {begin}")]
    Removed {
        /// The record.
        seq: u64,
        /// The first one that is here.
        begin: u64,
    },
    /// The record was given up.
    #[error(
        "record {seq} is no longer in the log: records {first} to {last} were damaged \
         ({reason}){by}"
    )]
    GivenUp {
        /// The record.
        seq: u64,
        /// The first of those that are not here.
        first: u64,
        /// The last of them.
        last: u64,
        /// What was wrong.
        reason: String,
        /// Which record gave them up, in words.
        by: String,
    },
    /// Retention removed records that the earlier tree ends between.
    #[error(
        "the tree of the first {from} records can no longer be computed, because retention \
         removed all records before {begin}"
    )]
    TreeRemoved {
        /// The earlier tree's size.
        from: u64,
        /// The first record that is here.
        begin: u64,
    },
    /// The log is damaged where the proof needs it.
    #[error("the log is damaged, so {what} cannot be proven: {reason}")]
    Damaged {
        /// What was to be proven.
        what: String,
        /// What does not fit.
        reason: String,
    },
}

/// Why a subtree's hash cannot be had.
#[derive(Debug, thiserror::Error)]
enum NoHash {
    #[error("records {0} to {1} are not here, or damaged")]
    Missing(u64, u64),
    #[error(transparent)]
    Verify(ReadError),
}

struct Hashes<'a> {
    view: &'a View,
    pieces: &'a Pieces,
}

impl RangeHashes for Hashes<'_> {
    type Error = NoHash;

    fn range_hash(&self, begin: u64, end: u64) -> Result<Hash, NoHash> {
        let range = self.pieces.range(self.view, begin, end).map_err(NoHash::Verify)?;
        range.and_then(|range| range.subtree_hash().ok()).ok_or(NoHash::Missing(begin, end - 1))
    }
}

/// A log with its newest signed head, to prove from.
struct Proofs {
    view: View,
    keys: Keyring,
    head: SignedCheckpoint,
    checkpoint: Checkpoint,
}

impl Proofs {
    fn take(fs: &SharedFs, dir: &Path) -> Result<Self, ProveError> {
        let view = View::take(fs, dir)?;
        let keys = load_keyring(&*view.log.fs, &view.log.paths, None).map_err(ReadError::Keys)?;
        let note = view.note.as_deref().ok_or(ProveError::Unsigned)?;
        let mut signed = SignedCheckpoint::parse(note)?;
        keys.verify(&signed)?;
        // The head of the last durable batch is as good, and newer.
        let head = view.head.as_deref().and_then(|head| SignedCheckpoint::parse(head).ok());
        if let Some(head) = head.filter(|head| keys.verify(head).is_ok()) {
            let (older, newer) = (signed.unverified(), head.unverified());
            if newer.origin == older.origin && newer.size > older.size {
                signed = head;
            }
        }
        let checkpoint = keys.verify(&signed)?.0.clone();
        Ok(Self { view, keys, head: signed, checkpoint })
    }

    /// The log's pieces, the active segment checked up to the signed size.
    fn pieces(&self) -> Result<Pieces, ReadError> {
        let mut pieces = Pieces::sealed(&self.view);
        let size = self.checkpoint.size;
        tail::check(&self.view, &mut pieces, size, &Unwatched, &mut Tally::default())?;
        Ok(pieces)
    }

    fn signed_tree(&self) -> Result<SignedTree, ProveError> {
        let (_, key) = self.keys.verify(&self.head)?;
        Ok(SignedTree {
            checkpoint: self.head.to_string(),
            public_key: key.to_string(),
            key_chain: self.keys.rotations().to_vec(),
        })
    }
}

/// Makes the proof of a record under the newest signed head, and checks it.
///
/// # Errors
/// See [`ProveError`].
pub fn prove(fs: &SharedFs, dir: &Path, seq: u64) -> Result<ProofDocument, ProveError> {
    Proofs::take(fs, dir)?.prove(seq)
}

/// The same under the newest checkpoint that witnesses cosigned.
///
/// # Errors
/// See [`ProveError`].
pub fn prove_cosigned(fs: &SharedFs, dir: &Path, seq: u64) -> Result<ProofDocument, ProveError> {
    Proofs::take(fs, dir)?.cosigned()?.prove(seq)
}

impl Proofs {
    /// From the cosigned checkpoint on, in the place of the newest.
    fn cosigned(self) -> Result<Self, ProveError> {
        let path = self.view.log.paths.cosigned();
        let note = read_note(&*self.view.log.fs, &path)
            .map_err(|source| ReadError::io("read", &path, source))?
            .ok_or(ProveError::NotCosigned)?;
        let head = SignedCheckpoint::parse(&note)?;
        self.under(head)?.ok_or(ProveError::NotCosigned)
    }

    /// Under that head; `None` if it is of another epoch, or over more than is signed here.
    fn under(self, head: SignedCheckpoint) -> Result<Option<Self>, ProveError> {
        let checkpoint = self.keys.verify(&head)?.0.clone();
        let fits =
            checkpoint.origin == self.checkpoint.origin && checkpoint.size <= self.checkpoint.size;
        Ok(fits.then(|| Self { head, checkpoint, ..self }))
    }

    fn prove(self, seq: u64) -> Result<ProofDocument, ProveError> {
        let proofs = self;
        let size = proofs.checkpoint.size;
        if seq >= size {
            return Err(ProveError::NotYet { seq, signed: size });
        }
        let begin = Pieces::sealed(&proofs.view).begin();
        if seq < begin {
            return Err(ProveError::Removed { seq, begin });
        }
        let pieces = proofs.pieces()?;
        if let Some(hole) = pieces.piece_of(seq).map(|piece| &piece.block).filter(|b| b.is_hole()) {
            let by = proofs.view.manifest.holes_by;
            return Err(ProveError::GivenUp {
                seq,
                first: hole.first_seq,
                last: hole.tree.end() - 1,
                reason: hole.hole.clone().unwrap_or_default(),
                by: by.map_or_else(String::new, |by| format!(", and record {by} gave them up")),
            });
        }
        let damaged =
            |reason: String| ProveError::Damaged { what: format!("record {seq}"), reason };
        let record = line_of(&proofs.view, &pieces, seq)?.ok_or_else(|| {
            damaged("its block cannot be read, or holds other records".to_owned())
        })?;
        let proof = inclusion_proof(&Hashes { view: &proofs.view, pieces: &pieces }, seq, size);
        let inclusion_proof = proof.map_err(|error| match error {
            ProofError::Source(NoHash::Verify(error)) => ProveError::Verify(error),
            error => damaged(error.to_string()),
        })?;
        let signed = proofs.signed_tree()?;
        let document = ProofDocument { seq, record, tree_size: size, inclusion_proof, signed };
        document.check(None).map_err(|error| damaged(error.to_string()))?;
        Ok(document)
    }
}

/// Makes the proof that the newest signed tree begins with that of the first `from`
/// records, and checks it.
///
/// # Errors
/// See [`ProveError`].
pub fn prove_from(fs: &SharedFs, dir: &Path, from: u64) -> Result<ConsistencyDocument, ProveError> {
    grown(&Proofs::take(fs, dir)?, from)
}

/// The same of the tree that a checkpoint of the log covers.
///
/// # Errors
/// See [`ProveError`]; [`ProveError::TooFew`] where the checkpoint covers more than is
/// signed here.
pub fn prove_growth(
    fs: &SharedFs,
    dir: &Path,
    from: u64,
    to: &SignedCheckpoint,
) -> Result<ConsistencyDocument, ProveError> {
    let proofs = Proofs::take(fs, dir)?;
    let too_few = ProveError::TooFew { from: to.unverified().size, signed: proofs.checkpoint.size };
    grown(&proofs.under(to.clone())?.ok_or(too_few)?, from)
}

fn grown(proofs: &Proofs, from: u64) -> Result<ConsistencyDocument, ProveError> {
    let size = proofs.checkpoint.size;
    if from > size {
        return Err(ProveError::TooFew { from, signed: size });
    }
    let pieces = proofs.pieces()?;
    let begin = pieces.begin();
    let damaged = |reason: String| ProveError::Damaged {
        what: format!("the tree of the first {from} records"),
        reason,
    };
    let missing = |error: ProofError<NoHash>| match error {
        ProofError::Source(NoHash::Verify(error)) => ProveError::Verify(error),
        // What retention left of the beginning tells some of its trees, not all.
        ProofError::Source(NoHash::Missing(..)) if from < begin => {
            ProveError::TreeRemoved { from, begin }
        }
        error => damaged(error.to_string()),
    };
    let from_root = if from == 0 {
        empty_root()
    } else {
        let tree = pieces.range(&proofs.view, 0, from)?;
        match tree.and_then(|tree| tree.root().ok()) {
            Some(root) => root,
            None if from < begin => return Err(ProveError::TreeRemoved { from, begin }),
            None => return Err(damaged("records before it are not here, or damaged".to_owned())),
        }
    };
    let hashes = Hashes { view: &proofs.view, pieces: &pieces };
    let consistency_proof = consistency_proof(&hashes, from, size).map_err(missing)?;
    let signed = proofs.signed_tree()?;
    let document = ConsistencyDocument {
        from_size: from,
        from_root,
        tree_size: size,
        consistency_proof,
        signed,
    };
    document.check(None).map_err(|error| damaged(error.to_string()))?;
    Ok(document)
}

fn line_of(view: &View, pieces: &Pieces, seq: u64) -> Result<Option<String>, ReadError> {
    let Some(piece) = pieces.piece_of(seq) else { return Ok(None) };
    let Some(raw) = pieces::read(view, piece)? else { return Ok(None) };
    let line = raw
        .split(|byte| *byte == b'\n')
        .nth((seq - piece.block.first_seq) as usize)
        .filter(|line| peek_seq(line) == Some(seq));
    Ok(line.and_then(|line| String::from_utf8(line.to_vec()).ok()))
}
