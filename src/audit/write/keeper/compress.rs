//! Sealed segments are compressed, block by block.

use std::io;
use std::path::{Path, PathBuf};
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

/// So many segments are compressed at most before the manifest is stored,
const MAX_TOGETHER: usize = 64;
/// and no more than so many bytes of lines.
const MAX_BYTES_TOGETHER: u64 = 16 << 20;

/// A compressed segment.
struct Packed {
    blocks: Vec<Block>,
    sha256: String,
    beside: Making,
}

/// A segment that is compressed under a temporary name.
struct Ready {
    segment: Segment,
    temporary: PathBuf,
    beside: Making,
}

impl Thread {
    /// Compresses the first segments that are to be: one, or several small ones, since
    /// the manifest is stored for all of them together. The plain files go last, when the
    /// manifest already names the compressed ones.
    pub(super) fn compress_some(&mut self) -> io::Result<()> {
        self.at_home()?;
        let manifest = self.keeper.manifest();
        let Some(first) = manifest.segments.first_plain() else { return Ok(()) };
        let begin = manifest.segments.position(first.first_seq).unwrap_or_default();
        let waiting = manifest.segments.range(begin..begin + MAX_TOGETHER);
        let waiting: Vec<Segment> =
            waiting.filter(|segment| segment.wants_compression()).cloned().collect();
        drop(manifest);
        let (mut ready, mut bytes) = (Vec::new(), 0);
        for segment in waiting {
            bytes += segment.raw_bytes;
            if bytes > MAX_BYTES_TOGETHER && !ready.is_empty() {
                break;
            }
            match self.compress(segment) {
                Ok(Some(one)) => ready.push(one),
                // It is told, and what came before it is stored.
                Ok(None) => break,
                Err(error) if ready.is_empty() => return Err(error),
                // The next step meets it again.
                Err(_) => break,
            }
        }
        if ready.is_empty() {
            return Ok(());
        }
        let (fs, paths) = (Arc::clone(&self.work.options.fs), self.work.paths.clone());
        for Ready { segment, temporary, .. } in &ready {
            let target = paths.compressed(segment.first_seq);
            if let Err(error) = fs.rename(temporary, &target) {
                let _ = fs.remove(temporary);
                return Err(error);
            }
            self.looks.made(&*fs, &target);
        }
        fs.sync_dir(&paths.dir)?;
        let sources: Vec<_> = ready.iter().map(|one| paths.sealed(one.segment.first_seq)).collect();
        for Ready { mut segment, beside, .. } in ready {
            self.hints.write(&*fs, &paths, &segment, beside).note(&mut segment);
            self.change(|manifest| manifest.segments.replace(segment));
        }
        self.store_needed = true;
        self.store()?;
        for source in sources {
            fs.remove(&source)?;
        }
        fs.sync_dir(&paths.dir)
    }

    /// The segment as it is once it is compressed; `None` where what is there is not what was
    /// written.
    fn compress(&mut self, segment: Segment) -> io::Result<Option<Ready>> {
        let fs = Arc::clone(&self.work.options.fs);
        let paths = self.work.paths.clone();
        let file = fs.open(&paths.dir.join(&segment.file), OpenMode::ReadOwn)?;
        let temporary = temporary_name(&paths.compressed(segment.first_seq));
        let packed = match self.pack(&*file, &segment, &temporary) {
            Ok(packed) => packed,
            Err(error) => {
                let _ = fs.remove(&temporary);
                return Err(error);
            }
        };
        let Some(Packed { blocks, sha256, beside }) = packed else {
            let _ = fs.remove(&temporary);
            self.altered(&segment)?;
            return Ok(None);
        };
        let segment = Segment {
            file: crate::audit::paths::sealed_name(segment.first_seq, true),
            stored_bytes: blocks.iter().map(|block| block.stored_bytes).sum(),
            blocks,
            sha256: Some(sha256),
            ..segment
        };
        Ok(Some(Ready { segment, temporary, beside }))
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
        self.change_segment(segment.first_seq, |entry| entry.damage = Some(reason.to_owned()));
        self.work.page.damage(Damage::SegmentDamaged, self.work.options.clock.now());
        self.store_needed = true;
        self.store()
    }
}
