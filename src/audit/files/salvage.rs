//! What is left of a damaged segment: the records whose hashes are those that were
//! noted. The rest is holes, as small as the noted hashes allow.
//!
//! A block is noted with the hashes of the largest perfect subtrees that it is made of:
//! of a block of which one record is damaged, the subtrees beside that record are proven
//! all the same. Where the hash of each record is known, only the record itself is lost.

pub(crate) mod active;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};

use sha2::{Digest, Sha256};

use super::examine::examine;
use super::gzip::{MAX_BLOCK_BYTES, MAX_MEMBER_BYTES, Packer};
use super::manifest::Segment;
use super::roots::lines_of;
use super::segment::Block;
use crate::audit::record;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::tree::merkle::{Hash, Range, leaf_hash};
use crate::clock::Timestamp;
use crate::fsio::{FileReader, FsFile};

/// Of one seq, so many different lines are looked at.
const CANDIDATES: usize = 4;

/// A run of a segment's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A whole block, where it was noted to be.
    Stored(Block),
    /// Records that are left of a block, as lines.
    Lines(Block, Vec<u8>),
    /// Records that are not here.
    Hole(Block),
}

impl Piece {
    pub(crate) fn block(&self) -> &Block {
        match self {
            Self::Stored(block) | Self::Lines(block, _) | Self::Hole(block) => block,
        }
    }
}

/// The line of a record that has that hash, if there is one.
type LineOf<'a> = dyn FnMut(u64, &Hash) -> io::Result<Option<Vec<u8>>> + 'a;

/// Lines that may be the records that they say they are, by seq.
type Candidates = BTreeMap<u64, Vec<Vec<u8>>>;

/// A sealed segment in pieces; without its file nothing but holes is left. `why` says
/// what is wrong with the file, where that is known.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn pieces_of(
    file: Option<&dyn FsFile>,
    segment: &Segment,
    why: Option<&str>,
) -> io::Result<Vec<Piece>> {
    let mut bad = Vec::new();
    for (nth, block) in segment.blocks.iter().enumerate() {
        let good = match file {
            _ if block.is_hole() => true,
            Some(file) => lines_of(file, segment, block)?.is_some(),
            None => false,
        };
        if !good {
            bad.push(nth);
        }
    }
    let candidates = match file {
        Some(file) if !bad.is_empty() => {
            let wanted: Vec<(u64, u64)> = bad
                .iter()
                .map(|nth| (segment.blocks[*nth].first_seq, segment.blocks[*nth].tree.end()))
                .collect();
            candidates(file, segment, &wanted)?
        }
        _ => Candidates::new(),
    };
    let why = why.unwrap_or("its bytes are not those that were recorded");
    let mut pieces = Vec::new();
    for (nth, block) in segment.blocks.iter().enumerate() {
        if bad.contains(&nth) {
            left_of(block, &candidates, why, &mut pieces);
        } else if block.is_hole() {
            pieces.push(Piece::Hole(block.clone()));
        } else {
            pieces.push(Piece::Stored(block.clone()));
        }
    }
    Ok(pieces)
}

/// Whether all of it is there, where it was noted.
pub(crate) fn is_whole(pieces: &[Piece], segment: &Segment) -> bool {
    pieces.iter().zip(&segment.blocks).all(|(piece, block)| match piece {
        Piece::Stored(_) => true,
        Piece::Hole(hole) => hole == block,
        Piece::Lines(..) => false,
    }) && pieces.len() == segment.blocks.len()
}

/// The subtrees of a block whose records are among the candidates, and holes for the
/// others.
fn left_of(block: &Block, candidates: &Candidates, why: &str, pieces: &mut Vec<Piece>) {
    let mut parts = Parts::new((block.min_timestamp, block.max_timestamp), why);
    for subtree in block.tree.subtrees() {
        let (begin, end) = (subtree.begin, subtree.begin + (1 << subtree.level));
        let wanted = Range::from_parts(begin, end, vec![subtree.hash]);
        let Ok(wanted) = wanted else { continue };
        // A forged line may stand before the real one, or behind it.
        type Pick = fn(&[Vec<u8>]) -> Option<Vec<u8>>;
        let all: [Pick; 2] = [|lines| lines.first().cloned(), |lines| lines.last().cloned()];
        let found = all.into_iter().find_map(|pick| {
            let lines: Option<Vec<Vec<u8>>> =
                (begin..end).map(|seq| candidates.get(&seq).and_then(|all| pick(all))).collect();
            let lines = lines?;
            let mut tree = Range::empty(begin);
            lines.iter().for_each(|line| tree.append(leaf_hash(line)));
            (tree == wanted).then_some(lines)
        });
        match found {
            Some(lines) => lines.iter().for_each(|line| parts.line(begin, line)),
            None => parts.gone(&wanted),
        }
    }
    parts.finish(pieces);
}

/// The pieces that records with known hashes make up. `leaves` are of the records from
/// `first_seq` on; of each the first candidate that has its hash is taken.
pub(crate) fn pieces_by_leaves(
    first_seq: u64,
    leaves: &[Hash],
    lines: &mut LineOf<'_>,
    why: &str,
) -> io::Result<Vec<Piece>> {
    let never = (Timestamp::from_micros(i64::MAX), Timestamp::from_micros(i64::MIN));
    let mut parts = Parts::new(never, why);
    let mut pieces = Vec::new();
    for (seq, leaf) in (first_seq..).zip(leaves) {
        match lines(seq, leaf)? {
            Some(line) => parts.line(seq, &line),
            None => {
                let mut range = Range::empty(seq);
                range.append(*leaf);
                parts.gone(&range);
            }
        }
        if parts.bytes() >= super::segment::BLOCK_BYTES as usize {
            parts.finish(&mut pieces);
        }
    }
    parts.finish(&mut pieces);
    date_holes(&mut pieces);
    Ok(pieces)
}

/// Holes of whose records nothing but the hashes is known lie between what stands before
/// and behind them.
fn date_holes(pieces: &mut [Piece]) {
    let unknown = |block: &Block| block.min_timestamp > block.max_timestamp;
    let mut before = None;
    for at in 0..pieces.len() {
        if let Piece::Hole(_) = &pieces[at]
            && unknown(pieces[at].block())
        {
            let after = pieces[at..].iter().map(Piece::block).find(|block| !unknown(block));
            let after = after.map(|block| block.min_timestamp);
            let begin = before.or(after).unwrap_or_default();
            let end = after.or(before).unwrap_or_default();
            if let Piece::Hole(block) = &mut pieces[at] {
                (block.min_timestamp, block.max_timestamp) = (begin.min(end), begin.max(end));
            }
        } else {
            before = Some(pieces[at].block().max_timestamp);
        }
    }
}

/// Puts good lines and holes together.
struct Parts<'a> {
    times: (Timestamp, Timestamp),
    why: &'a str,
    done: Vec<Piece>,
    lines: Option<(u64, Vec<u8>)>,
    hole: Option<Range>,
}

impl<'a> Parts<'a> {
    fn new(times: (Timestamp, Timestamp), why: &'a str) -> Self {
        Self { times, why, done: Vec::new(), lines: None, hole: None }
    }

    fn bytes(&self) -> usize {
        self.lines.as_ref().map_or(0, |(_, raw)| raw.len())
    }

    /// The next record, which is in the run that `first` begins.
    fn line(&mut self, first: u64, line: &[u8]) {
        self.end_hole();
        let (_, raw) = self.lines.get_or_insert_with(|| (first, Vec::new()));
        raw.extend_from_slice(line);
        raw.push(b'\n');
    }

    fn gone(&mut self, range: &Range) {
        self.end_lines();
        match &mut self.hole {
            Some(hole) => hole.extend(range).expect("records come in their order"),
            None => self.hole = Some(range.clone()),
        }
    }

    fn end_lines(&mut self) {
        let Some((first_seq, raw)) = self.lines.take() else { return };
        match examine(&raw, first_seq, (0, raw.len() as u64)) {
            Ok(block) => self.done.push(Piece::Lines(block, raw)),
            // Their hashes are those of records, so they are records.
            Err(wrong) => {
                tracing::debug!(%wrong, "a recorded line is no record");
                let mut range = Range::empty(first_seq);
                super::examine::leaves(&raw).for_each(|leaf| range.append(leaf));
                self.hole = Some(range);
                self.end_hole();
            }
        }
    }

    fn end_hole(&mut self) {
        if let Some(range) = self.hole.take() {
            self.done.push(Piece::Hole(Block::hole(range, self.times, self.why)));
        }
    }

    fn finish(&mut self, pieces: &mut Vec<Piece>) {
        self.end_lines();
        self.end_hole();
        pieces.append(&mut self.done);
    }
}

/// Lines of a sealed segment's file that say that they are one of the wanted records,
/// wherever in the file they stand.
fn candidates(
    file: &dyn FsFile,
    segment: &Segment,
    wanted: &[(u64, u64)],
) -> io::Result<Candidates> {
    let mut found = Candidates::new();
    if !segment.is_compressed() {
        let mut reader = BufReader::with_capacity(256 << 10, FileReader { file, offset: 0 });
        gather(&mut reader, wanted, &mut found)?;
        return Ok(found);
    }
    let length = file.meta()?.len;
    let mut at = 0;
    while at < length {
        let most = (MAX_MEMBER_BYTES as u64).min(length - at) as usize;
        let mut stored = vec![0; most];
        file.read_exact_at(&mut stored, at)?;
        // One member on purpose: where it ends is asked. Bounded by a block.
        #[allow(clippy::disallowed_methods)]
        let mut decoder = flate2::bufread::GzDecoder::new(stored.as_slice());
        let mut raw = Vec::new();
        let limit = MAX_BLOCK_BYTES as u64;
        let read = (&mut decoder).take(limit + 1).read_to_end(&mut raw);
        // What came out before a member broke may be good.
        gather(&mut raw.as_slice(), wanted, &mut found)?;
        let used = most - decoder.into_inner().len();
        if read.is_ok() && used > 0 && raw.len() as u64 <= limit {
            at += used as u64;
        } else {
            let noted = segment.blocks.iter().map(|block| block.offset);
            at = noted.filter(|offset| *offset > at).min().unwrap_or(length);
        }
    }
    Ok(found)
}

fn gather(
    reader: &mut dyn BufRead,
    wanted: &[(u64, u64)],
    found: &mut Candidates,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.pop_if(|last| *last == b'\n').is_none() {
            continue;
        }
        let Some(seq) = record::peek_seq(&line) else { continue };
        if wanted.iter().any(|(begin, end)| (*begin..*end).contains(&seq)) {
            let lines = found.entry(seq).or_default();
            if lines.len() < CANDIDATES && !lines.contains(&line) {
                lines.push(std::mem::take(&mut line));
            }
        }
    }
}

/// Writes pieces to an empty file: as gzip members of that level, or as lines. `from` is
/// the file that what is stored whole is taken from. The blocks as they are then, and the
/// file's SHA-256.
///
/// # Errors
/// When a file cannot be read or written, or holds something else by now.
pub(crate) fn store(
    pieces: &[Piece],
    from: Option<&dyn FsFile>,
    level: Option<u32>,
    out: &dyn FsFile,
) -> io::Result<(Vec<Block>, String)> {
    let mut packer = Packer::new(level.unwrap_or(1));
    let mut hasher = Sha256::new();
    let mut blocks = Vec::with_capacity(pieces.len());
    let mut offset = 0;
    for piece in pieces {
        let packed;
        let mut stored = Vec::new();
        let bytes: &[u8] = match (piece, level) {
            (Piece::Hole(_), _) => &[],
            (Piece::Lines(_, raw), None) => raw,
            (Piece::Lines(_, raw), Some(_)) => {
                packed = packer.member(raw)?;
                &packed
            }
            (Piece::Stored(block), _) => {
                let from = from.ok_or(io::ErrorKind::NotFound)?;
                if block.stored_bytes > MAX_MEMBER_BYTES as u64 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                stored.resize(block.stored_bytes as usize, 0);
                from.read_exact_at(&mut stored, block.offset)?;
                &stored
            }
        };
        out.write_all_at(bytes, offset)?;
        hasher.update(bytes);
        let stored_bytes = bytes.len() as u64;
        blocks.push(Block { offset, stored_bytes, ..piece.block().clone() });
        offset += stored_bytes;
    }
    Ok((blocks, Hash::from_bytes(hasher.finalize().into()).to_string()))
}

#[cfg(test)]
mod tests;
