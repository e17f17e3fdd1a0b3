//! What backups a store has. The list is whole or an error.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Remote, Sees, a_few_at_a_time};
use crate::audit::read::watch::Watch;
use crate::audit::tree::document::Unknown;
use crate::backup::catalog::{Catalog, Checked, Level};
use crate::backup::check::check;
use crate::backup::directory::BackupDir;
use crate::backup::error::{ArchiveFault, BackupError};
use crate::backup::inventory::{Inventory, KnownLog, Listed, coverage, is_of};
use crate::backup::metadata::Metadata;
use crate::backup::name::{BackupId, FileKind, parse_name};
use crate::clock::Timestamp;
use crate::store::{Object, StoreError, StoreErrorKind, is_name};

/// How many files that are not ours are named.
const MOST_FOREIGN: u64 = 1_000;
/// What the metadata of all backups may take together, as they are stored.
const MOST_METADATA_BYTES: u64 = 256 << 20;
/// Larger metadata are read one at a time.
const LARGE_METADATA_BYTES: u64 = 2 << 20;

/// What else is there.
#[derive(Default)]
struct Foreign {
    names: Vec<String>,
    seen: u64,
}

impl Foreign {
    fn see(&mut self, name: &str) {
        self.seen += 1;
        if self.seen <= MOST_FOREIGN {
            self.names.push(name.to_owned());
        }
    }

    fn names(mut self) -> Vec<String> {
        if let Some(more) = self.seen.checked_sub(MOST_FOREIGN).filter(|more| *more > 0) {
            self.names.push(format!("… and {more} more"));
        }
        self.names
    }
}

/// What the metadata that were read take in memory.
#[derive(Default)]
struct Held {
    bytes: AtomicU64,
    large: Mutex<()>,
}

/// The objects of one backup.
#[derive(Default)]
struct Group {
    metadata: Option<Object>,
    archives: BTreeMap<bool, Object>,
}

impl Remote {
    /// Lists the backups, each checked to `level`: `listed` and `stored` by what
    /// the store says, more by fetching them below `scratch`.
    ///
    /// `scratch` is the local backup directory too: what is pinned there, is
    /// pinned here.
    ///
    /// # Errors
    /// When the store cannot be listed to the end. What is wrong with one backup
    /// is in its line.
    pub fn inventory(
        &self,
        scratch: &BackupDir,
        level: Level,
        known: &KnownLog,
        now: Timestamp,
        watch: &dyn Watch,
    ) -> Result<Inventory, BackupError> {
        let mut groups: BTreeMap<(String, BackupId), Group> = BTreeMap::new();
        let mut foreign = Foreign::default();
        let mut kept = 0;
        let unseen = self.visit(&mut |folder, file, object| {
            match parse_name(file).filter(|_| is_name(&object.name)) {
                Some((id, FileKind::Metadata)) => {
                    kept += 1;
                    groups.entry((folder.to_owned(), id)).or_default().metadata = Some(object);
                }
                Some((id, FileKind::Archive(encrypted))) => {
                    kept += 1;
                    let group = groups.entry((folder.to_owned(), id)).or_default();
                    group.archives.insert(encrypted, object);
                }
                _ => foreign.see(&object.name),
            }
            Ok(kept)
        })?;
        let mut foreign = foreign.names();
        let mut orphans = Vec::new();
        groups.retain(|_, group| {
            if group.metadata.is_none() {
                orphans.extend(group.archives.values().map(|object| object.name.clone()));
            }
            group.metadata.is_some()
        });
        let pinned = pins(scratch);
        let own = self.store.url(&self.folder);
        let mut backups = self.look_at_all(groups, known, &pinned, watch)?;
        if self.sees != Sees::All {
            backups.iter_mut().for_each(|listed| listed.elsewhere = listed.place != own);
            if let Some(live) = &known.live {
                // Another log's id may begin in the same way; or somebody put it there.
                let of = |listed: &Listed| {
                    let log = listed.metadata.as_ref().map(|metadata| &metadata.log.id);
                    log.is_none_or(|log| *log == live.manifest.log_id)
                };
                let others: Vec<String> = backups
                    .iter()
                    .filter(|listed| !of(listed))
                    .map(|listed| format!("{}{}", listed.place, listed.id.metadata()))
                    .collect();
                foreign.extend(others);
                backups.retain(of);
            }
        }
        self.remember(&mut backups, scratch);
        if level > Level::Listed {
            for listed in &mut backups {
                self.deepen(listed, scratch, level, known, now, watch)?;
            }
            self.note(&backups, scratch);
        }
        for listed in &mut backups {
            let reached = listed.level.filter(|_| listed.damage.is_none());
            if let (Some(reached), Some((level, at))) = (reached, listed.remembered)
                && level > reached
            {
                (listed.level, listed.verified_at) = (Some(level), Some(at));
            }
        }
        // Those of one log together.
        let log = |listed: &Listed| match (&self.sees, &listed.metadata) {
            (Sees::All, Some(metadata)) => metadata.log.id.clone(),
            _ => String::new(),
        };
        backups.sort_by_cached_key(|listed| {
            (listed.metadata.is_none(), log(listed), Reverse(listed.rank()))
        });
        let coverage = known.live.as_ref().map(|live| coverage(&backups, live));
        Ok(Inventory {
            backups,
            orphans,
            leftovers: Vec::new(),
            foreign,
            coverage,
            newer_catalog: None,
            unseen,
        })
    }

    fn look_at_all(
        &self,
        groups: BTreeMap<(String, BackupId), Group>,
        known: &KnownLog,
        pinned: &BTreeSet<(BackupId, String)>,
        watch: &dyn Watch,
    ) -> Result<Vec<Listed>, BackupError> {
        let groups: Vec<_> = groups.into_iter().collect();
        let held = Held::default();
        a_few_at_a_time(&groups, watch, &|((folder, id), group)| {
            self.of_folder(folder).look(*id, group, known, (pinned, &held))
        })
    }

    /// Its metadata, and what the store says of its archive.
    fn look(
        &self,
        id: BackupId,
        group: &Group,
        known: &KnownLog,
        (pinned, held): (&BTreeSet<(BackupId, String)>, &Held),
    ) -> Result<Listed, BackupError> {
        let mut listed = Listed::new(id, self.place());
        let name = self.name(&id.metadata());
        // The store says how long it is; more than that is not taken.
        let size = group.metadata.as_ref().map_or(0, |object| object.size);
        let large = (size > LARGE_METADATA_BYTES)
            .then(|| held.large.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let read = self.metadata(&name, id, size);
        drop(large);
        let metadata = match read {
            Ok((metadata, text)) => {
                let before = held.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
                if before > MOST_METADATA_BYTES {
                    return Err(self.too_much().into());
                }
                metadata
            }
            // Not to know is no damage.
            Err(error @ (BackupError::Store(_) | BackupError::Interrupted)) => return Err(error),
            Err(error) => {
                listed.damaged(&error);
                return Ok(listed);
            }
        };
        let named = group.archives.get(&metadata.encryption.is_some());
        let archive = match named {
            Some(object) => self.store.stat(&object.name)?,
            None => None,
        };
        listed.pinned = pinned.contains(&(id, metadata.stored().sha256.to_string()));
        listed.stored_bytes = archive.as_ref().map(|object| object.size);
        listed.locked_until = archive.as_ref().and_then(|object| object.locked_until);
        listed.held = archive.as_ref().is_some_and(|object| object.held);
        listed.version = archive.as_ref().and_then(|object| object.version.clone());
        let key = known.keys.as_ref().filter(|key| is_of(key, &metadata));
        let checked = signed(&metadata, key, &self.store.url(&name))
            .and_then(|()| self.stored(&metadata, archive.as_ref()));
        match checked {
            Ok(level) => {
                listed.level = Some(level);
                listed.verified_at = None;
            }
            Err(error) => listed.damaged(&error),
        }
        listed.metadata = Some(metadata);
        Ok(listed)
    }

    fn too_much(&self) -> StoreError {
        let most = MOST_METADATA_BYTES >> 20;
        let message = format!("the metadata of its backups are more than {most} MiB");
        StoreError::new(StoreErrorKind::Other, self.place(), message)
            .hint("name a longer prefix: --destination BUCKET/PREFIX")
    }

    /// How far the store's own word goes: its checksum over the archive.
    fn stored(&self, metadata: &Metadata, archive: Option<&Object>) -> Result<Level, BackupError> {
        let path = self.store.url(&self.name(&metadata.archive.file));
        let fault = |what| BackupError::Archive { path: path.clone().into(), what };
        let Some(object) = archive else {
            return Err(fault(ArchiveFault::Foreign("it is not there".to_owned())));
        };
        let expected = metadata.stored();
        if object.size != expected.bytes {
            let what = ArchiveFault::Length { expected: expected.bytes, found: object.size };
            return Err(fault(what));
        }
        let digests = expected.for_store().map_err(|why| fault(ArchiveFault::Foreign(why)))?;
        match object.checksum.and_then(|sum| digests.agree(&sum)) {
            None => return Ok(Level::Listed),
            Some(true) => return Ok(Level::Stored),
            Some(false) => {}
        }
        let found = object.checksum.map(|sum| sum.to_string()).unwrap_or_default();
        Err(fault(ArchiveFault::Checksum { expected: expected.sha256.to_string(), found }))
    }

    /// What earlier checks found, as long as the archive is the one that was read: the same
    /// checksum by its metadata, and the same version where there are versions. A hint, as all
    /// of the catalog: what is asked for is read again.
    fn remember(&self, backups: &mut [Listed], scratch: &BackupDir) {
        let Ok(Some(catalog)) = Catalog::peek(&*scratch.fs, scratch.path()) else { return };
        for listed in backups {
            let Some(metadata) = listed.metadata.as_ref().filter(|_| listed.damage.is_none())
            else {
                continue;
            };
            let noted = catalog.elsewhere.get(&format!("{}{}", listed.place, listed.id.metadata()));
            if let Some(noted) = noted
                && noted.sha256 == metadata.stored().sha256
                && noted.version == listed.version
            {
                listed.remembered = Some((noted.verified, noted.at));
            }
        }
    }

    /// Keeps what was found out, for the next list. Who may not write here still sees it.
    fn note(&self, backups: &[Listed], scratch: &BackupDir) {
        if scratch.fs.meta(scratch.path()).is_err() {
            return;
        }
        let there = self.store.url("");
        let url = |listed: &Listed| format!("{}{}", listed.place, listed.id.metadata());
        let noted = Catalog::update(scratch, |catalog| {
            let listed_now: BTreeSet<String> = backups.iter().map(url).collect();
            // What is not there any more is forgotten.
            catalog.elsewhere.retain(|known, _| {
                let folder = known.strip_prefix(&there).and_then(|name| name.rfind('/'));
                let folder = folder.map(|end| &known[there.len()..=there.len() + end]);
                !folder.is_some_and(|folder| self.looks_at(folder)) || listed_now.contains(known)
            });
            for listed in backups {
                let Some(metadata) = &listed.metadata else { continue };
                if listed.damage.is_some() {
                    catalog.elsewhere.remove(&url(listed));
                } else if let (Some(verified), Some(at)) = (listed.level, listed.verified_at) {
                    let before = catalog.elsewhere.remove(&url(listed));
                    let sha256 = metadata.stored().sha256;
                    let highest = before.filter(|before| before.sha256 == sha256);
                    let verified = highest.map_or(verified, |before| before.verified.max(verified));
                    let checked = Checked {
                        verified,
                        at,
                        sha256,
                        version: listed.version.clone(),
                        unknown: Unknown::default(),
                    };
                    catalog.elsewhere.insert(url(listed), checked);
                }
            }
        });
        if let Err(error) = noted {
            tracing::info!(%error, "cannot store the results of the check");
        }
    }

    /// Fetches and reads what the store's word is not enough for.
    fn deepen(
        &self,
        listed: &mut Listed,
        scratch: &BackupDir,
        level: Level,
        known: &KnownLog,
        now: Timestamp,
        watch: &dyn Watch,
    ) -> Result<(), BackupError> {
        let Some(metadata) = &listed.metadata else { return Ok(()) };
        if listed.damage.is_some() || listed.level.is_some_and(|reached| reached >= level) {
            return Ok(());
        }
        let fetched = match self.of_place(&listed.place).fetch_id(listed.id, scratch, watch) {
            Ok(fetched) => fetched,
            Err(
                error @ (BackupError::Archive { .. }
                | BackupError::Metadata { .. }
                | BackupError::Newer { .. }),
            ) => {
                listed.damaged(&error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let key = known.keys.as_ref().filter(|keys| is_of(keys, metadata));
        match check(fetched.dir(), metadata, level, key, known.live.as_ref(), watch) {
            Ok(()) => {
                listed.level = Some(level);
                listed.verified_at = Some(now);
            }
            Err(BackupError::Interrupted) => return Err(BackupError::Interrupted),
            Err(error @ BackupError::Usage(_)) => tracing::warn!(%error, "not checked"),
            Err(error) => listed.damaged(&error),
        }
        Ok(())
    }
}

fn signed(
    metadata: &Metadata,
    keys: Option<&crate::audit::keys::Keyring>,
    url: &str,
) -> Result<(), BackupError> {
    let bad = |what| BackupError::Metadata { path: url.into(), what };
    let own = metadata.own_keys().map_err(bad)?;
    metadata.verify(keys.unwrap_or(&own)).map_err(bad)?;
    Ok(())
}

/// What is pinned here: by id and content, since another log's backup may have
/// the same id.
fn pins(dir: &BackupDir) -> BTreeSet<(BackupId, String)> {
    let Ok(contents) = dir.contents() else { return BTreeSet::new() };
    contents
        .backups
        .into_iter()
        .filter(|entry| entry.pinned)
        .filter_map(|entry| Some((entry.id, entry.metadata.ok()?.stored().sha256.to_string())))
        .collect()
}
