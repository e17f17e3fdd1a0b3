//! A sealed segment's file is read anew, with the holes that the log's records name.

use std::io::{BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;

use super::error::io_error;
use super::{OpenError, Opening};
use crate::audit::files::digest::digest;
use crate::audit::files::examine::leaves;
use crate::audit::files::facts::{self, Fact, Said};
use crate::audit::files::manifest::Segment;
use crate::audit::files::scan::{self, Interest, Scan};
use crate::audit::files::segment::Block;
use crate::audit::paths::parse_sealed_name;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::tree::merkle::Range;
use crate::fsio::{FileReader, FsFile, OpenMode};

/// A segment's file as it is read now.
pub(super) struct Rescanned {
    pub(super) scan: Scan,
    pub(super) segment: Segment,
}

impl Opening<'_> {
    /// Whether a gzip file holds a segment's lines, however they are packed.
    pub(super) fn holds(&self, file: &dyn FsFile, noted: &Segment) -> bool {
        let reader = FileReader { file, offset: 0 };
        let mut lines = MultiGzDecoder::new(reader).take(noted.raw_bytes + 1);
        let mut raw = Vec::new();
        if !lines.read_to_end(&mut raw).is_ok_and(|length| length as u64 == noted.raw_bytes) {
            return false;
        }
        let mut at = 0;
        noted.blocks.iter().filter(|block| !block.is_hole()).all(|block| {
            let end = at + block.raw_bytes as usize;
            let Some(part) = raw.get(at..end) else { return false };
            at = end;
            let mut found = Range::empty(block.first_seq);
            leaves(part).for_each(|leaf| found.append(leaf));
            found == block.tree
        })
    }

    /// Reads a sealed file whole. Records may be missing from it: those of `holes`, and
    /// those of which one of the log's records says that they were given up.
    pub(super) fn rescan(
        &self,
        file: &dyn FsFile,
        name: &str,
        first_seq: u64,
        holes: &[Block],
    ) -> Result<Rescanned, OpenError> {
        let found = self.rescan_with(file, name, first_seq, holes)?;
        if found.scan.bad.is_none() {
            return Ok(found);
        }
        let claimed = self.claimed_within(first_seq);
        if claimed.is_empty() {
            Ok(found)
        } else {
            self.rescan_with(file, name, first_seq, &claimed)
        }
    }

    fn rescan_with(
        &self,
        file: &dyn FsFile,
        name: &str,
        first_seq: u64,
        holes: &[Block],
    ) -> Result<Rescanned, OpenError> {
        let path = self.paths.dir.join(name);
        let failed = || io_error("read", &path);
        let base = Range::empty(first_seq);
        let packed = name.ends_with(".gz");
        let interest = Interest { holes, ..Interest::default() };
        let (scan, blocks) = if packed {
            scan::scan_compressed(file, base, interest).map_err(failed())?
        } else {
            let scan = scan::scan_plain(file, base, interest).map_err(failed())?;
            let blocks = scan.layout.blocks();
            (scan, blocks)
        };
        let damage = scan
            .bad
            .as_ref()
            .map(|bad| format!("record {} at byte {}: {}", bad.seq, bad.offset, bad.reason));
        let sha256 = if packed { Some(digest(file).map_err(failed())?.to_string()) } else { None };
        let mut segment = Segment::sealed(&scan.layout, damage);
        name.clone_into(&mut segment.file);
        segment.stored_bytes = blocks.iter().map(|block| block.stored_bytes).sum();
        (segment.blocks, segment.sha256) = (blocks, sha256);
        Ok(Rescanned { scan, segment })
    }

    /// The holes that may be in the segment which begins there: up to where the next begins.
    fn claimed_within(&self, first_seq: u64) -> Vec<Block> {
        let sealed = self.names.iter().filter_map(|name| parse_sealed_name(name));
        let next = sealed.map(|(first, _)| first).filter(|first| *first > first_seq).min();
        let next = next.unwrap_or(u64::MAX);
        let within = |hole: &&Block| hole.first_seq >= first_seq && hole.tree.end() <= next;
        self.claimed().iter().filter(within).cloned().collect()
    }

    /// The holes that any of the log's records names, wherever it stands: that counts for
    /// nothing but to find what follows one. The signed root tells whether the hashes are
    /// true, and [`Authority`] whose word it is.
    pub(super) fn claimed(&self) -> &[Block] {
        self.claimed.get_or_init(|| {
            let sealed = self.names.iter().filter(|name| parse_sealed_name(name).is_some());
            let active = "audit.log".to_owned();
            let mut claimed: Vec<Block> =
                sealed.chain([&active]).flat_map(|name| self.claimed_in(name)).collect();
            claimed.sort_by_key(|hole| hole.first_seq);
            claimed.dedup_by_key(|hole| hole.first_seq);
            claimed
        })
    }

    fn claimed_in(&self, name: &str) -> Vec<Block> {
        let path = self.paths.dir.join(name);
        let Ok(file) = self.fs.open(&path, OpenMode::ReadOwn) else { return Vec::new() };
        let reader = FileReader { file: &*file, offset: 0 };
        let mut reader: Box<dyn BufRead + '_> = if name.ends_with(".gz") {
            Box::new(BufReader::new(MultiGzDecoder::new(reader)))
        } else {
            Box::new(BufReader::with_capacity(256 << 10, reader))
        };
        let (mut claimed, mut line) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            let limit = MAX_LINE_BYTES as u64 + 1;
            // What cannot be read claims nothing.
            match reader.by_ref().take(limit).read_until(b'\n', &mut line) {
                Ok(1..) => {}
                _ => return claimed,
            }
            let Some(Said { fact: Fact::Reopened(found), at, .. }) =
                facts::said(line.trim_ascii_end())
            else {
                continue;
            };
            claimed.extend(found.holes.into_iter().filter_map(|hole| {
                let fits =
                    |tree: &Range| (tree.begin(), tree.end()) == (hole.first_seq, hole.end_seq);
                let tree = hole.tree.filter(fits)?;
                Some(Block::hole(tree, (at, at), &hole.reason))
            }));
        }
    }
}
