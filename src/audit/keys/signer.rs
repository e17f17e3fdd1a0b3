//! Signs checkpoints, and only such as continue what it signed before.
//!
//! A log that once signed two trees of which neither contains the other has
//! lost its word: nobody can tell which records were there. So the signer does
//! not trust the writer's root. It keeps the tree's range at the size it last
//! signed, is given the range of the records added since, joins the two itself
//! and signs only if that is the tree it was asked to sign.

mod key;

pub use super::checkpoint::VerifierKey;
pub(crate) use key::MAX_FILE_BYTES as MAX_KEY_FILE_BYTES;
pub use key::{KeyError, SigningKey};
pub(super) use key::{encode_private, parse_private, read_private, save_private};

use std::sync::Arc;

use super::checkpoint::{Checkpoint, CheckpointError, Note, Origin, SignedCheckpoint};
use crate::audit::tree::merkle::{Hash, Range, RangeError};

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The tree is smaller than one already signed.
    #[error(
        "refusing to sign {origin} at {size} records: {signed} were signed before; \
         records are missing, run `auditctl verify`"
    )]
    Shrunk {
        /// The log.
        origin: String,
        /// The size signed last.
        signed: u64,
        /// The size that was to be signed.
        size: u64,
    },
    /// The tree does not begin with the one already signed.
    #[error(
        "refusing to sign {origin} at {size} records with root {root}: it does not continue what \
         was signed at {signed} records; the log was altered, run `auditctl verify`"
    )]
    Forked {
        /// The log.
        origin: String,
        /// The size signed last.
        signed: u64,
        /// The size that was to be signed.
        size: u64,
        /// The root that was to be signed.
        root: Hash,
    },
    /// The records handed over as new are not those since the last signature.
    #[error(
        "refusing to sign {origin} at {size} records: the new records handed over are \
         {begin}..{end}, those since the last signature are {signed}..{size}"
    )]
    Evidence {
        /// The log.
        origin: String,
        /// The size signed last.
        signed: u64,
        /// The size that was to be signed.
        size: u64,
        /// First record handed over.
        begin: u64,
        /// One after the last record handed over.
        end: u64,
    },
    /// The checkpoint to go on from is not this log's, or not that tree's.
    #[error(
        "cannot continue signing {origin} from the checkpoint of {found} at {size} records: \
         {reason}"
    )]
    Resume {
        /// The log.
        origin: String,
        /// The checkpoint's origin.
        found: String,
        /// The checkpoint's size.
        size: u64,
        /// What does not fit.
        reason: &'static str,
    },
    /// The key belongs to another log.
    #[error("the key {key} does not sign for {origin}: its name has to be {expected}")]
    Key {
        /// The log.
        origin: String,
        /// Name and id of the key.
        key: String,
        /// The name it should have.
        expected: String,
    },
    /// A tree that does not begin at record 0.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// The text could not be made a note.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Signs one log's checkpoints; see the [module](self).
#[derive(Debug)]
pub struct Signer {
    key: Arc<SigningKey>,
    origin: Origin,
    /// The tree at the size last signed.
    signed: Range,
}

/// What is to be signed.
#[derive(Debug)]
pub(crate) struct Draft {
    key: Arc<SigningKey>,
    text: String,
    /// The size that was signed before it.
    after: u64,
    tree: Range,
}

/// What was signed, and is not taken over yet.
#[derive(Debug)]
pub(crate) struct Signed {
    key: Arc<SigningKey>,
    checkpoint: SignedCheckpoint,
    after: u64,
    tree: Range,
}

impl Draft {
    pub(crate) fn sign(self) -> Result<Signed, SignError> {
        let Self { key, text, after, tree } = self;
        let note = key.sign_checkpoint(text).map_err(CheckpointError::from)?;
        let checkpoint = SignedCheckpoint::from_note(note)?;
        Ok(Signed { key, checkpoint, after, tree })
    }
}

impl Signer {
    /// For an origin under which nothing has been signed yet: a new log, or a
    /// new epoch. The first `grown` then begins at record 0.
    ///
    /// # Errors
    /// [`SignError::Key`] unless the key's name is the origin's
    /// [`key_name`](Origin::key_name).
    pub fn new(key: impl Into<Arc<SigningKey>>, origin: Origin) -> Result<Self, SignError> {
        let key = key.into();
        let expected = origin.key_name();
        if key.name() != expected {
            let key = key.verifier().label();
            return Err(SignError::Key { origin: origin.to_string(), key, expected });
        }
        Ok(Self { key, origin, signed: Range::empty(0) })
    }

    /// For a log that has a checkpoint: `last`, which the caller has verified,
    /// and the `tree` of that size, computed from the stored records.
    ///
    /// # Errors
    /// [`SignError::Key`]; [`SignError::Resume`] when the checkpoint has
    /// another origin or the records are not those it was signed for.
    pub fn resume(
        key: impl Into<Arc<SigningKey>>,
        origin: Origin,
        last: &Checkpoint,
        tree: Range,
    ) -> Result<Self, SignError> {
        let refuse = |reason| SignError::Resume {
            origin: origin.to_string(),
            found: last.origin.clone(),
            size: last.size,
            reason,
        };
        if last.origin != origin.to_string() {
            return Err(refuse("another log or epoch"));
        }
        if tree.end() != last.size || tree.root()? != last.root {
            return Err(refuse("the stored records have another root"));
        }
        Ok(Self { signed: tree, ..Self::new(key, origin)? })
    }

    /// Signs the `tree`, given the range `grown` of exactly the records since
    /// [`signed_size`](Self::signed_size) (none, to sign the same size again).
    ///
    /// A writer gets both for little: it makes the range of a batch, then
    /// extends its tree and its `grown` with it; after signing it resets
    /// `grown` to the new size.
    ///
    /// The result is *not yet stored*. From here on only trees that extend this
    /// one are signed, whether the caller manages to store it or not.
    ///
    /// # Errors
    /// [`SignError::Shrunk`], [`SignError::Evidence`], [`SignError::Forked`];
    /// nothing is signed then and the signer is as it was.
    pub fn sign(&mut self, tree: &Range, grown: &Range) -> Result<SignedCheckpoint, SignError> {
        let signed = self.draft(tree, grown)?.sign()?;
        Ok(self.adopt(signed))
    }

    /// Checks what is to be signed, as [`sign`](Self::sign) does. Signing it takes most of the
    /// time, and can be done elsewhere meanwhile.
    pub(crate) fn draft(&self, tree: &Range, grown: &Range) -> Result<Draft, SignError> {
        let root = tree.root()?;
        let (signed, size) = (self.signed.end(), tree.end());
        let origin = self.origin.to_string();
        if size < signed {
            return Err(SignError::Shrunk { origin, signed, size });
        }
        let (begin, end) = (grown.begin(), grown.end());
        if begin != signed || end != size {
            return Err(SignError::Evidence { origin, signed, size, begin, end });
        }
        let mut joined = self.signed.clone();
        joined.extend(grown)?;
        if joined.root()? != root {
            return Err(SignError::Forked { origin, signed, size, root });
        }
        let text = Checkpoint { origin, size, root }.to_string();
        Ok(Draft { key: Arc::clone(&self.key), text, after: signed, tree: joined })
    }

    /// Takes over what was signed. Until then it was signed for nobody: what is not taken over
    /// binds the log to nothing, and must not leave the process.
    fn adopt(&mut self, signed: Signed) -> SignedCheckpoint {
        self.signed = signed.tree;
        signed.checkpoint
    }

    /// The same of what was signed elsewhere, if it is what [`sign`](Self::sign) would sign
    /// now.
    pub(crate) fn adopt_ahead(
        &mut self,
        signed: Signed,
        tree: &Range,
        grown: &Range,
    ) -> Option<SignedCheckpoint> {
        let is_next = signed.after == self.signed.end()
            && (grown.begin(), grown.end()) == (signed.after, signed.tree.end())
            && signed.tree == *tree
            && Arc::ptr_eq(&signed.key, &self.key);
        is_next.then(|| self.adopt(signed))
    }

    /// The same with the signature of the key that is to follow as well: what
    /// hands over to it. [`replace_key`](Self::replace_key) then does.
    ///
    /// # Errors
    /// As [`sign`](Self::sign), and [`SignError::Key`].
    pub fn sign_with_next(
        &mut self,
        tree: &Range,
        grown: &Range,
        next: &SigningKey,
    ) -> Result<SignedCheckpoint, SignError> {
        self.check_name(next)?;
        let signed = self.sign(tree, grown)?;
        let text = signed.note().text().to_owned();
        let by_next = next.sign_checkpoint(text.clone()).map_err(CheckpointError::from)?;
        let both = [signed.note().signatures(), by_next.signatures()].concat();
        let note = Note::new(text, both).map_err(CheckpointError::from)?;
        Ok(SignedCheckpoint::from_note(note)?)
    }

    /// Goes on with another key, from the same tree.
    ///
    /// # Errors
    /// [`SignError::Key`].
    pub fn replace_key(&mut self, next: SigningKey) -> Result<(), SignError> {
        self.check_name(&next)?;
        self.key = Arc::new(next);
        Ok(())
    }

    fn check_name(&self, key: &SigningKey) -> Result<(), SignError> {
        let expected = self.origin.key_name();
        if key.name() == expected {
            return Ok(());
        }
        let key = key.verifier().label();
        Err(SignError::Key { origin: self.origin.to_string(), key, expected })
    }

    /// Which log and epoch this signs for.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The size last signed; 0 before the first.
    #[must_use]
    pub fn signed_size(&self) -> u64 {
        self.signed.end()
    }

    /// The key, for what else of the log is signed.
    #[must_use]
    pub fn key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.key)
    }

    /// The key that checks what this signs.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        self.key.verifier()
    }
}

#[cfg(test)]
mod tests;
