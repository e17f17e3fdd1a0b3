//! Another directory with the same log: what a restore put beside it, or set aside.

use std::io;
use std::path::Path;

use super::copy::{CopiedBlock, Copy};
use crate::audit::files::examine::examine;
use crate::audit::files::gzip::{MAX_MEMBER_BYTES, Unpacker};
use crate::audit::files::manifest::Segment;
use crate::audit::files::segment::Block;
use crate::audit::keys::Rotation;
use crate::audit::read::error::ReadError;
use crate::audit::read::snapshot::{Part, Snapshot};
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::Range;
use crate::fsio::SharedFs;

/// Where a block's lines are.
enum Lines {
    /// In a compressed segment, by its number among these.
    Stored(usize, Block),
    /// Here: those of a plain file, which has a segment's size at most.
    Plain(Vec<u8>),
}

/// A log directory, as its checkpoint has it.
pub struct LogCopy {
    name: String,
    snapshot: Snapshot,
    segments: Vec<Segment>,
    note: String,
    /// By their first records.
    blocks: Vec<(u64, Lines)>,
    tree: Range,
}

impl LogCopy {
    /// Reads all of it.
    ///
    /// # Errors
    /// As [`Snapshot::take`]; the first block that is not what its manifest says.
    pub fn open(fs: &SharedFs, dir: &Path, watch: &dyn Watch) -> Result<Self, ReadError> {
        let snapshot = Snapshot::take(fs, dir)?;
        let mut copy = Self {
            name: dir.display().to_string(),
            note: snapshot.note.to_string(),
            tree: snapshot.manifest.pruned.clone(),
            segments: Vec::new(),
            blocks: Vec::new(),
            snapshot,
        };
        copy.read(watch).map_err(|source| {
            let path = dir.to_path_buf();
            ReadError::Io { action: "read the log in", path, source }
        })?;
        Ok(copy)
    }

    fn read(&mut self, watch: &dyn Watch) -> io::Result<()> {
        let mut blocks = Vec::new();
        for part in &self.snapshot.parts {
            if watch.interrupted() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if let Part::Stored(segment) = part {
                let index = self.segments.len();
                self.segments.push(segment.clone());
                for block in &segment.blocks {
                    let raw = self.stored(index, block)?;
                    let found = examine(&raw, block.first_seq, (0, 0)).map_err(io::Error::other)?;
                    self.tree.extend(&found.tree).map_err(io::Error::other)?;
                    blocks.push((block.first_seq, Lines::Stored(index, block.clone())));
                    watch.advance(raw.len() as u64);
                }
                continue;
            }
            let mut holes: Vec<Range> = match part {
                Part::Left(left) => left.holes().map(|hole| hole.tree.clone()).collect(),
                _ => Vec::new(),
            };
            holes.reverse();
            for block in self.snapshot.blocks(part).map_err(io::Error::other)? {
                let (first_seq, raw) = block?;
                let found = examine(&raw, first_seq, (0, 0)).map_err(io::Error::other)?;
                while let Some(hole) = holes.pop_if(|hole| hole.begin() < first_seq) {
                    self.tree.extend(&hole).map_err(io::Error::other)?;
                }
                self.tree.extend(&found.tree).map_err(io::Error::other)?;
                watch.advance(raw.len() as u64);
                blocks.push((first_seq, Lines::Plain(raw)));
            }
            while let Some(hole) = holes.pop() {
                self.tree.extend(&hole).map_err(io::Error::other)?;
            }
        }
        self.blocks = blocks;
        Ok(())
    }

    fn member(&self, index: usize, block: &Block) -> io::Result<Vec<u8>> {
        let segment = &self.segments[index];
        let (file, now) = self.snapshot.open_segment(segment).map_err(io::Error::other)?;
        let here = now.blocks.iter().find(|now| now.first_seq == block.first_seq);
        let here = here.ok_or_else(|| io::Error::other("the segment was divided anew"))?;
        if here.stored_bytes > MAX_MEMBER_BYTES as u64 {
            return Err(io::Error::other("a member is larger than a block can be"));
        }
        let mut member = vec![0; here.stored_bytes as usize];
        file.read_exact_at(&mut member, here.offset)?;
        Ok(member)
    }

    fn stored(&self, index: usize, block: &Block) -> io::Result<Vec<u8>> {
        let mut raw = Vec::new();
        let member = self.member(index, block)?;
        Unpacker::new().unpack(&member, &mut raw).map_err(io::Error::other)?;
        Ok(raw)
    }
}

impl Copy for LogCopy {
    fn name(&self) -> &str {
        &self.name
    }

    fn first_seq(&self) -> u64 {
        self.snapshot.manifest.pruned.end()
    }

    fn tree(&self) -> &Range {
        &self.tree
    }

    fn note(&self) -> &str {
        &self.note
    }

    fn rotations(&self) -> &[Rotation] {
        self.snapshot.keys.rotations()
    }

    fn block(&self, seq: u64) -> io::Result<Option<CopiedBlock>> {
        let after = self.blocks.partition_point(|(first_seq, _)| *first_seq <= seq);
        let Some((first_seq, lines)) = after.checked_sub(1).map(|at| &self.blocks[at]) else {
            return Ok(None);
        };
        let (raw, member) = match lines {
            Lines::Plain(raw) => (raw.clone(), None),
            Lines::Stored(index, block) => {
                (self.stored(*index, block)?, Some(self.member(*index, block)?))
            }
        };
        Ok(Some(CopiedBlock { first_seq: *first_seq, raw, member }))
    }
}
