//! Whether there is anything new to back up.
//!
//! A log that nobody wrote to still grows: it is opened and closed, signs an idle hour, notes
//! its backups. A backup that holds everything but that is as good as another one would be.
//! What says so is not the number of records: the log's tree is the backup's, and the lines since
//! then, which hash to the signed root, are of those kinds.

use serde::Deserialize;

use super::catalog::{Catalog, Unchanged};
use super::create::{Creator, Request};
use super::error::BackupError;
use super::metadata::Metadata;
use super::remote::{Remote, Uploaded};
use crate::audit::read::snapshot::{Part, Snapshot};
use crate::audit::read::watch::Watch;
use crate::audit::tree::document::Unknown;
use crate::audit::tree::merkle::leaf_hash;
use crate::audit::write::own::{ALERTS_POSITION, BACKUP_MADE, BACKUP_REMOVED};

/// What the log records by itself when nothing happens. Whatever says that something did
/// happen, a crash, a refusal, a change of the clock, is new.
const IDLE: &[&str] =
    &["audit.opened", "audit.closed", "audit.idle", BACKUP_MADE, BACKUP_REMOVED, ALERTS_POSITION];

/// The backup that holds everything that happened.
#[derive(Debug)]
pub struct Covered {
    /// Its metadata.
    pub metadata: Metadata,
    /// The log's size now.
    pub tree_size: u64,
}

impl Covered {
    /// Records of the log's own that it does not hold.
    #[must_use]
    pub fn idle_records(&self) -> u64 {
        self.tree_size.saturating_sub(self.metadata.range.tree_size)
    }
}

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    event_type: std::borrow::Cow<'a, str>,
}

impl Creator {
    /// The backup that holds everything but what the log recorded by itself since, encrypted to
    /// the same keys as one would be now. `None` when there is none; or when it cannot be told,
    /// or something is wrong: who then makes a backup learns what.
    ///
    /// # Errors
    /// An interruption.
    pub fn covered(
        &self,
        request: &Request,
        watch: &dyn Watch,
    ) -> Result<Option<Covered>, BackupError> {
        if self.fs.meta(self.dir.path()).is_err() {
            return Ok(None);
        }
        self.wait_for_checkpoint(request, watch);
        let Ok(snapshot) = Snapshot::take(&self.fs, &request.log_dir) else { return Ok(None) };
        let Ok(Some(newest)) = self.previous(&snapshot) else { return Ok(None) };
        let Ok(catalog) = Catalog::peek(&*self.fs, self.dir.path()) else { return Ok(None) };
        let damaged = catalog
            .as_ref()
            .and_then(|catalog| catalog.backups.get(&newest.id))
            .is_some_and(|noted| noted.damage.is_some());
        let mut recipients =
            newest.encryption.as_ref().map_or_else(Vec::new, |it| it.recipients.clone());
        let mut wanted = request.encrypt_to.clone();
        recipients.sort();
        wanted.sort();
        let fits = !damaged
            && newest.signature.is_some()
            && newest.holes.is_empty()
            && newest.log.epoch == snapshot.manifest.epoch
            && recipients == wanted
            && self.dir.check_listed(&newest, Some(&snapshot.keys)).is_ok();
        if !fits || !only_idle_since(&snapshot, &newest, watch)? {
            return Ok(None);
        }
        Ok(Some(Covered { metadata: newest, tree_size: snapshot.checkpoint.size }))
    }

    /// Notes that there was nothing new: `health` counts the backup's age from then on.
    ///
    /// # Errors
    /// As those of writing the catalog.
    pub fn note_unchanged(&self, covered: &Covered) -> Result<(), BackupError> {
        let at = self.clock.now();
        Catalog::update(&self.dir, |catalog| {
            catalog.last_failure = None;
            catalog.last_unchanged = Some(Unchanged {
                at,
                backup: covered.metadata.id,
                tree_size: covered.tree_size,
                unknown: Unknown::default(),
            });
        })
    }
}

/// Whether the log is the backup and nothing but idle records.
fn only_idle_since(
    snapshot: &Snapshot,
    backup: &Metadata,
    watch: &dyn Watch,
) -> Result<bool, BackupError> {
    let size = backup.range.tree_size;
    let Ok(Some(mut tree)) = snapshot.tree_at(size) else { return Ok(false) };
    if tree.root() != Ok(backup.root_hash) {
        return Ok(false);
    }
    for part in &snapshot.parts {
        if end(part) <= size {
            continue;
        }
        let Ok(blocks) = snapshot.blocks(part) else { return Ok(false) };
        for block in blocks {
            if watch.interrupted() {
                return Err(BackupError::Interrupted);
            }
            let Ok((first_seq, raw)) = block else { return Ok(false) };
            let lines = raw.split_inclusive(|byte| *byte == b'\n');
            for (seq, line) in (first_seq..).zip(lines) {
                if seq < size {
                    continue;
                }
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let idle = serde_json::from_slice::<Peek<'_>>(line)
                    .is_ok_and(|peek| IDLE.contains(&&*peek.event_type));
                if !idle {
                    return Ok(false);
                }
                tree.append(leaf_hash(line));
            }
        }
    }
    Ok(tree.end() == snapshot.checkpoint.size && tree.root() == Ok(snapshot.checkpoint.root))
}

fn end(part: &Part) -> u64 {
    part.first_seq() + part.records()
}

impl Remote {
    /// Whether a backup that is here is there as well, by the store's own word: both files, as
    /// long, and with the same checksum where the store has one of a kind that is known here.
    ///
    /// # Errors
    /// The store's.
    pub fn holds(&self, metadata: &Metadata) -> Result<Option<Uploaded>, BackupError> {
        let Some(there) = self.both(metadata)? else { return Ok(None) };
        let expected = metadata.stored();
        let digests = expected.for_store().map_err(|what| {
            let what = super::MetadataError::Contradiction(what);
            BackupError::Metadata { path: metadata.id.metadata().into(), what }
        })?;
        let archive = &there.archive;
        let same = archive.size == expected.bytes
            && archive.checksum.is_none_or(|sum| digests.agree(&sum) != Some(false));
        Ok(same.then_some(there))
    }
}
