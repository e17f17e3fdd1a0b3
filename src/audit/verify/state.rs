//! What the last successful verification had proven, so that the next one need
//! not read all of it again.

use serde::{Deserialize, Serialize};

use super::VerifyError;
use super::pieces::Pieces;
use super::view::View;
use crate::audit::keys::Keyring;
use crate::audit::manifest::Manifest;
use crate::audit::merkle::Hash;
use crate::clock::Timestamp;

/// One in so many old segments is read again each time.
pub const TURNS: u64 = 30;
const FORMAT: u32 = 1;

/// What had been proven. It is believed only where the signed tree bears it out;
/// one that does not fit leads to a full verification, and says nothing of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// 1.
    pub format: u32,
    /// The log's id.
    pub log_id: String,
    /// Its epoch.
    pub epoch: u32,
    /// Name and id of the key.
    pub key: String,
    /// How many records.
    pub tree_size: u64,
    /// Their root.
    pub root_hash: Hash,
    /// Everything sealed before this seq had been read.
    pub read_to: u64,
    /// Which part of what is old was read again.
    pub turn: u64,
    /// When.
    pub verified_at: Timestamp,
}

impl State {
    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// Why it is not usable.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if state.format != FORMAT {
            return Err(format!("format {} is not known", state.format));
        }
        Ok(state)
    }

    /// As a file's content.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// After a verification without findings.
    pub(super) fn of(
        manifest: &Manifest,
        key: String,
        (tree_size, root_hash): (u64, Hash),
        turn: u64,
        verified_at: Timestamp,
    ) -> Self {
        Self {
            format: FORMAT,
            log_id: manifest.log_id.clone(),
            epoch: manifest.epoch,
            key,
            tree_size,
            root_hash,
            read_to: manifest.end_seq(),
            turn,
            verified_at,
        }
    }

    /// Why it cannot be gone on from, if so.
    pub(super) fn misfit(
        &self,
        view: &View,
        pieces: &Pieces,
        signed: u64,
        keys: Option<&Keyring>,
    ) -> Result<Option<String>, VerifyError> {
        let manifest = &view.manifest;
        let told = |text: &str| Ok(Some(text.to_owned()));
        if self.log_id != manifest.log_id || self.epoch != manifest.epoch {
            return told("the last verification was of another log, or before a restore");
        }
        let known = keys.is_some_and(|keys| keys.keys().iter().any(|key| key.label() == self.key));
        if !known {
            return told("the last verification used another key");
        }
        if self.tree_size > signed || self.read_to > manifest.end_seq() {
            return told("the last verification saw more records than are signed now");
        }
        match pieces.tree_at(view, self.tree_size)? {
            Some(tree) if tree.root() == Ok(self.root_hash) => Ok(None),
            Some(_) => told("the last verification saw other records"),
            None => told("retention removed what the last verification ended with"),
        }
    }

    /// Whether a sealed segment is read this time.
    pub(super) fn reads(&self, index: usize, end_seq: u64) -> bool {
        end_seq > self.read_to || index as u64 % TURNS == (self.turn + 1) % TURNS
    }
}
