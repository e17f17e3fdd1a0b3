//! The roots that a log's tree had at earlier sizes, from the manifest in memory
//! and as few stored lines as possible.
//!
//! Lines are read only for the block in which a size lies, and believed only when
//! the block is the one that the manifest's tree holds. Beyond the last sealed
//! segment the active file is read as it is: a root over it that somebody signed
//! proves those lines too, since nobody finds others with the same root.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read};

use super::gzip::{MAX_BLOCK_BYTES, MAX_MEMBER_BYTES, Unpacker};
use super::manifest::{Manifest, Segment};
use super::segment::Block;
use crate::audit::paths::LogPaths;
use crate::audit::record;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::tree::merkle::{Hash, Range, leaf_hash};
use crate::fsio::{FileReader, Fs, FsFile, OpenMode};

/// The roots at those sizes that can be told: not at one below what retention
/// removed, beyond the log's end, or within a block whose file is damaged.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn roots_at(
    fs: &dyn Fs,
    paths: &LogPaths,
    manifest: &Manifest,
    sizes: &BTreeSet<u64>,
) -> io::Result<BTreeMap<u64, Hash>> {
    let mut found = BTreeMap::new();
    let mut tree = manifest.pruned.clone();
    note(&mut found, &tree, sizes);
    for segment in &manifest.segments {
        let mut file = None;
        for block in &segment.blocks {
            let end = block.tree.end();
            if !block.is_hole() && sizes.range(tree.end() + 1..end).next().is_some() {
                match open_once(fs, paths, segment, &mut file) {
                    Ok(file) => within(file, segment, block, &tree, sizes, &mut found)?,
                    // What is missing tells nothing; that it is missing is told elsewhere.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            tree.extend(&block.tree).map_err(io::Error::other)?;
            note(&mut found, &tree, sizes);
        }
    }
    if let Some(last) = sizes.last().filter(|last| **last > tree.end()) {
        active(fs, paths, tree, *last, sizes, &mut found)?;
    }
    Ok(found)
}

/// A block's lines, if its file still holds the lines that the tree holds.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn lines_of(
    file: &dyn FsFile,
    segment: &Segment,
    block: &Block,
) -> io::Result<Option<Vec<u8>>> {
    if block.is_hole() {
        return Ok(None);
    }
    let most = if segment.is_compressed() { MAX_MEMBER_BYTES } else { MAX_BLOCK_BYTES };
    if block.stored_bytes > most as u64 {
        return Ok(None);
    }
    let mut stored = vec![0; block.stored_bytes as usize];
    match file.read_exact_at(&mut stored, block.offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let raw = if segment.is_compressed() {
        let mut raw = Vec::new();
        match Unpacker::new().unpack(&stored, &mut raw) {
            Ok(()) => raw,
            Err(_) => return Ok(None),
        }
    } else {
        stored
    };
    let mut tree = Range::empty(block.first_seq);
    lines(&raw).for_each(|line| {
        tree.append_line(line);
    });
    Ok((tree == block.tree).then_some(raw))
}

/// Lines without their ends.
pub(crate) fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

/// A sealed segment's file under the name that the manifest has for it, or under
/// the one that it gets when it is compressed or had before.
pub(crate) fn open_segment(
    fs: &dyn Fs,
    paths: &LogPaths,
    segment: &Segment,
) -> io::Result<Box<dyn FsFile>> {
    fs.open(&paths.dir.join(&segment.file), OpenMode::ReadOwn)
}

fn open_once<'a>(
    fs: &dyn Fs,
    paths: &LogPaths,
    segment: &Segment,
    file: &'a mut Option<Box<dyn FsFile>>,
) -> io::Result<&'a dyn FsFile> {
    if file.is_none() {
        *file = Some(open_segment(fs, paths, segment)?);
    }
    Ok(&**file.as_ref().expect("it was opened just now"))
}

fn note(found: &mut BTreeMap<u64, Hash>, tree: &Range, sizes: &BTreeSet<u64>) {
    if sizes.contains(&tree.end())
        && let Ok(root) = tree.root()
    {
        found.insert(tree.end(), root);
    }
}

fn within(
    file: &dyn FsFile,
    segment: &Segment,
    block: &Block,
    before: &Range,
    sizes: &BTreeSet<u64>,
    found: &mut BTreeMap<u64, Hash>,
) -> io::Result<()> {
    let Some(raw) = lines_of(file, segment, block)? else { return Ok(()) };
    let mut tree = before.clone();
    for line in lines(&raw) {
        tree.append_line(line);
        note(found, &tree, sizes);
    }
    Ok(())
}

fn active(
    fs: &dyn Fs,
    paths: &LogPaths,
    mut tree: Range,
    last: u64,
    sizes: &BTreeSet<u64>,
    found: &mut BTreeMap<u64, Hash>,
) -> io::Result<()> {
    let file = match fs.open(&paths.active(), OpenMode::ReadOwn) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::with_capacity(256 * 1024, FileReader { file: &*file, offset: 0 });
    let mut line = Vec::new();
    while tree.end() < last {
        line.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        (&mut reader).take(limit).read_until(b'\n', &mut line)?;
        let Some(text) = line.strip_suffix(b"\n") else { break };
        // Another segment by now, or no record: nothing is known of what follows.
        if record::peek_seq(text) != Some(tree.end()) {
            break;
        }
        tree.append(leaf_hash(text));
        note(found, &tree, sizes);
    }
    Ok(())
}
