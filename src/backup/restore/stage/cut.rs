//! Restoring only the beginning of a backup.

use std::path::Path;

use crate::audit::files::digest::digest;
use crate::audit::files::gzip::{Packer, Unpacker};
use crate::audit::files::manifest::Segment;
use crate::audit::files::segment::Block;
use crate::audit::paths::sealed_name;
use crate::audit::tree::document::Unknown;
use crate::audit::tree::merkle::Range;
use crate::backup::content::Content;
use crate::backup::error::{BackupError, io_error};
use crate::backup::restore::Extent;
use crate::backup::source::Found;
use crate::fsio::{Fs, FsFile, OpenMode};

/// The tree that is restored, and whether it is less than the backup's.
pub(super) fn tree_of(extent: Extent, content: &Content) -> Result<(Range, bool), BackupError> {
    let (first, end) = (content.pruned.end(), content.tree.end());
    let size = match extent {
        Extent::Whole => end,
        Extent::ToSeq(seq) if (first..end).contains(&seq) => seq + 1,
        Extent::ToSeq(seq) => {
            let what =
                format!("record {seq} is not in the backup, which holds {first} to {}", end - 1);
            return Err(BackupError::Usage(what));
        }
        Extent::ToTime(_) => content.first_after.unwrap_or(end),
    };
    if size == end {
        return Ok((content.tree.clone(), false));
    }
    match content.trees.get(&size) {
        Some(tree) if size > first => Ok((tree.clone(), true)),
        _ => Err(BackupError::Usage("no record of the backup is as old as that".to_owned())),
    }
}

pub(super) fn segments(content: &Content, found: &Found) -> Vec<Segment> {
    let stretches = found.stretches().iter().zip(&content.blocks);
    stretches
        .map(|(stretch, blocks)| Segment {
            file: sealed_name(stretch.first_seq, stretch.stored_bytes > 0),
            first_seq: stretch.first_seq,
            records: stretch.records,
            raw_bytes: blocks.iter().map(|block| block.raw_bytes).sum(),
            stored_bytes: stretch.stored_bytes,
            sha256: (stretch.stored_bytes > 0).then(|| stretch.sha256.to_string()),
            filters_sha256: None,
            columns_sha256: None,
            min_timestamp: blocks.iter().map(|b| b.min_timestamp).min().unwrap_or_default(),
            max_timestamp: blocks.iter().map(|b| b.max_timestamp).max().unwrap_or_default(),
            damage: None,
            blocks: blocks.clone(),
            unknown: Unknown::default(),
        })
        .collect()
}

/// Leaves only the records of `tree`: whole segments go, the last one is cut, and
/// the block in which it ends is packed anew.
pub(super) fn cut_segments(
    fs: &dyn Fs,
    dir: &Path,
    segments: &mut Vec<Segment>,
    tree: &Range,
) -> Result<(), BackupError> {
    let size = tree.end();
    while let Some(last) = segments.last().filter(|last| last.first_seq >= size) {
        if last.is_stored() {
            let path = dir.join(&last.file);
            fs.remove(&path).map_err(io_error("remove", &path))?;
        }
        segments.pop();
    }
    let Some(last) = segments.last_mut().filter(|last| last.end_seq() > size) else {
        return Ok(());
    };
    if !last.is_stored() {
        last.blocks.retain(|block| block.tree.end() <= size);
        last.records = size - last.first_seq;
        return Ok(());
    }
    let path = dir.join(&last.file);
    let file = fs.open(&path, OpenMode::Write).map_err(io_error("open", &path))?;
    let keep = last.blocks.iter().position(|block| block.first_seq + block.records > size);
    let Some(keep) = keep else { return Ok(()) };
    let block = last.blocks[keep].clone();
    last.blocks.truncate(keep);
    let mut length = block.offset;
    if block.first_seq < size {
        let cut = cut_block(&*file, &block, size).map_err(io_error("cut", &path))?;
        file.write_all_at(&cut.1, block.offset).map_err(io_error("write", &path))?;
        length += cut.0.stored_bytes;
        last.blocks.push(cut.0);
    }
    file.set_len(length).map_err(io_error("cut", &path))?;
    last.records = size - last.first_seq;
    last.stored_bytes = length;
    last.raw_bytes = last.blocks.iter().map(|block| block.raw_bytes).sum();
    last.min_timestamp = last.blocks.iter().map(|b| b.min_timestamp).min().unwrap_or_default();
    last.max_timestamp = last.blocks.iter().map(|b| b.max_timestamp).max().unwrap_or_default();
    last.sha256 = Some(digest(&*file).map_err(io_error("read", &path))?.to_string());
    Ok(())
}

fn cut_block(file: &dyn FsFile, block: &Block, size: u64) -> std::io::Result<(Block, Vec<u8>)> {
    let mut member = vec![0; block.stored_bytes as usize];
    file.read_exact_at(&mut member, block.offset)?;
    let mut raw = Vec::new();
    Unpacker::new().unpack(&member, &mut raw).map_err(std::io::Error::other)?;
    let end = memchr::memchr_iter(b'\n', &raw)
        .nth((size - block.first_seq - 1) as usize)
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    raw.truncate(end + 1);
    let member = Packer::new(6).member(&raw)?;
    let stored = (block.offset, member.len() as u64);
    let block = crate::audit::files::examine::examine(&raw, block.first_seq, stored)
        .map_err(std::io::Error::other)?;
    Ok((block, member))
}
