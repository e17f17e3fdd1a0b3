//! An object's gzip members, one after the other, from bytes that nobody has checked yet.

use std::io::Read;

use flate2::bufread::GzDecoder;

use super::documents::{RangeProof, signed};
use super::layout::LogName;
use super::log::Lines;
use crate::audit::files::examine::examine;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::Checkpoint;
use crate::audit::record::peek_seq;
use crate::audit::tree::merkle::Range;
use crate::backup::{Hole, Marker};

/// The most that an object with records may have: what it is cut at, and one block more.
pub(crate) const MAX_OBJECT_BYTES: u64 = 128 << 20;
/// What a block may hold at most, uncompressed.
const MAX_RAW_BYTES: u64 = 2 << 20;

/// A tail: the marker at its end, and its members, none of which is unpacked yet.
#[derive(Debug)]
pub(crate) struct Tail<'a> {
    pub(crate) marker: Marker,
    body: &'a [u8],
}

/// A member as it is stored, and what it holds.
type Member<'a> = (&'a [u8], Vec<u8>);

/// The members of an object that holds nothing but records; each is examined. Not all are
/// kept in memory at once.
pub(crate) struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
    /// No record from here on may be in it.
    end: u64,
}

impl<'a> Members<'a> {
    /// Of an object that holds records up to `end`.
    pub(crate) fn of(bytes: &'a [u8], end: u64) -> Self {
        Self { bytes, at: 0, end }
    }

    /// The next member as it is stored, and what it holds.
    fn next_raw(&mut self) -> Result<Option<Member<'a>>, String> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let failed =
            |at: usize, what: &dyn std::fmt::Display| format!("gzip member at byte {at}: {what}");
        #[expect(
            clippy::disallowed_methods,
            reason = "one member after the other is what is wanted"
        )]
        let mut decoder = GzDecoder::new(rest);
        let mut raw = Vec::new();
        (&mut decoder)
            .take(MAX_RAW_BYTES + 1)
            .read_to_end(&mut raw)
            .map_err(|error| failed(self.at, &error))?;
        if raw.len() as u64 > MAX_RAW_BYTES {
            return Err(failed(self.at, &"it holds more than a block can"));
        }
        let left = decoder.into_inner().len();
        let member = &rest[..rest.len() - left];
        self.at += member.len();
        Ok(Some((member, raw)))
    }

    /// The next member's lines.
    pub(crate) fn next_lines(&mut self) -> Result<Option<(Lines, Range)>, String> {
        let at = self.at;
        let Some((member, raw)) = self.next_raw()? else { return Ok(None) };
        let wrong = |what: &dyn std::fmt::Display| format!("gzip member at byte {at}: {what}");
        let first_seq = peek_seq(&raw).ok_or_else(|| wrong(&"it holds no records"))?;
        let block = examine(&raw, first_seq, (0, 0)).map_err(|error| wrong(&error))?;
        if first_seq + block.records > self.end {
            return Err(wrong(&WRONG_RECORDS));
        }
        let member = Some(member.to_vec());
        Ok(Some((Lines { first_seq, raw, member }, block.tree)))
    }
}

impl<'a> Tail<'a> {
    /// Finds the marker. What it says is nobody's word yet: see [`Self::signed`].
    pub(crate) fn of(bytes: &'a [u8]) -> Result<Self, String> {
        let (at, marker) = Marker::at_end(bytes).map_err(|error| error.to_string())?;
        Ok(Self { marker, body: &bytes[..at] })
    }

    /// The checkpoint in its marker, if a key of the log signed it, and if it is over what name
    /// and marker say. To be asked before anything is unpacked.
    pub(crate) fn signed(
        &self,
        log: &LogName,
        first: u64,
        keys: &Keyring,
    ) -> Result<Checkpoint, String> {
        let Marker { pruned, tree_size, root_hash, checkpoint, .. } = &self.marker;
        let checkpoint = signed(checkpoint.as_bytes(), log, keys)?;
        let is_own =
            pruned.end() == first && checkpoint.size == *tree_size && checkpoint.root == *root_hash;
        if is_own {
            return Ok(checkpoint);
        }
        Err("it is not the tail that its name says, or not the one that was signed".to_owned())
    }

    /// Its members, of which no more is read than the records that were signed.
    pub(crate) fn members(&self) -> Members<'a> {
        Members { bytes: self.body, at: 0, end: self.marker.tree_size }
    }

    /// Checks that its lines give the root in its marker, one member after the other.
    pub(crate) fn check(&self) -> Result<(), String> {
        let marker = &self.marker;
        let mut tree = marker.pruned.clone();
        let mut holes = marker.holes.iter().peekable();
        let mut members = self.members();
        while let Some((lines, block)) = members.next_lines()? {
            pass_holes(&mut tree, &mut holes, lines.first_seq)?;
            tree.extend(&block).map_err(|error| error.to_string())?;
        }
        pass_holes(&mut tree, &mut holes, u64::MAX)?;
        let fits = tree.end() == marker.tree_size
            && tree.root().is_ok_and(|root| root == marker.root_hash);
        if fits { Ok(()) } else { Err("its records do not give the root in its marker".to_owned()) }
    }
}

/// Whether these bytes are exactly the records of a range.
pub(super) fn holds(bytes: &[u8], proof: &RangeProof) -> Result<(), String> {
    let mut tree = Range::empty(proof.span().first);
    let mut holes = proof.holes.iter().peekable();
    let mut members = Members::of(bytes, proof.span().end);
    while let Some((lines, block)) = members.next_lines()? {
        pass_holes(&mut tree, &mut holes, lines.first_seq)?;
        tree.extend(&block).map_err(|error| error.to_string())?;
    }
    pass_holes(&mut tree, &mut holes, u64::MAX)?;
    if tree == proof.tree { Ok(()) } else { Err(WRONG_RECORDS.to_owned()) }
}

/// What is wrong with a data object that was altered.
pub(super) const WRONG_RECORDS: &str = "it does not hold the records that were proven to be there";

/// Passes over the holes before a record.
pub(super) fn pass_holes<'a>(
    tree: &mut Range,
    holes: &mut std::iter::Peekable<impl Iterator<Item = &'a Hole>>,
    before: u64,
) -> Result<(), String> {
    while let Some(hole) = holes.next_if(|hole| hole.tree.begin() < before) {
        tree.extend(&hole.tree).map_err(|error| error.to_string())?;
    }
    Ok(())
}
