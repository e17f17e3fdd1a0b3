//! Making a backup: take a snapshot, write the archive under a temporary name,
//! make it durable, read all of it back from the disk, prove that it extends the
//! backup before, and only then give it its name, the metadata last.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::catalog::{Catalog, Failure, Noted};
use super::chain;
use super::content::{self, Content, Source, Wanted};
use super::digest::{Digester, Digests, FileSink};
use super::directory::BackupDir;
use super::encrypt::{Identities, Recipients, Sealing, open_sealed};
use super::error::{ArchiveFault, BackupError, io_error};
use super::heads::{MAX_HEADS, heads};
use super::hole::Hole;
use super::metadata::{
    Archive, Encryption, Held, LogIdentity, MAX_METADATA_BYTES, Metadata, MetadataError, Previous,
    Verified,
};
use super::name::BackupId;
use super::pack::{Packed, pack};
use super::reread;
use crate::audit::Span;
use crate::audit::files::examine::examine;
use crate::audit::files::gzip::Unpacker;
use crate::audit::keys::histories::{KnownHead, OwnHistory};
use crate::audit::keys::load_keyring;
use crate::audit::keys::signer::SigningKey;
use crate::audit::read::snapshot::{Part, Snapshot, SnapshotError};
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::audit::tree::document::Unknown;
use crate::audit::tree::merkle::Hash;
use crate::audit::write::own::BackupMade;
use crate::audit::{LogPaths, Options};
use crate::clock::Clock;
use crate::fsio::{self, FsFile, OpenMode, SharedFs};

/// Retention may remove a segment while it is copied; a new snapshot does without it.
const ATTEMPTS: u32 = 3;
/// `checkpoint_interval` is a second by default.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(5);
/// A change of the key takes a moment; looking again so often outlasts it.
const SIGNING_LOOKS: u32 = 3;
/// What the tail is expected to shrink to at least, for the space that is asked for.
const LEAST_RATIO: u64 = 3;

/// What is to be backed up, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The log directory.
    pub log_dir: PathBuf,
    /// The signing key; `audit.key` in the log directory when unset.
    pub key_path: Option<PathBuf>,
    /// The gzip level of what is not compressed yet.
    pub level: u32,
    /// Public keys (`age1…`) to encrypt the archive to; none leaves it as it is.
    pub encrypt_to: Vec<String>,
}

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    /// Its metadata.
    pub metadata: Metadata,
    /// The archive.
    pub archive: PathBuf,
    /// The metadata's file.
    pub metadata_file: PathBuf,
    /// Bytes at the log's end that no checkpoint covers and no writer is at work
    /// to sign: they are not in the backup.
    pub unsigned_tail: u64,
    /// Why the metadata is not signed, if it is not.
    pub unsigned: Option<String>,
    /// Of the records that the log does not have: an earlier backup that holds them, for
    /// each run of which there is one.
    pub held_elsewhere: Vec<(Span, BackupId)>,
    /// Seconds that each stage took.
    pub seconds: Vec<(Stage, f64)>,
    /// Why the catalog could not be brought up to date, if so.
    pub catalog_error: Option<BackupError>,
}

impl Made {
    /// The records that it lacks because they are damaged, and nobody has given up, of
    /// which no earlier backup is here either.
    #[must_use]
    pub fn uncovered(&self) -> Vec<Span> {
        let held = |span: &Span| self.held_elsewhere.iter().any(|(other, _)| other == span);
        self.metadata.lacking().into_iter().filter(|span| !held(span)).collect()
    }

    /// What the log is to record of it ([`AuditLog::record_backup_made`]): from then on it
    /// knows that it has been backed up.
    ///
    /// [`AuditLog::record_backup_made`]: crate::audit::AuditLog::record_backup_made
    #[must_use]
    pub fn to_record(&self) -> BackupMade {
        let (metadata, place) = (&self.metadata, fsio::parent(&self.archive));
        let place = std::path::absolute(&place).unwrap_or(place);
        BackupMade {
            backup: metadata.id.to_string(),
            first_seq: metadata.range.first_seq,
            tree_size: metadata.range.tree_size,
            root_hash: metadata.root_hash,
            sha256: metadata.stored().sha256,
            place: place.display().to_string(),
            uid: rustix::process::geteuid().as_raw(),
        }
    }
}

impl Request {
    /// Of an open log, or one that is opened so.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        Self {
            log_dir: options.dir.clone(),
            key_path: options.key_path.clone(),
            level: options.compression_level,
            encrypt_to: Vec::new(),
        }
    }
}

/// What a backup would hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The id that it would have now.
    pub id: BackupId,
    /// The first record.
    pub first_seq: u64,
    /// The seq after the last record.
    pub tree_size: u64,
    /// Bytes that would be copied as they are.
    pub copied_bytes: u64,
    /// Records that would be compressed.
    pub compressed_records: u64,
    /// Bytes that are available where it would be written.
    pub available_bytes: u64,
    /// The backup that it would extend.
    pub previous: Option<BackupId>,
}

/// This host's name, as metadata has it.
#[must_use]
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Makes one.
#[derive(Clone, Debug)]
pub struct Creator {
    /// The file system.
    pub fs: SharedFs,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where backups are written.
    pub dir: BackupDir,
}

impl Creator {
    /// Makes a backup.
    ///
    /// # Errors
    /// See [`BackupError`]; no backup was made then, which the catalog notes.
    pub fn create(&self, request: &Request, watch: &dyn Watch) -> Result<Made, BackupError> {
        if self.fs.meta(self.dir.path()).is_err() {
            // Without a log there is nothing to make a directory for.
            Snapshot::take(&self.fs, &request.log_dir)?;
        }
        Recipients::parse(&request.encrypt_to)?;
        // It could not be noted; so nothing is touched.
        Catalog::peek(&*self.fs, self.dir.path())?;
        let _lock = self.dir.lock_alone()?;
        self.dir.clear_leftovers()?;
        let made = self.attempts(request, watch);
        let noted = self.note(made.as_ref());
        made.map(|made| Made { catalog_error: noted.err(), ..made })
    }

    /// What it would do; writes nothing.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn outlook(&self, request: &Request) -> Result<Outlook, BackupError> {
        let snapshot = Snapshot::take(&self.fs, &request.log_dir)?;
        let (id, _) = self.next_id()?;
        let copied = |part: &Part| match part {
            Part::Stored(segment) => segment.stored_bytes,
            _ => 0,
        };
        let compressed = |part: &Part| match part {
            Part::Stored(_) => 0,
            other => other.records(),
        };
        Ok(Outlook {
            id,
            first_seq: snapshot.manifest.pruned.end(),
            tree_size: snapshot.checkpoint.size,
            copied_bytes: snapshot.parts.iter().map(copied).sum(),
            compressed_records: snapshot.parts.iter().map(compressed).sum(),
            available_bytes: self.available()?,
            previous: self.previous(&snapshot)?.map(|metadata| metadata.id),
        })
    }

    fn attempts(&self, request: &Request, watch: &dyn Watch) -> Result<Made, BackupError> {
        let mut left = ATTEMPTS;
        loop {
            left -= 1;
            match self.attempt(request, false, watch) {
                Err(BackupError::Snapshot(SnapshotError::Pruned { .. })) if left > 0 => {}
                Err(damaged) if is_damage(&damaged) => {
                    // What is good is backed up. Where that cannot be told, the damage is
                    // what is to be said.
                    return match self.attempt(request, true, watch) {
                        Err(BackupError::Interrupted) => Err(BackupError::Interrupted),
                        Err(_) => Err(damaged),
                        made => made,
                    };
                }
                done => return done,
            }
        }
    }

    /// In the catalog: what `health` says of the last attempt.
    fn note(&self, made: Result<&Made, &BackupError>) -> Result<(), BackupError> {
        let mut catalog = Catalog::load(&self.dir)?;
        match made {
            Ok(made) => {
                let uncovered = made.uncovered();
                let noted = Noted { uncovered, ..Noted::of(&made.metadata) };
                catalog.backups.insert(made.metadata.id, noted);
                catalog.last_failure = None;
                catalog.last_unchanged = None;
            }
            // Somebody's wish is no failure.
            Err(BackupError::Interrupted) => return Ok(()),
            Err(error) => {
                catalog.last_failure = Some(Failure {
                    at: self.clock.now(),
                    kind: error.kind().to_owned(),
                    message: error.to_string(),
                    unknown: Unknown::default(),
                });
            }
        }
        catalog.store(&self.dir)
    }

    fn available(&self) -> Result<u64, BackupError> {
        // The directory may not be there yet.
        let place = self.dir.path().ancestors().find(|path| self.fs.meta(path).is_ok());
        let place = place.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(self.fs.space(place).map_err(io_error("ask for space at", place))?.available)
    }

    /// The newest backup of the same log, whose tree this one must extend.
    pub(super) fn previous(&self, snapshot: &Snapshot) -> Result<Option<Metadata>, BackupError> {
        let log = &snapshot.manifest;
        let mut known = Vec::new();
        for entry in self.dir.contents()?.backups {
            match entry.metadata {
                Ok(metadata) => known.push(metadata),
                // What cannot be read now may be what this one has to extend.
                Err(error @ BackupError::Io { .. }) => return Err(error),
                // What is damaged is no backup, and what a newer version made is not for
                // this one to extend; `list` shows both.
                Err(error) => tracing::warn!(%error, "not extended"),
            }
        }
        let same = known
            .into_iter()
            .filter(|metadata| metadata.log.id == log.log_id && metadata.log.epoch <= log.epoch)
            // One that somebody else signed proves nothing about this log.
            .filter(|metadata| metadata.verify(&snapshot.keys).is_ok());
        Ok(same.max_by_key(|metadata| (metadata.log.epoch, metadata.range.tree_size, metadata.id)))
    }

    /// The heads of the log's backups here; one that cannot be read proves nothing.
    fn heads(&self, log_id: &str) -> Vec<KnownHead> {
        let found = heads(&*self.fs, self.dir.path(), Some(log_id), MAX_HEADS);
        found.map(|found| found.heads).unwrap_or_default()
    }

    fn next_id(&self) -> Result<(BackupId, bool), BackupError> {
        let now = BackupId::at(self.clock.now());
        Ok(match self.dir.newest_id()? {
            Some(newest) if newest >= now => (newest.next(), true),
            _ => (now, false),
        })
    }

    /// Waits until the writer has signed what it had acknowledged when the backup
    /// was asked for: it does so every `checkpoint_interval`. A writer that is
    /// slower than a few seconds is not waited for.
    pub(super) fn wait_for_checkpoint(&self, request: &Request, watch: &dyn Watch) {
        let paths = LogPaths::new(&request.log_dir);
        let page = || {
            let runs = paths.writer_runs().unwrap_or(false);
            StatusSnapshot::read(&paths.status()).ok().filter(|_| runs)
        };
        let Some(wanted) = page().map(|page| page.get(Word::DurableSeq)) else { return };
        let until = Instant::now() + CHECKPOINT_WAIT;
        while page().is_some_and(|page| page.get(Word::CheckpointSize) < wanted)
            && Instant::now() < until
            && !watch.interrupted()
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// With `salvage`, what is damaged is left out, and named.
    fn attempt(
        &self,
        request: &Request,
        salvage: bool,
        watch: &dyn Watch,
    ) -> Result<Made, BackupError> {
        let mut times = Times::new();
        let recipients = Recipients::parse(&request.encrypt_to)?;
        self.wait_for_checkpoint(request, watch);
        times.done(Stage::Wait);
        let log_id = Snapshot::take(&self.fs, &request.log_dir)?.manifest.log_id;
        let heads = self.heads(&log_id);
        // After the heads were read, so that none is ahead by mere chance.
        let mut snapshot = Snapshot::take(&self.fs, &request.log_dir)?;
        if salvage && !snapshot.salvage()? {
            return Err(BackupError::LogDamaged("nothing shows where it is damaged".to_owned()));
        }
        other_history(&snapshot, &heads, &BTreeMap::new())?;
        let previous = self.previous(&snapshot)?;
        let expected = self.check_space(&snapshot)?;
        let (id, clock_adjusted) = self.next_id()?;
        let encrypts = !request.encrypt_to.is_empty();
        let archive = fsio::temporary_name(&self.dir.join(&id.archive(encrypts)));
        let mut draft = Draft { dir: &self.dir, id, files: vec![archive.clone()] };

        watch.stage(Stage::Pack, expected);
        let file =
            self.fs.open(&archive, OpenMode::CreateNew).map_err(io_error("make", &archive))?;
        let (packed, sealed) = if encrypts {
            let mut sealing = Sealing::begin(&*file, &archive, &recipients)?;
            let packed = pack(&snapshot, request.level, &mut sealing, &archive, watch)?;
            (packed, Some(sealing.finish().map_err(io_error("write", &archive))?))
        } else {
            let mut sink = FileSink::new(&*file);
            (pack(&snapshot, request.level, &mut sink, &archive, watch)?, None)
        };
        times.done(Stage::Pack);
        watch.stage(Stage::Sync, 0);
        file.sync_data().map_err(io_error("sync", &archive))?;
        // So that it is the disk that is read back, not what was written.
        file.drop_cache().map_err(io_error("drop from the cache", &archive))?;
        drop(file);
        times.done(Stage::Sync);

        watch.stage(Stage::Verify, packed.digests.bytes);
        let wanted = Wanted {
            sizes: own_history(&snapshot).sizes(&heads).into_iter().collect(),
            ranges: previous.as_ref().map_or_else(Vec::new, |previous| {
                chain::needed(previous.range.tree_size, snapshot.checkpoint.size)
            }),
            ..Wanted::default()
        };
        let file = self.written(&archive, sealed.as_ref(), watch)?;
        let content = self.read_back(&snapshot, &packed, (&*file, &archive), &wanted, watch)?;
        content::leads(&content, &content.tree, &snapshot.keys).map_err(|what| {
            let path = LogPaths::new(&request.log_dir).keys();
            BackupError::KeyChain { path, what }
        })?;
        times.done(Stage::Verify);
        let roots =
            content.trees.iter().filter_map(|(size, tree)| Some((*size, tree.root().ok()?)));
        other_history(&snapshot, &heads, &roots.collect())?;
        let previous = link(previous.as_ref(), &snapshot, &content)?;
        let held_elsewhere = self.held_elsewhere(&snapshot);

        let unsigned_tail = unsigned_tail(&snapshot, &content, &request.log_dir);
        let mut metadata = describe(&snapshot, packed, &content, request.level, id)?;
        metadata.created_at = self.clock.now();
        metadata.clock_adjusted = clock_adjusted;
        metadata.previous = previous;
        metadata.verified.milliseconds = times.of(Stage::Verify);
        if let Some((digests, _)) = sealed {
            metadata.archive.file = id.archive(true);
            metadata.encryption = Some(Encryption {
                format: "age".to_owned(),
                recipients: request.encrypt_to.clone(),
                digests,
            });
        }
        let unsigned = self.sign(request, &mut metadata);

        watch.stage(Stage::Commit, 0);
        let metadata_file = self.dir.join(&id.metadata());
        let bad = |what| BackupError::Metadata { path: metadata_file.clone(), what };
        let sidecar = fsio::temporary_name(&metadata_file);
        let text = metadata.to_bytes().map_err(bad)?;
        // What nobody could read back is no backup.
        if text.len() as u64 > MAX_METADATA_BYTES {
            let what = format!("it would have {} bytes, more than auditctl reads", text.len());
            return Err(bad(MetadataError::Altered(what)));
        }
        Metadata::parse(&text, id).map_err(|what| BackupError::metadata(&metadata_file, what))?;
        draft.files.push(sidecar.clone());
        self.write_new(&sidecar, &text)?;
        if watch.interrupted() {
            return Err(BackupError::Interrupted);
        }
        self.dir.commit(&metadata, &archive, &sidecar)?;
        draft.files.clear();
        times.done(Stage::Commit);
        let archive = self.dir.join(&metadata.archive.file);
        let seconds = times.seconds;
        Ok(Made {
            metadata,
            archive,
            metadata_file,
            unsigned_tail,
            unsigned,
            held_elsewhere,
            seconds,
            catalog_error: None,
        })
    }

    /// Of the records that the log does not have: the newest earlier backup that holds
    /// all of them, for each run that one does.
    fn held_elsewhere(&self, snapshot: &Snapshot) -> Vec<(Span, BackupId)> {
        let Ok(contents) = self.dir.contents() else { return Vec::new() };
        let known: Vec<Metadata> = contents
            .backups
            .into_iter()
            .filter_map(|entry| entry.metadata.ok())
            .filter(|metadata| metadata.log.id == snapshot.manifest.log_id)
            .filter(|metadata| metadata.verify(&snapshot.keys).is_ok())
            .collect();
        let holds = |metadata: &&Metadata, span: Span| metadata.holds(span);
        let spans =
            snapshot.holes().map(|hole| Span { begin: hole.first_seq, end: hole.tree.end() });
        spans
            .filter_map(|span| {
                let held = known.iter().filter(|metadata| holds(metadata, span));
                Some((span, held.map(|metadata| metadata.id).max()?))
            })
            .collect()
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
        let write = || {
            let file = self.fs.open(path, OpenMode::CreateNew)?;
            file.write_all_at(bytes, 0)?;
            file.sync_data()
        };
        write().map_err(io_error("write", path))
    }

    /// The bytes that will be gone through, after asking for space for them.
    fn check_space(&self, snapshot: &Snapshot) -> Result<u64, BackupError> {
        let (mut copied, mut compressed) = (0, 0);
        for part in &snapshot.parts {
            match part {
                Part::Stored(segment) => copied += segment.stored_bytes,
                Part::Cut { segment, .. } => compressed += segment.raw_bytes,
                Part::Lines(lines) => compressed += lines.bytes(),
                Part::Left(left) => compressed += left.raw_bytes(),
            }
        }
        let needed = copied + compressed / LEAST_RATIO + (1 << 20);
        let available = self.available()?;
        if available < needed {
            let path = self.dir.path().to_path_buf();
            return Err(BackupError::NoSpace { path, needed, available });
        }
        Ok(copied + compressed)
    }

    /// What was written, to be read back; one that is encrypted is what was sealed, and is
    /// decrypted in memory.
    fn written(
        &self,
        path: &Path,
        sealed: Option<&(Digests, Identities)>,
        watch: &dyn Watch,
    ) -> Result<Box<dyn FsFile>, BackupError> {
        let file = self.fs.open(path, OpenMode::ReadOwn).map_err(io_error("open", path))?;
        let Some((digests, key)) = sealed else { return Ok(file) };
        let found = reread::digests(&*file, path, watch)?;
        if found != *digests {
            let what = ArchiveFault::Checksum {
                expected: digests.sha256.to_string(),
                found: found.sha256.to_string(),
            };
            return Err(BackupError::Archive { path: path.to_path_buf(), what });
        }
        open_sealed(file, path, key)
    }

    fn read_back(
        &self,
        snapshot: &Snapshot,
        packed: &Packed,
        (file, path): (&dyn FsFile, &Path),
        wanted: &Wanted,
        watch: &dyn Watch,
    ) -> Result<Content, BackupError> {
        let holes: Vec<Hole> = snapshot.holes().map(Hole::of).collect();
        let source = Source {
            file,
            path,
            stretches: &packed.stretches,
            pruned: &snapshot.manifest.pruned,
            holes: &holes,
        };
        let content = match content::read(&source, wanted, watch, &mut |_, _| Ok(())) {
            Ok(content) => content,
            // What was written is what the log holds: that is where the damage is,
            // unless the disk returns something else than what was written.
            Err(BackupError::Archive { what, .. }) => {
                return Err(self.whose_fault(file, snapshot, packed, what));
            }
            Err(other) => return Err(other),
        };
        if content.digests != packed.digests {
            let (expected, found) = (&packed.digests, &content.digests);
            let what = ArchiveFault::Checksum {
                expected: expected.sha256.to_string(),
                found: found.sha256.to_string(),
            };
            return Err(BackupError::Archive { path: path.to_path_buf(), what });
        }
        Ok(content)
    }

    fn whose_fault(
        &self,
        file: &dyn FsFile,
        snapshot: &Snapshot,
        packed: &Packed,
        what: ArchiveFault,
    ) -> BackupError {
        let mut digester = Digester::default();
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while let Ok(read @ 1..) = file.read_at(&mut buffer, at) {
            digester.update(&buffer[..read]);
            at += read as u64;
        }
        if digester.finish() != packed.digests {
            let path = self.dir.path().to_path_buf();
            return BackupError::Archive { path, what };
        }
        let place = match &what {
            ArchiveFault::Root { .. } => altered_block(snapshot),
            _ => None,
        };
        BackupError::LogDamaged(place.unwrap_or_else(|| what.to_string()))
    }

    /// Signs the metadata; why not, if it cannot be. A key that is being changed may be
    /// seen between its files: then they are looked at again.
    fn sign(&self, request: &Request, metadata: &mut Metadata) -> Option<String> {
        for _ in 0..SIGNING_LOOKS {
            self.sign_once(request, metadata)?;
            std::thread::sleep(Duration::from_millis(50));
        }
        self.sign_once(request, metadata)
    }

    fn sign_once(&self, request: &Request, metadata: &mut Metadata) -> Option<String> {
        let paths = LogPaths::new(&request.log_dir);
        let path = request.key_path.clone().unwrap_or_else(|| paths.key());
        let signed =
            SigningKey::load(&*self.fs, &path).map_err(|error| error.to_string()).and_then(|key| {
                if key.verifier().to_string() != metadata.log.public_key {
                    // The key may have been changed since the snapshot was taken.
                    let keys =
                        load_keyring(&*self.fs, &paths, None).map_err(|error| error.to_string())?;
                    let own = metadata.own_keys().map_err(|error| error.to_string())?;
                    let now = own.extended(keys.rotations());
                    if key.verifier() != now.newest() {
                        let path = path.display();
                        return Err(format!("{path} is another log's key, or was retired"));
                    }
                    metadata.log.key_chain = now.rotations().to_vec();
                }
                metadata.sign(&key).map_err(|error: MetadataError| error.to_string())
            });
        signed.err()
    }
}

/// Whether it is the log's records that are at fault.
fn is_damage(error: &BackupError) -> bool {
    match error {
        BackupError::LogDamaged(_) => true,
        BackupError::Snapshot(SnapshotError::Io { source, .. })
        | BackupError::Io { source, .. } => {
            matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData)
        }
        BackupError::Snapshot(SnapshotError::Short { .. }) => true,
        _ => false,
    }
}

fn own_history(snapshot: &Snapshot) -> OwnHistory<'_> {
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
fn other_history(
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
fn altered_block(snapshot: &Snapshot) -> Option<String> {
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

fn unsigned_tail(snapshot: &Snapshot, content: &Content, log_dir: &Path) -> u64 {
    let (Some(Part::Lines(lines)), Some(blocks)) = (snapshot.parts.last(), content.blocks.last())
    else {
        return 0;
    };
    if LogPaths::new(log_dir).writer_runs().unwrap_or(true) {
        return 0;
    }
    let held: u64 = blocks.iter().map(|block| block.raw_bytes).sum();
    lines.bytes().saturating_sub(held)
}

fn link(
    previous: Option<&Metadata>,
    snapshot: &Snapshot,
    content: &Content,
) -> Result<Option<Previous>, BackupError> {
    let Some(previous) = previous else { return Ok(None) };
    match chain::link(previous, &snapshot.checkpoint, &content.ranges) {
        Ok(link) => Ok(Some(link)),
        // Another epoch begins where signed records were set aside, which its
        // records say: it need not extend what came before.
        Err(BackupError::NotAPrefix { .. }) if previous.log.epoch < snapshot.manifest.epoch => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn describe(
    snapshot: &Snapshot,
    packed: Packed,
    content: &Content,
    level: u32,
    id: BackupId,
) -> Result<Metadata, BackupError> {
    let (min_timestamp, max_timestamp) = content.times();
    let manifest = &snapshot.manifest;
    let stored = packed.digests.bytes as f64;
    let saved = 100.0 * (1.0 - stored / (content.raw_bytes.max(1) as f64));
    let first_seq = manifest.pruned.end();
    let tree_size = snapshot.checkpoint.size;
    let authority = content.said.authority(tree_size);
    let given_up_by = |span: Span| {
        let named = || authority.holes.iter().rev();
        let by =
            named().find(|named| (named.hole.first_seq..named.hole.end_seq).contains(&span.begin));
        by.filter(|_| authority.names_hole(span.begin, span.end)).map(|named| named.record)
    };
    let holes: Vec<Hole> = snapshot
        .holes()
        .map(Hole::of)
        .map(|hole| Hole { given_up_by: given_up_by(hole.span()), ..hole })
        .collect();
    let gone: u64 = holes.iter().map(|hole| hole.span().records()).sum();
    Ok(Metadata {
        id,
        tool: format!("auditctl {}", env!("CARGO_PKG_VERSION")),
        host: host(),
        created_at: id.time(),
        clock_adjusted: false,
        log: LogIdentity {
            id: manifest.log_id.clone(),
            epoch: manifest.epoch,
            origin: snapshot.origin()?.to_string(),
            public_key: snapshot.verifier.to_string(),
            key_chain: snapshot.keys.rotations().to_vec(),
        },
        range: Held {
            first_seq,
            tree_size,
            records: tree_size - first_seq,
            min_timestamp,
            max_timestamp,
            pruned: manifest.pruned.clone(),
        },
        root_hash: snapshot.checkpoint.root,
        checkpoint: snapshot.note.to_string(),
        previous: None,
        archive: Archive {
            file: id.archive(false),
            digests: packed.digests,
            raw_bytes: content.raw_bytes,
            raw_sha256: content.raw_sha256,
            level,
            compression_percent: (saved * 10.0).round() / 10.0,
        },
        segments: packed.stretches,
        holes,
        encryption: None,
        verified: Verified {
            level: "content".to_owned(),
            records: tree_size - first_seq - gone,
            milliseconds: 0,
        },
        signature: None,
        read_from: None,
    })
}

/// Files that go when the backup does not come about.
struct Draft<'a> {
    dir: &'a BackupDir,
    id: BackupId,
    /// The metadata last: while it is there, the rest is known to be a leftover.
    files: Vec<PathBuf>,
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        let fs = &self.dir.fs;
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let there = fs.meta(&self.dir.join(&self.id.metadata()));
        if self.files.is_empty() || !there.is_err_and(|error| gone(&error)) {
            // Made; or named and not known to be durable, which is no reason to
            // take it away.
            return;
        }
        let named = [false, true].map(|encrypted| self.dir.join(&self.id.archive(encrypted)));
        for path in named.iter().chain(&self.files) {
            match fs.remove(path) {
                Err(error) if !gone(&error) => return,
                _ => {}
            }
        }
    }
}

struct Times {
    since: Instant,
    seconds: Vec<(Stage, f64)>,
}

impl Times {
    fn new() -> Self {
        Self { since: Instant::now(), seconds: Vec::new() }
    }

    fn done(&mut self, stage: Stage) {
        self.seconds.push((stage, self.since.elapsed().as_secs_f64()));
        self.since = Instant::now();
    }

    fn of(&self, stage: Stage) -> u64 {
        let found = self.seconds.iter().find(|(done, _)| *done == stage);
        found.map_or(0, |(_, seconds)| (seconds * 1e3) as u64)
    }
}
