//! The same proof of a record as C2SP writes it (<https://c2sp.org/tlog-proof>), for
//! the tools that know that form: lines of text, the checkpoint at the end.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra eyJzZXEiOjQy…            base64 of the record's stored line, without its LF
//! index 42
//! gSKyXoYZUgZ6jduWYrkDOA…=       inclusion proof, the lowest hash first
//!
//! example.com/audit/5f0c2b9e     the checkpoint, as it is
//! …
//! ```
//!
//! The leaf is the record's line, so whoever has the proof has to have the line too.
//! It stands in `extra`, which nobody signs: it is believed as far as its hash leads to
//! the signed root. A proof without it can be checked with the line from elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::proof_document::{DocumentError, ProofDocument, Proven, included};
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{SignedCheckpoint, VerifierKey};
use crate::audit::tree::merkle::Hash;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// A path in a tree has no more.
const MAX_HASHES: usize = 63;

/// A proof in C2SP's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// What `extra` holds; in ours the record's line.
    pub extra: Option<Vec<u8>>,
    /// The record's place in the tree.
    pub index: u64,
    /// RFC 6962 inclusion proof, the lowest hash first.
    pub inclusion_proof: Vec<Hash>,
    /// The signed note.
    pub checkpoint: String,
}

impl From<&ProofDocument> for TlogProof {
    fn from(document: &ProofDocument) -> Self {
        Self {
            extra: Some(document.record.clone().into_bytes()),
            index: document.seq,
            inclusion_proof: document.inclusion_proof.clone(),
            checkpoint: document.signed.checkpoint.clone(),
        }
    }
}

impl TlogProof {
    /// Whether a text says that it is one, of whatever version.
    #[must_use]
    pub fn is_one(text: &[u8]) -> bool {
        text.starts_with(b"c2sp.org/tlog-proof@")
    }

    /// Reads one; strict about its form.
    ///
    /// # Errors
    /// [`DocumentError::Line`].
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        let wrong = |line, reason| DocumentError::Line { line, reason };
        let text = std::str::from_utf8(text).map_err(|_| wrong(1, "the proof is not UTF-8"))?;
        // The checkpoint's own text has no empty line, and comes after the first one.
        let (proof, checkpoint) = text
            .split_once("\n\n")
            .ok_or_else(|| wrong(1, "no empty line comes before the checkpoint"))?;
        let mut lines = proof.split('\n').zip(1..).peekable();
        if lines.next().map(|(line, _)| line) != Some(FIRST_LINE) {
            return Err(wrong(1, "only c2sp.org/tlog-proof@v1 is known to this version"));
        }
        let extra = match lines.peek().and_then(|(line, _)| line.strip_prefix("extra ")) {
            Some(extra) => {
                lines.next();
                Some(STANDARD.decode(extra).map_err(|_| wrong(2, "extra is not base64"))?)
            }
            None => None,
        };
        let (index, at) = lines.next().unwrap_or(("", 2));
        let index = index
            .strip_prefix("index ")
            .and_then(crate::audit::keys::checkpoint::parse_decimal)
            .ok_or_else(|| wrong(at, "\"index\" and a plain decimal number are expected"))?;
        let mut inclusion_proof = Vec::new();
        for (line, at) in lines {
            let hash = STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok());
            let hash = hash.ok_or_else(|| wrong(at, "not the base64 of 32 bytes"))?;
            inclusion_proof.push(Hash::from_bytes(hash));
            if inclusion_proof.len() > MAX_HASHES {
                return Err(wrong(at, "no inclusion proof has so many hashes"));
            }
        }
        Ok(Self { extra, index, inclusion_proof, checkpoint: checkpoint.to_owned() })
    }

    /// As text, the final newline included.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut lines = vec![FIRST_LINE.to_owned()];
        lines.extend(self.extra.as_ref().map(|extra| format!("extra {}", STANDARD.encode(extra))));
        lines.push(format!("index {}", self.index));
        let hashes = self.inclusion_proof.iter().map(|hash| STANDARD.encode(hash.as_bytes()));
        lines.extend(hashes);
        format!("{}\n\n{}", lines.join("\n"), self.checkpoint)
    }

    /// Checks it against a key of the log that was valid for so many records. `record`
    /// is its line from elsewhere, with or without its LF; `extra` must not say another.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(
        &self,
        key: &VerifierKey,
        record: Option<&[u8]>,
    ) -> Result<(String, Proven), DocumentError> {
        let record = record.map(|line| line.strip_suffix(b"\n").unwrap_or(line));
        let record = match (record, self.extra.as_deref()) {
            (Some(given), Some(extra)) if given != extra => {
                let text = "its record is not the one that was given".to_owned();
                return Err(DocumentError::Contradiction(text));
            }
            (Some(record), _) | (None, Some(record)) => record,
            (None, None) => return Err(DocumentError::NoRecord),
        };
        let record = std::str::from_utf8(record)
            .map_err(|_| DocumentError::Contradiction("its record is not UTF-8".to_owned()))?;
        let note = SignedCheckpoint::parse(self.checkpoint.as_bytes())?;
        let keys = Keyring::from(key.clone());
        let (checkpoint, _) = keys.verify(&note)?;
        let leaf_hash = included(record, self.index, &self.inclusion_proof, checkpoint)?;
        let (checkpoint, notes) = (checkpoint.clone(), Vec::new());
        let proven = Proven { checkpoint, key: key.label(), leaf_hash, notes };
        Ok((record.to_owned(), proven))
    }
}

#[cfg(test)]
mod tests;
