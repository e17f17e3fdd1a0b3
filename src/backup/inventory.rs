//! What backups there are, how good they are, and what they cover.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::catalog::{Catalog, Copied, Level};
use super::check::check;
use super::directory::{BackupDir, Entry};
use super::error::BackupError;
use super::metadata::Metadata;
use super::name::BackupId;
use crate::audit::keys::Keyring;
use crate::audit::read::snapshot::Snapshot;
use crate::audit::read::watch::Watch;
use crate::audit::tree::merkle::Hash;
use crate::clock::Timestamp;

/// The log that the backups are of, as far as it is known here.
#[derive(Debug, Default)]
pub struct KnownLog {
    /// The log as it is now.
    pub live: Option<Snapshot>,
    /// Its keys, when they are known from elsewhere than the backups.
    pub keys: Option<Keyring>,
}

/// A backup in a list.
#[derive(Debug)]
pub struct Listed {
    /// Its id.
    pub id: BackupId,
    /// Its metadata, if it can be used.
    pub metadata: Option<Metadata>,
    /// The highest check that it has passed, now or before.
    pub level: Option<Level>,
    /// When it passed it.
    pub verified_at: Option<Timestamp>,
    /// What is wrong with it.
    pub damage: Option<String>,
    /// [`BackupError::kind`] of that.
    pub damage_kind: Option<&'static str>,
    /// The stored file's length, if it is there.
    pub stored_bytes: Option<u64>,
    /// Whether it is kept from cleanup.
    pub pinned: bool,
    /// Where it is.
    pub place: String,
    /// Where else it was sent, and what came of it.
    pub copies: Vec<(String, Copied)>,
    /// Its version, where the store keeps versions.
    pub version: Option<String>,
    /// Until when it cannot be removed.
    pub locked_until: Option<Timestamp>,
    /// Whether somebody holds it without a date.
    pub held: bool,
    /// Whether it lies where another host's backups are: others than this one may write
    /// there.
    pub elsewhere: bool,
    /// What an earlier check of it found that is elsewhere.
    pub(crate) remembered: Option<(Level, Timestamp)>,
}

impl Listed {
    /// Nothing is known of it but that it is there.
    pub(crate) fn new(id: BackupId, place: String) -> Self {
        Self {
            id,
            metadata: None,
            level: None,
            verified_at: None,
            damage: None,
            damage_kind: None,
            stored_bytes: None,
            pinned: false,
            place,
            copies: Vec::new(),
            version: None,
            locked_until: None,
            held: false,
            elsewhere: false,
            remembered: None,
        }
    }

    /// Something is wrong with it.
    pub(crate) fn damaged(&mut self, error: &BackupError) {
        self.level = None;
        self.damage_kind = Some(error.kind());
        self.damage = Some(error.to_string());
    }

    /// Whether a newer version made it: what is in it, and how good it is, is not known.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.damage_kind == Some("newer_version")
    }

    /// Whether nothing is known to be wrong with it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.metadata.is_some() && self.damage.is_none()
    }

    /// What the newest is the newest by.
    pub(crate) fn rank(&self) -> (u32, u64, BackupId) {
        let of = |metadata: &Metadata| (metadata.log.epoch, metadata.range.tree_size);
        let (epoch, size) = self.metadata.as_ref().map_or((0, 0), of);
        (epoch, size, self.id)
    }
}

/// All backups of a place.
#[derive(Debug)]
pub struct Inventory {
    /// The newest first: by epoch, records, then time; never by name alone.
    pub backups: Vec<Listed>,
    /// Archives without metadata.
    pub orphans: Vec<String>,
    /// What a crash left, and the next run removes.
    pub leftovers: Vec<String>,
    /// Files of somebody else.
    pub foreign: Vec<String>,
    /// What is covered, when the log is known.
    pub coverage: Option<Coverage>,
    /// Why what is noted of them is not known: a newer version noted it.
    pub newer_catalog: Option<BackupError>,
    /// What could not be looked at, for lack of rights.
    pub unseen: Option<String>,
}

/// Which records of the log are in a good backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The log's id.
    pub log_id: String,
    /// Every record below this is in a good backup, but for the gaps.
    pub covered_to: u64,
    /// The log's records, as its newest checkpoint has them.
    pub live_size: u64,
    /// Records that no backup has: begin and end.
    pub gaps: Vec<(u64, u64)>,
}

impl Coverage {
    /// Records that no backup has yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.live_size.saturating_sub(self.covered_to)
    }
}

/// Lists a directory, and checks each backup to `level`. What is found out is
/// kept in the catalog.
///
/// # Errors
/// When the directory cannot be listed: a list is whole or none. An interruption.
pub fn inventory(
    dir: &BackupDir,
    level: Level,
    known: &KnownLog,
    now: Timestamp,
    watch: &dyn Watch,
) -> Result<Inventory, BackupError> {
    let contents = dir.contents()?;
    let (mut catalog, newer_catalog) = match Catalog::load(dir) {
        Ok(catalog) => (catalog, None),
        // The backups speak for themselves; it stays as it is.
        Err(error @ BackupError::Newer { .. }) => (Catalog::default(), Some(error)),
        Err(error) => return Err(error),
    };
    let before = catalog.clone();
    let mut backups = Vec::new();
    for entry in contents.backups {
        let id = entry.id;
        let listed = look(dir, entry, level, known, watch)?;
        if let Some(noted) = catalog.backups.get_mut(&id) {
            match &listed.damage {
                // The version that made it knows better.
                Some(_) if listed.is_newer() => {}
                Some(damage) => noted.damage = Some(damage.clone()),
                None if level > Level::Listed => noted.passed(level, now),
                // A look at the outside does not disprove what a look inside found.
                None => {}
            }
        }
        backups.push(completed(listed, &catalog, level));
    }
    if newer_catalog.is_none()
        && catalog != before
        && dir.fs.meta(dir.path()).is_ok()
        // Somebody who may only read may list as well; and whoever is at work
        // there now knows better.
        && let Err(error) = dir.lock_alone().and_then(|_lock| catalog.store(dir))
    {
        tracing::info!(%error, "cannot store the results of the check");
    }
    backups.sort_by_key(|listed| Reverse((listed.metadata.is_some(), listed.rank())));
    let coverage = known.live.as_ref().map(|live| coverage(&backups, live));
    Ok(Inventory {
        backups,
        orphans: contents.orphans,
        leftovers: contents.leftovers,
        foreign: contents.foreign,
        coverage,
        newer_catalog,
        unseen: None,
    })
}

fn look(
    dir: &BackupDir,
    entry: Entry,
    level: Level,
    known: &KnownLog,
    watch: &dyn Watch,
) -> Result<Listed, BackupError> {
    let mut listed = Listed {
        stored_bytes: entry.stored_bytes,
        pinned: entry.pinned,
        ..Listed::new(entry.id, dir.path().display().to_string())
    };
    let checked = match entry.metadata {
        Ok(metadata) => {
            let live = known.live.as_ref();
            let keys = known.keys.as_ref().filter(|keys| is_of(keys, &metadata));
            let checked = check(dir, &metadata, level, keys, live, watch);
            listed.metadata = Some(metadata);
            checked
        }
        Err(error) => Err(error),
    };
    match checked {
        Ok(()) => listed.level = Some(level),
        Err(BackupError::Interrupted) => return Err(BackupError::Interrupted),
        // Not checked is not damaged.
        Err(error @ BackupError::Usage(_)) => {
            tracing::warn!(%error, "not checked");
            listed.level = Some(Level::Listed);
        }
        Err(error) => listed.damaged(&error),
    }
    Ok(listed)
}

pub(crate) fn is_of(keys: &Keyring, metadata: &Metadata) -> bool {
    keys.newest().log_id().as_ref() == Some(&metadata.log.id)
}

/// With what was found out before.
fn completed(mut listed: Listed, catalog: &Catalog, level: Level) -> Listed {
    let Some(noted) = catalog.backups.get(&listed.id) else { return listed };
    listed.copies =
        noted.copies.iter().map(|(place, copied)| (place.clone(), copied.clone())).collect();
    if listed.damage.is_none() && listed.metadata.is_some() {
        listed.level = Some(noted.verified.max(level));
        listed.verified_at = Some(noted.verified_at);
        listed.damage.clone_from(&noted.damage);
        listed.damage_kind = noted.damage.as_ref().map(|_| "damaged_before");
    }
    listed
}

pub(crate) fn coverage(backups: &[Listed], live: &Snapshot) -> Coverage {
    let good = || {
        let good = backups.iter().filter(|listed| listed.is_good());
        let metadata = good.filter_map(|listed| listed.metadata.as_ref());
        metadata.filter(|metadata| metadata.log.id == live.manifest.log_id)
    };
    let roots = live.roots(&good().map(|metadata| metadata.range.tree_size).collect());
    let mut held: Vec<(u64, u64)> = good()
        .filter(|metadata| is_beginning(metadata, live, &roots))
        .map(|metadata| (metadata.range.first_seq, metadata.range.tree_size))
        .collect();
    held.sort_unstable();
    let covered_to = held.iter().map(|(_, end)| *end).max().unwrap_or(0);
    let mut gaps = Vec::new();
    let mut next = 0;
    for (begin, end) in held {
        if begin > next {
            gaps.push((next, begin));
        }
        next = next.max(end);
    }
    Coverage {
        log_id: live.manifest.log_id.clone(),
        covered_to,
        live_size: live.checkpoint.size,
        gaps,
    }
}

/// Whether the backup holds the log's own records: its root is the one that the log
/// had. Where retention removed what would be compared, the epoch has to do.
fn is_beginning(metadata: &Metadata, live: &Snapshot, roots: &BTreeMap<u64, Hash>) -> bool {
    let size = metadata.range.tree_size;
    match roots.get(&size) {
        Some(root) => *root == metadata.root_hash,
        None => metadata.log.epoch == live.manifest.epoch && size < live.manifest.pruned.end(),
    }
}
