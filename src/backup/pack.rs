//! Writing an archive: sealed segments' members are copied as they are, the rest
//! is compressed, in parallel, a few blocks at a time.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender};
use sha2::{Digest, Sha256};

use super::base::Base;
use super::digest::{Digester, Digests};
use super::error::{BackupError, io_error};
use super::hole::Hole;
use super::marker::Marker;
use super::metadata::Stretch;
use crate::audit::files::gzip::{Packer, Unpacker};
use crate::audit::files::manifest::Segment;
use crate::audit::files::salvage::Piece;
use crate::audit::read::snapshot::{Left, Part, Snapshot};
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::{Hash, Range};

const COPY_BYTES: usize = 1 << 20;

/// A written archive, not yet read back.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) stretches: Vec<Stretch>,
    pub(crate) digests: Digests,
    /// Bytes of lines that stand before the first packed record, in the part that it is of.
    pub(crate) passed_bytes: u64,
}

/// What an incremental backup begins behind.
#[derive(Debug)]
pub(crate) struct Basis {
    /// The archives that hold it, the full one first.
    pub(crate) bases: Vec<Base>,
    /// The tree up to there.
    pub(crate) tree: Range,
}

/// Writes the snapshot's records, or those behind `basis`, and the marker. `path` is the
/// file, for what fails.
///
/// # Errors
/// When a segment is not what its manifest says; a file operation's; an
/// interruption.
pub(crate) fn pack(
    snapshot: &Snapshot,
    basis: Option<&Basis>,
    level: u32,
    out: &mut dyn Write,
    path: &Path,
    watch: &dyn Watch,
) -> Result<Packed, BackupError> {
    let mut archive = Archive {
        out,
        path,
        at: 0,
        digester: Digester::default(),
        hash: Sha256::new(),
        stretches: Vec::new(),
        passed_bytes: 0,
        watch,
    };
    let from = basis.map_or(0, |basis| basis.tree.end());
    let after = snapshot.parts.iter().filter(|part| part.first_seq() + part.records() > from);
    for part in after {
        match part {
            _ if part.first_seq() < from => archive.rest(snapshot, part, from, level)?,
            // Somebody packed it anew: its lines are taken, and compared with the root
            // like all others.
            Part::Stored(segment) if is_repacked(snapshot, segment)? => {
                archive.compress(snapshot, part, level)?;
            }
            Part::Stored(segment) => archive.copy(snapshot, segment)?,
            Part::Lines(_) | Part::Cut { .. } => archive.compress(snapshot, part, level)?,
            Part::Left(left) => archive.pieces(part, left, level)?,
        }
    }
    let members: usize = archive.stretches.iter().map(|stretch| stretch.members.len()).sum();
    let marker = Marker {
        log_id: snapshot.manifest.log_id.clone(),
        epoch: snapshot.manifest.epoch,
        pruned: basis.map_or(&snapshot.manifest.pruned, |basis| &basis.tree).clone(),
        bases: basis.map_or_else(Vec::new, |basis| basis.bases.clone()),
        tree_size: snapshot.checkpoint.size,
        root_hash: snapshot.checkpoint.root,
        members: members as u64,
        holes: holes_of(snapshot, basis),
        holes_omitted: false,
        checkpoint: snapshot.note.to_string(),
        public_key: snapshot.verifier.to_string(),
        key_chain: snapshot.keys.rotations().to_vec(),
        key_chain_omitted: false,
    };
    // The signatures of many witnesses may not fit; the log's own is what counts here.
    let only_own = || snapshot.note.only_by(&snapshot.verifier).to_string();
    let member = marker.fitting(only_own).member();
    archive.append(&member.map_err(|error| BackupError::marker(path, error))?)?;
    let Archive { stretches, digester, passed_bytes, .. } = archive;
    Ok(Packed { stretches, digests: digester.finish(), passed_bytes })
}

/// The holes in what is packed.
pub(crate) fn holes_of(snapshot: &Snapshot, basis: Option<&Basis>) -> Vec<Hole> {
    let from = basis.map_or(0, |basis| basis.tree.end());
    snapshot.holes().filter(|hole| hole.first_seq >= from).map(Hole::of).collect()
}

fn is_repacked(snapshot: &Snapshot, segment: &Segment) -> Result<bool, BackupError> {
    let (file, now) = snapshot.open_segment(segment)?;
    let length = file.meta().map_err(io_error("look at", Path::new(&now.file)))?.len;
    Ok(now.damage.is_none() && length != now.stored_bytes)
}

struct Archive<'a> {
    out: &'a mut dyn Write,
    path: &'a Path,
    at: u64,
    digester: Digester,
    /// Of the stretch that is being written.
    hash: Sha256,
    stretches: Vec<Stretch>,
    passed_bytes: u64,
    watch: &'a dyn Watch,
}

impl Archive<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        if self.watch.interrupted() {
            return Err(BackupError::Interrupted);
        }
        self.out.write_all(bytes).map_err(io_error("write", self.path))?;
        self.at += bytes.len() as u64;
        self.digester.update(bytes);
        self.hash.update(bytes);
        Ok(())
    }

    /// Appends a member once it is there; its length.
    fn take(
        &mut self,
        owed: Option<(usize, Receiver<io::Result<Vec<u8>>>)>,
    ) -> Result<Option<u32>, BackupError> {
        let Some((raw, member)) = owed else { return Ok(None) };
        let member = member.recv().unwrap_or_else(|error| Err(io::Error::other(error)));
        let member = member.map_err(io_error("compress records for", self.path))?;
        self.append(&member)?;
        self.watch.advance(raw as u64);
        Ok(Some(member.len() as u32))
    }

    fn close_stretch(&mut self, first_seq: u64, records: u64, begin: u64, members: Vec<u32>) {
        let sha256 = Hash::from_bytes(self.hash.finalize_reset().into());
        let (offset, stored_bytes) = (begin, self.at - begin);
        let stretch = Stretch { first_seq, records, offset, stored_bytes, sha256, members };
        self.stretches.push(stretch);
    }

    fn copy(&mut self, snapshot: &Snapshot, segment: &Segment) -> Result<(), BackupError> {
        let (file, segment) = snapshot.open_segment(segment)?;
        let damaged = |what: String| BackupError::LogDamaged(format!("{}: {what}", segment.file));
        if let Some(damage) = &segment.damage {
            return Err(damaged(damage.clone()));
        }
        let begin = self.at;
        let mut buffer = vec![0; COPY_BYTES];
        let mut from = 0;
        while from < segment.stored_bytes {
            let part = (segment.stored_bytes - from).min(COPY_BYTES as u64) as usize;
            file.read_exact_at(&mut buffer[..part], from).map_err(|error| {
                if error.kind() == std::io::ErrorKind::UnexpectedEof {
                    return damaged(format!("it ends before byte {}", segment.stored_bytes));
                }
                io_error("read", Path::new(&segment.file))(error)
            })?;
            self.append(&buffer[..part])?;
            self.watch.advance(part as u64);
            from += part as u64;
        }
        let members: Vec<u32> =
            segment.blocks.iter().map(|block| block.stored_bytes as u32).collect();
        self.close_stretch(segment.first_seq, segment.records, begin, members);
        let found = self.stretches.last().map(|stretch| stretch.sha256.to_string());
        if segment.sha256.is_some() && found != segment.sha256 {
            return Err(damaged("its SHA-256 is not the one in the manifest".to_owned()));
        }
        Ok(())
    }

    /// The records of a part from `from` on, which is in the midst of it.
    fn rest(
        &mut self,
        snapshot: &Snapshot,
        part: &Part,
        from: u64,
        level: u32,
    ) -> Result<(), BackupError> {
        match part {
            Part::Stored(segment) if !is_repacked(snapshot, segment)? => {
                self.rest_of_stored(snapshot, segment, from, level)
            }
            part => self.compress_from(snapshot, part, from, level),
        }
    }

    /// Only the block in which they begin is packed anew; the others are copied.
    fn rest_of_stored(
        &mut self,
        snapshot: &Snapshot,
        segment: &Segment,
        from: u64,
        level: u32,
    ) -> Result<(), BackupError> {
        let (file, segment) = snapshot.open_segment(segment)?;
        let damaged = |what: String| BackupError::LogDamaged(format!("{}: {what}", segment.file));
        if let Some(damage) = &segment.damage {
            return Err(damaged(damage.clone()));
        }
        let begin = self.at;
        let mut members = Vec::new();
        let end = |block: &crate::audit::files::segment::Block| block.first_seq + block.records;
        for block in segment.blocks.iter().filter(|block| end(block) > from) {
            let mut member = vec![0; block.stored_bytes as usize];
            file.read_exact_at(&mut member, block.offset)
                .map_err(|error| damaged(format!("record {}: {error}", block.first_seq)))?;
            if block.first_seq < from {
                let mut raw = Vec::new();
                Unpacker::new()
                    .unpack(&member, &mut raw)
                    .map_err(|error| damaged(format!("record {}: {error}", block.first_seq)))?;
                let lines = from_record(&raw, from - block.first_seq);
                let packed = Packer::new(level).member(lines);
                member = packed.map_err(io_error("compress records for", self.path))?;
            }
            self.append(&member)?;
            self.watch.advance(member.len() as u64);
            members.push(member.len() as u32);
        }
        self.close_stretch(from, segment.end_seq() - from, begin, members);
        Ok(())
    }

    /// What is left of a segment that has holes.
    fn pieces(&mut self, part: &Part, left: &Left, level: u32) -> Result<(), BackupError> {
        let begin = self.at;
        let mut members = Vec::new();
        let mut packer = Packer::new(level);
        for piece in left.pieces() {
            let block = piece.block();
            let damaged = |error: std::io::Error| {
                BackupError::LogDamaged(format!("record {}: {error}", block.first_seq))
            };
            let packed = match piece {
                Piece::Hole(_) => continue,
                Piece::Stored(block) if left.is_compressed() => {
                    left.stored(block).map_err(damaged)?
                }
                Piece::Stored(block) => {
                    packer.member(&left.stored(block).map_err(damaged)?).map_err(damaged)?
                }
                Piece::Lines(_, raw) => packer.member(raw).map_err(damaged)?,
            };
            self.append(&packed)?;
            self.watch.advance(block.raw_bytes);
            members.push(packed.len() as u32);
        }
        self.close_stretch(part.first_seq(), part.records(), begin, members);
        Ok(())
    }

    fn compress(
        &mut self,
        snapshot: &Snapshot,
        part: &Part,
        level: u32,
    ) -> Result<(), BackupError> {
        self.compress_from(snapshot, part, part.first_seq(), level)
    }

    fn compress_from(
        &mut self,
        snapshot: &Snapshot,
        part: &Part,
        from: u64,
        level: u32,
    ) -> Result<(), BackupError> {
        let begin = self.at;
        let mut members = Vec::new();
        let blocks = snapshot.blocks(part)?;
        let threads = rayon::current_num_threads().clamp(1, 8);
        std::thread::scope(|scope| {
            let pool = Pool::start(scope, threads, level);
            let mut owed = VecDeque::new();
            for block in blocks {
                let (first_seq, mut raw) = block.map_err(|error| unread(&error))?;
                if first_seq < from {
                    let lines = from_record(&raw, from - first_seq);
                    let passed = raw.len() - lines.len();
                    self.passed_bytes += passed as u64;
                    raw.drain(..passed);
                }
                if raw.is_empty() {
                    continue;
                }
                owed.push_back((raw.len(), pool.pack(raw)));
                if owed.len() > 2 * threads {
                    members.extend(self.take(owed.pop_front())?);
                }
            }
            while !owed.is_empty() {
                members.extend(self.take(owed.pop_front())?);
            }
            Ok::<_, BackupError>(())
        })?;
        let from = from.max(part.first_seq());
        self.close_stretch(from, part.first_seq() + part.records() - from, begin, members);
        Ok(())
    }
}

/// Threads that compress blocks, while what comes before is written and what comes after is
/// read. What they return is read back with the archive.
struct Pool(Sender<Job>);

/// Lines, and where their member goes.
type Job = (Vec<u8>, Sender<io::Result<Vec<u8>>>);

impl Pool {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, threads: usize, level: u32) -> Self {
        let (jobs, inbox) = crossbeam_channel::bounded::<Job>(threads);
        for _ in 0..threads {
            let inbox = inbox.clone();
            scope.spawn(move || {
                let mut packer = Packer::new(level);
                for (raw, answer) in inbox {
                    // Nobody waits for it where something else has failed.
                    let _ = answer.send(packer.member_unread(&raw));
                }
            });
        }
        Self(jobs)
    }

    /// The member that these lines become.
    fn pack(&self, raw: Vec<u8>) -> Receiver<io::Result<Vec<u8>>> {
        let (answer, member) = crossbeam_channel::bounded(1);
        // Where the threads are gone there is no answer either.
        let _ = self.0.send((raw, answer));
        member
    }
}

/// Lines that cannot be read.
fn unread(error: &io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            BackupError::LogDamaged(error.to_string())
        }
        _ => BackupError::LogDamaged(format!("it cannot be read: {error}")),
    }
}

/// The lines behind the first so many.
fn from_record(raw: &[u8], records: u64) -> &[u8] {
    let mut ends = memchr::memchr_iter(b'\n', raw);
    let before = usize::try_from(records).ok().and_then(|records| records.checked_sub(1));
    match before.map(|before| ends.nth(before)) {
        None => raw,
        Some(Some(end)) => &raw[end + 1..],
        Some(None) => &[],
    }
}
