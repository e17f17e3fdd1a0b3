//! What is wrong with the log, where no backup of it can be made.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::audit::LogPaths;
use crate::audit::files::examine::examine;
use crate::audit::files::gzip::Unpacker;
use crate::audit::keys::histories::{KnownHead, OwnHistory};
use crate::audit::read::error::ReadError;
use crate::audit::read::snapshot::{Part, Snapshot};
use crate::audit::tree::merkle::Hash;
use crate::backup::content::Content;
use crate::backup::error::BackupError;
use crate::backup::pack::Packed;

/// Whether it is the log's records that are at fault.
pub(super) fn is_damage(error: &BackupError) -> bool {
    match error {
        BackupError::LogDamaged(_) => true,
        BackupError::Log(ReadError::Io { source, .. }) | BackupError::Io { source, .. } => {
            matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData)
        }
        BackupError::Log(ReadError::Short { .. }) => true,
        _ => false,
    }
}

pub(super) fn own_history(snapshot: &Snapshot) -> OwnHistory<'_> {
    OwnHistory {
        log_id: &snapshot.manifest.log_id,
        epoch: snapshot.manifest.epoch,
        size: snapshot.checkpoint.size,
        keys: &snapshot.keys,
        abandoned: Some(&snapshot.manifest.abandoned),
    }
}

/// A backup that is ahead of the log, or holds other records at the same places, shows
/// that this is not the log's only history.
pub(super) fn other_history(
    snapshot: &Snapshot,
    heads: &[KnownHead],
    roots: &BTreeMap<u64, Hash>,
) -> Result<(), BackupError> {
    match own_history(snapshot).contradictions(heads, roots).into_iter().next() {
        Some(found) => Err(BackupError::OtherHistory(Box::new(found))),
        None => Ok(()),
    }
}

/// The first sealed block whose records are not those that the manifest noted.
pub(super) fn altered_block(snapshot: &Snapshot) -> Option<String> {
    let mut raw = Vec::new();
    for part in &snapshot.parts {
        let Part::Stored(segment) = part else { continue };
        let (file, segment) = snapshot.open_segment(segment).ok()?;
        for (number, block) in segment.blocks.iter().enumerate() {
            let mut member = vec![0; block.stored_bytes as usize];
            file.read_exact_at(&mut member, block.offset).ok()?;
            let found = Unpacker::new()
                .unpack(&member, &mut raw)
                .ok()
                .and_then(|()| examine(&raw, block.first_seq, (0, 0)).ok());
            if found.is_none_or(|found| found.tree != block.tree) {
                return Some(format!(
                    "{}, block {number} (records {} to {}, from byte {}) is not what was recorded",
                    segment.file,
                    block.first_seq,
                    block.first_seq + block.records - 1,
                    block.offset
                ));
            }
        }
    }
    None
}

pub(super) fn unsigned_tail(
    snapshot: &Snapshot,
    packed: &Packed,
    content: &Content,
    log_dir: &Path,
) -> u64 {
    let (Some(Part::Lines(lines)), Some(blocks)) = (snapshot.parts.last(), content.blocks.last())
    else {
        return 0;
    };
    if LogPaths::new(log_dir).writer_runs().unwrap_or(true) {
        return 0;
    }
    let held: u64 = blocks.iter().map(|block| block.raw_bytes).sum();
    // An incremental backup may begin in the midst of it.
    let passed = if packed.stretches.len() == 1 { packed.passed_bytes } else { 0 };
    lines.bytes().saturating_sub(held + passed)
}
