//! What is left of a segment that no manifest describes: the active one. The signed root
//! says which of the hashes that are known of its records are true, and they say which of
//! its lines are good.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};

use super::{Piece, pieces_by_leaves};
use crate::audit::record;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::tree::merkle::{Hash, Range, leaf_hash};
use crate::fsio::{FileReader, FsFile};

/// Where the hash of a record is not certain, so many ways are tried.
const MOST_WAYS: usize = 4096;
/// Lines of one seq that are looked at.
const CANDIDATES: usize = 4;

/// A line, and in which of the files it stands.
#[derive(Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) leaf: Hash,
    file: usize,
    offset: u64,
    length: usize,
}

/// Lines that say which record they are, by that.
pub(crate) type Lines = BTreeMap<u64, Vec<Candidate>>;

/// The active segment, as far as it could be placed.
pub(crate) struct Placed {
    /// What is left of it, and its holes.
    pub(crate) pieces: Vec<Piece>,
    /// The tree over all of it, and what came before.
    pub(crate) tree: Range,
    pub(crate) lines: Lines,
}

/// Places the records from `base`'s end up to `signed`, of which lines may stand in any of
/// the files, and of which hashes were `noted`; `None` where what is known does not give
/// the signed root.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn place(
    base: &Range,
    (signed, root): (u64, Hash),
    noted: &[Hash],
    files: &[&dyn FsFile],
) -> io::Result<Option<Placed>> {
    let first = base.end();
    let mut lines = Lines::new();
    for (nth, file) in files.iter().enumerate() {
        index(*file, nth, first, &mut lines)?;
    }
    let choices = |seq| choices_of(seq, first, noted, &lines);
    let Some(hashes) = leaves_among(base, (signed, root), choices) else { return Ok(None) };
    let mut read = |seq: u64, leaf: &Hash| -> io::Result<Option<Vec<u8>>> {
        let found = lines.get(&seq).and_then(|all| all.iter().find(|c| c.leaf == *leaf));
        found.map(|found| line_at(files, found)).transpose()
    };
    let why = match files.first() {
        Some(file) if !is_cut(*file, &lines, signed) => {
            "what stands there is not what was recorded"
        }
        Some(_) => "the file ends before them",
        None => "the file is missing",
    };
    let pieces = pieces_by_leaves(first, &hashes, &mut read, why)?;
    let mut tree = base.clone();
    hashes.iter().for_each(|leaf| tree.append(*leaf));
    Ok(Some(Placed { pieces, tree, lines }))
}

/// The hashes of the records from `base`'s end up to `signed`, where what is known gives
/// the signed root.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn leaves_of(
    base: &Range,
    (signed, root): (u64, Hash),
    noted: &[Hash],
    file: Option<&dyn FsFile>,
) -> io::Result<Option<Vec<Hash>>> {
    let mut lines = Lines::new();
    if let Some(file) = file {
        index(file, 0, base.end(), &mut lines)?;
    }
    let choices = |seq| choices_of(seq, base.end(), noted, &lines);
    Ok(leaves_among(base, (signed, root), choices))
}

/// What the hash of a record may be: where its line and its noted hash differ, either may
/// be right.
fn choices_of(seq: u64, first: u64, noted: &[Hash], lines: &Lines) -> Vec<Hash> {
    let noted = usize::try_from(seq - first).ok().and_then(|at| noted.get(at));
    let mut choices: Vec<Hash> = noted.copied().into_iter().collect();
    for line in lines.get(&seq).into_iter().flatten() {
        if !choices.contains(&line.leaf) {
            choices.push(line.leaf);
        }
    }
    choices
}

/// The whole lines of a file that begin as records from `first` on do.
fn index(file: &dyn FsFile, nth: usize, first: u64, lines: &mut Lines) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(256 << 10, FileReader { file, offset: 0 });
    let (mut line, mut offset) = (Vec::new(), 0);
    loop {
        line.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        let read = (&mut reader).take(limit).read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            return Ok(());
        }
        let at = offset;
        offset += read;
        if line.pop_if(|last| *last == b'\n').is_none() {
            continue;
        }
        let Some(seq) = record::peek_seq(&line).filter(|seq| *seq >= first) else { continue };
        let leaf = leaf_hash(&line);
        let all = lines.entry(seq).or_default();
        if all.len() < CANDIDATES && all.iter().all(|known| known.leaf != leaf) {
            all.push(Candidate { leaf, file: nth, offset: at, length: line.len() });
        }
    }
}

/// A line, without its LF.
pub(crate) fn line_at(files: &[&dyn FsFile], found: &Candidate) -> io::Result<Vec<u8>> {
    let mut line = vec![0; found.length];
    files[found.file].read_exact_at(&mut line, found.offset)?;
    Ok(line)
}

/// The hashes of the records from `base`'s end up to `signed`: those of the choices with
/// which the root is the signed one; the first choice of each is tried first.
pub(crate) fn leaves_among(
    base: &Range,
    (signed, root): (u64, Hash),
    choices: impl Fn(u64) -> Vec<Hash>,
) -> Option<Vec<Hash>> {
    let first = base.end();
    let mut hashes: Vec<Hash> = Vec::new();
    // Where in `hashes` there is a choice, and the choices.
    let mut open: Vec<(usize, Vec<Hash>)> = Vec::new();
    for seq in first..signed {
        let at = (seq - first) as usize;
        let choices = choices(seq);
        hashes.push(*choices.first()?);
        if choices.len() > 1 {
            open.push((at, choices));
        }
    }
    let ways = open.iter().try_fold(1_usize, |ways, (_, choices)| ways.checked_mul(choices.len()));
    let mut picks = vec![0_usize; open.len()];
    let stretches = stretches(first, &hashes, &open);
    let is_true = |picks: &[usize]| {
        let mut tree = base.clone();
        for (nth, stretch) in stretches.iter().enumerate() {
            tree.extend(stretch).ok()?;
            if let Some((_, choices)) = open.get(nth) {
                tree.append(choices[picks[nth]]);
            }
        }
        (tree.root().ok()? == root).then_some(())
    };
    if ways.is_none_or(|ways| ways > MOST_WAYS) {
        // All as they were noted, or all as they stand there.
        let ends = |way: usize| -> Vec<usize> {
            open.iter().map(|(_, choices)| way.min(choices.len() - 1)).collect()
        };
        picks = [0, 1].into_iter().map(ends).find(|picks| is_true(picks).is_some())?;
    } else {
        while is_true(&picks).is_none() {
            next_way(&mut picks, &open)?;
        }
    }
    for ((at, choices), pick) in open.iter().zip(picks) {
        hashes[*at] = choices[pick];
    }
    Some(hashes)
}

/// The runs of hashes around those that are open.
fn stretches(first: u64, hashes: &[Hash], open: &[(usize, Vec<Hash>)]) -> Vec<Range> {
    let mut stretches = Vec::with_capacity(open.len() + 1);
    let mut from = 0;
    for to in open.iter().map(|(at, _)| *at).chain([hashes.len()]) {
        let mut range = Range::empty(first + from as u64);
        hashes[from..to].iter().for_each(|leaf| range.append(*leaf));
        stretches.push(range);
        from = to + 1;
    }
    stretches
}

fn next_way(picks: &mut [usize], open: &[(usize, Vec<Hash>)]) -> Option<()> {
    for (pick, (_, choices)) in picks.iter_mut().zip(open) {
        *pick += 1;
        if *pick < choices.len() {
            return Some(());
        }
        *pick = 0;
    }
    None
}

/// Whether the file ends before record `signed - 1`, at a line's end or within one.
fn is_cut(file: &dyn FsFile, lines: &Lines, signed: u64) -> bool {
    let length = file.meta().map_or(0, |meta| meta.len);
    let end = lines.values().flatten().map(|line| line.offset + line.length as u64 + 1).max();
    let mut last = [0];
    let torn = length > 0 && file.read_at(&mut last, length - 1).is_ok() && last != *b"\n";
    let short = lines.keys().next_back().is_none_or(|last| last + 1 < signed);
    short && (torn || length == end.unwrap_or(0))
}
