//! Block filters beside compressed segments: made while a segment is compressed,
//! and afterwards for those that have none, such as restored ones. Losing one
//! costs queries time and nothing else, so no failure here stops anything. The
//! manifest notes each file's SHA-256: queries believe no other.

use std::collections::BTreeSet;
use std::io;

use crate::audit::files::block_filter::{BlockFilters, filter_of};
use crate::audit::files::gzip::{MAX_MEMBER_BYTES, Unpacker};
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::restore::sha256_hex;
use crate::audit::paths::LogPaths;
use crate::fsio::{self, Fs, OpenMode};

/// Which compressed segments lack filters, and are to get some.
#[derive(Debug, Default)]
pub(super) struct Lacking(BTreeSet<u64>);

impl Lacking {
    /// Those that have no file which the manifest notes.
    pub(super) fn look(fs: &dyn Fs, paths: &LogPaths, manifest: &Manifest) -> Self {
        let compressed = manifest.segments.iter().filter(|segment| segment.sha256.is_some());
        let lacks = |segment: &&Segment| {
            segment.filters_sha256.is_none() || fs.meta(&paths.filters(segment.first_seq)).is_err()
        };
        Self(compressed.filter(lacks).map(|segment| segment.first_seq).collect())
    }

    /// A segment that has none yet.
    pub(super) fn next(&mut self, manifest: &Manifest) -> Option<Segment> {
        while let Some(first_seq) = self.0.first() {
            match manifest.segments.beginning_at(*first_seq) {
                Some(segment) => return Some(segment.clone()),
                None => self.0.pop_first(),
            };
        }
        None
    }

    /// Writes a segment's filters; the SHA-256 of their file.
    pub(super) fn write(
        &mut self,
        fs: &dyn Fs,
        paths: &LogPaths,
        segment: &Segment,
        filters: Option<Vec<Vec<u8>>>,
    ) -> Option<String> {
        self.0.remove(&segment.first_seq);
        let (filters, sha256) = filters.zip(segment.sha256.as_ref())?;
        let written = BlockFilters::new(filters).encode(sha256).and_then(|file| {
            fsio::replace_file(fs, &paths.filters(segment.first_seq), &file)?;
            Ok(sha256_hex(&file))
        });
        written
            .inspect_err(|error| {
                tracing::info!(%error, file = segment.file, "no block filters: queries read more");
            })
            .ok()
    }

    /// Reads a segment again and makes its filters; the SHA-256 of their file.
    pub(super) fn make(
        &mut self,
        fs: &dyn Fs,
        paths: &LogPaths,
        segment: &Segment,
    ) -> Option<String> {
        let filters = match read(fs, paths, segment) {
            Ok(filters) => Some(filters),
            Err(error) => {
                tracing::info!(%error, file = segment.file, "no block filters: queries read more");
                None
            }
        };
        self.write(fs, paths, segment, filters)
    }

    /// A segment has been removed.
    pub(super) fn forget(&mut self, fs: &dyn Fs, paths: &LogPaths, segment: &Segment) {
        self.0.remove(&segment.first_seq);
        // Often there is none; one that stays is replaced or ignored.
        let _ = fs.remove(&paths.filters(segment.first_seq));
    }
}

fn read(fs: &dyn Fs, paths: &LogPaths, segment: &Segment) -> io::Result<Vec<Vec<u8>>> {
    let file = fs.open(&paths.dir.join(&segment.file), OpenMode::ReadOwn)?;
    let mut unpacker = Unpacker::new();
    let (mut member, mut lines) = (Vec::new(), Vec::new());
    let no_records = || io::Error::new(io::ErrorKind::InvalidData, "lines that are no records");
    let block_of = |block: &crate::audit::files::segment::Block| {
        let length = usize::try_from(block.stored_bytes).unwrap_or(usize::MAX);
        if length > MAX_MEMBER_BYTES {
            return Err(no_records());
        }
        if block.is_hole() {
            return filter_of(&[]).ok_or_else(no_records);
        }
        member.resize(length, 0);
        file.read_exact_at(&mut member, block.offset)?;
        unpacker.unpack(&member, &mut lines).map_err(io::Error::other)?;
        filter_of(&lines).ok_or_else(no_records)
    };
    segment.blocks.iter().map(block_of).collect()
}
