//! Sealed segments: block by block, each by the hashes that were noted when it was
//! sealed.

use std::io;

use sha2::{Digest, Sha256};

use super::{Case, Left, RepairError, Told, joined};
use crate::audit::files::digest::digest;
use crate::audit::files::examine::examine;
use crate::audit::files::gzip::{Packer, Unpacker};
use crate::audit::files::lines::lines_of_block;
use crate::audit::files::manifest::Segment;
use crate::audit::files::segment::Block;
use crate::audit::read::verify::GivenUp;
use crate::audit::read::view::Stored;
use crate::audit::tree::merkle::{Hash, Range};
use crate::fsio::FsFile;

/// What becomes of a block.
#[derive(Debug)]
pub(super) enum Part {
    /// It stays: its lines are those that were noted.
    Own(Block),
    /// It is damaged, and no copy has it.
    Damaged(Block),
    /// It is put back from the copy with that name.
    Copied {
        block: Block,
        raw: Vec<u8>,
        member: Option<Vec<u8>>,
        from: String,
        /// The ranges of those of its records that become others.
        changed: Vec<(u64, u64)>,
    },
}

/// What becomes of a sealed segment.
#[derive(Debug)]
pub(super) struct SealedPlan {
    pub(super) index: usize,
    pub(super) file: String,
    pub(super) is_compressed: bool,
    pub(super) is_there: bool,
    /// The file has other bytes than its good blocks.
    pub(super) has_strange_bytes: bool,
    pub(super) parts: Vec<Part>,
}

impl SealedPlan {
    /// Whether anything is written.
    pub(super) fn changes(&self) -> bool {
        self.has_copied() || self.changes_only_bytes()
    }

    fn has_copied(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Copied { .. }))
    }

    /// Whether the records stay, and the file becomes what it was.
    pub(super) fn changes_only_bytes(&self) -> bool {
        self.has_strange_bytes && self.parts.iter().all(|part| matches!(part, Part::Own(_)))
    }

    /// The subtree hashes of each block as it will be; `None` where nobody signed what
    /// a damaged one had.
    pub(super) fn trees(&self, is_signed: bool) -> impl Iterator<Item = Option<&Range>> {
        self.parts.iter().map(move |part| match part {
            Part::Own(block) | Part::Copied { block, .. } => Some(&block.tree),
            Part::Damaged(block) => is_signed.then_some(&block.tree),
        })
    }

    /// The ranges of records that are put back.
    pub(super) fn put_back(&self) -> Vec<(u64, u64)> {
        joined(self.parts.iter().flat_map(|part| match part {
            Part::Copied { changed, .. } => changed.clone(),
            _ => Vec::new(),
        }))
    }

    /// The copies that are used.
    pub(super) fn sources(&self) -> impl Iterator<Item = &String> {
        self.parts.iter().filter_map(|part| match part {
            Part::Copied { from, .. } => Some(from),
            _ => None,
        })
    }
}

impl Case<'_> {
    pub(super) fn plan_sealed(
        &self,
        index: usize,
        told: &mut Told,
        left: &mut Vec<Left>,
    ) -> Result<SealedPlan, RepairError> {
        let segment = &self.view.manifest.segments[index];
        let (file, now) = match self.view.open_segment(segment)? {
            Stored::Here(file, now) => (Some(file), *now),
            Stored::Removed | Stored::Missing(_) => (None, segment.clone()),
        };
        let mut plan = SealedPlan {
            index,
            file: now.file.clone(),
            is_compressed: now.is_compressed(),
            is_there: file.is_some(),
            has_strange_bytes: false,
            parts: Vec::with_capacity(now.blocks.len()),
        };
        let mut unpacker = Unpacker::new();
        for block in &now.blocks {
            let lines = match &file {
                _ if block.is_hole() => {
                    Err(block.hole.clone().unwrap_or_else(|| "they are not there".to_owned()))
                }
                Some(file) => lines_of_block(&**file, &now, block, &mut unpacker),
                None => Err("the file is missing".to_owned()),
            };
            let (first, end) = (block.first_seq, block.first_seq + block.records);
            let found = lines.as_ref().ok().map(|raw| examine(raw, first, (0, 0)));
            if found.is_some_and(|found| found.is_ok_and(|found| found.tree == block.tree)) {
                plan.parts.push(Part::Own(block.clone()));
                continue;
            }
            let mut part = self.copied(block).map_err(self.io("read a copy for", &now.file))?;
            if matches!(part, Part::Damaged(_)) && block.is_hole() && self.is_given_up(block) {
                // That they are not there is known, and accepted.
                plan.parts.push(Part::Own(block.clone()));
                continue;
            }
            if let Part::Copied { raw, from, changed, .. } = &mut part {
                let own: Vec<&[u8]> = match &lines {
                    Ok(raw) => raw.split(|byte| *byte == b'\n').collect(),
                    Err(_) => Vec::new(),
                };
                let now_at = |seq: u64| own.get((seq - first) as usize).copied();
                *changed = told.note((&now.file, from), first, raw, now_at);
            } else {
                let why = match lines {
                    Ok(_) => "they are not what was recorded, and no copy holds them".to_owned(),
                    Err(why) => format!("{why}, and no copy holds them"),
                };
                let (file, first_seq, end_seq) = (now.file.clone(), first, end);
                left.push(Left { file, first_seq, end_seq, why });
            }
            plan.parts.push(part);
        }
        if let Some(file) = &file {
            let same = is_as_noted(&**file, &now).map_err(self.io("read", &now.file))?;
            plan.has_strange_bytes = !same;
        }
        Ok(plan)
    }

    /// Whether a signed record says of all of a hole that it was given up.
    fn is_given_up(&self, hole: &Block) -> bool {
        let holds = |given: &GivenUp| {
            given.record.is_some()
                && given.first_seq <= hole.first_seq
                && hole.tree.end() <= given.end_seq
        };
        self.given_up.iter().any(holds)
    }

    /// A block from the first copy that has it.
    fn copied(&self, block: &Block) -> io::Result<Part> {
        let (first, end) = (block.first_seq, block.first_seq + block.records);
        for copy in self.copies() {
            let Some(raw) = copy.lines(first, end)? else { continue };
            let Ok(found) = examine(&raw, first, (block.offset, block.stored_bytes)) else {
                continue;
            };
            let is_noted = found.tree == block.tree;
            // Against what the log's key noted, no copy is believed; where nobody signed
            // the note, the root judges all of it.
            if self.is_signed && !is_noted {
                continue;
            }
            let member = copy.member(first, end)?;
            let from = copy.copy.name().to_owned();
            return Ok(Part::Copied { block: found, raw, member, from, changed: Vec::new() });
        }
        Ok(Part::Damaged(block.clone()))
    }
}

/// Whether a file has the length and the SHA-256 that were noted.
fn is_as_noted(file: &dyn FsFile, segment: &Segment) -> io::Result<bool> {
    if file.meta()?.len != segment.stored_bytes {
        return Ok(false);
    }
    let Some(noted) = &segment.sha256 else { return Ok(true) };
    Ok(*noted == digest(file)?.to_string())
}

/// Writes the segment as it will be; what the manifest is to say of it.
pub(super) fn compose(
    plan: &SealedPlan,
    noted: &Segment,
    (own, to): (Option<&dyn FsFile>, &dyn FsFile),
    level: u32,
) -> io::Result<Segment> {
    let mut packer = Packer::new(level);
    let mut hasher = Sha256::new();
    let (mut blocks, mut at) = (Vec::with_capacity(plan.parts.len()), 0_u64);
    for part in &plan.parts {
        let (block, bytes) = match part {
            Part::Own(block) | Part::Damaged(block) if block.is_hole() => (block, Vec::new()),
            Part::Own(block) | Part::Damaged(block) => {
                let mut bytes = vec![0; block.stored_bytes as usize];
                match own.map(|own| own.read_exact_at(&mut bytes, block.offset)) {
                    Some(Ok(())) => {}
                    // What is not there stays damaged under its noted length, so that the
                    // blocks behind it stay where they were noted.
                    _ if matches!(part, Part::Damaged(_)) => {}
                    Some(Err(error)) => return Err(error),
                    None => return Err(io::ErrorKind::NotFound.into()),
                }
                (block, bytes)
            }
            Part::Copied { block, raw, member, .. } => {
                let bytes = match (plan.is_compressed, member) {
                    (true, Some(member)) => member.clone(),
                    (true, None) => packer.member(raw)?,
                    (false, _) => raw.clone(),
                };
                (block, bytes)
            }
        };
        to.write_all_at(&bytes, at)?;
        hasher.update(&bytes);
        let stored_bytes = bytes.len() as u64;
        blocks.push(Block { offset: at, stored_bytes, ..block.clone() });
        at += stored_bytes;
    }
    let sha256 = Hash::from_bytes(hasher.finalize().into()).to_string();
    Ok(Segment {
        file: plan.file.clone(),
        raw_bytes: blocks.iter().map(|block| block.raw_bytes).sum(),
        stored_bytes: at,
        sha256: plan.is_compressed.then_some(sha256),
        filters_sha256: noted.filters_sha256.clone(),
        min_timestamp: blocks.iter().map(|block| block.min_timestamp).min().unwrap_or_default(),
        max_timestamp: blocks.iter().map(|block| block.max_timestamp).max().unwrap_or_default(),
        damage: noted
            .damage
            .clone()
            .filter(|_| plan.parts.iter().any(|part| matches!(part, Part::Damaged(_)))),
        blocks,
        ..noted.clone()
    })
}
