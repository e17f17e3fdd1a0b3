//! What earlier verifications had read, so that the next one need not read all of it
//! again.
//!
//! The file is a hint: it lies where an attacker may write. It can make a verification
//! read more, and it can name what is read as "longest ago"; but as much again is
//! drawn by lot at each run, whatever the file says. Whoever puts the file back after
//! each run leaves every segment its chance of being read, each time anew.

use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::pieces::Pieces;
use super::view::View;
use crate::audit::files::manifest::{Manifest, Segment, Segments};
use crate::audit::keys::Keyring;
use crate::audit::read::error::ReadError;
use crate::audit::tree::document;
use crate::audit::tree::document::{DocumentError, Kind, Layout};
use crate::audit::tree::merkle::Hash;
use crate::clock::Timestamp;

/// Of so many segments that were read before, each run reads the one that was read
/// longest ago, and one by lot: after so many runs everything has been read again.
pub const TURNS: usize = 30;
/// What is said to have been read longer ago than this is read now, in microseconds:
/// 366 days.
const MAX_AGE_MICROS: i64 = 366 * 24 * 3_600 * 1_000_000;

/// What had been read. It is believed only where the signed tree bears it out; one
/// that does not fit leads to a full verification, and says nothing of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
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
    /// When the sealed segments were read last, in the order of their records.
    pub read: Vec<Reading>,
    /// When this verification was.
    pub verified_at: Timestamp,
}

/// When a run of sealed records was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The first of them.
    pub first_seq: u64,
    /// One after the last.
    pub end_seq: u64,
    /// When.
    pub at: Timestamp,
}

impl State {
    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// Why it is not usable.
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        document::decode(Kind::VERIFIED, text)
    }

    /// As a file's content.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        document::encode_file(Kind::VERIFIED, self, Layout::Pretty).unwrap_or_default()
    }

    /// After a verification without findings; `readings` are of the manifest's segments.
    pub(super) fn of(
        manifest: &Manifest,
        key: String,
        (tree_size, root_hash): (u64, Hash),
        readings: &[Reading],
        verified_at: Timestamp,
    ) -> Self {
        let mut read: Vec<Reading> = Vec::new();
        for reading in readings {
            match read.last_mut() {
                Some(last) if last.end_seq == reading.first_seq && last.at == reading.at => {
                    last.end_seq = reading.end_seq;
                }
                _ => read.push(*reading),
            }
        }
        Self {
            log_id: manifest.log_id.clone(),
            epoch: manifest.epoch,
            key,
            tree_size,
            root_hash,
            read,
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
        now: Timestamp,
    ) -> Result<Option<String>, ReadError> {
        let manifest = &view.manifest;
        let told = |text: &str| Ok(Some(text.to_owned()));
        if self.log_id != manifest.log_id || self.epoch != manifest.epoch {
            return told("the last verification was of another log, or before a restore");
        }
        let known = keys.is_some_and(|keys| keys.keys().iter().any(|key| key.label() == self.key));
        if !known {
            return told("the last verification used another key");
        }
        if self.verified_at > now || self.read.iter().any(|read| read.at > self.verified_at) {
            return told("the last verification claims a time in the future");
        }
        let read_to = self.read.last().map_or(0, |read| read.end_seq);
        if self.tree_size > signed || read_to > manifest.end_seq() {
            return told("the last verification saw more records than are signed now");
        }
        match pieces.tree_at(view, self.tree_size)? {
            Some(tree) if tree.root() == Ok(self.root_hash) => Ok(None),
            Some(_) => told("the last verification saw other records"),
            None => told("retention removed what the last verification ended with"),
        }
    }

    /// When a segment was read last, as far as that is believed.
    fn read_at(&self, segment: &Segment, now: Timestamp) -> Option<Timestamp> {
        let after = self.read.partition_point(|read| read.end_seq < segment.end_seq());
        let read = self.read.get(after).filter(|read| read.first_seq <= segment.first_seq)?;
        let age = now.micros().saturating_sub(read.at.micros());
        (0..=MAX_AGE_MICROS).contains(&age).then_some(read.at)
    }

    /// Which of the segments are read now, and when the others were: of those that are
    /// not new a part that was read longest ago, and as much again by lot.
    pub(super) fn choose(
        &self,
        segments: &Segments,
        now: Timestamp,
        chance: &Chance,
    ) -> Vec<Option<Timestamp>> {
        let mut skipped: Vec<_> =
            segments.iter().map(|segment| self.read_at(segment, now)).collect();
        let mut old: Vec<_> =
            skipped.iter().enumerate().filter_map(|(index, at)| at.map(|at| (at, index))).collect();
        old.sort_unstable();
        let share = old.len().div_ceil(TURNS);
        let mut read: Vec<_> = old.drain(..share).collect();
        for _ in 0..share.min(old.len()) {
            match chance.below(old.len()) {
                Some(drawn) => read.push(old.swap_remove(drawn)),
                // Without randomness nothing is skipped.
                None => read.append(&mut old),
            }
        }
        for (_, index) in read {
            skipped[index] = None;
        }
        skipped
    }
}

#[cfg(test)]
mod tests;
