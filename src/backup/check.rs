//! Checking a backup that is there, to a level.

use super::chain;
use super::content::{self, Source, Wanted};
use super::directory::BackupDir;
use super::error::{ArchiveFault, BackupError, io_error};
use super::metadata::{Metadata, MetadataError};
use super::{Level, reread};
use crate::audit::keys::Keyring;
use crate::audit::read::snapshot::Snapshot;
use crate::audit::read::watch::{Stage, Watch};
use crate::fsio::OpenMode;

/// Checks a backup to a level, the lower ones first.
///
/// `keys` are the log's when they are known from elsewhere than the backup; `live`
/// is the log, to which `chain` compares.
///
/// # Errors
/// The first thing that is wrong, or why it cannot be told.
pub(crate) fn check(
    dir: &BackupDir,
    metadata: &Metadata,
    level: Level,
    keys: Option<&Keyring>,
    live: Option<&Snapshot>,
    watch: &dyn Watch,
) -> Result<(), BackupError> {
    dir.check_listed(metadata, keys)?;
    match level {
        Level::Listed => return Ok(()),
        Level::Stored => return stored(dir, metadata, watch),
        Level::Content | Level::Chain | Level::Drill => content(dir, metadata, keys, watch)?,
    }
    if level >= Level::Chain {
        chained(dir, metadata, live)?;
    }
    Ok(())
}

/// The stored file's bytes are those that were written.
fn stored(dir: &BackupDir, metadata: &Metadata, watch: &dyn Watch) -> Result<(), BackupError> {
    let path = dir.join(&metadata.archive.file);
    let file = dir.fs.open(&path, OpenMode::ReadOwn).map_err(io_error("open", &path))?;
    let expected = metadata.stored();
    watch.stage(Stage::Verify, expected.bytes);
    let found = reread::digests(&*file, &path, watch)?;
    if found == *expected {
        return Ok(());
    }
    let (expected, found) = (expected.sha256.to_string(), found.sha256.to_string());
    Err(BackupError::Archive { path, what: ArchiveFault::Checksum { expected, found } })
}

fn content(
    dir: &BackupDir,
    metadata: &Metadata,
    known: Option<&Keyring>,
    watch: &dyn Watch,
) -> Result<(), BackupError> {
    if metadata.encryption.is_some() {
        return Err(BackupError::Usage(format!(
            "backup {} is encrypted: its content can be checked only with --identity",
            metadata.id
        )));
    }
    let path = dir.join(&metadata.archive.file);
    let file = dir.fs.open(&path, OpenMode::ReadOwn).map_err(io_error("open", &path))?;
    let source = Source {
        file: &*file,
        path: &path,
        stretches: &metadata.segments,
        pruned: &metadata.range.pruned,
        holes: &metadata.holes,
    };
    watch.stage(Stage::Verify, metadata.archive.digests.bytes);
    let content = content::read(&source, &Wanted::default(), watch, &mut |_, _| Ok(()))?;
    content::agrees(&content, metadata)
        .map_err(|what| BackupError::Archive { path: path.clone(), what })?;
    let bad = |what| BackupError::Metadata { path: dir.join(&metadata.id.metadata()), what };
    let own = metadata.own_keys().map_err(bad)?;
    // It has to lead to its key by itself: where it is needed, the log may be gone.
    content::leads(&content, &content.tree, &own).map_err(|what| {
        let here =
            known.is_some_and(|known| content::leads(&content, &content.tree, known).is_ok());
        let remedy = if here { "; the log here has them: back up again" } else { "" };
        bad(MetadataError::Signature(format!("its key chain: {what}{remedy}")))
    })
}

/// It extends the backup before, and the log extends it.
fn chained(
    dir: &BackupDir,
    metadata: &Metadata,
    live: Option<&Snapshot>,
) -> Result<(), BackupError> {
    let path = dir.join(&metadata.id.metadata());
    let bad = |what| BackupError::Metadata { path: path.clone(), what };
    chain::verify_link(metadata).map_err(|what| bad(MetadataError::Contradiction(what)))?;
    if let Some(link) = &metadata.previous
        && let Ok(before) = dir.metadata(link.id)
        && (before.range.tree_size, before.root_hash) != (link.tree_size, link.root_hash)
    {
        let what = format!("backup {} is another one than it extends", link.id);
        return Err(bad(MetadataError::Contradiction(what)));
    }
    let Some(live) = live.filter(|live| live.manifest.log_id == metadata.log.id) else {
        return Ok(());
    };
    if live.manifest.epoch != metadata.log.epoch {
        // Another history since then, which the log's own records tell.
        return Ok(());
    }
    let size = metadata.range.tree_size;
    let found = match live.tree_at(size)? {
        Some(tree) if tree.root() == Ok(metadata.root_hash) => return Ok(()),
        Some(_) => format!("the log's first {size} records have another root"),
        None if size > live.checkpoint.size => format!("it has {} records", live.checkpoint.size),
        // Retention removed what would be compared.
        None => return Ok(()),
    };
    let root = metadata.root_hash.to_string();
    Err(BackupError::NotAPrefix { previous: metadata.id, earlier: size, root, found })
}
