//! Which records of the active segment are not what was recorded, where the signed root
//! says that some are not: by the hashes that were noted as it grew (`audit.leaves`).
//! They are believed only where together they give the signed root.

use super::pieces::{Pieces, Place};
use super::report::{Finding, Kind};
use super::tally::Tally;
use super::view::View;
use crate::audit::files::leaves;
use crate::audit::files::salvage::Piece;
use crate::audit::files::salvage::active::{Placed, place};
use crate::audit::keys::checkpoint::Checkpoint;
use crate::audit::paths::ACTIVE;
use crate::audit::read::error::ReadError;

/// Replaces what was found of the active segment by what exactly is wrong with it; where
/// that cannot be told, says of which records nothing proves that they are right.
pub(super) fn tell(
    view: &View,
    pieces: &Pieces,
    signed: &Checkpoint,
    tally: &mut Tally,
) -> Result<(), ReadError> {
    if tell_exactly(view, pieces, signed, tally)? {
        return Ok(());
    }
    // Without a manifest nothing proves the sealed files by themselves either.
    let whole = view.no_manifest.is_some();
    let first = if whole { pieces.begin() } else { first_seq(view, pieces) };
    // What is known to be wrong has its finding; of what stands before it nothing is known.
    let told = tally.findings.iter().filter(|finding| finding.file == ACTIVE);
    let told = told.filter_map(|finding| finding.first_seq).min();
    let end = told.filter(|_| !whole).unwrap_or(signed.size).min(signed.size);
    if end > first {
        let text = "nothing proves that they are what was recorded, because some records that \
                    were signed with them are missing";
        tally.found(Finding::new(Kind::Unprovable, ACTIVE, text).records(first, end));
    }
    Ok(())
}

/// Tells what exactly is wrong; whether that was possible.
pub(super) fn tell_exactly(
    view: &View,
    pieces: &Pieces,
    signed: &Checkpoint,
    tally: &mut Tally,
) -> Result<bool, ReadError> {
    let first = first_seq(view, pieces);
    if first >= signed.size {
        return Ok(false);
    }
    let Some(placed) = placed(view, pieces, first, signed)? else { return Ok(false) };
    let holes = placed.pieces.iter().filter_map(|piece| match piece {
        Piece::Hole(block) => Some(block),
        _ => None,
    });
    if holes.clone().next().is_none() {
        // All of them are there, in another order or with something between them.
        return Ok(true);
    }
    let is_of_place = |finding: &Finding| matches!(finding.kind, Kind::Extra | Kind::Reordered);
    let is_told = |finding: &Finding| finding.file == ACTIVE && !is_of_place(finding);
    tally.findings.retain(|finding| !is_told(finding));
    for block in holes {
        let (begin, end) = (block.first_seq, block.first_seq + block.records);
        let is_there = (begin..end).any(|seq| placed.lines.contains_key(&seq));
        let (kind, text) = match is_there {
            true => (Kind::Altered, "it differs from what was recorded"),
            false if end == signed.size => (Kind::Truncated, "the file ends before them"),
            false => (Kind::Missing, "they are not there"),
        };
        tally.found(Finding::new(kind, ACTIVE, text).records(begin, end));
    }
    Ok(true)
}

fn first_seq(view: &View, pieces: &Pieces) -> u64 {
    let active = view.tails.iter().position(|tail| tail.name == ACTIVE);
    let of_it = active.and_then(|index| pieces.first_of(Place::Tail(index)));
    of_it.unwrap_or_else(|| pieces.end())
}

fn placed(
    view: &View,
    pieces: &Pieces,
    first: u64,
    signed: &Checkpoint,
) -> Result<Option<Placed>, ReadError> {
    let noted = leaves::load(&*view.log.fs, &view.log.paths, &view.manifest.log_id, first);
    let Some((noted, base)) = noted.zip(pieces.tree_at(view, first)?) else { return Ok(None) };
    let active = view.tails.iter().find(|tail| tail.name == ACTIVE);
    let files: Vec<_> = active.iter().map(|tail| &*tail.file).collect();
    place(&base, (signed.size, signed.root), &noted, &files)
        .map_err(|source| ReadError::io("read", &view.log.paths.active(), source))
}
