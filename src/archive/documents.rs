//! The JSON objects in `proof/`: which records a data object holds and what proves them, and
//! the log's keys. Nobody signs them: what they say is proven by the signed checkpoint in them.

use serde::{Deserialize, Serialize};

use super::error::{ArchiveError, cut};
use super::layout::{LogName, ObjectName, Place, Span};
use crate::audit::keys::checkpoint::{Checkpoint, Origin, SignedCheckpoint, VerifierKey};
use crate::audit::keys::{Keyring, Rotation};
use crate::audit::tree::document::{self, DocumentError, Kind, Layout};
use crate::audit::tree::merkle::Range;
use crate::backup::Hole;
use crate::clock::Timestamp;

/// The largest such object: far more than keys that changed once a week for decades take, or
/// [`MOST_HOLES`].
pub(crate) const MAX_DOCUMENT_BYTES: u64 = 16 << 20;
/// So many holes a data object may have: then it ends.
pub(crate) const MOST_HOLES: usize = 1_024;

/// `….range.json`: which records a data object holds, and what proves them.
///
/// It is put before the data object, and only one can be put for each first record. So two
/// who ship the same log never cut it in two ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeProof {
    /// The log's id.
    pub log_id: String,
    /// Its epoch.
    pub epoch: u32,
    /// The name of the data object.
    pub data: String,
    /// The tree over everything before the first record.
    pub before: Range,
    /// The subtree hashes over the records.
    pub tree: Range,
    /// The subtree hashes over what follows, up to the checkpoint.
    pub after: Range,
    /// The signed checkpoint, over `before`, `tree` and `after` together.
    pub checkpoint: String,
    /// Records that the log did not have any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
    /// When the first record was accepted.
    pub first_accepted: Timestamp,
    /// When the last one was.
    pub last_accepted: Timestamp,
}

/// `….keys.json`: the log's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysDocument {
    /// The log's id.
    pub log_id: String,
    /// The newest key. Believe one that you have from elsewhere.
    pub public_key: String,
    /// How the keys followed each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<Rotation>,
}

impl RangeProof {
    /// The log.
    #[must_use]
    pub fn log(&self) -> Option<LogName> {
        LogName::new(&self.log_id, self.epoch)
    }

    /// The records.
    #[must_use]
    pub fn span(&self) -> Span {
        Span { first: self.tree.begin(), end: self.tree.end() }
    }

    /// The name of the data object.
    pub(crate) fn object(&self) -> Result<ObjectName, ArchiveError> {
        self.data.parse().map_err(|error| ArchiveError::Object {
            object: self.data.clone(),
            what: format!("{error}"),
        })
    }

    /// Whether everything below the checkpoint is in the archive once the data object is.
    #[must_use]
    pub fn is_commit(&self) -> bool {
        self.after.is_empty()
    }

    /// The object's bytes.
    ///
    /// # Errors
    /// None that this struct can bring about.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        encode(Kind::ARCHIVE_RANGE, self)
    }

    /// Reads one, and checks nothing of it.
    ///
    /// # Errors
    /// It is no such document.
    pub(crate) fn unchecked(bytes: &[u8]) -> Result<Self, DocumentError> {
        document::decode(Kind::ARCHIVE_RANGE, bytes)
    }

    /// Reads one, and checks that its parts fit each other, its name, and the signed
    /// checkpoint in it. `keys` are the log's.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(
        bytes: &[u8],
        name: &ObjectName,
        keys: &Keyring,
    ) -> Result<(Self, Checkpoint), ProofError> {
        let proof: Self = document::decode(Kind::ARCHIVE_RANGE, bytes)?;
        let wrong = |what: &str| ProofError::Wrong(what.to_owned());
        let log = proof.log().ok_or_else(|| wrong("it names no log"))?;
        let span = proof.span();
        if !matches!(name, ObjectName::Range(of, first, _) if *of == log && *first == span.first) {
            return Err(wrong("it is the proof of other records than its name says"));
        }
        match proof.data.parse() {
            Ok(ObjectName::Data(Place { log: of, span: held, .. }))
                if of == log && held == span => {}
            _ => return Err(wrong("it names a data object of other records")),
        }
        let mut next = span.first;
        for hole in &proof.holes {
            if hole.tree.begin() < next || hole.tree.is_empty() || hole.tree.end() > span.end {
                return Err(wrong("its holes are not in its range"));
            }
            next = hole.tree.end();
        }
        let checkpoint = signed(proof.checkpoint.as_bytes(), &log, keys)
            .map_err(|error| ProofError::Wrong(format!("its checkpoint: {error}")))?;
        let mut tree = proof.before.clone();
        let joined = tree.extend(&proof.tree).and_then(|()| tree.extend(&proof.after));
        let fits = joined.is_ok()
            && tree.end() == checkpoint.size
            && tree.root().is_ok_and(|root| root == checkpoint.root);
        if !fits {
            return Err(wrong("its hashes do not give the root that the log signed"));
        }
        Ok((proof, checkpoint))
    }
}

impl KeysDocument {
    /// The object's bytes.
    ///
    /// # Errors
    /// None that this struct can bring about.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        encode(Kind::ARCHIVE_KEYS, self)
    }

    /// Reads one, and follows the keys in it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &[u8], log_id: &str) -> Result<(Self, Keyring), ProofError> {
        let keys: Self = document::decode(Kind::ARCHIVE_KEYS, bytes)?;
        let wrong = ProofError::Wrong;
        let key: VerifierKey =
            keys.public_key.parse().map_err(|error| wrong(format!("its key: {error}")))?;
        if keys.log_id != log_id || key.log_id().as_deref() != Some(log_id) {
            return Err(wrong("it holds the keys of another log".to_owned()));
        }
        let ring = Keyring::new(key, &keys.rotations).map_err(|error| wrong(error.to_string()))?;
        Ok((keys, ring))
    }
}

/// Why an object in `proof/` proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// It is no such document, or a newer version's.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Its parts do not fit each other, or what was signed.
    #[error("{0}")]
    Wrong(String),
}

impl ProofError {
    /// As an error of that object.
    pub(crate) fn of(self, object: String) -> ArchiveError {
        match self {
            Self::Document(source) if source.is_newer() => {
                ArchiveError::Newer { place: object, source }
            }
            other => ArchiveError::Object { object, what: cut(other.to_string()) },
        }
    }
}

/// The checkpoint, if a key of the log signed it, of that epoch.
pub(crate) fn signed(note: &[u8], log: &LogName, keys: &Keyring) -> Result<Checkpoint, String> {
    let note = SignedCheckpoint::parse(note).map_err(|error| error.to_string())?;
    let (checkpoint, key) = keys.verify(&note).map_err(|error| error.to_string())?;
    let origin =
        Origin::of_key(key.name(), log.id(), log.epoch()).map_err(|error| error.to_string())?;
    if checkpoint.origin != origin.to_string() {
        return Err(format!("it is of {}, not of {origin}", checkpoint.origin));
    }
    Ok(checkpoint.clone())
}

fn encode<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, String> {
    document::encode_file(kind, value, Layout::Pretty).map_err(|error| error.to_string())
}
