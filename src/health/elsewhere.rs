//! Copies of a log that the settings name: what is noted of them, and the signed heads that
//! are kept with them. No archive is read, and no record.

use std::path::PathBuf;

use serde::Serialize;

use crate::archive::{ArchivePlace, ArchiveStatus, Lag};
use crate::audit::keys::histories::KnownHead;
use crate::backup::{self, BackupId, Catalog};
use crate::clock::Timestamp;
use crate::fsio::Fs;

/// The heads of so many backups are read: it has to be quick.
const MOST_HEADS: usize = 16;
/// So many backups are listed, the newest ones.
const MOST_BACKUPS: usize = 500;

/// Where the copies are.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// The directory of backups.
    pub backups: Option<PathBuf>,
    /// The archive, as the settings write it.
    pub archive: Option<String>,
}

/// A backup, by the catalog's word, which is a hint.
#[derive(Clone, Debug, Serialize)]
pub struct BackupNoted {
    id: String,
    epoch: u32,
    first_seq: u64,
    end_seq: u64,
    at: Timestamp,
    stored_bytes: u64,
    verified: &'static str,
    verified_at: Timestamp,
    damage: Option<String>,
    copies: Vec<CopyNoted>,
}

/// A copy of a backup in a cloud.
#[derive(Clone, Debug, Serialize)]
pub struct CopyNoted {
    place: String,
    state: &'static str,
}

/// How far an archive is, by the position of who ships, which is a hint.
#[derive(Clone, Debug, Serialize)]
pub struct ArchiveNoted {
    place: String,
    end_seq: u64,
    waiting_seconds: u64,
    at: Option<Timestamp>,
}

impl Elsewhere {
    /// The heads of the newest backups. Their signatures are not checked; what cannot be read
    /// is none.
    #[must_use]
    pub fn heads(&self, fs: &dyn Fs, log_id: &str) -> Vec<KnownHead> {
        let dir = self.backups.as_deref();
        let Some(dir) = dir else { return Vec::new() };
        let found = backup::heads(fs, dir, Some(log_id), MOST_HEADS).ok();
        let mut heads = found.map(|found| found.heads).unwrap_or_default();
        // Metadata without its archive holds no record.
        let is_there = |name: String| fs.meta(&dir.join(name)).is_ok_and(|meta| meta.is_file);
        heads.retain(|head| match head.name.parse::<BackupId>() {
            Ok(id) => is_there(id.archive(false)) || is_there(id.archive(true)),
            Err(_) => false,
        });
        heads
    }

    /// The log's backups, the newest first.
    #[must_use]
    pub fn noted(&self, fs: &dyn Fs, log_id: &str) -> Vec<BackupNoted> {
        let dir = self.backups.as_deref();
        let Some(catalog) = dir.and_then(|dir| Catalog::peek(fs, dir).ok().flatten()) else {
            return Vec::new();
        };
        let own = catalog.backups.iter().filter(|(_, noted)| noted.log_id == log_id);
        own.rev()
            .take(MOST_BACKUPS)
            .map(|(id, noted)| BackupNoted {
                id: id.to_string(),
                epoch: noted.epoch,
                first_seq: noted.first_seq,
                end_seq: noted.tree_size,
                at: noted.created_at,
                stored_bytes: noted.stored_bytes,
                verified: noted.verified.as_str(),
                verified_at: noted.verified_at,
                damage: noted.damage.clone(),
                copies: noted
                    .copies
                    .iter()
                    .map(|(place, copy)| CopyNoted {
                        place: place.clone(),
                        state: copy.state.as_str(),
                    })
                    .collect(),
            })
            .collect()
    }

    /// The archive, if one is named.
    #[must_use]
    pub fn shipped(
        &self,
        fs: &dyn Fs,
        log_dir: &std::path::Path,
        now: Timestamp,
    ) -> Option<ArchiveNoted> {
        let named = self.archive.as_deref().filter(|named| !named.is_empty())?;
        let place = ArchivePlace::of_setting(named).ok()?;
        let lag = Lag::look(fs, log_dir, &place.url(), now).ok().flatten();
        let status = ArchiveStatus::read(fs, log_dir).ok().flatten();
        let status = status.filter(|status| status.destination == place.url());
        Some(ArchiveNoted {
            place: place.shown(),
            end_seq: lag.as_ref().map_or(0, |lag| lag.shipped),
            waiting_seconds: lag.as_ref().map_or(0, |lag| lag.age_seconds),
            at: status.and_then(|status| status.complete_at),
        })
    }
}
