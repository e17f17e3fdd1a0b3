//! Writing an archive: sealed segments' members are copied as they are, the rest
//! is compressed, in parallel, a few blocks at a time.

use std::io::Write;
use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::digest::{Digester, Digests};
use super::error::{BackupError, io_error};
use super::hole::Hole;
use super::marker::Marker;
use super::metadata::Stretch;
use crate::audit::files::gzip::Packer;
use crate::audit::files::manifest::Segment;
use crate::audit::files::salvage::Piece;
use crate::audit::read::snapshot::{Left, Part, Snapshot};
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::Hash;

const COPY_BYTES: usize = 1 << 20;

/// A written archive, not yet read back.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) stretches: Vec<Stretch>,
    pub(crate) digests: Digests,
}

/// Writes the snapshot's records and the marker. `path` is the file, for what fails.
///
/// # Errors
/// When a segment is not what its manifest says; a file operation's; an
/// interruption.
pub(crate) fn pack(
    snapshot: &Snapshot,
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
        watch,
    };
    for part in &snapshot.parts {
        match part {
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
        pruned: snapshot.manifest.pruned.clone(),
        tree_size: snapshot.checkpoint.size,
        root_hash: snapshot.checkpoint.root,
        members: members as u64,
        holes: snapshot.holes().map(Hole::of).collect(),
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
    Ok(Packed { stretches: archive.stretches, digests: archive.digester.finish() })
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
        let begin = self.at;
        let mut members = Vec::new();
        let mut blocks = snapshot.blocks(part)?;
        let together = 2 * rayon::current_num_threads().clamp(1, 8);
        loop {
            let mut group = Vec::with_capacity(together);
            for block in blocks.by_ref().take(together) {
                let damaged = |error: std::io::Error| match error.kind() {
                    std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData => {
                        BackupError::LogDamaged(error.to_string())
                    }
                    _ => BackupError::LogDamaged(format!("it cannot be read: {error}")),
                };
                group.push(block.map_err(damaged)?.1);
            }
            if group.is_empty() {
                break;
            }
            let packed: Vec<std::io::Result<Vec<u8>>> = group
                .par_iter()
                .map_init(|| Packer::new(level), |packer, raw| packer.member(raw))
                .collect();
            for (raw, member) in group.iter().zip(packed) {
                let member = member.map_err(io_error("compress records for", self.path))?;
                self.append(&member)?;
                self.watch.advance(raw.len() as u64);
                members.push(member.len() as u32);
            }
        }
        self.close_stretch(part.first_seq(), part.records(), begin, members);
        Ok(())
    }
}
