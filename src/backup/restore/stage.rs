//! The staging directory: the backup's records as segment files, and everything
//! that is to be known before they are put in place.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::relation::{Live, Relation};
use super::{Extent, RestorePlan, RestoreRequest, Restorer, Target};
use crate::audit::LogPaths;
use crate::audit::files::gzip::{Packer, Unpacker};
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::restore as swap;
use crate::audit::files::restore::{Journal, STAGING, sha256_hex};
use crate::audit::files::segment::Block;
use crate::audit::keys::checkpoint::{Origin, VerifierKey};
use crate::audit::keys::histories::{Contradiction, OwnHistory};
use crate::audit::keys::signer::{Signer, SigningKey};
use crate::audit::keys::{KeyHistory, Keyring, Place, load_keyring};
use crate::audit::paths::sealed_name;
use crate::audit::read::snapshot::Snapshot;
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::tree::document::Unknown;
use crate::audit::tree::merkle::{Hash, Range};
use crate::backup::content::{self, Content, Source, Wanted};
use crate::backup::digest::FileSink;
use crate::backup::error::{ArchiveFault, BackupError, io_error};
use crate::backup::hole::Hole;
use crate::backup::marker::Marker;
use crate::backup::metadata::MetadataError;
use crate::backup::pack::pack;
use crate::backup::source::{About, Found, Wish, find};
use crate::fsio::{self, Fs, FsFile, OpenMode};

const KEYS: &str = "audit.keys";
const MANIFEST: &str = "audit.manifest.json";

/// A checked backup, its records in files beside the log's.
pub(super) struct Staged<'a> {
    restorer: &'a Restorer,
    name: String,
    dir: PathBuf,
    /// The staging directory was made in one that was not there before.
    made_place: Option<PathBuf>,
    found: Found,
    content: Content,
    segments: Vec<Segment>,
    tree: Range,
    keys: Keyring,
    key_from: &'static str,
    /// Of the checkpoint in the backup.
    origin: String,
    /// Whether less than the whole backup is restored.
    cut: bool,
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // After a restore it is gone already.
        swap::clear(&*self.restorer.fs, &self.dir);
        if let Some(place) = &self.made_place {
            // Only when nothing was put in it.
            let _ = self.restorer.fs.remove_dir(place);
        }
    }
}

impl<'a> Staged<'a> {
    /// Stages the backup that is wanted and checks all of it.
    pub(super) fn new(
        restorer: &'a Restorer,
        request: &RestoreRequest,
        place: &Path,
        live: &Live,
        watch: &dyn Watch,
    ) -> Result<Self, BackupError> {
        let fs = &*restorer.fs;
        let name = format!("{STAGING}{}-{}", restorer.clock.now().file_stamp(), std::process::id());
        let made_place = fs.meta(place).is_err().then(|| place.to_path_buf());
        let dir = place.join(&name);
        // What is only looked at is written nowhere; but a log is packed first.
        let writes = !request.dry_run || is_log(fs, &request.wish).is_some();
        let mut guard = Guard { fs, dir: Some((dir.clone(), made_place.clone())) };
        if writes {
            fsio::make_dirs(fs, place).map_err(io_error("make the directory", place))?;
            fs.create_dir_new(&dir).map_err(io_error("make the directory", &dir))?;
        }
        let found = locate(restorer, request, live, &dir, watch)?;
        let (keys, key_from) = choose_keys(restorer, request, live, &found)?;
        if keys.newest().log_id().as_deref() != Some(found.about.log().0) {
            return Err(other_log(&found, &keys));
        }
        let bad = |what| BackupError::Metadata { path: found.archive.clone(), what };
        let signed = found.about.verify(&keys).map_err(|what| match what {
            MetadataError::Signature(reason) if key_from != "the backup itself" => {
                bad(MetadataError::Signature(format!("{reason} (checked with {key_from})")))
            }
            what => bad(what),
        })?;
        let wanted = Wanted {
            sizes: live.sizes().into_iter().chain(extent_size(request.extent)).collect(),
            ranges: Vec::new(),
            until: match request.extent {
                Extent::ToTime(time) => Some(time),
                _ => None,
            },
        };
        let source = found.open(fs, &request.identities, watch)?;
        let out = (!request.dry_run).then_some(&*dir);
        let content = read(&found, &*source, Some((fs, place, out)), &wanted, watch)?;
        drop(source);
        if found.archive.parent() == Some(&*dir) {
            fs.remove(&found.archive).map_err(io_error("remove", &found.archive))?;
        }
        let (tree, cut) = tree_of(request.extent, &content)?;
        let mut segments = segments(&content, &found);
        if cut {
            match out {
                Some(dir) => cut_segments(fs, dir, &mut segments, &tree)?,
                None => segments.retain(|segment| segment.first_seq < tree.end()),
            }
        }
        if let Some(dir) = out {
            sync_all(fs, dir, &segments)?;
        }
        guard.dir = None;
        drop(guard);
        Ok(Self {
            restorer,
            name,
            dir,
            made_place,
            found,
            content,
            segments,
            tree,
            keys,
            key_from,
            origin: signed.origin,
            cut,
        })
    }

    /// The log's private key, if it is at hand and the one that signs.
    fn key(&self) -> Option<SigningKey> {
        let path = self.restorer.options.key_path.clone();
        let path = path.unwrap_or_else(|| LogPaths::new(self.restorer.log_dir()).key());
        let key = SigningKey::load(&*self.restorer.fs, &path).ok()?;
        (key.verifier() == self.keys.newest()).then_some(key)
    }

    /// Signs the journal, where the key is at hand. One that nobody signed is not undone
    /// by whoever opens the log, only by who restores again.
    pub(super) fn sign(&self, journal: &mut Journal) {
        if let Some(key) = self.key()
            && let Err(error) = journal.sign(&key)
        {
            tracing::warn!("the restore's journal is not signed: {error}");
        }
    }

    /// The signed head that the restored log begins with. A new epoch begins with one
    /// of its own, which only the key can sign; without it the backup's stands there,
    /// and opening tells that the log was put back.
    fn first_head(
        &self,
        plan: &RestorePlan,
        in_place: bool,
    ) -> Result<Option<String>, BackupError> {
        let of_backup = || self.found.about.note().to_owned();
        if !plan.new_epoch {
            return Ok(Some(of_backup()));
        }
        let failed = |error: String| BackupError::Refused(error);
        match self.key().filter(|_| in_place) {
            Some(key) => {
                let origin = Origin::of_key(key.name(), &plan.log_id, plan.epoch)
                    .map_err(|error| failed(error.to_string()))?;
                let mut signer =
                    Signer::new(key, origin).map_err(|error| failed(error.to_string()))?;
                let signed = signer.sign(&self.tree, &self.tree);
                Ok(Some(signed.map_err(|error| failed(error.to_string()))?.to_string()))
            }
            None if !self.cut => Ok(Some(of_backup())),
            None if in_place => Err(failed(
                "restoring a part of a backup in place needs the log's signing key: put the key \
                 back, or restore beside the log with --target DIR"
                    .to_owned(),
            )),
            None => Ok(None),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The records that will not be there, and which signed record of the backup says that
    /// they were given up.
    fn holes(&self) -> Vec<Hole> {
        let authority = self.content.said.authority(self.tree.end());
        let holes = self.found.about.holes().iter();
        let there = holes.filter(|hole| hole.tree.end() <= self.tree.end());
        there
            .map(|hole| {
                let span = hole.span();
                let by =
                    authority.holes.iter().rev().find(|named| {
                        (named.hole.first_seq..named.hole.end_seq).contains(&span.begin)
                    });
                let named = authority.names_hole(span.begin, span.end);
                let given_up_by = by.filter(|_| named).map(|named| named.record);
                Hole { given_up_by, ..hole.clone() }
            })
            .collect()
    }

    pub(super) fn plan(
        &self,
        restorer: &Restorer,
        request: &RestoreRequest,
        live: &Live,
        place: &Path,
    ) -> Result<RestorePlan, BackupError> {
        let (log_id, epoch) = self.found.about.log();
        if live.log_id().is_some_and(|there| there != log_id) {
            return Err(other_log(&self.found, &self.keys));
        }
        if request.target == Target::Log {
            content::leads(&self.content, &self.tree, &self.keys).map_err(|what| {
                let what = MetadataError::Signature(format!(
                    "{what}{}. Another backup may hold them. Otherwise restore beside the log \
                     with --target DIR, and open that log once with --accept-corruption",
                    self.found.about.keys_hint()
                ));
                BackupError::Metadata { path: self.found.archive.clone(), what }
            })?;
        }
        let relation = live.relation(&*restorer.fs, &self.content, &self.tree)?;
        let beside = matches!(request.target, Target::Beside(_));
        let keys = self.keys_for(request, epoch);
        // What both keys signed is signed, whatever of it is restored.
        let handed_over =
            keys.last_place().filter(|place| *place > Place { epoch, size: self.tree.end() });
        // A part of a backup is less than what was signed: it cannot be gone on
        // from under the same name.
        let new_epoch = self.cut
            || handed_over.is_some()
            || live.contradicts(&self.content, &self.tree)
            || matches!(relation, Relation::Diverged { .. })
            || live.epoch() > epoch;
        let elsewhere = if beside { Vec::new() } else { self.signed_elsewhere(restorer, &keys) };
        let new_epoch = new_epoch || !elsewhere.is_empty();
        let elsewhere = elsewhere.iter().map(|found| found.epoch).max();
        let highest = epoch
            .max(live.epoch())
            .max(handed_over.map_or(0, |place| place.epoch))
            .max(elsewhere.unwrap_or(0));
        Ok(RestorePlan {
            backup: self.found.label.clone(),
            log_id: log_id.to_owned(),
            origin: self.origin.clone(),
            first_seq: self.content.marker.pruned.end(),
            tree_size: self.tree.end(),
            root_hash: root(&self.tree),
            stored_bytes: self.segments.iter().map(|segment| segment.stored_bytes).sum(),
            relation,
            live_damage: if beside { Vec::new() } else { live.damage() },
            holes: self.holes(),
            epoch: if new_epoch { highest.saturating_add(1) } else { highest },
            new_epoch,
            key_from: self.key_from,
            key: keys.newest().to_string(),
            keys,
            rotations_there: KeyHistory::load(&*restorer.fs, &LogPaths::new(place))
                .ok()
                .map(|found| found.map_or_else(Vec::new, |history| history.rotations)),
            log_dir: place.to_path_buf(),
        })
    }

    /// The heads in reach that what is restored does not fit, the furthest of each
    /// epoch: they were signed, so the log cannot go on under the same name.
    fn signed_elsewhere(&self, restorer: &Restorer, keys: &Keyring) -> Vec<Contradiction> {
        let (log_id, epoch) = self.found.about.log();
        let size = self.tree.end();
        let own = OwnHistory { log_id, epoch, size, keys, abandoned: None };
        let roots = self.tree.root().ok().map(|root| (size, root)).into_iter().collect();
        let mut found = own.contradictions(&restorer.options.heads, &roots);
        found.sort_by_key(|found| std::cmp::Reverse((found.epoch, found.size)));
        found.dedup_by_key(|found| found.epoch);
        found
    }

    /// The log's keys as they are to be where it is restored. Beside, they are those
    /// of then: a copy of an earlier time knows nothing of what followed.
    fn keys_for(&self, request: &RestoreRequest, epoch: u32) -> Keyring {
        match request.target {
            Target::Log => self.keys.clone(),
            Target::Beside(_) => self.keys.until(Place { epoch, size: self.tree.end() }),
        }
    }

    /// Writes manifest and checkpoint into the staging directory.
    pub(super) fn prepare(&self, plan: &RestorePlan, live: &Live) -> Result<Prepared, BackupError> {
        let fs = &*self.restorer.fs;
        let stored = self.segments.iter().filter(|segment| segment.is_stored());
        let mut names: Vec<String> = stored.map(|segment| segment.file.clone()).collect();
        let in_place = plan.log_dir == self.restorer.log_dir();
        let key = self.key().filter(|_| in_place);
        if let Some(head) = self.first_head(plan, in_place)? {
            let path = self.dir.join("audit.checkpoint");
            fsio::replace_file(fs, &path, head.as_bytes()).map_err(io_error("write", &path))?;
            names.push("audit.checkpoint".to_owned());
        }
        if plan.new_keys() {
            let path = self.dir.join(KEYS);
            let history = KeyHistory {
                rotations: plan.keys.rotations().to_vec(),
                ..KeyHistory::new(&plan.log_id)
            };
            history.store(fs, &path).map_err(|error| BackupError::Snapshot(error.into()))?;
            names.push(KEYS.to_owned());
        }
        let said = self.content.said.authority(self.tree.end());
        // A new epoch begins with the key's first signature in it. Without the key the log
        // is what the backup's checkpoint says; whoever opens it next begins the epoch.
        let signed: Option<Origin> = self.origin.parse().ok();
        let epoch = match signed.filter(|_| in_place && key.is_none()) {
            Some(signed) => signed.epoch(),
            None => plan.epoch,
        };
        let mut manifest = Manifest {
            epoch,
            pruned: self.content.marker.pruned.clone(),
            pruned_by: said.removal.map(|(seq, _)| seq),
            holes_by: said.holes.iter().map(|named| named.record).max(),
            adopted: said.adopted,
            backed_up: said.backed_up,
            first_key: Some(plan.keys.oldest().to_string()),
            segments: self.segments.clone(),
            ..Manifest::new(plan.log_id.clone())
        };
        manifest.abandon(said.abandoned.into_iter().chain(live.abandoned()), &plan.keys);
        if plan.new_epoch && in_place {
            let left = self.signed_elsewhere(self.restorer, &plan.keys);
            manifest.abandon(left.into_iter().map(|found| found.note), &plan.keys);
        }
        if plan.new_epoch {
            manifest.abandon(live.note(), &plan.keys);
        }
        manifest.adopted.retain(|span| span.end > manifest.pruned.end());
        // Without the key, the first opening makes the manifest anew from the files.
        if let Some(key) = key {
            manifest.sign(&key).map_err(BackupError::Refused)?;
        }
        let path = self.dir.join(MANIFEST);
        manifest.store(fs, &path).map_err(|error| {
            BackupError::Snapshot(crate::audit::read::snapshot::SnapshotError::Manifest(error))
        })?;
        let text = fs.read_own(&path, 4 << 30).map_err(io_error("read", &path))?;
        let manifest_sha256 = sha256_hex(&text);
        Ok(Prepared { names, manifest_sha256, abandoned: manifest.abandoned })
    }

    /// Moves everything into the directory around the staging directory; the
    /// manifest comes last.
    pub(super) fn settle_beside(
        &self,
        place: &Path,
        plan: &RestorePlan,
    ) -> Result<(), BackupError> {
        let fs = &*self.restorer.fs;
        let names = self.prepare(plan, &Live::none())?.names;
        let paths = LogPaths::new(place);
        let key = plan.public_text();
        let moved = (|| {
            fsio::replace_file(fs, &paths.public_key(), key.as_bytes())?;
            for name in &names {
                fs.rename(&self.dir.join(name), &place.join(name))?;
            }
            // Once the manifest has its name, what it lists has to be there.
            fs.sync_dir(place)?;
            fs.rename(&self.dir.join(MANIFEST), &place.join(MANIFEST))?;
            fs.remove_dir(&self.dir)?;
            fs.sync_dir(place)
        })();
        moved.map_err(|error| {
            // It was empty, and is again.
            for name in names.iter().map(String::as_str).chain([MANIFEST, "audit.pub"]) {
                let _ = fs.remove(&place.join(name));
            }
            io_error("put the backup in place in", place)(error)
        })
    }
}

/// Takes the staging directory away again when staging fails.
struct Guard<'a> {
    fs: &'a dyn Fs,
    dir: Option<(PathBuf, Option<PathBuf>)>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some((dir, place)) = &self.dir {
            swap::clear(self.fs, dir);
            if let Some(place) = place {
                let _ = self.fs.remove_dir(place);
            }
        }
    }
}

fn root(tree: &Range) -> Hash {
    tree.root().expect("a tree of a log begins at 0")
}

fn extent_size(extent: Extent) -> Option<u64> {
    match extent {
        Extent::ToSeq(seq) => Some(seq.saturating_add(1)),
        _ => None,
    }
}

fn locate(
    restorer: &Restorer,
    request: &RestoreRequest,
    live: &Live,
    staging: &Path,
    watch: &dyn Watch,
) -> Result<Found, BackupError> {
    if let Some(path) = is_log(&*restorer.fs, &request.wish) {
        return from_log(restorer, path, staging, watch);
    }
    find(&restorer.dir, &request.wish, &restorer.choice(request, live), &request.identities)
}

/// The directory, where it is a log that is wanted.
fn is_log<'a>(fs: &dyn Fs, wish: &'a Wish) -> Option<&'a Path> {
    match wish {
        Wish::Path(path) if fs.meta(&path.join(MANIFEST)).is_ok() => Some(path),
        _ => None,
    }
}

/// A log directory, such as what an earlier restore set aside: packed first.
fn from_log(
    restorer: &Restorer,
    path: &Path,
    staging: &Path,
    watch: &dyn Watch,
) -> Result<Found, BackupError> {
    let snapshot = Snapshot::take(&restorer.fs, path)?;
    let archive = staging.join("source.gz");
    let file =
        restorer.fs.open(&archive, OpenMode::CreateNew).map_err(io_error("make", &archive))?;
    watch.stage(Stage::Pack, 0);
    let level = restorer.options.compression_level;
    let packed = pack(&snapshot, level, &mut FileSink::new(&*file), &archive, watch)?;
    let marker = Marker {
        log_id: snapshot.manifest.log_id.clone(),
        epoch: snapshot.manifest.epoch,
        pruned: snapshot.manifest.pruned.clone(),
        tree_size: snapshot.checkpoint.size,
        root_hash: snapshot.checkpoint.root,
        members: 0,
        holes: snapshot.holes().map(Hole::of).collect(),
        holes_omitted: false,
        checkpoint: snapshot.note.to_string(),
        public_key: snapshot.verifier.to_string(),
        key_chain: snapshot.keys.rotations().to_vec(),
        key_chain_omitted: false,
    };
    let about = About::Marker { marker: Box::new(marker), stretches: packed.stretches };
    Ok(Found { label: path.display().to_string(), archive, about })
}

/// The key that the signatures are checked with: one that is known from elsewhere
/// before one that the backup brings.
pub(super) fn choose_keys(
    restorer: &Restorer,
    request: &RestoreRequest,
    live: &Live,
    found: &Found,
) -> Result<(Keyring, &'static str), BackupError> {
    let (fs, paths) = (&*restorer.fs, LogPaths::new(restorer.log_dir()));
    let chain = found.about.key_chain();
    // What is known here of how the keys followed each other, then what the backup
    // adds to it.
    let joined = |key: &VerifierKey| {
        let here = load_keyring(fs, &paths, Some(key)).ok();
        here.unwrap_or_else(|| key.clone().into()).extended(chain)
    };
    if let Some(key) = &request.public_key {
        return Ok((joined(key), "--public-key"));
    }
    let own = found
        .about
        .own_keys()
        .map_err(|what| BackupError::Metadata { path: found.archive.clone(), what })?;
    let here = load_keyring(fs, &paths, None);
    let private = restorer.options.key_path.clone().unwrap_or_else(|| paths.key());
    let kept = SigningKey::load(fs, &private).map(|key| joined(key.verifier()));
    let known = live.keys().cloned().or(here.ok()).or(kept.ok());
    Ok(match known {
        // Beside the log, somebody else's backup may be restored as well.
        Some(known)
            if request.target == Target::Log || known.newest().name() == own.newest().name() =>
        {
            (known.extended(chain), "this log")
        }
        _ => (own, "the backup itself"),
    })
}

fn other_log(found: &Found, keys: &Keyring) -> BackupError {
    BackupError::Refused(format!(
        "{} is a backup of log {}, and the log here is {}: restore it beside with --target DIR",
        found.label,
        found.about.log().0,
        keys.newest().name()
    ))
}

/// Reads the backup whole. Its segments go into a staging directory, if there is one, at a
/// place that has room for them.
pub(super) fn read(
    found: &Found,
    file: &dyn FsFile,
    place: Option<(&dyn Fs, &Path, Option<&Path>)>,
    wanted: &Wanted,
    watch: &dyn Watch,
) -> Result<Content, BackupError> {
    let path = &found.archive;
    let length = file.meta().map_err(io_error("look at", path))?.len;
    if let Some((fs, place, _)) = place {
        has_room(fs, place, length + length / 16 + (1 << 20))?;
    }
    if let About::Metadata(metadata) = &found.about {
        let expected = metadata.archive.digests.bytes;
        if length != expected {
            let what = ArchiveFault::Length { expected, found: length };
            return Err(BackupError::Archive { path: path.clone(), what });
        }
    }
    let stretches = found.about.stretches();
    let (pruned, holes) = (found.about.pruned(), found.about.holes());
    let source = Source { file, path, stretches, pruned, holes };
    let mut out =
        place.and_then(|(fs, _, staging)| Some(Out { fs, dir: staging?, open: None, at: 0 }));
    watch.stage(Stage::Verify, length);
    let content = content::read(&source, wanted, watch, &mut |stretch, bytes| match &mut out {
        Some(out) => out.append(stretch, stretches[stretch].first_seq, bytes),
        None => Ok(()),
    })?;
    check_content(found, &content)?;
    Ok(content)
}

fn has_room(fs: &dyn Fs, place: &Path, needed: u64) -> Result<(), BackupError> {
    // It may not be there yet.
    let near = place.ancestors().find(|path| fs.meta(path).is_ok());
    let near = near.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let available = fs.space(near).map_err(io_error("ask for space at", near))?.available;
    if available < needed {
        let path = place.to_path_buf();
        return Err(BackupError::NoSpace { path, needed, available });
    }
    Ok(())
}

/// Everything that the description says of the content.
fn check_content(found: &Found, content: &Content) -> Result<(), BackupError> {
    let About::Metadata(metadata) = &found.about else { return Ok(()) };
    content::agrees(content, metadata)
        .map_err(|what| BackupError::Archive { path: found.archive.clone(), what })
}

/// The segment file that is being written.
struct Out<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    open: Option<(usize, Box<dyn FsFile>, PathBuf)>,
    at: u64,
}

impl Out<'_> {
    fn append(&mut self, stretch: usize, first_seq: u64, bytes: &[u8]) -> Result<(), BackupError> {
        if self.open.as_ref().is_none_or(|(open, _, _)| *open != stretch) {
            let path = self.dir.join(sealed_name(first_seq, true));
            let made = self.fs.open(&path, OpenMode::CreateNew).map_err(io_error("make", &path))?;
            self.open = Some((stretch, made, path));
            self.at = 0;
        }
        if let Some((_, file, path)) = &self.open {
            file.write_all_at(bytes, self.at).map_err(io_error("write", path))?;
        }
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// What a staging directory holds, ready to be put in place.
pub(super) struct Prepared {
    /// The names of the new files but for the manifest.
    pub(super) names: Vec<String>,
    /// The manifest's SHA-256, hex.
    pub(super) manifest_sha256: String,
    /// The signed heads that the log will not continue.
    pub(super) abandoned: Vec<String>,
}

/// The tree that is restored, and whether it is less than the backup's.
fn tree_of(extent: Extent, content: &Content) -> Result<(Range, bool), BackupError> {
    let (first, end) = (content.marker.pruned.end(), content.tree.end());
    let size = match extent {
        Extent::Whole => end,
        Extent::ToSeq(seq) if (first..end).contains(&seq) => seq + 1,
        Extent::ToSeq(seq) => {
            let what =
                format!("record {seq} is not in the backup, which holds {first} to {}", end - 1);
            return Err(BackupError::Usage(what));
        }
        Extent::ToTime(_) => content.first_after.unwrap_or(end),
    };
    if size == end {
        return Ok((content.tree.clone(), false));
    }
    match content.trees.get(&size) {
        Some(tree) if size > first => Ok((tree.clone(), true)),
        _ => Err(BackupError::Usage("no record of the backup is as old as that".to_owned())),
    }
}

fn segments(content: &Content, found: &Found) -> Vec<Segment> {
    let stretches = found.about.stretches().iter().zip(&content.blocks);
    stretches
        .map(|(stretch, blocks)| Segment {
            file: sealed_name(stretch.first_seq, stretch.stored_bytes > 0),
            first_seq: stretch.first_seq,
            records: stretch.records,
            raw_bytes: blocks.iter().map(|block| block.raw_bytes).sum(),
            stored_bytes: stretch.stored_bytes,
            sha256: (stretch.stored_bytes > 0).then(|| stretch.sha256.to_string()),
            filters_sha256: None,
            min_timestamp: blocks.iter().map(|b| b.min_timestamp).min().unwrap_or_default(),
            max_timestamp: blocks.iter().map(|b| b.max_timestamp).max().unwrap_or_default(),
            damage: None,
            blocks: blocks.clone(),
            unknown: Unknown::default(),
        })
        .collect()
}

/// Leaves only the records of `tree`: whole segments go, the last one is cut, and
/// the block in which it ends is packed anew.
fn cut_segments(
    fs: &dyn Fs,
    dir: &Path,
    segments: &mut Vec<Segment>,
    tree: &Range,
) -> Result<(), BackupError> {
    let size = tree.end();
    while let Some(last) = segments.last().filter(|last| last.first_seq >= size) {
        if last.is_stored() {
            let path = dir.join(&last.file);
            fs.remove(&path).map_err(io_error("remove", &path))?;
        }
        segments.pop();
    }
    let Some(last) = segments.last_mut().filter(|last| last.end_seq() > size) else {
        return Ok(());
    };
    if !last.is_stored() {
        last.blocks.retain(|block| block.tree.end() <= size);
        last.records = size - last.first_seq;
        return Ok(());
    }
    let path = dir.join(&last.file);
    let file = fs.open(&path, OpenMode::Write).map_err(io_error("open", &path))?;
    let keep = last.blocks.iter().position(|block| block.first_seq + block.records > size);
    let Some(keep) = keep else { return Ok(()) };
    let block = last.blocks[keep].clone();
    last.blocks.truncate(keep);
    let mut length = block.offset;
    if block.first_seq < size {
        let cut = cut_block(&*file, &block, size).map_err(io_error("cut", &path))?;
        file.write_all_at(&cut.1, block.offset).map_err(io_error("write", &path))?;
        length += cut.0.stored_bytes;
        last.blocks.push(cut.0);
    }
    file.set_len(length).map_err(io_error("cut", &path))?;
    last.records = size - last.first_seq;
    last.stored_bytes = length;
    last.raw_bytes = last.blocks.iter().map(|block| block.raw_bytes).sum();
    last.min_timestamp = last.blocks.iter().map(|b| b.min_timestamp).min().unwrap_or_default();
    last.max_timestamp = last.blocks.iter().map(|b| b.max_timestamp).max().unwrap_or_default();
    last.sha256 = Some(digest(&*file).map_err(io_error("read", &path))?.to_string());
    Ok(())
}

fn cut_block(file: &dyn FsFile, block: &Block, size: u64) -> std::io::Result<(Block, Vec<u8>)> {
    let mut member = vec![0; block.stored_bytes as usize];
    file.read_exact_at(&mut member, block.offset)?;
    let mut raw = Vec::new();
    Unpacker::new().unpack(&member, &mut raw).map_err(std::io::Error::other)?;
    let end = memchr::memchr_iter(b'\n', &raw)
        .nth((size - block.first_seq - 1) as usize)
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    raw.truncate(end + 1);
    let member = Packer::new(6).member(&raw)?;
    let stored = (block.offset, member.len() as u64);
    let block = crate::audit::files::examine::examine(&raw, block.first_seq, stored)
        .map_err(std::io::Error::other)?;
    Ok((block, member))
}

fn digest(file: &dyn FsFile) -> std::io::Result<Hash> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at)? {
            0 => return Ok(Hash::from_bytes(hasher.finalize().into())),
            read => {
                hasher.update(&buffer[..read]);
                at += read as u64;
            }
        }
    }
}

/// Makes the staged segments durable, and reads them back from the disk: what is
/// put in place is what was checked.
fn sync_all(fs: &dyn Fs, dir: &Path, segments: &[Segment]) -> Result<(), BackupError> {
    for segment in segments.iter().filter(|segment| segment.is_stored()) {
        let path = dir.join(&segment.file);
        let file = fs.open(&path, OpenMode::ReadOwn).map_err(io_error("open", &path))?;
        file.sync_data().map_err(io_error("sync", &path))?;
        file.drop_cache().map_err(io_error("drop from the cache", &path))?;
        let found = digest(&*file).map_err(io_error("read", &path))?;
        if Some(found.to_string()) != segment.sha256 {
            let expected = segment.sha256.clone().unwrap_or_default();
            let what = ArchiveFault::Checksum { expected, found: found.to_string() };
            return Err(BackupError::Archive { path, what });
        }
    }
    fs.sync_dir(dir).map_err(io_error("sync", dir))
}
