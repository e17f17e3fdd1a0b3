//! What is given up when corruption is accepted: the damaged records, and nothing
//! else. What is left of a sealed segment is told by the hashes that the manifest has of
//! its blocks, what is left of the active one by `audit.leaves`; in both cases only
//! hashes count that together give the signed root.

use std::io;

use super::error::io_error;
use super::heads::{Head, SignedRoot};
use super::inspect::Evidence;
use super::opened::Aside;
use super::rebuild::is_unusable;
use super::records::{Reached, Records, Scanned};
use super::{OpenError, Opening, copy_to_new};
use crate::audit::files::examine::examine;
use crate::audit::files::facts::{Fact, said};
use crate::audit::files::leaves;
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::salvage;
use crate::audit::files::salvage::Piece;
use crate::audit::files::salvage::active;
use crate::audit::files::salvage::active::{Lines, Placed, line_at};
use crate::audit::files::scan::{Interest, Scan, is_as_written, scan_plain};
use crate::audit::files::segment::Block;
use crate::audit::paths::{parse_sealed_name, sealed_name};
use crate::audit::record;
use crate::audit::tree::merkle::Range;
use crate::fsio::{FsFile, OpenMode, temporary_name};

/// What is given up, and what is left.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    /// Sealed segments of which something is damaged.
    segments: Vec<Left>,
    /// The active segment.
    active: Option<Vec<Piece>>,
    /// Holes that the manifest has already, and no record names.
    names_holes: bool,
}

/// What is left of a segment.
#[derive(Debug)]
struct Left {
    /// The first record that it had.
    first_seq: u64,
    pieces: Vec<Piece>,
}

impl GivenUp {
    pub(super) fn is_nothing(&self) -> bool {
        self.segments.is_empty() && self.active.is_none() && !self.names_holes
    }

    pub(super) fn is_of_active(&self) -> bool {
        self.active.is_some()
    }
}

impl Opening<'_> {
    /// Looks into all sealed segments, and says what is left of the active one where that
    /// does not fit the signed root. `records` are then as they will be: the active segment
    /// sealed, and a new one begun.
    pub(super) fn give_up(
        &self,
        evidence: &Evidence,
        records: &mut Records,
    ) -> Result<GivenUp, OpenError> {
        let mut given_up =
            GivenUp { names_holes: evidence.has_unnamed_holes(), ..GivenUp::default() };
        let Some(head) = &evidence.head else { return Ok(given_up) };
        let noted = records.manifest.segments.clone();
        for segment in records.manifest.segments.all_mut() {
            if !segment.is_stored() {
                continue;
            }
            let pieces = self.left_of(segment)?;
            let length = self.fs.entry(&self.paths.dir.join(&segment.file)).map(|meta| meta.len);
            let as_noted = length.is_ok_and(|length| length == segment.stored_bytes);
            if !as_noted || !salvage::is_whole(&pieces, segment) {
                given_up.segments.push(Left { first_seq: segment.first_seq, pieces });
            }
            segment.damage = None;
        }
        if !records.have_root_of(head) && head.checkpoint.size > records.base.end() {
            given_up.active = self.place_active(records, head)?;
        }
        let is_placed = given_up.active.is_some() || records.have_root_of(head);
        if !is_placed && !evidence.was_signed {
            // Hashes that nobody signed, and that do not give the signed root, say nothing
            // of what is left.
            given_up.segments.clear();
            records.manifest.segments = noted;
        }
        Ok(given_up)
    }

    fn left_of(&self, segment: &Segment) -> Result<Vec<Piece>, OpenError> {
        let path = self.paths.dir.join(&segment.file);
        let (file, why) = match self.fs.open(&path, OpenMode::ReadOwn) {
            Ok(file) => (Some(file), segment.damage.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (None, Some("its file is missing".to_owned()))
            }
            Err(error) if is_unusable(&error) => (None, Some(error.to_string())),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        salvage::pieces_of(file.as_deref(), segment, why.as_deref())
            .map_err(io_error("read", &path))
    }

    /// What is left of the active segment, by leaf hashes that give the signed root;
    /// `None` where there are none such.
    fn place_active(
        &self,
        records: &mut Records,
        head: &Head,
    ) -> Result<Option<Vec<Piece>>, OpenError> {
        let signed = head.checkpoint.size;
        let base = records.base.clone();
        let first = base.end();
        let noted = leaves::load(self.fs, self.paths, &records.manifest.log_id, first);
        let noted = noted.unwrap_or_default();
        // Where an opening like this one was interrupted, part of it has its sealed name.
        let path = self.paths.active();
        let mut files: Vec<&dyn FsFile> = Vec::new();
        files.extend(records.active.as_ref().map(|active| &*active.file));
        let sealed = self.fs.open(&self.paths.sealed(first), OpenMode::ReadOwn).ok();
        files.extend(sealed.as_deref());
        let failed = io_error("read", &path);
        let goal = (signed, head.checkpoint.root);
        let placed = active::place(&base, goal, &noted, &files).map_err(failed)?;
        let Some(placed) = placed else { return Ok(None) };
        let Placed { mut pieces, tree, lines } = placed;
        let last = match pieces.last() {
            Some(Piece::Lines(_, raw)) => raw.trim_ascii_end().rsplit(|b| *b == b'\n').next(),
            _ => None,
        };
        let closed = last.and_then(said).is_some_and(|said| said.fact == Fact::Closed);
        let tail = if closed { Vec::new() } else { unsigned_tail(&files, &lines, signed) };
        let since = examine(&tail, signed, (0, tail.len() as u64)).ok();
        let since = since.filter(|block| block.records > 0);
        let range = since.as_ref().map_or(Range::empty(signed), |block| block.tree.clone());
        if let Some(block) = since {
            pieces.push(Piece::Lines(block, tail));
        }
        // As it will be.
        let segment = provisional(first, &pieces);
        records.manifest.segments.push(segment);
        records.base = records.manifest.tree()?;
        records.reached = Some(Reached { tree, since: range });
        records.forget_active();
        Ok(Some(pieces))
    }

    /// Makes the files what was decided, up to the manifest, which is changed as well.
    /// What was damaged stays beside them; where the active segment is kept, it says.
    pub(super) fn store_given_up(
        &self,
        given_up: GivenUp,
        records: &mut Records,
    ) -> Result<Option<Aside>, OpenError> {
        let Records { manifest, active, .. } = records;
        let stamp = self.options.clock.now().file_stamp();
        let taken = |path: &std::path::Path| self.fs.entry(path).is_ok();
        let synced = || self.fs.sync_dir(&self.paths.dir);
        let mut kept = None;
        if let (Some(_), Some(Scanned { file, .. })) = (&given_up.active, active) {
            let length = file.meta().map_err(io_error("look at", &self.paths.active()))?.len;
            if length > 0 {
                let aside = self.paths.aside("damaged", &stamp, taken);
                copy_to_new(self.fs, &**file, 0, length, &aside)
                    .and_then(|_| synced())
                    .map_err(io_error("write", &aside))?;
                kept = Some(Aside { bytes: length, file: name_of(&aside) });
            }
        }
        let first_seq = manifest.last_first_seq();
        let of_active = given_up.active.map(|pieces| Left { first_seq, pieces });
        for Left { first_seq, pieces } in given_up.segments.into_iter().chain(of_active) {
            let Some(segment) = manifest.segments.beginning_at(first_seq) else { continue };
            let path = self.paths.dir.join(&segment.file);
            let failed = || io_error("make anew", &path);
            let there = self.fs.open(&path, OpenMode::ReadOwn).ok();
            if let Some(file) = &there {
                let aside = self.paths.aside_of(&segment.file, "damaged", &stamp, taken);
                let length = file.meta().map_err(failed())?.len;
                copy_to_new(self.fs, &**file, 0, length, &aside)
                    .and_then(|_| synced())
                    .map_err(io_error("write", &aside))?;
            }
            let anew = self.write_anew(segment, &pieces, there.as_deref()).map_err(failed())?;
            manifest.segments.replace(anew);
        }
        Ok(kept)
    }

    /// Writes what is left of a segment in its file's place.
    fn write_anew(
        &self,
        segment: &Segment,
        pieces: &[Piece],
        from: Option<&dyn FsFile>,
    ) -> io::Result<Segment> {
        if pieces.iter().all(|piece| matches!(piece, Piece::Hole(_))) {
            let blocks = pieces.iter().map(|piece| piece.block().clone()).collect();
            return Ok(segment.of_blocks(sealed_name(segment.first_seq, false), blocks));
        }
        let path = self.paths.dir.join(&segment.file);
        let temporary = temporary_name(&path);
        let out = self.fs.open(&temporary, OpenMode::CreateNew)?;
        let level = segment.is_compressed().then_some(self.options.compression_level);
        let stored = salvage::store(pieces, from, level, &*out);
        let (blocks, sha256) = stored.inspect_err(|_| {
            let _ = self.fs.remove(&temporary);
        })?;
        out.sync_data()?;
        self.fs.rename(&temporary, &path)?;
        self.fs.sync_dir(&self.paths.dir)?;
        let made = segment.of_blocks(segment.file.clone(), blocks);
        Ok(Segment { sha256: level.map(|_| sha256), ..made })
    }

    /// Whether what has the sealed name that follows is a part of what the active file
    /// holds, left by an opening that was interrupted while it gave up records.
    pub(super) fn is_half_given_up(&self, log_id: &str, first_seq: u64) -> bool {
        self.options.accept_corruption
            && leaves::load(self.fs, self.paths, log_id, first_seq).is_some_and(|l| !l.is_empty())
    }

    /// Files of segments of which nothing is left: they were copied aside.
    pub(super) fn clear_given_up(&self, manifest: &Manifest) {
        for segment in manifest.segments.iter().filter(|segment| !segment.is_stored()) {
            for packed in [false, true] {
                let name = sealed_name(segment.first_seq, packed);
                if parse_sealed_name(&name).is_some() {
                    let _ = self.fs.remove(&self.paths.dir.join(name));
                }
            }
        }
    }
}

fn name_of(path: &std::path::Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The segment that the pieces will be, before they have their places in a file.
fn provisional(first_seq: u64, pieces: &[Piece]) -> Segment {
    let mut offset = 0;
    let placed = |piece: &Piece| {
        let block = Block { offset, ..piece.block().clone() };
        offset += block.stored_bytes;
        block
    };
    let blocks: Vec<Block> = pieces.iter().map(placed).collect();
    let records = blocks.iter().map(|block| block.records).sum();
    Segment::empty(first_seq, records).of_blocks(sealed_name(first_seq, false), blocks)
}

/// Well-formed records that follow what was signed, each with its LF.
fn unsigned_tail(files: &[&dyn FsFile], lines: &Lines, signed: u64) -> Vec<u8> {
    let mut tail = Vec::new();
    for seq in signed.. {
        let Some([only]) = lines.get(&seq).map(Vec::as_slice) else { break };
        let Ok(line) = line_at(files, only) else { break };
        if record::check_line(&line) != Ok(seq) || !is_as_written(&line) {
            break;
        }
        tail.extend_from_slice(&line);
        tail.push(b'\n');
    }
    tail
}

/// The active segment's records up to the largest of those sizes at which they have the
/// root that was signed: what is kept where nothing tells which record is damaged.
pub(super) fn proven_part(
    active: &Scanned,
    base: &Range,
    heads: &[SignedRoot],
) -> io::Result<Option<Scan>> {
    let file = &*active.file;
    let sizes: Vec<u64> = heads.iter().map(|head| head.size).collect();
    let scan = scan_plain(file, base.clone(), Interest::watch(&sizes))?;
    let is_signed = |tree: &Range| {
        let size = tree.end();
        tree.root().is_ok_and(|root| heads.contains(&SignedRoot { size, root }))
    };
    let proven = scan.watched.iter().filter(|(tree, _)| is_signed(tree));
    let Some(size) = proven.map(|(tree, _)| tree.end()).max() else { return Ok(None) };
    let interest = Interest { until: Some(size), leaves: true, ..Interest::default() };
    scan_plain(file, base.clone(), interest).map(Some)
}
