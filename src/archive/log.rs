//! The log beside its writer, as the archive needs it: its newest signed tree, and the
//! records of it from one on. The one place of this module that knows how the engine reads.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use crate::audit::files::examine::leaves;
use crate::audit::files::gzip::{MAX_MEMBER_BYTES, Unpacker};
use crate::audit::files::manifest::Segment;
use crate::audit::files::salvage::Piece as LeftPiece;
use crate::audit::files::segment::Block;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::Checkpoint;
use crate::audit::read::snapshot::{Blocks, Left, Part, Recent, Snapshot};
use crate::audit::tree::merkle::Range;
use crate::fsio::{FsFile, SharedFs};

use super::error::ArchiveError;
use super::layout::LogName;

/// A log as its newest checkpoint has it.
#[derive(Debug)]
pub(super) struct LogView {
    fs: SharedFs,
    dir: PathBuf,
    name: LogName,
    checkpoint: Checkpoint,
    note: String,
    public_key: String,
    keys: Keyring,
    /// The tree over what retention removed.
    removed: Range,
    /// The records of the active segment, where only they are wanted.
    recent: Option<Part>,
    /// All of it: read when something needs more than that, and of this checkpoint or a later
    /// one then.
    whole: OnceCell<Snapshot>,
}

/// Records that follow each other.
#[derive(Debug)]
pub(super) enum Piece {
    /// Lines, each with its LF.
    Lines(Lines),
    /// Records that the log does not have any more, and their hashes.
    Hole(Block),
}

/// Lines of one block.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) first_seq: u64,
    pub(crate) raw: Vec<u8>,
    /// The gzip member that holds exactly these, where the log stores one.
    pub(super) member: Option<Vec<u8>>,
}

impl LogView {
    /// Takes no lock and waits for nobody.
    pub(super) fn take(fs: &SharedFs, dir: &Path) -> Result<Self, ArchiveError> {
        let whole = Snapshot::take(fs, dir)?;
        let manifest = &whole.manifest;
        let name = LogName::new(&manifest.log_id, manifest.epoch).ok_or_else(|| {
            ArchiveError::LogDamaged(format!("{:?} is no log's id", manifest.log_id))
        })?;
        Ok(Self {
            fs: fs.clone(),
            dir: dir.to_path_buf(),
            name,
            checkpoint: whole.checkpoint.clone(),
            note: whole.note.to_string(),
            public_key: whole.verifier.to_string(),
            keys: whole.keys.clone(),
            removed: manifest.pruned.clone(),
            recent: None,
            whole: OnceCell::from(whole),
        })
    }

    /// The same where all that follows record `from` is in the active segment: the rest is
    /// looked at only when it is asked for. `None` where it is not, or where the log is another
    /// one than `known` by now.
    pub(super) fn recent(known: &Known, from: u64) -> Result<Option<Self>, ArchiveError> {
        let Some(recent) = Recent::take(&known.fs, &known.dir, from)? else { return Ok(None) };
        let is_known = recent.origin().is_some_and(|origin| {
            origin.log_id() == known.name.id() && origin.epoch() == known.name.epoch()
        });
        if !is_known {
            return Ok(None);
        }
        Ok(Some(Self {
            fs: known.fs.clone(),
            dir: known.dir.clone(),
            name: known.name.clone(),
            checkpoint: recent.checkpoint,
            note: recent.note.to_string(),
            public_key: recent.verifier.to_string(),
            keys: recent.keys,
            removed: known.removed.clone(),
            recent: Some(recent.part),
            whole: OnceCell::new(),
        }))
    }

    /// What [`Self::recent`] has to know.
    pub(super) fn known(&self) -> Known {
        let Self { fs, dir, name, .. } = self;
        let (fs, dir, name) = (fs.clone(), dir.clone(), name.clone());
        Known { fs, dir, name, removed: self.removed().clone() }
    }

    fn whole(&self) -> Result<&Snapshot, ArchiveError> {
        if let Some(whole) = self.whole.get() {
            return Ok(whole);
        }
        let whole = Snapshot::take(&self.fs, &self.dir)?;
        if whole.manifest.log_id != self.name.id() || whole.manifest.epoch != self.name.epoch() {
            return Err(ArchiveError::LogDamaged("the log was replaced meanwhile".to_owned()));
        }
        Ok(self.whole.get_or_init(|| whole))
    }

    pub(super) fn name(&self) -> &LogName {
        &self.name
    }

    pub(super) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The checkpoint's signed note.
    pub(super) fn note(&self) -> String {
        self.note.clone()
    }

    pub(super) fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// The key that signed the checkpoint.
    pub(super) fn public_key(&self) -> String {
        self.public_key.clone()
    }

    /// How many records were signed.
    pub(super) fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// The tree over what retention removed.
    pub(super) fn removed(&self) -> &Range {
        self.whole.get().map_or(&self.removed, |whole| &whole.manifest.pruned)
    }

    /// The tree over the first records; `None` where they are not all there to tell.
    pub(super) fn tree_at(&self, size: u64) -> Result<Option<Range>, ArchiveError> {
        Ok(self.whole()?.tree_at(size)?)
    }

    /// The subtree hashes of `first..end`; `None` where they cannot be told. Sealed blocks are
    /// taken at the manifest's word: whether all of it is true, the signed root says.
    pub(super) fn range(&self, first: u64, end: u64) -> Result<Option<Range>, ArchiveError> {
        let mut range = Range::empty(first);
        for part in &self.whole()?.parts {
            let until = (part.first_seq() + part.records()).min(end);
            if until <= range.end() {
                continue;
            }
            if let Part::Stored(segment) | Part::Cut { segment, .. } = part {
                for block in &segment.blocks {
                    let block_end = block.first_seq + block.records;
                    if block.first_seq == range.end() && block_end <= until {
                        if range.extend(&block.tree).is_err() {
                            return Ok(None);
                        }
                    } else if range.end() < block_end.min(until)
                        && !self.read_range(&mut range, block_end.min(until))?
                    {
                        return Ok(None);
                    }
                }
            } else if !self.read_range(&mut range, until)? {
                return Ok(None);
            }
        }
        Ok((range.end() == end).then_some(range))
    }

    /// Adds the records up to `end`, read from the files; false where a hole's hashes do not
    /// tell.
    fn read_range(&self, range: &mut Range, end: u64) -> Result<bool, ArchiveError> {
        for piece in self.pieces(range.end()) {
            match piece? {
                Piece::Lines(mut lines) => {
                    lines.cut(end);
                    leaves(&lines.raw).for_each(|leaf| range.append(leaf));
                }
                Piece::Hole(block) => {
                    let until = block.tree.end().min(end);
                    let within = block.tree.within(block.first_seq, until);
                    if within.is_none_or(|within| range.extend(&within).is_err()) {
                        return Ok(false);
                    }
                }
            }
            if range.end() >= end {
                break;
            }
        }
        Ok(range.end() == end)
    }

    /// The signed records from `from` on, in order.
    pub(super) fn pieces(&self, from: u64) -> Pieces<'_> {
        fn of<'a>(log: Option<&'a Snapshot>, parts: &'a [Part], from: u64) -> Pieces<'a> {
            Pieces { log, parts: skip(parts, from), open: None, from, back: None }
        }
        if let Some(part) = self.recent.as_ref().filter(|part| part.first_seq() <= from) {
            return of(None, std::slice::from_ref(part), from);
        }
        match self.whole() {
            Ok(whole) => of(Some(whole), &whole.parts, from),
            Err(error) => Pieces { back: Some(Err(error)), ..of(None, &[], from) },
        }
    }
}

/// The parts that hold records from `from` on.
fn skip(parts: &[Part], from: u64) -> &[Part] {
    &parts[parts.partition_point(|part| part.first_seq() + part.records() <= from)..]
}

/// What is known of a log that was looked at before.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) fs: SharedFs,
    pub(super) dir: PathBuf,
    pub(super) name: LogName,
    pub(super) removed: Range,
}

impl Lines {
    /// How many.
    pub(super) fn records(&self) -> u64 {
        memchr::memchr_iter(b'\n', &self.raw).count() as u64
    }

    /// Leaves out the records from `end` on.
    pub(super) fn cut(&mut self, end: u64) -> Option<Self> {
        let kept = end.saturating_sub(self.first_seq);
        let at = match usize::try_from(kept).ok().filter(|kept| *kept > 0) {
            None => 0,
            Some(kept) => match memchr::memchr_iter(b'\n', &self.raw).nth(kept - 1) {
                Some(at) if at + 1 < self.raw.len() => at + 1,
                _ => return None,
            },
        };
        let rest = self.raw.split_off(at);
        self.member = None;
        Some(Self { first_seq: self.first_seq.max(end), raw: rest, member: None })
    }
}

/// The pieces of a log, from a record on.
pub(super) struct Pieces<'a> {
    /// All of it; `None` where only lines of the active segment are read.
    log: Option<&'a Snapshot>,
    parts: &'a [Part],
    open: Option<Open<'a>>,
    from: u64,
    back: Option<Result<Piece, ArchiveError>>,
}

enum Open<'a> {
    Stored { file: Box<dyn FsFile>, blocks: std::vec::IntoIter<Block>, name: String },
    Lines(Blocks<'a>),
    Left(&'a Left, std::slice::Iter<'a, LeftPiece>),
}

impl Pieces<'_> {
    /// Gives a piece back: it comes next.
    pub(super) fn put_back(&mut self, piece: Piece) {
        self.back = Some(Ok(piece));
    }

    fn open_next(&mut self) -> Result<bool, ArchiveError> {
        let Some((part, rest)) = self.parts.split_first() else { return Ok(false) };
        self.parts = rest;
        self.open = Some(match (part, self.log) {
            (Part::Left(left), _) => Open::Left(left, left.pieces().iter()),
            (Part::Lines(lines), _) => {
                Open::Lines(lines.blocks_from(self.from).map_err(|error| {
                    ArchiveError::LogDamaged(format!("the log's lines: {error}"))
                })?)
            }
            (Part::Stored(segment), Some(log)) => match stored(log, segment, self.from)? {
                Some(open) => open,
                None => Open::Lines(log.blocks(part)?),
            },
            (Part::Cut { .. }, Some(log)) => Open::Lines(log.blocks_from(part, self.from)?),
            // What is read of the active segment has no other parts.
            (Part::Stored(_) | Part::Cut { .. }, None) => return Ok(false),
        });
        Ok(true)
    }

    fn next_piece(&mut self) -> Result<Option<Piece>, ArchiveError> {
        loop {
            let damaged = |name: &str, error: &dyn std::fmt::Display| {
                ArchiveError::LogDamaged(format!("{name}: {error}"))
            };
            let piece = match &mut self.open {
                None => match self.open_next()? {
                    true => continue,
                    false => return Ok(None),
                },
                Some(Open::Stored { file, blocks, name }) => match blocks.next() {
                    None => None,
                    Some(block) if block.is_hole() => Some(Piece::Hole(block)),
                    Some(block) => {
                        let failed = |error: &dyn std::fmt::Display| damaged(name, error);
                        if block.stored_bytes > MAX_MEMBER_BYTES as u64 {
                            return Err(failed(&"a block is larger than one can be"));
                        }
                        let mut member = vec![0; block.stored_bytes as usize];
                        file.read_exact_at(&mut member, block.offset)
                            .map_err(|error| failed(&error))?;
                        let mut raw = Vec::new();
                        Unpacker::new()
                            .unpack(&member, &mut raw)
                            .map_err(|error| failed(&error))?;
                        let (first_seq, member) = (block.first_seq, Some(member));
                        Some(Piece::Lines(Lines { first_seq, raw, member }))
                    }
                },
                Some(Open::Lines(blocks)) => match blocks.next() {
                    None => None,
                    Some(Err(error)) => return Err(damaged("the log's lines", &error)),
                    Some(Ok((first_seq, raw))) => {
                        Some(Piece::Lines(Lines { first_seq, raw, member: None }))
                    }
                },
                Some(Open::Left(left, pieces)) => match pieces.next() {
                    None => None,
                    Some(LeftPiece::Hole(block)) => Some(Piece::Hole(block.clone())),
                    Some(piece) => {
                        let block = piece.block();
                        let failed = |error: &dyn std::fmt::Display| {
                            damaged(&format!("record {}", block.first_seq), error)
                        };
                        let raw = left.lines(piece).map_err(|error| failed(&error))?;
                        let raw = raw.unwrap_or_default();
                        Some(Piece::Lines(Lines { first_seq: block.first_seq, raw, member: None }))
                    }
                },
            };
            match piece {
                None => self.open = None,
                Some(Piece::Lines(mut lines)) => {
                    let end = lines.first_seq + lines.records();
                    if end <= self.from {
                        continue;
                    }
                    if lines.first_seq < self.from
                        && let Some(rest) = lines.cut(self.from)
                    {
                        lines = rest;
                    }
                    return Ok(Some(Piece::Lines(lines)));
                }
                Some(Piece::Hole(block)) if block.tree.end() <= self.from => {}
                Some(Piece::Hole(block)) if block.first_seq < self.from => {
                    let tree = block.tree.within(self.from, block.tree.end()).ok_or_else(|| {
                        let from = self.from;
                        ArchiveError::LogDamaged(format!("record {from} is within a hole"))
                    })?;
                    let times = (block.min_timestamp, block.max_timestamp);
                    let why = block.hole.as_deref().unwrap_or_default();
                    return Ok(Some(Piece::Hole(Block::hole(tree, times, why))));
                }
                Some(hole) => return Ok(Some(hole)),
            }
        }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.back.take() {
            Some(piece) => Some(piece),
            None => self.next_piece().transpose(),
        }
    }
}

/// A sealed segment's blocks from a record on; `None` where somebody packed the file anew, so that
/// they are elsewhere.
fn stored<'a>(
    log: &Snapshot,
    segment: &Segment,
    from: u64,
) -> Result<Option<Open<'a>>, ArchiveError> {
    let (file, now) = log.open_segment(segment)?;
    let damaged = |what: String| ArchiveError::LogDamaged(format!("{}: {what}", now.file));
    let length = file.meta().map_err(|error| damaged(error.to_string()))?.len;
    if !now.is_compressed() || now.damage.is_none() && length != now.stored_bytes {
        return Ok(None);
    }
    let end = |block: &Block| block.first_seq + block.records;
    let blocks: Vec<Block> = now.blocks.into_iter().filter(|it| end(it) > from).collect();
    Ok(Some(Open::Stored { file, blocks: blocks.into_iter(), name: now.file }))
}
