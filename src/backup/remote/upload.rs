//! Sending a backup: the archive first, then the metadata, which makes it one.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::Remote;
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::tree::document::{DocumentError, Kind, Layout, decode, encode_file};
use crate::backup::catalog::{Catalog, Copied, CopyState, Level};
use crate::backup::check::check;
use crate::backup::directory::BackupDir;
use crate::backup::error::{BackupError, io_error};
use crate::backup::metadata::{MAX_METADATA_BYTES, Metadata};
use crate::backup::name::{BackupId, FileKind, parse_name};
use crate::clock::Clock;
use crate::fsio;
use crate::store::{Body, Lock, Object, Put, UploadState};

/// The state of an upload is small.
pub(crate) const MAX_STATE_BYTES: u64 = 64 << 10;

/// A backup that a store has confirmed to have.
#[derive(Clone, Debug)]
pub struct Uploaded {
    /// Which.
    pub id: BackupId,
    /// The folder's URL.
    pub place: String,
    /// The archive's URL.
    pub url: String,
    /// The archive, as the store has it.
    pub archive: Object,
    /// The metadata, as the store has it.
    pub metadata: Object,
    /// How many bytes an earlier run had sent.
    pub resumed_from: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Remote {
    /// Sends a backup, and returns once the store has said to have both files:
    /// their sizes, checksums, versions, and the lock, if one was asked for. What
    /// comes of it is noted in the catalog.
    ///
    /// # Errors
    /// See [`BackupError`]. How far it got is kept: called again, it goes on there.
    pub fn upload(
        &self,
        dir: &BackupDir,
        metadata: &Metadata,
        lock: Option<Lock>,
        clock: &dyn Clock,
        watch: &dyn Watch,
    ) -> Result<Uploaded, BackupError> {
        // What a newer version noted is not for this one to write.
        Catalog::peek(&*dir.fs, dir.path())?;
        state_in(dir, &self.state_file(dir, metadata))?;
        let note = |copied: Copied| {
            let noted = Catalog::update(dir, |catalog| {
                if let Some(noted) = catalog.backups.get_mut(&metadata.id) {
                    noted.copies.insert(self.place(), copied);
                }
            });
            if let Err(error) = noted {
                tracing::warn!(%error, "cannot note the upload in the catalog");
            }
        };
        note(Copied::new(CopyState::Uploading, clock.now()));
        let uploaded = self.send(dir, metadata, lock, watch);
        note(match &uploaded {
            Ok(uploaded) => Copied {
                archive_version: uploaded.archive.version.clone(),
                metadata_version: uploaded.metadata.version.clone(),
                checksum: uploaded.archive.checksum.map(|sum| sum.to_string()),
                locked_until: uploaded.archive.locked_until,
                ..Copied::new(CopyState::Confirmed, clock.now())
            },
            Err(error) => Copied {
                problem: Some(in_full(error)),
                ..Copied::new(CopyState::Failed, clock.now())
            },
        });
        uploaded
    }

    /// Sends a backup that was made before, once its bytes have been read again.
    ///
    /// # Errors
    /// As [`upload`](Self::upload); what is wrong with the backup here.
    pub fn resume(
        &self,
        dir: &BackupDir,
        metadata: &Metadata,
        lock: Option<Lock>,
        clock: &dyn Clock,
        watch: &dyn Watch,
    ) -> Result<Uploaded, BackupError> {
        check(dir, metadata, Level::Stored, None, None, watch)?;
        self.upload(dir, metadata, lock, clock, watch)
    }

    /// What the store has of a backup's two files; none where one is not there.
    pub(in crate::backup) fn both(
        &self,
        metadata: &Metadata,
    ) -> Result<Option<Uploaded>, BackupError> {
        let begun = Instant::now();
        let name = self.name(&metadata.archive.file);
        let Some(archive) = self.store.stat(&name)? else { return Ok(None) };
        let sidecar = self.store.stat(&self.name(&metadata.id.metadata()))?;
        Ok(sidecar.map(|sidecar| Uploaded {
            id: metadata.id,
            place: self.place(),
            url: self.store.url(&name),
            resumed_from: archive.size,
            archive,
            metadata: sidecar,
            seconds: begun.elapsed().as_secs_f64(),
        }))
    }

    /// The backups of a log that are there, by the names alone: how many, and the newest.
    ///
    /// # Errors
    /// When the store cannot be listed to the end.
    pub fn names(&self) -> Result<(u64, Option<BackupId>), BackupError> {
        let (mut count, mut newest) = (0, None);
        self.visit(&mut |_, file, _| {
            if let Some((id, FileKind::Metadata)) = parse_name(file) {
                count += 1;
                newest = newest.max(Some(id));
            }
            Ok(0)
        })?;
        Ok((count, newest))
    }

    fn state_file(&self, dir: &BackupDir, metadata: &Metadata) -> PathBuf {
        let url = self.store.url(&self.name(&metadata.archive.file));
        dir.join(&state_name(metadata.id, &url))
    }

    fn send(
        &self,
        dir: &BackupDir,
        metadata: &Metadata,
        lock: Option<Lock>,
        watch: &dyn Watch,
    ) -> Result<Uploaded, BackupError> {
        let begun = Instant::now();
        let sidecar = dir.join(&metadata.id.metadata());
        let text =
            dir.fs.read_own(&sidecar, MAX_METADATA_BYTES).map_err(io_error("read", &sidecar))?;
        let name = self.name(&metadata.archive.file);
        let url = self.store.url(&name);
        let state_file = self.state_file(dir, metadata);
        let resume = state_in(dir, &state_file)?;

        let stored = metadata.stored();
        let digests = stored.for_store().map_err(|why| BackupError::Metadata {
            path: sidecar.clone(),
            what: crate::backup::MetadataError::Contradiction(why),
        })?;
        watch.stage(Stage::Upload, stored.bytes);
        let told = Cell::new(0);
        let progress = |bytes: u64| {
            // Parts that are sent again are not counted twice.
            watch.advance(bytes.saturating_sub(told.get()));
            told.set(bytes.max(told.get()));
        };
        let stop = || watch.interrupted();
        let first = Cell::new(None);
        let mut keep = |state: &UploadState| {
            first.set(first.get().or(Some(state.stored)));
            // Without it the next run begins anew: no reason to end this one.
            let kept = encode_file(Kind::UPLOAD, state, Layout::Compact)
                .map_err(std::io::Error::other)
                .and_then(|bytes| fsio::replace_file(&*dir.fs, &state_file, &bytes));
            if let Err(error) = kept {
                tracing::info!(%error, "cannot store how far the upload is");
            }
        };
        let path = dir.join(&metadata.archive.file);
        let media_type =
            if metadata.encryption.is_some() { "application/age" } else { "application/gzip" };
        let archive = self.store.put_new(
            &name,
            Put {
                metadata: about(metadata),
                lock,
                resume,
                on_state: Some(&mut keep),
                on_progress: Some(&progress),
                interrupted: Some(&stop),
                ..Put::new(Body::File { path: &path, digests: &digests }, media_type)
            },
        )?;
        watch.stage(Stage::Confirm, 0);
        let sidecar = self.store.put_new(
            &self.name(&metadata.id.metadata()),
            Put {
                metadata: about(metadata),
                lock,
                interrupted: Some(&stop),
                ..Put::new(Body::Bytes(&text), "application/json")
            },
        )?;
        let _ = dir.fs.remove(&state_file);
        Ok(Uploaded {
            id: metadata.id,
            place: self.place(),
            url,
            archive,
            metadata: sidecar,
            resumed_from: first.get().unwrap_or(0),
            seconds: begun.elapsed().as_secs_f64(),
        })
    }
}

/// An error with what caused it: the store's own words are among that.
fn in_full(error: &BackupError) -> String {
    const MOST: usize = 800;
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next.filter(|_| text.len() < MOST) {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

/// How far it is; what is no state of ours counts for nothing.
fn state_in(dir: &BackupDir, path: &Path) -> Result<Option<UploadState>, BackupError> {
    let Ok(bytes) = dir.fs.read_own(path, MAX_STATE_BYTES) else { return Ok(None) };
    match decode(Kind::UPLOAD, &bytes) {
        Ok(state) => Ok(Some(state)),
        Err(what @ DocumentError::Newer { .. }) => {
            Err(BackupError::Newer { path: path.to_path_buf(), what })
        }
        Err(_) => Ok(None),
    }
}

/// What a HEAD of either object tells.
fn about(metadata: &Metadata) -> BTreeMap<String, String> {
    let pairs = [
        ("log_id", metadata.log.id.clone()),
        ("epoch", metadata.log.epoch.to_string()),
        ("first_seq", metadata.range.first_seq.to_string()),
        ("tree_size", metadata.range.tree_size.to_string()),
        ("root_hash", metadata.root_hash.to_string()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The file that says how far an upload got; by the backup and where it goes.
fn state_name(id: BackupId, url: &str) -> String {
    let hash = Sha256::digest(url.as_bytes());
    format!("{}.upload-{:08x}", id.stem(), u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]))
}
