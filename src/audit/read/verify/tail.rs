//! The active segment, and whatever else the manifest does not list: read line by
//! line, since nothing but the checkpoint tells what it should hold.

use std::io::{self, BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use rayon::prelude::*;

use super::activity::Activity;
use super::lines;
use super::pieces::{Piece, Pieces, Place, is_damage};
use super::report::{Finding, Kind};
use super::tally::Tally;
use super::view::View;
use crate::audit::files::examine::examine;
use crate::audit::files::facts::{Said, said_in};
use crate::audit::files::segment::{BLOCK_BYTES, Block};
use crate::audit::read::error::ReadError;
use crate::audit::read::view::Tail;
use crate::audit::read::watch::Watch;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::fsio::FileReader;

/// How many chunks are looked at together.
const GROUP: usize = 8;

/// Whole lines, about a block's worth.
struct Chunk {
    offset: u64,
    first_seq: u64,
    raw: Vec<u8>,
}

/// Where the good records of a file end, and why.
struct Stop {
    seq: u64,
    offset: u64,
    reason: String,
}

/// Reads the files behind the sealed segments. `signed` is what the checkpoint
/// covers: what is wrong before that is damage; behind it, a crash or a writer at
/// work leaves unfinished lines.
pub(super) fn check(
    view: &View,
    pieces: &mut Pieces,
    signed: u64,
    watch: &dyn Watch,
    tally: &mut Tally,
) -> Result<(), ReadError> {
    for (index, tail) in view.tails.iter().enumerate() {
        let next = pieces.end();
        let failed = |source| ReadError::io("read", &view.log.paths.dir.join(&tail.name), source);
        let stop = read(view, index, pieces, watch, tally).map_err(failed)?;
        if watch.interrupted() {
            return Err(ReadError::Interrupted);
        }
        let Some(stop) = stop else { continue };
        let last = index + 1 == view.tails.len();
        if stop.seq < signed {
            let found = compare(tail, next, signed, &stop).map_err(failed)?;
            tally.findings.extend(found);
        } else if !(view.live && last) {
            let text = format!("unfinished: {}", stop.reason);
            let finding = Finding::new(Kind::Unclean, &tail.name, text).at(stop.offset);
            tally.unfinished = Some(finding.records(stop.seq, stop.seq));
        }
        // Nothing behind a gap can be part of the tree.
        return Ok(());
    }
    Ok(())
}

/// Adds a file's good records to the pieces; where they stop before its end.
fn read(
    view: &View,
    index: usize,
    pieces: &mut Pieces,
    watch: &dyn Watch,
    tally: &mut Tally,
) -> io::Result<Option<Stop>> {
    let tail = &view.tails[index];
    let mut reader = lines_of(tail);
    let mut next = pieces.end();
    let mut offset = 0;
    loop {
        let mut group: Vec<Chunk> = Vec::with_capacity(GROUP);
        let mut unreadable = None;
        while group.len() < GROUP && unreadable.is_none() {
            let mut chunk = Chunk { offset, first_seq: next, raw: Vec::new() };
            match gather(&mut *reader, &mut chunk.raw) {
                Ok(()) => {}
                Err(error) if is_damage(&error) => unreadable = Some(error.to_string()),
                Err(error) => return Err(error),
            }
            if chunk.raw.is_empty() {
                break;
            }
            next += memchr::memchr_iter(b'\n', &chunk.raw).count() as u64;
            offset += chunk.raw.len() as u64;
            group.push(chunk);
        }
        if group.is_empty() || watch.interrupted() {
            let stop = unreadable.map(|reason| Stop { seq: pieces.end(), offset, reason });
            return Ok(stop);
        }
        let counts_to = tally.counts_to();
        let looked: Vec<Looked> =
            group.par_iter().map(|chunk| of_chunk(chunk, counts_to)).collect();
        for (chunk, (looked, said, counted)) in group.iter().zip(looked) {
            watch.advance(chunk.raw.len() as u64);
            tally.counts.bytes += chunk.raw.len() as u64;
            let (block, stop) = match looked {
                Ok(block) => (block, None),
                Err(stop) => (good_part(chunk, &stop), Some(stop)),
            };
            tally.counted(counted);
            if block.records > 0 {
                tally.counts.blocks += 1;
                tally.counts.records += block.records;
                let end = block.first_seq + block.records;
                let said = said.into_iter().filter(|said| said.seq < end);
                said.for_each(|said| tally.facts.note(said));
                pieces.push(Piece { place: Place::Tail(index), block });
            }
            if stop.is_some() {
                return Ok(stop);
            }
        }
        if let Some(reason) = unreadable {
            return Ok(Some(Stop { seq: pieces.end(), offset, reason }));
        }
    }
}

/// What was found in a chunk.
type Looked = (Result<Block, Stop>, Vec<Said>, Option<Activity>);

/// What its lines are, and what they say: of those that are right, and are signed.
fn of_chunk(chunk: &Chunk, counts_to: Option<u64>) -> Looked {
    let looked = look(chunk);
    let end = looked.as_ref().map_or_else(|stop| stop.seq, |block| block.tree.end());
    let counted =
        counts_to.map(|signed| Activity::of(&chunk.raw, chunk.first_seq, end.min(signed)));
    (looked, said_in(&chunk.raw), counted)
}

fn look(chunk: &Chunk) -> Result<Block, Stop> {
    examine(&chunk.raw, chunk.first_seq, (chunk.offset, chunk.raw.len() as u64)).map_err(|wrong| {
        Stop { seq: wrong.seq, offset: chunk.offset + wrong.offset, reason: wrong.reason }
    })
}

fn good_part(chunk: &Chunk, stop: &Stop) -> Block {
    let length = stop.offset - chunk.offset;
    let raw = chunk.raw.get(..length as usize).unwrap_or_default();
    examine(raw, chunk.first_seq, (chunk.offset, length))
        .unwrap_or_else(|_| Block::empty(chunk.first_seq, chunk.offset))
}

/// What is wrong with the signed records of a file.
fn compare(tail: &Tail, first: u64, signed: u64, stop: &Stop) -> io::Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut reader = lines_of(tail);
    let outcome = lines::read_lines(&mut *reader, 0, tail.is_compressed(), &mut found);
    match outcome {
        Ok(()) => {}
        Err(error) if is_damage(&error) => found.push(lines::Line::none(stop.offset)),
        Err(error) => return Err(error),
    }
    // What follows the last signed record is not signed: it has its own finding.
    let is_signed = |line: &lines::Line| line.seq.is_some_and(|seq| seq < signed);
    let whole = found.iter().rposition(is_signed).map_or(0, |last| last + 1);
    let strange = found[whole..].iter().take_while(|line| line.seq.is_none()).count();
    let mut findings = lines::compare(&tail.name, &found[..whole + strange], first, signed);
    if findings.is_empty() {
        let finding = Finding::new(Kind::Altered, &tail.name, stop.reason.clone());
        findings.push(finding.records(stop.seq, stop.seq + 1).at(stop.offset));
    }
    Ok(findings)
}

fn lines_of(tail: &Tail) -> Box<dyn BufRead + '_> {
    // The length at the beginning is the end: a writer may be appending.
    let reader = FileReader { file: &*tail.file, offset: 0 }.take(tail.length);
    if tail.is_compressed() {
        Box::new(BufReader::with_capacity(256 << 10, MultiGzDecoder::new(reader)))
    } else {
        Box::new(BufReader::with_capacity(256 << 10, reader))
    }
}

/// Reads whole lines, about a block's worth; a line without end is cut at what a
/// record can have.
fn gather(reader: &mut dyn BufRead, raw: &mut Vec<u8>) -> io::Result<()> {
    while (raw.len() as u64) < BLOCK_BYTES {
        let read = reader.take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', raw)?;
        if read == 0 || raw.last() != Some(&b'\n') {
            break;
        }
    }
    Ok(())
}
