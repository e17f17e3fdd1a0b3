//! Sealed segments: whether each block holds the lines that were noted when it
//! was sealed, and the file the bytes.

use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::activity::Activity;
use super::lines::{self, Line};
use super::report::{Finding, Kind};
use super::tally::{BadBlock, Tally};
use super::view::View;
use crate::audit::files::block_filter::{BlockFilters, MAX_BYTES};
use crate::audit::files::columns::{Columns, Judge};
use crate::audit::files::digest::digest_while;
use crate::audit::files::examine::{examine, leaves};
use crate::audit::files::facts::{Said, said_in};
use crate::audit::files::gzip::{MAX_BLOCK_BYTES, MAX_MEMBER_BYTES, Unpacker};
use crate::audit::files::manifest::Segment;
use crate::audit::files::salvage;
use crate::audit::files::salvage::Piece;
use crate::audit::files::segment::Block;
use crate::audit::read::error::ReadError;
use crate::audit::read::view::Stored;
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::{Hash, Range};
use crate::fsio::{FileReader, FsFile};

/// A group of blocks in flight holds at most so many stored bytes.
const GROUP_BYTES: u64 = 8 << 20;
/// A gzip member's header, which is the same in all members of a file.
const HEADER_BYTES: usize = 10;

/// A segment under the glass.
struct Opened<'a> {
    index: usize,
    segment: Segment,
    file: &'a dyn FsFile,
    length: u64,
    /// Queries believe them, so they have to be right. One that is not this file's
    /// is not believed, and none is missed.
    filters: Option<BlockFilters>,
    columns: Option<Judge>,
}

/// Reads a segment whole, and says everything that is wrong with it.
pub(super) fn check(
    view: &View,
    index: usize,
    watch: &dyn Watch,
    tally: &mut Tally,
) -> Result<(), ReadError> {
    let Stored::Here(file, segment) = open(view, index, tally)? else { return Ok(()) };
    let failed = |source| ReadError::io("read", &view.log.paths.dir.join(&segment.file), source);
    let length = file.meta().map_err(failed)?.len;
    let filters = filters(view, &segment);
    let columns = Columns::open(&*view.log.fs, &view.log.paths, &segment).map(Judge::new);
    let opened =
        Opened { index, segment: *segment.clone(), file: &*file, length, filters, columns };
    let read = opened.blocks(watch, tally).map_err(|trouble| match trouble {
        Trouble::Io(source) => failed(source),
        Trouble::Interrupted => ReadError::Interrupted,
    })?;
    if tally.bad_blocks.iter().any(|bad| bad.segment == index) {
        opened.diagnose(tally).map_err(failed)?;
    } else {
        opened.judge_file(&read, tally);
    }
    let end = segment.end_seq();
    let told = |finding: &Finding| touches(finding, segment.first_seq, end);
    if let Some(damage) = &segment.damage
        && !tally.findings.iter().any(told)
    {
        // What is there is what counts.
        tally.notes.push(format!(
            "audit.manifest.json notes damage of {}, which has been repaired since: all of its \
             records are as they were recorded. The next start removes the note ({damage})",
            segment.file
        ));
    }
    Ok(())
}

fn filters(view: &View, segment: &Segment) -> Option<BlockFilters> {
    let file = view.log.fs.read_own(&view.log.paths.filters(segment.first_seq), MAX_BYTES).ok()?;
    // One that the manifest does not note is not believed by queries either.
    segment.filters_sha256.as_ref()?;
    BlockFilters::decode(&file, segment.sha256.as_deref()?, segment.blocks.len())
}

/// Compares a segment's length and SHA-256 with the manifest's; where that has no
/// SHA-256 yet, the segment is read whole.
pub(super) fn check_stored(
    view: &View,
    index: usize,
    watch: &dyn Watch,
    tally: &mut Tally,
) -> Result<(), ReadError> {
    let noted = &view.manifest.segments[index];
    if noted.sha256.is_none() || noted.damage.is_some() {
        return check(view, index, watch, tally);
    }
    let Stored::Here(file, segment) = open(view, index, tally)? else { return Ok(()) };
    let failed = |source| ReadError::io("read", &view.log.paths.dir.join(&segment.file), source);
    let mut length = 0;
    let found = digest_while(&*file, |read| {
        watch.advance(read - length);
        length = read;
        !watch.interrupted()
    });
    let Some(found) = found.map_err(failed)? else { return Err(ReadError::Interrupted) };
    tally.counts.bytes += length;
    tally.counts.blocks_skipped += segment.blocks.len() as u64;
    if length != segment.stored_bytes || segment.sha256 != Some(found.to_string()) {
        // Which block it is, only reading it can tell.
        check(view, index, watch, tally)?;
    }
    Ok(())
}

/// A segment's file and what it is now; one that is not there is a finding.
fn open(view: &View, index: usize, tally: &mut Tally) -> Result<Stored, ReadError> {
    let segment = &view.manifest.segments[index];
    if !segment.is_stored() {
        // Nothing of it is here, which is told of its holes.
        return Ok(Stored::Removed);
    }
    let stored = view.open_segment(segment)?;
    match &stored {
        Stored::Here(..) => {}
        Stored::Removed => {
            tally.removed_meanwhile = true;
            tally.counts.blocks_skipped += segment.blocks.len() as u64;
        }
        Stored::Missing(_) => {
            let why = view.absence(&segment.file);
            let finding = Finding::new(Kind::Missing, &segment.file, why);
            tally.found(finding.records(segment.first_seq, segment.end_seq()));
        }
    }
    Ok(stored)
}

enum Trouble {
    Io(io::Error),
    Interrupted,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What reading a whole file told beyond its lines.
struct Whole {
    sha256: Hash,
    headers: Vec<[u8; HEADER_BYTES]>,
}

/// What became of a block.
enum Looked {
    Good,
    /// The lines are right, what the manifest says beside their hashes is not.
    Described(String),
    /// The lines are right, their filter is not.
    Filtered,
    /// The lines are right, their columns are not.
    Columnar,
    Bad(Option<Range>),
}

impl Opened<'_> {
    fn blocks(&self, watch: &dyn Watch, tally: &mut Tally) -> Result<Whole, Trouble> {
        let blocks = &self.segment.blocks;
        let counts_to = tally.counts_to();
        let mut hasher = Sha256::new();
        let mut headers = Vec::with_capacity(blocks.len());
        let mut at = 0;
        while at < blocks.len() {
            if watch.interrupted() {
                return Err(Trouble::Interrupted);
            }
            let group = self.group(at);
            let begin = blocks[at].offset;
            let end = group.last().map_or(begin, |block| block.offset + block.stored_bytes);
            let mut bytes = vec![0; (end.min(self.length).max(begin) - begin) as usize];
            self.file.read_exact_at(&mut bytes, begin)?;
            watch.advance(bytes.len() as u64);
            tally.counts.bytes += bytes.len() as u64;
            let ((), looked) = rayon::join(
                || hasher.update(&bytes),
                || -> Vec<(Looked, Vec<Said>, Option<Activity>)> {
                    group
                        .par_iter()
                        .enumerate()
                        .map_init(
                            || (Unpacker::new(), Vec::new()),
                            |(unpacker, raw), (nth, block)| {
                                let from = (block.offset - begin) as usize;
                                let to = from + block.stored_bytes as usize;
                                let stored = bytes.get(from..to);
                                stored.map_or((Looked::Bad(None), Vec::new(), None), |stored| {
                                    self.look((at + nth, block), stored, unpacker, (raw, counts_to))
                                })
                            },
                        )
                        .collect()
                },
            );
            for (number, (block, (looked, said, counted))) in (at..).zip(group.iter().zip(looked)) {
                said.into_iter().for_each(|said| tally.facts.note(said));
                tally.counted(counted);
                if block.is_hole() {
                    continue;
                }
                let from = (block.offset - begin) as usize;
                headers.extend(bytes.get(from..).and_then(|bytes| bytes.first_chunk().copied()));
                self.note(number, block, looked, tally);
            }
            at += group.len();
        }
        let mut rest = FileReader { file: self.file, offset: self.segment.stored_bytes };
        let mut buffer = vec![0; 64 << 10];
        while let read @ 1.. = rest.read(&mut buffer)? {
            hasher.update(&buffer[..read]);
        }
        Ok(Whole { sha256: Hash::from_bytes(hasher.finalize().into()), headers })
    }

    /// As many blocks as the threads are busy with for a while, and memory has room
    /// for. A block that claims more than one can have is taken alone, and not read.
    fn group(&self, at: usize) -> &[Block] {
        let most = 4 * rayon::current_num_threads().clamp(1, 8);
        let mut bytes = 0_u64;
        let blocks = &self.segment.blocks[at..];
        let count = blocks
            .iter()
            .take(most)
            .take_while(|block| {
                bytes = bytes.saturating_add(block.stored_bytes);
                bytes <= GROUP_BYTES
            })
            .count();
        &blocks[..count.max(1)]
    }

    fn look(
        &self,
        (number, block): (usize, &Block),
        stored: &[u8],
        unpacker: &mut Unpacker,
        (raw, counts_to): (&mut Vec<u8>, Option<u64>),
    ) -> (Looked, Vec<Said>, Option<Activity>) {
        if block.is_hole() {
            return (Looked::Good, Vec::new(), None);
        }
        let lines = if self.segment.is_compressed() {
            if unpacker.unpack(stored, raw).is_err() {
                return (Looked::Bad(None), Vec::new(), None);
            }
            raw.as_slice()
        } else {
            stored
        };
        let looked = self.compare((number, block), lines);
        // What a block says that was not recorded is nothing.
        if matches!(looked, Looked::Bad(_)) {
            return (looked, Vec::new(), None);
        }
        let end = block.first_seq + block.records;
        let counted = counts_to.map(|signed| Activity::of(lines, block.first_seq, end.min(signed)));
        (looked, said_in(lines), counted)
    }

    fn compare(&self, (number, block): (usize, &Block), lines: &[u8]) -> Looked {
        let found = examine(lines, block.first_seq, (block.offset, block.stored_bytes));
        // What a later version noted of it is not ours to judge.
        // Nor is what an earlier one noted nothing of.
        match found.map(|found| Block {
            unknown: block.unknown.clone(),
            ids: block.ids.and(found.ids),
            ..found
        }) {
            Ok(found) if found == *block => match (&self.filters, &self.columns) {
                (Some(filters), _) if !filters.is_of(number, lines) => Looked::Filtered,
                (_, Some(columns)) if !columns.are_of(block, lines) => Looked::Columnar,
                _ => Looked::Good,
            },
            Ok(found) if found.tree == block.tree => Looked::Described(format!(
                "it notes {} bytes from {} to {} with {} ids, the records have {} from {} to {} with {}",
                block.raw_bytes,
                block.min_timestamp,
                block.max_timestamp,
                block.ids.unwrap_or(0),
                found.raw_bytes,
                found.min_timestamp,
                found.max_timestamp,
                found.ids.unwrap_or(0)
            )),
            Ok(found) => Looked::Bad((found.records == block.records).then_some(found.tree)),
            Err(_) => Looked::Bad(None),
        }
    }

    fn note(&self, number: usize, block: &Block, looked: Looked, tally: &mut Tally) {
        tally.counts.blocks += 1;
        tally.counts.records += block.records;
        match looked {
            Looked::Good => {}
            Looked::Described(what) => {
                let file = &self.segment.file;
                let text = format!("of {file} block {number}: {what}");
                let finding = Finding::new(Kind::Altered, "audit.manifest.json", text);
                let end = block.first_seq + block.records;
                tally.found(finding.records(block.first_seq, end).block(number as u64));
            }
            Looked::Filtered => self.misled("filter", "its filter does", (number, block), tally),
            Looked::Columnar => self.misled("columns", "its columns do", (number, block), tally),
            Looked::Bad(found) => {
                tally.bad_blocks.push(BadBlock { segment: self.index, block: number, found });
            }
        }
    }

    /// What queries believe is not what the records are.
    fn misled(&self, kind: &str, what: &str, (number, block): (usize, &Block), tally: &mut Tally) {
        let file = format!("audit.{:020}.{kind}", self.segment.first_seq);
        let text = format!(
            "queries may miss records of this block, because {what} not match its records; \
             remove the file, and the writer recreates it"
        );
        let finding = Finding::new(Kind::Altered, &file, text);
        let end = block.first_seq + block.records;
        tally.found(finding.records(block.first_seq, end).block(number as u64));
    }

    /// All blocks hold their records: is the file what was stored, too?
    fn judge_file(&self, read: &Whole, tally: &mut Tally) {
        let (segment, file) = (&self.segment, &self.segment.file);
        if self.length > segment.stored_bytes {
            let extra = self.length - segment.stored_bytes;
            let text = format!("{extra} bytes follow its last record");
            let finding = Finding::new(Kind::Extra, file, text).at(segment.stored_bytes);
            tally.found(finding.records(segment.end_seq(), segment.end_seq()));
            return;
        }
        let Some(noted) = &segment.sha256 else { return };
        if *noted == read.sha256.to_string() {
            return;
        }
        let text = "its records are those that were recorded, but its stored bytes differ from \
                    those that were noted";
        let mut finding = Finding::new(Kind::StoredBytes, file, text);
        let stored = || segment.blocks.iter().enumerate().filter(|(_, block)| !block.is_hole());
        let odd = odd_one(&read.headers).and_then(|number| stored().nth(number));
        finding = match odd {
            Some((number, block)) => finding
                .records(block.first_seq, block.first_seq + block.records)
                .block(number as u64)
                .at(block.offset),
            None => finding.records(segment.first_seq, segment.end_seq()),
        };
        tally.found(finding);
    }

    /// Blocks are bad: what is there instead?
    fn diagnose(&self, tally: &mut Tally) -> io::Result<()> {
        let (segment, file) = (&self.segment, self.segment.file.as_str());
        if segment.is_compressed() && self.holds_all(tally) {
            tally.bad_blocks.retain(|bad| bad.segment != self.index);
            let text = "somebody compressed it again: its records are those that were recorded, \
                        but its stored bytes differ from those that were noted. The next start \
                        compresses it again";
            let finding = Finding::new(Kind::StoredBytes, file, text);
            tally.found(finding.records(segment.first_seq, segment.end_seq()));
            return Ok(());
        }
        let lines = if segment.is_compressed() {
            self.members()?
        } else {
            lines::of_plain(FileReader { file: self.file, offset: 0 })?
        };
        let found = lines::compare(file, &lines, segment.first_seq, segment.end_seq());
        let mut findings: Vec<Finding> =
            found.into_iter().flat_map(|finding| outside_holes(finding, segment)).collect();
        let bad: Vec<usize> = tally
            .bad_blocks
            .iter()
            .filter(|bad| bad.segment == self.index)
            .map(|bad| bad.block)
            .collect();
        for (number, block) in segment.blocks.iter().enumerate() {
            if block.is_hole() {
                continue;
            }
            let end = block.first_seq + block.records;
            let told = findings.iter().any(|finding| touches(finding, block.first_seq, end));
            let found = tree_of(&lines, block);
            let part = match &found {
                Some(found) => lines::altered_part(block, found),
                // Its lines are told of, or only its bytes are bad.
                None => (!told && bad.contains(&number)).then_some((block.first_seq, end)),
            };
            if let Some((first, end)) = part {
                let text = "what is there is not what was recorded";
                let finding = Finding::new(Kind::Altered, file, text);
                findings.push(finding.records(first, end).at(block.offset));
            }
        }
        for finding in &mut findings {
            let first = finding.first_seq.unwrap_or(segment.first_seq);
            let number = segment.blocks.partition_point(|block| block.first_seq <= first);
            finding.block = Some(number.saturating_sub(1) as u64);
        }
        let told = |bad: &usize| {
            let block = &segment.blocks[*bad];
            let end = block.first_seq + block.records;
            findings.iter().any(|finding| touches(finding, block.first_seq, end))
        };
        if findings.is_empty() || (segment.is_compressed() && !bad.iter().any(told)) {
            // The lines can be read, though not as members where the manifest has them.
            let first = bad.first().map_or(0, |number| *number);
            let block = &segment.blocks[first];
            let text = "its stored bytes are not a block as the manifest notes it";
            let finding = Finding::new(Kind::Altered, file, text).block(first as u64);
            let end = block.first_seq + block.records;
            findings.push(finding.records(block.first_seq, end).at(block.offset));
        }
        let unproven = self.unproven(&findings)?;
        tally.findings.extend(findings);
        tally.findings.extend(unproven);
        Ok(())
    }

    /// The records that no finding names and no hash proves: they were hashed together with
    /// others that are damaged, so they may be altered as well.
    fn unproven(&self, findings: &[Finding]) -> io::Result<Vec<Finding>> {
        let segment = &self.segment;
        let mut unproven = Vec::new();
        for piece in salvage::pieces_of(Some(self.file), segment, None)? {
            let Piece::Hole(hole) = piece else { continue };
            if segment.blocks.contains(&hole) {
                continue;
            }
            let mut named: Vec<(u64, u64)> =
                findings.iter().filter_map(|found| found.first_seq.zip(found.end_seq)).collect();
            named.sort_unstable();
            let mut next = hole.first_seq;
            for (first, end) in named.into_iter().chain([(hole.tree.end(), hole.tree.end())]) {
                let first = first.min(hole.tree.end());
                if first > next {
                    let text = "nothing proves that they are what was recorded, because they were \
                                hashed together with damaged records";
                    let finding = Finding::new(Kind::Unprovable, &segment.file, text);
                    let number = segment.blocks.partition_point(|block| block.first_seq <= next);
                    let number = number.saturating_sub(1) as u64;
                    unproven.push(finding.records(next, first).block(number));
                }
                next = next.max(end);
            }
        }
        Ok(unproven)
    }

    /// Whether the file holds the recorded lines, however they are packed. What
    /// they say is noted then.
    fn holds_all(&self, tally: &mut Tally) -> bool {
        let reader = FileReader { file: self.file, offset: 0 };
        let mut raw = Vec::new();
        let read =
            MultiGzDecoder::new(reader).take(self.segment.raw_bytes + 1).read_to_end(&mut raw);
        if read.is_err() || raw.len() as u64 != self.segment.raw_bytes {
            return false;
        }
        let (mut noted, mut found) =
            (Range::empty(self.segment.first_seq), Range::empty(self.segment.first_seq));
        leaves(&raw).for_each(|leaf| found.append(leaf));
        let joined = self.segment.blocks.iter().all(|block| noted.extend(&block.tree).is_ok());
        let same = joined && noted == found;
        if same {
            said_in(&raw).into_iter().for_each(|said| tally.facts.note(said));
        }
        same
    }

    /// The lines of all members that can be decompressed, in the order in which
    /// they stand; what cannot be is a line that is none.
    fn members(&self) -> io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut at = 0;
        while at < self.length {
            match self.member(at, &mut lines)? {
                Some(next) => at = next,
                None => {
                    let noted = self.segment.blocks.iter().map(|block| block.offset);
                    let next = noted.filter(|offset| *offset > at).min().unwrap_or(self.length);
                    let short = self.length < self.segment.stored_bytes;
                    lines.push(Line { cut: short && next >= self.length, ..Line::none(at) });
                    at = next;
                }
            }
        }
        Ok(lines)
    }

    /// One member's lines, and where the next begins; `None` when it is none.
    fn member(&self, at: u64, lines: &mut Vec<Line>) -> io::Result<Option<u64>> {
        let most = (MAX_MEMBER_BYTES as u64).min(self.length - at) as usize;
        let mut stored = vec![0; most];
        self.file.read_exact_at(&mut stored, at)?;
        // One member on purpose: where it ends is asked. Bounded by a block.
        #[allow(clippy::disallowed_methods)]
        let mut decoder = flate2::bufread::GzDecoder::new(stored.as_slice());
        let mut raw = Vec::new();
        let limit = MAX_BLOCK_BYTES as u64;
        let read = (&mut decoder).take(limit + 1).read_to_end(&mut raw);
        if read.is_err() || raw.len() as u64 > limit || raw.is_empty() {
            return Ok(None);
        }
        lines::read_lines(&mut BufReader::new(raw.as_slice()), at, true, lines)?;
        let left = decoder.into_inner().len();
        Ok(Some(at + (most - left) as u64))
    }
}

/// The tree over a block's records, when each is there once.
fn tree_of(lines: &[Line], block: &Block) -> Option<Range> {
    let end = block.first_seq + block.records;
    let mut here: Vec<(u64, Hash)> = lines
        .iter()
        .filter_map(|line| Some((line.seq?, line.leaf)))
        .filter(|(seq, _)| (block.first_seq..end).contains(seq))
        .collect();
    here.sort_by_key(|(seq, _)| *seq);
    let whole = here.iter().map(|(seq, _)| *seq).eq(block.first_seq..end);
    whole.then(|| {
        let mut tree = Range::empty(block.first_seq);
        here.iter().for_each(|(_, leaf)| tree.append(*leaf));
        tree
    })
}

/// What is told of records, without those of which it is known that they are not here.
fn outside_holes(finding: Finding, segment: &Segment) -> Vec<Finding> {
    let (Some(first), Some(end)) = (finding.first_seq, finding.end_seq) else {
        return vec![finding];
    };
    if !matches!(finding.kind, Kind::Missing | Kind::Truncated | Kind::Altered) || first == end {
        return vec![finding];
    }
    let (mut left, mut next) = (Vec::new(), first);
    for hole in segment.holes().filter(|hole| hole.first_seq < end && hole.tree.end() > first) {
        if hole.first_seq > next {
            left.push(finding.clone().records(next, hole.first_seq));
        }
        next = next.max(hole.tree.end());
    }
    if next < end {
        left.push(finding.records(next, end));
    }
    left
}

fn touches(finding: &Finding, first: u64, end: u64) -> bool {
    match (finding.first_seq, finding.end_seq) {
        (Some(from), Some(to)) => from < end && to.max(from + 1) > first,
        _ => false,
    }
}

/// The only header that is unlike the others.
fn odd_one(headers: &[[u8; HEADER_BYTES]]) -> Option<usize> {
    let usual = |header: &[u8; HEADER_BYTES]| {
        headers.iter().filter(|h| *h == header).count() * 2 > headers.len()
    };
    let odd: Vec<usize> = (0..headers.len()).filter(|at| !usual(&headers[*at])).collect();
    match odd[..] {
        [only] => Some(only),
        _ => None,
    }
}
