//! What a verification leaves for the next one.
//!
//! Two things, of different weight. The signed heads that were seen: a bucket that has less
//! than they sign was cut or rolled back. They are signed, so a forged state raises no false
//! alarm; but one that was removed cannot raise a true one. And how much was verified, which
//! spares reading it again. That part is believed: whoever can write the file can have damage
//! passed over. It belongs to the verifier, as its roster's key does, and `--full` ignores it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::seen_tails::SeenTails;
use crate::audit::keys::checkpoint::SignedCheckpoint;
use crate::audit::tree::document::{self, DocumentError, Kind, Layout};
use crate::audit::tree::merkle::{Hash, Range};
use crate::clock::Timestamp;
use crate::fsio::{self, Fs};

/// The largest such file.
const MAX_STATE_BYTES: u64 = 1 << 30;

/// What a verification leaves for the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The bucket.
    pub place: String,
    /// The rosters that were used: of each name the newest.
    #[serde(default)]
    pub rosters: Vec<SeenRoster>,
    /// The logs, by their ids.
    #[serde(default)]
    pub logs: BTreeMap<String, SavedLog>,
}

/// A roster that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRoster {
    /// Its name.
    pub name: String,
    /// Its number.
    pub sequence: u64,
    /// SHA-256 of its text.
    pub digest: Hash,
}

/// What is known of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLog {
    /// The largest signed head of each epoch that was verified.
    #[serde(default)]
    pub heads: BTreeMap<u32, String>,
    /// The first record of each epoch that was there: the smallest that was ever seen.
    #[serde(default)]
    pub begins: BTreeMap<u32, u64>,
    /// Runs that seemed to be at work: after how many records of each epoch, and when that was
    /// first seen.
    #[serde(default)]
    pub unfinished: BTreeMap<u32, (u64, Timestamp)>,
    /// What need not be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
}

/// What need not be read again, as long as the store lists the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// When.
    pub at: Timestamp,
    /// The key that was believed.
    pub key: String,
    /// The tree over data objects that were verified, by epoch.
    pub trees: BTreeMap<u32, Range>,
    /// How many data objects there were, and the hash over their names, sizes and times.
    pub data: (u64, Hash),
    /// The same of the objects in `proof/`.
    pub proof: (u64, Hash),
    /// The same of objects in Parquet.
    #[serde(default = "none")]
    pub tables: (u64, Hash),
    /// The last of those in `proof/`.
    pub last_proof: String,
    /// The tails whose signed heads were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tails: Option<SeenTails>,
    /// The host that the log's first record names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// When the first record was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_accepted: Option<Timestamp>,
    /// When the last one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_accepted: Option<Timestamp>,
}

fn none() -> (u64, Hash) {
    (0, Hash::from_bytes([0; 32]))
}

impl State {
    /// Reads one; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Option<Self>, StateError> {
        match fs.read_own(path, MAX_STATE_BYTES) {
            Ok(bytes) => Ok(Some(document::decode(Kind::FLEET_STATE, &bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the file, mode 0600.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, fs: &dyn Fs, path: &Path) -> Result<(), StateError> {
        let bytes = document::encode_file(Kind::FLEET_STATE, self, Layout::Compact)?;
        Ok(fsio::replace_file(fs, path, &bytes)?)
    }

    /// Takes over what another check found that ran at the same time: of each epoch the larger
    /// head and the smaller beginning, of each roster the larger number.
    pub fn merge(&mut self, other: Self) {
        for roster in other.rosters {
            match self.rosters.iter_mut().find(|it| it.name == roster.name) {
                Some(own) if own.sequence < roster.sequence => *own = roster,
                Some(_) => {}
                None => self.rosters.push(roster),
            }
        }
        let size = |note: &str| {
            let note = SignedCheckpoint::parse(note.as_bytes());
            note.map_or(0, |note| note.unverified().size)
        };
        for (id, log) in other.logs {
            let own = self.logs.entry(id).or_default();
            for (epoch, note) in log.heads {
                let head = own.heads.entry(epoch).or_default();
                if size(head) < size(&note) {
                    // What was verified is less than what was seen: it is read again.
                    (*head, own.verified) = (note, None);
                }
            }
            for (epoch, begins) in log.begins {
                let own = own.begins.entry(epoch).or_insert(begins);
                *own = begins.min(*own);
            }
        }
    }

    pub(super) fn data_of(&self, id: &str) -> Option<(u64, [u8; 32])> {
        self.verified(id).map(|it| (it.data.0, *it.data.1.as_bytes()))
    }

    pub(super) fn proof_of(&self, id: &str) -> Option<(u64, [u8; 32])> {
        self.verified(id).map(|it| (it.proof.0, *it.proof.1.as_bytes()))
    }

    pub(super) fn tables_of(&self, id: &str) -> Option<(u64, [u8; 32])> {
        self.verified(id).map(|it| (it.tables.0, *it.tables.1.as_bytes()))
    }

    pub(super) fn verified(&self, id: &str) -> Option<&Verified> {
        self.logs.get(id)?.verified.as_ref()
    }
}

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What it holds.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// It cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}
