//! Records become an object: stored blocks are copied as they are, the rest is compressed.

use std::io::Write;

use super::error::ArchiveError;
use super::layout::{Day, Span};
use super::log::{Lines, Piece, Pieces};
use crate::audit::files::examine::examine;
use crate::audit::files::gzip::Packer;
use crate::audit::read::watch::Watch;
use crate::audit::record::peek_times;
use crate::audit::tree::merkle::Range;
use crate::backup::Hole;
use crate::clock::Timestamp;

/// Where an object ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    /// Before this record, at the latest.
    pub(super) end: u64,
    /// With the block that brings it to so many stored bytes.
    pub(super) stored_bytes: u64,
    /// With that many holes.
    pub(super) holes: usize,
    /// Before the first record that was accepted on a later day.
    pub(super) at_midnight: bool,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) tree: Range,
    pub(super) holes: Vec<Hole>,
    pub(super) members: u64,
    pub(super) stored_bytes: u64,
    /// When the first record that is there was accepted, and the last one.
    pub(super) accepted: Option<(Timestamp, Timestamp)>,
}

impl Packed {
    pub(super) fn span(&self) -> Span {
        Span { first: self.tree.begin(), end: self.tree.end() }
    }
}

/// Writes records from `first` on; `pieces` begin there, and go on where this ends.
pub(super) fn pack(
    pieces: &mut Pieces<'_>,
    first: u64,
    until: Until,
    level: u32,
    out: &mut dyn Write,
    watch: &dyn Watch,
) -> Result<Packed, ArchiveError> {
    let mut packed = Packed {
        tree: Range::empty(first),
        holes: Vec::new(),
        members: 0,
        stored_bytes: 0,
        accepted: None,
    };
    let mut packer = Packer::new(level);
    let has_room = |packed: &Packed| {
        packed.stored_bytes < until.stored_bytes && packed.holes.len() < until.holes
    };
    while packed.tree.end() < until.end && has_room(&packed) {
        if watch.interrupted() {
            return Err(ArchiveError::Interrupted);
        }
        let Some(piece) = pieces.next() else { break };
        let mut ended = false;
        match piece? {
            Piece::Hole(block) => packed.hole(Hole::of(&block))?,
            Piece::Lines(mut lines) => {
                if let Some(rest) = lines.cut(until.end) {
                    pieces.put_back(Piece::Lines(rest));
                }
                if until.at_midnight
                    && let Some(at) = packed.midnight_in(&lines)
                {
                    ended = true;
                    if let Some(rest) = lines.cut(at) {
                        pieces.put_back(Piece::Lines(rest));
                    }
                }
                if !lines.raw.is_empty() {
                    packed.lines(&lines, &mut packer, out)?;
                }
            }
        }
        if ended {
            break;
        }
    }
    Ok(packed)
}

impl Packed {
    fn hole(&mut self, hole: Hole) -> Result<(), ArchiveError> {
        let fits = self.tree.extend(&hole.tree);
        fits.map_err(|error| ArchiveError::LogDamaged(error.to_string()))?;
        self.holes.push(hole);
        Ok(())
    }

    /// The first record that was accepted on a later day than the first one of all.
    fn midnight_in(&self, lines: &Lines) -> Option<u64> {
        let mut day = self.accepted.map(|(first, _)| Day::of(first));
        let accepted = lines.raw.split(|byte| *byte == b'\n').map(self::accepted);
        for (at, time) in accepted.enumerate() {
            let Some(time) = time else { continue };
            let of = Day::of(time);
            if of > *day.get_or_insert(of) {
                return Some(lines.first_seq + at as u64);
            }
        }
        None
    }

    fn lines(
        &mut self,
        lines: &Lines,
        packer: &mut Packer,
        out: &mut dyn Write,
    ) -> Result<(), ArchiveError> {
        let damaged = |what: String| ArchiveError::LogDamaged(what);
        let block = examine(&lines.raw, lines.first_seq, (0, 0))
            .map_err(|error| damaged(error.to_string()))?;
        self.tree.extend(&block.tree).map_err(|error| damaged(error.to_string()))?;
        let made;
        let member = match &lines.member {
            Some(member) => member,
            None => {
                made = packer.member(&lines.raw).map_err(|error| damaged(error.to_string()))?;
                &made
            }
        };
        out.write_all(member).map_err(|source| ArchiveError::Io {
            action: "write",
            path: "the object to be sent".into(),
            source,
        })?;
        self.members += 1;
        self.stored_bytes += member.len() as u64;
        let first = lines.raw.split(|byte| *byte == b'\n').find_map(accepted);
        let last = lines.raw.rsplit(|byte| *byte == b'\n').find_map(accepted);
        if let Some((first, last)) = first.zip(last) {
            self.accepted = Some((self.accepted.map_or(first, |(first, _)| first), last));
        }
        Ok(())
    }
}

/// When a record was accepted.
pub(crate) fn accepted(line: &[u8]) -> Option<Timestamp> {
    peek_times(line).map(|(_, accepted)| accepted)
}
