//! Reading an archive whole: every member decompressed, every line looked at,
//! every hash computed. What a backup is worth is decided here, and nowhere
//! else: after it was written, before it is restored, and whenever somebody asks.
//!
//! Members are decompressed and hashed in parallel, a few at a time, so that
//! memory stays bounded whatever the archive's size; the file is read once, in
//! order.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::digest::{Digester, Digests};
use super::error::{ArchiveFault, BackupError, io_error};
use super::hole::Hole;
use super::joined::Reach;
use super::marker::Marker;
use super::metadata::{Metadata, Stretch};
use crate::audit::files::examine::{examine, part_of};
use crate::audit::files::facts;
use crate::audit::files::facts::Facts;
use crate::audit::files::gzip::Unpacker;
use crate::audit::files::segment::Block;
use crate::audit::keys::Keyring;
use crate::audit::read::verify::Activity;
use crate::audit::read::watch::Watch;
use crate::audit::record::{peek_seq, peek_times};
use crate::audit::tree::merkle::{Hash, Range};
use crate::clock::Timestamp;
use crate::fsio::FsFile;

/// A group of members in flight holds at most so many compressed bytes.
const GROUP_BYTES: u64 = 8 << 20;

/// An archive to be read: its file, and how it is divided.
pub(crate) struct Source<'a> {
    pub(crate) file: &'a dyn FsFile,
    pub(crate) path: &'a Path,
    pub(crate) stretches: &'a [Stretch],
    /// The tree over everything before the first record.
    pub(crate) pruned: &'a Range,
    /// Records in between that it does not hold, in order.
    pub(crate) holes: &'a [Hole],
    pub(crate) before: Before<'a>,
}

/// What is known of the records before those of the archive itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Before<'a> {
    /// Retention removed them, which a signed record says.
    Removed,
    /// Other archives hold them, which are not read with it.
    InBases,
    /// These archives hold them, whose stretches come first; its own records stand behind
    /// this tree.
    Joined { bases: &'a [Reach], tree: &'a Range },
}

impl Source<'_> {
    fn bases(&self) -> &[Reach] {
        match self.before {
            Before::Joined { bases, .. } => bases,
            Before::Removed | Before::InBases => &[],
        }
    }

    /// The archive that a stretch is of, and where that begins in what is read.
    fn archive_of(&self, stretch: usize) -> (&Path, u64, u64) {
        let bases = self.bases();
        let at = bases.partition_point(|base| base.stretches <= stretch);
        let path = bases.get(at).map_or(self.path, |base| &base.path);
        let begin = at.checked_sub(1).map_or(0, |before| bases[before].end);
        (path, begin, bases[..at].iter().map(|base| base.members).sum())
    }
}

/// Hashes that are wanted on the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The trees over the first so many records.
    pub(crate) sizes: Vec<u64>,
    /// The ranges of these records.
    pub(crate) ranges: Vec<(u64, u64)>,
    /// The tree up to the first record that was accepted after this.
    pub(crate) until: Option<Timestamp>,
    /// What the records say, counted.
    pub(crate) activity: bool,
}

/// What an archive holds.
#[derive(Debug)]
pub(crate) struct Content {
    /// The blocks of each stretch, their offsets counted from its beginning.
    pub(crate) blocks: Vec<Vec<Block>>,
    /// The tree over everything, from seq 0.
    pub(crate) tree: Range,
    pub(crate) raw_bytes: u64,
    pub(crate) raw_sha256: Hash,
    /// Of the whole file, the marker included.
    pub(crate) digests: Digests,
    pub(crate) marker: Marker,
    /// The tree over everything before the first record that was read.
    pub(crate) pruned: Range,
    /// Whether its bases were read with it.
    pub(crate) is_joined: bool,
    /// The wanted trees, by size; those that lie within what was pruned are not there.
    pub(crate) trees: BTreeMap<u64, Range>,
    /// The wanted ranges that could be had.
    pub(crate) ranges: BTreeMap<(u64, u64), Range>,
    /// The first record that was accepted after the time that was asked for.
    pub(crate) first_after: Option<u64>,
    /// What the log's own records in it say.
    pub(crate) said: Facts,
    /// What all of them say, where that was wanted.
    pub(crate) activity: Option<Activity>,
}

impl Content {
    /// The earliest and latest `timestamp`.
    pub(crate) fn times(&self) -> (Timestamp, Timestamp) {
        let blocks = || self.blocks.iter().flatten();
        let min = blocks().map(|block| block.min_timestamp).min();
        let max = blocks().map(|block| block.max_timestamp).max();
        (min.unwrap_or_default(), max.unwrap_or_default())
    }
}

/// Whether the content is what the metadata says, in everything that it says.
///
/// # Errors
/// What is different.
pub(crate) fn agrees(content: &Content, metadata: &Metadata) -> Result<(), ArchiveFault> {
    let archive = &metadata.archive;
    if content.is_joined {
        // Each stretch was compared with its own SHA-256, and all records with the root.
        let same = content.marker.root_hash == metadata.root_hash
            && content.tree.end() == metadata.range.tree_size
            && content.marker.log_id == metadata.log.id
            && content.marker.epoch == metadata.log.epoch;
        return if same { Ok(()) } else { Err(not_of_one()) };
    }
    if content.digests != archive.digests {
        return Err(ArchiveFault::Checksum {
            expected: archive.digests.sha256.to_string(),
            found: content.digests.sha256.to_string(),
        });
    }
    let same = content.raw_sha256 == archive.raw_sha256
        && content.raw_bytes == archive.raw_bytes
        && content.marker.root_hash == metadata.root_hash
        && content.tree.end() == metadata.range.tree_size
        && content.marker.log_id == metadata.log.id
        && content.marker.epoch == metadata.log.epoch
        && content.times() == (metadata.range.min_timestamp, metadata.range.max_timestamp);
    if same {
        return Ok(());
    }
    Err(not_of_one())
}

fn not_of_one() -> ArchiveFault {
    ArchiveFault::Marker("archive and metadata belong to different backups".to_owned())
}

/// Whether these keys lead from the first one that the records name to the one that
/// signs. Without that nobody who has only an older key could check the backup, and a
/// log that is restored from it would not open.
///
/// # Errors
/// What is missing.
pub(crate) fn leads(content: &Content, tree: &Range, keys: &Keyring) -> Result<(), String> {
    match content.said.authority(tree.end()).keys.lacking(keys) {
        None => Ok(()),
        Some(what) => Err(what),
    }
}

/// Sees each member's bytes as they are stored, before they are known to be good:
/// the stretch's number, and the bytes.
pub(crate) type Tap<'a> = &'a mut dyn FnMut(usize, &[u8]) -> Result<(), BackupError>;

/// One member's place.
#[derive(Clone, Copy)]
struct Place {
    stretch: usize,
    /// In its archive, counted from 0.
    number: u64,
    offset: u64,
    /// Where its archive begins in what is read.
    begin: u64,
    /// From the stretch's beginning.
    within: u64,
    bytes: usize,
}

struct Opened {
    block: Block,
    raw: Vec<u8>,
    activity: Option<Activity>,
}

/// Reads the archive to its end.
///
/// # Errors
/// The first thing that is wrong with it; a read error; an interruption.
pub(crate) fn read(
    source: &Source<'_>,
    wanted: &Wanted,
    watch: &dyn Watch,
    tap: Tap<'_>,
) -> Result<Content, BackupError> {
    let fault = |(stretch, what)| {
        let path = source.archive_of(stretch).0.to_path_buf();
        BackupError::Archive { path, what }
    };
    let length = source.file.meta().map_err(io_error("look at", source.path))?.len;
    let places = places(source);
    let mut pass = Pass::new(source, wanted);
    let mut waiting: Vec<Opened> = Vec::new();
    let mut at = 0;
    while at < places.len() {
        if watch.interrupted() {
            return Err(BackupError::Interrupted);
        }
        let group = group(&places[at..]);
        at += group.len();
        let bytes = pass.take_in(group, length, tap)?;
        watch.advance(bytes.len() as u64);
        let begin = group[0].offset;
        let (raw_hash, stretches) = (&mut pass.raw_hash, source.stretches);
        let counts = wanted.activity;
        // The lines' own checksum is one long chain: it runs beside the rest.
        let ((), opened) = rayon::join(
            || waiting.drain(..).for_each(|member| raw_hash.update(&member.raw)),
            || {
                group
                    .par_iter()
                    .map_init(Unpacker::new, |unpacker, place| {
                        let from = (place.offset - begin) as usize;
                        let member = &bytes[from..from + place.bytes];
                        open(unpacker, place, member, (stretches, counts))
                            .map_err(|what| (place.stretch, what))
                    })
                    .collect::<Result<Vec<Opened>, (usize, ArchiveFault)>>()
            },
        );
        for (place, mut member) in group.iter().zip(opened.map_err(fault)?) {
            pass.add(place, &member).map_err(|what| fault((place.stretch, what)))?;
            if let Some((all, more)) = pass.activity.as_mut().zip(member.activity.take()) {
                all.merge(more);
            }
            waiting.push(member);
        }
    }
    waiting.drain(..).for_each(|member| pass.raw_hash.update(&member.raw));
    pass.finish(length)
}

fn places(source: &Source<'_>) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for (stretch, part) in source.stretches.iter().enumerate() {
        let (_, begin, before) = source.archive_of(stretch);
        let mut within = 0;
        for bytes in &part.members {
            let number = places.len() as u64 - before;
            let offset = part.offset + within;
            places.push(Place { stretch, number, offset, begin, within, bytes: *bytes as usize });
            within += u64::from(*bytes);
        }
    }
    places
}

/// As many as the threads are busy with for a while, and memory has room for.
fn group(places: &[Place]) -> &[Place] {
    let most = 4 * rayon::current_num_threads().clamp(1, 8);
    let mut bytes = 0;
    let count = places
        .iter()
        .take(most)
        .take_while(|place| {
            bytes += place.bytes as u64;
            bytes <= GROUP_BYTES
        })
        .count();
    &places[..count.max(1)]
}

fn open(
    unpacker: &mut Unpacker,
    place: &Place,
    member: &[u8],
    (stretches, counts): (&[Stretch], bool),
) -> Result<Opened, ArchiveFault> {
    let fault = |reason: String| ArchiveFault::Member {
        member: place.number,
        offset: place.offset - place.begin,
        reason,
    };
    let mut raw = Vec::new();
    unpacker.unpack(member, &mut raw).map_err(|error| fault(error.to_string()))?;
    // Whether that is the seq which belongs here is asked when all are in order.
    let first_seq = peek_seq(&raw).ok_or_else(|| fault("it holds no records".to_owned()))?;
    if first_seq < stretches[place.stretch].first_seq {
        return Err(fault(format!("record {first_seq} is in an earlier segment")));
    }
    let stored = (place.within, member.len() as u64);
    let block = examine(&raw, first_seq, stored).map_err(|error| fault(error.to_string()))?;
    let activity = counts.then(|| Activity::of(&raw, first_seq, u64::MAX));
    Ok(Opened { block, raw, activity })
}

struct Pass<'a> {
    source: &'a Source<'a>,
    wanted: &'a Wanted,
    digester: Digester,
    stretch_hash: Sha256,
    raw_hash: Sha256,
    blocks: Vec<Vec<Block>>,
    tree: Range,
    raw_bytes: u64,
    trees: BTreeMap<u64, Range>,
    ranges: BTreeMap<(u64, u64), Range>,
    first_after: Option<u64>,
    said: Facts,
    activity: Option<Activity>,
    /// How many of the holes have been passed.
    passed: usize,
}

impl<'a> Pass<'a> {
    fn new(source: &'a Source<'a>, wanted: &'a Wanted) -> Self {
        let tree = source.pruned.clone();
        let ranges = wanted.ranges.iter().filter_map(|&(begin, end)| {
            let known = within_pruned(source.pruned, begin, end)?;
            Some(((begin, end), known))
        });
        let ranges = ranges.collect();
        let mut pass = Self {
            source,
            wanted,
            digester: Digester::default(),
            stretch_hash: Sha256::new(),
            raw_hash: Sha256::new(),
            blocks: vec![Vec::new(); source.stretches.len()],
            tree,
            raw_bytes: 0,
            trees: BTreeMap::new(),
            ranges,
            first_after: None,
            said: Facts::default(),
            activity: wanted.activity.then(Activity::default),
            passed: 0,
        };
        pass.note_size();
        pass
    }

    /// The stored bytes of a group, read in one go.
    fn take_in(
        &mut self,
        group: &[Place],
        length: u64,
        tap: Tap<'_>,
    ) -> Result<Vec<u8>, BackupError> {
        let begin = group[0].offset;
        let total: usize = group.iter().map(|place| place.bytes).sum();
        let mut bytes = vec![0; total];
        if begin + total as u64 > length {
            let expected = begin + total as u64;
            return Err(self.fault(ArchiveFault::Length { expected, found: length }));
        }
        let failed = io_error("read", self.source.path);
        self.source.file.read_exact_at(&mut bytes, begin).map_err(failed)?;
        self.digester.update(&bytes);
        let mut at = 0;
        for place in group {
            let member = &bytes[at..at + place.bytes];
            at += place.bytes;
            tap(place.stretch, member)?;
            self.stretch_hash.update(member);
            let stretch = &self.source.stretches[place.stretch];
            if place.within + member.len() as u64 == stretch.stored_bytes {
                let found = Hash::from_bytes(self.stretch_hash.finalize_reset().into());
                if found != stretch.sha256 {
                    let (expected, found) = (stretch.sha256.to_string(), found.to_string());
                    let what = ArchiveFault::Checksum { expected, found };
                    let path = self.source.archive_of(place.stretch).0.to_path_buf();
                    return Err(BackupError::Archive { path, what });
                }
            }
        }
        Ok(bytes)
    }

    fn fault(&self, what: ArchiveFault) -> BackupError {
        BackupError::Archive { path: self.source.path.to_path_buf(), what }
    }

    fn add(&mut self, place: &Place, member: &Opened) -> Result<(), ArchiveFault> {
        let Opened { block, raw, .. } = member;
        self.pass_holes(block.first_seq);
        let fault = |reason: String| ArchiveFault::Member {
            member: place.number,
            offset: place.offset - place.begin,
            reason,
        };
        if block.first_seq != self.tree.end() {
            let (found, expected) = (block.first_seq, self.tree.end());
            return Err(fault(format!("record {found} where record {expected} should be")));
        }
        let end = block.first_seq + block.records;
        if let (Some(until), None) = (self.wanted.until, self.first_after) {
            self.first_after = first_accepted_after(block, raw, until);
        }
        let sizes = self.wanted.sizes.iter().copied().chain(self.first_after);
        for size in sizes.filter(|size| (block.first_seq..end).contains(size)) {
            if !self.trees.contains_key(&size) {
                let mut tree = self.tree.clone();
                join(&mut tree, &part_of(block, raw, block.first_seq, size));
                self.trees.insert(size, tree);
            }
        }
        for &(begin, until) in &self.wanted.ranges {
            if begin < end && block.first_seq < until {
                let part = part_of(block, raw, begin, until);
                match self.ranges.get_mut(&(begin, until)) {
                    // Behind a hole of which too little is known it cannot be had.
                    Some(known) => drop(known.extend(&part)),
                    None if part.begin() == begin => {
                        self.ranges.insert((begin, until), part);
                    }
                    // Its beginning was pruned, in another division.
                    None => {}
                }
            }
        }
        facts::said_in(raw).into_iter().for_each(|said| self.said.note(said));
        join(&mut self.tree, &block.tree);
        self.raw_bytes += block.raw_bytes;
        self.blocks[place.stretch].push(block.clone());
        self.note_size();
        Ok(())
    }

    /// Passes over the records in front of record `to` that are known not to be here.
    fn pass_holes(&mut self, to: u64) {
        while let Some(hole) = self.source.holes.get(self.passed)
            && hole.tree.begin() == self.tree.end()
            && hole.tree.begin() < to
        {
            self.passed += 1;
            let (begin, end) = (hole.tree.begin(), hole.tree.end());
            for size in self.wanted.sizes.iter().filter(|size| (begin + 1..end).contains(size)) {
                let mut tree = self.tree.clone();
                if let Some(within) = hole.tree.within(begin, *size) {
                    join(&mut tree, &within);
                    self.trees.insert(*size, tree);
                }
            }
            for &(from, until) in &self.wanted.ranges {
                let part = (from.max(begin), until.min(end));
                if part.0 < part.1
                    && let Some(part) = hole.tree.within(part.0, part.1)
                {
                    match self.ranges.get_mut(&(from, until)) {
                        Some(known) => drop(known.extend(&part)),
                        None if part.begin() == from => {
                            self.ranges.insert((from, until), part);
                        }
                        None => {}
                    }
                }
            }
            join(&mut self.tree, &hole.tree);
            let stretch =
                self.source.stretches.partition_point(|stretch| stretch.first_seq <= begin);
            if let Some(blocks) = stretch.checked_sub(1).and_then(|at| self.blocks.get_mut(at)) {
                let offset = blocks.last().map_or(0, |block| block.offset + block.stored_bytes);
                blocks.push(Block { offset, ..hole.block() });
            }
            self.note_size();
        }
    }

    fn note_size(&mut self) {
        let size = self.tree.end();
        if self.wanted.sizes.contains(&size) {
            self.trees.insert(size, self.tree.clone());
        }
    }

    fn finish(mut self, length: u64) -> Result<Content, BackupError> {
        self.pass_holes(u64::MAX);
        for (stretch, blocks) in self.source.stretches.iter().zip(&self.blocks) {
            let records: u64 = blocks.iter().map(|block| block.records).sum();
            if records != stretch.records {
                let what = format!(
                    "the segment at byte {} holds {records} records, its metadata says {}",
                    stretch.offset, stretch.records
                );
                return Err(self.fault(ArchiveFault::Foreign(what)));
            }
        }
        let end = self.source.stretches.last().map_or(0, |last| last.offset + last.stored_bytes);
        let rest = length.saturating_sub(end);
        if rest > super::marker::MAX_MARKER_BYTES as u64 {
            return Err(self.fault(ArchiveFault::Length { expected: end, found: length }));
        }
        let mut bytes = vec![0; rest as usize];
        let failed = io_error("read", self.source.path);
        self.source.file.read_exact_at(&mut bytes, end).map_err(failed)?;
        self.digester.update(&bytes);
        let marker =
            Marker::parse(&bytes).map_err(|error| BackupError::marker(self.source.path, error))?;
        let own = self.source.bases().last().map_or(0, |base| base.stretches);
        let own = self.source.stretches[own..].iter();
        let members: usize = own.map(|part| part.members.len()).sum();
        let before = match self.source.before {
            Before::Joined { tree, .. } => tree,
            Before::Removed | Before::InBases => self.source.pruned,
        };
        let root = self.tree.root().unwrap_or(marker.root_hash);
        let what = if marker.members != members as u64 {
            Some(format!("the marker counts {} members, there are {members}", marker.members))
        } else if marker.pruned != *before {
            Some("the marker names another beginning".to_owned())
        } else if marker.tree_size != self.tree.end() {
            Some(format!(
                "the marker ends at {}, the records at {}",
                marker.tree_size,
                self.tree.end()
            ))
        } else {
            None
        };
        if let Some(what) = what {
            return Err(self.fault(ArchiveFault::Marker(what)));
        }
        if marker.root_hash != root {
            return Err(self.fault(ArchiveFault::Root { records: self.tree.end() }));
        }
        let removed = self.said.authority(self.tree.end()).removal;
        let explained = removed.map_or(0, |(_, removal)| removal.end);
        if !matches!(self.source.before, Before::InBases) && explained < self.source.pruned.end() {
            let (first, end) = (explained, self.source.pruned.end());
            return Err(self.fault(ArchiveFault::Unexplained { first, end }));
        }
        let complete = |range: &(u64, u64), known: &Range| known.end() == range.1;
        Ok(Content {
            blocks: self.blocks,
            tree: self.tree,
            raw_bytes: self.raw_bytes,
            raw_sha256: Hash::from_bytes(self.raw_hash.finalize().into()),
            digests: self.digester.finish(),
            marker,
            pruned: self.source.pruned.clone(),
            is_joined: !self.source.bases().is_empty(),
            trees: self.trees,
            ranges: self
                .ranges
                .into_iter()
                .filter(|(range, known)| complete(range, known))
                .collect(),
            first_after: self.first_after,
            said: self.said,
            activity: self.activity,
        })
    }
}

fn first_accepted_after(block: &Block, raw: &[u8], until: Timestamp) -> Option<u64> {
    let mut lines = raw.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let later = |line: &[u8]| peek_times(line).is_some_and(|(_, accepted)| accepted > until);
    lines.position(later).map(|at| block.first_seq + at as u64)
}

fn join(range: &mut Range, next: &Range) {
    range.extend(next).expect("members are added in order, so their ranges are adjacent");
}

/// The part of `begin..end` that lies within what was pruned, if its subtree
/// hashes are known.
fn within_pruned(pruned: &Range, begin: u64, end: u64) -> Option<Range> {
    let until = end.min(pruned.end());
    if begin >= until {
        return None;
    }
    let inside = pruned
        .subtrees()
        .filter(|subtree| begin <= subtree.begin && subtree.begin + (1 << subtree.level) <= until);
    Range::from_parts(begin, until, inside.map(|subtree| subtree.hash).collect()).ok()
}
