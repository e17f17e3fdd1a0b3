//! What stands beside compressed segments so that queries read less: block filters and
//! columns. Both are made while a segment is compressed, and afterwards for those that have
//! none, such as restored ones. Losing one costs queries time and nothing else, so no failure
//! here stops anything. The manifest notes their SHA-256: queries believe no others. So they
//! are made only of records that the tree proves.

use std::collections::{BTreeSet, HashSet};
use std::io;

use crate::audit::files::block_filter::{BlockFilters, filter_of};
use crate::audit::files::columns::Builder;
use crate::audit::files::examine::tree_of;
use crate::audit::files::gzip::{MAX_MEMBER_BYTES, Unpacker};
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::restore::sha256_hex;
use crate::audit::files::segment::Block;
use crate::audit::paths::{LogPaths, parse_columns_name, parse_filter_name};
use crate::fsio::{self, Fs, OpenMode};

/// Which compressed segments lack some of theirs, and are to get them.
#[derive(Debug, Default)]
pub(super) struct Lacking(BTreeSet<u64>);

/// What the manifest notes of a segment's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Noted {
    filters: Option<String>,
    columns: Option<String>,
}

impl Noted {
    pub(super) fn note(self, segment: &mut Segment) {
        segment.filters_sha256 = self.filters;
        segment.columns_sha256 = self.columns;
    }
}

/// What is made of a segment, block by block.
pub(super) struct Making {
    filters: Option<Vec<Vec<u8>>>,
    columns: Builder,
}

impl Making {
    pub(super) fn new(segment: &Segment) -> Self {
        let columns = Builder::new(segment.first_seq);
        Self { filters: Some(Vec::with_capacity(segment.blocks.len())), columns }
    }

    /// Adds the next block, as so many bytes compressed; a hole has no lines.
    pub(super) fn block(&mut self, block: &Block, lines: &[u8], stored: u64) -> io::Result<()> {
        // One line that is no record, and there are none.
        let filter = filter_of(lines);
        self.filters = self.filters.take().zip(filter).map(|(mut filters, filter)| {
            filters.push(filter);
            filters
        });
        if block.is_hole() { Ok(()) } else { self.columns.block(block, lines, stored) }
    }
}

impl Lacking {
    /// Those without files which the manifest notes.
    pub(super) fn look(fs: &dyn Fs, paths: &LogPaths, manifest: &Manifest) -> Self {
        let names = fs.list(&paths.dir).unwrap_or_default();
        let of = |parse: fn(&str) -> Option<u64>| -> HashSet<u64> {
            names.iter().filter_map(|name| parse(name)).collect()
        };
        let (filters, columns) = (of(parse_filter_name), of(parse_columns_name));
        let compressed = manifest.segments.iter().filter(|segment| segment.sha256.is_some());
        let lacks = |segment: &&Segment| {
            let seq = &segment.first_seq;
            segment.filters_sha256.is_none()
                || segment.columns_sha256.is_none()
                || !filters.contains(seq)
                || !columns.contains(seq)
        };
        Self(compressed.filter(lacks).map(|segment| segment.first_seq).collect())
    }

    /// A segment that lacks some yet.
    pub(super) fn next(&mut self, manifest: &Manifest) -> Option<Segment> {
        while let Some(first_seq) = self.0.first() {
            match manifest.segments.beginning_at(*first_seq) {
                Some(segment) => return Some(segment.clone()),
                None => self.0.pop_first(),
            };
        }
        None
    }

    /// Writes a segment's files.
    pub(super) fn write(
        &mut self,
        fs: &dyn Fs,
        paths: &LogPaths,
        segment: &Segment,
        made: Making,
    ) -> Noted {
        self.0.remove(&segment.first_seq);
        let filters = made.filters.zip(segment.sha256.as_ref()).and_then(|(filters, sha256)| {
            let written = BlockFilters::new(filters).encode(sha256).and_then(|file| {
                fsio::replace_file(fs, &paths.filters(segment.first_seq), &file)?;
                Ok(sha256_hex(&file))
            });
            told("no block filters", segment, written)
        });
        let columns = made.columns.finish().and_then(|made| {
            fsio::replace_file(fs, &paths.columns(segment.first_seq), &made.file)?;
            Ok(made.sha256)
        });
        Noted { filters, columns: told("no columns", segment, columns) }
    }

    /// Reads a segment again and makes its files.
    pub(super) fn make(&mut self, fs: &dyn Fs, paths: &LogPaths, segment: &Segment) -> Noted {
        let made = read(fs, paths, segment);
        match told("no block filters, and no columns", segment, made) {
            Some(made) => self.write(fs, paths, segment, made),
            None => {
                self.0.remove(&segment.first_seq);
                Noted::default()
            }
        }
    }

    /// A segment has been removed.
    pub(super) fn forget(&mut self, fs: &dyn Fs, paths: &LogPaths, segment: &Segment) {
        self.0.remove(&segment.first_seq);
        // Often there is none; one that stays is replaced or ignored.
        let _ = fs.remove(&paths.filters(segment.first_seq));
        let _ = fs.remove(&paths.columns(segment.first_seq));
    }
}

fn told<T>(what: &str, segment: &Segment, made: io::Result<T>) -> Option<T> {
    made.inspect_err(|error| {
        tracing::info!(%error, file = segment.file, "{what}: queries read more");
    })
    .ok()
}

fn read(fs: &dyn Fs, paths: &LogPaths, segment: &Segment) -> io::Result<Making> {
    let file = fs.open(&paths.dir.join(&segment.file), OpenMode::ReadOwn)?;
    let mut unpacker = Unpacker::new();
    let (mut member, mut lines) = (Vec::new(), Vec::new());
    let mut making = Making::new(segment);
    for block in &segment.blocks {
        lines.clear();
        if !block.is_hole() {
            let length = usize::try_from(block.stored_bytes).unwrap_or(usize::MAX);
            if length > MAX_MEMBER_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no block is so long"));
            }
            member.resize(length, 0);
            file.read_exact_at(&mut member, block.offset)?;
            unpacker.unpack(&member, &mut lines).map_err(io::Error::other)?;
            // What is made of other lines would hide the true ones, once they are back.
            if tree_of(&lines, block.first_seq) != block.tree {
                let reason = "its records are not those that were written";
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        }
        making.block(block, &lines, block.stored_bytes)?;
    }
    Ok(making)
}
