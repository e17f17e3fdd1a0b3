//! Sealed segments are compressed, block by block.

use std::io;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Thread;
use super::hints::Making;
use crate::audit::files::examine::tree_of;
use crate::audit::files::gzip::Packer;
use crate::audit::files::manifest::Segment;
use crate::audit::files::segment::Block;
use crate::audit::state::security::SecurityKind;
use crate::audit::state::status::Damage;
use crate::audit::state::trouble::Trouble;
use crate::fsio::{FsFile, OpenMode, temporary_name};
use crate::units::hex;

/// A compressed segment.
struct Packed {
    blocks: Vec<Block>,
    sha256: String,
    beside: Making,
}

impl Thread {
    pub(super) fn next_to_compress(&self) -> Option<Segment> {
        self.keeper.manifest().segments.iter().find(|s| wants_compression(s)).cloned()
    }

    /// Compresses one segment. The plain file goes last, when the manifest
    /// already names the compressed one.
    pub(super) fn compress_next(&mut self) -> io::Result<()> {
        let Some(segment) = self.next_to_compress() else { return Ok(()) };
        self.at_home()?;
        let fs = Arc::clone(&self.work.options.fs);
        let paths = self.work.paths.clone();
        let source = paths.dir.join(&segment.file);
        let file = fs.open(&source, OpenMode::ReadOwn)?;
        let target = paths.compressed(segment.first_seq);
        let temporary = temporary_name(&target);
        let packed = match self.pack(&*file, &segment, &temporary) {
            Ok(packed) => packed,
            Err(error) => {
                let _ = fs.remove(&temporary);
                return Err(error);
            }
        };
        let Some(Packed { blocks, sha256, beside }) = packed else {
            let _ = fs.remove(&temporary);
            return self.altered(&segment);
        };
        fs.rename(&temporary, &target)?;
        self.looks.made(&*fs, &target);
        fs.sync_dir(&paths.dir)?;
        let mut packed = Segment {
            file: crate::audit::paths::sealed_name(segment.first_seq, true),
            stored_bytes: blocks.iter().map(|block| block.stored_bytes).sum(),
            blocks,
            sha256: Some(sha256),
            ..segment
        };
        self.hints
            .write(&*self.work.options.fs, &self.work.paths, &packed, beside)
            .note(&mut packed);
        self.change(|manifest| {
            let entry = manifest.segments.iter_mut().find(|s| s.first_seq == packed.first_seq);
            if let Some(entry) = entry {
                *entry = packed;
            }
        });
        self.store_needed = true;
        self.store()?;
        self.work.options.fs.remove(&source)?;
        self.work.options.fs.sync_dir(&self.work.paths.dir)
    }

    /// Writes the segment's blocks as gzip members; `None` when a block is not
    /// what the writer wrote.
    fn pack(
        &mut self,
        file: &dyn FsFile,
        segment: &Segment,
        temporary: &Path,
    ) -> io::Result<Option<Packed>> {
        let out = self.work.options.fs.open(temporary, OpenMode::CreateNew)?;
        let mut blocks = Vec::with_capacity(segment.blocks.len());
        let mut beside = Making::new(segment);
        let mut hasher = Sha256::new();
        let (mut from, mut to) = (0, 0);
        let mut raw = Vec::new();
        let mut packer = Packer::new(self.work.options.compression_level);
        for block in &segment.blocks {
            if block.is_hole() {
                beside.block(block, &[], 0)?;
                blocks.push(Block { offset: to, ..block.clone() });
                continue;
            }
            raw.resize(block.raw_bytes as usize, 0);
            match file.read_exact_at(&mut raw, from) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                other => other?,
            }
            from += block.raw_bytes;
            if tree_of(&raw, block.first_seq) != block.tree {
                return Ok(None);
            }
            let member = packer.member(&raw)?;
            beside.block(block, &raw, member.len() as u64)?;
            hasher.update(&member);
            out.write_all_at(&member, to)?;
            let stored_bytes = member.len() as u64;
            blocks.push(Block { offset: to, stored_bytes, ..block.clone() });
            to += stored_bytes;
            self.write_security();
            self.look();
        }
        out.sync_data()?;
        let digest = hex(&hasher.finalize());
        Ok(Some(Packed { blocks, sha256: digest, beside }))
    }

    /// A sealed file is not what was written: it is left as it is, for `verify`
    /// and for whoever looks into it.
    fn altered(&mut self, segment: &Segment) -> io::Result<()> {
        let reason = "its records are not those that were written";
        tracing::error!(
            code = Trouble::SegmentAltered.code(),
            file = segment.file,
            "a sealed segment was altered"
        );
        self.work.security.report(
            SecurityKind::LogTampered,
            None,
            &format!("{}: {reason}", segment.file),
        );
        self.change(|manifest| {
            let entry = manifest.segments.iter_mut().find(|s| s.first_seq == segment.first_seq);
            if let Some(entry) = entry {
                entry.damage = Some(reason.to_owned());
            }
        });
        self.work.page.damage(Damage::SegmentDamaged, self.work.options.clock.now());
        self.store_needed = true;
        self.store()
    }
}

pub(super) fn wants_compression(segment: &Segment) -> bool {
    !segment.is_compressed() && segment.damage.is_none() && segment.is_stored()
}
