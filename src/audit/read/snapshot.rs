//! The log as its newest checkpoint has it, read beside a running writer.
//!
//! A snapshot is exactly the tree that was signed: what came after belongs to
//! the next one. Taking it needs no lock and stops nobody. Files may be sealed,
//! compressed and removed meanwhile: plain files are held open from the start,
//! and a sealed segment that is not where it was is looked up again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::MultiGzDecoder;

use crate::audit::files::examine::{examine, leaves, part_of};
use crate::audit::files::gzip::{MAX_MEMBER_BYTES, Unpacker};
use crate::audit::files::leaves as noted_leaves;
use crate::audit::files::manifest::{Manifest, ManifestError, Segment};
use crate::audit::files::restore;
use crate::audit::files::roots::roots_at;
use crate::audit::files::salvage;
use crate::audit::files::salvage::{Piece, active};
use crate::audit::files::segment::{BLOCK_BYTES, Block};
use crate::audit::keys::checkpoint::{
    Checkpoint, CheckpointError, MAX_NOTE_BYTES, Origin, SignedCheckpoint, VerifierKey,
};
use crate::audit::keys::histories::{Contradiction, KnownHead, OwnHistory};
use crate::audit::keys::signer::KeyError;
use crate::audit::keys::{Keyring, KeysError, load_keyring};
use crate::audit::paths::LogPaths;
use crate::audit::paths::sealed_name;
use crate::audit::record;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::tree::merkle::{Hash, Range};
use crate::fsio::{FileReader, Fs, FsFile, OpenMode, SharedFs};

/// A rotation takes the writer a moment; looking again so often outlasts it.
const LOOKS: u32 = 200;
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const MAX_CHECKPOINT_BYTES: u64 = MAX_NOTE_BYTES as u64;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// No log, or one that has signed nothing yet.
    #[error("there is no log in {}: {missing} is missing", dir.display())]
    NoLog {
        /// The log directory.
        dir: PathBuf,
        /// The file that every log has.
        missing: &'static str,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The public keys cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The log's keys cannot be followed.
    #[error(transparent)]
    Keys(KeysError),
    /// The checkpoint is not one that this log's key signed.
    #[error("{}: {source}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CheckpointError,
    },
    /// The files do not reach as far as the checkpoint.
    #[error(
        "the checkpoint was signed over {size} records, but the files in {} end at record {found}",
        dir.display()
    )]
    Short {
        /// The log directory.
        dir: PathBuf,
        /// What was signed.
        size: u64,
        /// Where the files end.
        found: u64,
    },
    /// A segment that belongs to the snapshot has gone: retention removed it.
    #[error("retention removed {file} while it was needed")]
    Pruned {
        /// The segment's file.
        file: String,
    },
    /// A restore was interrupted.
    #[error(
        "a restore into {} was interrupted; the next opening of the log finishes or undoes it",
        dir.display()
    )]
    RestorePending {
        /// The log directory.
        dir: PathBuf,
    },
}

/// Records that follow each other, in one place.
#[derive(Debug)]
pub enum Part {
    /// A whole compressed segment.
    Stored(Segment),
    /// Lines of a plain file, which is held open.
    Lines(Lines),
    /// The beginning of a compressed segment, in which the checkpoint ends.
    Cut {
        /// The segment.
        segment: Segment,
        /// How many of its records belong to the snapshot.
        records: u64,
    },
    /// What is left of a segment of which some records are not here.
    Left(Left),
}

/// What is left of a segment, and the holes in it.
#[derive(Debug)]
pub struct Left {
    /// As the manifest has it.
    segment: Segment,
    file: Option<Box<dyn FsFile>>,
    pieces: Vec<Piece>,
}

impl Left {
    /// Its records that are not here.
    pub fn holes(&self) -> impl Iterator<Item = &Block> {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Hole(_))).map(Piece::block)
    }

    /// What is left, and the holes, in order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// A block as it is stored.
    ///
    /// # Errors
    /// When it cannot be read, or says that it is larger than a block can be.
    pub(crate) fn stored(&self, block: &Block) -> io::Result<Vec<u8>> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        if block.stored_bytes > MAX_MEMBER_BYTES as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut stored = vec![0; block.stored_bytes as usize];
        file.read_exact_at(&mut stored, block.offset)?;
        Ok(stored)
    }

    /// Whether what it has as it is stored is gzip members.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.segment.is_compressed()
    }

    /// A piece's lines; `None` for a hole.
    fn lines(&self, piece: &Piece) -> io::Result<Option<Vec<u8>>> {
        let block = match piece {
            Piece::Hole(_) => return Ok(None),
            Piece::Lines(_, raw) => return Ok(Some(raw.clone())),
            Piece::Stored(block) => block,
        };
        let stored = self.stored(block)?;
        if !self.is_compressed() {
            return Ok(Some(stored));
        }
        let mut raw = Vec::new();
        let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        Unpacker::new().unpack(&stored, &mut raw).map_err(damaged)?;
        Ok(Some(raw))
    }

    /// The bytes of its lines that are here.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.block().raw_bytes).sum()
    }

    /// Leaves out the records from `size` on.
    fn cut(&mut self, size: u64) -> io::Result<()> {
        let whole = self.pieces.partition_point(|piece| piece.block().tree.end() <= size);
        let rest = self.pieces.split_off(whole);
        let Some(piece) = rest.first().filter(|piece| piece.block().first_seq < size) else {
            return Ok(());
        };
        let cut = match self.lines(piece)? {
            Some(raw) => {
                let records = (size - piece.block().first_seq) as usize;
                let lines = raw.split_inclusive(|byte| *byte == b'\n').take(records);
                let raw: Vec<u8> = lines.flatten().copied().collect();
                let block = examine(&raw, piece.block().first_seq, (0, raw.len() as u64))
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                Piece::Lines(block, raw)
            }
            None => {
                let block = piece.block();
                let within = block.tree.within(block.first_seq, size);
                let within = within.ok_or_else(|| {
                    let reason = format!("the checkpoint ends at record {size}, in a hole");
                    io::Error::new(io::ErrorKind::InvalidData, reason)
                })?;
                let times = (block.min_timestamp, block.max_timestamp);
                let why = block.hole.as_deref().unwrap_or_default();
                Piece::Hole(Block::hole(within, times, why))
            }
        };
        self.pieces.push(cut);
        Ok(())
    }
}

/// Lines from a plain file's beginning on.
#[derive(Debug)]
pub struct Lines {
    file: Box<dyn FsFile>,
    /// The first record.
    pub first_seq: u64,
    /// How many.
    pub records: u64,
    bytes: u64,
}

impl Lines {
    fn new(file: Box<dyn FsFile>, first_seq: u64, records: u64) -> Self {
        let bytes = file.meta().map_or(0, |meta| meta.len);
        Self { file, first_seq, records, bytes }
    }

    /// The file's length when the snapshot was taken: what it holds at most.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Part {
    /// Its first record.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        match self {
            Self::Stored(segment) | Self::Cut { segment, .. } => segment.first_seq,
            Self::Lines(lines) => lines.first_seq,
            Self::Left(left) => left.segment.first_seq,
        }
    }

    /// Its number of records.
    #[must_use]
    pub fn records(&self) -> u64 {
        match self {
            Self::Stored(segment) => segment.records,
            Self::Lines(lines) => lines.records,
            Self::Cut { records, .. } => *records,
            Self::Left(left) => left.pieces.iter().map(|piece| piece.block().records).sum(),
        }
    }
}

/// A snapshot.
#[derive(Debug)]
pub struct Snapshot {
    fs: SharedFs,
    paths: LogPaths,
    /// What was sealed when the snapshot was taken.
    pub manifest: Manifest,
    /// The checkpoint, signed by `verifier`.
    pub checkpoint: Checkpoint,
    /// The checkpoint's signed note.
    pub note: SignedCheckpoint,
    /// The key that signed it.
    pub verifier: VerifierKey,
    /// All of the log's keys.
    pub keys: Keyring,
    /// All records from the end of what retention removed to the checkpoint's
    /// size, in order.
    pub parts: Vec<Part>,
}

impl From<KeysError> for SnapshotError {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Key(error) => Self::Key(error),
            error => Self::Keys(error),
        }
    }
}

impl Snapshot {
    /// Takes one of the log in `dir`.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn take(fs: &SharedFs, dir: &Path) -> Result<Self, SnapshotError> {
        let paths = LogPaths::new(dir);
        let mut looks = LOOKS;
        loop {
            if restore::is_pending(&**fs, &paths) {
                return Err(SnapshotError::RestorePending { dir: dir.to_path_buf() });
            }
            looks -= 1;
            match attempt(fs, &paths, false) {
                // Between sealing and noting it the files do not fit together.
                Err(SnapshotError::Short { .. } | SnapshotError::Io { .. })
                    if looks > 0 && paths.writer_runs().unwrap_or(false) =>
                {
                    std::thread::sleep(LOOK_AGAIN);
                }
                // They are damaged, unless the leaves tell what they were.
                Err(SnapshotError::Short { dir, size, found }) => {
                    return attempt(fs, &paths, true).map_err(|_| SnapshotError::Short {
                        dir,
                        size,
                        found,
                    });
                }
                done => return done,
            }
        }
    }

    /// The log's id and epoch.
    ///
    /// # Errors
    /// When the manifest's log id cannot be one.
    pub fn origin(&self) -> Result<Origin, SnapshotError> {
        origin_of(&self.manifest, &self.paths, &self.keys)
    }

    /// A stored segment's file, and the segment as it is there: the same records,
    /// possibly under another name by now.
    ///
    /// # Errors
    /// [`SnapshotError::Pruned`] when retention has removed it.
    pub fn open_segment(
        &self,
        segment: &Segment,
    ) -> Result<(Box<dyn FsFile>, Segment), SnapshotError> {
        let mut segment = segment.clone();
        for _ in 0..LOOKS {
            let path = self.paths.dir.join(&segment.file);
            match self.fs.open(&path, OpenMode::ReadOwn) {
                Ok(file) => return Ok((file, segment)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let manifest = load_manifest(&*self.fs, &self.paths)?;
                    let now =
                        manifest.segments.into_iter().find(|s| s.first_seq == segment.first_seq);
                    match now {
                        Some(now) if now.file != segment.file => segment = now,
                        Some(_) => {
                            return Err(SnapshotError::Io { action: "open", path, source: error });
                        }
                        None => return Err(SnapshotError::Pruned { file: segment.file }),
                    }
                }
                Err(source) => return Err(SnapshotError::Io { action: "open", path, source }),
            }
        }
        Err(SnapshotError::Pruned { file: segment.file })
    }

    /// The part's lines, in blocks of whole lines of about 1 MiB, by the same
    /// rule as the writer's blocks.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn blocks<'a>(&'a self, part: &'a Part) -> Result<Blocks<'a>, SnapshotError> {
        let (reader, left): (Box<dyn Read + 'a>, u64) = match part {
            Part::Left(left) => return Ok(Blocks(Inner::Left(left, left.pieces.iter()))),
            Part::Lines(lines) => {
                (Box::new(FileReader { file: &*lines.file, offset: 0 }), lines.records)
            }
            Part::Stored(segment) => self.lines_of(segment, segment.records)?,
            Part::Cut { segment, records } => self.lines_of(segment, *records)?,
        };
        let input = BufReader::with_capacity(256 * 1024, reader);
        Ok(Blocks(Inner::Lines(Gather { input, left, next_seq: part.first_seq() })))
    }

    /// The tree over the first `size` records; `None` when the snapshot has fewer,
    /// or it ends within what retention removed. Sealed segments are taken at
    /// their manifest's word, but for the one in which it ends.
    ///
    /// # Errors
    /// When a file cannot be read, or does not hold what it should.
    pub fn tree_at(&self, size: u64) -> Result<Option<Range>, SnapshotError> {
        let mut tree = self.manifest.pruned.clone();
        if size < tree.end() || size > self.checkpoint.size {
            return Ok(None);
        }
        for part in &self.parts {
            if tree.end() == size {
                break;
            }
            if let Part::Stored(segment) = part
                && segment.end_seq() <= size
            {
                segment
                    .blocks
                    .iter()
                    .try_for_each(|block| tree.extend(&block.tree))
                    .map_err(|error| self.unreadable(&segment.file, io::Error::other(error)))?;
                continue;
            }
            if let Part::Left(left) = part {
                for piece in &left.pieces {
                    let block = piece.block();
                    let failed = |error| self.unreadable(&left.segment.file, error);
                    let joined = if block.tree.end() <= size {
                        tree.extend(&block.tree).is_ok()
                    } else if tree.end() == size {
                        break;
                    } else {
                        let raw = left.lines(piece).map_err(failed)?;
                        let within = match raw {
                            Some(raw) => Some(part_of(block, &raw, block.first_seq, size)),
                            None => block.tree.within(block.first_seq, size),
                        };
                        within.is_some_and(|within| tree.extend(&within).is_ok())
                    };
                    if !joined {
                        return Ok(None);
                    }
                }
                continue;
            }
            for block in self.blocks(part)? {
                let failed = |error| self.unreadable("audit.log", error);
                let (first_seq, raw) = block.map_err(failed)?;
                for (seq, leaf) in (first_seq..size).zip(leaves(&raw)) {
                    debug_assert_eq!(seq, tree.end(), "blocks follow each other");
                    tree.append(leaf);
                }
                if tree.end() == size {
                    break;
                }
            }
        }
        Ok((tree.end() == size).then_some(tree))
    }

    /// The records that are not here, though retention did not remove them.
    pub fn holes(&self) -> impl Iterator<Item = &Block> {
        self.parts
            .iter()
            .flat_map(|part| match part {
                Part::Left(left) => left.pieces.as_slice(),
                _ => &[],
            })
            .filter(|piece| matches!(piece, Piece::Hole(_)))
            .map(Piece::block)
    }

    /// Leaves out what is damaged: the snapshot holds what is left then, and holes of which
    /// the hashes are known. False where nothing was found to be damaged.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn salvage(&mut self) -> Result<bool, SnapshotError> {
        let mut found = false;
        let mut tree = self.manifest.pruned.clone();
        for at in 0..self.parts.len() {
            let first_seq = self.parts[at].first_seq();
            let segment = self.manifest.segments.iter().find(|s| s.first_seq == first_seq);
            let left = match segment {
                Some(segment) => {
                    let left = self.left_of(segment)?;
                    for block in &segment.blocks {
                        let joined = tree.extend(&block.tree);
                        debug_assert!(joined.is_ok(), "a loaded manifest's ranges are adjacent");
                    }
                    left
                }
                None if at + 1 == self.parts.len() => self.left_of_active(&tree)?,
                None => None,
            };
            if let Some(left) = left {
                self.parts[at] = Part::Left(left);
                found = true;
            }
        }
        Ok(found)
    }

    /// `None` where all of it is there.
    fn left_of(&self, segment: &Segment) -> Result<Option<Left>, SnapshotError> {
        if !segment.is_stored() {
            return Ok(None);
        }
        let (file, segment) = match self.open_segment(segment) {
            Ok((file, now)) => (Some(file), now),
            Err(SnapshotError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound || is_damage(&source) =>
            {
                (None, segment.clone())
            }
            Err(error) => return Err(error),
        };
        let missing = file.is_none().then_some("its file is missing");
        let why = missing.or(segment.damage.as_deref());
        let failed = |error| self.unreadable(&segment.file, error);
        let pieces = salvage::pieces_of(file.as_deref(), &segment, why).map_err(failed)?;
        if salvage::is_whole(&pieces, &segment) {
            return Ok(None);
        }
        let mut left = Left { segment, file, pieces };
        let cut = left.cut(self.checkpoint.size);
        cut.map_err(|error| self.unreadable(&left.segment.file, error))?;
        Ok(Some(left))
    }

    fn left_of_active(&self, base: &Range) -> Result<Option<Left>, SnapshotError> {
        let Some(Part::Lines(lines)) = self.parts.last() else { return Ok(None) };
        let signed = (self.checkpoint.size, self.checkpoint.root);
        let noted = noted_leaves::load(&*self.fs, &self.paths, &self.manifest.log_id, base.end());
        let noted = noted.unwrap_or_default();
        let placed = active::place(base, signed, &noted, &[&*lines.file])
            .map_err(|error| self.unreadable("audit.log", error))?;
        let Some(placed) = placed else { return Ok(None) };
        let is_hole = |piece: &Piece| matches!(piece, Piece::Hole(_));
        // Lines out of their order are damage, too.
        let segment = Segment::empty(base.end(), signed.0 - base.end());
        let ordered = !placed.pieces.iter().any(is_hole) && lines.records == segment.records;
        let left = Left { segment, file: None, pieces: placed.pieces };
        if ordered && self.is_in_order(lines) {
            return Ok(None);
        }
        Ok(Some(left))
    }

    /// Whether a plain file begins with the records that it should hold.
    fn is_in_order(&self, lines: &Lines) -> bool {
        let input = BufReader::with_capacity(
            256 * 1024,
            Box::new(FileReader { file: &*lines.file, offset: 0 }) as Box<dyn Read + '_>,
        );
        let all =
            Blocks(Inner::Lines(Gather { input, left: lines.records, next_seq: lines.first_seq }));
        all.into_iter().all(|block| {
            block.is_ok_and(|(first_seq, raw)| examine(&raw, first_seq, (0, 0)).is_ok())
        })
    }

    /// Compares the log as it was signed with signed heads that are kept elsewhere,
    /// which have to be read before the snapshot is taken: those of this log that do
    /// not fit it, the gravest first.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn compare(&self, heads: &[KnownHead]) -> Result<Vec<Contradiction>, SnapshotError> {
        let manifest = &self.manifest;
        let (size, keys) = (self.checkpoint.size, &self.keys);
        let own = OwnHistory {
            log_id: &manifest.log_id,
            epoch: manifest.epoch,
            size,
            keys,
            abandoned: Some(&manifest.abandoned),
        };
        let mut sizes = own.sizes(heads);
        sizes.insert(size);
        let mut roots = roots_at(&*self.fs, &self.paths, manifest, &sizes)
            .map_err(|error| self.unreadable("", error))?;
        let sealed = manifest.end_seq();
        if size > sealed && roots.get(&size) != Some(&self.checkpoint.root) {
            // The active segment is not what this log signed itself: it is damaged, and
            // says nothing of other histories.
            roots.retain(|at, _| *at <= sealed);
        }
        Ok(own.contradictions(heads, &roots))
    }

    /// The log's roots at those sizes, as far as they can be told.
    #[must_use]
    pub fn roots(&self, sizes: &BTreeSet<u64>) -> BTreeMap<u64, Hash> {
        let sizes = sizes.iter().copied().filter(|size| *size <= self.checkpoint.size).collect();
        roots_at(&*self.fs, &self.paths, &self.manifest, &sizes).unwrap_or_default()
    }

    fn unreadable(&self, file: &str, source: io::Error) -> SnapshotError {
        SnapshotError::Io { action: "read", path: self.paths.dir.join(file), source }
    }

    fn lines_of(
        &self,
        segment: &Segment,
        records: u64,
    ) -> Result<(Box<dyn Read>, u64), SnapshotError> {
        let (file, now) = self.open_segment(segment)?;
        let reader = OwnedReader { file, offset: 0 };
        // Bounded by the lines that are asked for, each of which is bounded.
        let reader: Box<dyn Read> = if now.is_compressed() {
            Box::new(MultiGzDecoder::new(reader))
        } else {
            Box::new(reader)
        };
        Ok((reader, records))
    }
}

/// Whether the active segment's leaves are noted as those of the records from `seq` on.
fn is_noted(fs: &SharedFs, paths: &LogPaths, manifest: &Manifest, seq: u64) -> bool {
    noted_leaves::load(&**fs, paths, &manifest.log_id, seq).is_some()
}

/// Where `lenient`, the active segment is taken for what its leaves say that it is, however
/// it begins.
fn attempt(fs: &SharedFs, paths: &LogPaths, lenient: bool) -> Result<Snapshot, SnapshotError> {
    let no_log = |missing| SnapshotError::NoLog { dir: paths.dir.clone(), missing };
    let path = paths.checkpoint();
    let text = match fs.read_own(&path, MAX_CHECKPOINT_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(no_log("audit.checkpoint"));
        }
        Err(source) => return Err(SnapshotError::Io { action: "read", path, source }),
    };
    let keys = load_keyring(&**fs, paths, None)?;
    let bad = |source| SnapshotError::Checkpoint { path: path.clone(), source };
    let note = SignedCheckpoint::parse(&text).map_err(bad)?;
    let (checkpoint, verifier) = keys.verify(&note).map_err(bad)?;
    let (checkpoint, verifier) = (checkpoint.clone(), verifier.clone());
    let manifest = load_manifest(&**fs, paths)?;
    let origin = origin_of(&manifest, paths, &keys)?;
    if checkpoint.origin != origin.to_string() {
        return Err(bad(CheckpointError::OtherLog {
            origin: checkpoint.origin,
            key: origin.to_string(),
        }));
    }
    let parts = parts(fs, paths, &manifest, (checkpoint.size, lenient))?;
    let (fs, paths) = (fs.clone(), paths.clone());
    Ok(Snapshot { fs, paths, manifest, checkpoint, note, verifier, keys, parts })
}

fn load_manifest(fs: &dyn Fs, paths: &LogPaths) -> Result<Manifest, SnapshotError> {
    Manifest::load(fs, &paths.manifest())?.ok_or_else(|| SnapshotError::NoLog {
        dir: paths.dir.clone(),
        missing: "audit.manifest.json",
    })
}

fn origin_of(
    manifest: &Manifest,
    paths: &LogPaths,
    keys: &Keyring,
) -> Result<Origin, SnapshotError> {
    Origin::of_key(keys.newest().name(), &manifest.log_id, manifest.epoch).map_err(|error| {
        SnapshotError::Manifest(ManifestError::Invalid {
            path: paths.manifest(),
            reason: error.to_string(),
        })
    })
}

fn parts(
    fs: &SharedFs,
    paths: &LogPaths,
    manifest: &Manifest,
    (size, lenient): (u64, bool),
) -> Result<Vec<Part>, SnapshotError> {
    let mut parts = Vec::new();
    for segment in &manifest.segments {
        let records = segment.end_seq().min(size).saturating_sub(segment.first_seq);
        if records == 0 {
            break;
        }
        if segment.holes().next().is_some() {
            parts.push(Part::Left(with_holes(fs, paths, segment, size)?));
            continue;
        }
        parts.push(match (segment.is_compressed(), records == segment.records) {
            (true, true) => Part::Stored(segment.clone()),
            (true, false) => Part::Cut { segment: segment.clone(), records },
            (false, _) => match open(fs, &paths.dir.join(&segment.file))? {
                Some(file) => Part::Lines(Lines::new(file, segment.first_seq, records)),
                // Compressed since the manifest was read: looked up when needed.
                None => Part::Cut { segment: segment.clone(), records },
            },
        });
    }
    let mut next = manifest.end_seq();
    while next < size {
        let sealed = open(fs, &paths.dir.join(sealed_name(next, false)))?;
        let (file, until) = match sealed {
            // Sealed, and not in the manifest yet.
            Some(file) => {
                let end = next + count_lines(&*file, paths, next)?;
                (file, end.min(size))
            }
            None => match open(fs, &paths.active())? {
                Some(file) if first_seq(&*file) == Some(next) => (file, size),
                Some(file) if lenient && is_noted(fs, paths, manifest, next) => (file, size),
                _ => return Err(short(paths, size, next)),
            },
        };
        if until == next {
            return Err(short(paths, size, next));
        }
        parts.push(Part::Lines(Lines::new(file, next, until - next)));
        next = until;
    }
    Ok(parts)
}

/// A segment that has holes by the manifest's word.
fn with_holes(
    fs: &SharedFs,
    paths: &LogPaths,
    segment: &Segment,
    size: u64,
) -> Result<Left, SnapshotError> {
    let path = paths.dir.join(&segment.file);
    let file = if segment.is_stored() { open(fs, &path)? } else { None };
    let as_piece = |block: &Block| match block.is_hole() {
        true => Piece::Hole(block.clone()),
        false => Piece::Stored(block.clone()),
    };
    let pieces = segment.blocks.iter().map(as_piece).collect();
    let mut left = Left { segment: segment.clone(), file, pieces };
    left.cut(size).map_err(|source| SnapshotError::Io { action: "read", path, source })?;
    Ok(left)
}

/// Whether it is what stands there that is at fault.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, IsADirectory};
    matches!(error.kind(), InvalidData | InvalidInput | IsADirectory)
}

fn short(paths: &LogPaths, size: u64, found: u64) -> SnapshotError {
    SnapshotError::Short { dir: paths.dir.clone(), size, found }
}

fn open(fs: &SharedFs, path: &Path) -> Result<Option<Box<dyn FsFile>>, SnapshotError> {
    match fs.open(path, OpenMode::ReadOwn) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SnapshotError::Io { action: "open", path: path.to_path_buf(), source }),
    }
}

fn first_seq(file: &dyn FsFile) -> Option<u64> {
    let mut start = [0; 64];
    let read = file.read_at(&mut start, 0).ok()?;
    record::peek_seq(&start[..read])
}

fn count_lines(file: &dyn FsFile, paths: &LogPaths, seq: u64) -> Result<u64, SnapshotError> {
    let mut reader = FileReader { file, offset: 0 };
    let mut buffer = vec![0; 256 * 1024];
    let mut lines = 0;
    loop {
        let read = reader.read(&mut buffer).map_err(|source| SnapshotError::Io {
            action: "read",
            path: paths.sealed(seq),
            source,
        })?;
        if read == 0 {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64;
    }
}

struct OwnedReader {
    file: Box<dyn FsFile>,
    offset: u64,
}

impl Read for OwnedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// The lines of a part, block by block; what is not here is left out.
pub struct Blocks<'a>(Inner<'a>);

enum Inner<'a> {
    Lines(Gather<'a>),
    Left(&'a Left, std::slice::Iter<'a, Piece>),
}

struct Gather<'a> {
    input: BufReader<Box<dyn Read + 'a>>,
    left: u64,
    next_seq: u64,
}

impl std::fmt::Debug for Blocks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").finish_non_exhaustive()
    }
}

impl Iterator for Blocks<'_> {
    /// The first record and the lines, each with its LF.
    type Item = io::Result<(u64, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Lines(gather) => (gather.left > 0)
                .then(|| gather.gather())
                .inspect(|block| gather.left = if block.is_ok() { gather.left } else { 0 }),
            Inner::Left(left, pieces) => {
                let piece = pieces.find(|piece| !matches!(piece, Piece::Hole(_)))?;
                let raw = left.lines(piece);
                Some(raw.map(|raw| (piece.block().first_seq, raw.unwrap_or_default())))
            }
        }
    }
}

impl Gather<'_> {
    fn gather(&mut self) -> io::Result<(u64, Vec<u8>)> {
        let first_seq = self.next_seq;
        let mut raw = Vec::with_capacity(BLOCK_BYTES as usize + 64 * 1024);
        while self.left > 0 && (raw.len() as u64) < BLOCK_BYTES {
            let before = raw.len();
            let mut line = (&mut self.input).take(MAX_LINE_BYTES as u64 + 1);
            line.read_until(b'\n', &mut raw)?;
            if raw.len() == before || raw.last() != Some(&b'\n') {
                let reason = format!("record {} is not whole", self.next_seq);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
            }
            self.left -= 1;
            self.next_seq += 1;
        }
        Ok((first_seq, raw))
    }
}
